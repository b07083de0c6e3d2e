//! What happened: events while a run goes on, and its journal afterwards.
//!
//! Invariant: recording never fails a run; what could not be recorded is told as a warning.

pub mod diff;
mod events;
mod expect;
pub mod history;
mod journal;
mod time;

pub use events::{Event, EventSink, Fanout, RunStatus, StageRecord, StageStatus, StageSummary};
pub use expect::durations;
pub use journal::{Journal, JournalFile, latest};
pub use time::{run_id, utc};
