//! The model on a GPU: the same passes as [`crate::model`]'s, over the same rows, with everything that is large on the device.
//!
//! Weights, moments, graph and states stay there; per step go up which rows there are (found by the CPU while the device computes
//! the step before), seeds, candidates and gold, and comes down the loss. Kernels and products are [`gfm_pipe_kernels::gpu`]'s. Without
//! a device the kernels' emulation runs all this in tests (feature `gpu-emulation`).

mod backward;
pub(crate) mod estimate;
#[cfg(all(test, feature = "gpu-emulation"))]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod estimate_tests;
mod forward;
mod graph;
mod head;
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

use gfm_pipe_api::OpError;
use gfm_pipe_kernels::gpu::Error;

pub use objective::{LinkBatch, QuestionBatch, Term, Whole};
pub(crate) use scoring::with_scorer;
pub use sums::Sums;
pub use trainer::{How, OnDevice, Pending, Source, Taken, Trainer, trainer};

/// A device's error as the user's.
pub(crate) fn device_error(e: Error) -> OpError {
    OpError::new(e.to_string()).hint(e.hint())
}

type Result<T> = std::result::Result<T, Error>;
