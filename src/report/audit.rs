//! What the audit found, and statistics of the data.

use std::collections::BTreeMap;

use arrow::array::Array;
use gfm_pipe_api::{OpError, columns};
use serde::Serialize;

use super::rows::bars;
use super::run::{Lacking, Run, other_version};
use crate::ui;

/// Maximum number of findings shown.
const SHOWN: usize = 30;
/// Maximum number of findings shown per check, so that the first check does not hide the others.
const OF_ONE: usize = 5;
/// Maximum number of relations drawn.
const RELATIONS: usize = 12;

/// The results of an audit stage.
#[derive(Debug, Clone, Serialize)]
pub struct Audit {
    /// Name of the stage.
    pub stage: String,
    /// The verdict in words.
    pub verdict: String,
    /// Whether the data is fit to train on.
    pub fit: bool,
    clean: usize,
    checks: Vec<Check>,
    findings: Vec<Finding>,
    left_out: String,
    numbers: Vec<(String, String)>,
    relations: String,
    degrees: String,
}

#[derive(Debug, Clone, Serialize)]
struct Check {
    name: String,
    severity: String,
    count: String,
    of: String,
    meaning: String,
    action: String,
}

#[derive(Debug, Clone, Serialize)]
struct Finding {
    check: String,
    severity: String,
    place: String,
    item: Option<String>,
    message: String,
    suggestion: Option<String>,
}

/// Reads the results of an audit stage.
///
/// # Errors
/// When its tables are gone, or were written by another version.
pub fn read(run: &Run<'_>, stage: &str) -> Result<Audit, Lacking> {
    let summary = run.table((stage, "summary"), "summary")?;
    let findings = run.table((stage, "findings"), "findings")?;
    let statistics = run.table((stage, "statistics"), "statistics")?;
    let relations = run.table((stage, "statistics"), "relation_counts")?;
    let degrees = run.table((stage, "statistics"), "degrees")?;
    let read = || -> Result<Audit, OpError> {
        let text = |name| columns::text(&summary, name);
        let (name, severity) = (text("check")?, text("severity")?);
        let (unit, meaning, action) = (text("unit")?, text("meaning")?, text("action")?);
        let (count, of) = (
            columns::u64s(&summary, "count")?,
            columns::u64s(&summary, "of")?,
        );
        let mut by: BTreeMap<&str, u64> = BTreeMap::new();
        let mut checks = Vec::new();
        for i in (0..summary.num_rows()).filter(|i| count.value(*i) > 0) {
            *by.entry(severity.value(i)).or_default() += count.value(i);
            checks.push(Check {
                name: name.value(i).to_owned(),
                severity: severity.value(i).to_owned(),
                count: ui::count(count.value(i)),
                of: format!("{} {}", ui::count(of.value(i)), unit.value(i)),
                meaning: meaning.value(i).to_owned(),
                action: action.value(i).to_owned(),
            });
        }
        let number = |word| by.get(word).copied().unwrap_or(0);
        let (errors, warnings, notes) = (number("error"), number("warning"), number("note"));
        let verdict = ui::verdict_of(errors, warnings);
        let (shown, all) = first(&findings)?;
        let left = all - shown.len();
        Ok(Audit {
            stage: stage.to_owned(),
            verdict: match notes {
                0 => verdict,
                n => format!("{verdict}, {}", ui::number(n, "note")),
            },
            fit: errors == 0,
            clean: summary.num_rows() - checks.len(),
            checks,
            findings: shown,
            left_out: match left {
                0 => String::new(),
                n => ui::count(n as u64),
            },
            numbers: numbers(&statistics)?,
            relations: frequent(&relations)?,
            degrees: histogram(&degrees)?,
        })
    };
    read().map_err(other_version)
}

/// The first findings of every check, and the total number of findings.
fn first(t: &arrow::array::RecordBatch) -> Result<(Vec<Finding>, usize), OpError> {
    let text = |name| columns::text(t, name);
    let (check, severity, source) = (text("check")?, text("severity")?, text("source")?);
    let (item, message, suggestion) = (text("item")?, text("message")?, text("suggestion")?);
    let line = columns::u64s(t, "line")?;
    let mut of: BTreeMap<&str, usize> = BTreeMap::new();
    let mut out = Vec::new();
    let some = |column: &arrow::array::StringArray, i| {
        column.is_valid(i).then(|| column.value(i).to_owned())
    };
    for i in 0..t.num_rows() {
        let seen = of.entry(check.value(i)).or_default();
        *seen += 1;
        if *seen > OF_ONE || out.len() >= SHOWN {
            continue;
        }
        out.push(Finding {
            check: check.value(i).to_owned(),
            severity: severity.value(i).to_owned(),
            place: match (some(source, i), line.is_valid(i)) {
                (Some(file), true) => format!("{file}:{}", line.value(i)),
                (Some(file), false) => file,
                (None, _) => String::new(),
            },
            item: some(item, i),
            message: message.value(i).to_owned(),
            suggestion: some(suggestion, i),
        });
    }
    Ok((out, t.num_rows()))
}

fn numbers(t: &arrow::array::RecordBatch) -> Result<Vec<(String, String)>, OpError> {
    let (name, value) = (columns::text(t, "name")?, columns::f64s(t, "value")?);
    let shown = |x: f64| {
        if x.fract() == 0.0 && x.abs() < 1e15 {
            ui::count(x.abs() as u64)
        } else if x.abs() < 0.01 {
            format!("{x:.2e}")
        } else {
            format!("{x:.2}")
        }
    };
    let rows = (0..t.num_rows()).map(|i| (name.value(i).to_owned(), shown(value.value(i))));
    Ok(rows.collect())
}

fn frequent(t: &arrow::array::RecordBatch) -> Result<String, OpError> {
    let (name, triples) = (columns::text(t, "relation")?, columns::u64s(t, "triples")?);
    let mut rows: Vec<(String, u64)> = (0..t.num_rows().min(RELATIONS))
        .map(|i| (name.value(i).to_owned(), triples.value(i)))
        .collect();
    let rest: u64 = triples.values().iter().skip(RELATIONS).sum();
    if rest > 0 {
        let others = ui::number((t.num_rows() - RELATIONS) as u64, "other");
        rows.push((others, rest));
    }
    Ok(bars::draw("Triples by relation", &rows))
}

/// A bar chart of entities by degree, in ranges that double.
fn histogram(t: &arrow::array::RecordBatch) -> Result<String, OpError> {
    let (degree, entities) = (columns::u64s(t, "degree")?, columns::u64s(t, "entities")?);
    let mut ranges: BTreeMap<u32, u64> = BTreeMap::new();
    for (d, n) in degree.values().iter().zip(entities.values()) {
        // The ranges are 0, 1, 2 to 3, 4 to 7, …
        *ranges.entry(u64::BITS - d.leading_zeros()).or_default() += n;
    }
    let rows: Vec<(String, u64)> = ranges
        .into_iter()
        .map(|(bits, n)| {
            let name = match bits {
                0 => "0".to_owned(),
                1 => "1".to_owned(),
                b => format!("{} to {}", 1u64 << (b - 1), (1u128 << b) - 1),
            };
            (name, n)
        })
        .collect();
    Ok(bars::draw("Entities by degree", &rows))
}
