//! Removes the prefixes of wrappers from names of tensors.

use crate::{Refused, Tensors};

/// The prefix that DataParallel and DistributedDataParallel put before every name.
const PARALLEL: &str = "module.";
/// What `torch.compile` puts into names, at the beginning or inside.
const COMPILED: &str = "_orig_mod.";

/// A name without `_orig_mod.` anywhere: no module of a model has this name.
fn without_compiled(name: &str) -> String {
    let parts = name.split('.');
    let kept: Vec<&str> = parts.filter(|part| *part != "_orig_mod").collect();
    kept.join(".")
}

/// Removes wrappers from names. Also returns a note on what was removed, if anything.
///
/// `module.` is removed only if every name has it, because a part of a model may have this name.
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
