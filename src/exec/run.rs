//! A whole run, from request to summary.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use gfm_pipe_api::{Artifact, Cancel, Environment, Level};

use super::fetch::fetch;
use super::permits::{Permits, Room};
use super::schedule::{Shared, schedule, wired};
use super::stage::{StageRunner, tell};
use crate::plan::select::Role;
use crate::plan::{Prepared, Request, RequestError, StagePlan, Verdict, expected, prepare_run};
use crate::ranks::Lead;
use crate::record::{
    Event, EventSink, Fanout, Journal, NOT_SELECTED, Recorder, RunStatus, StageRecord, StageStatus,
    durations, run_id,
};
use crate::spec::{Pipeline, Stage};
use crate::store::{Exchange, Give, Remote, Store, StoreError};
use gfm_pipe_api::shell;

/// How to run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// What to run.
    pub request: Request,
    /// Whether independent stages still start after one has failed.
    pub keep_going: bool,
    /// What all running stages may occupy together.
    pub room: Room,
    /// Device for operators: `cpu` or `cuda:N`.
    pub device: String,
    /// Whether stages may run programs the pipeline names.
    pub allow_exec: bool,
    /// The environment variables that such programs may get: `PATH`, and those that are declared
    /// for them.
    pub environment: Environment,
    /// Whether stages use what is stored and ask nothing over the network.
    pub offline: bool,
    /// The other ranks that compute stages together with this process, where there are any.
    pub lead: Option<Arc<Lead>>,
    /// Whether the run is recorded for later: it then has a journal, and `gc` keeps what it used.
    pub recorded: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions {
            request: Request::default(),
            keep_going: false,
            room: Room {
                jobs: 2,
                cpu: std::thread::available_parallelism()
                    .map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
                gpu: 1,
                memory: None,
            },
            device: "auto".to_owned(),
            allow_exec: false,
            environment: Environment::new(),
            offline: false,
            lead: None,
            recorded: true,
        }
    }
}

/// Why a run could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The request does not fit the pipeline, or files or results that it needs are missing.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Stages that would run programs, which the user did not allow.
    #[error("{}", commands(.0))]
    Commands(Vec<Command>),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system refused threads or timers.
    #[error("failed to start the scheduler: {0}")]
    Scheduler(std::io::Error),
}

/// A stage that would run a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Where the stage is written: `file:line:column`.
    pub place: String,
    /// Name of the stage.
    pub stage: String,
    /// The program that it would run, and its arguments.
    pub words: Vec<String>,
}

fn commands(all: &[Command]) -> String {
    let lines = all.iter().map(|c| {
        let (place, stage, words) = (&c.place, &c.stage, shell::command(&c.words));
        format!("{place}: stage `{stage}` runs a program: {words}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Stages that will run a program, or may.
fn running_commands(pipeline: &Pipeline, plan: &[StagePlan]) -> Vec<Command> {
    let runs = plan
        .iter()
        .filter(|p| matches!(p.verdict, Verdict::Run(_) | Verdict::Depends(_)));
    runs.filter_map(|p| pipeline.stage(&p.name))
        .filter_map(|s| {
            // Parameters of a loaded pipeline are valid.
            let words = s.op.command(&s.params).ok().flatten()?;
            Some(Command {
                place: s.origin.to_string(),
                stage: s.name.clone(),
                words,
            })
        })
        .collect()
}

/// Stages whose tables are opened by a stage that will run, or may.
fn opened(pipeline: &Pipeline, plan: &[StagePlan]) -> BTreeSet<String> {
    let runs = plan
        .iter()
        .filter(|p| matches!(p.verdict, Verdict::Run(_) | Verdict::Depends(_)));
    let stages = runs.filter_map(|p| pipeline.stage(&p.name));
    let inputs = stages.flat_map(|s| s.inputs.values().flatten());
    inputs.map(|from| from.stage.clone()).collect()
}

/// Artifacts by stage and port.
pub type Artifacts = BTreeMap<String, BTreeMap<String, Artifact>>;

/// How a run ended.
#[derive(Debug)]
pub struct RunSummary {
    /// Name of the run.
    pub run: String,
    /// How it ended.
    pub status: RunStatus,
    /// Every stage of the pipeline, in the order written.
    pub stages: Vec<StageRecord>,
    /// Artifacts of the stages that are stored, by stage and port.
    pub artifacts: Artifacts,
    /// The run's log.
    pub log: PathBuf,
    /// Warnings about what could not be recorded.
    pub warnings: Vec<String>,
    /// The remote's name, and what was exchanged with it.
    pub remote: Option<(String, Exchange)>,
}

impl RunSummary {
    /// The record of a stage.
    pub fn stage(&self, name: &str) -> Option<&StageRecord> {
        self.stages.iter().find(|s| s.name == name)
    }
}

/// The receivers of a run's events: the caller, and the files of a run that is recorded.
struct Recording {
    journal: Option<Arc<Journal>>,
    recorder: Option<Arc<Recorder>>,
    sink: Arc<dyn EventSink>,
}

impl Recording {
    fn start(
        run: &str,
        pipeline: &Pipeline,
        store: &Store,
        recorded: bool,
        left_out: Vec<StageRecord>,
        listener: Arc<dyn EventSink>,
    ) -> Self {
        let (name, file) = (&pipeline.name, &pipeline.file);
        let journal = recorded.then(|| Arc::new(Journal::start(store, run, name, file, left_out)));
        let recorder = recorded.then(|| Arc::new(Recorder::start(store, run, name)));
        let mut sinks = vec![listener];
        sinks.extend(journal.clone().map(|j| j as Arc<dyn EventSink>));
        sinks.extend(recorder.clone().map(|r| r as Arc<dyn EventSink>));
        Recording {
            journal,
            recorder,
            sink: Arc::new(Fanout(sinks)),
        }
    }

    fn message(&self, stage: &Stage, text: String) {
        self.sink.emit(&Event::Message {
            stage: stage.name.clone(),
            level: Level::Info,
            text,
        });
    }

    /// Emits the warnings about the results of stages, cached results included. They come at the
    /// end, where they are noticed.
    fn warnings_of(&self, stages: &[StageRecord]) {
        for record in stages {
            for text in &record.warnings {
                self.sink.emit(&Event::Message {
                    stage: record.name.clone(),
                    level: Level::Warn,
                    text: text.clone(),
                });
            }
        }
    }
}

/// Runs a pipeline. Returns when every stage has ended; after `cancel`, stages end early. A store
/// that does not exist is created only after the request was checked, so that a wrong request
/// leaves nothing behind.
///
/// # Errors
/// When nothing could be started. A stage that fails is not an error here: it is in the summary.
pub fn run(
    pipeline: &Pipeline,
    store: &Store,
    options: &RunOptions,
    listener: Arc<dyn EventSink>,
    cancel: &Cancel,
) -> Result<RunSummary, RunError> {
    let request = &options.request;
    let mut prepared = prepare_run(pipeline, store, request)?;
    if !options.allow_exec {
        let commands = running_commands(pipeline, &prepared.plan);
        if !commands.is_empty() {
            return Err(RunError::Commands(commands));
        }
    }
    let store = &Store::open(store.root())?;
    let _in_use = store.in_use(cancel)?;
    let runtime = runtime()?;

    let run = run_id(SystemTime::now());
    let left_out = left_out(pipeline, &prepared.roles);
    let recorded = options.recorded;
    let recording = Recording::start(&run, pipeline, store, recorded, left_out, listener);
    let sink = &recording.sink;
    sink.emit(&Event::RunStarted {
        run: run.clone(),
        pipeline: pipeline.name.clone(),
        stages: pipeline.stages.iter().map(|s| s.name.clone()).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        expected: expected(&prepared.plan, &durations(store, &pipeline.name)),
    });
    if let Some(remote) = &request.remote {
        tell(remote, sink.as_ref());
    }
    if !options.offline {
        fetch(pipeline, &mut prepared, &request.base, sink, cancel);
    }

    let roles = std::mem::take(&mut prepared.roles);
    let shared = shared(pipeline, prepared, options, &recording, cancel);
    let planner = &shared.runner.planner;
    let names = pipeline.stages.iter().map(|s| s.name.clone());
    let forced: BTreeSet<String> = names.filter(|n| planner.is_forced(n)).collect();
    let scheduled = runtime.block_on(schedule(pipeline, &roles, &shared));
    planner.save();

    let scheduled = scheduled.map_err(|e| e.to_string());
    let (stages, artifacts) = results(pipeline, &roles, &shared, &scheduled);
    let status = status(&stages, &roles, cancel);
    recording.warnings_of(&stages);
    let mut warnings = Vec::new();
    if let Some(Err(e)) = recording
        .journal
        .as_ref()
        .map(|j| j.finish(status, &stages))
    {
        warnings.push(format!("the run's journal is not complete: {e}"));
    }
    // The run is already done and recorded, so this may take long or stop anywhere.
    let remote = request.remote.as_ref().map(|remote| {
        push(remote, store, &stages, &forced, cancel);
        tell(remote, sink.as_ref());
        (remote.name().to_owned(), remote.exchange())
    });
    sink.emit(&Event::RunFinished {
        status,
        stages: stages.iter().map(StageRecord::summary).collect(),
    });
    if let Some(Err(e)) = recording.recorder.map(|r| r.finish()) {
        warnings.push(format!("the run's events are not complete: {e}"));
    }
    Ok(RunSummary {
        run,
        status,
        stages,
        artifacts,
        log: recording.journal.map(|j| j.log_path()).unwrap_or_default(),
        warnings,
        remote,
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, RunError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("gfm-pipe")
        .thread_stack_size(8 << 20)
        .enable_all()
        .build()
        .map_err(RunError::Scheduler)
}

/// What the stages of a run share.
fn shared(
    pipeline: &Pipeline,
    prepared: Prepared,
    options: &RunOptions,
    recording: &Recording,
    cancel: &Cancel,
) -> Arc<Shared> {
    let troubles = prepared.troubles.into_iter().map(|t| (t.stage, t.error));
    let troubles: BTreeMap<_, _> = troubles.collect();
    // A missing file is better reported now than in an hour, so nothing starts when there is one.
    let doomed = !troubles.is_empty();
    let permits = Permits::new(options.room, pipeline.stages.iter().map(|s| &s.limits));
    for stage in &pipeline.stages {
        if let Some(beyond) = permits.beyond(stage.limits.resources) {
            recording.message(
                stage,
                format!("asks for {beyond}: it runs with all there is"),
            );
        }
    }
    Arc::new(Shared {
        runner: StageRunner {
            planner: prepared.planner,
            sink: Arc::clone(&recording.sink),
            cancel: cancel.clone(),
            base: options.request.base.clone(),
            device: options.device.clone(),
            allow_exec: options.allow_exec,
            environment: options.environment.clone(),
            offline: options.offline,
            lead: options.lead.clone(),
            troubles,
            opened: opened(pipeline, &prepared.plan),
        },
        permits,
        keep_going: options.keep_going,
        halted: AtomicBool::new(doomed && !options.keep_going),
        ended: Mutex::new(HashMap::new()),
    })
}

/// The record of a stage that the request leaves out.
fn not_selected(stage: &Stage) -> StageRecord {
    let record = StageRecord::skipped(&stage.name, stage.op.name, NOT_SELECTED);
    wired(record, stage)
}

fn left_out(pipeline: &Pipeline, roles: &[Role]) -> Vec<StageRecord> {
    let stages = pipeline.stages.iter().zip(roles);
    let left_out = stages.filter(|(_, role)| **role == Role::Skip);
    left_out.map(|(stage, _)| not_selected(stage)).collect()
}

/// How every stage of the pipeline ended, and the artifacts of those that are stored.
fn results(
    pipeline: &Pipeline,
    roles: &[Role],
    shared: &Shared,
    scheduled: &Result<(), String>,
) -> (Vec<StageRecord>, Artifacts) {
    let mut ended =
        std::mem::take(&mut *shared.ended.lock().unwrap_or_else(PoisonError::into_inner));
    let mut stages = Vec::new();
    let mut artifacts = BTreeMap::new();
    for (stage, role) in pipeline.stages.iter().zip(roles) {
        let record = match (ended.remove(&stage.name), role) {
            (Some((record, ports)), _) => {
                if let Some(ports) = ports {
                    artifacts.insert(stage.name.clone(), (*ports).clone());
                }
                record
            }
            (None, Role::Skip) => not_selected(stage),
            // A run never claims success for a stage it has not seen end.
            (None, _) => {
                let error = match scheduled {
                    Err(e) => format!("the scheduler failed: {e}"),
                    Ok(()) => "the scheduler never started it".to_owned(),
                };
                let record = StageRecord::engine_failed(&stage.name, stage.op.name, error);
                wired(record, stage)
            }
        };
        stages.push(record);
    }
    (stages, artifacts)
}

fn status(stages: &[StageRecord], roles: &[Role], cancel: &Cancel) -> RunStatus {
    let undone = stages
        .iter()
        .zip(roles)
        .any(|(s, role)| s.status == StageStatus::Skipped && *role != Role::Skip);
    if cancel.is_cancelled() && undone {
        RunStatus::Interrupted
    } else if stages.iter().any(|s| s.status == StageStatus::Failed) {
        RunStatus::Failed
    } else {
        RunStatus::Ok
    }
}

/// Sends the remote those results of the run that it lacks.
fn push(
    remote: &Remote,
    store: &Store,
    stages: &[StageRecord],
    forced: &BTreeSet<String>,
    cancel: &Cancel,
) {
    if cancel.is_cancelled() {
        // The user who stopped the run waits for its end; the next run sends the rest.
        return;
    }
    let stored = stages.iter().filter_map(|s| match s.status {
        StageStatus::Ran if forced.contains(&s.name) => Some((s.key.clone()?, Give::All)),
        StageStatus::Ran => Some((s.key.clone()?, Give::Missing)),
        StageStatus::Cached => Some((s.key.clone()?, Give::IfMissing)),
        StageStatus::Failed | StageStatus::Skipped => None,
    });
    remote.push(store, &stored.collect::<Vec<_>>(), cancel);
}
