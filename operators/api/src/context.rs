//! What an operator sees while it runs: inputs, outputs, progress, cancellation.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::artifact::Artifact;
use crate::error::{OpError, OpResult};
use crate::items::Items;
use crate::ranks;
use crate::requests::Requests;
use crate::sourced::{self, SourcedSink};

/// A flag that asks for work to stop soon. It is cheap to clone and to read.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    set: AtomicBool,
    deadline: Option<Instant>,
    parent: Option<Cancel>,
}

impl Cancel {
    /// A flag that is set when this one is, and in any case once `after` has passed from now.
    #[must_use]
    pub fn within(&self, after: Option<Duration>) -> Cancel {
        Cancel(Arc::new(Flag {
            set: AtomicBool::new(false),
            // A time too far away to be represented means no deadline.
            deadline: after.and_then(|d| Instant::now().checked_add(d)),
            parent: Some(self.clone()),
        }))
    }

    /// Sets the flag, for all clones.
    pub fn cancel(&self) {
        self.0.set.store(true, Ordering::Relaxed);
    }

    /// Whether the flag or its parent is set, or its deadline has passed.
    pub fn is_cancelled(&self) -> bool {
        self.0.set.load(Ordering::Relaxed)
            || self.0.deadline.is_some_and(|d| Instant::now() >= d)
            || self.0.parent.as_ref().is_some_and(Cancel::is_cancelled)
    }
}

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Worth knowing.
    Info,
    /// Something the user should look at.
    Warn,
}

/// A named number at a step of the work, to be watched while the work goes on: a loss, a rate, a
/// score on held-out data.
///
/// It is reported, not stored: values that must be kept belong in a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric<'a> {
    /// One-based epoch; 0 where there are none.
    pub epoch: u32,
    /// Steps taken; must not decrease within one attempt at the work.
    pub step: u64,
    /// Name: `loss`, `valid:mrr`.
    pub name: &'a str,
    /// The reported number.
    pub value: f64,
}

/// Where an operator reports to. The engine decides how it looks.
pub trait Reporter: Send + Sync {
    /// `done` of `total` units are finished; `note` is a short text beside the bar ("loss 0.31").
    fn progress(&self, done: u64, total: u64, unit: &str, note: &str);
    /// Writes a line to the log.
    fn message(&self, level: Level, text: &str);
    /// Training continued from a checkpoint taken after this many steps.
    fn resumed_at(&self, step: u64);
    /// A number worth plotting. A reporter that plots nothing may ignore it.
    fn metric(&self, metric: Metric<'_>) {
        let _ = metric;
    }
}

/// One table being written.
pub trait TableSink: Send {
    /// Appends rows.
    ///
    /// # Errors
    /// When the batch does not fit the table or writing fails.
    fn write(&mut self, batch: &RecordBatch) -> OpResult<()>;
    /// Completes the table. A sink dropped without this leaves no table.
    ///
    /// # Errors
    /// When writing fails.
    fn finish(self: Box<Self>) -> OpResult<()>;
}

/// Creates the tables of a stage's output ports.
pub trait Outputs: Send + Sync {
    /// Starts a table of an output port.
    ///
    /// # Errors
    /// When the port's kind has no such table, the schema does not fit, or it was already written.
    fn create(&self, port: &str, table: &str, schema: SchemaRef) -> OpResult<Box<dyn TableSink>>;

    /// Starts a table whose rows depend on their sources alone.
    ///
    /// # Errors
    /// See [`Outputs::create`].
    fn create_sourced(
        &self,
        port: &str,
        table: &str,
        schema: SchemaRef,
    ) -> OpResult<Box<dyn SourcedSink>> {
        let to = self.create(port, table, schema)?;
        Ok(Box::new(sourced::Unknown::new(to)))
    }
}

/// Outputs that are discarded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nowhere;

impl Outputs for Nowhere {
    fn create(&self, _: &str, _: &str, _: SchemaRef) -> OpResult<Box<dyn TableSink>> {
        Ok(Box::new(Nowhere))
    }
}

impl TableSink for Nowhere {
    fn write(&mut self, _: &RecordBatch) -> OpResult<()> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> OpResult<()> {
        Ok(())
    }
}

/// Environment variables by name.
pub type Environment = BTreeMap<OsString, OsString>;

/// The meaning of a device's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// `auto`: the best device available.
    Auto,
    /// `cpu`.
    Cpu,
    /// `cuda:N`; `cuda` is the first.
    Cuda(usize),
}

impl Device {
    /// The device of a name; `None` where it does not name a device.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Device::Auto),
            "cpu" => Some(Device::Cpu),
            "cuda" => Some(Device::Cuda(0)),
            other => other.strip_prefix("cuda:")?.parse().ok().map(Device::Cuda),
        }
    }
}

/// Everything an operator may touch while it runs.
pub struct Context {
    /// `STAGE`, for messages.
    pub stage: String,
    /// Artifacts by input port, in the order in which the pipeline lists them.
    pub inputs: BTreeMap<String, Vec<Artifact>>,
    /// Where tables go.
    pub outputs: Arc<dyn Outputs>,
    /// Where progress goes.
    pub reporter: Arc<dyn Reporter>,
    /// Set when the operator should stop.
    pub cancel: Cancel,
    /// The folder that relative paths in parameters are relative to.
    pub base: PathBuf,
    /// A private folder for checkpoints. It outlives a killed run, and the next run of the same
    /// stage with the same key gets it again. It is removed once the stage is stored.
    pub workdir: PathBuf,
    /// What stages compute item by item and keep for later runs.
    pub items: Items,
    /// Device to compute on: `cpu` or `cuda:N`, see [`Device`].
    pub device: String,
    /// The environment, for operators that run programs or need a key; others must not read it.
    pub environment: Environment,
    /// Whether nothing may be asked over the network.
    pub offline: bool,
    /// Where requests to language models are counted instead of being sent, to plan.
    pub requests: Option<Arc<Requests>>,
    /// The ranks that compute this stage together; a single one for operators that are not
    /// [`crate::Operator::on_ranks`].
    pub ranks: ranks::Shared,
}

impl Context {
    /// The artifact of a port that takes exactly one.
    ///
    /// # Errors
    /// When nothing is connected.
    pub fn input(&self, port: &str) -> OpResult<&Artifact> {
        self.input_opt(port)
            .ok_or_else(|| OpError::new(format!("nothing is connected to input `{port}`")))
    }

    /// The artifact of an optional port.
    pub fn input_opt(&self, port: &str) -> Option<&Artifact> {
        self.inputs.get(port).and_then(|v| v.first())
    }

    /// All artifacts of a port that takes many.
    pub fn inputs(&self, port: &str) -> &[Artifact] {
        self.inputs.get(port).map_or(&[], Vec::as_slice)
    }

    /// A port of this stage as one types it in a shell, for messages: it is quoted if the stage's
    /// name has brackets, which mean something to shells.
    pub fn typed(&self, port: &str) -> String {
        if self.stage.contains('[') {
            format!("'{}.{port}'", self.stage)
        } else {
            format!("{}.{port}", self.stage)
        }
    }

    /// Writes a whole table at once.
    ///
    /// # Errors
    /// See [`Outputs::create`] and [`TableSink`].
    pub fn write(&self, port: &str, table: &str, batch: &RecordBatch) -> OpResult<()> {
        let mut sink = self.outputs.create(port, table, batch.schema())?;
        sink.write(batch)?;
        sink.finish()
    }

    /// Resolves a path from a parameter against [`Context::base`].
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.base.join(path)
    }

    /// Returns [`OpError::Cancelled`] once the user has asked to stop; call it about every second.
    ///
    /// # Errors
    /// When the user has asked to stop.
    pub fn check_cancelled(&self) -> OpResult<()> {
        if self.cancel.is_cancelled() {
            return Err(OpError::Cancelled);
        }
        Ok(())
    }

    /// Reports progress; cheap enough for every step.
    pub fn progress(&self, done: u64, total: u64, unit: &str, note: &str) {
        self.reporter.progress(done, total, unit, note);
    }

    /// Reports a number worth plotting; call it at most a few times a second.
    pub fn metric(&self, metric: Metric<'_>) {
        self.reporter.metric(metric);
    }

    /// Writes a line to the log.
    pub fn info(&self, text: impl AsRef<str>) {
        self.reporter.message(Level::Info, text.as_ref());
    }

    /// Reports a line that the user should look at.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.reporter.message(Level::Warn, text.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names() {
        let all = ["auto", "cpu", "cuda", "cuda:3"].map(Device::parse);
        let want = [Device::Auto, Device::Cpu, Device::Cuda(0), Device::Cuda(3)];
        assert_eq!(all, want.map(Some));
        assert_eq!(
            ["", "gpu", "cuda:", "cuda:x", "cuda:-1"].map(Device::parse),
            [None; 5]
        );
    }
}
