//! A reporter for work that nobody watches.

use gfm_pipe_api::{Level, Reporter};

/// Shows no progress. Messages are for those who debug.
pub struct Silent;

impl Reporter for Silent {
    fn progress(&self, _: u64, _: u64, _: &str, _: &str) {}

    fn message(&self, _: Level, text: &str) {
        tracing::debug!("{text}");
    }

    fn resumed_at(&self, _: u64) {}
}
