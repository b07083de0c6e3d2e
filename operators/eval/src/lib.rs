//! Evaluates rankings, and implements the retrieval systems that need no training.
//!
//! Most of this crate is pure functions of numbers: entity scores to document scores ([`rankers`]),
//! systems without a model ([`baselines`]), metrics of a question ([`metrics`]), of link prediction
//! ([`link_metrics`]) and of answers in words ([`answers`]), groups of questions ([`groups`]),
//! intervals and tests ([`statistics`]). The tables that `evaluate`, `compare` and `pool` write
//! ([`tables`], [`rankings`]) and the advice to the user about them ([`remarks`]) are built on
//! these. Nothing here uses tensors; the engine, the model and the operators all depend on this
//! crate.
//!
//! Invariant: of equal scores the lower id comes first, everywhere, and no result depends on the
//! number of threads: what several threads compute for a question is put together in a fixed
//! order, and sums are in f64. Callers may run questions in parallel.

pub mod answers;
pub mod baselines;
pub mod by_node;
mod compare;
mod entity_documents;
pub mod features;
pub mod groups;
pub mod link_metrics;
pub mod metrics;
pub mod numbers;
mod order;
pub mod pages;
pub mod passages;
pub mod paths;
pub mod pieces;
mod pool;
pub mod questions;
pub mod rankers;
pub mod rankings;
pub mod remarks;
mod rows;
pub mod shown;
pub mod starts;
pub mod statistics;
pub mod systems;
pub mod tables;

#[cfg(test)]
mod parity2_tests;
#[cfg(test)]
mod parity_tests;

use gfm_pipe_api::{OpEntry, OpError, Operator};

pub use entity_documents::EntityDocuments;
pub use order::{places, top};

/// Name of the operator whose tables have everything that those of the connected evaluations have.
pub const POOL: &str = pool::Pool::NAME;

/// An error for inputs that do not fit together: lengths differ, or an id is out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadShape(pub String);

impl From<BadShape> for OpError {
    fn from(e: BadShape) -> Self {
        OpError::wrap("the inputs do not belong together", e)
    }
}

/// The operators of this crate.
pub fn operators() -> Vec<OpEntry> {
    vec![
        OpEntry::of::<features::RankFeatures>(),
        OpEntry::of::<features::Fuse>(),
        OpEntry::of::<compare::Compare>(),
        OpEntry::of::<pool::Pool>(),
        OpEntry::of::<answers::EvaluateAnswers>(),
    ]
}
