//! Batches: what they ask, what they should find, and what is found out about them ahead of their step.

use gfm_pipe_eval::EntityDocuments;

use super::Source;
use crate::loss::ListLoss;
use crate::model::{Compute, ModelConfig, Reach};
use crate::ops::Seeds;
use crate::sampling::{Batch as Queries, EasyEdges, Triple};

/// The rows of a batch that this rank computes.
pub enum Batch<'a> {
    /// Of pre-training.
    Links(LinkBatch<'a>),
    /// Of fine-tuning.
    Questions(QuestionBatch<'a>),
}

/// A pre-training batch.
pub struct LinkBatch<'a> {
    /// Queries and candidates, the true one first.
    pub batch: Queries,
    /// Where each query starts: at its head, with weight 1.
    pub seeds: Seeds,
    /// The triples that all queries of the whole batch ask for.
    pub asked: Vec<Triple>,
    /// Which edges are taken out of the graph because of them.
    pub easy: EasyEdges<'a>,
    /// Temperature of the self-adversarial negatives.
    pub temperature: f64,
    /// Queries of the whole batch, of which other ranks may compute some.
    pub rows: usize,
}

/// A fine-tuning batch.
pub struct QuestionBatch<'a> {
    /// Embeddings, `[B, text]`.
    pub texts: Vec<f32>,
    /// Where each question starts.
    pub seeds: Seeds,
    /// What each question should find.
    pub gold: Gold,
    /// The gold of the whole batch, of which other ranks may compute some: losses are means over it.
    pub whole: Gold,
    /// The losses that are added up.
    pub terms: Vec<Term>,
    /// Which entities stand in which documents.
    pub documents: &'a EntityDocuments,
}

/// What questions should find.
pub struct Gold {
    /// Entities of each question.
    pub entities: Vec<Vec<u32>>,
    /// Documents of each question.
    pub documents: Vec<Vec<u32>>,
}

/// One of the losses that are added up.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    /// The loss function.
    pub loss: ListLoss,
    /// Its weight in the sum.
    pub weight: f64,
    /// Whether it ranks documents; otherwise it ranks entities.
    pub documents: bool,
}

impl Batch<'_> {
    /// Seeds of each query.
    pub fn seeds(&self) -> &Seeds {
        match self {
            Batch::Links(links) => &links.seeds,
            Batch::Questions(questions) => &questions.seeds,
        }
    }

    /// Nodes whose scores are wanted; all where there are none.
    pub fn candidates(&self) -> Option<&[Vec<u32>]> {
        match self {
            Batch::Links(links) => Some(&links.batch.candidates),
            Batch::Questions(_) => None,
        }
    }
}

/// A batch, and what was found out about it.
pub struct Prepared<'a> {
    /// The batch.
    pub batch: Batch<'a>,
    /// The rows to compute; `None` where the backend finds them itself.
    pub reach: Option<Reach>,
    /// Triples to take out of the graph while the batch runs.
    pub gone: Vec<Triple>,
}

/// What a backend wants to know about batches ahead of their step.
#[derive(Debug, Clone)]
pub struct Preparer {
    /// Model and choice of rows for [`Prepared::reach`] and [`Prepared::gone`].
    pub rows: Option<(ModelConfig, Compute)>,
    /// Threads that prepare batches while others are computed.
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
        // Without the edges that are taken out there could be fewer rows. These give the same numbers.
        let request = (batch.seeds(), batch.candidates());
        let reach = Reach::chosen(config, on.graph, *compute, request, false);
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
