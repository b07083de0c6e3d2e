//! A configuration of GFM-RAG (Hydra's YAML) as a pipeline.
//!
//! `hydra` reads the file as Hydra would, `kind` determines what it is for, `second` rewrites the
//! keys of GFM-RAG 2.0, `data` reads data sets, encoder and ranker, and `convert` makes stages of
//! it all. Invariants: every key of the file ends up in the pipeline, in a note that says what
//! became of it, or in the list of unknown keys; none is dropped silently, except those that ask
//! for what is done anyway. A configuration with parts that are not understood and could change the
//! training is refused, unless the caller is lenient.

mod convert;
mod data;
mod hydra;
mod kind;
mod places;
mod second;
mod stages;

use std::fmt;
use std::path::{Path, PathBuf};

use gfm_pipe_api::OpEntry;
use gfm_pipe_api::printable::one_line;

use crate::spec::Place;

/// The result of importing a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The pipeline's text.
    pub yaml: String,
    /// Notes on what was moved, replaced or is done in another way here, each on one line.
    pub notes: Vec<String>,
    /// Unknown keys: the path, and the value as JSON.
    pub unknown: Vec<(String, String)>,
}

/// A part of a configuration that is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it is written: `file:line:column`, or an override on the command line.
    pub place: Place,
    /// Its key: `train.batch_size`.
    pub key: String,
    /// What is wrong with it, naming the key.
    pub message: String,
}

impl Problem {
    /// The sort key of problems: those of a file in the order of its lines, those of the command
    /// line last.
    fn order(&self) -> (u8, PathBuf, usize, usize) {
        match &self.place {
            Place::Whole(file) => (0, file.clone(), 0, 0),
            Place::File(at) => (1, at.file.clone(), at.line, at.column),
            Place::Override(_) => (2, PathBuf::new(), 0, 0),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, one_line(&self.message))
    }
}

/// Why a configuration cannot be imported.
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
    /// It is not YAML, or not a mapping.
    #[error("{}: {message}", file.display())]
    Yaml {
        /// The file.
        file: PathBuf,
        /// What is wrong, with line and column where known.
        message: String,
    },
    /// An override that cannot be read or cannot be applied.
    #[error("`{0}` is no override")]
    Override(String),
    /// It is for something that cannot be imported.
    #[error("{place}: {what}")]
    Kind {
        /// Where the configuration shows that.
        place: Place,
        /// What the configuration is for.
        what: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// Parts of it are not understood.
    #[error("{}", listed(.0))]
    NotUnderstood(Vec<Problem>),
    /// An operator it needs is not in this build.
    #[error("this build has no operator `{0}`")]
    Operator(&'static str),
}

fn listed(problems: &[Problem]) -> String {
    let mut out = match problems.len() {
        1 => "one thing in this configuration is not understood".to_owned(),
        n => format!("{n} things in this configuration are not understood"),
    };
    for p in problems {
        out.push_str(&format!("\n  {p}"));
    }
    out
}

impl ImportError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            ImportError::Override(_) => Some("write KEY=VALUE as for Hydra: train.batch_size=4"),
            ImportError::Kind { hint, .. } => Some(hint),
            ImportError::NotUnderstood(_) => Some(
                "correct or remove them, or take each out with `~KEY`; `--lenient` writes the pipeline without them, which may train another model",
            ),
            ImportError::Operator(_) => Some("build it with its default features"),
            ImportError::Read { .. } | ImportError::Yaml { .. } => None,
        }
    }
}

/// Turns a configuration file, with Hydra's overrides from the command line (`KEY=VALUE`), into a
/// pipeline. With `lenient`, parts that are not understood are left out instead of being an error.
///
/// # Errors
/// See [`ImportError`].
pub fn import(
    file: &Path,
    overrides: &[String],
    lenient: bool,
    ops: &[OpEntry],
) -> Result<Imported, ImportError> {
    let config = hydra::read(file, overrides)?;
    let (imported, mut problems) = convert::convert(file, config, ops)?;
    problems.sort_by_key(Problem::order);
    if lenient || problems.is_empty() {
        return Ok(imported);
    }
    Err(ImportError::NotUnderstood(problems))
}

#[cfg(test)]
mod tests;
