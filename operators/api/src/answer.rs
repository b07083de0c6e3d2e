//! Questions in plain words and their answers: what `ask` prints, what `serve` sends, and the trait
//! behind both. The field names are those of the JSON that programs outside read.

use serde::{Deserialize, Serialize};

use crate::error::OpResult;

/// Most documents that an answer may have.
pub const MAX_DOCUMENTS: usize = 1000;
/// Most paths of a document that an answer may have.
pub const MAX_PATHS: usize = 10;
/// Documents of an answer where the question does not say how many.
pub const DEFAULT_DOCUMENTS: usize = 5;
/// Paths of a document where the question does not say how many.
pub const DEFAULT_PATHS: usize = 3;

/// A question and what its answer should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The question in plain words.
    pub question: String,
    /// Number of documents, from 1 to [`MAX_DOCUMENTS`].
    pub k: usize,
    /// Largest number of paths per document, at most [`MAX_PATHS`].
    pub paths: usize,
    /// Only documents whose source file matches this glob pattern, such as `reports/*.md`.
    pub source: Option<String>,
    /// Further documents to report with their ranks, by title or id: "why is this one not among the
    /// first?".
    pub why_not: Vec<String>,
    /// Whether a language model answers too, from the first documents: [`Answer::answer`]. Such an
    /// answer is not kept: who asks again has it written again.
    pub answer: bool,
}

impl Ask {
    /// A question with the default number of documents and paths.
    pub fn new(question: impl Into<String>) -> Self {
        Ask {
            question: question.into(),
            k: DEFAULT_DOCUMENTS,
            paths: DEFAULT_PATHS,
            source: None,
            why_not: Vec::new(),
            answer: false,
        }
    }
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The question.
    pub question: String,
    /// The system that ranked the documents: model, ppr, rrf, dense or bm25.
    pub system: String,
    /// What the user should know, such as why a simpler system answered. Each is one sentence:
    /// lower case, without a full stop.
    pub notes: Vec<String>,
    /// How long it took, in seconds, together with the questions that were answered with it, and
    /// without the time spent waiting for others.
    pub seconds: f64,
    /// The answer of a language model, where [`Ask::answer`] asks for it; a note says why it could
    /// not be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Cited>,
    /// Where the search started, the heaviest first.
    pub start: Vec<Start>,
    /// The first documents.
    pub documents: Vec<Found>,
    /// The documents that [`Ask::why_not`] names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why_not: Vec<Found>,
}

/// What a language model answers from documents that were found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cited {
    /// The answer in a few words; empty where the documents do not say it.
    pub text: String,
    /// How the model came to it.
    pub reasoning: String,
    /// Numbers of the documents that it cites, in the order in which it cites them: only documents
    /// that it was shown.
    pub documents: Vec<u32>,
    /// Their titles.
    pub titles: Vec<String>,
    /// Name of the model.
    pub model: String,
}

/// A node where the search started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Number of the node.
    pub node: u32,
    /// Its name.
    pub label: String,
    /// What found it: title, entity, partial, word, fact, sentence or document.
    pub source: String,
    /// The words of the question, the fact, the sentence or the title by which it was found.
    pub text: String,
    /// Its weight.
    pub weight: f64,
}

/// A document of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Number of the document.
    pub id: u32,
    /// One-based rank among all documents that the question allows; `None` where the system gives
    /// the document no score.
    pub rank: Option<u64>,
    /// Its title.
    pub title: String,
    /// Its score; larger is better, and only scores of one answer can be compared. `None` where the
    /// system gives it none.
    pub score: Option<f64>,
    /// The sentence that is most similar to the question.
    pub sentence: Option<String>,
    /// Its text. It contains `sentence`.
    pub text: String,
    /// The file that it was read from, relative to the folder that was read.
    pub source: Option<String>,
    /// Why it was found: a path without steps first, then the heaviest.
    pub paths: Vec<Path>,
}

/// A walk in the graph from a start node to a document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Path {
    /// How much the walk contributes. By a model: mean gradient of the document's score with
    /// respect to the weights of its edges. By personalised PageRank: share of the walker's mass
    /// that arrives by it.
    pub weight: f64,
    /// The edges, from the start. Empty where the search started at the document itself or at an
    /// entity by which it is found: the weight is then that of the start.
    pub steps: Vec<Step>,
}

/// The relation of a step between the names of its ends: ` –stands in→ `. The arrow points in the
/// direction of the fact.
pub fn arrow(relation: &str, inverse: bool) -> String {
    if inverse {
        format!(" ←{relation}– ")
    } else {
        format!(" –{relation}→ ")
    }
}

/// An edge of a path: a fact, with where it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Name of the fact's head.
    pub head: String,
    /// Name of its relation.
    pub relation: String,
    /// Name of its tail.
    pub tail: String,
    /// Number of the head's node.
    pub head_node: u32,
    /// Number of the tail's node.
    pub tail_node: u32,
    /// Whether the path goes from the tail to the head.
    pub inverse: bool,
    /// One-based layer of the model, or step of the walk.
    pub layer: usize,
    /// Number of the document that states the fact, where known.
    pub document: Option<u32>,
    /// Title of that document.
    pub title: Option<String>,
    /// The sentence that states it, where known.
    pub sentence: Option<String>,
}

/// A document with everything that is known about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Its number.
    pub id: u32,
    /// Its title.
    pub title: String,
    /// Its text.
    pub text: String,
    /// The file that it was read from.
    pub source: Option<String>,
    /// The nodes that it mentions, and its own node where documents are nodes.
    pub nodes: Vec<Named>,
}

/// A node or a document with its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Number of the node or document.
    pub id: u32,
    /// Its name or title.
    pub label: String,
}

/// A node of the graph with its neighbours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its number.
    pub node: u32,
    /// Its name.
    pub label: String,
    /// `entity` or `document`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Number of facts that it is the head or tail of.
    pub degree: usize,
    /// The first of these facts.
    pub facts: Vec<Step>,
    /// The first documents that mention it.
    pub documents: Vec<Named>,
}

/// What a retriever is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The system that ranks documents where a question has a start.
    pub system: String,
    /// Number of documents.
    pub documents: usize,
    /// Number of nodes of the graph.
    pub nodes: usize,
    /// Number of triples of the graph.
    pub triples: usize,
    /// Name of the text encoder.
    pub encoder: Option<String>,
    /// Questions to try.
    pub examples: Vec<String>,
    /// Name of the language model that answers where [`Ask::answer`] asks for it; `None` where none
    /// is set.
    #[serde(default)]
    pub model: Option<String>,
}

/// Answers questions in plain words. Everything that it needs is in memory.
pub trait Answers: Send + Sync {
    /// What it is made of.
    fn about(&self) -> About;

    /// Answers several questions. They are scored together, and no answer depends on the other
    /// questions.
    fn ask(&self, questions: &[Ask]) -> Vec<OpResult<Answer>>;

    /// A document by its number; `None` if there is none.
    fn document(&self, id: u32) -> Option<Document>;

    /// The first `limit` documents whose titles contain this text, in any case, titles that begin
    /// with it first.
    fn titles(&self, containing: &str, limit: usize) -> Vec<Named>;

    /// A node by its number, with at most `limit` facts and documents; `None` if there is none.
    fn node(&self, node: u32, limit: usize) -> Option<Node>;

    /// The first `limit` nodes whose names contain this text, in any case, names that begin with
    /// it first.
    fn nodes(&self, containing: &str, limit: usize) -> Vec<Named>;
}
