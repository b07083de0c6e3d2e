//! What happened while a stage trained, as drawings.

use gfm_pipe_api::columns;
use serde::Serialize;

use super::run::{Lacking, Run, other_version};
use super::svg::curves::{self, Series as Curve};
use crate::record::Series;

/// Most lines of a drawing.
const LINES: usize = 6;

/// A training.
#[derive(Debug, Clone, Serialize)]
pub struct Training {
    /// Stage.
    pub stage: String,
    steps: u64,
    epochs: u64,
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
        let mut lines: Vec<Line> = Vec::new();
        for i in 0..t.num_rows() {
            let name = metric.value(i);
            let at = (step.value(i) as f64, value.value(i));
            match lines.iter_mut().find(|l| l.0 == name) {
                Some(line) => line.1.push(at),
                None => lines.push((name.to_owned(), vec![at])),
            }
        }
        let last = |column: Option<u64>| column.unwrap_or(0);
        Ok(drawn(
            stage,
            last(step.values().iter().copied().max()),
            last(epoch.values().iter().copied().max().map(u64::from)),
            &lines,
        ))
    };
    read().map_err(other_version)
}

/// A training that left no history, because it failed or was killed: what was written down while it went on.
pub fn recorded(stage: &str, series: &[&Series]) -> Training {
    let points = |s: &Series| s.points.iter().map(|p| (p.step as f64, p.value)).collect();
    let shown = series.iter().filter(|s| {
        let name = s.metric.as_str();
        name.contains("loss") || name.starts_with("valid:")
    });
    let lines: Vec<Line> = shown.map(|s| (s.metric.clone(), points(s))).collect();
    let all = || series.iter().flat_map(|s| &s.points);
    drawn(
        stage,
        all().map(|p| p.step).max().unwrap_or(0),
        all().map(|p| u64::from(p.epoch)).max().unwrap_or(0),
        &lines,
    )
}

/// A metric's name with its values at steps.
type Line = (String, Vec<(f64, f64)>);

fn drawn(stage: &str, steps: u64, epochs: u64, lines: &[Line]) -> Training {
    let chart = |title: &str, wanted: &dyn Fn(&str) -> bool| -> Option<Chart> {
        let lines: Vec<&Line> = lines.iter().filter(|l| wanted(&l.0)).collect();
        let shown: Vec<Curve> = lines
            .iter()
            .take(LINES)
            .map(|(name, points)| Curve {
                name: name.trim_start_matches("valid:").to_owned(),
                points: points.clone(),
            })
            .collect();
        (!shown.is_empty()).then(|| Chart {
            title: title.to_owned(),
            svg: curves::draw(&format!("{title} of {stage}"), "step", &shown),
            left_out: lines.len() - shown.len(),
        })
    };
    // Ranks and errors have another scale than shares.
    let share = |n: &str| !n.ends_with("mape") && !n.ends_with(":mr");
    let charts = [
        chart("Loss", &|n| !n.starts_with("valid:")),
        chart("Validation", &|n| n.starts_with("valid:") && share(n)),
    ];
    Training {
        stage: stage.to_owned(),
        steps,
        epochs,
        charts: charts.into_iter().flatten().collect(),
    }
}
