//! Operators that go from a folder of documents to a graph, without a language model.
//!
//! [`IngestDocuments`] reads files of many formats into documents, [`IngestQuestions`] questions
//! about them, [`Extract`] finds what they mention and say, and [`BuildKg`] makes a graph of it.
//! [`JoinEquivalent`] adds edges between near names. [`LinkQuestions`] finds where in the graph the
//! search for a question starts. What they stand on is below them: which files there are
//! (`listing`), their bytes as text (`decode`), formats (`formats`, a file each), documents in them
//! (`reading`), titles (`titles`), pieces (`pieces`), gold titles (`golds`) and folds (`folds`).
//! `look` says what they would read, for `init`, which writes a pipeline.
//!
//! Invariant: whatever is in the input ends up in a table, in `rejects` or in `counts`. No bytes
//! make an operator panic, and no file that cannot be read stops a run.

mod build_kg;
mod decode;
mod extract;
mod folds;
mod formats;
mod golds;
mod ingest_documents;
mod ingest_questions;
mod join_equivalent;
mod link_questions;
mod listing;
pub mod look;
mod near;
mod pieces;
mod question;
mod reading;
mod rows;
mod titles;

use gfm_pipe_api::OpEntry;

pub use build_kg::{BuildKg, BuildKgParams, Normalize};
pub use extract::operator::{By, Extract, ExtractParams};
pub use ingest_documents::{DocumentsParams, IngestDocuments};
pub use ingest_questions::{IngestQuestions, QuestionsParams};
pub use join_equivalent::{JoinEquivalent, JoinParams};
pub use link_questions::{LinkParams, LinkQuestions};

/// The operators of this crate, for the registry.
pub fn operators() -> Vec<OpEntry> {
    vec![
        OpEntry::of::<IngestDocuments>(),
        OpEntry::of::<IngestQuestions>(),
        OpEntry::of::<Extract>(),
        OpEntry::of::<BuildKg>(),
        OpEntry::of::<JoinEquivalent>(),
        OpEntry::of::<LinkQuestions>(),
    ]
}
