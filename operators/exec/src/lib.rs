//! A program as a stage: the operator `exec`.
//!
//! [`exec`] has what a pipeline says, [`named`] the files that a command names; [`process`] starts
//! the program, listens to it and ends it; [`tables`] gives it its inputs as files and takes its
//! outputs back as tables of the declared kinds ([`rows`] reads those of JSON lines). Invariant:
//! what a program left is checked and written anew like the output of any operator, so that what
//! comes after cannot tell the difference.

mod exec;
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
