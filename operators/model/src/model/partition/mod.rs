//! Training and inference on graphs that are too large for one machine: each rank holds the states
//! of some of the nodes.
//!
//! A [`Partition`] says which rank owns which node. A rank's [`Part`] has the edges into the nodes
//! that it owns. For senders that belong to another rank it has copies of their states, which that
//! rank sends before each layer except the first. In the backward pass, the gradients of copies
//! return to the owner, which adds them up. A rank computes only the rows of its own nodes: the
//! linear maps, the messages and the head are divided among the ranks, and nothing is computed
//! twice.
//!
//! The gradient of a parameter on one rank is that rank's share; the sum over ranks is the gradient
//! ([`sum_grads`]). Scores are those of a single rank, up to the order of sums.
//!
//! A rank holds the states of its nodes and copies for each layer, the edges into its nodes, and
//! four bytes per node of the whole graph. While it cuts its part, it also holds the structure of
//! the whole graph. All scores are on every rank, because losses depend on all of them.
//!
//! All ranks call the same functions in the same order, with the same queries.

mod exchange;
mod hops;
mod models;
mod part;
mod partitioner;
mod pass;
mod rows;

pub use exchange::{LayerTraffic, Traffic};
pub use models::{LinkPass, PartitionedGnn, PartitionedRetriever, QuestionPass, sum_grads};
pub use part::Part;
pub use partitioner::{Cut, Partition};

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests;
