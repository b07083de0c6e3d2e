//! Runs on several ranks: rank 0 runs the pipeline, the others help with its stages.
//!
//! Rank 0 ([`lead`]) reads the pipeline, plans, looks into the store and writes to it, as a run
//! that is alone does. When a stage runs whose operator takes part
//! ([`gfm_pipe_api::Operator::on_ranks`]), it sends an [`order`]: operator, parameters, and inputs
//! by their digests. The others ([`follow`]) look for these inputs in the store as they see it, run
//! the operator, and throw away what it writes.
//!
//! Invariant: the store sees one run. How many ranks there are reaches a stage's key only through
//! the parameters that count per rank ([`crate::spec::Pipeline::for_ranks`]).

mod follow;
mod lead;
mod order;
mod shared_setup;

pub use gfm_pipe_ranks::{Launch, Settings, Team, meet};

pub use follow::follow;
pub use lead::Lead;
pub use shared_setup::shared_setup;

/// How this process was started, where it is one of several.
pub fn launched() -> Option<Launch> {
    Launch::from_env(|name| std::env::var(name).ok())
}
