//! What a step minimises: batches as the CPU prepares them, and losses with their gradients on the
//! device.

use gfm_pipe_kernels::gpu::losses::{Loss, Mean, Positives, Sparse};
use gfm_pipe_kernels::gpu::rows::cast;
use gfm_pipe_kernels::gpu::{Gpu, State, Vector, View};

use super::error::Result;
use crate::eval::EntityDocuments;
use crate::loss::ListLoss;
use crate::model::Reach;
use crate::ops::Seeds;
use crate::sampling::{Batch, Triple};

/// A pre-training batch, ready for the device.
pub struct LinkBatch {
    /// Queries and candidates, the true one first.
    pub batch: Batch,
    /// Where each query starts: at its head, with weight 1.
    pub seeds: Seeds,
    /// Triples to take out of the graph while the batch runs.
    pub gone: Vec<Triple>,
    /// The rows to compute.
    pub reach: Reach,
    /// Temperature of the self-adversarial negatives.
    pub temperature: f64,
    /// Queries of the whole batch, of which other ranks may compute some.
    pub rows: usize,
}

/// A fine-tuning batch, ready for the device.
pub struct QuestionBatch {
    /// Embeddings, `[B, text]`.
    pub texts: Vec<f32>,
    /// Where each question starts.
    pub seeds: Seeds,
    /// Gold entities of each question.
    pub entities: Vec<Vec<u32>>,
    /// Gold documents of each question.
    pub documents: Vec<Vec<u32>>,
    /// The rows to compute.
    pub reach: Reach,
    /// The batch over which the losses are means.
    pub whole: Whole,
}

/// The gold of a whole batch of questions, of which other ranks may compute some.
pub struct Whole {
    /// Gold entities of each question.
    pub entities: Vec<Vec<u32>>,
    /// Gold documents of each question.
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

/// What fine-tuning minimises on one data set.
pub(crate) struct QuestionObjective {
    pub terms: Vec<Term>,
    /// Set if a term ranks documents.
    documents: Option<DocumentMatrices>,
}

/// Which entities occur in which documents.
struct DocumentMatrices {
    /// Number of documents.
    count: usize,
    entities_of_document: Sparse,
    documents_of_entity: Sparse,
}

/// A loss on the device, and its gradient for the scores.
pub(super) struct Value<A: State> {
    pub loss: LossParts,
    pub grad: Vector<A>,
}

/// A loss on the device, by term and query.
pub(super) struct LossParts {
    /// Each query's part of each term, `[terms, B]`.
    pub parts: Vector<f64>,
    /// The weight of each term.
    pub weights: Vec<f64>,
}

/// What a batch of questions should find.
#[derive(Clone, Copy)]
pub(super) struct Gold<'a> {
    /// Gold entities of each question.
    pub entities: &'a [Vec<u32>],
    /// Gold documents of each question.
    pub documents: &'a [Vec<u32>],
    pub whole: &'a Whole,
}

fn on_device(loss: ListLoss) -> Loss {
    match loss {
        ListLoss::Bce {
            adversarial_temperature,
        } => Loss::Bce {
            temperature: adversarial_temperature,
        },
        ListLoss::ListCe => Loss::ListCe,
    }
}

/// Rounds a gradient to the scores' element type.
fn narrow<S: State>(grad: &Vector<f64>) -> Result<Vector<S::Acc>> {
    let out = grad.gpu().dirty(grad.len())?;
    cast(out.view(), grad.view())?;
    Ok(out)
}

/// The loss of link prediction. The first candidate of each query is the true one. The mean is over
/// the `whole` batch's number of queries.
pub(super) fn link_loss<S: State>(
    queries: usize,
    whole: usize,
    temperature: f64,
    scores: &Vector<S::Acc>,
) -> Result<Value<S::Acc>> {
    let gpu = scores.gpu();
    let grad = gpu.zeros::<f64>(scores.len())?;
    let parts = gpu.dirty(queries)?;
    // The kernel of this loss does not read them.
    let positives = Positives::new(gpu, std::iter::repeat_n(&[][..], queries))?;
    let loss = Loss::Links { temperature };
    let mean = Mean {
        weight: 1.0,
        over: whole,
    };
    loss.value(scores.view(), &positives, mean, grad.view(), parts.view())?;
    Ok(Value {
        loss: LossParts {
            parts,
            weights: vec![1.0],
        },
        grad: narrow::<S>(&grad)?,
    })
}

impl DocumentMatrices {
    fn new(gpu: &Gpu, documents: &EntityDocuments) -> Result<Self> {
        let count = documents.num_documents();
        let (mut entity_offsets, mut of_entities) = (vec![0u32], Vec::new());
        let mut of_documents = vec![Vec::new(); count];
        for e in 0..documents.num_entities() as u32 {
            for d in documents.documents(e) {
                of_entities.push(*d);
                of_documents[*d as usize].push(e);
            }
            entity_offsets.push(of_entities.len() as u32);
        }
        let mut document_offsets = vec![0u32];
        for entities in &of_documents {
            let last = document_offsets.last().copied().unwrap_or(0);
            document_offsets.push(last + entities.len() as u32);
        }
        Ok(DocumentMatrices {
            count,
            entities_of_document: Sparse::new(gpu, &document_offsets, &of_documents.concat())?,
            documents_of_entity: Sparse::new(gpu, &entity_offsets, &of_entities)?,
        })
    }
}

impl QuestionObjective {
    pub fn new(gpu: &Gpu, terms: Vec<Term>, documents: &EntityDocuments) -> Result<Self> {
        let documents = if terms.iter().any(|t| t.documents) {
            Some(DocumentMatrices::new(gpu, documents)?)
        } else {
            None
        };
        Ok(QuestionObjective { terms, documents })
    }

    /// The weighted sum of all terms.
    pub(super) fn loss<S: State>(
        &self,
        gold: Gold<'_>,
        scores: &Vector<S::Acc>,
    ) -> Result<Value<S::Acc>> {
        let gpu = scores.gpu();
        let rows = gold.entities.len();
        let grad = gpu.zeros::<f64>(scores.len())?;
        let parts = gpu.dirty(self.terms.len() * rows)?;
        for (i, term) in self.terms.iter().enumerate() {
            let part = parts.part(i * rows, rows);
            match self.documents.as_ref().filter(|_| term.documents) {
                Some(documents) => documents.loss(term, gold, scores.view(), grad.view(), part)?,
                None => {
                    let positives = positives(gpu, gold.entities)?;
                    let mean = Mean {
                        weight: term.weight,
                        over: term.loss.used(&gold.whole.entities),
                    };
                    let loss = on_device(term.loss);
                    loss.value(scores.view(), &positives, mean, grad.view(), part)?;
                }
            }
        }
        Ok(Value {
            loss: LossParts {
                parts,
                weights: self.terms.iter().map(|t| t.weight).collect(),
            },
            grad: narrow::<S>(&grad)?,
        })
    }
}

impl DocumentMatrices {
    /// A term that ranks documents, whose scores are the sums of their entities' scores. Adds the
    /// gradient of the entities' scores to `grad`.
    fn loss<A: State>(
        &self,
        term: &Term,
        gold: Gold<'_>,
        scores: View<'_, A>,
        grad: View<'_, f64>,
        part: View<'_, f64>,
    ) -> Result<()> {
        let (gpu, rows) = (scores.gpu(), gold.documents.len());
        let positives = positives(gpu, gold.documents)?;
        let sums = gpu.zeros::<f64>(rows * self.count)?;
        self.entities_of_document
            .sum_over(scores, sums.view(), rows, 1.0)?;
        let dsums = gpu.zeros::<f64>(sums.len())?;
        // The term's weight is applied when the gradient goes back to the entities.
        let mean = Mean {
            weight: 1.0,
            over: term.loss.used(&gold.whole.documents),
        };
        on_device(term.loss).value(sums.view(), &positives, mean, dsums.view(), part)?;
        self.documents_of_entity
            .sum_over(dsums.view(), grad, rows, term.weight)
    }
}

fn positives(gpu: &Gpu, gold: &[Vec<u32>]) -> Result<Positives> {
    Positives::new(gpu, gold.iter().map(Vec::as_slice))
}
