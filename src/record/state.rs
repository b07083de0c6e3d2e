//! What is known of a run so far, built from its events: the phase of each stage, its progress,
//! warnings and metrics.

use std::collections::VecDeque;

use gfm_pipe_api::Level;

use super::events::{Event, RunStatus, StageRecord, StageStatus};
use super::metrics::Metrics;
use super::pace::{Pace, Remaining};
use super::read::Recorded;

/// The number of warnings that are kept: the latest ones.
const WARNINGS: usize = 20;

/// The phase of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has not started.
    Waiting,
    /// Its operator is running.
    Running,
    /// It ended.
    Ended(StageStatus),
}

/// How far an operator has got.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Number of units done.
    pub done: u64,
    /// Number of units in total.
    pub total: u64,
    /// What is counted, such as `steps`.
    pub unit: String,
    /// A short text from the operator.
    pub note: String,
}

/// What is known of a stage so far.
#[derive(Debug, Clone)]
pub struct StageState {
    /// Name.
    pub name: String,
    /// Its phase.
    pub phase: Phase,
    /// When its operator started; once the stage has ended, when the stage did. Milliseconds since
    /// 1970, UTC.
    pub started_ms: Option<u64>,
    /// When it ended, in the same unit.
    pub ended_ms: Option<u64>,
    /// Seconds it took last time, if it was expected to run.
    pub expected: Option<f64>,
    /// Its latest progress.
    pub progress: Option<Progress>,
    /// The speed of everything it counts.
    pace: Pace,
    /// The step of the checkpoint it resumed from.
    pub resumed_at: Option<u64>,
    /// Number of retries so far.
    pub retries: u32,
    /// Its record, once it has ended.
    pub record: Option<StageRecord>,
}

/// What is known of a run so far.
#[derive(Debug, Clone, Default)]
pub struct RunState {
    /// Name of the run.
    pub run: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// When it started: milliseconds since 1970, UTC.
    pub started_ms: Option<u64>,
    /// When something last happened, in the same unit.
    pub last_ms: u64,
    /// How it ended, and when: milliseconds since 1970, UTC.
    pub ended: Option<(RunStatus, u64)>,
    /// Stages in the order the pipeline lists them.
    pub stages: Vec<StageState>,
    /// The latest warnings, oldest first: stage and text.
    pub warnings: VecDeque<(String, String)>,
    /// All metrics so far.
    pub metrics: Metrics,
}

impl RunState {
    /// A run of which only the name and the pipeline's name are known.
    pub fn new(run: &str, pipeline: &str) -> Self {
        RunState {
            run: run.to_owned(),
            pipeline: pipeline.to_owned(),
            ..RunState::default()
        }
    }

    fn stage(&mut self, name: &str) -> &mut StageState {
        let place = self.stages.iter().position(|s| s.name == name);
        let place = place.unwrap_or_else(|| {
            self.stages.push(StageState::new(name));
            self.stages.len() - 1
        });
        &mut self.stages[place]
    }

    /// Processes an event.
    pub fn apply(&mut self, recorded: &Recorded) {
        let time = recorded.time_ms;
        self.last_ms = self.last_ms.max(time);
        self.metrics.apply(time, &recorded.event);
        match &recorded.event {
            Event::RunStarted {
                run,
                pipeline,
                stages,
                expected,
                ..
            } => {
                (self.run, self.pipeline) = (run.clone(), pipeline.clone());
                self.started_ms = Some(time);
                for name in stages {
                    self.stage(name).expected = expected.get(name).copied();
                }
            }
            Event::StageStarted { stage, .. } => {
                let s = self.stage(stage);
                (s.phase, s.started_ms) = (Phase::Running, Some(time));
            }
            Event::Progress {
                stage,
                done,
                total,
                unit,
                note,
            } => {
                let s = self.stage(stage);
                s.pace.count(time, unit, *done, *total);
                s.progress = Some(Progress {
                    done: *done,
                    total: *total,
                    unit: unit.clone(),
                    note: note.clone(),
                });
            }
            Event::Message {
                stage,
                level: Level::Warn,
                text,
            } => {
                self.warnings.push_back((stage.clone(), text.clone()));
                if self.warnings.len() > WARNINGS {
                    self.warnings.pop_front();
                }
            }
            Event::Message { .. } | Event::Metric { .. } => {}
            Event::StageResumed { stage, step } => self.stage(stage).resumed_at = Some(*step),
            Event::StageRetried { stage, retry } => self.stage(stage).retries = *retry,
            Event::StageFinished(record) => {
                let s = self.stage(&record.name);
                s.phase = Phase::Ended(record.status);
                s.started_ms = record.started_ms.or(s.started_ms);
                s.ended_ms = record.ended_ms;
                s.record = Some((**record).clone());
            }
            Event::RunFinished { status, stages } => {
                self.ended = Some((*status, time));
                // Stages that were not selected end without an event of their own.
                for summary in stages {
                    self.stage(&summary.name).phase = Phase::Ended(summary.status);
                }
            }
        }
    }
}

impl StageState {
    fn new(name: &str) -> Self {
        StageState {
            name: name.to_owned(),
            phase: Phase::Waiting,
            started_ms: None,
            ended_ms: None,
            expected: None,
            progress: None,
            pace: Pace::default(),
            resumed_at: None,
            retries: 0,
            record: None,
        }
    }

    /// Seconds it took, or has taken until `now_ms`; `None` if it has not started.
    pub fn seconds(&self, now_ms: u64) -> Option<f64> {
        match (&self.record, self.started_ms) {
            (Some(record), _) => Some(record.seconds),
            (None, Some(started)) => Some(seconds(started, now_ms)),
            (None, None) => None,
        }
    }

    /// Estimated time it still needs, by the speed of what it counts; while that is unknown or
    /// incomplete, by the time it took last time. `None` if it cannot be estimated, or the estimate
    /// has run out and the stage takes longer than expected.
    pub fn left(&self, now_ms: u64) -> Option<Remaining> {
        if self.phase != Phase::Running || self.pace.is_over() {
            return None;
        }
        let last_time = || {
            let spent = seconds(self.started_ms?, now_ms);
            Some(self.expected? - spent)
        };
        let left = match self.pace.left(now_ms) {
            Some(left) if !left.at_least => Some(left),
            measured => {
                let least = measured.map_or(0.0, |l| l.seconds);
                let whole = last_time().filter(|s| *s > least).map(|seconds| Remaining {
                    seconds,
                    at_least: false,
                });
                whole.or(measured)
            }
        };
        left.filter(|l| l.seconds >= 0.5)
    }
}

#[expect(clippy::cast_precision_loss)]
fn seconds(from_ms: u64, to_ms: u64) -> f64 {
    to_ms.saturating_sub(from_ms) as f64 / 1000.0
}
