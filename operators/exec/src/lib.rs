//! A program as a stage: the operator `exec`.
//!
//! [`exec`] holds the parameters and the operator; [`named`] finds the files that a command names;
//! [`process`] starts the program, passes its output on and ends it; [`tables`] writes its inputs
//! to files and reads its outputs back as tables of the declared kinds ([`rows`] reads JSON lines);
//! [`items`] gives it only the rows whose results are not kept.
//! Invariant: a program's output is checked and written again like the output of any operator, so
//! that later stages cannot tell the difference.

mod exec;
mod items;
mod named;
mod process;
mod rows;
mod tables;

pub use exec::Exec;
use gfm_pipe_api::OpEntry;
pub use process::kill_all;

/// The operators of this crate.
pub fn operators() -> Vec<OpEntry> {
    vec![OpEntry::of::<Exec>()]
}
