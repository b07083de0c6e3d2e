//! Turns the reports of an operator into events.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gfm_pipe_api::{Level, Metric, Reporter};

use crate::record::{Event, EventSink};

/// Operators report every step; listeners get at most about ten reports a second for each unit that
/// is counted.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// No step yet.
const NONE: u64 = u64::MAX;

pub(super) struct StageReporter {
    stage: String,
    sink: Arc<dyn EventSink>,
    /// When progress was last passed on, by unit.
    reported: Mutex<HashMap<String, Instant>>,
    resumed: AtomicU64,
}

impl StageReporter {
    pub(super) fn new(stage: &str, sink: Arc<dyn EventSink>) -> Self {
        StageReporter {
            stage: stage.to_owned(),
            sink,
            reported: Mutex::default(),
            resumed: AtomicU64::new(NONE),
        }
    }

    /// Whether progress in this unit is to be passed on now. If so, now becomes the time at which
    /// it was last passed on.
    fn due(&self, unit: &str) -> bool {
        let now = Instant::now();
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        match reported.get_mut(unit) {
            Some(last) if now.duration_since(*last) < PROGRESS_EVERY => false,
            Some(last) => {
                *last = now;
                true
            }
            None => {
                reported.insert(unit.to_owned(), now);
                true
            }
        }
    }

    pub(super) fn resumed_at_step(&self) -> Option<u64> {
        let step = self.resumed.load(Ordering::Relaxed);
        (step != NONE).then_some(step)
    }
}

impl Reporter for StageReporter {
    fn progress(&self, done: u64, total: u64, unit: &str, note: &str) {
        // The last unit is always reported; when several threads report at once, one wins.
        if !self.due(unit) && done < total {
            return;
        }
        self.sink.emit(&Event::Progress {
            stage: self.stage.clone(),
            done,
            total,
            unit: unit.to_owned(),
            note: note.to_owned(),
        });
    }

    fn message(&self, level: Level, text: &str) {
        self.sink.emit(&Event::Message {
            stage: self.stage.clone(),
            level,
            text: text.to_owned(),
        });
    }

    fn resumed_at(&self, step: u64) {
        self.resumed.store(step, Ordering::Relaxed);
        self.sink.emit(&Event::StageResumed {
            stage: self.stage.clone(),
            step,
        });
    }

    fn metric(&self, metric: Metric<'_>) {
        self.sink.emit(&Event::Metric {
            stage: self.stage.clone(),
            epoch: metric.epoch,
            step: metric.step,
            name: metric.name.to_owned(),
            value: metric.value,
        });
    }
}
