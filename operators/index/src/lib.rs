//! Operators that go from a folder of documents to a graph. All of them work without a language
//! model, and some can ask one.
//!
//! - [`IngestDocuments`] reads files of many formats into documents.
//! - [`IngestQuestions`] reads questions about them.
//! - [`Extract`] finds what the documents mention and which facts they state.
//! - [`CompareFacts`] says where two extractions differ.
//! - [`BuildKg`] makes a graph of mentions and facts.
//! - [`JoinEquivalent`] adds edges between entities with similar names.
//! - [`LinkQuestions`] finds where in the graph the search for a question starts.
//! - [`MakeQuestions`] makes questions about the documents, for training.
//!
//! The other modules are shared: the list of files (`listing`), bytes to text (`decode`), formats
//! (`formats`, one file each), documents in a file (`reading`), titles (`titles`), pieces
//! (`pieces`), gold titles (`gold_titles`), folds (`folds`), and what operators that may ask a
//! language model have in common (`language_model`). [`preview`] reports what the operators would
//! read, for `init`, which writes a pipeline.
//!
//! Invariant: everything in the input ends up in a table, in `rejects` or in `counts`. No input
//! makes an operator panic, and no file that cannot be read stops a run.

mod build_kg;
mod compare_facts;
mod decode;
mod extract;
mod folds;
mod formats;
mod gold_titles;
mod ingest_documents;
mod ingest_questions;
mod join_equivalent;
mod language_model;
mod link_questions;
mod listing;
mod make_questions;
mod near;
mod pieces;
pub mod preview;
mod question;
mod reading;
mod rows;
mod titles;

use gfm_pipe_api::OpEntry;

pub use build_kg::{BuildKg, BuildKgParams, Normalize};
pub use compare_facts::{CompareFacts, CompareFactsParams};
pub use extract::operator::Extract;
pub use extract::params::{By, ExtractParams, Prompts as ExtractPrompts};
pub use ingest_documents::{DocumentsParams, IngestDocuments};
pub use ingest_questions::{IngestQuestions, QuestionsParams};
pub use join_equivalent::{JoinEquivalent, JoinParams};
pub use link_questions::{
    Check, Encoder, Filter, FilterPrompts, LinkParams, LinkQuestions, LinkQuestionsParams,
    LinkedStart, Linker, SentencePlaces, Shared, Texts, checks, read_links, sentences_of,
};
pub use make_questions::{MakeParams, MakeQuestions};

/// The operators of this crate, for the registry.
pub fn operators() -> Vec<OpEntry> {
    vec![
        OpEntry::of::<IngestDocuments>(),
        OpEntry::of::<IngestQuestions>(),
        OpEntry::of::<Extract>(),
        OpEntry::of::<CompareFacts>(),
        OpEntry::of::<BuildKg>(),
        OpEntry::of::<JoinEquivalent>(),
        OpEntry::of::<LinkQuestions>(),
        OpEntry::of::<MakeQuestions>(),
    ]
}
