//! The graph foundation model of gfm-pipe: a query-conditioned NBFNet (GFM-RAG, Luo et al., 2025),
//! its losses, its optimizer, and the code that runs them on the CPU, on several ranks and on a
//! GPU. It has no operators.
//!
//! From the bottom up: [`tensor`] and [`buffers`] handle memory, [`graph`] is the graph that
//! messages travel on, [`ops`] has small operations with hand-written gradients, and [`model`] is
//! the network. Training also needs [`sampling`], [`loss`] and [`optimizer`]; [`scorer`] computes
//! scores of all nodes. [`backend`] is the interface for training, `host` and [`gpu`] implement it,
//! and [`device`] chooses between them. Everything is computed in the element type of the weights:
//! f32 in training, f64 in checks.

pub mod backend;
pub mod buffers;
pub mod device;
pub mod divided;
mod document_loss;
pub mod document_scores;
pub mod edge_dropout;
pub mod gpu;
pub mod graph;
mod host;
pub mod link_ranks;
pub mod loaded;
pub mod loss;
pub mod model;
pub mod ops;
pub mod optimizer;
pub mod progress;
pub mod questions;
pub mod sampling;
pub mod scorer;
pub mod tensor;
pub mod twins;

/// Converts an error of the tensor library into an operator's error.
pub fn tensor_error(e: candle_core::Error) -> gfm_pipe_api::OpError {
    gfm_pipe_api::OpError::wrap("failed to compute", e)
}
