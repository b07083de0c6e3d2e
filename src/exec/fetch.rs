//! Fetches missing files that stages read, before any stage starts.

use std::path::Path;
use std::sync::Arc;

use gfm_pipe_api::{Cancel, OpError};

use super::reporter::StageReporter;
use crate::plan::{DecideError, Prepared, StageTrouble};
use crate::record::EventSink;
use crate::spec::Pipeline;

/// Lets the operators of stages whose files are missing fetch them, and then plans again. A failure
/// is reported in place of the missing files, and no further fetch is tried, because the next one
/// would most likely fail too.
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
    if let Some((stage, e)) = failed {
        tell(&mut prepared.troubles, &stage, e);
    }
}

/// Reports why fetching the files of a stage failed. Other stages that lack the same file only
/// refer to that stage.
fn tell(troubles: &mut [StageTrouble], stage: &str, why: OpError) {
    let lacks = |t: &StageTrouble| match &t.error {
        DecideError::Files(files) => files.iter().find(|f| f.hint.is_some()).cloned(),
        _ => None,
    };
    let Some(place) = troubles.iter().position(|t| t.stage == stage) else {
        return;
    };
    let lacked = lacks(&troubles[place]);
    for other in troubles.iter_mut().filter(|t| t.stage != stage) {
        if let Some(file) = lacks(other)
            && lacked.as_ref().is_some_and(|l| l.path == file.path)
        {
            let text = format!("{}: see stage `{stage}`", file.why);
            other.error = DecideError::Operator(OpError::new(text));
        }
    }
    troubles[place].error = DecideError::Operator(why);
}
