//! What an audit found, for people.

use std::collections::BTreeMap;

use crate::registry::audit_tables::{SummaryRow, not_made};
use gfm_pipe_api::printable::one_line;

use super::human::Look;
use super::text::{count, number};

/// What to print about one audited data set.
pub struct Verdict<'a> {
    /// Name of the data set.
    pub name: &'a str,
    /// The checks that were made.
    pub summary: &'a [SummaryRow],
    /// The findings of each check, one line each; possibly only the first ones.
    pub findings: &'a BTreeMap<String, Vec<String>>,
    /// Statistics by name.
    pub statistics: &'a BTreeMap<String, f64>,
    /// Files that did not exist.
    pub missing: &'a [String],
    /// Whether to list the findings of severity `note` too.
    pub all: bool,
}

/// Number of findings of a severity.
fn total(summary: &[SummaryRow], severity: &str) -> u64 {
    let rows = summary.iter().filter(|r| r.severity == severity);
    rows.map(|r| r.count).sum()
}

/// The verdict on a summary, in words.
pub fn judgement(summary: &[SummaryRow]) -> String {
    verdict_of(total(summary, "error"), total(summary, "warning"))
}

/// The verdict in words: `fit to train`, `fit, with 12 warnings`, `not fit: 3 errors, 12 warnings`.
pub fn verdict_of(errors: u64, warnings: u64) -> String {
    let (e, w) = (number(errors, "error"), number(warnings, "warning"));
    match (errors, warnings) {
        (0, 0) => "fit to train".to_owned(),
        (0, _) => format!("fit, with {w}"),
        (_, 0) => format!("not fit: {e}"),
        _ => format!("not fit: {e}, {w}"),
    }
}

/// The text to print: statistics, checks with findings, verdict.
pub fn verdict(v: &Verdict<'_>, look: Look) -> String {
    let name = one_line(v.name);
    let mut lines = vec![look.paint("1", &name)];
    lines.extend(sizes(v.statistics).into_iter().map(|l| format!("  {l}")));
    for severity in ["error", "warning", "note"] {
        let rows = v.summary.iter().filter(|r| r.severity == severity);
        for row in rows.filter(|r| r.count > 0) {
            let colour = match severity {
                "error" => "31;1",
                "warning" => "33;1",
                _ => "36",
            };
            let open = severity != "note" || v.all;
            if open {
                lines.push(String::new());
            }
            lines.push(format!(
                "{} {}: {} of {} {}: {}",
                look.paint(colour, severity),
                row.check,
                count(row.count),
                count(row.population),
                row.unit,
                row.meaning
            ));
            if !open {
                continue;
            }
            let shown = v.findings.get(&row.check).map_or(&[][..], Vec::as_slice);
            lines.extend(shown.iter().map(|line| format!("  {}", one_line(line))));
            let more = row.count.saturating_sub(shown.len() as u64);
            if more > 0 {
                lines.push(format!("  … and {} more", count(more)));
            }
            lines.push(format!("  {} {}", look.paint("36", "to do:"), row.action));
        }
        if severity == "warning"
            && v.summary
                .iter()
                .any(|r| r.severity == "note" && r.count > 0)
        {
            lines.push(String::new());
        }
    }
    let clean = v.summary.iter().filter(|r| r.count == 0).count() as u64;
    lines.push(String::new());
    lines.push(match not_made(v.summary) as u64 {
        0 => format!("{} without findings", number(clean, "check")),
        n => format!(
            "{} without findings, {} not made",
            number(clean, "check"),
            number(n, "check")
        ),
    });
    lines.extend(
        v.missing
            .iter()
            .map(|m| format!("not there, not looked at: {}", one_line(m))),
    );
    let words = judgement(v.summary);
    let colour = match words.split([':', ',']).next() {
        Some("not fit") => "31;1",
        Some("fit") => "33;1",
        _ => "32;1",
    };
    lines.push(format!("{name}: {}", look.paint(colour, &words)));
    lines.join("\n") + "\n"
}

/// The most important statistics, in two or three lines.
fn sizes(statistics: &BTreeMap<String, f64>) -> Vec<String> {
    let of = |name: &str| statistics.get(name).copied().unwrap_or(0.0);
    // These values were converted from whole numbers.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = |name: &str| of(name) as u64;
    let share = match whole("entities") {
        0 => 0.0,
        _ => 100.0 * of("largest_component") / of("entities"),
    };
    let mut out = vec![
        format!(
            "{} entities, {}, {}; {}, the largest with {share:.1} % of the entities",
            count(whole("entities")),
            number(whole("triples"), "triple"),
            number(whole("relations"), "relation"),
            number(whole("components"), "component"),
        ),
        format!(
            "degree {} to {}, median {}, mean {:.1}, 99 % at most {}; {} isolated",
            count(whole("degree_min")),
            count(whole("degree_max")),
            of("degree_median"),
            of("degree_mean"),
            count(whole("degree_p99")),
            count(whole("isolated")),
        ),
    ];
    if statistics.contains_key("documents") {
        let splits = ["train", "valid", "test"];
        let splits = splits.map(|s| format!("{} {s}", count(whole(&format!("questions.{s}")))));
        out.push(format!(
            "{} mentioning {:.1} entities each; questions: {}",
            number(whole("documents"), "document"),
            of("entities_per_document"),
            splits.join(", ")
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(severity: &str, count: u64) -> SummaryRow {
        SummaryRow {
            check: format!("a-{severity}"),
            severity: severity.to_owned(),
            count,
            population: 1000,
            unit: "lines".to_owned(),
            meaning: "what it means".to_owned(),
            action: "mend it".to_owned(),
        }
    }

    #[test]
    fn data_is_fit_unless_there_is_an_error() {
        for (errors, warnings, notes, judged) in [
            (0, 0, 7, "fit to train"),
            (0, 1, 0, "fit, with 1 warning"),
            (1, 0, 0, "not fit: 1 error"),
            (2, 1200, 0, "not fit: 2 errors, 1,200 warnings"),
        ] {
            let rows = [
                row("error", errors),
                row("warning", warnings),
                row("note", notes),
            ];
            assert_eq!(judgement(&rows), judged);
        }
    }

    #[test]
    fn a_verdict_names_the_first_findings_and_how_many_more() {
        let summary = [row("error", 3), row("warning", 0), row("note", 2)];
        let lines = vec!["f:1: x: bad".to_owned()];
        let findings = BTreeMap::from([
            ("a-error".to_owned(), lines.clone()),
            ("a-note".to_owned(), lines),
        ]);
        let statistics = BTreeMap::from([("entities".to_owned(), 5.0)]);
        let mut verdict_of = Verdict {
            name: "data",
            summary: &summary,
            findings: &findings,
            statistics: &statistics,
            missing: &["raw/x.json (documents)".to_owned()],
            all: false,
        };
        let text = verdict(&verdict_of, Look::default());
        let shown: Vec<&str> = text.lines().skip(3).collect();
        assert_eq!(
            shown,
            [
                "",
                "error a-error: 3 of 1,000 lines: what it means",
                "  f:1: x: bad",
                "  … and 2 more",
                "  to do: mend it",
                "",
                "note a-note: 2 of 1,000 lines: what it means",
                "",
                "1 check without findings, 46 checks not made",
                "not there, not looked at: raw/x.json (documents)",
                "data: not fit: 3 errors",
            ]
        );
        verdict_of.all = true;
        let text = verdict(&verdict_of, Look::default());
        assert_eq!(text.matches("f:1: x: bad").count(), 2);
    }
}
