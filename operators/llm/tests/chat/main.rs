//! A language model is asked over HTTP, as operators do it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed unwrap fails the test, and tests of speed say what they measured"
)]

mod answers;
mod common;
mod flow;
mod refused;
mod secrets;
mod speed;
mod stops;
mod stored;
mod trouble;
