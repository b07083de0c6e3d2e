//! Graphs that one machine does not hold: each rank holds the states of some nodes, for training and inference.
//!
//! A [`Partition`] says which rank holds which node. A rank's [`Part`] has the edges into its own nodes; the states of others' nodes that send
//! along them are copies, which their ranks send before each layer but the first. Backwards, gradients of copies go home and are added
//! there. A rank computes a layer's rows of its own nodes only: the linear maps, the messages and the head are shared out, nothing is
//! computed twice.
//!
//! Every gradient of a parameter is this rank's share of it, and their sum over ranks is the whole ([`sum_grads`]). Scores are those of one
//! rank, up to the order of sums.
//!
//! What a rank holds: states of its nodes and of copies, for each layer; the edges into its nodes; of the whole graph four bytes a node, and the
//! structure while it cuts its part. Scores are on every rank, because losses are functions of all of them.
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
