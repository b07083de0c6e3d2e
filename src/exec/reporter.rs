//! Passes what an operator reports on as events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use gfm_pipe_api::{Level, Metric, Reporter};

use crate::record::{Event, EventSink};

/// Operators report every step; listeners get at most about ten a second.
const PROGRESS_EVERY_MS: u64 = 100;

/// No step yet.
const NONE: u64 = u64::MAX;

pub(super) struct StageReporter {
    stage: String,
    sink: Arc<dyn EventSink>,
    start: Instant,
    /// When the next progress event is due, in milliseconds after `start`.
    next: AtomicU64,
    resumed: AtomicU64,
}

impl StageReporter {
    pub(super) fn new(stage: &str, sink: Arc<dyn EventSink>) -> Self {
        StageReporter {
            stage: stage.to_owned(),
            sink,
            start: Instant::now(),
            next: AtomicU64::new(0),
            resumed: AtomicU64::new(NONE),
        }
    }

    pub(super) fn resumed_at_step(&self) -> Option<u64> {
        let step = self.resumed.load(Ordering::Relaxed);
        (step != NONE).then_some(step)
    }
}

impl Reporter for StageReporter {
    fn progress(&self, done: u64, total: u64, unit: &str, note: &str) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = self.next.load(Ordering::Relaxed);
        // The last unit is always told; of several threads at the same instant one wins.
        let last = done >= total;
        if !last && now < due {
            return;
        }
        let won = self.next.compare_exchange(
            due,
            now.saturating_add(PROGRESS_EVERY_MS),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if won.is_err() && !last {
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
