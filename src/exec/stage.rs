//! One stage from lookup to record. Runs on a blocking thread.
//!
//! Invariant: a stage is stored only when its operator succeeded, wrote every declared table, and
//! nobody touched its input files since the key was made.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use gfm_pipe_api::items::{Items, PackSource, UsedItems};
use gfm_pipe_api::{
    Artifact, Cancel, Context, Environment, Level, OpError, OpResult, Outputs, Reporter, kinds,
    ranks, shell,
};

use super::inputs::{RUN_AGAIN, changed};
use super::reporter::StageReporter;
use super::stopped::{Stopped, caught, late};
use crate::plan::select::Role;
use crate::plan::{
    DecideError, Decision, FileId, Ingredients, LastEnd, LastLook, Outcome, Planner, Reason, Seen,
};
use crate::ranks::Lead;
use crate::record::{Event, EventSink, StageRecord, StageStatus, now_ms, utc};
use crate::spec::Stage;
use crate::store::{
    Committed, Earlier, ItemCounts, ItemList, Look, Lookup, MadeOn, Manifest, Remote, RemoteItems,
    StageTables, StoreError, distrusted,
};

/// Artifacts of a stage by port.
pub(super) type Ports = BTreeMap<String, Artifact>;

/// The tables that an operator wrote, and the items that they were made of.
type Computed = (StageTables, UsedItems);

/// How many times a stage is tried whose files keep changing before it starts.
const TRIES: u32 = 5;

/// How often a waiting stage checks whether it should stop.
const POLL: Duration = Duration::from_millis(50);

/// What a run of an operator needs: its stage, its inputs, and a folder of its own.
struct Job<'a> {
    stage: &'a Stage,
    inputs: &'a BTreeMap<String, Vec<Artifact>>,
    decision: &'a Decision,
    workdir: &'a Path,
}

/// Runs the stages of one run of a pipeline.
pub(super) struct StageRunner {
    pub(super) planner: Planner,
    pub(super) sink: Arc<dyn EventSink>,
    pub(super) cancel: Cancel,
    pub(super) base: PathBuf,
    pub(super) device: String,
    /// Whether stages may run programs the pipeline names.
    pub(super) allow_exec: bool,
    /// The environment variables that such programs may get.
    pub(super) environment: Environment,
    /// Whether nothing may be asked over the network.
    pub(super) offline: bool,
    /// The other ranks, where there are some.
    pub(super) lead: Option<Arc<Lead>>,
    /// Stages that cannot run, with the reasons, such as missing files.
    pub(super) troubles: BTreeMap<String, DecideError>,
    /// Stages whose tables are opened in this run even when they are cached. Every byte of these is
    /// checked first, so that a damaged table is found and computed again before another stage
    /// reads it.
    pub(super) opened: BTreeSet<String>,
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
        let result = self.obtain(stage, role, &inputs, &mut record, &mut look);
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
        // Remembered only for a stage that was asked for: reasons compare with the last time it
        // was.
        if role == Role::Run
            && let Some(Decision {
                key, ingredients, ..
            }) = look
        {
            let (store, pipeline) = (self.planner.store(), self.planner.pipeline());
            let before = LastLook::read(store, pipeline, &stage.name);
            let look = LastLook::new(key, ingredients, end, before.as_ref());
            if let Err(e) = look.write(store, pipeline, &stage.name) {
                self.warn(stage, &format!("the next run cannot say why it runs: {e}"));
            }
        }
        (record, ports)
    }

    fn warn(&self, stage: &Stage, text: &str) {
        self.message(stage, Level::Warn, text);
    }

    fn message(&self, stage: &Stage, level: Level, text: &str) {
        StageReporter::new(&stage.name, Arc::clone(&self.sink)).message(level, text);
    }

    /// Gets the stage's artifacts and delivers them.
    fn obtain(
        &self,
        stage: &Stage,
        role: Role,
        inputs: &BTreeMap<String, Vec<Artifact>>,
        record: &mut StageRecord,
        look: &mut Option<Decision>,
    ) -> Result<Ports, Stopped> {
        let store = self.planner.store();
        let mut again = true;
        let mut tries = 0;
        loop {
            let Some(manifest) = self.attempt(stage, role, inputs, record, look)? else {
                tries += 1;
                if tries == TRIES {
                    let text = "files it reads change before it can start";
                    return Err(Stopped::new(text, Some(RUN_AGAIN)));
                }
                continue;
            };
            let ports = store.artifacts(&stage.name, &stage.op, &manifest);
            // A stage that fails to deliver has its result all the same: it can be shown, and is
            // cached next time.
            record.rows = manifest.rows();
            record.bytes = manifest.tables().map(|t| t.bytes).sum();
            let digests = manifest.ports.iter();
            record.outputs = digests
                .map(|(port, entry)| (port.clone(), entry.digest.clone()))
                .collect();
            if role != Role::Run {
                return Ok(ports);
            }
            let Err(stopped) = self.deliver(stage, inputs, &ports) else {
                record.warnings = self.remarks(stage, &ports);
                return Ok(ports);
            };
            // The result may have been damaged since it was stored: then it is computed once more.
            let cached = record.status == StageStatus::Cached;
            let rotten = || {
                matches!(
                    store.flaw(manifest.port_objects(), Look::Bytes),
                    Ok(Some(_))
                )
            };
            if !(std::mem::replace(&mut again, false) && cached && rotten()) {
                return Err(self.damaged_input(inputs, stopped));
            }
        }
    }

    /// Tries once to get the stage's result. Returns `None` when files it reads changed since its
    /// key was made, because it has another key then.
    fn attempt(
        &self,
        stage: &Stage,
        role: Role,
        inputs: &BTreeMap<String, Vec<Artifact>>,
        record: &mut StageRecord,
        look: &mut Option<Decision>,
    ) -> Result<Option<Manifest>, Stopped> {
        let decision = look.insert(self.decide(stage, inputs)?);
        record.key = Some(decision.key.clone());
        let outcome = std::mem::replace(&mut decision.outcome, Outcome::Run(Vec::new()));
        let (reasons, elsewhere) = match outcome {
            Outcome::Cached(manifest) => return Ok(Some(self.cached(stage, record, *manifest))),
            Outcome::Remote {
                manifest,
                otherwise,
            } => (otherwise, Some(manifest)),
            Outcome::Run(reasons) => (reasons, None),
        };
        if role == Role::FromCache && elsewhere.is_none() && decision.pinned.is_none() {
            return Err(not_stored(&reasons));
        }
        record.reasons = reasons.iter().map(Reason::to_string).collect();
        let store = self.planner.store();
        let key = decision.key.as_str();
        let _lock = store.lock(key, &stage.name, &self.cancel, |holder| {
            let whom = holder.map_or_else(|| "another process".to_owned(), |h| h.to_string());
            let text = format!("waiting for {whom}, which computes the same");
            self.message(stage, Level::Info, &text);
        })?;
        let forced = self.planner.is_forced(&stage.name);
        if !forced && let Lookup::Hit(manifest) = store.lookup(&decision.key, &stage.op)? {
            // Another process stored it since the decision.
            record.reasons.clear();
            return Ok(Some(self.cached(stage, record, *manifest)));
        }
        if let Some(manifest) = elsewhere
            && let Some(manifest) = self.fetched(stage, role, record, *manifest)?
        {
            return Ok(Some(manifest));
        }
        // This was checked before the run, but a result that was cached then may be gone by now.
        if !self.allow_exec && stage.op.command(&stage.params)?.is_some() {
            return Err(Stopped::new(
                "it runs a program, which was not allowed",
                Some("--allow-exec allows it"),
            ));
        }
        // The stage may have waited for a long time, and its files may have changed since.
        if decision.seen.iter().any(|file| file.change().is_some()) {
            return Ok(None);
        }
        self.computed(stage, inputs, record, decision, forced)
            .map(Some)
    }

    /// Fetches a stage from the remote that has it. Returns `None` when it must be computed after
    /// all.
    fn fetched(
        &self,
        stage: &Stage,
        role: Role,
        record: &mut StageRecord,
        manifest: Manifest,
    ) -> Result<Option<Manifest>, Stopped> {
        let Some(remote) = self.planner.remote() else {
            return Ok(None);
        };
        let fetched = remote.fetch(self.planner.store(), &manifest, &self.cancel);
        tell(remote, self.sink.as_ref());
        if fetched? {
            record.reasons.clear();
            let manifest = self.cached(stage, record, manifest);
            let from = format!("from {}", remote.name());
            record.note = Some(match record.note.take() {
                Some(note) => format!("{from}, {note}"),
                None => from,
            });
            return Ok(Some(manifest));
        }
        if role == Role::FromCache {
            let name = remote.name();
            return Err(Stopped::new(
                format!("left out by the selection, and {name} failed to give it"),
                Some("run it without --only or --from"),
            ));
        }
        Ok(None)
    }

    /// Computes the stage and stores it. The caller holds the lock of its key.
    fn computed(
        &self,
        stage: &Stage,
        inputs: &BTreeMap<String, Vec<Artifact>>,
        record: &mut StageRecord,
        decision: &Decision,
        forced: bool,
    ) -> Result<Manifest, Stopped> {
        let store = self.planner.store();
        self.sink.emit(&Event::StageStarted {
            stage: stage.name.clone(),
            op: stage.op.name.to_owned(),
            key: decision.key.clone(),
            reasons: record.reasons.clone(),
        });
        let start = Instant::now();
        let workdir = store.workdir(decision.key.as_str());
        let (committed, used) = if let Some(found) = &decision.pinned {
            // Its tables are in the store already.
            let ports = found.ports().map_err(Stopped::from)?;
            (Committed::of_stored(ports), UsedItems::default())
        } else {
            if forced {
                remove_dir(&workdir)?;
            }
            let job = Job {
                stage,
                inputs,
                decision,
                workdir: &workdir,
            };
            self.made(&job, record)?
        };
        if committed.distrusted > 0 {
            let why = distrusted(committed.distrusted);
            let text = format!("its table in the store was damaged; {why}");
            self.warn(stage, &text);
        }
        let manifest = Manifest {
            format: committed.manifest_format(),
            key: decision.key.clone(),
            ingredients: decision.ingredients.brief(),
            ports: committed.ports,
            items: committed.items.map(|table| ItemList {
                table,
                folders: used.folders.clone(),
            }),
            listing: committed.listing,
            seconds: start.elapsed().as_secs_f64(),
            resumed_at_step: record.resumed_at_step,
            made_on: match decision
                .pinned
                .as_ref()
                .and_then(|found| found.made_on.clone())
            {
                Some(made_on) => made_on,
                None => MadeOn::here(&self.device, stage.on_gpu()),
            },
            made_at: utc(SystemTime::now()),
            inputs_checked: true,
            seal: None,
        }
        .sealed();
        store.put_manifest(&manifest)?;
        fail::fail_point!("after-manifest");
        record.items = self.counts(stage, &used);
        // The stage is stored; a workdir that cannot be removed only takes up space.
        if let Err(e) = remove_dir(&workdir) {
            self.warn(stage, &e.to_string());
        }
        record.status = StageStatus::Ran;
        Ok(manifest)
    }

    /// Runs the operator, and names the tables that it wrote.
    fn made(
        &self,
        job: &Job<'_>,
        record: &mut StageRecord,
    ) -> Result<(Committed, UsedItems), Stopped> {
        let Job {
            stage,
            inputs,
            decision,
            workdir,
        } = *job;
        fs::create_dir_all(workdir).map_err(StoreError::io("create", workdir))?;
        fail::fail_point!("stage-started");
        let (tables, used) = match self.tried(job, record) {
            Ok(computed) => computed,
            Err(stopped) => {
                // Only an empty folder is removed: the next attempt continues from the checkpoints
                // in it.
                let _ = fs::remove_dir(workdir);
                return Err(stopped);
            }
        };
        fail::fail_point!("stage-computed");
        let after = self.planner.ingredients(stage, inputs);
        if let Some(what) = changed(decision, after) {
            // Checkpoints may have been made from a half-written file.
            remove_dir(workdir)?;
            return Err(Stopped::new(
                format!("{what} while the stage ran; its result is not stored"),
                Some(RUN_AGAIN),
            ));
        }
        tables.list_items(&used).map_err(Stopped::from)?;
        let files = tables.list_files(&job.decision.ingredients);
        files.map_err(Stopped::from)?;
        Ok((tables.commit()?, used))
    }

    fn cached(&self, stage: &Stage, record: &mut StageRecord, manifest: Manifest) -> Manifest {
        record.status = StageStatus::Cached;
        let here = MadeOn::here(&self.device, stage.on_gpu());
        let elsewhere = manifest.made_on.differs_from(&here);
        let notes: Vec<String> = elsewhere
            .into_iter()
            .chain(rejects(stage, &manifest))
            .collect();
        record.note = (!notes.is_empty()).then(|| notes.join(", "));
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
            items: self.items(stage, workdir),
            device: self.device.clone(),
            environment: self.environment.clone(),
            offline: self.offline,
            requests: None,
            ranks: ranks::single(),
        }
    }

    /// What the stage keeps of single items.
    fn items(&self, stage: &Stage, workdir: &Path) -> Items {
        let store = self.planner.store();
        let machine = MadeOn::here(&self.device, stage.on_gpu()).kind();
        let remote = self.planner.remote().cloned();
        let source = remote.map(|remote| {
            let cancel = self.cancel.clone();
            Arc::new(RemoteItems { remote, cancel }) as Arc<dyn PackSource>
        });
        Items::new(store.items_root(), workdir.to_owned(), machine)
            .from_source(source)
            .anew(self.planner.is_forced(&stage.name))
    }

    /// Counts the items of a stage that ran. `None` where it has none, or where it ran for the
    /// first time and computed all of them.
    fn counts(&self, stage: &Stage, used: &UsedItems) -> Option<ItemCounts> {
        if used.items.is_empty() {
            return None;
        }
        let store = self.planner.store();
        let last = LastLook::read(store, self.planner.pipeline(), &stage.name);
        let before = last.and_then(|last| {
            let key = last.stored?;
            // The count is for people: a list that is gone or damaged costs the comparison only.
            let manifest = store.manifest(&key).ok().flatten()?;
            let items = store.items(&manifest).ok()?;
            Some((key, items))
        });
        let first = before.is_none();
        let counts = ItemCounts::of(used, before);
        (!first || counts.computed < counts.total).then_some(counts)
    }

    /// Lets the operator write what belongs outside the store. Tables that it writes meanwhile are
    /// not kept.
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

    /// The operator's remarks about the result. Nothing depends on them, so an error here does not
    /// fail the stage.
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

    /// Computes the stage, and tries again after a failure as often as its `retries` say.
    fn tried(&self, job: &Job<'_>, record: &mut StageRecord) -> Result<Computed, Stopped> {
        let Job {
            stage,
            inputs,
            decision,
            workdir,
        } = *job;
        let mut tried = 0;
        loop {
            let stopped = match self.compute(job, record) {
                Err(stopped) => self.damaged_input(inputs, stopped),
                done => return done,
            };
            // A file that changed meanwhile explains the failure, and a retry would have the wrong
            // key.
            if let (Stopped::Failed { message, .. }, Some(what)) =
                (&stopped, decision.seen.iter().find_map(Seen::change))
            {
                remove_dir(workdir)?;
                return Err(Stopped::new(
                    format!("{message}\n{what} while the stage ran"),
                    Some(RUN_AGAIN),
                ));
            }
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

    /// What the stage stored the last time, if it was made in the same way.
    fn earlier(&self, job: &Job<'_>) -> Earlier {
        let (store, name) = (self.planner.store(), &job.stage.name);
        if self.planner.is_forced(name) {
            return Earlier::default();
        }
        let last = LastLook::read(store, self.planner.pipeline(), name);
        let key = last.and_then(|last| last.stored);
        // Without it, everything is computed.
        let manifest = key.and_then(|key| store.manifest(&key).ok().flatten());
        let now = &job.decision.ingredients;
        let same = |earlier: &Ingredients| {
            (&earlier.operator, earlier.version) == (&now.operator, now.version)
                && earlier.fingerprint == now.fingerprint
                && earlier.params == now.params
        };
        let manifest = manifest.filter(|m| m.inputs_checked && same(&m.ingredients));
        manifest.map(Earlier::of).unwrap_or_default()
    }

    fn compute(&self, job: &Job<'_>, record: &mut StageRecord) -> Result<Computed, Stopped> {
        let stage = job.stage;
        let tables = StageTables::new(self.planner.store(), &stage.op.outputs);
        let tables = Arc::new(tables.with_earlier(self.earlier(job)));
        let reporter = Arc::new(StageReporter::new(&stage.name, Arc::clone(&self.sink)));
        let mut ctx = self.context(stage, job.inputs.clone(), &tables, &reporter, job.workdir);
        ctx.cancel = self.cancel.within(stage.limits.timeout);
        let result = match &self.lead {
            Some(lead) if stage.op.on_ranks(&stage.params)? => {
                self.together(lead, stage, &mut ctx, &job.decision.ingredients.files)
            }
            _ => caught(|| stage.op.run(stage.params.clone(), &ctx)),
        };
        let result = result.map_err(Stopped::from);
        record.resumed_at_step = reporter.resumed_at_step();
        let used = ctx.items.take_used();
        drop(ctx);
        match result {
            Err(Stopped::Cancelled) if !self.cancel.is_cancelled() => {
                return Err(late(stage.limits.timeout));
            }
            other => other?,
        }
        tables.check_complete()?;
        let kept = |_| OpError::internal("the operator kept its outputs after it returned");
        Ok((Arc::try_unwrap(tables).map_err(kept)?, used))
    }
}

/// Why a stage that the selection left out cannot be taken from the store.
fn not_stored(reasons: &[Reason]) -> Stopped {
    let text = if reasons.contains(&Reason::ArtifactDamaged) {
        "left out by the selection, but its result in the store is damaged"
    } else {
        "left out by the selection, but not in the store"
    };
    Stopped::new(text, Some("run it without --only or --from"))
}

/// Reports what went wrong with the remote.
pub(super) fn tell(remote: &Remote, sink: &dyn EventSink) {
    for text in remote.news() {
        sink.emit(&Event::Message {
            stage: "remote".to_owned(),
            level: Level::Warn,
            text,
        });
    }
}

/// How much of its input the stage rejected. Its warnings said so when it ran, and nobody repeats
/// them.
fn rejects(stage: &Stage, manifest: &Manifest) -> Option<String> {
    let ports = manifest.ports.iter();
    let (port, rows) = ports
        .filter(|(_, port)| port.kind == kinds::REJECTS.name)
        .map(|(name, port)| (name, port.tables.iter().map(|t| t.rows).sum::<u64>()))
        .find(|(_, rows)| *rows > 0)?;
    let word = if rows == 1 { "reject" } else { "rejects" };
    let artifact = shell::quote(&format!("{}.{port}", stage.name));
    Some(format!("{rows} {word}: gfm-pipe show {artifact}"))
}

/// How long to wait before a retry: 1 s, then twice as long each time up to 32 s, because some
/// failures only need time (a disk, a network).
fn pause(retry: u32) -> Duration {
    Duration::from_secs(1 << retry.saturating_sub(1).min(5))
}

fn remove_dir(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("remove", dir)(e)),
        _ => Ok(()),
    }
}
