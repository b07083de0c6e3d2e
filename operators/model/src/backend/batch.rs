//! Batches: their queries, the answers they should find, and what is prepared before their step.

use std::borrow::Cow;

use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_eval::features::of_question::QuestionFeatures;

use super::Source;
use crate::edge_dropout::EdgeDropout;
use crate::loss::ListLoss;
use crate::model::{Compute, ModelConfig, QueryNodes, Reach};
use crate::ops::Seeds;
use crate::sampling::{Batch as Queries, EasyEdges, Triple};

/// The rows of a batch that this rank computes.
pub enum Batch<'a> {
    /// Rows of a pre-training batch.
    Links(LinkBatch<'a>),
    /// Rows of a fine-tuning batch.
    Questions(QuestionBatch<'a>),
}

/// A pre-training batch.
pub struct LinkBatch<'a> {
    /// Queries and candidates, the true one first.
    pub batch: Queries,
    /// Where each query starts: at its head, with weight 1.
    pub seeds: Seeds,
    /// The triples that the queries of all ranks ask for.
    pub asked: Vec<Triple>,
    /// Which edges are taken out of the graph because of `asked`.
    pub easy: EasyEdges<'a>,
    /// Temperature of the self-adversarial negatives.
    pub temperature: f64,
    /// Number of queries of all ranks together.
    pub rows: usize,
}

/// A fine-tuning batch.
pub struct QuestionBatch<'a> {
    /// Embeddings of the questions, `[B, text]`.
    pub texts: Vec<f32>,
    /// Where each question starts.
    pub seeds: Seeds,
    /// The losses that are added up.
    pub terms: Vec<Term>,
    /// What they rank.
    pub targets: Vec<Target<'a>>,
    /// The triples that the graph lacks in this step, the same on all ranks.
    pub dropout: Option<EdgeDropout>,
}

/// What a loss ranks for a batch of questions: the columns of its scores.
pub struct Target<'a> {
    /// A column's score is the sum of the scores of these nodes: of the entities of a document, or
    /// of a single node of some type. `None` if every node is a column.
    pub columns: Option<&'a EntityDocuments>,
    /// The columns that answer these questions.
    pub gold: Vec<Vec<u32>>,
    /// The columns that answer the questions of all ranks: losses are means over them.
    pub whole: Vec<Vec<u32>>,
    /// The similarity of the texts of each question and column, `[B, columns]`, if a loss reads it.
    pub similar: Vec<f64>,
    /// The ranking features of each question's documents, where columns are documents and the model
    /// has a head of features; empty otherwise.
    pub features: Vec<Cow<'a, QuestionFeatures>>,
}

/// One of the losses that are added up.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    /// The loss function.
    pub loss: ListLoss,
    /// The weight of the loss in the sum.
    pub weight: f64,
    /// What it ranks, of [`QuestionBatch::targets`].
    pub target: usize,
}

impl Batch<'_> {
    /// Seeds of each query.
    pub fn seeds(&self) -> &Seeds {
        match self {
            Batch::Links(links) => &links.seeds,
            Batch::Questions(questions) => &questions.seeds,
        }
    }

    /// Nodes whose scores are wanted, per query; `None` for all nodes.
    pub fn candidates(&self) -> Option<&[Vec<u32>]> {
        match self {
            Batch::Links(links) => Some(&links.batch.candidates),
            Batch::Questions(_) => None,
        }
    }

    /// Seeds and candidates.
    pub fn nodes(&self) -> QueryNodes<'_> {
        QueryNodes {
            seeds: self.seeds(),
            candidates: self.candidates(),
        }
    }
}

/// A batch with what was computed about it before its step.
pub struct Prepared<'a> {
    /// The batch.
    pub batch: Batch<'a>,
    /// The rows to compute; `None` if the backend finds them itself.
    pub reach: Option<Reach>,
    /// Triples to take out of the graph while the batch runs; empty if the backend finds them
    /// itself.
    pub gone: Vec<Triple>,
}

/// How batches are prepared for a backend before their step.
#[derive(Debug, Clone)]
pub struct Preparer {
    /// The model, and the choice of rows, that [`Prepared::reach`] is computed for. `None` leaves
    /// `reach` and `gone` to the backend.
    pub rows: Option<(ModelConfig, Compute)>,
    /// Number of threads that prepare batches while others are computed.
    pub threads: usize,
}

impl Preparer {
    /// Prepares a batch.
    pub fn prepare<'a>(&self, on: Source<'_>, batch: Batch<'a>) -> Prepared<'a> {
        let Some((config, compute)) = &self.rows else {
            return Prepared {
                batch,
                reach: None,
                gone: Vec::new(),
            };
        };
        // The graph still has the edges that are taken out, so there may be more rows than needed.
        // The numbers are the same.
        let reach = Reach::chosen(config, on.graph, *compute, batch.nodes(), false);
        let gone = match &batch {
            Batch::Links(links) => {
                let asked = links.asked.iter().copied();
                links.easy.of_triples(on.graph, asked)
            }
            Batch::Questions(_) => Vec::new(),
        };
        Prepared {
            batch,
            reach: Some(reach),
            gone,
        }
    }
}
