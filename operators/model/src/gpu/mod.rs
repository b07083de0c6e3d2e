//! The model on a GPU: the same passes over the same rows as [`crate::model`]'s, with everything
//! large in the device's memory.
//!
//! Weights, moments, graph and states stay on the device. Each step uploads which rows to compute
//! (the CPU finds them while the device runs the step before), the seeds, the candidates and the
//! gold, and downloads the loss. The kernels and matrix products are in [`gfm_pipe_kernels::gpu`].
//! Tests run all of this without a device, on the emulated kernels (feature `gpu-emulation`).
//!
//! Files import each other in one direction only, from the bottom of this list to its top:
//!
//! - `error`, `weights` (parameters and gradients in one vector), `linear` (small linear maps);
//! - `graph` (a graph and the rows of a batch on the device);
//! - `model` (a model on a graph; relation states, query vectors and boundary of a batch);
//! - `layer` (one layer, forward and backward), `head` (scores from states, forward and backward);
//! - `forward` and `backward` (a whole pass, with the only two loops over layers);
//! - `objective` (losses), `scoring` (scores of all nodes), `sums` (gradients of several ranks);
//! - `trainer` (a training step), `estimate` (memory and time of a training step).

mod backward;
mod error;
pub mod estimate;
#[cfg(all(test, feature = "gpu-emulation"))]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod estimate_tests;
#[cfg(all(test, any(feature = "cuda", feature = "gpu-emulation")))]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod feature_tests;
mod forward;
mod graph;
mod head;
mod layer;
mod linear;
mod model;
mod node_states;
mod objective;
mod scoring;
mod sums;
#[cfg(all(test, any(feature = "cuda", feature = "gpu-emulation")))]
#[allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failed unwrap fails the test; a skipped test says so"
)]
mod tests;
mod trainer;
mod weights;

pub(crate) use error::device_error;
pub(crate) use scoring::with_scorer;
pub use sums::Sums;
pub use trainer::trainer;
