//! Weights of ranking features, and how they were chosen.

use arrow::array::Array;
use gfm_pipe_api::{OpError, columns};
use serde::Serialize;

use super::run::{Lacking, Run, other_version};
use crate::ui;

/// The results of a `fuse` stage.
#[derive(Debug, Clone, Serialize)]
pub struct Fusion {
    /// Name of the stage.
    pub stage: String,
    chosen: String,
    /// Feature, weight, and weight without questions; the largest weights first.
    weights: Vec<[String; 3]>,
    /// Ways to rank, the best first: name, recall@5, mean reciprocal rank and loss.
    ways: Vec<[String; 4]>,
}

/// Reads the weights of a `fuse` stage.
///
/// # Errors
/// When its tables are gone, or were written by another version.
pub fn read(run: &Run<'_>, stage: &str, port: &str) -> Result<Fusion, Lacking> {
    let weights = run.table((stage, port), "weights")?;
    let ways = run.table((stage, port), "ways")?;
    let info = run.table((stage, port), "info")?;
    let read = || -> Result<Fusion, OpError> {
        let features = columns::text(&weights, "feature")?;
        let (weight, given) = (
            columns::f64s(&weights, "weight")?,
            columns::f64s(&weights, "given")?,
        );
        let mut rows: Vec<usize> = (0..weights.num_rows()).collect();
        rows.sort_by(|a, b| weight.value(*b).abs().total_cmp(&weight.value(*a).abs()));
        let number = |value: f64| format!("{value:.3}");
        let (way, recall) = (
            columns::text(&ways, "way")?,
            columns::f64s(&ways, "recall@5")?,
        );
        let (mrr, loss) = (columns::f64s(&ways, "mrr")?, columns::f64s(&ways, "loss")?);
        let mut best: Vec<usize> = (0..ways.num_rows()).collect();
        best.sort_by(|a, b| recall.value(*b).total_cmp(&recall.value(*a)));
        let questions = columns::u64s(&info, "questions")?.value(0);
        let chosen_on = ui::number(questions, "question");
        Ok(Fusion {
            stage: stage.to_owned(),
            chosen: match columns::text(&info, "chosen")?.value(0) {
                "fit" => format!("a fit, chosen on {chosen_on}"),
                "given" if questions == 0 => "given weights, not fitted to questions".to_owned(),
                "given" => format!("given weights, better on {chosen_on} than a fit"),
                feature => format!("{feature} alone, better on {chosen_on} than a fit"),
            },
            weights: rows
                .into_iter()
                .map(|i| {
                    let name = features.value(i).to_owned();
                    [name, number(weight.value(i)), number(given.value(i))]
                })
                .collect(),
            ways: best
                .into_iter()
                .map(|i| {
                    let loss = if loss.is_valid(i) {
                        number(loss.value(i))
                    } else {
                        String::new()
                    };
                    let name = way.value(i).to_owned();
                    [name, number(recall.value(i)), number(mrr.value(i)), loss]
                })
                .collect(),
        })
    };
    read().map_err(other_version)
}
