//! What happened while a stage trained, as drawings.

use std::collections::BTreeMap;

use gfm_pipe_api::columns;
use serde::Serialize;

use super::run::{Lacking, Run, other_version};
use super::svg::curves::{self, Series};

/// Most lines of a drawing.
const LINES: usize = 6;

/// A training.
#[derive(Debug, Clone, Serialize)]
pub struct Training {
    /// Stage.
    pub stage: String,
    steps: u64,
    epochs: u32,
    /// Losses, then validation metrics.
    charts: Vec<Chart>,
}

/// A drawing with its heading.
#[derive(Debug, Clone, Serialize)]
pub struct Chart {
    title: String,
    svg: String,
    left_out: usize,
}

/// Reads the history of a stage.
///
/// # Errors
/// When it is gone, or of another version.
pub fn read(run: &Run<'_>, stage: &str, port: &str) -> Result<Training, Lacking> {
    let t = run.table((stage, port), "history")?;
    let read = || -> Result<Training, gfm_pipe_api::OpError> {
        let (epoch, step) = (columns::u32s(&t, "epoch")?, columns::u64s(&t, "step")?);
        let (metric, value) = (columns::text(&t, "metric")?, columns::f64s(&t, "value")?);
        // In the order metrics first come: the ones the training is judged by are first.
        let mut names: Vec<&str> = Vec::new();
        let mut points: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
        for i in 0..t.num_rows() {
            let name = metric.value(i);
            if !points.contains_key(name) {
                names.push(name);
            }
            let at = (step.value(i) as f64, value.value(i));
            points.entry(name).or_default().push(at);
        }
        let chart = |title: &str, names: Vec<&str>| -> Option<Chart> {
            let shown: Vec<Series> = names
                .iter()
                .take(LINES)
                .map(|n| Series {
                    name: n.trim_start_matches("valid:").to_owned(),
                    points: points[n].clone(),
                })
                .collect();
            (!shown.is_empty()).then(|| Chart {
                title: title.to_owned(),
                svg: curves::draw(&format!("{title} of {stage}"), "step", &shown),
                left_out: names.len() - shown.len(),
            })
        };
        let of = |wanted: &dyn Fn(&str) -> bool| -> Vec<&str> {
            names.iter().copied().filter(|n| wanted(n)).collect()
        };
        // Ranks and errors have another scale than shares.
        let share = |n: &str| !n.ends_with("mape") && !n.ends_with(":mr");
        let charts = [
            chart("Loss", of(&|n| !n.starts_with("valid:"))),
            chart("Validation", of(&|n| n.starts_with("valid:") && share(n))),
        ];
        Ok(Training {
            stage: stage.to_owned(),
            steps: step.values().iter().copied().max().unwrap_or(0),
            epochs: epoch.values().iter().copied().max().unwrap_or(0),
            charts: charts.into_iter().flatten().collect(),
        })
    };
    read().map_err(other_version)
}
