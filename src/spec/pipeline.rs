//! The validated pipeline: what the rest of the engine works on.
//!
//! Invariant: a [`Pipeline`] made by [`super::load`] has known operators, valid parameters with
//! defaults filled in, inputs that exist and fit by kind and arity, and no cycle. Nothing here
//! reads files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use gfm_pipe_api::OpEntry;
use serde_json::Value;

use super::error::SpecError;
use super::limits::Limits;
use super::origins::Written;

/// Where a piece of the pipeline was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file, as the user named it.
    pub file: PathBuf,
    /// One-based line.
    pub line: usize,
    /// One-based column, in characters.
    pub column: usize,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// An output port of another stage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRef {
    /// Stage name.
    pub stage: String,
    /// Port name.
    pub port: String,
}

impl std::fmt::Display for PortRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.stage, self.port)
    }
}

/// One stage.
#[derive(Clone)]
pub struct Stage {
    /// Name, unique in the pipeline.
    pub name: String,
    /// Its operator.
    pub op: OpEntry,
    /// Validated parameters with defaults filled in.
    pub params: Value,
    /// What is connected to each input port, in the order written. Ports without a connection are
    /// absent.
    pub inputs: BTreeMap<String, Vec<PortRef>>,
    /// Stages that must have succeeded before it starts, although it reads none of their outputs.
    /// Not part of its key.
    pub after: Vec<String>,
    /// How often it is tried, for how long, and which resources it uses.
    pub limits: Limits,
    /// Where the stage's name is written.
    pub origin: Origin,
    /// Where its parts are written.
    pub written: Arc<Written>,
}

impl Stage {
    /// Whether it computes on a GPU where there is one.
    pub fn on_gpu(&self) -> bool {
        self.op.on_gpu(&self.params)
    }
}

/// A validated pipeline; stages in the order written.
#[derive(Clone)]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// What the user should know although it works, such as parameters that will go.
    pub warnings: Vec<SpecError>,
    /// All files that it was read from: its own, included ones, files of variables.
    pub files: Vec<PathBuf>,
    /// Stages.
    pub stages: Vec<Stage>,
}

impl Pipeline {
    /// The pipeline as this many ranks run it: parameters that count per rank are multiplied by the
    /// number of ranks. One rank with the multiplied parameters computes the same, so keys do not
    /// depend on the number of ranks.
    #[must_use]
    pub fn for_ranks(mut self, ranks: usize) -> Self {
        for stage in &mut self.stages {
            // Parameters of a loaded pipeline are valid.
            for path in stage.op.per_rank(&stage.params).unwrap_or_default() {
                let pointer = format!("/{}", path.replace('.', "/"));
                if let Some(value) = stage.params.pointer_mut(&pointer)
                    && let Some(one) = value.as_u64()
                {
                    *value = (one * ranks as u64).into();
                }
            }
        }
        self
    }

    /// The stage of that name.
    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|s| s.name == name)
    }
}
