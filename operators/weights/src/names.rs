//! Names of tensors without what wrappers put before them.

use crate::{Refused, Tensors};

/// What DataParallel and DistributedDataParallel put before every name.
const PARALLEL: &str = "module.";
/// What `torch.compile` puts where a module was compiled: before every name, or inside.
const COMPILED: &str = "_orig_mod.";

/// A name without `_orig_mod.`, wherever it stands: no module of a model is called so.
fn without_compiled(name: &str) -> String {
    let parts = name.split('.');
    let kept: Vec<&str> = parts.filter(|part| *part != "_orig_mod").collect();
    kept.join(".")
}

/// The same tensors without wrappers in their names, and what was taken away, if anything.
///
/// `module.` goes only where every name has it: a model may have a part that is called so.
///
/// # Errors
/// When two tensors would have the same name.
pub fn unwrapped(tensors: Tensors) -> Result<(Tensors, Option<String>), Refused> {
    let mut gone = Vec::new();
    let mut names: Vec<String> = tensors.keys().map(|name| without_compiled(name)).collect();
    if tensors.keys().ne(names.iter()) {
        gone.push(COMPILED);
    }
    while !names.is_empty() && names.iter().all(|name| name.starts_with(PARALLEL)) {
        for name in &mut names {
            name.drain(..PARALLEL.len());
        }
        if !gone.contains(&PARALLEL) {
            gone.push(PARALLEL);
        }
    }
    if gone.is_empty() {
        return Ok((tensors, None));
    }
    let mut out = Tensors::new();
    for ((was, tensor), name) in tensors.into_iter().zip(names) {
        if out.contains_key(&name) {
            return Err(Refused::new(format!(
                "`{was}` and another tensor are both `{name}` without a wrapper's prefix"
            )));
        }
        out.insert(name, tensor);
    }
    let gone: Vec<String> = gone.iter().map(|prefix| format!("`{prefix}`")).collect();
    Ok((
        out,
        Some(format!(
            "names of tensors are taken without {}, which a wrapper put there",
            gone.join(" and ")
        )),
    ))
}
