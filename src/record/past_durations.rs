//! How long stages took in earlier runs, for saying how long they will take.

use std::collections::BTreeMap;

use super::events::StageStatus;
use super::history::names;
use super::journal::journal;
use crate::store::Store;

/// At most so many journals are read: what ran longer ago says little.
const LATEST: usize = 30;

/// Seconds each stage of a pipeline took when it was last computed. Best effort: what cannot be
/// read says nothing.
pub fn durations(store: &Store, pipeline: &str) -> BTreeMap<String, f64> {
    let mut out = BTreeMap::new();
    for run in names(store).unwrap_or_default().iter().rev().take(LATEST) {
        let Ok(Some(journal)) = journal(store, run) else {
            continue;
        };
        if journal.pipeline != pipeline {
            continue;
        }
        for stage in journal.stages {
            // One that went on from a checkpoint took longer than it says.
            if stage.status == StageStatus::Ran && stage.resumed_at_step.is_none() {
                out.entry(stage.name).or_insert(stage.seconds);
            }
        }
    }
    out
}
