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
//! - `on_graph` is the model on its graph, and `walking` personalised PageRank on it.
//! - `reasons` turns paths of the model and walks of personalised PageRank into text.
//! - `answers` puts an answer together.
//!
//! [`Explain`] is the operator that explains the documents of many questions, by `reasons` too.
//!
//! Invariant: starts are those of `link-questions`, and scores those of `evaluate`, bit for bit. No
//! answer depends on the questions that are asked with it.

mod answers;
mod corpus;
mod explain;
mod facts;
mod on_graph;
mod params;
mod reasons;
mod retriever;
mod scoring;
mod sentence;
mod walking;

use gfm_pipe_api::OpEntry;

pub use explain::{Explain, ExplainParams};
pub use params::RetrieverParams;
pub use retriever::Retriever;

/// The operators of this crate.
pub fn operators() -> Vec<OpEntry> {
    vec![OpEntry::of::<Retriever>(), OpEntry::of::<Explain>()]
}
