//! A small English pipeline: text to tokens, part-of-speech tags, dependency parse, sentences and
//! named entities.
//!
//! It computes what spaCy's `en_core_web_sm` 3.8.0 computes, from the same weights, without Python.
//! It does not depend on pipelines or artifacts.
//!
//! `tokenizer` cuts a text into words. `lexicon` turns words into numbers, and `tok2vec` turns
//! these into rows that depend on their neighbours. `tagger`, `parser` and `entities` read these
//! rows. [`facts`] finds statements in a parse. A result depends only on the text: not on other
//! texts, on the number of threads, or on the processor.
//!
//! ```
//! # #[cfg(feature = "builtin")] {
//! let english = gfm_pipe_english::English::new().unwrap();
//! let text = "Ada Brandt was born in Lübeck.";
//! let doc = english.parse(text);
//! assert_eq!((doc.tag(3), doc.label(3)), ("VBN", "ROOT"));
//! let person = &doc.entities[0];
//! assert_eq!(doc.kind(person), "PERSON");
//! assert_eq!(&text[doc.bytes(person.tokens.clone())], "Ada Brandt");
//! let facts = gfm_pipe_english::facts::facts(text, &doc, None);
//! assert_eq!(facts[0].relation.text, "was born in");
//! assert_eq!(&text[facts[0].object.bytes.clone()], "Lübeck");
//! # }
//! ```

mod block;
mod characters;
mod doc;
mod entities;
mod error;
pub mod facts;
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

/// The files that are compiled into the binary.
#[cfg(feature = "builtin")]
mod builtin {
    pub(crate) static TABLES: &[u8] = include_bytes!("../../../data/models/english/english.json");
    pub(crate) static WEIGHTS: &[u8] =
        include_bytes!("../../../data/models/english/english_f16.safetensors");
}
