//! The losses of a batch on the CPU, and their gradients.

use candle_core::Tensor;
use gfm_pipe_api::OpResult;
use gfm_pipe_eval::EntityDocuments;

use crate::backend::{LinkBatch, QuestionBatch};
use crate::loss::link_prediction;
use crate::tensor::{tensor, to_f64};
use crate::tensor_error;

/// The losses of a batch.
pub(super) struct Losses {
    /// The weighted sum.
    pub total: f64,
    /// The value of each term; empty for link prediction, which has a single loss.
    pub parts: Vec<f64>,
    /// The gradient of `total` with respect to the scores, in their type and shape.
    pub dscores: Tensor,
}

/// The loss of link prediction for scores of candidates, `[B, M]`.
pub(super) fn link_loss(links: &LinkBatch<'_>, scores: &Tensor) -> OpResult<Losses> {
    let run = || {
        let candidates = scores.dims2()?.1;
        let value = link_prediction(&to_f64(scores)?, candidates, links.temperature, links.rows);
        Ok((value.loss, gradient(value.grad, scores)?))
    };
    let (total, dscores) = run().map_err(tensor_error)?;
    Ok(Losses {
        total,
        parts: Vec::new(),
        dscores,
    })
}

/// The losses of questions for scores of entities, `[B, N]`.
pub(super) fn question_losses(questions: &QuestionBatch<'_>, scores: &Tensor) -> OpResult<Losses> {
    let run = || {
        let nodes = scores.dims2()?.1;
        let sum = weighted_sum(questions, &to_f64(scores)?, nodes);
        Ok(Losses {
            total: sum.total,
            parts: sum.parts,
            dscores: gradient(sum.grad, scores)?,
        })
    };
    run().map_err(tensor_error)
}

fn gradient(grad: Vec<f64>, scores: &Tensor) -> candle_core::Result<Tensor> {
    tensor(grad, scores.shape())?.to_dtype(scores.dtype())
}

/// A weighted sum of losses.
struct WeightedSum {
    total: f64,
    /// The losses, without their weights.
    parts: Vec<f64>,
    /// Gradient of the sum, like the scores.
    grad: Vec<f64>,
}

/// The weighted sum of the terms of a batch.
fn weighted_sum(questions: &QuestionBatch<'_>, scores: &[f64], nodes: usize) -> WeightedSum {
    let docs = questions.documents;
    let (mut total, mut parts, mut grad) = (0.0, Vec::new(), vec![0.0; scores.len()]);
    for term in &questions.terms {
        let loss = if term.documents {
            let (gold, whole) = (&questions.gold.documents, &questions.whole.documents);
            let scores = to_documents(scores, nodes, docs);
            let value = term
                .loss
                .value(&scores, docs.num_documents(), gold, term.loss.used(whole));
            from_documents(&value.grad, term.weight, nodes, docs, &mut grad);
            value.loss
        } else {
            let (gold, whole) = (&questions.gold.entities, &questions.whole.entities);
            let value = term.loss.value(scores, nodes, gold, term.loss.used(whole));
            for (g, x) in grad.iter_mut().zip(value.grad) {
                *g += term.weight * x;
            }
            value.loss
        };
        total += term.weight * loss;
        parts.push(loss);
    }
    WeightedSum { total, parts, grad }
}

/// Scores of documents: for each, the sum of the scores of its entities.
fn to_documents(scores: &[f64], nodes: usize, docs: &EntityDocuments) -> Vec<f64> {
    let mut out = Vec::new();
    for row in scores.chunks_exact(nodes) {
        let mut sums = vec![0.0; docs.num_documents()];
        for (e, s) in row.iter().enumerate() {
            for d in docs.documents(e as u32) {
                sums[*d as usize] += s;
            }
        }
        out.extend(sums);
    }
    out
}

/// Adds the gradient of document scores, times `weight`, to the gradient `out` of entity scores.
/// This is the transpose of [`to_documents`].
fn from_documents(
    grad: &[f64],
    weight: f64,
    nodes: usize,
    docs: &EntityDocuments,
    out: &mut [f64],
) {
    let rows = grad.chunks_exact(docs.num_documents().max(1));
    for (out, grad) in out.chunks_exact_mut(nodes).zip(rows) {
        for (e, g) in out.iter_mut().enumerate() {
            let of_entity = docs.documents(e as u32);
            let sum: f64 = of_entity.iter().map(|d| grad[*d as usize]).sum();
            *g += weight * sum;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::loss::{BCE, LIST_CE};

    /// Entity 0 is in documents 0 and 1, entity 1 in 1, entity 2 in none, and entity 3 in 0 and 2.
    fn documents() -> EntityDocuments {
        EntityDocuments::from_pairs(4, 3, [(0, 0), (0, 1), (1, 1), (3, 0), (3, 2)]).unwrap()
    }

    #[test]
    fn the_gradient_of_a_document_loss_reaches_its_entities() {
        let docs = documents();
        let scores = [0.3, -0.2, 0.9, 1.1, -0.5, 0.4, 0.1, -1.3];
        assert_eq!(
            to_documents(&scores[..4], 4, &docs),
            [0.3 + 1.1, 0.3 - 0.2, 1.1]
        );
        let positives = vec![vec![0], vec![1, 2]];
        for f in [LIST_CE.at(0.0), BCE.at(0.0)] {
            let value = |s: &[f64]| f.value(&to_documents(s, 4, &docs), 3, &positives, 2);
            let mut grad = vec![0.0; 8];
            from_documents(&value(&scores).grad, 0.5, 4, &docs, &mut grad);
            for i in 0..8 {
                let at = |h: f64| {
                    let mut s = scores.to_vec();
                    s[i] += h;
                    value(&s).loss
                };
                let want = 0.5 * (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!((grad[i] - want).abs() < 1e-8, "{i}: {} {want}", grad[i]);
            }
        }
    }
}
