//! One stage from lookup to record. Runs on a blocking thread.
//!
//! Invariant: a stage is stored only when its operator succeeded, wrote every declared table, and its input files are still
//! what they were when the key was made.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use gfm_pipe_api::{
    Artifact, Cancel, Context, Environment, Level, OpError, OpResult, Outputs, Reporter, ranks,
};

use super::panics;
use super::reporter::StageReporter;
use crate::plan::select::Role;
use crate::plan::{DecideError, Decision, FileId, LastEnd, LastLook, Outcome, Planner, Reason};
use crate::ranks::Lead;
use crate::record::{Event, EventSink, StageRecord, StageStatus, now_ms, utc};
use crate::spec::{Stage, split_port};
use crate::store::{
    Lookup, MANIFEST_FORMAT, MadeOn, Manifest, Remote, StageTables, StoreError, full_disk,
    hash_file,
};

/// Artifacts of a stage by port.
pub(super) type Ports = BTreeMap<String, Artifact>;

/// How often a waiting stage looks whether it shall stop.
const POLL: Duration = Duration::from_millis(50);

/// Runs stages of one run.
pub(super) struct StageRunner {
    pub(super) planner: Planner,
    pub(super) sink: Arc<dyn EventSink>,
    pub(super) cancel: Cancel,
    pub(super) base: PathBuf,
    pub(super) device: String,
    /// Whether stages may run programs the pipeline names.
    pub(super) allow_exec: bool,
    /// What such programs may be given of the environment.
    pub(super) environment: Environment,
    /// The other ranks, where there are some.
    pub(super) lead: Option<Arc<Lead>>,
    /// Stages that cannot run, with why: what they read is not there.
    pub(super) troubles: BTreeMap<String, DecideError>,
}

/// Why a stage was not stored.
enum Stopped {
    Cancelled,
    Failed {
        message: String,
        hint: Option<String>,
    },
}

impl Stopped {
    fn new(message: impl Into<String>, hint: Option<&str>) -> Self {
        Stopped::Failed {
            message: message.into(),
            hint: hint.map(ToOwned::to_owned),
        }
    }
}

impl From<OpError> for Stopped {
    fn from(e: OpError) -> Self {
        match e {
            OpError::Cancelled => Stopped::Cancelled,
            OpError::Failed(f) => {
                let full = f.source.as_deref().and_then(|e| full_disk(e));
                Stopped::Failed {
                    message: f.to_string(),
                    hint: f.hint.or(full.map(ToOwned::to_owned)),
                }
            }
        }
    }
}

impl From<StoreError> for Stopped {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::Cancelled => Stopped::Cancelled,
            other => Stopped::Failed {
                message: other.to_string(),
                hint: other.hint(),
            },
        }
    }
}

impl From<DecideError> for Stopped {
    fn from(e: DecideError) -> Self {
        match e {
            DecideError::Store(e) => e.into(),
            DecideError::Operator(e) => e.into(),
            DecideError::Files(_) => Stopped::Failed {
                message: e.to_string(),
                hint: e.hint(),
            },
        }
    }
}

impl StageRunner {
    /// The record of a stage that cannot run.
    pub(super) fn troubled(&self, stage: &Stage) -> Option<StageRecord> {
        let error = self.troubles.get(&stage.name)?;
        if matches!(error, DecideError::Operator(OpError::Cancelled)) {
            return Some(StageRecord::skipped(
                &stage.name,
                stage.op.name,
                "interrupted",
            ));
        }
        let mut record = StageRecord::new(&stage.name, stage.op.name, StageStatus::Failed);
        record.error = Some(error.to_string());
        record.hint = error.hint();
        Some(record)
    }

    /// Gets the stage's artifacts, from the store or by running its operator.
    pub(super) fn run(
        &self,
        stage: &Stage,
        role: Role,
        inputs: BTreeMap<String, Vec<Artifact>>,
    ) -> (StageRecord, Option<Ports>) {
        let start = Instant::now();
        let mut record = StageRecord::new(&stage.name, stage.op.name, StageStatus::Failed);
        record.started_ms = Some(now_ms());
        let mut look = None;
        let result = self
            .attempt(stage, role, &inputs, &mut record, &mut look)
            .and_then(|manifest| {
                let store = self.planner.store();
                let ports = store.artifacts(&stage.name, &stage.op, &manifest);
                // A stage that fails to deliver has its result all the same: it can be shown, and is cached next time.
                record.rows = manifest.rows();
                record.bytes = manifest.tables().map(|t| t.bytes).sum();
                record.outputs = manifest
                    .ports
                    .iter()
                    .map(|(port, entry)| (port.clone(), entry.digest.clone()))
                    .collect();
                if role == Role::Run {
                    self.deliver(stage, &inputs, &ports)
                        .map_err(|stopped| damaged_input(&inputs, stopped))?;
                    record.warnings = self.remarks(stage, &ports);
                }
                Ok(ports)
            });
        record.seconds = start.elapsed().as_secs_f64();
        record.ended_ms = Some(now_ms());
        let (end, ports) = match result {
            Ok(ports) => (LastEnd::Stored, Some(ports)),
            Err(Stopped::Cancelled) => {
                record.status = StageStatus::Skipped;
                record.reasons = vec!["interrupted".to_owned()];
                (LastEnd::Interrupted, None)
            }
            Err(Stopped::Failed { message, hint }) => {
                record.status = StageStatus::Failed;
                record.error = Some(message);
                record.hint = hint;
                (LastEnd::Failed, None)
            }
        };
        // A stage that was not asked for explains nothing to the next run that asks for it.
        if role == Role::Run
            && let Some(Decision {
                key, ingredients, ..
            }) = look
        {
            let look = LastLook::new(key, ingredients, end);
            let (store, pipeline) = (self.planner.store(), self.planner.pipeline());
            if let Err(e) = look.write(store, pipeline, &stage.name) {
                self.warn(stage, &format!("the next run cannot say why it runs: {e}"));
            }
        }
        (record, ports)
    }

    fn warn(&self, stage: &Stage, text: &str) {
        StageReporter::new(&stage.name, Arc::clone(&self.sink)).message(Level::Warn, text);
    }

    fn attempt(
        &self,
        stage: &Stage,
        role: Role,
        inputs: &BTreeMap<String, Vec<Artifact>>,
        record: &mut StageRecord,
        look: &mut Option<Decision>,
    ) -> Result<Manifest, Stopped> {
        let decision = look.insert(self.planner.decide(stage, inputs)?);
        record.key = Some(decision.key.clone());
        let outcome = std::mem::replace(&mut decision.outcome, Outcome::Run(Vec::new()));
        let (reasons, elsewhere) = match outcome {
            Outcome::Cached(manifest) => return Ok(self.cached(stage, record, *manifest)),
            Outcome::Remote {
                manifest,
                otherwise,
            } => (otherwise, Some(manifest)),
            Outcome::Run(reasons) => (reasons, None),
        };
        if role == Role::FromCache && elsewhere.is_none() {
            return Err(Stopped::new(
                "left out by the selection, but not in the store",
                Some("run it without --only or --from"),
            ));
        }
        record.reasons = reasons.iter().map(Reason::to_string).collect();
        let store = self.planner.store();
        let key = decision.key.as_str();
        let _lock = store.lock(key, &stage.name, &self.cancel, |holder| {
            let whom = holder.map_or_else(|| "another process".to_owned(), |h| h.to_string());
            let text = format!("waiting for {whom}, which computes the same");
            StageReporter::new(&stage.name, Arc::clone(&self.sink)).message(Level::Info, &text);
        })?;
        let forced = self.planner.is_forced(&stage.name);
        if !forced && let Lookup::Hit(manifest) = store.lookup(&decision.key, &stage.op)? {
            // Another process stored it since the decision.
            record.reasons.clear();
            return Ok(self.cached(stage, record, *manifest));
        }
        if let (Some(manifest), Some(remote)) = (elsewhere, self.planner.remote()) {
            let fetched = remote.fetch(store, &manifest, &self.cancel);
            tell(remote, self.sink.as_ref());
            if fetched? {
                record.reasons.clear();
                let manifest = self.cached(stage, record, *manifest);
                let from = format!("from {}", remote.name());
                record.note = Some(match record.note.take() {
                    Some(note) => format!("{from}, {note}"),
                    None => from,
                });
                return Ok(manifest);
            }
            if role == Role::FromCache {
                return Err(Stopped::new(
                    format!(
                        "left out by the selection, and {} failed to give it",
                        remote.name()
                    ),
                    Some("run it without --only or --from"),
                ));
            }
        }
        // Looked at before the run; but what was cached then may be gone by now.
        if !self.allow_exec && stage.op.command(&stage.params)?.is_some() {
            return Err(Stopped::new(
                "it runs a program, which was not allowed",
                Some("--allow-exec allows it"),
            ));
        }
        self.sink.emit(&Event::StageStarted {
            stage: stage.name.clone(),
            op: stage.op.name.to_owned(),
            key: decision.key.clone(),
            reasons: record.reasons.clone(),
        });
        let start = Instant::now();
        let workdir = store.workdir(key);
        if forced {
            remove_dir(&workdir)?;
        }
        fs::create_dir_all(&workdir).map_err(StoreError::io("create", &workdir))?;
        fail::fail_point!("stage-started");
        let files = decision.ingredients.files.clone();
        let result = self.tried(stage, (inputs, &files), &workdir, record);
        let tables = match result {
            Ok(tables) => tables,
            Err(stopped) => {
                // Only an empty one goes: checkpoints are what the next attempt continues from.
                let _ = fs::remove_dir(&workdir);
                return Err(stopped);
            }
        };
        fail::fail_point!("stage-computed");
        let after = self.planner.ingredients(stage, inputs);
        if let Some(what) = changed(&decision.ingredients, after) {
            return Err(Stopped::new(
                format!("{what} while the stage ran; its result is not stored"),
                Some("run again once nothing writes to it"),
            ));
        }
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            key: decision.key.clone(),
            ingredients: decision.ingredients.clone(),
            ports: tables.commit()?,
            seconds: start.elapsed().as_secs_f64(),
            resumed_at_step: record.resumed_at_step,
            made_on: MadeOn::here(&self.device, stage.op.on_gpu),
            made_at: utc(SystemTime::now()),
            seal: None,
        }
        .sealed();
        store.put_manifest(&manifest)?;
        fail::fail_point!("after-manifest");
        // The stage is stored; a workdir that stays only takes room.
        if let Err(e) = remove_dir(&workdir) {
            self.warn(stage, &e.to_string());
        }
        record.status = StageStatus::Ran;
        Ok(manifest)
    }

    fn cached(&self, stage: &Stage, record: &mut StageRecord, manifest: Manifest) -> Manifest {
        record.status = StageStatus::Cached;
        record.note = manifest
            .made_on
            .differs_from(&MadeOn::here(&self.device, stage.op.on_gpu));
        manifest
    }

    fn context(
        &self,
        stage: &Stage,
        inputs: BTreeMap<String, Vec<Artifact>>,
        tables: &Arc<StageTables>,
        reporter: &Arc<StageReporter>,
        workdir: &Path,
    ) -> Context {
        Context {
            stage: stage.name.clone(),
            inputs,
            outputs: Arc::clone(tables) as Arc<dyn Outputs>,
            reporter: Arc::clone(reporter) as Arc<dyn Reporter>,
            cancel: self.cancel.clone(),
            base: self.base.clone(),
            workdir: workdir.to_owned(),
            cache: self.planner.store().cache(),
            device: self.device.clone(),
            environment: self.environment.clone(),
            ranks: ranks::single(),
        }
    }

    /// Lets the operator leave what belongs outside the store. No table it may write then is kept.
    fn deliver(
        &self,
        stage: &Stage,
        inputs: &BTreeMap<String, Vec<Artifact>>,
        ports: &Ports,
    ) -> Result<(), Stopped> {
        let tables = Arc::new(StageTables::new(self.planner.store(), &[]));
        let reporter = Arc::new(StageReporter::new(&stage.name, Arc::clone(&self.sink)));
        let ctx = self.context(stage, inputs.clone(), &tables, &reporter, Path::new(""));
        Ok(caught(|| {
            stage.op.deliver(stage.params.clone(), &ctx, ports)
        })?)
    }

    /// What the operator says about the result. Nothing depends on it, so it fails no stage.
    fn remarks(&self, stage: &Stage, ports: &Ports) -> Vec<String> {
        let made = caught(|| stage.op.remarks(&stage.params, ports)).map_err(Stopped::from);
        match made {
            Ok(remarks) => remarks,
            Err(Stopped::Cancelled) => Vec::new(),
            Err(Stopped::Failed { message, .. }) => {
                self.warn(stage, &format!("the result was not looked at: {message}"));
                Vec::new()
            }
        }
    }

    /// Computes, again where that fails and the stage has retries.
    fn tried(
        &self,
        stage: &Stage,
        (inputs, files): (&BTreeMap<String, Vec<Artifact>>, &[FileId]),
        workdir: &Path,
        record: &mut StageRecord,
    ) -> Result<StageTables, Stopped> {
        let mut tried = 0;
        loop {
            let stopped = match self.compute(stage, (inputs, files), workdir, record) {
                Err(stopped) => damaged_input(inputs, stopped),
                done => return done,
            };
            let Stopped::Failed { message, hint } = stopped else {
                return Err(stopped);
            };
            if tried == stage.limits.retries {
                let message = match tried {
                    0 => message,
                    n => format!("{message}\n(tried {} times)", n + 1),
                };
                return Err(Stopped::Failed { message, hint });
            }
            tried += 1;
            let pause = pause(tried);
            self.warn(
                stage,
                &format!(
                    "{message}; trying again in {} s (retry {tried} of {})",
                    pause.as_secs(),
                    stage.limits.retries
                ),
            );
            let until = Instant::now() + pause;
            while Instant::now() < until {
                if self.cancel.is_cancelled() {
                    return Err(Stopped::Cancelled);
                }
                std::thread::sleep(POLL);
            }
            self.sink.emit(&Event::StageRetried {
                stage: stage.name.clone(),
                retry: tried,
            });
            // The attempt may have removed it with everything in it.
            fs::create_dir_all(workdir).map_err(StoreError::io("create", workdir))?;
        }
    }

    /// Runs the operator on all ranks.
    fn together(
        &self,
        lead: &Lead,
        stage: &Stage,
        ctx: &mut Context,
        files: &[FileId],
    ) -> OpResult<()> {
        let together = lead.start(stage, &ctx.inputs, files, &ctx.cancel)?;
        ctx.ranks = together.ranks();
        let result = caught(|| stage.op.run(stage.params.clone(), ctx));
        together.end(result)
    }

    fn compute(
        &self,
        stage: &Stage,
        (inputs, files): (&BTreeMap<String, Vec<Artifact>>, &[FileId]),
        workdir: &Path,
        record: &mut StageRecord,
    ) -> Result<StageTables, Stopped> {
        let tables = Arc::new(StageTables::new(self.planner.store(), &stage.op.outputs));
        let reporter = Arc::new(StageReporter::new(&stage.name, Arc::clone(&self.sink)));
        let mut ctx = self.context(stage, inputs.clone(), &tables, &reporter, workdir);
        ctx.cancel = self.cancel.within(stage.limits.timeout);
        let result = match &self.lead {
            Some(lead) if stage.op.on_ranks(&stage.params)? => {
                self.together(lead, stage, &mut ctx, files)
            }
            _ => caught(|| stage.op.run(stage.params.clone(), &ctx)),
        };
        let result = result.map_err(Stopped::from);
        record.resumed_at_step = reporter.resumed_at_step();
        drop(ctx);
        match result {
            Err(Stopped::Cancelled) if !self.cancel.is_cancelled() => {
                return Err(late(stage.limits.timeout));
            }
            other => other?,
        }
        tables.check_complete()?;
        Arc::try_unwrap(tables).map_err(|_| {
            Stopped::new(
                "the operator kept its outputs after it returned",
                Some("this is a fault of the operator, not of the pipeline: please report it"),
            )
        })
    }
}

/// Tells what went wrong with the remote.
pub(super) fn tell(remote: &Remote, sink: &dyn EventSink) {
    for text in remote.news() {
        sink.emit(&Event::Message {
            stage: "remote".to_owned(),
            level: Level::Warn,
            text,
        });
    }
}

/// How long to wait before a retry: twice as long each time, for what only needs time (a disk, a network).
fn pause(retry: u32) -> Duration {
    Duration::from_secs(1 << retry.saturating_sub(1).min(5))
}

/// An operator stopped though nobody asked it to.
fn late(timeout: Option<Duration>) -> Stopped {
    match timeout {
        Some(t) => Stopped::new(
            format!("it took longer than {}", humantime::format_duration(t)),
            Some(
                "raise the stage's `timeout`; a training goes on from its last checkpoint when it runs again",
            ),
        ),
        None => Stopped::new(
            "the operator stopped without a reason",
            Some("this is a fault of the operator, not of the pipeline: please report it"),
        ),
    }
}

/// The result of an operator's code; a panic is a failure of its stage.
pub(crate) fn caught<T>(code: impl FnOnce() -> OpResult<T>) -> OpResult<T> {
    panics::catch(code).unwrap_or_else(|panic| {
        let place = panic.place.map(|p| format!(" at {p}")).unwrap_or_default();
        Err(
            OpError::new(format!("the operator panicked{place}: {}", panic.message))
                .hint("this is a fault of the operator, not of the pipeline: please report it"),
        )
    })
}

/// What changed between making the key and finishing, if anything.
fn changed(
    before: &crate::plan::Ingredients,
    after: Result<crate::plan::Ingredients, DecideError>,
) -> Option<String> {
    let after = match after {
        Ok(after) => after,
        Err(e) => return Some(format!("an input file went away ({e})")),
    };
    if after == *before {
        return None;
    }
    let mut files = before.files.iter().zip(&after.files);
    Some(match files.find(|(a, b)| a != b) {
        Some((file, _)) => format!("{} changed", file.path),
        None => "an input changed".to_owned(),
    })
}

/// A stage that fails on an input whose bytes rotted says so: the size was right, so nobody noticed before.
fn damaged_input(inputs: &BTreeMap<String, Vec<Artifact>>, stopped: Stopped) -> Stopped {
    let Stopped::Failed { message, hint } = stopped else {
        return stopped;
    };
    for artifact in inputs.values().flatten() {
        for table in &artifact.tables {
            if hash_file(&table.path).is_ok_and(|digest| digest == table.digest) {
                continue;
            }
            let (from, _) = split_port(&artifact.name);
            return Stopped::Failed {
                message: format!(
                    "{message}\ninput {}.{} is damaged: {} does not have the content it is named by",
                    artifact.name,
                    table.name,
                    table.path.display()
                ),
                hint: Some(format!("compute it again: --force {from}")),
            };
        }
    }
    Stopped::Failed { message, hint }
}

fn remove_dir(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("remove", dir)(e)),
        _ => Ok(()),
    }
}
