//! Parameters: the weight of each source, and how many rows it uses.

use gfm_pipe_api::{Field, Schema, Type};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Parameters of `link-questions`.
#[derive(Debug, Serialize, Deserialize)]
pub struct LinkParams {
    /// Weights of the sources.
    pub weights: Weights,
    /// Number of facts that count, per question.
    pub facts: usize,
    /// Number of sentences that count, per question.
    pub sentences: usize,
    /// Number of documents that count, per question.
    pub documents: usize,
    /// Least cosine at which another name counts as one of the question's.
    pub similarity: f64,
}

/// Sum of the weights of each source's starts; 0 leaves the source out.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Weights {
    /// Documents whose titles the question names.
    pub title: f64,
    /// Entities that the question names.
    pub entity: f64,
    /// Entities that the question names in part.
    pub partial: f64,
    /// Entities of the most similar facts.
    pub fact: f64,
    /// Entities of the most similar sentences.
    pub sentence: f64,
    /// Documents with the most similar texts.
    pub document: f64,
    /// Documents that share rare words.
    pub word: f64,
}

impl LinkParams {
    /// The schema. The defaults were chosen on the training questions of two data sets
    /// (docs/documents.md).
    pub fn schema() -> Schema {
        let weight = |name, default, about| {
            Field::new(name, Type::float(0.0), default, about)
                .at_most(1e6, "the other sources must still count")
        };
        let weights = Schema::new(vec![
            weight(
                "title",
                1.0,
                "weight of documents whose title or alias the question names",
            ),
            weight("entity", 1.0, "weight of entities that the question names"),
            weight(
                "partial",
                0.0,
                "weight of entities whose names share rare words with the question: names in part, or in lower case",
            )
            .added_later(),
            weight("fact", 0.3, "weight of entities of the most similar facts"),
            weight(
                "sentence",
                0.6,
                "weight of entities of the most similar sentences",
            ),
            weight(
                "document",
                0.2,
                "weight of documents with the most similar texts",
            ),
            weight(
                "word",
                0.1,
                "weight of documents that share the question's rarest words (BM25)",
            ),
        ]);
        let many = |name, default: u64, about| {
            Field::new(name, Type::int(1), default, about)
                .at_most(100_000.0, "each is held in memory for each question")
        };
        Schema::new(vec![
            Field::new(
                "weights",
                Type::Object(weights),
                json!({}),
                "sum of the weights that each source gives to the nodes of a question; 0 leaves the source out",
            ),
            many("facts", 5, "facts that count for a question"),
            many("sentences", 5, "sentences that count for a question"),
            many("documents", 20, "documents that count for a question by their texts"),
            Field::new(
                "similarity",
                Type::float(-1.0),
                0.8,
                "least cosine at which an entity counts as one that the question names in other words",
            )
            .at_most(1.0, "a cosine is not larger"),
        ])
    }
}
