//! A small English pipeline: text to tokens, part-of-speech tags, dependency parse, sentences and named entities.
//!
//! It computes what spaCy's `en_core_web_sm` 3.8.0 computes, from the same weights, without Python. Nothing here knows of
//! pipelines or artifacts.
//!
//! The way of a text: `tokenizer` cuts it into words, `lexicon` turns words into numbers, `tok2vec` into rows that know
//! their neighbours; `tagger`, `parser` and `entities` read these rows. A result depends on the text alone: not on other
//! texts, not on the number of threads, not on the processor.

mod block;
mod characters;
mod doc;
mod entities;
mod error;
mod hash;
mod lexicon;
mod names;
mod parser;
mod pipeline;
mod product;
mod scorer;
mod tables;
mod tagger;
mod tok2vec;
mod tokenizer;
mod weights;

pub use doc::{Doc, Entity, Token};
pub use error::EnglishError;
pub use pipeline::English;

/// A map with a fast hash.
pub(crate) type Map<K, V> = std::collections::HashMap<K, V, ahash::RandomState>;

/// The files compiled in.
#[cfg(feature = "builtin")]
mod builtin {
    pub(crate) static TABLES: &[u8] = include_bytes!("../../../data/models/english/english.json");
    pub(crate) static WEIGHTS: &[u8] =
        include_bytes!("../../../data/models/english/english_f16.safetensors");
}
