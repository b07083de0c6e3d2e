//! Parameters: the weight of each source, and how many rows it uses.

use std::path::PathBuf;

use gfm_pipe_api::{Field, Problem, Schema, Type};
use gfm_pipe_llm::{LlmParams, prompt_field};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::language_model;

/// How questions are linked, one by one or all together.
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

/// Parameters of the operator `link-questions`.
#[derive(Debug, Serialize, Deserialize)]
pub struct LinkQuestionsParams {
    /// What a retriever has as well.
    #[serde(flatten)]
    pub link: LinkParams,
    /// What chooses among the most similar facts.
    pub filter: Option<Filter>,
    /// Number of facts that it chooses among, per question.
    pub candidates: usize,
    /// The language model, for `filter: llm`.
    pub llm: LlmParams,
    /// Prompts of the user's own, for `filter: llm`.
    pub prompts: FilterPrompts,
}

/// What chooses among the most similar facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// A language model.
    Llm,
}

/// Files with prompts of the user's own.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterPrompts {
    /// For the choice among facts.
    pub filter: Option<PathBuf>,
}

impl LinkQuestionsParams {
    /// The schema.
    pub fn schema() -> Schema {
        let prompts = Schema::new(vec![prompt_field(
            "filter",
            "a file with a prompt of your own that asks which facts help",
        )]);
        let mut schema = LinkParams::schema();
        schema.fields.extend([
            Field::new(
                "filter",
                Type::one_of(&["llm"]).or_null(),
                Value::Null,
                "llm: a language model (`llm`) chooses up to `facts` of the most similar facts of \
                 each question, as in HippoRAG 2; null: the most similar ones count. Questions \
                 that are asked one by one (`ask`, `serve`) are linked without it",
            )
            .added_later(),
            Field::new(
                "candidates",
                Type::int(1),
                20,
                "with `filter`: the most similar facts that it chooses among",
            )
            .at_most(500.0, "all of them are in the prompt")
            .added_later(),
            LlmParams::field().added_later(),
            Field::group(
                "prompts",
                prompts,
                "with `filter: llm`: a file with a prompt that replaces the built-in one",
            )
            .added_later(),
        ]);
        schema
    }

    /// Problems that the schema cannot express.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.filter.is_none() {
            let problem = "only `filter: llm` asks a language model";
            if language_model::is_given(&self.llm) {
                problems.push(Problem::at("llm", problem));
            }
            if self.prompts != FilterPrompts::default() {
                problems.push(Problem::at("prompts", problem));
            }
            return problems;
        }
        problems.extend(self.llm.problems(true));
        let (few, facts) = (self.candidates, self.link.facts);
        if few < facts {
            let problem = format!("there are fewer candidates ({few}) than `facts` ({facts})");
            let hint = "raise `candidates`, or lower `facts`";
            problems.push(Problem::at("candidates", problem).hint(hint));
        }
        if self.link.weights.fact == 0.0 {
            let problem = "`filter` chooses among facts, and `weights.fact` is 0";
            problems.push(Problem::at("filter", problem));
        }
        problems
    }
}
