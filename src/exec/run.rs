//! A whole run, from request to summary.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use gfm_pipe_api::{Artifact, Cancel};
use tokio::sync::Semaphore;

use super::schedule::{Shared, schedule};
use super::stage::StageRunner;
use crate::plan::select::Role;
use crate::plan::{Request, RequestError, prepare};
use crate::record::{
    Event, EventSink, Fanout, Journal, RunStatus, StageRecord, StageStatus, run_id,
};
use crate::spec::Pipeline;
use crate::store::{Store, StoreError};

/// How to run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// What to run.
    pub request: Request,
    /// Start independent stages though one failed.
    pub keep_going: bool,
    /// Stages at the same time.
    pub jobs: usize,
    /// Device for operators: `auto` or `cpu`.
    pub device: String,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions {
            request: Request::default(),
            keep_going: false,
            jobs: 2,
            device: "auto".to_owned(),
        }
    }
}

/// A run that could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The request does not fit the pipeline or what is there.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The machine refused threads or timers.
    #[error("failed to start the scheduler: {0}")]
    Scheduler(std::io::Error),
}

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
    pub artifacts: BTreeMap<String, BTreeMap<String, Artifact>>,
    /// The run's log.
    pub log: PathBuf,
    /// What could not be recorded.
    pub warnings: Vec<String>,
}

impl RunSummary {
    /// The record of a stage.
    pub fn stage(&self, name: &str) -> Option<&StageRecord> {
        self.stages.iter().find(|s| s.name == name)
    }
}

/// Runs a pipeline. Returns when every stage has ended; `cancel` makes that soon. The store is made when the request fits and
/// it does not exist yet, so that a wrong request leaves nothing behind.
///
/// # Errors
/// When nothing could be started. A stage that fails is no error here: it is in the summary.
pub fn run(
    pipeline: &Pipeline,
    store: &Store,
    options: &RunOptions,
    listener: Arc<dyn EventSink>,
    cancel: &Cancel,
) -> Result<RunSummary, RunError> {
    let prepared = prepare(pipeline, store, &options.request)?;
    let store = &Store::open(store.root())?;
    let _in_use = store.in_use(cancel)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("gfm-pipe")
        .thread_stack_size(8 << 20)
        .enable_all()
        .build()
        .map_err(RunError::Scheduler)?;

    let run = run_id(SystemTime::now());
    let journal = Arc::new(Journal::start(store, &run, &pipeline.name, &pipeline.file));
    let sink: Arc<dyn EventSink> = Arc::new(Fanout(vec![
        listener,
        Arc::clone(&journal) as Arc<dyn EventSink>,
    ]));
    sink.emit(&Event::RunStarted {
        run: run.clone(),
        pipeline: pipeline.name.clone(),
        stages: pipeline.stages.iter().map(|s| s.name.clone()).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    });

    let shared = Arc::new(Shared {
        runner: StageRunner {
            planner: prepared.planner,
            sink: Arc::clone(&sink),
            cancel: cancel.clone(),
            base: options.request.base.clone(),
            device: options.device.clone(),
        },
        permits: Semaphore::new(options.jobs.max(1)),
        keep_going: options.keep_going,
        halted: AtomicBool::new(false),
        ended: Mutex::new(HashMap::new()),
    });
    let scheduled = runtime.block_on(schedule(pipeline, &prepared.roles, &shared));
    shared.runner.planner.save();

    let mut ended =
        std::mem::take(&mut *shared.ended.lock().unwrap_or_else(PoisonError::into_inner));
    let mut stages = Vec::new();
    let mut artifacts = BTreeMap::new();
    for (stage, role) in pipeline.stages.iter().zip(&prepared.roles) {
        let record = match (ended.remove(&stage.name), role) {
            (Some((record, ports)), _) => {
                if let Some(ports) = ports {
                    artifacts.insert(stage.name.clone(), (*ports).clone());
                }
                record
            }
            (None, Role::Skip) => StageRecord::skipped(&stage.name, stage.op.name, "not selected"),
            // A run never claims success for a stage it has not seen end.
            (None, _) => {
                let mut r = StageRecord::new(&stage.name, stage.op.name, StageStatus::Failed);
                r.error = Some(match &scheduled {
                    Err(e) => format!("the scheduler failed: {e}"),
                    Ok(()) => "the scheduler never started it".to_owned(),
                });
                r.hint = Some("this is a fault of gfm-pipe: please report it".to_owned());
                r
            }
        };
        stages.push(record);
    }
    let failed = stages.iter().any(|s| s.status == StageStatus::Failed);
    let undone = stages
        .iter()
        .zip(&prepared.roles)
        .any(|(s, role)| s.status == StageStatus::Skipped && *role != Role::Skip);
    let status = match (cancel.is_cancelled() && undone, failed) {
        (true, _) => RunStatus::Interrupted,
        (false, true) => RunStatus::Failed,
        (false, false) => RunStatus::Ok,
    };
    let mut warnings = Vec::new();
    if let Err(e) = journal.finish(status, &stages) {
        warnings.push(format!("the run's journal is not complete: {e}"));
    }
    sink.emit(&Event::RunFinished {
        status,
        stages: stages.iter().map(StageRecord::summary).collect(),
    });
    Ok(RunSummary {
        run,
        status,
        stages,
        artifacts,
        log: journal.log_path(),
        warnings,
    })
}
