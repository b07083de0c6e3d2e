//! Text encoders of gfm-pipe.
//!
//! Purpose: turn the names of relations and entities, questions and documents into vectors.
//! Invariant: an encoder is a pure function of the text and of the model its digest names. Not
//! here: reading or writing artifacts, except the operator's own.
//!
//! With the feature `static-encoder` (default) a small model is compiled in
//! (`StaticEncoder::builtin`); with `transformers` model folders of sentence-transformers are read;
//! with `hub` they are downloaded by their names.

#![cfg_attr(
    not(feature = "transformers"),
    allow(
        dead_code,
        reason = "a build without transformers knows their folders, to name their files, and runs none"
    )
)]

mod embed;
mod error;
mod folder;
#[cfg(feature = "hub")]
mod hub;
#[cfg(feature = "transformers")]
mod job;
mod location;
mod model;
mod modules;
mod pooling;
mod settings;
mod static_encoder;
mod static_format;
#[cfg(feature = "transformers")]
mod tagger;
#[cfg(feature = "transformers")]
mod transformer;
#[cfg(feature = "transformers")]
mod vectors;

pub use error::EncoderError;
#[cfg(feature = "transformers")]
pub use job::batches;
pub use model::Model;
pub use settings::{Round, Settings};
pub use static_encoder::{Encoded, StaticEncoder};
#[cfg(feature = "transformers")]
pub use tagger::{Span, Tagger, Text};
#[cfg(feature = "transformers")]
pub use transformer::{Prompt, Tokenised, Transformer};

/// What transformers there are, for messages.
pub(crate) const ARCHITECTURES: &str =
    "BERT, RoBERTa, XLM-RoBERTa, CamemBERT, MPNet, NomicBERT and Qwen3";

/// The operators of this crate.
pub fn operators() -> Vec<gfm_pipe_api::OpEntry> {
    vec![gfm_pipe_api::OpEntry::of::<embed::Embed>()]
}
