//! How good answers in words are: the results of an `evaluate-answers` stage.

use gfm_pipe_eval::answers::{SHOWN, TARGET};
use serde::Serialize;

use super::evaluation::{Column, Comparison, Row, System, comparisons, figures, group_row, rows};
use super::run::{Lacking, Run};
use crate::ui;

/// The results of one stage.
#[derive(Debug, Clone, Serialize)]
pub struct Answers {
    stage: String,
    dataset: String,
    split: String,
    questions: String,
    metrics: [&'static str; SHOWN.len()],
    rows: Vec<Row>,
    by_group: &'static str,
    systems: Vec<String>,
    group_rows: Vec<Row>,
    first: String,
    comparisons: Vec<Comparison>,
}

/// Reads the results of a stage.
///
/// # Errors
/// When its tables are gone, or were written by another version.
pub fn read(run: &Run<'_>, stage: &str) -> Result<Answers, Lacking> {
    let f = figures(run, (stage, "metrics"), TARGET)?;
    let (whole, headline) = (f.whole(), SHOWN[0]);
    let columns = SHOWN.map(|metric| Column {
        group: whole,
        metric,
    });
    let systems: Vec<&System> = f.systems.iter().collect();
    let n = |group: &str| {
        let counted = f.systems.first();
        let value = counted.and_then(|s| f.get(&s.name, group, headline));
        value.map_or(0, |value| value.n)
    };
    let by_group = f
        .groups
        .iter()
        .map(|g| group_row(&f, &systems, (g, headline), n(g)));
    let (first, comparisons) = comparisons(run, stage, whole, &SHOWN)?;
    Ok(Answers {
        stage: stage.to_owned(),
        questions: ui::number(n(whole), "question"),
        metrics: SHOWN,
        rows: rows(&f, &systems, &columns),
        by_group: headline,
        systems: systems.iter().map(|s| s.name.clone()).collect(),
        group_rows: by_group.collect(),
        first,
        comparisons,
        dataset: f.dataset.clone(),
        split: f.split.clone(),
    })
}
