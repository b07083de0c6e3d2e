//! Operators of the graph foundation model: graph tensors, training, retrieval and evaluation. They
//! read artifacts and run the training loop ([`train`]) on `gfm-pipe-model`. Metrics, and systems
//! that need no model, are in `gfm-pipe-eval`.

pub mod train;

mod baselines;
mod build_background;
mod build_documents;
mod build_graph;
mod edge_weights;
mod evaluate;
mod export;
mod finetune;
mod import_model;
mod inference;
mod inputs;
mod node_targets;
mod pretrain;
mod question_scores;
mod retrieve;
mod types;

use gfm_pipe_api::OpEntry;
pub use gfm_pipe_model::device;

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
