//! `build-kg`: mentions and facts of documents become a graph.
//!
//! One thread reads the tables in their order, so that no output depends on how many there are.
//! Memory is the vocabulary and some bytes for each fact, mention and edge; texts of documents are
//! not read.

mod documents;
mod entities;
mod normalize;
mod operator;
pub mod read;
mod triples;
mod weights;
mod write;

pub use normalize::Normalize;
pub use operator::{BuildKg, BuildKgParams};
