//! A finished run as a report sees it: its stages, their manifests and the tables that are still in the store.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use gfm_pipe_api::OpError;

use crate::record::JournalFile;
use crate::store::{Manifest, Store};

/// A table that a report needs and cannot have, with the reason.
pub type Lacking = String;

/// A run with what its stages left.
pub struct Run<'a> {
    store: &'a Store,
    /// What happened.
    pub journal: &'a JournalFile,
    /// Manifests by stage, of those that are still there.
    pub manifests: BTreeMap<String, Manifest>,
}

impl<'a> Run<'a> {
    /// Reads the manifests of a run's stages.
    pub fn read(store: &'a Store, journal: &'a JournalFile) -> Self {
        let manifests = journal.stages.iter().filter_map(|s| {
            let manifest = store.manifest(s.key.as_ref()?).ok().flatten()?;
            Some((s.name.clone(), manifest))
        });
        Run {
            store,
            journal,
            manifests: manifests.collect(),
        }
    }

    /// Stages and ports of a kind, in the order of the pipeline.
    pub fn of_kind(&self, kind: &str) -> Vec<(String, String)> {
        let stages = self.journal.stages.iter();
        stages
            .filter_map(|s| Some((&s.name, self.manifests.get(&s.name)?)))
            .flat_map(|(name, m)| {
                let ports = m.ports.iter().filter(|(_, p)| p.kind == kind);
                ports.map(|(port, _)| (name.clone(), port.clone()))
            })
            .collect()
    }

    /// The stage and port that an input of a stage is connected to.
    pub fn input(&self, stage: &str, port: &str) -> Option<(String, String)> {
        let inputs = self.manifests.get(stage)?.ingredients.inputs.get(port)?;
        let (stage, port) = inputs.first()?.from.rsplit_once('.')?;
        Some((stage.to_owned(), port.to_owned()))
    }

    /// The stages a stage takes from, each once.
    pub fn takes_from(&self, stage: &str) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        let Some(m) = self.manifests.get(stage) else {
            return out;
        };
        for input in m.ingredients.inputs.values().flatten() {
            if let Some((from, _)) = input.from.rsplit_once('.')
                && !out.iter().any(|o| o == from)
            {
                out.push(from.to_owned());
            }
        }
        out
    }

    /// A whole table.
    pub fn table(&self, (stage, port): (&str, &str), table: &str) -> Result<RecordBatch, Lacking> {
        let of = format!("{stage}.{port}.{table}");
        let entry = self
            .manifests
            .get(stage)
            .and_then(|m| m.ports.get(port))
            .and_then(|p| p.tables.iter().find(|t| t.name == table))
            .ok_or_else(|| format!("{of} is not in the store any more"))?;
        let lacking = |why: &dyn std::fmt::Display| format!("{of} cannot be read: {why}");
        let reader = gfm_pipe_api::table::reader(&self.store.object(&entry.digest))
            .map_err(|e| lacking(&e))?;
        let schema = arrow::array::RecordBatchReader::schema(&reader);
        let batches: Result<Vec<RecordBatch>, _> = reader.collect();
        batches
            .and_then(|b| concat_batches(&schema, &b))
            .map_err(|e| lacking(&e))
    }
}

/// What is wrong with a table's columns: it was written by another version.
pub fn other_version(e: OpError) -> Lacking {
    format!("a table of this run was written by another version: {e}")
}
