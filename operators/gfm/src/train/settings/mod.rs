//! The `with:` parameters that pretrain and finetune share, under the names of GFM-RAG's training
//! guide. Each file holds one group: its schema with the defaults, its struct and its checks.
//!
//! Parameters that GFM-RAG has and this version does not support are rejected by name, never
//! ignored.

mod model;
mod optimizer;
mod train;

use gfm_pipe_api::{Field, Type};

pub use model::{FINETUNED, Model, PRETRAINED, model_field};
pub use optimizer::{OptimizerSettings, optimizer_field};
pub use train::{Common, Train, TrainDefaults, best_by_problem, train_fields};

/// Top-level parameters of both operators: `seed`, and those of GFM-RAG that are stages here.
pub fn top_fields() -> Vec<Field> {
    vec![
        Field::new(
            "seed",
            Type::int(0),
            1024,
            "seed of initialisation, order and sampling",
        )
        .at_most(i64::MAX as f64, "it has 63 bits"),
        Field::refused("hydra", "remove it: results go to the store (`--store`)"),
        Field::refused(
            "defaults",
            "remove it: the encoder is an `embed` stage, the ranker the key `doc_ranker`",
        ),
        Field::refused(
            "datasets",
            "data sets are stages: ingest-kg, ingest-qa, build-graph, connected under `in:`",
        ),
        Field::refused(
            "text_emb_model",
            "the encoder is an `embed` stage, connected under `in:`",
        ),
        Field::refused("checkpoint", "it belongs under `train`: `train.checkpoint`"),
    ]
}
