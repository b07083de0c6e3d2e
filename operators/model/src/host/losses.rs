//! The losses of a batch on the CPU, and their gradients.

use candle_core::Tensor;
use gfm_pipe_api::OpResult;
use gfm_pipe_eval::EntityDocuments;

use crate::backend::{LinkBatch, QuestionBatch, Target, Term};
use crate::document_loss::document_loss;
use crate::loss::{Value, link_prediction};
use crate::model::{FeatureSums, FeatureWeights};
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
    /// The gradient of `total` with respect to the head of features, if the model has one.
    pub features: FeatureSums,
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
        features: FeatureSums::zero(),
    })
}

/// The losses of questions for scores of entities, `[B, N]`, by a model with this head of features.
pub(super) fn question_losses(
    questions: &QuestionBatch<'_>,
    scores: &Tensor,
    head: Option<&FeatureWeights>,
) -> OpResult<Losses> {
    let run = || {
        let nodes = scores.dims2()?.1;
        let sum = weighted_sum(questions, &to_f64(scores)?, nodes, head);
        Ok(Losses {
            total: sum.total,
            parts: sum.parts,
            dscores: gradient(sum.grad, scores)?,
            features: sum.features,
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
    /// Gradient of the sum for the head of features.
    features: FeatureSums,
}

/// The weighted sum of the terms of a batch.
fn weighted_sum(
    questions: &QuestionBatch<'_>,
    scores: &[f64],
    nodes: usize,
    head: Option<&FeatureWeights>,
) -> WeightedSum {
    let (mut total, mut parts, mut grad) = (0.0, Vec::new(), vec![0.0; scores.len()]);
    let mut features = FeatureSums::zero();
    for term in &questions.terms {
        let target = &questions.targets[term.target];
        let loss = match target.columns {
            Some(columns) => {
                let scores = to_columns(scores, nodes, columns);
                let head = head.filter(|_| !target.features.is_empty());
                let value = match head {
                    Some(head) => {
                        let value = document_loss(head, term, target, &scores, &mut features);
                        Value {
                            loss: value.rows.iter().sum(),
                            grad: value.grad,
                        }
                    }
                    None => value(term, target, &scores, columns.num_documents()),
                };
                from_columns(&value.grad, term.weight, nodes, columns, &mut grad);
                value.loss
            }
            None => {
                let value = value(term, target, scores, nodes);
                for (g, x) in grad.iter_mut().zip(value.grad) {
                    *g += term.weight * x;
                }
                value.loss
            }
        };
        total += term.weight * loss;
        parts.push(loss);
    }
    WeightedSum {
        total,
        parts,
        grad,
        features,
    }
}

/// A term's loss of the scores of columns.
fn value(term: &Term, target: &Target<'_>, scores: &[f64], columns: usize) -> Value {
    let used = term.loss.used(&target.whole);
    let (gold, similar) = (&target.gold, &target.similar);
    term.loss.value(scores, columns, gold, similar, used)
}

/// Scores of the columns of a [`crate::backend::Target`], from those of nodes.
fn to_columns(scores: &[f64], nodes: usize, columns: &EntityDocuments) -> Vec<f64> {
    let mut out = Vec::new();
    for row in scores.chunks_exact(nodes) {
        let mut sums = vec![0.0; columns.num_documents()];
        for (v, s) in row.iter().enumerate() {
            for column in columns.documents(v as u32) {
                sums[*column as usize] += s;
            }
        }
        out.extend(sums);
    }
    out
}

/// Adds the gradient of the scores of columns, times `weight`, to the gradient `out` of the scores
/// of nodes. This is the transpose of [`to_columns`].
fn from_columns(
    grad: &[f64],
    weight: f64,
    nodes: usize,
    columns: &EntityDocuments,
    out: &mut [f64],
) {
    let rows = grad.chunks_exact(columns.num_documents().max(1));
    for (out, grad) in out.chunks_exact_mut(nodes).zip(rows) {
        for (v, g) in out.iter_mut().enumerate() {
            let of_node = columns.documents(v as u32);
            let sum: f64 = of_node.iter().map(|column| grad[*column as usize]).sum();
            *g += weight * sum;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::borrow::Cow;

    use gfm_pipe_eval::features::COUNT;
    use gfm_pipe_eval::features::of_question::QuestionFeatures;

    use super::*;
    use crate::loss::{BCE, LIST_CE, LIST_SOFTMAX};
    use crate::model::{ModelConfig, all_features};

    /// Entity 0 is in documents 0 and 1, entity 1 in 1, entity 2 in none, and entity 3 in 0 and 2.
    fn documents() -> EntityDocuments {
        EntityDocuments::from_pairs(4, 3, [(0, 0), (0, 1), (1, 1), (3, 0), (3, 2)]).unwrap()
    }

    #[test]
    fn the_gradient_of_a_document_loss_reaches_its_entities() {
        let docs = documents();
        let scores = [0.3, -0.2, 0.9, 1.1, -0.5, 0.4, 0.1, -1.3];
        assert_eq!(
            to_columns(&scores[..4], 4, &docs),
            [0.3 + 1.1, 0.3 - 0.2, 1.1]
        );
        let positives = vec![vec![0], vec![1, 2]];
        for f in [LIST_CE.at(0.0), BCE.at(0.0)] {
            let value = |s: &[f64]| f.value(&to_columns(s, 4, &docs), 3, &positives, &[], 2);
            let mut grad = vec![0.0; 8];
            from_columns(&value(&scores).grad, 0.5, 4, &docs, &mut grad);
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

    /// A batch of two questions: a loss of all entities, and two of documents with features.
    fn batch<'d>(documents: &'d EntityDocuments, of: &'d [QuestionFeatures]) -> QuestionBatch<'d> {
        let target = |columns, gold: Vec<Vec<u32>>| Target {
            columns,
            whole: gold.clone(),
            gold,
            similar: Vec::new(),
            features: match columns {
                Some(_) => of.iter().map(Cow::Borrowed).collect(),
                None => Vec::new(),
            },
        };
        let term = |loss, weight, target| Term {
            loss,
            weight,
            target,
        };
        QuestionBatch {
            texts: Vec::new(),
            seeds: vec![Vec::new(); 2],
            terms: vec![
                term(LIST_CE.at(0.0), 0.3, 0),
                term(LIST_SOFTMAX.at(0.0), 0.7, 1),
                term(BCE.at(0.0), 0.5, 1),
            ],
            targets: vec![
                target(None, vec![vec![3], vec![0, 1]]),
                target(Some(documents), vec![vec![0, 2], vec![1]]),
            ],
            dropout: None,
        }
    }

    #[test]
    fn gradients_with_features_are_differences() {
        let docs = documents();
        let some = |n: usize, by: f64| (0..n).map(move |i| (i as f64 * by).sin());
        let of = |known: &[u32], by: f64| QuestionFeatures {
            documents: known.to_vec(),
            values: some(known.len() * COUNT, by).map(|x| x as f32).collect(),
            others: std::array::from_fn(|f| (f as f32 * 0.4).cos()),
        };
        let of = [of(&[0, 2], 0.7), of(&[1], 0.9)];
        let batch = batch(&docs, &of);
        let scores: Vec<f64> = some(8, 1.3).collect();
        let head = FeatureWeights {
            weights: std::array::from_fn(|f| (f as f64 * 0.8).sin()),
            gate: 0.6,
        };
        let value = |scores: &[f64], head: &FeatureWeights| {
            weighted_sum(&batch, scores, 4, Some(head)).total
        };
        let h = 1e-5;
        let near = |got: f64, up: f64, down: f64| {
            let want = (up - down) / (2.0 * h);
            assert!((got - want).abs() < 1e-8, "{got} {want}");
        };
        let got = weighted_sum(&batch, &scores, 4, Some(&head));
        for i in 0..8 {
            let at = |h: f64| {
                let mut scores = scores.clone();
                scores[i] += h;
                value(&scores, &head)
            };
            near(got.grad[i], at(h), at(-h));
        }
        let at = |edit: &dyn Fn(&mut FeatureWeights)| {
            let mut head = head.clone();
            edit(&mut head);
            value(&scores, &head)
        };
        let config = ModelConfig {
            features: all_features(),
            ..ModelConfig::new(4, vec![4])
        };
        let (weights, gate) = got.features.values(&config);
        near(
            gate[0],
            at(&|head| head.gate += h),
            at(&|head| head.gate -= h),
        );
        for (f, got) in weights.into_iter().enumerate() {
            let (up, down) = (
                at(&|head| head.weights[f] += h),
                at(&|head| head.weights[f] -= h),
            );
            near(got, up, down);
        }
        // Entities are ranked by the network alone: only its gradient reaches them.
        let closed = FeatureWeights { gate: 0.0, ..head };
        let alone = QuestionBatch {
            terms: batch.terms[..1].to_vec(),
            ..batch
        };
        let got = weighted_sum(&alone, &scores, 4, Some(&closed));
        let without = weighted_sum(&alone, &scores, 4, None);
        assert_eq!(got.grad, without.grad);
        assert_eq!(got.features, FeatureSums::zero());
    }
}
