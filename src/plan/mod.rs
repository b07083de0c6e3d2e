//! What a run will do: which stages are wanted, what their keys are, and why they run.
//!
//! Invariant: nothing here runs an operator or writes an artifact.

mod decide;
mod explain;
mod files;
mod fingerprint;
mod listing;
mod request;
pub mod select;
mod stamps;

pub use decide::{
    DecideError, Decision, Outcome, Planner, StagePlan, StageTrouble, Verdict, expected,
};
pub use explain::{LastEnd, LastLook, Reason};
pub use files::{FileTrouble, Files, Seen};
pub use fingerprint::{CACHE_FORMAT, FileId, Ingredients, InputId, Key, key_params};
pub use request::{Prepared, Request, RequestError, prepare, prepare_run};
pub use stamps::FileStamps;
