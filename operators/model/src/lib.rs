//! The graph foundation model of gfm-pipe: query-conditioned NBFNet (GFM-RAG, Luo et al., 2025), its loss, its optimizer
//! and what computes them, without operators.
//!
//! From the bottom up: [`tensor`] and [`buffers`] are memory, [`graph`] is what messages are passed on, [`ops`] are small
//! operations with hand-written gradients, [`model`] is the network, [`sampling`], [`loss`] and [`optimizer`] are what
//! training needs besides, [`scorer`] computes scores of all nodes. [`backend`] says what can train; `host` and [`gpu`]
//! are the two that do, and [`device`] chooses between them. Everything is computed in the element type of the weights:
//! f32 in training, f64 in checks.

pub mod backend;
pub mod buffers;
pub mod device;
pub mod divided;
pub mod gpu;
pub mod graph;
mod host;
pub mod link_ranks;
pub mod loss;
pub mod model;
pub mod ops;
pub mod optimizer;
pub mod progress;
pub mod sampling;
pub mod scorer;
pub mod tensor;
pub mod twins;

/// An error of the tensor library, as an operator's.
pub fn tensor_error(e: candle_core::Error) -> gfm_pipe_api::OpError {
    gfm_pipe_api::OpError::wrap("failed to compute", e)
}
