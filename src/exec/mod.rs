//! Running a pipeline.
//!
//! [`run`] checks the request, lets dagrs schedule the stage graph ([`schedule`]), and runs each
//! stage ([`stage`]): cache lookup, lock, operator, storing. Invariant: every stage of the pipeline
//! ends in exactly one record, whatever fails, panics or is interrupted, and `run` returns.

mod fetch;
mod inputs;
mod permits;
mod reporter;
mod run;
mod schedule;
mod stage;
mod stopped;

pub use permits::Room;
pub use run::{RunError, RunOptions, RunSummary, run};
pub(crate) use stopped::caught;
