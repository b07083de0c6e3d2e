//! Events of a run: one enum that all listeners share.

use std::collections::BTreeMap;
use std::sync::Arc;

use gfm_pipe_api::Level;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::plan::Key;
use crate::store::ItemCounts;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It is going on, or was killed.
    Running,
    /// Every requested stage is stored.
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
    /// The store already had its result.
    Cached,
    /// It failed.
    Failed,
    /// It was not started, or the user stopped it.
    Skipped,
}

/// Why a stage was skipped that the request leaves out.
pub const NOT_SELECTED: &str = "not selected";

/// A stage in the closing event, which is the machine-readable result of a run. Scripts rely on its
/// keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageSummary {
    /// Name of the stage.
    pub name: String,
    /// Name of the operator.
    pub op: String,
    /// How it ended.
    pub status: StageStatus,
    /// Its key, if it got far enough to have one.
    pub key: Option<Key>,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Why it ran, or why it did not.
    pub reasons: Vec<String>,
    /// Digest of every output port.
    pub outputs: BTreeMap<String, String>,
    /// The step of the checkpoint it resumed from, if it did.
    pub resumed_at_step: Option<u64>,
    /// The items it was made of, if it ran and has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<ItemCounts>,
}

/// Everything known about a stage when it has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// Name of the stage.
    pub name: String,
    /// Name of the operator.
    pub op: String,
    /// How it ended.
    pub status: StageStatus,
    /// Its key, if it got far enough to have one.
    pub key: Option<Key>,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// When it began, including the look-up in the store: milliseconds since 1970, UTC. Missing if
    /// it was not started, and in journals of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    /// When it ended, in the same unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// Why it ran, or why it did not.
    pub reasons: Vec<String>,
    /// What each input port took in this run: `STAGE.PORT` names by port. Empty in journals of
    /// older versions. (The manifest of a cached result has the names of the run that made it.)
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Vec<String>>,
    /// Stages it waited for without reading anything from them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Parameters with all defaults, of stages that can be asked questions: `ask` needs those too
    /// that are in no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
    /// Digest of every output port.
    pub outputs: BTreeMap<String, String>,
    /// The step of the checkpoint it resumed from, if it did.
    pub resumed_at_step: Option<u64>,
    /// The items it was made of, if it ran and has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<ItemCounts>,
    /// Number of rows in all its tables.
    pub rows: u64,
    /// Size of all its tables in bytes.
    pub bytes: u64,
    /// Something the user should know about a cached result, such as `made on cuda`.
    pub note: Option<String>,
    /// Warnings about the result, each with what to try.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Error message, if it failed.
    pub error: Option<String>,
    /// What the user can do about the error.
    pub hint: Option<String>,
}

impl StageRecord {
    /// A record of a stage about which nothing is known yet but its status.
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
            params: None,
            outputs: BTreeMap::new(),
            resumed_at_step: None,
            items: None,
            rows: 0,
            bytes: 0,
            note: None,
            warnings: Vec::new(),
            error: None,
            hint: None,
        }
    }

    /// A record of a stage that was not started, with the reason.
    pub fn skipped(name: &str, op: &str, why: impl Into<String>) -> Self {
        StageRecord {
            reasons: vec![why.into()],
            ..StageRecord::new(name, op, StageStatus::Skipped)
        }
    }

    /// A record of a stage that failed because of a bug in the engine.
    pub fn engine_failed(name: &str, op: &str, error: impl Into<String>) -> Self {
        StageRecord {
            error: Some(error.into()),
            hint: Some("this is a fault of gfm-pipe: please report it".to_owned()),
            ..StageRecord::new(name, op, StageStatus::Failed)
        }
    }

    /// The part that scripts may rely on.
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
            items: self.items.clone(),
        }
    }
}

/// Something that happened in a run.
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
        /// Seconds that stages took last time, by stage; only stages that will probably run.
        expected: BTreeMap<String, f64>,
    },
    /// An operator starts. Cached stages have no such event.
    StageStarted {
        /// Name of the stage.
        stage: String,
        /// Name of the operator.
        op: String,
        /// Key of the stage.
        key: Key,
        /// Why it runs.
        reasons: Vec<String>,
    },
    /// How far an operator has got.
    Progress {
        /// Name of the stage.
        stage: String,
        /// Number of units done.
        done: u64,
        /// Number of units in total.
        total: u64,
        /// What is counted, such as `steps`.
        unit: String,
        /// A short text ("loss 0.31").
        note: String,
    },
    /// A message from an operator, or from the engine on its behalf.
    Message {
        /// Name of the stage.
        stage: String,
        /// `info` or `warn`.
        level: Level,
        /// The message.
        text: String,
    },
    /// An operator resumes from a checkpoint that it wrote after this many steps.
    StageResumed {
        /// Name of the stage.
        stage: String,
        /// Number of steps done before.
        step: u64,
    },
    /// An operator failed and is tried again. What it reported since its last checkpoint (or since
    /// the start) will be reported again.
    StageRetried {
        /// Name of the stage.
        stage: String,
        /// Number of this retry, starting at 1.
        retry: u32,
    },
    /// A value for a curve: a loss, a rate, a score.
    Metric {
        /// Name of the stage.
        stage: String,
        /// One-based epoch; 0 if there are no epochs.
        epoch: u32,
        /// Number of steps done.
        step: u64,
        /// Name of the metric.
        name: String,
        /// Value; `null` in JSON if it is not finite.
        #[serde(deserialize_with = "number")]
        value: f64,
    },
    /// A stage ended, in whatever way.
    StageFinished(Box<StageRecord>),
    /// The last event.
    RunFinished {
        /// How the run ended.
        status: RunStatus,
        /// Every stage of the pipeline, in the order written.
        stages: Vec<StageSummary>,
    },
}

/// Reads a number that may be `null`, because JSON has no NaN or infinity.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(from)?.unwrap_or(f64::NAN))
}

/// A listener. `emit` is called from many threads; it must not block for long and must not fail.
pub trait EventSink: Send + Sync {
    /// Receives an event.
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
