//! How long stages took in earlier runs, to estimate how long they will take.

use std::collections::BTreeMap;

use super::events::StageStatus;
use super::history::names;
use super::journal::journal;
use crate::store::Store;

/// The number of latest journals that are read; older ones say little.
const LATEST: usize = 30;

/// Seconds that each stage of a pipeline took when it was last computed. Best effort: journals that
/// cannot be read are skipped.
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
            // The seconds of a stage that resumed do not include the work before its checkpoint.
            if stage.status == StageStatus::Ran && stage.resumed_at_step.is_none() {
                out.entry(stage.name).or_insert(stage.seconds);
            }
        }
    }
    out
}
