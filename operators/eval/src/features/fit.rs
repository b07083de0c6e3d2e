//! Fits weights of features to questions with known documents.
//!
//! The loss of a question is that of listwise softmax regression (ListNet with binary relevance,
//! Cao et al. 2007): minus the mean over its gold documents of the logarithm of their share of all
//! exp(w · x). The sum over questions is convex in w; with the penalty λ |w - w₀|² towards given
//! weights w₀ it has one minimum, which Newton's method finds.

use rayon::prelude::*;

use super::of_question::{GoldRows, QuestionFeatures, sum};
use super::{COUNT, FeatureKind, place};

/// Most steps of Newton's method. Ten are usually enough.
const MAX_STEPS: usize = 100;
/// The search ends when the square of the Newton decrement is below this.
const TOLERANCE: f64 = 1e-12;

/// Weights of features.
pub type Weights = [f64; COUNT];

/// The weight 1 for one feature, and 0 for all others: the ranking of that feature alone.
pub fn alone(feature: &FeatureKind) -> Weights {
    let mut weights = [0.0; COUNT];
    weights[place(feature)] = 1.0;
    weights
}

/// A question to fit weights to.
pub struct Example<'a> {
    features: &'a QuestionFeatures,
    /// Number of documents whose features are [`QuestionFeatures::others`].
    others: usize,
    /// Its gold documents.
    gold: &'a GoldRows,
    /// What it counts in means.
    weight: f64,
}

/// Value, gradient and second derivatives of the loss.
struct Terms {
    loss: f64,
    gradient: Weights,
    hessian: [[f64; COUNT]; COUNT],
}

impl<'a> Example<'a> {
    /// A question over this number of documents; `None` without a gold document.
    pub fn new(
        features: &'a QuestionFeatures,
        gold: &'a GoldRows,
        documents: usize,
    ) -> Option<Self> {
        let others = documents.saturating_sub(features.documents.len());
        (!gold.known.is_empty() || gold.others > 0).then_some(Example {
            features,
            others: others.max(gold.others),
            gold,
            weight: 1.0,
        })
    }

    /// The same question with this weight in means.
    #[must_use]
    pub fn weighing(self, weight: f64) -> Self {
        Example { weight, ..self }
    }

    /// The distinct rows of features, each with the number of documents that have it.
    fn rows(&self) -> impl Iterator<Item = (&[f32], f64)> {
        let known = self.features.values.chunks_exact(COUNT);
        let others = (self.others > 0).then_some((&self.features.others[..], self.others as f64));
        known.map(|row| (row, 1.0)).chain(others)
    }

    fn terms(&self, weights: &Weights) -> Terms {
        let scores: Vec<f64> = self.rows().map(|(row, _)| sum(weights, row)).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let shares = self.rows().zip(&scores);
        let shares: Vec<f64> = shares.map(|((_, n), s)| n * (s - largest).exp()).collect();
        let total: f64 = shares.iter().sum();
        let mut out = Terms {
            loss: total.ln() + largest,
            gradient: [0.0; COUNT],
            hessian: [[0.0; COUNT]; COUNT],
        };
        for ((row, _), share) in self.rows().zip(&shares) {
            let p = share / total;
            // Most documents have no share that counts.
            if p < 1e-12 {
                continue;
            }
            for (i, x) in row.iter().enumerate() {
                let px = p * f64::from(*x);
                out.gradient[i] += px;
                for (h, y) in out.hessian[i][..=i].iter_mut().zip(row) {
                    *h += px * f64::from(*y);
                }
            }
        }
        for i in 0..COUNT {
            for j in 0..=i {
                out.hessian[i][j] -= out.gradient[i] * out.gradient[j];
                out.hessian[j][i] = out.hessian[i][j];
            }
        }
        let each = 1.0 / (self.gold.known.len() + self.gold.others) as f64;
        let known = self
            .gold
            .known
            .iter()
            .map(|row| (self.features.row(*row), 1.0));
        let others = (&self.features.others[..], self.gold.others as f64);
        for (row, times) in known.chain([others]) {
            out.loss -= each * times * sum(weights, row);
            for (g, x) in out.gradient.iter_mut().zip(row) {
                *g -= each * times * f64::from(*x);
            }
        }
        out
    }
}

/// The loss of a question.
pub fn loss(example: &Example<'_>, weights: &Weights) -> f64 {
    example.terms(weights).loss
}

/// The weights with the least mean loss over these questions plus the sum of `penalty` times
/// (w - `towards`)² over features; penalties must be above 0. Without questions they are `towards`.
pub fn fit(examples: &[Example<'_>], penalty: &Weights, towards: &Weights) -> Weights {
    let mut weights = *towards;
    if examples.is_empty() {
        return weights;
    }
    let mut at = objective(examples, penalty, towards, &weights);
    for _ in 0..MAX_STEPS {
        let step = solve(at.hessian, at.gradient);
        let decrement: f64 = step.iter().zip(&at.gradient).map(|(a, b)| a * b).sum();
        if decrement < TOLERANCE {
            break;
        }
        // A whole step may be too long far from the minimum.
        let mut length = 1.0;
        loop {
            let next: Weights = std::array::from_fn(|i| weights[i] - length * step[i]);
            let there = objective(examples, penalty, towards, &next);
            if there.loss <= at.loss - 0.25 * length * decrement {
                (weights, at) = (next, there);
                break;
            }
            length /= 2.0;
            if length < 1e-8 {
                // Rounding hides what is left to gain.
                return weights;
            }
        }
    }
    weights
}

fn objective(
    examples: &[Example<'_>],
    penalty: &Weights,
    towards: &Weights,
    weights: &Weights,
) -> Terms {
    let terms: Vec<Terms> = examples.par_iter().map(|e| e.terms(weights)).collect();
    let mut out = Terms {
        loss: 0.0,
        gradient: [0.0; COUNT],
        hessian: [[0.0; COUNT]; COUNT],
    };
    let total: f64 = examples.iter().map(|e| e.weight).sum();
    for (term, example) in terms.iter().zip(examples) {
        let scale = example.weight / total;
        out.loss += scale * term.loss;
        for i in 0..COUNT {
            out.gradient[i] += scale * term.gradient[i];
            for j in 0..COUNT {
                out.hessian[i][j] += scale * term.hessian[i][j];
            }
        }
    }
    for i in 0..COUNT {
        let away = weights[i] - towards[i];
        out.loss += penalty[i] * away * away;
        out.gradient[i] += 2.0 * penalty[i] * away;
        out.hessian[i][i] += 2.0 * penalty[i];
    }
    out
}

/// Solves `a` x = `b` for a symmetric positive definite `a` (Cholesky decomposition).
fn solve(mut a: [[f64; COUNT]; COUNT], b: Weights) -> Weights {
    for i in 0..COUNT {
        for j in 0..=i {
            let before: f64 = (0..j).map(|k| a[i][k] * a[j][k]).sum();
            let rest = a[i][j] - before;
            // The penalty keeps the diagonal above 0; rounding may not.
            a[i][j] = if i == j {
                rest.max(f64::MIN_POSITIVE).sqrt()
            } else {
                rest / a[j][j]
            };
        }
    }
    let mut x = b;
    for i in 0..COUNT {
        let before: f64 = (0..i).map(|k| a[i][k] * x[k]).sum();
        x[i] = (x[i] - before) / a[i][i];
    }
    for i in (0..COUNT).rev() {
        let behind: f64 = (i + 1..COUNT).map(|k| a[k][i] * x[k]).sum();
        x[i] = (x[i] - behind) / a[i][i];
    }
    x
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// Features of eight documents, of which six are known one by one.
    fn features(values: &[f32]) -> QuestionFeatures {
        QuestionFeatures {
            documents: vec![0, 1, 2, 4, 5, 7],
            values: values[..6 * COUNT].to_vec(),
            others: std::array::from_fn(|i| values[6 * COUNT + i]),
        }
    }

    /// The loss by its definition, over all documents one by one.
    fn slow(of: &QuestionFeatures, gold: &[u32], weights: &Weights) -> f64 {
        let scores = of.scores(weights, 8);
        let total: f64 = scores.iter().map(|s| s.exp()).sum();
        let logs = gold
            .iter()
            .map(|d| (scores[*d as usize].exp() / total).ln());
        -logs.sum::<f64>() / gold.len() as f64
    }

    proptest! {
        #[test]
        fn the_loss_is_that_of_all_documents_and_its_gradient_a_difference(
            values in prop::collection::vec(-2.0..2.0f32, 7 * COUNT),
            weights in prop::collection::vec(-1.0..1.0f64, COUNT),
        ) {
            let (of, gold) = (features(&values), [1, 3, 7]);
            let rows = of.rows(&gold);
            let example = Example::new(&of, &rows, 8).unwrap();
            let at = |w: &[f64]| example.terms(&std::array::from_fn(|i| w[i]));
            let terms = at(&weights);
            let want = slow(&of, &gold, &std::array::from_fn(|i| weights[i]));
            prop_assert!((terms.loss - want).abs() < 1e-9, "{} {}", terms.loss, want);
            for i in 0..COUNT {
                let (mut up, mut down) = (weights.clone(), weights.clone());
                (up[i], down[i]) = (up[i] + 1e-5, down[i] - 1e-5);
                let (up, down) = (at(&up), at(&down));
                let slope = (up.loss - down.loss) / 2e-5;
                prop_assert!((terms.gradient[i] - slope).abs() < 1e-6);
                for j in 0..COUNT {
                    let slope = (up.gradient[j] - down.gradient[j]) / 2e-5;
                    prop_assert!((terms.hessian[i][j] - slope).abs() < 1e-6);
                }
            }
        }

        #[test]
        fn no_other_weights_have_a_smaller_loss(
            values in prop::collection::vec(-2.0..2.0f32, 7 * COUNT),
            aside in prop::collection::vec(-0.1..0.1f64, COUNT),
            penalty in 0.001..1.0f64,
        ) {
            let of = features(&values);
            let rows = of.rows(&[0, 3]);
            let examples = [Example::new(&of, &rows, 8).unwrap()];
            let towards = [0.2; COUNT];
            let penalty = [penalty; COUNT];
            let found = fit(&examples, &penalty, &towards);
            let loss = |w: &Weights| objective(&examples, &penalty, &towards, w).loss;
            let other = std::array::from_fn(|i| found[i] + aside[i]);
            prop_assert!(loss(&found) <= loss(&other) + 1e-9);
        }
    }

    #[test]
    fn a_feature_that_tells_gold_documents_gets_the_weight() {
        let mut values = vec![0.0f32; 7 * COUNT];
        values[3] = 1.0;
        let of = features(&values);
        let rows = of.rows(&[0]);
        let examples = [Example::new(&of, &rows, 8).unwrap()];
        let weights = fit(&examples, &[0.01; COUNT], &[0.0; COUNT]);
        assert!(weights[3] > 1.0 && weights.iter().filter(|w| **w != 0.0).count() == 1);
        // A strong penalty keeps the weights where they were.
        let kept = fit(&examples, &[1e9; COUNT], &[0.5; COUNT]);
        assert!(kept.iter().all(|w| (w - 0.5).abs() < 1e-6));
        assert_eq!(fit(&[], &[0.1; COUNT], &[0.5; COUNT]), [0.5; COUNT]);
        assert!(Example::new(&of, &of.rows(&[]), 8).is_none());
    }
}
