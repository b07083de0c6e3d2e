//! A finished run as a report sees it: its stages, their manifests, and the tables that are still
//! in the store.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use gfm_pipe_api::OpError;

use crate::plan::InputId;
use crate::record::{JournalFile, StageStatus};
use crate::store::{Manifest, Store};

/// Why a table that a report needs cannot be read.
pub type Lacking = String;

/// A run with the manifests of its stages.
pub struct Run<'a> {
    store: &'a Store,
    /// The run's journal.
    pub journal: &'a JournalFile,
    /// The manifests that are still in the store, by stage.
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

    /// Whether a stage has an artifact at this port.
    pub fn has_port(&self, stage: &str, port: &str) -> bool {
        let manifest = self.manifests.get(stage);
        manifest.is_some_and(|m| m.ports.contains_key(port))
    }

    /// Stages and ports that have an artifact of this kind, in pipeline order.
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

    /// What each input port of a stage took in this run: `STAGE.PORT` names, in order.
    pub fn inputs(&self, stage: &str) -> BTreeMap<String, Vec<String>> {
        let record = self.journal.stages.iter().find(|s| s.name == stage);
        match (record, self.manifests.get(stage)) {
            (Some(r), _) if !r.inputs.is_empty() => r.inputs.clone(),
            // Journals of older versions do not say. A manifest has the digests of the inputs, but
            // its names may be those of another run.
            (_, Some(m)) => {
                let of = |i: &InputId| self.giver(i);
                let ports = m.ingredients.inputs.iter();
                ports
                    .map(|(port, ids)| (port.clone(), ids.iter().filter_map(of).collect()))
                    .collect()
            }
            _ => BTreeMap::new(),
        }
    }

    /// The port of this run whose artifact has the input's digest; the port of the same name is
    /// preferred.
    fn giver(&self, input: &InputId) -> Option<String> {
        let stages = self.journal.stages.iter();
        let given = stages.flat_map(|s| {
            let ports = s.outputs.iter().filter(|(_, d)| **d == input.digest);
            ports.map(move |(port, _)| format!("{}.{port}", s.name))
        });
        let given: Vec<String> = given.collect();
        let named = given.iter().find(|g| **g == input.from);
        named.or(given.first()).cloned()
    }

    /// The stage and port that an input of a stage is connected to; the first of several.
    pub fn input(&self, stage: &str, port: &str) -> Option<(String, String)> {
        let inputs = self.inputs(stage);
        let (stage, port) = inputs.get(port)?.first()?.rsplit_once('.')?;
        Some((stage.to_owned(), port.to_owned()))
    }

    /// The digest of the questions that an evaluation used.
    pub fn asked(&self, stage: &str) -> Option<&str> {
        let inputs = &self.manifests.get(stage)?.ingredients.inputs;
        Some(inputs.get("questions")?.first()?.digest.as_str())
    }

    /// The stages that a stage takes inputs from or waits for, each once.
    pub fn takes_from(&self, stage: &str) -> Vec<String> {
        let record = self.journal.stages.iter().find(|s| s.name == stage);
        let after = record.map(|r| r.after.clone()).unwrap_or_default();
        let inputs = self.inputs(stage).into_values().flatten();
        let from = inputs.filter_map(|i| Some(i.rsplit_once('.')?.0.to_owned()));
        let mut out: Vec<String> = Vec::new();
        for name in from.chain(after) {
            if !out.contains(&name) {
                out.push(name);
            }
        }
        out
    }

    /// Reads a whole table.
    pub fn table(&self, (stage, port): (&str, &str), table: &str) -> Result<RecordBatch, Lacking> {
        let of = format!("{stage}.{port}.{table}");
        let entry = self
            .manifests
            .get(stage)
            .and_then(|m| m.ports.get(port))
            .and_then(|p| p.tables.iter().find(|t| t.name == table))
            .ok_or_else(|| self.why_gone(stage, &of))?;
        let lacking = |why: &dyn std::fmt::Display| format!("{of} cannot be read: {why}");
        let file = self.store.sound_table(entry).map_err(|e| lacking(&e))?;
        let reader = file.batches_unchecked().map_err(|e| lacking(&e))?;
        let schema = arrow::array::RecordBatchReader::schema(&reader);
        let batches: Result<Vec<RecordBatch>, _> = reader.collect();
        batches
            .and_then(|b| concat_batches(&schema, &b))
            .map_err(|e| lacking(&e))
    }
}

impl Run<'_> {
    fn why_gone(&self, stage: &str, of: &str) -> Lacking {
        let run = &self.journal.run;
        match self.journal.stages.iter().find(|s| s.name == stage) {
            None => format!("{of}: run {run} did not come to a stage {stage}"),
            Some(s) if s.status == StageStatus::Failed => {
                format!("{of}: {stage} failed in run {run}")
            }
            Some(s) if s.status == StageStatus::Skipped => {
                format!("{of}: {stage} did not run in run {run}")
            }
            Some(_) => format!("{of} of run {run} is not in the store any more"),
        }
    }
}

/// Describes an error in a table's columns: the table was written by another version.
pub fn other_version(e: OpError) -> Lacking {
    format!("a table of this run was written by another version: {e}")
}
