//! Generates the tables of docs/metrics.md from the tables of this crate.

use crate::answers;
use crate::features::FEATURES;
use crate::metrics::{Family, METRICS};
use crate::rankers::RANKERS;
use crate::systems::SYSTEMS;

/// The tables as Markdown, by name, each without a line break at its end.
pub fn tables() -> [(&'static str, String); 6] {
    [
        ("standard metrics", metrics(Family::Standard)),
        ("filtered metrics", metrics(Family::Filtered)),
        ("metrics of answers", metrics_of_answers()),
        ("systems", systems()),
        ("rankers", rankers()),
        ("features", features()),
    ]
}

fn metrics(family: Family) -> String {
    let rows = METRICS.iter().filter(|m| m.family == family);
    let rows = rows.map(|m| format!("| `{}` | {} | {} |", m.form(), m.meaning, m.formula));
    table("| name | meaning | of one question |", 3, rows)
}

fn metrics_of_answers() -> String {
    let rows = answers::METRICS.iter();
    let rows = rows.map(|m| format!("| `{}` | {} | {} |", m.name, m.meaning, m.formula));
    table("| name | meaning | of one question |", 3, rows)
}

fn systems() -> String {
    let rows = SYSTEMS.iter();
    let rows = rows.map(|s| format!("| `{}` | {} |", s.name, s.meaning));
    table("| name | what |", 2, rows)
}

fn rankers() -> String {
    let rows = RANKERS.iter();
    let rows = rows.map(|r| format!("| `{}` | {} |", r.name, r.meaning));
    table("| name | of one document |", 2, rows)
}

fn features() -> String {
    let rows = FEATURES.iter();
    let rows = rows.map(|f| format!("| `{}` | {} |", f.name, f.meaning));
    table("| name | of one document |", 2, rows)
}

fn table(head: &str, columns: usize, rows: impl Iterator<Item = String>) -> String {
    let rule = format!("|{}", " --- |".repeat(columns));
    let lines = [head.to_owned(), rule].into_iter().chain(rows);
    lines.collect::<Vec<_>>().join("\n")
}
