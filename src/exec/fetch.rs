//! Getting what stages read and is elsewhere, before any of them starts.

use std::path::Path;
use std::sync::Arc;

use gfm_pipe_api::Cancel;

use super::reporter::StageReporter;
use crate::plan::{DecideError, Prepared};
use crate::record::EventSink;
use crate::spec::Pipeline;

/// Lets the operators of stages whose files are missing get them, and looks again. A failure takes the place of what was missing, and
/// nothing more is tried then: the next one would most likely fail alike.
pub(super) fn fetch(
    pipeline: &Pipeline,
    prepared: &mut Prepared,
    base: &Path,
    sink: &Arc<dyn EventSink>,
    cancel: &Cancel,
) {
    if prepared.troubles.is_empty() {
        return;
    }
    let mut failed = None;
    for trouble in &prepared.troubles {
        let Some(stage) = pipeline.stage(&trouble.stage) else {
            continue;
        };
        let reporter = StageReporter::new(&stage.name, Arc::clone(sink));
        if let Err(e) = stage.op.fetch(&stage.params, base, &reporter, cancel) {
            failed = Some((stage.name.clone(), e));
            break;
        }
    }
    (prepared.plan, prepared.troubles) = prepared.planner.walk(pipeline, &prepared.roles);
    if let Some((stage, e)) = failed
        && let Some(trouble) = prepared.troubles.iter_mut().find(|t| t.stage == stage)
    {
        trouble.error = DecideError::Operator(e);
    }
}
