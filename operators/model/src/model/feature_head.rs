//! What ranking features add to the scores of documents.
//!
//! A model with a head of features scores a document by gate * s + w · x, where s is the score of
//! its network and x are the features of question and document. The gate is 0 when a training
//! starts: the model then ranks as the weights of the features do, and the network counts as far as
//! the training says that it helps.

use candle_core::Result;
use gfm_pipe_api::{OpError, OpResult};
use gfm_pipe_eval::features::fit::Weights;
use gfm_pipe_eval::features::of_question::{QuestionFeatures, sum};
use gfm_pipe_eval::features::{COUNT, FEATURES};

use super::{Grads, ModelConfig, Params};
use crate::questions::Questions;
use crate::tensor::{tensor, to_f64};
use crate::tensor_error;

/// The values of a head of features.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureWeights {
    /// By feature; 0 for features that the model does not have.
    pub weights: Weights,
    /// The factor of the network's scores.
    pub gate: f64,
}

/// The names of all features: [`ModelConfig::features`] of a new model.
pub fn all_features() -> Vec<String> {
    FEATURES.iter().map(|f| f.name.to_owned()).collect()
}

/// The places in [`FEATURES`] of a model's features, in the order of its weights.
fn places(config: &ModelConfig) -> impl Iterator<Item = usize> {
    // Names that do not exist are refused when a configuration is read.
    let place = |name: &String| FEATURES.iter().position(|f| f.name == name);
    config.features.iter().filter_map(place)
}

impl FeatureWeights {
    /// The head of a model; `None` if it has none.
    ///
    /// # Errors
    /// When a tensor cannot be read.
    pub fn of(params: &Params) -> OpResult<Option<Self>> {
        let Some(head) = &params.tensors.features else {
            return Ok(None);
        };
        let values = |t| to_f64(t).map_err(tensor_error);
        let (weight, gate) = (values(&head.weight)?, values(&head.gate)?);
        Ok(Some(Self::of_values(&params.config, &weight, &gate)))
    }

    /// The head with these values of its parameters.
    pub(crate) fn of_values(config: &ModelConfig, weight: &[f64], gate: &[f64]) -> Self {
        let mut weights = [0.0; COUNT];
        for (place, weight) in places(config).zip(weight) {
            weights[place] = *weight;
        }
        FeatureWeights {
            weights,
            gate: gate.first().copied().unwrap_or(0.0),
        }
    }

    /// The head of a model that is about to rank documents of these questions; `None` if it has
    /// none. `name` is the model's artifact.
    ///
    /// # Errors
    /// When the model has a head, but the features of the questions are not known.
    pub fn for_questions(
        params: &Params,
        questions: &Questions,
        name: &str,
    ) -> OpResult<Option<Self>> {
        let head = Self::of(params)?;
        if head.is_some() && !questions.have_features() {
            return Err(missing(name));
        }
        Ok(head)
    }

    /// Replaces scores of documents by the network by those of the model. NaN stays NaN: it stands
    /// for later pieces of documents, which have no place in a ranking.
    pub(crate) fn apply(&self, features: &QuestionFeatures, scores: &mut [f64]) {
        let others = sum(&self.weights, &features.others);
        let mut known = features.documents.iter().enumerate().peekable();
        for (document, score) in (0u32..).zip(scores) {
            let row = known.next_if(|(_, d)| **d == document);
            let added = row.map_or(others, |(row, _)| sum(&self.weights, features.row(row)));
            *score = self.gate * *score + added;
        }
    }

    /// The scores of all documents for a question. `network` has those of the network, NaN for
    /// later pieces and [`NO_SCORE`](gfm_pipe_eval::rankers::NO_SCORE) for documents that it cannot
    /// score: these count as the lowest of the others, so that features decide about them. Without
    /// a node to start from there are none, and features decide alone
    /// ([`QuestionFeatures::ranking`]).
    pub fn documents(
        &self,
        features: &QuestionFeatures,
        network: Option<Vec<f64>>,
        documents: usize,
    ) -> Vec<f64> {
        let Some(mut scores) = network else {
            return features.scores(&features.ranking(&self.weights), documents);
        };
        let finite = scores.iter().copied().filter(|s| s.is_finite());
        let lowest = finite.fold(f64::INFINITY, f64::min);
        let lowest = if lowest.is_finite() { lowest } else { 0.0 };
        for score in &mut scores {
            if score.is_infinite() {
                *score = lowest;
            }
        }
        self.apply(features, &mut scores);
        scores
    }
}

/// The error for a model with a head of features where the features are not known.
pub fn missing(name: &str) -> OpError {
    OpError::new("the model was trained with ranking features, and needs those of the questions")
        .artifact(name)
        .hint("connect `features`: the output of a `rank-features` stage on the same questions")
}

/// Gradients of a head of features, added up in f64 in the order of questions and documents.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FeatureSums {
    /// By feature.
    weights: Weights,
    gate: f64,
}

impl FeatureSums {
    pub fn zero() -> Self {
        FeatureSums {
            weights: [0.0; COUNT],
            gate: 0.0,
        }
    }

    /// Adds what a question adds, from the network's scores of its documents and `weight` times the
    /// gradient of the model's.
    pub fn add(&mut self, features: &QuestionFeatures, network: &[f64], grad: &[f64], weight: f64) {
        let mut others = 0.0;
        let mut known = features.documents.iter().enumerate().peekable();
        for ((document, s), g) in (0u32..).zip(network).zip(grad) {
            let g = weight * g;
            self.gate += g * s;
            match known.next_if(|(_, d)| **d == document) {
                Some((row, _)) => self.add_row(g, features.row(row)),
                None => others += g,
            }
        }
        self.add_row(others, &features.others);
    }

    fn add_row(&mut self, grad: f64, features: &[f32]) {
        for (sum, x) in self.weights.iter_mut().zip(features) {
            *sum += grad * f64::from(*x);
        }
    }

    /// The gradients of the parameters `weight` and `gate` of a model.
    pub fn values(&self, config: &ModelConfig) -> (Vec<f64>, Vec<f64>) {
        let weight = places(config).map(|place| self.weights[place]);
        (weight.collect(), vec![self.gate])
    }

    /// Writes them into the gradients of a step, if the model has a head.
    ///
    /// # Errors
    /// When candle cannot create a tensor.
    pub fn write(&self, config: &ModelConfig, grads: &mut Grads) -> Result<()> {
        let Some(head) = &mut grads.features else {
            return Ok(());
        };
        let (weight, gate) = self.values(config);
        for (to, values) in [(&mut head.weight, weight), (&mut head.gate, gate)] {
            *to = tensor(values, to.shape())?.to_dtype(to.dtype())?;
        }
        Ok(())
    }
}

impl Params {
    /// Starts the head of features with these weights and the gate 0. Does nothing for a model
    /// without a head.
    ///
    /// # Errors
    /// When candle cannot create a tensor.
    pub fn start_features(&mut self, weights: &Weights) -> OpResult<()> {
        let values: Vec<f64> = places(&self.config).map(|place| weights[place]).collect();
        let Some(head) = &mut self.tensors.features else {
            return Ok(());
        };
        let set = tensor(values, head.weight.shape());
        let set = set.and_then(|t| t.to_dtype(head.weight.dtype()));
        head.weight = set.map_err(tensor_error)?;
        head.gate = head.gate.zeros_like().map_err(tensor_error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::DType;
    use gfm_pipe_eval::features::{BM25, PPR, place};
    use gfm_pipe_eval::rankers::NO_SCORE;
    use proptest::prelude::*;

    use super::*;
    use crate::model::Class;

    /// Features of some of six documents.
    fn features(values: &[f32]) -> QuestionFeatures {
        let rows = |i: usize| std::array::from_fn(|f| values[(3 * i + f) % values.len()]);
        let known: Vec<[f32; COUNT]> = (0..2).map(rows).collect();
        QuestionFeatures {
            documents: vec![1, 4],
            values: known.concat(),
            others: rows(5),
        }
    }

    fn head(weights: &[f64], gate: f64) -> FeatureWeights {
        FeatureWeights {
            weights: std::array::from_fn(|f| weights[f % weights.len()]),
            gate,
        }
    }

    fn numbers(n: usize) -> impl Strategy<Value = Vec<f64>> {
        proptest::collection::vec(-2.0..2.0f64, n)
    }

    proptest! {
        /// Σ c_d * score_d has the gradient c, so its derivatives are those of the scores.
        #[test]
        fn gradients_are_differences(
            s in numbers(6), c in numbers(6), w in numbers(5), gate in -1.0..1.0f64,
        ) {
            let x: Vec<f32> = (0..31).map(|i| (i as f32 * 0.7).sin()).collect();
            let x = features(&x);
            let head = head(&w, gate);
            let value = |head: &FeatureWeights| -> f64 {
                let scores = head.documents(&x, Some(s.clone()), 6);
                scores.iter().zip(&c).map(|(s, c)| s * c).sum()
            };
            let mut sums = FeatureSums::zero();
            sums.add(&x, &s, &c, 1.0);
            let h = 1e-4;
            let change = |edit: &dyn Fn(&mut FeatureWeights, f64)| {
                let at = |h| {
                    let mut moved = head.clone();
                    edit(&mut moved, h);
                    value(&moved)
                };
                (at(h) - at(-h)) / (2.0 * h)
            };
            prop_assert!((sums.gate - change(&|head, h| head.gate += h)).abs() < 1e-7);
            for f in 0..COUNT {
                let want = change(&|head, h| head.weights[f] += h);
                prop_assert!((sums.weights[f] - want).abs() < 1e-7, "{f}");
            }
        }
    }

    #[test]
    fn a_closed_gate_ranks_by_features_alone() {
        let x = features(&[0.5, -1.0, 0.25, 2.0]);
        let head = head(&[1.0, -0.5], 0.0);
        let want = x.scores(&head.weights, 6);
        let network = vec![3.0, NO_SCORE, 1.0, -2.0, 0.0, NO_SCORE];
        assert_eq!(head.documents(&x, Some(network), 6), want);
        assert_eq!(head.documents(&x, None, 6), want);
        let nothing = vec![NO_SCORE; 6];
        assert_eq!(head.documents(&x, Some(nothing), 6), want);
    }

    #[test]
    fn what_the_network_cannot_score_counts_as_its_lowest_score() {
        let x = QuestionFeatures::none();
        let head = head(&[0.0], 2.0);
        let scores = head.documents(&x, Some(vec![1.0, NO_SCORE, -3.0, f64::NAN]), 4);
        assert_eq!(scores[..3], [2.0, -6.0, -6.0]);
        assert!(scores[3].is_nan());
    }

    #[test]
    fn a_model_keeps_its_weights_by_name() {
        let config = ModelConfig {
            features: vec!["bm25".to_owned(), "ppr".to_owned()],
            ..ModelConfig::new(4, vec![4])
        };
        let mut params = Params::init(Class::GNNRetriever, &config, 3, 1, DType::F32).unwrap();
        let zero = FeatureWeights::of(&params).unwrap().unwrap();
        assert_eq!(zero, head(&[0.0], 0.0));
        let mut weights = [0.25; COUNT];
        weights[place(&PPR)] = 0.5;
        params.start_features(&weights).unwrap();
        let got = FeatureWeights::of(&params).unwrap().unwrap();
        assert_eq!((got.weights[place(&PPR)], got.gate), (0.5, 0.0));
        assert_eq!(got.weights[place(&BM25)], 0.25);
        assert_eq!(got.weights.iter().filter(|w| **w != 0.0).count(), 2);
        let without = config.without_features();
        let other = Params::init(Class::GNNRetriever, &without, 3, 1, DType::F32).unwrap();
        assert!(FeatureWeights::of(&other).unwrap().is_none());
        // All other parameters are the same, and a model without features brings none.
        let report = params.take_over(&other.to_map()).unwrap();
        assert_eq!(report.kept, ["features.gate", "features.weight"]);
        assert_eq!(FeatureWeights::of(&params).unwrap().unwrap(), got);
        for (name, t) in other.iter() {
            let mine = params.get(&name).unwrap();
            assert_eq!(to_f64(mine).unwrap(), to_f64(t).unwrap(), "{name}");
        }
        // The gradients of both parameters, by the order of names.
        let mut sums = FeatureSums::zero();
        sums.add(&features(&[1.0, 2.0, 3.0]), &[1.0; 6], &[0.25; 6], 2.0);
        let mut grads = params.tensors.zeros_like().unwrap();
        sums.write(&config, &mut grads).unwrap();
        let written = grads.features.unwrap();
        assert_eq!(to_f64(&written.gate).unwrap(), [3.0]);
        let want = [sums.weights[place(&BM25)], sums.weights[place(&PPR)]];
        assert_eq!(to_f64(&written.weight).unwrap(), want);
    }
}
