//! What is known of a run so far, put together from its events: where each stage stands, its
//! progress, warnings, metrics.

use std::collections::VecDeque;

use gfm_pipe_api::Level;

use super::events::{Event, RunStatus, StageRecord, StageStatus};
use super::metrics::Metrics;
use super::pace::{Pace, Remaining};
use super::read::Recorded;

/// So many warnings are kept, the latest ones.
const WARNINGS: usize = 20;

/// Where a stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has not started.
    Waiting,
    /// Its operator works.
    Running,
    /// It ended.
    Ended(StageStatus),
}

/// How far an operator is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Units through.
    pub done: u64,
    /// Units in all.
    pub total: u64,
    /// What is counted.
    pub unit: String,
    /// A short text.
    pub note: String,
}

/// A stage so far.
#[derive(Debug, Clone)]
pub struct StageState {
    /// Name.
    pub name: String,
    /// Where it stands.
    pub phase: Phase,
    /// When its operator started, or the stage where it has ended: milliseconds since 1970, UTC.
    pub started_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// Seconds it took last time, where it was expected to run.
    pub expected: Option<f64>,
    /// How far it is with what it counted last.
    pub progress: Option<Progress>,
    /// How fast it is with everything it counts.
    pace: Pace,
    /// The step of the checkpoint it went on from.
    pub resumed_at: Option<u64>,
    /// How often it was tried again.
    pub retries: u32,
    /// How it ended.
    pub record: Option<StageRecord>,
}

/// A run so far.
#[derive(Debug, Clone, Default)]
pub struct RunState {
    /// Name of the run.
    pub run: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// When it started: milliseconds since 1970, UTC.
    pub started_ms: Option<u64>,
    /// When something last happened.
    pub last_ms: u64,
    /// How it ended, and when.
    pub ended: Option<(RunStatus, u64)>,
    /// Stages in the order written.
    pub stages: Vec<StageState>,
    /// The latest warnings: stage and text, the oldest first.
    pub warnings: VecDeque<(String, String)>,
    /// All metrics.
    pub metrics: Metrics,
}

impl RunState {
    /// A run of which nothing is known but its name and its pipeline's.
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

    /// Takes an event in.
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

    /// Seconds it took, or has taken until `now_ms`; `None` where it has not started.
    pub fn seconds(&self, now_ms: u64) -> Option<f64> {
        match (&self.record, self.started_ms) {
            (Some(record), _) => Some(record.seconds),
            (None, Some(started)) => Some(seconds(started, now_ms)),
            (None, None) => None,
        }
    }

    /// Time it still takes, by the speed of what it counts; where that says nothing yet or not all,
    /// by what it took last time. `None` where that is not known, or over: it takes longer than was
    /// thought.
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
