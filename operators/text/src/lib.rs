//! Text encoders of gfm-pipe.
//!
//! Encoders turn names of relations and entities, questions and documents into vectors. Invariant:
//! an encoder is a pure function of the text and of the model that its digest identifies.
//!
//! With the feature `static-encoder` (default) a small model is compiled in
//! (`StaticEncoder::builtin`); with `transformers` model folders of sentence-transformers can be
//! read; with `hub` they are downloaded by name.

#![cfg_attr(
    not(feature = "transformers"),
    allow(
        dead_code,
        reason = "a build without transformers knows their folders, to name their files, and runs none"
    )
)]

mod embed;
#[cfg(feature = "transformers")]
mod embedding;
mod error;
mod folder;
#[cfg(feature = "hub")]
mod hub;
mod location;
mod model;
mod modules;
mod pooling;
mod ready;
mod settings;
mod static_encoder;
mod static_format;
#[cfg(feature = "transformers")]
mod tagger;
#[cfg(feature = "transformers")]
mod transformer;

pub use embed::{Embed, Params as EmbedParams};
#[cfg(feature = "transformers")]
pub use embedding::batches;
pub use error::EncoderError;
pub use model::Model;
pub use ready::ReadyEncoder;
pub use settings::{Round, Settings};
pub use static_encoder::{Encoded, StaticEncoder};
#[cfg(feature = "transformers")]
pub use tagger::{Span, Tagger, Text};
#[cfg(feature = "transformers")]
pub use transformer::compute::{BatchLimits, Compute};
#[cfg(feature = "transformers")]
pub use transformer::{Prompt, Tokenised, Transformer};

/// Whether transformers run on a GPU, or its emulation, where one is asked for.
pub const ON_GPU: bool = cfg!(any(feature = "cuda", feature = "gpu-emulation"));

/// The supported transformers, for messages.
pub(crate) const ARCHITECTURES: &str =
    "BERT, RoBERTa, XLM-RoBERTa, CamemBERT, MPNet, NomicBERT, Mistral, Qwen2, Qwen3 and NV-Embed";

/// The operators of this crate, for the registry.
pub fn operators() -> Vec<gfm_pipe_api::OpEntry> {
    vec![gfm_pipe_api::OpEntry::of::<embed::Embed>()]
}
