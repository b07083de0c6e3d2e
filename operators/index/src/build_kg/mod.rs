//! `build-kg`: makes a graph of the mentions and facts of documents.
//!
//! One thread reads the tables in order, so no output depends on the number of threads. Memory is
//! the vocabulary and some bytes for each fact, mention and edge. Texts of documents are not read.

mod documents;
mod entities;
mod normalize;
mod operator;
pub mod read;
mod relations;
mod row_of;
mod triples;
mod weights;
mod write;

pub use normalize::Normalize;
pub use operator::{BuildKg, BuildKgParams};
