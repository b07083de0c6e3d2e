//! The graph foundation model of gfm-pipe: query-conditioned NBFNet (GFM-RAG, Luo et al., 2025), its training and its
//! evaluation, as operators. How good a ranking is, and systems without a model, are `gfm-pipe-eval`.
//!
//! From the outside in: the operators ([`operators`]) read artifacts and drive the training loop (`train`), which
//! drives the model ([`model`]), which is made of a few operations with hand-written gradients ([`ops`]) over the kernels
//! crate. Everything is computed in the element type of the weights: f32 in training, f64 in checks.

pub mod backend;
pub mod buffers;
pub mod device;
pub mod graph;
pub mod loss;
pub mod model;
pub mod ops;
pub mod optimizer;
pub mod sampling;
pub mod tensor;
pub mod train;

mod baselines;
mod build_background;
mod build_documents;
mod build_graph;
mod divided;
mod documents;
mod evaluate;
mod export;
mod finetune;
pub mod gpu;
mod import_model;
mod inference;
mod inputs;
mod passages;
mod pretrain;
mod progress;
mod question_scores;
mod remarks;
mod retrieve;
pub mod scorer;
mod starts;
pub mod twins;

use gfm_pipe_api::OpEntry;

/// The operators of this crate.
pub fn operators() -> Vec<OpEntry> {
    vec![
        OpEntry::of::<build_graph::BuildGraph>(),
        OpEntry::of::<build_documents::BuildDocuments>(),
        OpEntry::of::<pretrain::Pretrain>(),
        OpEntry::of::<finetune::Finetune>(),
        OpEntry::of::<build_background::BuildBackground>(),
        OpEntry::of::<retrieve::Retrieve>(),
        OpEntry::of::<evaluate::Evaluate>(),
        OpEntry::of::<import_model::ImportModel>(),
        OpEntry::of::<export::Export>(),
    ]
}

/// An error of the tensor library, as an operator's.
pub(crate) fn tensor_error(e: candle_core::Error) -> gfm_pipe_api::OpError {
    gfm_pipe_api::OpError::wrap("failed to compute", e)
}
