//! A configuration of GFM-RAG (Hydra's YAML) as a pipeline.
//!
//! `hydra` reads the file as Hydra would, `convert` makes stages of it. Invariant: every key of the file ends in the pipeline, in
//! a note that says what became of it, or in the list of what is unknown; none is dropped in silence.

mod convert;
mod hydra;

use std::path::{Path, PathBuf};

use gfm_pipe_api::OpEntry;

/// What became of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The pipeline's text.
    pub yaml: String,
    /// What was moved, replaced or is done another way here; one thing a line.
    pub notes: Vec<String>,
    /// Keys that are not known: path, and value as written in JSON.
    pub unknown: Vec<(String, String)>,
}

/// A configuration that cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no YAML, or no mapping.
    #[error("{}: {message}", file.display())]
    Yaml {
        /// The file.
        file: PathBuf,
        /// What is wrong, with line and column where known.
        message: String,
    },
    /// An override that means nothing.
    #[error("`{0}` is no override")]
    Override(String),
    /// It is of a kind that is not imported.
    #[error("{}: {what}", file.display())]
    Kind {
        /// The file.
        file: PathBuf,
        /// What it is.
        what: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// An operator it needs is not in this build.
    #[error("this build has no operator `{0}`")]
    Operator(&'static str),
}

impl ImportError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            ImportError::Override(_) => Some("write KEY=VALUE as for Hydra: train.batch_size=4"),
            ImportError::Kind { hint, .. } => Some(hint),
            ImportError::Operator(_) => Some("build it with its default features"),
            ImportError::Read { .. } | ImportError::Yaml { .. } => None,
        }
    }
}

/// Turns a configuration file, with Hydra's overrides of the command line (`KEY=VALUE`), into a pipeline.
///
/// # Errors
/// See [`ImportError`].
pub fn import(file: &Path, overrides: &[String], ops: &[OpEntry]) -> Result<Imported, ImportError> {
    let (root, notes) = hydra::read(file, overrides)?;
    convert::convert(file, root, notes, ops)
}

#[cfg(test)]
mod tests;
