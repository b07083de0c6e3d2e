//! What happens in a run: its events, written down while it goes on, and its journal.
//!
//! Invariant: a failure to record never fails a run; it becomes a warning.

pub mod diff;
mod events;
pub mod history;
mod journal;
mod metrics;
mod pace;
mod past_durations;
mod read;
mod recorder;
mod sequence;
mod state;
pub mod tags;
mod tensorboard;
mod time;

pub use events::{
    Event, EventSink, Fanout, NOT_SELECTED, RunStatus, StageRecord, StageStatus, StageSummary,
};
pub use journal::{Journal, JournalFile, journal as journal_of, latest};
pub use metrics::{Metrics, Point, Series};
pub use pace::{Pace, Remaining};
pub use past_durations::durations;
pub use read::{EventReader, Life, Recorded, events_of, life, metrics_of};
pub use recorder::Recorder;
pub use state::{Phase, Progress, RunState, StageState};
pub use tensorboard::TensorBoard;
pub use time::{now_ms, run_id, utc};
