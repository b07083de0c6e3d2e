//! The order that rank 0 sends to the others for each stage.

use std::collections::BTreeMap;

use gfm_pipe_api::{Artifact, OpError, OpResult, TableFile, kinds};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::FileId;
use crate::store::{ObjectEntry, Store, TableEntry};

/// A stage to compute.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub stage: String,
    pub op: String,
    /// Validated parameters.
    pub params: Value,
    pub inputs: BTreeMap<String, Vec<Given>>,
    /// Other files that the operator reads.
    pub files: Vec<FileId>,
}

/// An input artifact, identified by its content.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Given {
    name: String,
    kind: String,
    tables: Vec<TableEntry>,
}

impl Given {
    pub fn of(artifact: &Artifact) -> Self {
        let table = |t: &TableFile| {
            let objects = t.objects.iter().map(|object| ObjectEntry {
                made_of: None,
                digest: object.digest.clone(),
                rows: object.rows,
                bytes: object.bytes,
            });
            TableEntry::of(t.name.as_str(), objects.collect())
        };
        Given {
            name: artifact.name.clone(),
            kind: artifact.kind.name.to_owned(),
            tables: artifact.tables.iter().map(table).collect(),
        }
    }

    /// Finds the artifact in this rank's view of the store.
    ///
    /// # Errors
    /// When it is not there, or has other content.
    pub fn find(&self, store: &Store) -> OpResult<Artifact> {
        let kind = kinds::ALL.iter().find(|k| k.name == self.kind);
        let Some(kind) = kind else {
            return Err(OpError::new(format!(
                "there is no kind `{}` here",
                self.kind
            )));
        };
        let mut tables = Vec::new();
        for t in &self.tables {
            let table = store.table(t);
            table.check().map_err(|e| {
                let damaged = e.kind() == std::io::ErrorKind::InvalidData;
                let place = format!("{}.{}", self.name, t.name);
                let store = store.root().display();
                let text = if damaged { format!("input {place} cannot be used") } else { format!("input {place} is not in the store {store}") };
                OpError::wrap(text, e).hint(if damaged { "run again: what is damaged is computed anew" } else { "every rank must see the same store: put it on a file system that all hosts share (--store)" })
            })?;
            tables.push(table);
        }
        Ok(Artifact {
            kind,
            name: self.name.clone(),
            tables,
        })
    }
}
