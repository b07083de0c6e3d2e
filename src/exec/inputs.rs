//! Checks what a stage reads, before and after it runs: tables in the store that may be damaged,
//! and files that may have changed.

use std::collections::BTreeMap;

use gfm_pipe_api::{Artifact, Kind, kinds};

use super::stage::StageRunner;
use super::stopped::Stopped;
use crate::plan::{DecideError, Decision, Ingredients, Outcome, Seen};
use crate::spec::Stage;
use crate::store::{Found, Look, ObjectEntry};

/// Kinds of artifacts that a run opens at its end, even when they are cached: to print them, or
/// because operators make remarks about them.
const PRINTED: [&Kind; 6] = [
    &kinds::METRICS,
    &kinds::COMPARISONS,
    &kinds::HISTORY,
    &kinds::AUDIT,
    &kinds::FINDINGS,
    &kinds::STATISTICS,
];

/// What to do when a file changed under a stage.
pub(super) const RUN_AGAIN: &str = "run it again once nothing writes to the file";

impl StageRunner {
    /// Decides what happens to a stage whose inputs are known. Cached tables that will be opened
    /// are checked byte by byte first; a stage with damaged ones is no longer cached.
    pub(super) fn decide(
        &self,
        stage: &Stage,
        inputs: &BTreeMap<String, Vec<Artifact>>,
    ) -> Result<Decision, Stopped> {
        let decision = self.planner.decide(stage, inputs)?;
        let store = self.planner.store();
        if let Outcome::Cached(manifest) = &decision.outcome {
            let printed = |kind: &str| PRINTED.iter().any(|k| k.name == kind);
            let ports = manifest.ports.values();
            let ports = ports.filter(|p| self.opened.contains(&stage.name) || printed(&p.kind));
            let objects = ports.flat_map(|p| &p.tables).flat_map(|t| &t.objects);
            let objects: Vec<&ObjectEntry> = objects.collect();
            if store.flaw(objects, Look::Bytes)?.is_some() {
                return Ok(self.planner.decide(stage, inputs)?);
            }
        }
        Ok(decision)
    }

    /// When a stage failed because of a damaged input, returns an error that says so. The next run
    /// computes that input again.
    pub(super) fn damaged_input(
        &self,
        inputs: &BTreeMap<String, Vec<Artifact>>,
        stopped: Stopped,
    ) -> Stopped {
        let Stopped::Failed { message, hint } = stopped else {
            return stopped;
        };
        let store = self.planner.store();
        for artifact in inputs.values().flatten() {
            let objects = artifact.tables.iter().flat_map(|table| {
                let objects = table.objects.iter();
                objects.map(move |object| (table, object))
            });
            for (table, object) in objects {
                let found = store.check(&object.digest, object.bytes, Look::Bytes);
                if matches!(found, Ok(Found::Sound)) {
                    continue;
                }
                return Stopped::Failed {
                    message: format!(
                        "{message}\ninput {}.{} is damaged: {} does not have the content it is named by",
                        artifact.name,
                        table.name,
                        object.path.display()
                    ),
                    hint: Some("run again: what is damaged is computed anew".to_owned()),
                };
            }
        }
        Stopped::Failed { message, hint }
    }
}

/// What changed between the making of the key and the end of the stage, if anything. A file that
/// has its old content again counts as changed, because it may have had another in between.
pub(super) fn changed(
    before: &Decision,
    after: Result<(Ingredients, Vec<Seen>), DecideError>,
) -> Option<String> {
    let after = match after {
        Ok((after, _)) => after,
        Err(e) => return Some(format!("an input file went away ({e})")),
    };
    if let Some(what) = before.seen.iter().find_map(Seen::change) {
        return Some(what);
    }
    let before = &before.ingredients;
    if after == *before {
        return None;
    }
    let mut files = before.files.iter().zip(&after.files);
    Some(match files.find(|(a, b)| a != b) {
        Some((file, _)) => format!("{} changed", file.path),
        None => "an input changed".to_owned(),
    })
}
