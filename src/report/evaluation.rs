//! The results of an `evaluate` stage as tables and charts.

use std::collections::BTreeMap;

use arrow::array::Array;
use gfm_pipe_api::columns;
use gfm_pipe_eval::metrics::{HITS, RECALL};
use gfm_pipe_eval::shown::{DRAWN, FILTERED, STANDARD, headline_metric, names};
use gfm_pipe_eval::tables::{CEILING, NO_RANKER};
use serde::Serialize;

use super::rows::intervals::{self, Bar};
use super::run::{Lacking, Run, other_version};
use super::summary::{self, Summary};
use crate::ui::{self, metric_rows};

/// One figure of a table.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    value: String,
    interval: Option<String>,
    /// Whether no other system has a higher value.
    best: bool,
}

/// A row of figures.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    name: String,
    ceiling: bool,
    cells: Vec<Option<Cell>>,
}

/// A chart of one metric.
#[derive(Debug, Clone, Serialize)]
pub struct Chart {
    title: &'static str,
    svg: String,
}

/// A comparison of the first system with another one.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    pub(super) other: String,
    pub(super) metric: String,
    pub(super) difference: String,
    pub(super) interval: Option<String>,
    better: u64,
    worse: u64,
    pub(super) p: Option<String>,
    pub(super) verdict: &'static str,
}

#[cfg(test)]
impl Comparison {
    /// A comparison on a few questions, for tests.
    pub(super) fn new(
        other: &str,
        metric: &str,
        difference: &str,
        p: &str,
        verdict: &'static str,
    ) -> Self {
        Comparison {
            other: other.to_owned(),
            metric: metric.to_owned(),
            difference: difference.to_owned(),
            interval: None,
            better: 2,
            worse: 1,
            p: Some(p.to_owned()),
            verdict,
        }
    }
}

/// The results of one evaluation stage.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// Name of the stage.
    pub stage: String,
    dataset: String,
    split: String,
    questions: String,
    unasked: u64,
    standard: Vec<&'static str>,
    /// Systems with their first ranker, and systems without a ranker.
    rows: Vec<Row>,
    /// The same systems with their other rankers.
    other_rows: Vec<Row>,
    filtered: Vec<&'static str>,
    filtered_rows: Vec<Row>,
    /// A note on a filtered figure that is higher than any ranking could reach unfiltered.
    above_ceiling: Option<String>,
    charts: Vec<Chart>,
    by_group: &'static str,
    group_systems: Vec<String>,
    group_rows: Vec<Row>,
    first: String,
    comparisons: Vec<Comparison>,
    /// The part of it that the card at the top shows.
    #[serde(skip)]
    pub summary: Option<Summary>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Value {
    pub value: f64,
    pub interval: Option<(f64, f64)>,
    pub n: u64,
}

/// A system together with its ranker.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct System {
    /// System and ranker, as tables show them.
    pub name: String,
    pub system: String,
    pub ranker: String,
}

impl System {
    pub fn is_ceiling(&self) -> bool {
        self.system == CEILING
    }

    /// Whether its document ranking can be compared with another system's: both use the same
    /// ranker, or this one has none.
    fn like(&self, other: &System) -> bool {
        self.ranker == NO_RANKER || self.ranker == other.ranker
    }
}

/// Values of document metrics by system, group and metric; systems in the order of the table.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub dataset: String,
    pub split: String,
    pub systems: Vec<System>,
    /// The largest number of questions that any system could not be asked.
    pub unasked: u64,
    pub groups: Vec<String>,
    of: BTreeMap<(String, String, String), Value>,
}

impl Figures {
    /// The group that stands for all questions: `all`, or the first group if there are only
    /// paraphrases.
    pub fn whole(&self) -> &str {
        let all = self.groups.iter().find(|g| *g == "all");
        all.or(self.groups.first()).map_or("all", String::as_str)
    }

    pub fn put(&mut self, system: System, (group, metric): (&str, &str), value: Value) {
        let key = (system.name.clone(), group.to_owned(), metric.to_owned());
        if !self.systems.iter().any(|s| s.name == system.name) {
            self.systems.push(system);
        }
        if !self.groups.iter().any(|g| g == group) {
            self.groups.push(group.to_owned());
        }
        self.of.insert(key, value);
    }

    pub fn get(&self, system: &str, group: &str, metric: &str) -> Option<Value> {
        let key = (system.to_owned(), group.to_owned(), metric.to_owned());
        self.of.get(&key).copied()
    }
}

/// Reads the figures of a target.
pub(super) fn figures(
    run: &Run<'_>,
    place: (&str, &str),
    target: &str,
) -> Result<Figures, Lacking> {
    let table = run.table(place, "metrics")?;
    let mut out = Figures::default();
    for m in metric_rows(&table) {
        if m.target != target {
            continue;
        }
        (out.dataset, out.split) = (m.dataset.to_owned(), m.split.to_owned());
        let system = System {
            name: m.name(),
            system: m.system.to_owned(),
            ranker: m.ranker.to_owned(),
        };
        let value = Value {
            value: m.value,
            interval: m.interval,
            n: m.n,
        };
        out.put(system, (m.group, m.metric), value);
        if m.group == out.whole() {
            out.unasked = out.unasked.max(m.unasked);
        }
    }
    Ok(out)
}

pub(super) fn interval((low, high): (f64, f64)) -> String {
    format!("{low:.3} to {high:.3}")
}

/// A metric of a group of questions.
pub(super) struct Column<'a> {
    pub group: &'a str,
    pub metric: &'a str,
}

/// One row for each system that has any of the columns' values.
pub(super) fn rows(f: &Figures, systems: &[&System], columns: &[Column<'_>]) -> Vec<Row> {
    let best: Vec<f64> = columns
        .iter()
        .map(|c| {
            let real = f.systems.iter().filter(|s| !s.is_ceiling());
            let values = real.filter_map(|s| Some(f.get(&s.name, c.group, c.metric)?.value));
            values.fold(f64::NEG_INFINITY, f64::max)
        })
        .collect();
    systems
        .iter()
        .map(|s| Row {
            name: s.name.clone(),
            ceiling: s.is_ceiling(),
            cells: columns
                .iter()
                .zip(&best)
                .map(|(c, best)| {
                    let v = f.get(&s.name, c.group, c.metric)?;
                    Some(Cell {
                        value: format!("{:.3}", v.value),
                        interval: v.interval.map(interval),
                        best: !s.is_ceiling() && v.value >= *best && v.value > 0.0,
                    })
                })
                .collect(),
        })
        .filter(|r| r.cells.iter().any(Option::is_some))
        .collect()
}

/// One group's values of a metric, by system.
pub(super) fn group_row(
    f: &Figures,
    systems: &[&System],
    (group, metric): (&str, &str),
    n: u64,
) -> Row {
    let value = |s: &System| f.get(&s.name, group, metric);
    let real = systems.iter().filter(|s| !s.is_ceiling());
    let values = real.filter_map(|s| value(s)).map(|v| v.value);
    let best = values.fold(0.0, f64::max);
    let cell = |s: &&System| {
        let v = value(s)?;
        Some(Cell {
            value: format!("{:.3}", v.value),
            // The table has too many columns for intervals; they are in the stage's metrics.
            interval: None,
            best: !s.is_ceiling() && v.value >= best && best > 0.0,
        })
    };
    Row {
        name: format!("{group} ({n})"),
        ceiling: false,
        cells: systems.iter().map(cell).collect(),
    }
}

fn chart(f: &Figures, systems: &[&System], metric: &'static str) -> Chart {
    let systems = systems.iter().filter(|s| !s.is_ceiling());
    let bars: Vec<Bar> = systems
        .filter_map(|s| {
            let v = f.get(&s.name, f.whole(), metric)?;
            Some(Bar {
                name: s.name.clone(),
                value: v.value,
                interval: v.interval,
                main: f.systems.first().is_some_and(|f| f.system == s.system),
            })
        })
        .collect();
    let ceiling = f.get(CEILING, f.whole(), metric).map(|v| v.value);
    let title = format!("{metric} over all questions");
    Chart {
        title: metric,
        svg: intervals::draw(&title, &bars, ceiling),
    }
}

/// Reads the results of an evaluation stage.
///
/// # Errors
/// When its tables are gone, or were written by another version.
pub fn read(run: &Run<'_>, stage: &str, port: &str) -> Result<Evaluation, Lacking> {
    let f = figures(run, (stage, port), "document")?;
    if f.systems.is_empty() {
        return Err(format!(
            "{stage}: there were no questions, nothing was measured"
        ));
    }
    let whole = f.whole();
    let of_all = |metrics: Vec<&'static str>| -> Vec<Column<'_>> {
        let metrics = metrics.into_iter();
        let column = |metric| Column {
            group: whole,
            metric,
        };
        metrics.map(column).collect()
    };
    let n = |g: &str| {
        let first = f.systems.first()?;
        Some(f.get(&first.name, g, headline_metric())?.n)
    };
    let above = [2, 5, 1].into_iter().find_map(|k| {
        let (recall, hits) = (RECALL.at(k).name(), HITS.at(k).name());
        let ceiling = f.get(CEILING, whole, &recall)?.value;
        let (system, value) = f.systems.iter().find_map(|s| {
            let value = f.get(&s.name, whole, &hits)?.value;
            (value > ceiling + 5e-4).then_some((&s.name, value))
        })?;
        Some(format!(
            "{system} has a filtered {hits} of {value:.3}; no ranking at all can have a {recall} above {ceiling:.3}"
        ))
    });
    let (first, comparisons) = comparisons(run, stage, whole, &names(&DRAWN))?;
    let like = |s: &&System| f.systems.first().is_some_and(|first| s.like(first));
    let (main, others): (Vec<&System>, Vec<&System>) = f.systems.iter().partition(like);
    let questions = n(whole).unwrap_or(0);
    let summary = summary::of(stage, &f, &comparisons);
    Ok(Evaluation {
        stage: stage.to_owned(),
        questions: ui::number(questions, "question"),
        unasked: f.unasked,
        standard: names(&STANDARD),
        rows: rows(&f, &main, &of_all(names(&STANDARD))),
        other_rows: rows(&f, &others, &of_all(names(&STANDARD))),
        filtered: names(&FILTERED),
        filtered_rows: rows(&f, &main, &of_all(names(&FILTERED))),
        above_ceiling: above,
        charts: names(&DRAWN)
            .into_iter()
            .map(|m| chart(&f, &main, m))
            .collect(),
        by_group: headline_metric(),
        group_rows: f
            .groups
            .iter()
            .map(|g| group_row(&f, &main, (g, headline_metric()), n(g).unwrap_or(0)))
            .collect(),
        group_systems: main.iter().map(|s| s.name.clone()).collect(),
        first,
        comparisons,
        summary,
        dataset: f.dataset.clone(),
        split: f.split.clone(),
    })
}

/// The first system compared with the others over all questions, by these metrics; empty if the
/// stage compared nothing.
pub(super) fn comparisons(
    run: &Run<'_>,
    stage: &str,
    whole: &str,
    metrics: &[&str],
) -> Result<(String, Vec<Comparison>), Lacking> {
    let has = |m: &crate::store::Manifest| m.ports.contains_key("comparisons");
    if !run.manifests.get(stage).is_some_and(has) {
        return Ok((String::new(), Vec::new()));
    }
    let t = run.table((stage, "comparisons"), "comparisons")?;
    let read = || -> Result<_, gfm_pipe_api::OpError> {
        let text = |name| columns::text(&t, name);
        let f64s = |name| columns::f64s(&t, name);
        let (system, other) = (text("system")?, text("other")?);
        let (group, metric) = (text("group")?, text("metric")?);
        let (difference, p) = (f64s("difference")?, f64s("p_holm")?);
        let (low, high) = (f64s("low")?, f64s("high")?);
        let (better, worse) = (columns::u64s(&t, "better")?, columns::u64s(&t, "worse")?);
        let first = if t.num_rows() > 0 {
            system.value(0)
        } else {
            ""
        };
        let rows = (0..t.num_rows())
            .filter(|i| group.value(*i) == whole && metrics.contains(&metric.value(*i)));
        let rows: Vec<Comparison> = rows
            .map(|i| {
                let p = p.is_valid(i).then(|| p.value(i));
                let verdict = match p {
                    Some(p) if p < 0.05 && difference.value(i) > 0.0 => "better",
                    Some(p) if p < 0.05 => "worse",
                    Some(_) => "not told apart",
                    None => "not tested",
                };
                Comparison {
                    other: other.value(i).to_owned(),
                    metric: metric.value(i).to_owned(),
                    difference: format!("{:+.3}", difference.value(i)),
                    interval: low
                        .is_valid(i)
                        .then(|| format!("{:+.3} to {:+.3}", low.value(i), high.value(i))),
                    better: better.value(i),
                    worse: worse.value(i),
                    p: p.map(|p| format!("{p:.4}")),
                    verdict,
                }
            })
            .collect();
        Ok((first.to_owned(), rows))
    };
    read().map_err(other_version)
}
