//! A fusion: weights of features, fitted or given, and how good they are.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Float64Array, StringArray, UInt64Array};
use gfm_pipe_api::named::Named;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns, kinds};

use super::fit::Weights;
use super::of_question::QuestionFeatures;
use super::{COUNT, FEATURES, FeatureKind, place};
use crate::pieces::Pieces;

/// The weights that the program comes with. data/models/fusion/README.md says how they were made.
static BUILTIN: &str = include_str!("../../../../data/models/fusion/weights.json");

/// The weights that the program comes with, by feature.
pub fn builtin() -> &'static Weights {
    static WEIGHTS: LazyLock<Weights> = LazyLock::new(|| match parse(BUILTIN) {
        Ok(weights) => weights,
        Err(e) => unreachable!("data/models/fusion/weights.json: {e}"),
    });
    &WEIGHTS
}

/// The weight 1 for one feature, and 0 for all others: the ranking of that feature alone.
pub fn alone(feature: &FeatureKind) -> Weights {
    let mut weights = [0.0; COUNT];
    weights[place(feature)] = 1.0;
    weights
}

/// Reads weights from JSON, an object with a number for each feature. A feature that it does not
/// name has the weight 0.
///
/// # Errors
/// What is wrong with it.
pub fn parse(json: &str) -> Result<Weights, String> {
    let named: std::collections::BTreeMap<String, f64> =
        serde_json::from_str(json).map_err(|e| e.to_string())?;
    let mut weights = [0.0; COUNT];
    for (name, weight) in named {
        let feature =
            FeatureKind::named(&name).ok_or_else(|| format!("there is no feature `{name}`"))?;
        weights[place(feature)] = weight;
    }
    Ok(weights)
}

/// How the weights of a fusion were chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// `fit`, `given`, or the feature that ranks alone.
    pub chosen: String,
    /// Number of questions that the weights were fitted to.
    pub questions: u64,
    /// The penalty of the fit, if it was chosen.
    pub penalty: Option<f64>,
}

/// How good a way to rank is on questions that its weights were not fitted to.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// `fit towards WEIGHTS at PENALTY`, `given`, or a feature.
    pub way: String,
    /// Mean recall@5.
    pub recall: f64,
    /// Mean reciprocal rank of the first gold document.
    pub mrr: f64,
    /// Mean of the loss; `None` for a feature alone, whose scale means nothing.
    pub loss: Option<f64>,
}

/// Weights of features.
#[derive(Debug, Clone, PartialEq)]
pub struct Fusion {
    /// By feature.
    pub weights: Weights,
    /// How they were chosen.
    pub choice: Choice,
}

impl Fusion {
    /// The weights that the program comes with.
    pub fn builtin() -> Self {
        Fusion {
            weights: *builtin(),
            choice: Choice {
                chosen: "given".to_owned(),
                questions: 0,
                penalty: None,
            },
        }
    }

    /// The scores of all documents, by document; NaN for later pieces.
    pub fn scores(
        &self,
        features: &QuestionFeatures,
        documents: usize,
        pieces: Option<&Pieces>,
    ) -> Vec<f64> {
        let mut scores = features.scores(&self.weights, documents);
        if let Some(pieces) = pieces {
            pieces.hide_later(&mut scores);
        }
        scores
    }

    /// Writes it, with the weights without questions and what was measured.
    ///
    /// # Errors
    /// When a table cannot be written.
    pub fn write(
        &self,
        ctx: &Context,
        port: &str,
        given: &Weights,
        measured: &[Measured],
    ) -> OpResult<()> {
        let [weights, ways, info] = [0, 1, 2].map(|t| &kinds::FUSION.tables[t]);
        let floats = |values: &[f64]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
        let names = FEATURES.iter().map(|f| f.name);
        let made = vec![
            Arc::new(StringArray::from_iter_values(names)) as ArrayRef,
            floats(&self.weights),
            floats(given),
        ];
        ctx.write(port, weights.name, &columns::batch(weights, made)?)?;
        let column = |value: fn(&Measured) -> f64| {
            let values: Vec<f64> = measured.iter().map(value).collect();
            floats(&values)
        };
        let losses: Float64Array = measured.iter().map(|m| m.loss).collect();
        let made = vec![
            Arc::new(StringArray::from_iter_values(
                measured.iter().map(|m| &m.way),
            )) as ArrayRef,
            column(|m| m.recall),
            column(|m| m.mrr),
            Arc::new(losses),
        ];
        ctx.write(port, ways.name, &columns::batch(ways, made)?)?;
        let made = vec![
            Arc::new(StringArray::from(vec![self.choice.chosen.as_str()])) as ArrayRef,
            Arc::new(UInt64Array::from(vec![self.choice.questions])),
            Arc::new(Float64Array::from(vec![self.choice.penalty])),
        ];
        ctx.write(port, info.name, &columns::batch(info, made)?)
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it was made by another version of the program.
    pub fn read(artifact: &Artifact) -> OpResult<Self> {
        use arrow::array::Array;
        let table = artifact.read("weights")?;
        let names = columns::text(&table, "feature")?;
        if !names.iter().eq(FEATURES.iter().map(|f| Some(f.name))) {
            return Err(OpError::new(
                "this fusion is of other features than this version of the program has",
            )
            .artifact(&artifact.name)
            .hint("run the stage that made it again with `--force`"));
        }
        let mut weights = [0.0; COUNT];
        weights.copy_from_slice(columns::f64s(&table, "weight")?.values());
        let info = artifact.read("info")?;
        let penalty = columns::f64s(&info, "penalty")?;
        Ok(Fusion {
            weights,
            choice: Choice {
                chosen: columns::text(&info, "chosen")?.value(0).to_owned(),
                questions: columns::u64s(&info, "questions")?.value(0),
                penalty: penalty.is_valid(0).then(|| penalty.value(0)),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::features::{BM25, PPR};

    #[test]
    fn the_weights_that_come_with_the_program_can_be_read() {
        let weights = builtin();
        assert!(weights.iter().all(|w| w.is_finite()));
        assert!(weights.iter().any(|w| *w != 0.0));
    }

    #[test]
    fn weights_are_read_by_name() {
        let weights = parse(r#"{"ppr": 0.5, "bm25": -1}"#).unwrap();
        assert_eq!((weights[place(&PPR)], weights[place(&BM25)]), (0.5, -1.0));
        assert_eq!(weights.iter().filter(|w| **w != 0.0).count(), 2);
        assert_eq!(parse(r#"{"x": 1}"#).unwrap_err(), "there is no feature `x`");
        assert!(parse("[]").is_err());
    }
}
