//! Parameters: how many questions, and of which types.

use std::path::PathBuf;

use gfm_pipe_api::{Field, Problem, Schema, Type};
use gfm_pipe_llm::{LlmParams, prompt_field};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::language_model;

/// The built-in prompt for the words of a question.
pub const PROMPT: &str = include_str!("prompts/question.txt");

/// Parameters of `make-questions`.
#[derive(Debug, Serialize, Deserialize)]
pub struct MakeParams {
    /// What the words of questions are by.
    pub by: By,
    /// Name of the data set.
    pub dataset: String,
    /// Most questions.
    pub questions: usize,
    /// Seed of all choices.
    pub seed: u64,
    /// Most documents of a chain.
    pub hops: u32,
    /// Relative numbers of questions, by type.
    pub weights: Types,
    /// Most questions of one type that a document is gold for.
    pub per_document: u32,
    /// Hard negatives of each question.
    pub hard_negatives: usize,
    /// The language model, for `by: llm`.
    pub llm: LlmParams,
    /// Prompts of the user's own, for `by: llm`.
    pub prompts: Prompts,
}

/// What the words of questions are by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The rules that made the questions.
    Rules,
    /// A language model.
    Llm,
}

/// Files with prompts of the user's own.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompts {
    /// For the words of a question.
    pub question: Option<PathBuf>,
}

/// Relative numbers of questions of each type; 0 leaves the type out.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Types {
    /// Questions over one document.
    pub single: f64,
    /// Questions over a chain of documents.
    pub bridge: f64,
    /// Questions for what two documents say different things of.
    pub intersection: f64,
    /// Questions that compare two documents.
    pub comparison: f64,
}

impl Types {
    /// The numbers in the order of the fields.
    pub fn all(self) -> [f64; 4] {
        [self.single, self.bridge, self.intersection, self.comparison]
    }
}

impl MakeParams {
    /// The schema.
    pub fn schema() -> Schema {
        let weight = |name, default, about| {
            Field::new(name, Type::float(0.0), default, about)
                .at_most(1e6, "the other types must still count")
        };
        let weights = Schema::new(vec![
            weight("single", 0.15, "questions over one document"),
            weight(
                "bridge",
                0.45,
                "questions over a chain: what one document says describes what another one is asked about",
            ),
            weight(
                "intersection",
                0.2,
                "questions for what two documents say different things of",
            ),
            weight("comparison", 0.2, "questions that compare two documents"),
        ]);
        let prompts = Schema::new(vec![prompt_field(
            "question",
            "a file with a prompt of your own that asks for the words of a question",
        )]);
        Schema::new(vec![
            Field::required(
                "dataset",
                Type::Text,
                "name of the data set in tables of results",
            ),
            Field::new(
                "questions",
                Type::int(1),
                1000,
                "number of questions; fewer where the documents do not yield as many",
            )
            .at_most(1e7, "they are held in memory"),
            Field::new("seed", Type::int(0), 0, "another seed makes other questions")
                .at_most(i64::MAX as f64, "it has 63 bits"),
            Field::new("hops", Type::int(1), 4, "most documents of a chain")
                .at_most(4.0, "longer questions cannot be understood"),
            Field::new(
                "weights",
                Type::Object(weights),
                json!({}),
                "relative numbers of questions of each type; 0 leaves the type out; where a type is \
                 exhausted, the others fill in",
            ),
            Field::new(
                "per_document",
                Type::int(1),
                4,
                "most questions of one type that a document is gold for",
            )
            .at_most(1e6, "there are no more questions of a document"),
            Field::new(
                "hard_negatives",
                Type::int(0),
                8,
                "documents for each question that rank high though they are not gold: by BM25, and half of them by embedding where embeddings are connected",
            )
            .at_most(1000.0, "they are held in memory for each question"),
            Field::new(
                "by",
                Type::one_of(&["rules", "llm"]),
                "rules",
                "rules: questions in the words of the documents; llm: a language model (`llm`) puts \
                 these into natural words, one request for each; what is asked, the answer and the \
                 documents stay the same",
            )
            .added_later(),
            LlmParams::field().added_later(),
            Field::group(
                "prompts",
                prompts,
                "with `by: llm`: a file with a prompt that replaces the built-in one",
            )
            .added_later(),
        ])
    }

    /// Checks that the schema cannot express.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.weights.all().iter().all(|w| *w == 0.0) {
            problems.push(
                Problem::at("weights", "no type of questions has a weight")
                    .hint("set at least one of the weights above 0"),
            );
        } else if self.hops == 1 && self.weights.single == 0.0 {
            problems.push(
                Problem::at(
                    "hops",
                    "with one hop there are only questions of type `single`",
                )
                .hint("set `hops` to 2 or more, or `weights.single` above 0"),
            );
        }
        let prompts = self.prompts != Prompts::default();
        let asks = self.by == By::Llm;
        problems.extend(language_model::problems(asks, &self.llm, prompts));
        if !cfg!(feature = "english") {
            problems.push(
                Problem::at_root("this build has no English pipeline, which reads the documents")
                    .hint("build with `--features english` (it is on by default)"),
            );
        }
        problems
    }
}
