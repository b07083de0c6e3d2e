//! A fusion: weights of features, fitted or given, and how good they are.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Float64Array, StringArray, UInt64Array};
use gfm_pipe_api::named::Named;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns, kinds};
use serde::Deserialize;

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

/// The name of the weights that are used without questions.
pub(super) const GIVEN: &str = "given";

/// The largest amount of a weight that is read: sums of features stay finite.
const LARGEST: f64 = 1e6;

/// A row of the table `weights` as JSON.
#[derive(Deserialize)]
struct Row {
    feature: String,
    weight: f64,
}

/// Reads weights from JSON: an object with a number for each feature, or the rows of the table
/// `weights`.
///
/// # Errors
/// What is wrong with it.
pub fn parse(json: &str) -> Result<Weights, String> {
    let not = |e: serde_json::Error| format!("it does not hold weights of features: {e}");
    let rows: Vec<(String, f64)> = if json.trim_start().starts_with('[') {
        let rows: Vec<Row> = serde_json::from_str(json).map_err(not)?;
        rows.into_iter().map(|r| (r.feature, r.weight)).collect()
    } else {
        let named: BTreeMap<String, f64> = serde_json::from_str(json).map_err(not)?;
        named.into_iter().collect()
    };
    let mut weights = [None; COUNT];
    for (name, weight) in rows {
        let feature =
            FeatureKind::named(&name).ok_or_else(|| format!("there is no feature `{name}`"))?;
        if weight.abs() > LARGEST {
            return Err(format!("the weight of `{name}` is not from -1e6 to 1e6"));
        }
        weights[place(feature)] = Some(weight);
    }
    let names = FEATURES.iter().zip(&weights);
    let missing: Vec<&str> = names
        .filter(|(_, weight)| weight.is_none())
        .map(|(feature, _)| feature.name)
        .collect();
    if !missing.is_empty() {
        return Err(format!("no weight of {}", missing.join(", ")));
    }
    Ok(weights.map(Option::unwrap_or_default))
}

/// How the weights of a fusion were chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// `fit`, `given`, or the feature that ranks alone.
    pub chosen: String,
    /// Number of questions that the weights were chosen on. A fit leaves out those that start
    /// nowhere, where others start in the graph.
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
                chosen: GIVEN.to_owned(),
                questions: 0,
                penalty: None,
            },
        }
    }

    /// The scores of all documents, by document; NaN for later pieces. See
    /// [`QuestionFeatures::ranking`] for a question that starts nowhere in the graph.
    pub fn scores(
        &self,
        features: &QuestionFeatures,
        documents: usize,
        pieces: Option<&Pieces>,
    ) -> Vec<f64> {
        let mut scores = features.scores(&features.ranking(&self.weights), documents);
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
    use crate::features::fit::alone;
    use crate::features::{BM25, DENSE, PPR};

    #[test]
    fn the_weights_that_come_with_the_program_can_be_read() {
        let weights = builtin();
        assert!(weights.iter().all(|w| w.is_finite()));
        assert!(weights.iter().any(|w| *w != 0.0));
    }

    #[test]
    fn weights_are_read_by_name() {
        let text = |ppr: f64| {
            let pair = |f: &&FeatureKind| (f.name, if f.name == PPR.name { ppr } else { 0.0 });
            let all: BTreeMap<&str, f64> = FEATURES.iter().map(pair).collect();
            serde_json::to_string(&all).unwrap()
        };
        let weights = parse(&text(0.5)).unwrap();
        assert_eq!(weights, alone(&PPR).map(|w| 0.5 * w));
        assert_eq!(
            parse(&text(1e300)).unwrap_err(),
            "the weight of `ppr` is not from -1e6 to 1e6"
        );
        assert_eq!(parse(r#"{"x": 1}"#).unwrap_err(), "there is no feature `x`");
        let error = parse(r#"{"ppr": 1}"#).unwrap_err();
        assert!(
            error.starts_with("no weight of dense, sentence,"),
            "{error}"
        );
        let row =
            |f: &&FeatureKind| format!(r#"{{"feature": "{}", "weight": 2, "given": 1}}"#, f.name);
        let rows: Vec<String> = FEATURES.iter().map(row).collect();
        assert_eq!(
            parse(&format!("[{}]", rows.join(","))).unwrap(),
            [2.0; COUNT]
        );
        assert!(parse("[]").is_err() && parse("7").is_err());
    }

    #[test]
    fn a_question_that_starts_nowhere_is_ranked_by_its_texts() {
        let mut raw = [const { None }; COUNT];
        raw[place(&DENSE)] = Some(vec![1.0, 3.0]);
        raw[place(&BM25)] = Some(vec![2.0, 1.0]);
        let features = QuestionFeatures::standardised(raw, 2);
        let fusion = |weights| Fusion {
            weights,
            ..Fusion::builtin()
        };
        assert_eq!(fusion(*builtin()).scores(&features, 2, None), [-1.0, 1.0]);
        assert_eq!(fusion(alone(&BM25)).scores(&features, 2, None), [1.0, -1.0]);
    }
}
