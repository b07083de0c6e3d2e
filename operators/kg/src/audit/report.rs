//! Writes the tables of an audit, and reads them back.

use std::sync::Arc;

use arrow::array::{Array, Float64Array, StringArray, StringBuilder, UInt64Array, UInt64Builder};
use gfm_pipe_api::{Artifact, Context, OpResult, columns, kinds};

use super::checks;
use super::checks::{CHECKS, Check, Unit, meant};
use super::data::{Data, Finding};
use super::rejected::check_of;
use super::statistics::Statistics;
use super::unicode::shown;
use crate::tables::{Piece, Table};

/// Whether a check can be made with these input ports connected.
pub fn possible(check: &Check, connected: impl Fn(&str) -> bool) -> bool {
    check.needs.iter().all(|port| connected(port))
}

/// Number of checks that were not made. Checks of extracted mentions and facts count only where one
/// of them was made: most data sets have no extraction.
pub fn not_made(summary: &[SummaryRow]) -> usize {
    let made = |check: &Check| summary.iter().any(|row| row.check == check.name);
    let extracted = |check: &Check| {
        let mut needs = check.needs.iter();
        needs.any(|port| ["mentions", "facts"].contains(port))
    };
    let any = CHECKS.iter().any(|check| extracted(check) && made(check));
    let counted = CHECKS.iter().filter(|check| any || !extracted(check));
    counted.filter(|check| !made(check)).count()
}

/// Number of things that a check of this unit inspects.
pub fn population(data: &Data, unit: Unit) -> u64 {
    let documents = data.documents.as_ref();
    let titles = documents.map_or(0, |d| d.titles.len());
    let questions = || data.questions().map(|(_, _, q)| q);
    let rejected = |picked: &[&Check]| {
        let rows = data.rejects.iter();
        rows.filter(|r| picked.contains(&check_of(data, r))).count()
    };
    let direct = data.direct().count();
    let count = match unit {
        Unit::Lines => {
            data.triples.len() + rejected(&[&checks::REJECTED_TRIPLE, &checks::COMMA_IN_NAME])
        }
        Unit::Entities => data.named().count(),
        Unit::Relations => direct,
        Unit::Triples => data.triples.len(),
        Unit::Components => data.graph.components().len(),
        Unit::Documents => titles,
        Unit::DocumentNames => {
            let links = documents.and_then(|d| d.entities.as_ref());
            let known: usize = links.map_or(0, |l| l.iter().map(Vec::len).sum());
            known + rejected(&[&checks::UNKNOWN_DOCUMENT_ENTITY])
        }
        Unit::Questions => {
            let left_out = [&checks::REJECTED_QUESTION, &checks::DUPLICATE_QUESTION_ID];
            questions().count() + rejected(&left_out)
        }
        Unit::QuestionNames => {
            let known: usize = questions().map(|q| q.entities.len() + q.supporting).sum();
            let unknown = [
                &checks::UNKNOWN_QUESTION_ENTITY,
                &checks::UNKNOWN_SUPPORTING_ENTITY,
            ];
            known + rejected(&unknown)
        }
        Unit::GoldTitles => questions().map(|q| q.gold_titles as usize).sum(),
        Unit::Rejects => data.rejects.len(),
        Unit::Texts => data.named().count() + direct + 2 * titles + 2 * questions().count(),
    };
    count as u64
}

/// Writes the port `summary`: the checks that were made.
///
/// # Errors
/// When the disk refuses.
pub fn write_summary(ctx: &Context, data: &Data, findings: &[Finding]) -> OpResult<()> {
    let connected = |port: &str| !ctx.inputs(port).is_empty();
    let made: Vec<&Check> = CHECKS
        .iter()
        .copied()
        .filter(|c| possible(c, connected))
        .collect();
    let count = |c: &Check| findings.iter().filter(|f| f.check == c).count() as u64;
    let text = |of: fn(&Check) -> &'static str| {
        Arc::new(StringArray::from_iter_values(made.iter().map(|c| of(c))))
    };
    let mut table = Table::create(ctx, "summary", &kinds::AUDIT, "summary")?;
    table.append(vec![
        text(|c| c.name),
        text(|c| c.severity.name()),
        Arc::new(UInt64Array::from_iter_values(made.iter().map(|c| count(c)))),
        Arc::new(UInt64Array::from_iter_values(
            made.iter().map(|c| population(data, c.unit)),
        )),
        text(|c| c.unit.name()),
        text(|c| c.meaning),
        text(|c| c.action),
    ])?;
    table.finish()
}

/// Writes the port `findings`.
///
/// # Errors
/// When the disk refuses.
pub fn write_findings(ctx: &Context, findings: &[Finding]) -> OpResult<()> {
    let mut table = Table::create(ctx, "findings", &kinds::FINDINGS, "findings")?;
    let mut piece = Piece::default();
    let mut texts: [StringBuilder; 6] = Default::default();
    let mut lines = UInt64Builder::new();
    let last = findings.len().saturating_sub(1);
    for (i, f) in findings.iter().enumerate() {
        let place = f.place.as_ref();
        let [check, severity, source, item, message, suggestion] = &mut texts;
        check.append_value(f.check.name);
        severity.append_value(f.check.severity.name());
        source.append_option(place.map(|p| &*p.source));
        lines.append_option(place.and_then(|p| p.line));
        item.append_option(f.item.as_deref());
        message.append_value(&f.message);
        suggestion.append_option(f.suggestion.as_deref());
        let item = f.item.as_ref().map_or(0, String::len);
        let suggestion = f.suggestion.as_ref().map_or(0, String::len);
        if piece.add(item + suggestion + f.message.len()) || i == last {
            ctx.check_cancelled()?;
            piece.take();
            let [check, severity, source, item, message, suggestion] = &mut texts;
            table.append(vec![
                Arc::new(check.finish()),
                Arc::new(severity.finish()),
                Arc::new(source.finish()),
                Arc::new(lines.finish()),
                Arc::new(item.finish()),
                Arc::new(message.finish()),
                Arc::new(suggestion.finish()),
            ])?;
        }
    }
    table.finish()
}

/// Writes the port `statistics`.
///
/// # Errors
/// When the disk refuses.
// Counts far beyond 2^53 do not occur.
#[expect(clippy::cast_precision_loss)]
pub fn write_statistics(ctx: &Context, s: &Statistics) -> OpResult<()> {
    let create = |table| Table::create(ctx, "statistics", &kinds::STATISTICS, table);
    let mut table = create("statistics")?;
    table.append(vec![
        Arc::new(StringArray::from_iter_values(
            s.numbers.iter().map(|n| &n.0),
        )),
        Arc::new(Float64Array::from_iter_values(
            s.numbers.iter().map(|n| n.1),
        )),
    ])?;
    table.finish()?;
    let mut table = create("degrees")?;
    table.append(vec![
        Arc::new(UInt64Array::from_iter_values(s.degrees.iter().map(|d| d.0))),
        Arc::new(UInt64Array::from_iter_values(s.degrees.iter().map(|d| d.1))),
    ])?;
    table.finish()?;
    let all: u64 = s.relations.iter().map(|r| r.1).sum();
    let share = |n: u64| if all == 0 { 0.0 } else { n as f64 / all as f64 };
    let mut table = create("relation_counts")?;
    for some in s.relations.chunks(crate::tables::ROWS) {
        table.append(vec![
            Arc::new(StringArray::from_iter_values(some.iter().map(|r| &r.0))),
            Arc::new(UInt64Array::from_iter_values(some.iter().map(|r| r.1))),
            Arc::new(Float64Array::from_iter_values(
                some.iter().map(|r| share(r.1)),
            )),
        ])?;
    }
    table.finish()
}

/// A row of the port `summary`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryRow {
    /// The check.
    pub check: String,
    /// `error`, `warning` or `note`.
    pub severity: String,
    /// Number of findings.
    pub count: u64,
    /// Number of things that were inspected.
    pub population: u64,
    /// What was inspected, in words.
    pub unit: String,
    /// What a finding means.
    pub meaning: String,
    /// What to do about it.
    pub action: String,
}

/// Reads an artifact of kind `audit`.
///
/// # Errors
/// When it cannot be read.
pub fn read_summary(artifact: &Artifact) -> OpResult<Vec<SummaryRow>> {
    let batch = artifact.read("summary")?;
    let text = |name| columns::text(&batch, name);
    let (check, severity, unit) = (text("check")?, text("severity")?, text("unit")?);
    let (meaning, action) = (text("meaning")?, text("action")?);
    let (count, of) = (
        columns::u64s(&batch, "count")?,
        columns::u64s(&batch, "of")?,
    );
    let row = |i| SummaryRow {
        check: check.value(i).to_owned(),
        severity: severity.value(i).to_owned(),
        count: count.value(i),
        population: of.value(i),
        unit: unit.value(i).to_owned(),
        meaning: meaning.value(i).to_owned(),
        action: action.value(i).to_owned(),
    };
    Ok((0..batch.num_rows()).map(row).collect())
}

/// A row of the port `findings`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingRow {
    /// The check.
    pub check: String,
    /// `error`, `warning` or `note`.
    pub severity: String,
    /// File, relative to the data set.
    pub source: Option<String>,
    /// One-based line.
    pub line: Option<u64>,
    /// Name of an entity or relation, title of a document, id of a question.
    pub item: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What may have been meant.
    pub suggestion: Option<String>,
}

impl FindingRow {
    /// `file:line: item: message (nearest: …)`, or `(perhaps: …)` where the suggestion is not a
    /// known name. `file` turns a source into a path.
    pub fn line(&self, file: impl Fn(&str) -> String) -> String {
        let mut out = String::new();
        if let Some(source) = &self.source {
            out.push_str(&file(source));
            if let Some(line) = self.line {
                out.push_str(&format!(":{line}"));
            }
            out.push_str(": ");
        }
        if let Some(item) = self.item.as_ref().filter(|item| !item.is_empty()) {
            out.push_str(&format!("{item}: "));
        }
        out.push_str(&self.message);
        if let Some(suggestion) = &self.suggestion {
            let word = if self.check.starts_with("unknown-") {
                "nearest"
            } else {
                "perhaps"
            };
            out.push_str(&format!(" ({word}: {suggestion})"));
        }
        // Text from the data cannot break the line, move the cursor or change the writing
        // direction.
        shown(&out)
    }
}

/// Reads an artifact of kind `findings` row by row, until `each` returns false.
///
/// # Errors
/// When it cannot be read.
pub fn read_findings(
    artifact: &Artifact,
    mut each: impl FnMut(FindingRow) -> bool,
) -> OpResult<()> {
    for batch in artifact.batches("findings")? {
        let batch = batch?;
        let text = |name| columns::text(&batch, name);
        let (check, severity) = (text("check")?, text("severity")?);
        let (source, item) = (text("source")?, text("item")?);
        let (message, suggestion) = (text("message")?, text("suggestion")?);
        let line = columns::u64s(&batch, "line")?;
        let some = |a: &StringArray, i: usize| a.is_valid(i).then(|| a.value(i).to_owned());
        for i in 0..batch.num_rows() {
            let more = each(FindingRow {
                check: check.value(i).to_owned(),
                severity: severity.value(i).to_owned(),
                source: some(source, i),
                line: line.is_valid(i).then(|| line.value(i)),
                item: some(item, i),
                message: message.value(i).to_owned(),
                suggestion: some(suggestion, i),
            });
            if !more {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The checks with findings, among those that the words of `strict` stand for.
pub fn failing<'a>(strict: &[String], summary: &'a [SummaryRow]) -> Vec<&'a SummaryRow> {
    let listed = |name: &str| {
        strict
            .iter()
            .any(|word| meant(word).any(|check| check.name == name))
    };
    let rows = summary.iter();
    rows.filter(|r| r.count > 0 && listed(&r.check)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_whatever_is_in_it() {
        let mut row = FindingRow {
            check: "not-nfc".to_owned(),
            severity: "warning".to_owned(),
            source: Some("kg.txt".to_owned()),
            line: Some(3),
            item: Some("a\nb".to_owned()),
            message: "has \u{1b}[2J".to_owned(),
            suggestion: Some("c".to_owned()),
        };
        let path = |source: &str| format!("data/{source}");
        assert_eq!(
            row.line(path),
            "data/kg.txt:3: a b: has <U+001B>[2J (perhaps: c)"
        );
        (row.source, row.item, row.suggestion) = (None, None, None);
        assert_eq!(row.line(path), "has <U+001B>[2J");
        row.item = Some("a\u{202e}b".to_owned());
        assert_eq!(row.line(path), "a<U+202E>b: has <U+001B>[2J");
    }
}
