//! Text encoders of gfm-pipe.
//!
//! Purpose: turn the names of relations and entities, questions and documents into vectors.
//! Invariant: an encoder is a pure function of the text and of the model its `digest` names.
//! Not here: reading or writing artifacts.
//!
//! With the feature `static-encoder` (default) a small model is compiled in
//! (`StaticEncoder::builtin`); without it, models are loaded from a folder.

mod embed;
mod static_encoder;
mod static_format;

pub use static_encoder::{Encoded, StaticEncoder};
pub use static_format::EncoderError;

/// The operators of this crate.
pub fn operators() -> Vec<gfm_pipe_api::OpEntry> {
    vec![gfm_pipe_api::OpEntry::of::<embed::Embed>()]
}
