//! How many answers of a language model a stage needs, counted before it runs.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count of requests. An operator that runs with one in its context asks nothing and only
/// counts; see [`crate::Operator::asks_model`].
#[derive(Debug, Default)]
pub struct Requests {
    stored: AtomicU64,
    left: AtomicU64,
    tokens: AtomicU64,
}

impl Requests {
    /// Counts an answer that is stored.
    pub fn stored(&self) {
        self.stored.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that is left, and the rough number of tokens of its prompt.
    pub fn left(&self, tokens: u64) {
        self.left.fetch_add(1, Ordering::Relaxed);
        self.tokens.fetch_add(tokens, Ordering::Relaxed);
    }

    /// What was counted.
    pub fn counted(&self) -> RequestCount {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        RequestCount {
            stored: get(&self.stored),
            left: get(&self.left),
            tokens: get(&self.tokens),
        }
    }
}

/// How many answers of a language model a stage needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestCount {
    /// Answers that are stored.
    pub stored: u64,
    /// Requests that are left.
    pub left: u64,
    /// Rough number of tokens of the prompts that are left.
    pub tokens: u64,
}
