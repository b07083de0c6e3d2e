//! What happened while a stage trained, as charts.

use gfm_pipe_api::columns;
use serde::Serialize;

use super::run::{Lacking, Run, other_version};
use super::svg::curves::{self, Series as Curve};
use crate::record::Series;

/// Maximum number of lines in a chart.
const LINES: usize = 6;

/// The training of one stage.
#[derive(Debug, Clone, Serialize)]
pub struct Training {
    /// Name of the stage.
    pub stage: String,
    steps: u64,
    epochs: u64,
    /// Charts of losses, then of validation metrics.
    charts: Vec<Chart>,
    /// The part of it that the card at the top shows.
    #[serde(skip)]
    pub outcome: Option<Outcome>,
}

/// The outcome of a training: the best value of the validation metric that selects the epoch, or
/// the last loss if nothing was validated.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Name of the metric.
    pub metric: String,
    /// The best value, or the last loss.
    pub value: f64,
    /// The metric's first value.
    pub first: f64,
}

fn outcome(lines: &[Line]) -> Option<Outcome> {
    let values = |line: &Line| -> Vec<f64> {
        let values = line.1.iter().map(|p| p.1);
        values.filter(|v| v.is_finite()).collect()
    };
    let of = |line: &Line, value: f64| {
        Some(Outcome {
            metric: line.0.clone(),
            value,
            first: *values(line).first()?,
        })
    };
    let mut validation = lines
        .iter()
        .filter(|l| l.0.starts_with("valid:") && is_share(&l.0));
    if let Some(line) = validation.find(|l| !values(l).is_empty()) {
        return of(line, values(line).into_iter().fold(f64::MIN, f64::max));
    }
    let line = lines
        .iter()
        .find(|l| l.0.contains("loss") && !values(l).is_empty())?;
    of(line, *values(line).last()?)
}

/// Whether a metric is a fraction of 1 where higher is better; ranks and errors have another scale.
fn is_share(metric: &str) -> bool {
    !metric.ends_with("mape") && !metric.ends_with(":mr")
}

/// A chart with its heading.
#[derive(Debug, Clone, Serialize)]
pub struct Chart {
    title: String,
    svg: String,
    left_out: usize,
}

/// Reads the training history of a stage.
///
/// # Errors
/// When it is gone, or was written by another version.
pub fn read(run: &Run<'_>, stage: &str, port: &str) -> Result<Training, Lacking> {
    let t = run.table((stage, port), "history")?;
    let read = || -> Result<Training, gfm_pipe_api::OpError> {
        let (epoch, step) = (columns::u32s(&t, "epoch")?, columns::u64s(&t, "step")?);
        let (metric, value) = (columns::text(&t, "metric")?, columns::f64s(&t, "value")?);
        // Lines keep the order in which their metrics first occur, so those that judge the training
        // come first.
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

/// A training that left no history because it failed or was killed, from the metrics recorded while
/// it ran.
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

/// A metric's name, and its values by step.
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
    let charts = [
        chart("Loss", &|n| !n.starts_with("valid:")),
        chart("Validation", &|n| n.starts_with("valid:") && is_share(n)),
    ];
    Training {
        stage: stage.to_owned(),
        steps,
        epochs,
        charts: charts.into_iter().flatten().collect(),
        outcome: outcome(lines),
    }
}

#[cfg(test)]
impl Training {
    /// A training without charts, for tests.
    pub fn with_outcome(stage: &str, outcome: Outcome) -> Self {
        Training {
            outcome: Some(outcome),
            ..drawn(stage, 1, 1, &[])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_is_the_best_validation_or_the_last_loss() {
        let line = |name: &str, values: &[f64]| -> Line {
            let points = values.iter().enumerate().map(|(i, v)| (i as f64, *v));
            (name.to_owned(), points.collect())
        };
        let loss = line("loss", &[0.7, f64::NAN, 0.3]);
        let mr = line("valid:mr", &[9.0, 4.0]);
        let mrr = line("valid:mrr", &[0.1, 0.4, 0.3]);
        let got = |lines: &[Line]| outcome(lines).map(|o| (o.metric, o.first, o.value));
        let want = |metric: &str, first, value| Some((metric.to_owned(), first, value));
        assert_eq!(
            got(&[loss.clone(), mr.clone(), mrr]),
            want("valid:mrr", 0.1, 0.4)
        );
        assert_eq!(got(&[loss, mr.clone()]), want("loss", 0.7, 0.3));
        assert_eq!(got(&[line("loss", &[f64::NAN]), mr]), None);
        assert_eq!(got(&[]), None);
    }
}
