//! What a step minimises, on the device: batches found by the CPU, losses and their gradients.

use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_kernels::Real;
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

/// What a loss is computed on.
struct Scored<'a, A: State> {
    /// `[B, columns]`.
    scores: View<'a, A>,
    /// Positive columns of each row.
    gold: &'a [Vec<u32>],
    weight: f64,
    /// Rows of the whole batch that the loss is the mean of.
    used: usize,
}

/// Adds `weight` times the gradient of a loss to `grad`, and writes each row's part of the loss to
/// `parts`: by a kernel, or on the CPU for a loss that has none.
fn add_loss<A: State + Real>(
    loss: ListLoss,
    on: &Scored<'_, A>,
    grad: View<'_, f64>,
    parts: View<'_, f64>,
) -> Result<()> {
    if let Some(kernel) = loss.on_device() {
        let gold = Positives::new(on.scores.gpu(), on.gold.iter().map(Vec::as_slice))?;
        return kernel.value(on.scores, &gold, (on.weight, on.used), grad, parts);
    }
    let scores: Vec<f64> = on.scores.read()?.into_iter().map(A::f64).collect();
    let columns = scores.len() / on.gold.len().max(1);
    let (mut sums, mut of_rows) = (grad.read()?, Vec::new());
    for (row, gold) in on.gold.iter().enumerate() {
        let row = row * columns..(row + 1) * columns;
        let gold = std::slice::from_ref(gold);
        let value = loss.value(&scores[row.clone()], columns, gold, on.used);
        of_rows.push(value.loss);
        for (sum, g) in sums[row].iter_mut().zip(value.grad) {
            *sum += on.weight * g;
        }
    }
    grad.write(&sums)?;
    parts.write(&of_rows)
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
        for (i, term) in self.terms.iter().enumerate() {
            let part: View<'_, f64> = parts.part(i * rows, rows);
            match (&self.matrices, term.documents) {
                (Some([entities, documents]), true) => {
                    let of_docs = gpu.zeros::<f64>(rows * self.documents)?;
                    entities.sum_over(scores.view(), of_docs.view(), rows, 1.0)?;
                    let dgrad = gpu.zeros::<f64>(of_docs.len())?;
                    let on = Scored {
                        scores: of_docs.view(),
                        gold: gold_documents,
                        weight: 1.0,
                        used: term.loss.used(&whole.documents),
                    };
                    add_loss(term.loss, &on, dgrad.view(), part)?;
                    documents.sum_over(dgrad.view(), grad.view(), rows, term.weight)?;
                }
                _ => {
                    let on = Scored {
                        scores: scores.view(),
                        gold: gold_entities,
                        weight: term.weight,
                        used: term.loss.used(&whole.entities),
                    };
                    add_loss(term.loss, &on, grad.view(), part)?;
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

#[cfg(all(test, any(feature = "cuda", feature = "gpu-emulation")))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::gpu::tests::{device, some};
    use crate::loss::{BCE, LIST_CE, LossKind};

    #[test]
    fn a_loss_without_a_kernel_is_computed_on_the_cpu() {
        let Some(gpu) = device() else { return };
        static WITHOUT: [LossKind; 2] = [BCE.without_kernel(), LIST_CE.without_kernel()];
        let (rows, columns) = (3, 5);
        let gold = [vec![0, 2], vec![], vec![4]];
        let scores = gpu.vector(&some(rows * columns, 1)).unwrap();
        for (with, without) in [&BCE, &LIST_CE].into_iter().zip(&WITHOUT) {
            let values = |kind: &'static LossKind| {
                let loss = kind.at(0.2);
                let on = Scored {
                    scores: scores.view(),
                    gold: &gold,
                    weight: 0.7,
                    used: loss.used(&gold),
                };
                let grad = gpu.vector(&some(rows * columns, 2)).unwrap();
                let parts = gpu.zeros::<f64>(rows).unwrap();
                add_loss(loss, &on, grad.view(), parts.view()).unwrap();
                [grad.read().unwrap(), parts.read().unwrap()].concat()
            };
            for (a, b) in values(with).into_iter().zip(values(without)) {
                assert!((a - b).abs() < 1e-12, "{}: {a} {b}", with.name);
            }
        }
    }
}
