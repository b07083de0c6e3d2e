//! YAML text to a validated [`Pipeline`].
//!
//! [`load`] goes one way: text -> tree with positions (`parse`) -> included files merged below it
//! (`include`) -> overrides of the command line applied to it (`overrides`) -> templates rendered
//! (`templates`) -> checked against the operators (`validate`, `wiring`). Invariant: it returns
//! either a pipeline that is correct as far as can be known without running it, or all mistakes at
//! once, each with its place ([`SpecErrors`]); whatever the text, it does not panic. Whether the
//! files that operators read exist is not checked here.

mod error;
mod expand;
mod include;
mod limits;
mod node;
mod origins;
mod overrides;
mod parse;
mod pipeline;
mod places;
mod resolved;
mod scalar;
mod source;
mod templates;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod validate;
mod wiring;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gfm_pipe_api::OpEntry;

pub use error::{Place, SpecError, SpecErrors};
pub(crate) use expand::{StageName, split_names, split_port};
pub use limits::{Limits, Resources};
pub use origins::{Value as WrittenValue, Written};
pub use pipeline::{Origin, Pipeline, PortRef, Stage};
pub(crate) use places::places;
pub use resolved::{resolved, resolved_yaml};

/// The keys of a pipeline file with their meaning, for schemas and documentation.
pub mod pipeline_keys {
    pub use super::limits::schema as limits;
    pub use super::validate::{STAGE_KEYS, TOP_KEYS};
}

/// The file name that stands for standard input.
pub(crate) const STDIN: &str = "-";
/// Largest pipeline file, in bytes, and the most text that copies for its aliases may add.
const MAX_BYTES: usize = 4 << 20;
/// Deepest nesting of a pipeline file.
const MAX_DEPTH: usize = 64;
/// Largest number of values (scalars, lists, mappings) in a pipeline file.
const MAX_VALUES: usize = 100_000;
/// Largest number of files in a pipeline.
const MAX_FILES: usize = 100;
/// Largest number of stages in a pipeline.
const MAX_STAGES: usize = 2000;

/// The command line's options for loading.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Working directory (`-C`): the pipeline's path is relative to it.
    pub base: PathBuf,
    /// `--vars FILE`: files with values of declared variables.
    pub var_files: Vec<PathBuf>,
    /// `-p NAME=VALUE`: values of declared variables.
    pub vars: Vec<(String, String)>,
    /// `--set STAGE.with.PATH=VALUE`: values of parameters.
    pub sets: Vec<(String, String)>,
    /// The environment variables. A pipeline sees only those that it declares.
    pub env: BTreeMap<String, String>,
}

/// Reads, templates and validates a pipeline; the file `-` is standard input.
///
/// # Errors
/// Every mistake found; the report is its `Display`.
pub fn load(file: &Path, opts: &LoadOptions, ops: &[OpEntry]) -> Result<Pipeline, SpecErrors> {
    load_text(file, &include::main_text(file, &opts.base)?, opts, ops)
}

/// Like [`load`], for a text that is, or will be, the content of the file.
///
/// # Errors
/// Every mistake found.
pub fn load_text(
    file: &Path,
    text: &str,
    opts: &LoadOptions,
    ops: &[OpEntry],
) -> Result<Pipeline, SpecErrors> {
    let mut sources = source::Sources::default();
    let mut mistakes = Vec::new();
    let mut budget = parse::Budget::default();
    let root = include::read(
        file,
        text,
        &opts.base,
        &mut sources,
        &mut budget,
        &mut mistakes,
    );
    let pipeline = root.and_then(|mut root| {
        overrides::apply(&mut root, opts, &mut sources, &mut mistakes);
        validate::check(file, &root, &opts.env, ops, &sources, &mut mistakes)
    });
    match pipeline {
        Some(p) if mistakes.iter().all(|m| m.warning) => Ok(Pipeline {
            warnings: warnings(&sources, mistakes),
            ..p
        }),
        _ => Err(SpecErrors::new(include::shown(file), &sources, mistakes)),
    }
}

/// What to tell the user of a pipeline that works, in the order written.
fn warnings(sources: &source::Sources, mut found: Vec<error::Mistake>) -> Vec<SpecError> {
    found.sort();
    found.dedup();
    let all = found.into_iter().map(|m| SpecError::new(sources, m));
    all.collect()
}
