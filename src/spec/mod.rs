//! YAML text to a validated [`Pipeline`].
//!
//! [`load`] goes one way: text -> tree with positions (`parse`) -> overrides of the command line applied to it
//! (`overrides`) -> templates rendered (`render`) -> checked against the operators (`validate`, `wiring`). Invariant: it
//! gives either a pipeline that is right in every way that can be known without running it, or all mistakes at once, each
//! with its place ([`SpecErrors`]); whatever the text, it does not panic. Not here: whether files exist that operators read.

mod error;
mod expand;
mod node;
mod overrides;
mod parse;
mod pipeline;
mod render;
mod resolved;
mod scalar;
mod source;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod validate;
mod wiring;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use gfm_pipe_api::OpEntry;

pub use error::{Place, SpecError, SpecErrors};
pub(crate) use expand::{StageName, split_names, split_port};
pub use pipeline::{Origin, Pipeline, PortRef, Stage};
pub use resolved::resolved_yaml;

/// Largest pipeline file, and what its aliases may add.
const MAX_BYTES: usize = 4 << 20;
/// Deepest nesting of a pipeline file.
const MAX_DEPTH: usize = 64;
/// Most values (scalars, lists, mappings) of a pipeline file.
const MAX_VALUES: usize = 100_000;
/// Most stages of a pipeline.
const MAX_STAGES: usize = 2000;

/// What the command line says about loading.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Working directory (`-C`): the pipeline's path is relative to it.
    pub base: PathBuf,
    /// `-p NAME=VALUE`: values of declared variables.
    pub vars: Vec<(String, String)>,
    /// `--set STAGE.with.PATH=VALUE`: values of parameters.
    pub sets: Vec<(String, String)>,
}

/// Reads, templates and validates a pipeline.
///
/// # Errors
/// Every mistake found; the report is its `Display`.
pub fn load(file: &Path, opts: &LoadOptions, ops: &[OpEntry]) -> Result<Pipeline, SpecErrors> {
    let text = read(file, &opts.base)?;
    let mut sources = source::Sources::default();
    let mut mistakes = Vec::new();
    let id = sources.add_file(file, &text);
    let pipeline = parse::parse(id, &text, &mut mistakes).and_then(|mut root| {
        overrides::apply(&mut root, opts, &mut sources, &mut mistakes);
        validate::check(file, &root, ops, &mut mistakes)
    });
    match pipeline {
        Some(p) if mistakes.is_empty() => Ok(p),
        _ => Err(SpecErrors::new(file, &sources, mistakes)),
    }
}

fn read(file: &Path, base: &Path) -> Result<String, SpecErrors> {
    let cannot = |e: std::io::Error| {
        let hint = (e.kind() == std::io::ErrorKind::NotFound)
            .then(|| "the path is relative to the working directory (-C)".to_owned());
        SpecErrors::whole(file, format!("cannot read the pipeline: {e}"), hint)
    };
    let mut bytes = Vec::new();
    let limit = MAX_BYTES as u64 + 1;
    File::open(base.join(file))
        .and_then(|f| f.take(limit).read_to_end(&mut bytes))
        .map_err(cannot)?;
    if bytes.len() > MAX_BYTES {
        let message = format!("the pipeline is larger than {} MiB", MAX_BYTES >> 20);
        return Err(SpecErrors::whole(file, message, None));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let good = e.utf8_error().valid_up_to();
        let line = 1 + e.as_bytes()[..good].iter().filter(|b| **b == b'\n').count();
        let message = format!(
            "the pipeline is not UTF-8 text: line {line}, byte {}",
            good + 1
        );
        SpecErrors::whole(file, message, Some("save it as UTF-8".to_owned()))
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}
