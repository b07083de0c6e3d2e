//! Answers questions in plain words.
//!
//! [`Retriever`] is the operator whose stage names what a question needs: documents, graph,
//! embeddings, how questions are linked, and a model if there is one. Its
//! [`Answers`](gfm_pipe_api::answer::Answers) have everything in memory.
//!
//! - `corpus` has the documents: texts, files, pieces.
//! - `facts` has the graph for people: names, neighbours, and where each fact was read. `tables`
//!   reads it.
//! - `check` finds out whether tables belong together, without loading them.
//! - `scoring` chooses a system for each question and scores all documents; `systems` says which is
//!   the best that there is.
//! - `sentence` finds the sentence of a document that matters most.
//! - `on_graph` is the model on its graph, and `walking` personalised PageRank on it.
//! - `reasons` turns paths of the model and walks of personalised PageRank into text.
//! - `answers` puts an answer together, and `writer` has a language model answer as well.
//!
//! [`AnswerQuestions`] has a language model answer many questions, and [`Ircot`] lets it search
//! again after each thought (`merged` has the documents of all searches). `generate` is what they
//! and `writer` ask, and `responses` their tables.
//!
//! [`Explain`] is the operator that explains the documents of many questions, by `reasons` too.
//!
//! Invariant: starts are those of `link-questions`, and scores those of `evaluate`, bit for bit. No
//! answer depends on the questions that are asked with it.

mod answer;
mod answers;
mod check;
mod corpus;
mod explain;
mod facts;
mod generate;
mod ircot;
mod merged;
mod on_graph;
mod params;
mod reasons;
mod responses;
mod retriever;
mod scoring;
mod sentence;
mod systems;
mod tables;
mod walking;
mod writer;

use gfm_pipe_api::OpEntry;

pub use answer::{AnswerParams, AnswerQuestions};
pub use explain::{Explain, ExplainParams};
pub use ircot::{Ircot, IrcotParams};
pub use params::RetrieverParams;
pub use retriever::Retriever;

/// The operators of this crate.
pub fn operators() -> Vec<OpEntry> {
    vec![
        OpEntry::of::<Retriever>(),
        OpEntry::of::<Explain>(),
        OpEntry::of::<AnswerQuestions>(),
        OpEntry::of::<Ircot>(),
    ]
}
