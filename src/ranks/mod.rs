//! Runs on several ranks: rank 0 runs the pipeline, the others help with its stages.
//!
//! Rank 0 ([`lead`]) reads the pipeline, plans, and reads and writes the store, as a run of one
//! process does. When a stage runs whose operator takes part
//! ([`gfm_pipe_api::Operator::on_ranks`]), it sends an [`order`]: operator, parameters, and the
//! digests of the inputs. The others ([`follow`]) look up these inputs in the store as they see it,
//! run the operator, and discard what it writes.
//!
//! Invariant: to the store, it is a single run. The number of ranks affects a stage's key only
//! through the parameters that count per rank ([`crate::spec::Pipeline::for_ranks`]).

mod follow;
mod lead;
mod order;
mod shared_setup;

pub use gfm_pipe_ranks::{Launch, Settings, Team, meet};

pub use follow::follow;
pub use lead::Lead;
pub use shared_setup::shared_setup;

/// How this process was started, if it is one of several ranks.
pub fn launched() -> Option<Launch> {
    Launch::from_env(|name| std::env::var(name).ok())
}
