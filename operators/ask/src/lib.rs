//! Answers questions in plain words.
//!
//! [`Retriever`] is the operator whose stage names what a question needs: documents, graph,
//! embeddings, how questions are linked, and a model if there is one. Its
//! [`Answers`](gfm_pipe_api::answer::Answers) have everything in memory.
//!
//! - `corpus` has the documents: texts, files, pieces.
//! - `facts` has the graph for people: names, neighbours, and where each fact was read.
//! - `scoring` chooses a system for each question and scores all documents.
//! - `sentence` finds the sentence of a document that matters most.
//! - `reasons` turns paths of the model and walks of personalised PageRank into text.
//! - `answers` puts an answer together.
//!
//! Invariant: starts are those of `link-questions`, and scores those of `evaluate`, bit for bit. No
//! answer depends on the questions that are asked with it.

mod answers;
mod corpus;
mod facts;
mod params;
mod reasons;
mod retriever;
mod scoring;
mod sentence;

use gfm_pipe_api::OpEntry;

pub use params::RetrieverParams;
pub use retriever::Retriever;

/// The operators of this crate.
pub fn operators() -> Vec<OpEntry> {
    vec![OpEntry::of::<Retriever>()]
}
