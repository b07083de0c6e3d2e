//! Events of a run: one enum for all listeners.

use std::collections::BTreeMap;
use std::sync::Arc;

use gfm_pipe_api::Level;
use serde::{Deserialize, Deserializer, Serialize};

use crate::plan::Key;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It goes on, or was killed.
    Running,
    /// Every stage asked for is stored.
    Ok,
    /// A stage failed.
    Failed,
    /// The user stopped it.
    Interrupted,
}

/// How a stage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageStatus {
    /// It was computed and stored.
    Ran,
    /// The store had it.
    Cached,
    /// It failed.
    Failed,
    /// It was not started, or the user stopped it.
    Skipped,
}

/// A stage in the closing event: the machine-readable result of a run. Its keys are a promise to
/// scripts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageSummary {
    /// Stage.
    pub name: String,
    /// Operator.
    pub op: String,
    /// How it ended.
    pub status: StageStatus,
    /// Its key, where it got that far.
    pub key: Option<Key>,
    /// Seconds by the wall clock.
    pub seconds: f64,
    /// Why it ran, or why it did not.
    pub reasons: Vec<String>,
    /// Digest of every output port.
    pub outputs: BTreeMap<String, String>,
    /// The step of the checkpoint it continued from, if it did.
    pub resumed_at_step: Option<u64>,
}

/// Everything known about a stage at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// Stage.
    pub name: String,
    /// Operator.
    pub op: String,
    /// How it ended.
    pub status: StageStatus,
    /// Its key, where it got that far.
    pub key: Option<Key>,
    /// Seconds by the wall clock.
    pub seconds: f64,
    /// When it began, the look into the store included: milliseconds since 1970, UTC. Missing where
    /// it was not started, and in journals of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// Why it ran, or why it did not.
    pub reasons: Vec<String>,
    /// What its input ports took in this run, `STAGE.PORT` by port; empty in journals of older
    /// versions. What is kept with a cached result has the names of the run that made it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Vec<String>>,
    /// Stages it waited for without taking anything of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Digest of every output port.
    pub outputs: BTreeMap<String, String>,
    /// The step of the checkpoint it continued from, if it did.
    pub resumed_at_step: Option<u64>,
    /// Rows of all its tables.
    pub rows: u64,
    /// Bytes of all its tables.
    pub bytes: u64,
    /// Something to know about a cached result: `made on cuda`.
    pub note: Option<String>,
    /// What the user should know about the result, and what to try.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl StageRecord {
    /// A stage about which nothing happened yet.
    pub fn new(name: &str, op: &str, status: StageStatus) -> Self {
        StageRecord {
            name: name.to_owned(),
            op: op.to_owned(),
            status,
            key: None,
            seconds: 0.0,
            started_ms: None,
            ended_ms: None,
            reasons: Vec::new(),
            inputs: BTreeMap::new(),
            after: Vec::new(),
            outputs: BTreeMap::new(),
            resumed_at_step: None,
            rows: 0,
            bytes: 0,
            note: None,
            warnings: Vec::new(),
            error: None,
            hint: None,
        }
    }

    /// A stage that was not started.
    pub fn skipped(name: &str, op: &str, why: impl Into<String>) -> Self {
        StageRecord {
            reasons: vec![why.into()],
            ..StageRecord::new(name, op, StageStatus::Skipped)
        }
    }

    /// A stage that failed through a fault of the engine.
    pub fn engine_failed(name: &str, op: &str, error: impl Into<String>) -> Self {
        StageRecord {
            error: Some(error.into()),
            hint: Some("this is a fault of gfm-pipe: please report it".to_owned()),
            ..StageRecord::new(name, op, StageStatus::Failed)
        }
    }

    /// The part scripts may rely on.
    pub fn summary(&self) -> StageSummary {
        StageSummary {
            name: self.name.clone(),
            op: self.op.clone(),
            status: self.status,
            key: self.key.clone(),
            seconds: self.seconds,
            reasons: self.reasons.clone(),
            outputs: self.outputs.clone(),
            resumed_at_step: self.resumed_at_step,
        }
    }
}

/// Something happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first event.
    RunStarted {
        /// Name of the run.
        run: String,
        /// Name of the pipeline.
        pipeline: String,
        /// Its stages, in the order written.
        stages: Vec<String>,
        /// Version of gfm-pipe.
        version: String,
        /// Seconds that stages which will probably run took last time, by stage.
        expected: BTreeMap<String, f64>,
    },
    /// An operator starts; cached stages have no such event.
    StageStarted {
        /// Stage.
        stage: String,
        /// Operator.
        op: String,
        /// Key.
        key: Key,
        /// Why.
        reasons: Vec<String>,
    },
    /// An operator is this far.
    Progress {
        /// Stage.
        stage: String,
        /// Units through.
        done: u64,
        /// Units in all.
        total: u64,
        /// What is counted.
        unit: String,
        /// A short text ("loss 0.31").
        note: String,
    },
    /// An operator, or the engine on its behalf, has something to say.
    Message {
        /// Stage.
        stage: String,
        /// `info` or `warn`.
        level: Level,
        /// What.
        text: String,
    },
    /// An operator goes on from a checkpoint it took after this many steps.
    StageResumed {
        /// Stage.
        stage: String,
        /// Steps.
        step: u64,
    },
    /// An operator failed and is tried again: what it reported before is reported again, from its
    /// last checkpoint or from the start.
    StageRetried {
        /// Stage.
        stage: String,
        /// How often it was tried again, this time included.
        retry: u32,
    },
    /// A number worth a curve: a loss, a rate, a score.
    Metric {
        /// Stage.
        stage: String,
        /// One-based epoch; 0 where there are none.
        epoch: u32,
        /// Steps taken.
        step: u64,
        /// Name.
        name: String,
        /// Value; `null` in JSON where it is none.
        #[serde(deserialize_with = "number")]
        value: f64,
    },
    /// A stage ended, in whatever way.
    StageFinished(Box<StageRecord>),
    /// The last event.
    RunFinished {
        /// How.
        status: RunStatus,
        /// Every stage of the pipeline, in the order written.
        stages: Vec<StageSummary>,
    },
}

/// A number that JSON may not have been able to hold.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(from)?.unwrap_or(f64::NAN))
}

/// Somebody who wants to know. Called from many threads; must not block for long and must not fail.
pub trait EventSink: Send + Sync {
    /// Something happened.
    fn emit(&self, event: &Event);
}

/// Passes events to several listeners, in order.
pub struct Fanout(pub Vec<Arc<dyn EventSink>>);

impl EventSink for Fanout {
    fn emit(&self, event: &Event) {
        for sink in &self.0 {
            sink.emit(event);
        }
    }
}
