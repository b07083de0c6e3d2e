//! What a step minimises: losses with their gradients on the device.

use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_kernels::Real;
use gfm_pipe_kernels::gpu::losses::{Loss, Mean, Positives, Sparse};
use gfm_pipe_kernels::gpu::rows::cast;
use gfm_pipe_kernels::gpu::{Gpu, State, Vector, View};

use super::error::Result;
use crate::backend::{QuestionBatch, Target, Term};
use crate::document_loss::document_loss;
use crate::loss::ListLoss;
use crate::model::{FeatureSums, FeatureWeights};

/// What fine-tuning minimises on one data set.
pub(crate) struct QuestionObjective {
    pub terms: Vec<Term>,
    /// For each target its matrix; `None` if every node is a column.
    targets: Vec<Option<Matrices>>,
}

/// Which nodes are in which columns of a target.
struct Matrices {
    /// Number of columns.
    count: usize,
    nodes_of_column: Sparse,
    columns_of_node: Sparse,
}

/// A loss on the device, and its gradient for the scores.
pub(super) struct Value<A: State> {
    pub loss: LossParts,
    pub grad: Vector<A>,
    /// The gradient for the head of features, if the model has one.
    pub features: Option<FeatureSums>,
}

/// A loss on the device, by term and query.
pub(super) struct LossParts {
    /// Each query's part of each term, `[terms, B]`.
    pub parts: Vector<f64>,
    /// The weight of each term.
    pub weights: Vec<f64>,
}

/// What a loss is computed on.
struct Scored<'a, A: State> {
    /// `[B, columns]`.
    scores: View<'a, A>,
    /// Positive columns of each row.
    gold: &'a [Vec<u32>],
    /// See [`Target::similar`].
    similar: &'a [f64],
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
        let mean = Mean {
            weight: on.weight,
            over: on.used,
        };
        return kernel.value(on.scores, &gold, mean, grad, parts);
    }
    let scores: Vec<f64> = on.scores.read()?.into_iter().map(A::f64).collect();
    let columns = scores.len() / on.gold.len().max(1);
    let (mut sums, mut of_rows) = (grad.read()?, Vec::new());
    for (row, gold) in on.gold.iter().enumerate() {
        let row = row * columns..(row + 1) * columns;
        let gold = std::slice::from_ref(gold);
        let similar = on.similar.get(row.clone()).unwrap_or_default();
        let value = loss.value(&scores[row.clone()], columns, gold, similar, on.used);
        of_rows.push(value.loss);
        for (sum, g) in sums[row].iter_mut().zip(value.grad) {
            *sum += on.weight * g;
        }
    }
    grad.write(&sums)?;
    parts.write(&of_rows)
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
        features: None,
    })
}

impl Matrices {
    fn new(gpu: &Gpu, columns: &EntityDocuments) -> Result<Self> {
        let count = columns.num_documents();
        let (mut node_offsets, mut of_nodes) = (vec![0u32], Vec::new());
        let mut of_columns = vec![Vec::new(); count];
        for v in 0..columns.num_entities() as u32 {
            for column in columns.documents(v) {
                of_nodes.push(*column);
                of_columns[*column as usize].push(v);
            }
            node_offsets.push(of_nodes.len() as u32);
        }
        let mut column_offsets = vec![0u32];
        for nodes in &of_columns {
            let last = column_offsets.last().copied().unwrap_or(0);
            column_offsets.push(last + nodes.len() as u32);
        }
        Ok(Matrices {
            count,
            nodes_of_column: Sparse::new(gpu, &column_offsets, &of_columns.concat())?,
            columns_of_node: Sparse::new(gpu, &node_offsets, &of_nodes)?,
        })
    }
}

impl QuestionObjective {
    /// Of batches like this one.
    pub fn new(gpu: &Gpu, batch: &QuestionBatch<'_>) -> Result<Self> {
        let targets = batch.targets.iter().map(|target| {
            let matrices = target.columns.map(|columns| Matrices::new(gpu, columns));
            matrices.transpose()
        });
        Ok(QuestionObjective {
            terms: batch.terms.clone(),
            targets: targets.collect::<Result<_>>()?,
        })
    }

    /// The weighted sum of all terms, by a model with this head of features.
    pub(super) fn loss<S: State>(
        &self,
        batch: &QuestionBatch<'_>,
        scores: &Vector<S::Acc>,
        head: Option<&FeatureWeights>,
    ) -> Result<Value<S::Acc>> {
        let gpu = scores.gpu();
        let mut features = head.map(|_| FeatureSums::zero());
        let rows = batch.seeds.len();
        let grad = gpu.zeros::<f64>(scores.len())?;
        let parts = gpu.dirty(self.terms.len() * rows)?;
        for (i, term) in self.terms.iter().enumerate() {
            let part = parts.part(i * rows, rows);
            let target = &batch.targets[term.target];
            match &self.targets[term.target] {
                Some(matrices) => {
                    let by = head.zip(features.as_mut());
                    let by = by.filter(|_| !target.features.is_empty());
                    matrices.loss((term, target), scores.view(), grad.view(), part, by)?;
                }
                None => {
                    let on = Scored {
                        scores: scores.view(),
                        gold: &target.gold,
                        similar: &target.similar,
                        weight: term.weight,
                        used: term.loss.used(&target.whole),
                    };
                    add_loss(term.loss, &on, grad.view(), part)?;
                }
            }
        }
        Ok(Value {
            loss: LossParts {
                parts,
                weights: self.terms.iter().map(|t| t.weight).collect(),
            },
            grad: narrow::<S>(&grad)?,
            features,
        })
    }
}

impl Matrices {
    /// A term that ranks columns, whose scores are the sums of their nodes' scores. Adds the
    /// gradient of the nodes' scores to `grad`, and that of the head of features, if there is one,
    /// to its sums.
    fn loss<A: State>(
        &self,
        (term, target): (&Term, &Target<'_>),
        scores: View<'_, A>,
        grad: View<'_, f64>,
        part: View<'_, f64>,
        head: Option<(&FeatureWeights, &mut FeatureSums)>,
    ) -> Result<()> {
        let (gpu, rows) = (scores.gpu(), target.gold.len());
        let sums = gpu.zeros::<f64>(rows * self.count)?;
        self.nodes_of_column
            .sum_over(scores, sums.view(), rows, 1.0)?;
        let dsums = gpu.zeros::<f64>(sums.len())?;
        // The term's weight is applied when the gradient goes back to the nodes.
        if let Some((head, features)) = head {
            let value = document_loss(head, term, target, &sums.read()?, features);
            dsums.view().write(&value.grad)?;
            part.write(&value.rows)?;
        } else {
            let on = Scored {
                scores: sums.view(),
                gold: &target.gold,
                similar: &target.similar,
                weight: 1.0,
                used: term.loss.used(&target.whole),
            };
            add_loss(term.loss, &on, dsums.view(), part)?;
        }
        self.columns_of_node
            .sum_over(dsums.view(), grad, rows, term.weight)
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
                    similar: &[],
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
