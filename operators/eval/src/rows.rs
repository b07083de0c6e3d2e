//! Rows of the tables `metrics` and `comparisons`, and the paired tests in the latter. Everything
//! that writes these tables does so through this file.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use gfm_pipe_api::{OpResult, columns, kinds};

use crate::metrics::Metric;
use crate::shown::COMPARED;
use crate::statistics::{Check, Interval, Streams, Values, holm, sign_flip};

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
    pub metric: Metric,
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
            text(&|r| r.metric.name()),
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
    pub metric: Metric,
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
            text(&|r| r.metric.name()),
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

/// The place of a metric of [`COMPARED`] among the columns of differences: all metrics of the first
/// other system, then those of the second.
pub(crate) fn column(other: usize, metric: usize) -> usize {
    other * COMPARED.len() + metric
}

/// Tests differences to `others` systems; one column per difference (see [`column`]), one row per
/// question.
///
/// # Errors
/// Those of `check`.
pub(crate) fn tests<E: Send>(
    differences: &Values,
    others: usize,
    resamples: usize,
    streams: Streams<'_>,
    check: Check<'_, E>,
) -> Result<Vec<Test>, E> {
    let flips = match resamples {
        0 => 0,
        n => n.max(FLIPS * others),
    };
    let p = sign_flip(differences, flips, streams, check)?;
    // The tests of all systems by one metric form a family for Holm's correction.
    let families: Option<Vec<Vec<f64>>> = p.as_ref().map(|p| {
        let family = |m| -> Vec<f64> { (0..others).map(|o| p[column(o, m)]).collect() };
        (0..COMPARED.len()).map(|m| holm(&family(m))).collect()
    });
    let columns = (0..others).flat_map(|o| (0..COMPARED.len()).map(move |m| (o, m)));
    let test = |(o, m)| {
        let c = column(o, m);
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
