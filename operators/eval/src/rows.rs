//! Rows of the tables `metrics` and `comparisons`, and the paired tests in the latter. Everything
//! that writes these tables does so through this file.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use gfm_pipe_api::{Context, OpResult, columns, kinds};

use crate::statistics::{Check, Interval, Streams, Values, holm, intervals, sign_flip};
use crate::tables::Resampling;

/// Least number of sign flips per compared system. With fewer, no p-value could be below 0.05 after
/// the correction for several tests, whatever the data.
const FLIPS: usize = 400;

/// The questions that a table is about.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    pub dataset: &'a str,
    pub split: &'a str,
}

/// A row of `metrics`.
pub(crate) struct MetricRow<'a> {
    pub system: &'a str,
    pub ranker: &'a str,
    pub target: &'a str,
    pub group: &'a str,
    pub metric: String,
    pub value: f64,
    pub interval: Option<Interval>,
    pub questions: usize,
    pub unasked: usize,
}

/// The table `metrics`.
pub(crate) fn metrics(about: About<'_>, rows: &[MetricRow<'_>]) -> OpResult<RecordBatch> {
    let text = |f: &dyn Fn(&MetricRow<'_>) -> String| texts(rows, f);
    let count = |f: &dyn Fn(&MetricRow<'_>) -> usize| counts(rows, f);
    columns::batch(
        &kinds::METRICS.tables[0],
        vec![
            text(&|_| about.dataset.to_owned()),
            text(&|_| about.split.to_owned()),
            text(&|r| r.system.to_owned()),
            text(&|r| r.ranker.to_owned()),
            text(&|r| r.target.to_owned()),
            text(&|r| r.group.to_owned()),
            text(&|r| r.metric.clone()),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.value))),
            numbers(rows.iter().map(|r| r.interval.map(|i| i.low))),
            numbers(rows.iter().map(|r| r.interval.map(|i| i.high))),
            count(&|r| r.questions),
            count(&|r| r.unasked),
        ],
    )
}

/// A row of `comparisons`.
pub(crate) struct ComparisonRow<'a> {
    /// The label of the system that the first one is compared with.
    pub other: String,
    pub group: &'a str,
    pub metric: String,
    pub difference: f64,
    pub interval: Option<Interval>,
    pub test: Test,
    pub questions: usize,
}

/// The table `comparisons`; `first` is the label of the system that is compared.
pub(crate) fn comparisons(
    about: About<'_>,
    first: &str,
    rows: &[ComparisonRow<'_>],
) -> OpResult<RecordBatch> {
    let text = |f: &dyn Fn(&ComparisonRow<'_>) -> String| texts(rows, f);
    let count = |f: &dyn Fn(&ComparisonRow<'_>) -> usize| counts(rows, f);
    let differences = rows.iter().map(|r| r.difference);
    columns::batch(
        &kinds::COMPARISONS.tables[0],
        vec![
            text(&|_| about.dataset.to_owned()),
            text(&|_| about.split.to_owned()),
            text(&|_| first.to_owned()),
            text(&|r| r.other.clone()),
            text(&|r| r.group.to_owned()),
            text(&|r| r.metric.clone()),
            Arc::new(Float64Array::from_iter_values(differences)),
            numbers(rows.iter().map(|r| r.interval.map(|i| i.low))),
            numbers(rows.iter().map(|r| r.interval.map(|i| i.high))),
            numbers(rows.iter().map(|r| r.test.p)),
            numbers(rows.iter().map(|r| r.test.p_holm)),
            count(&|r| r.test.better),
            count(&|r| r.test.worse),
            count(&|r| r.questions),
        ],
    )
}

/// What the questions say about a difference.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Test {
    pub p: Option<f64>,
    pub p_holm: Option<f64>,
    /// Questions on which the first system is better.
    pub better: usize,
    /// Questions on which it is worse.
    pub worse: usize,
}

/// What the columns of differences are: one for each metric of the first other system, then those
/// of the second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Differences {
    /// Number of systems that the first one is compared with.
    pub others: usize,
    /// Number of metrics.
    pub metrics: usize,
}

impl Differences {
    /// The column of a metric of another system, both by place.
    pub(crate) fn column(self, other: usize, metric: usize) -> usize {
        other * self.metrics + metric
    }
}

/// Tests differences; one column per difference, as `of` says, one row per question.
///
/// # Errors
/// Those of `check`.
pub(crate) fn tests<E: Send>(
    differences: &Values,
    of: Differences,
    resamples: usize,
    streams: Streams<'_>,
    check: Check<'_, E>,
) -> Result<Vec<Test>, E> {
    let Differences { others, metrics } = of;
    let flips = match resamples {
        0 => 0,
        n => n.max(FLIPS * others),
    };
    let p = sign_flip(differences, flips, streams, check)?;
    // The tests of all systems by one metric form a family for Holm's correction.
    let families: Option<Vec<Vec<f64>>> = p.as_ref().map(|p| {
        let family = |m| -> Vec<f64> { (0..others).map(|o| p[of.column(o, m)]).collect() };
        (0..metrics).map(|m| holm(&family(m))).collect()
    });
    let columns = (0..others).flat_map(|o| (0..metrics).map(move |m| (o, m)));
    let test = |(o, m)| {
        let c = of.column(o, m);
        // A difference that is only due to rounding counts neither as better nor as worse.
        let count = |sign: f64| differences.rows().filter(|d| d[c] * sign > 1e-12).count();
        Test {
            p: p.as_ref().map(|p| p[c]),
            p_holm: families.as_ref().map(|f| f[m][o]),
            better: count(1.0),
            worse: count(-1.0),
        }
    };
    Ok(columns.map(test).collect())
}

/// The rows that compare a first system with `others`, given by their labels, on a group of
/// questions: one column of `differences` for each other system and metric (see [`Differences`]).
///
/// # Errors
/// When the user wants to stop.
pub(crate) fn compared<'a>(
    ctx: &Context,
    resampling: &Resampling,
    group: &'a str,
    differences: &Values,
    others: &[String],
    metrics: &[String],
) -> OpResult<Vec<ComparisonRow<'a>>> {
    let check = || ctx.check_cancelled();
    let streams = resampling.streams(group);
    let of = Differences {
        others: others.len(),
        metrics: metrics.len(),
    };
    let means = differences.means();
    let ends = intervals(differences, resampling.resamples, streams, &check)?;
    let tests = tests(differences, of, resampling.resamples, streams, &check)?;
    let mut rows = Vec::new();
    for (o, other) in others.iter().enumerate() {
        for (m, metric) in metrics.iter().enumerate() {
            let c = of.column(o, m);
            rows.push(ComparisonRow {
                other: other.clone(),
                group,
                metric: metric.clone(),
                difference: means[c],
                interval: ends.as_ref().map(|all| all[c]),
                test: tests[c],
                questions: differences.len(),
            });
        }
    }
    Ok(rows)
}

fn texts<R>(rows: &[R], of: &dyn Fn(&R) -> String) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rows.iter().map(of)))
}

fn counts<R>(rows: &[R], of: &dyn Fn(&R) -> usize) -> ArrayRef {
    let counts = rows.iter().map(|r| of(r) as u64);
    Arc::new(UInt64Array::from_iter_values(counts))
}

/// A column of interval ends or p-values. Values that differ from zero only by rounding become
/// zero, because readers check whether an interval contains zero.
fn numbers(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    let rounded = |x: f64| if x.abs() < 1e-12 { 0.0 } else { x };
    Arc::new(Float64Array::from_iter(values.map(|v| v.map(rounded))))
}
