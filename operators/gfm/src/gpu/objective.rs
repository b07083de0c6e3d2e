//! What a step minimises, on the device: batches found by the CPU, losses and their gradients.

use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_kernels::gpu::losses::{Loss, Positives, Sparse};
use gfm_pipe_kernels::gpu::rows::cast;
use gfm_pipe_kernels::gpu::{Gpu, State, Vector, View};

use super::Result;
use crate::loss::ListLoss;
use crate::model::Reach;
use crate::ops::Seeds;
use crate::sampling::{Batch, Triple};

/// A pre-training batch, ready for the device.
pub struct LinkBatch {
    /// Queries and candidates, the true one first.
    pub batch: Batch,
    /// Where each starts: at its head, with weight 1.
    pub seeds: Seeds,
    /// Triples that must not stand in the graph.
    pub gone: Vec<Triple>,
    /// The rows to compute.
    pub reach: Reach,
    /// Of the loss.
    pub temperature: f64,
    /// Rows of the whole batch, of which other ranks may compute some.
    pub rows: usize,
}

/// A fine-tuning batch, ready for the device.
pub struct QuestionBatch {
    /// Embeddings, `[B, text]`.
    pub texts: Vec<f32>,
    /// Where each question starts.
    pub seeds: Seeds,
    /// Gold entities of each.
    pub entities: Vec<Vec<u32>>,
    /// Gold documents of each.
    pub documents: Vec<Vec<u32>>,
    /// The rows to compute.
    pub reach: Reach,
    /// What the losses are means over.
    pub whole: Whole,
}

/// A whole batch of questions, of which other ranks may compute some.
pub struct Whole {
    /// Gold entities of each.
    pub entities: Vec<Vec<u32>>,
    /// Gold documents of each.
    pub documents: Vec<Vec<u32>>,
}

/// One of the losses that are added up.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    /// Its function.
    pub loss: ListLoss,
    /// Its weight.
    pub weight: f64,
    /// Whether it is over documents.
    pub documents: bool,
}

/// What fine-tuning minimises on one data set.
pub(crate) struct QuestionObjective {
    pub terms: Vec<Term>,
    /// Entities of each document, and documents of each entity.
    matrices: Option<[Sparse; 2]>,
    documents: usize,
}

/// A loss on the device: of each term, each row's part, `[terms, B]`; and the gradient of the scores.
pub(super) struct Value<A: State> {
    pub parts: Vector<f64>,
    pub weights: Vec<f64>,
    pub grad: Vector<A>,
}

/// A gradient in the scores' own type.
fn narrow<S: State>(gpu: &Gpu, grad: &Vector<f64>) -> Result<Vector<S::Acc>> {
    let out = gpu.dirty(grad.len())?;
    cast(out.view(), grad.view())?;
    Ok(out)
}

/// The loss of link prediction over `rows` queries of `whole`, whose first candidate is the true one.
pub(super) fn link_loss<S: State>(
    (rows, whole): (usize, usize),
    temperature: f64,
    scores: &Vector<S::Acc>,
) -> Result<Value<S::Acc>> {
    let gpu = scores.gpu();
    let grad = gpu.zeros::<f64>(scores.len())?;
    let parts = gpu.dirty(rows)?;
    let nobody = Positives::new(gpu, std::iter::repeat_n(&[][..], rows))?;
    let loss = Loss::Links { temperature };
    let how = (1.0, whole);
    loss.value(scores.view(), &nobody, how, grad.view(), parts.view())?;
    Ok(Value {
        parts,
        weights: vec![1.0],
        grad: narrow::<S>(gpu, &grad)?,
    })
}

impl QuestionObjective {
    pub fn new(gpu: &Gpu, terms: Vec<Term>, documents: &EntityDocuments) -> Result<Self> {
        let count = documents.num_documents();
        let matrices = match terms.iter().any(|t| t.documents) {
            false => None,
            true => {
                let entities = 0..documents.num_entities() as u32;
                let (mut offsets, mut of_entity) = (vec![0u32], Vec::new());
                let mut of_document = vec![Vec::new(); count];
                for e in entities {
                    for d in documents.documents(e) {
                        of_entity.push(*d);
                        of_document[*d as usize].push(e);
                    }
                    offsets.push(of_entity.len() as u32);
                }
                let mut ends = vec![0u32];
                for list in &of_document {
                    ends.push(ends.last().copied().unwrap_or(0) + list.len() as u32);
                }
                Some([
                    Sparse::new(gpu, &ends, &of_document.concat())?,
                    Sparse::new(gpu, &offsets, &of_entity)?,
                ])
            }
        };
        Ok(QuestionObjective {
            terms,
            matrices,
            documents: count,
        })
    }

    /// The losses, added up, of questions with these gold entities and documents.
    pub(super) fn loss<S: State>(
        &self,
        (gold_entities, gold_documents): (&[Vec<u32>], &[Vec<u32>]),
        whole: &Whole,
        scores: &Vector<S::Acc>,
    ) -> Result<Value<S::Acc>> {
        let gpu = scores.gpu();
        let rows = gold_entities.len();
        let grad = gpu.zeros::<f64>(scores.len())?;
        let parts = gpu.dirty(self.terms.len() * rows)?;
        let positives = |gold: &[Vec<u32>]| Positives::new(gpu, gold.iter().map(Vec::as_slice));
        for (i, term) in self.terms.iter().enumerate() {
            let loss = term.loss.on_device();
            let part: View<'_, f64> = parts.part(i * rows, rows);
            match (&self.matrices, term.documents) {
                (Some([entities, documents]), true) => {
                    let gold = positives(gold_documents)?;
                    let of_docs = gpu.zeros::<f64>(rows * self.documents)?;
                    entities.sum_over(scores.view(), of_docs.view(), rows, 1.0)?;
                    let dgrad = gpu.zeros::<f64>(of_docs.len())?;
                    let how = (1.0, term.loss.used(&whole.documents));
                    loss.value(of_docs.view(), &gold, how, dgrad.view(), part)?;
                    documents.sum_over(dgrad.view(), grad.view(), rows, term.weight)?;
                }
                _ => {
                    let gold = positives(gold_entities)?;
                    let how = (term.weight, term.loss.used(&whole.entities));
                    loss.value(scores.view(), &gold, how, grad.view(), part)?;
                }
            }
        }
        Ok(Value {
            parts,
            weights: self.terms.iter().map(|t| t.weight).collect(),
            grad: narrow::<S>(gpu, &grad)?,
        })
    }
}
