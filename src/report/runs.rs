//! The page that compares many runs: a row for each, which a script sorts and filters.

use std::collections::{BTreeMap, BTreeSet};

use gfm_pipe_eval::shown::headline_metric;
use gfm_pipe_eval::systems::MODEL;
use minijinja::context;
use minijinja::value::Value;
use serde::Serialize;

use super::{ReportError, of, page};
use crate::record::diff;
use crate::record::history::PastRun;
use crate::record::life;
use crate::store::Store;
use crate::ui;

/// A column that not every page has.
#[derive(Debug, PartialEq, Serialize)]
struct Column {
    name: String,
    /// Whether it is shown at first.
    shown: bool,
}

/// A cell: its text, and the number it is sorted by where its text is not that number.
#[derive(Debug, PartialEq, Serialize)]
struct Cell {
    text: String,
    number: Option<f64>,
}

#[derive(Serialize)]
struct Row {
    run: String,
    names: String,
    pipeline: String,
    version: String,
    started: String,
    status: &'static str,
    took: Cell,
    cells: Vec<Cell>,
}

/// The page that compares these runs.
///
/// # Errors
/// When the page's template cannot be rendered.
pub fn runs(store: &Store, runs: &[PastRun]) -> Result<String, ReportError> {
    let journals = || runs.iter().map(|run| &run.journal);
    let metrics: Vec<_> = journals().map(|j| diff::metrics(store, j)).collect();
    let made: Vec<_> = journals().map(|j| diff::made_of(store, j)).collect();
    let names: BTreeSet<&String> = metrics.iter().flat_map(BTreeMap::keys).collect();
    let differing = differing(&made);
    let mut columns: Vec<Column> = differing
        .iter()
        .map(|name| Column {
            name: (*name).clone(),
            // A change of data is seen by digests, which say little, and operators rarely change.
            shown: !name.contains(" file ") && !name.ends_with(" (operator)"),
        })
        .collect();
    // Where there is a model, other systems are asked for by those who want to see them.
    let main = format!(" {}", headline_metric());
    let of_model = format!(": {} ", MODEL.name);
    let modelled = names.iter().any(|name| name.contains(&of_model));
    columns.extend(names.iter().map(|name| Column {
        name: (*name).clone(),
        shown: name.ends_with(&main) && (!modelled || name.contains(&of_model)),
    }));
    let rows: Vec<Row> = runs
        .iter()
        .zip(metrics.iter().zip(&made))
        .map(|(run, (metrics, made))| {
            let values = differing.iter().map(|name| value(made.get(*name)));
            let figures = names.iter().map(|name| figure(metrics.get(*name)));
            row(store, run, values.chain(figures).collect())
        })
        .collect();
    page(
        "runs.html",
        context! {
            title => format!("{} of {}", ui::number(runs.len() as u64, "run"), store.root().display()),
            columns => of(&columns),
            rows => of(&rows),
            script => Value::from_safe_string(include_str!("runs.js").to_owned()),
        },
    )
}

fn row(store: &Store, run: &PastRun, cells: Vec<Cell>) -> Row {
    let journal = &run.journal;
    let seconds = journal.stages.iter().fold(0.0, |sum, s| sum + s.seconds);
    Row {
        run: journal.run.clone(),
        names: run.names(),
        pipeline: journal.pipeline.clone(),
        version: journal.version.clone(),
        started: journal.started.clone(),
        status: life(store, journal).word(),
        took: Cell {
            text: ui::duration(seconds),
            number: Some(seconds),
        },
        cells,
    }
}

/// The parameters and files that have different values in two of the runs. That a run lacks one is
/// no difference: it may have other stages, or its artifacts are gone.
fn differing(made: &[BTreeMap<String, String>]) -> Vec<&String> {
    let mut first: BTreeMap<&String, (&String, bool)> = BTreeMap::new();
    for (name, value) in made.iter().flatten() {
        let (seen, differs) = first.entry(name).or_insert((value, false));
        *differs |= *seen != value;
    }
    let all = first.into_iter();
    all.filter_map(|(name, (_, differs))| differs.then_some(name))
        .collect()
}

fn figure(value: Option<&f64>) -> Cell {
    Cell {
        text: value.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}")),
        number: value.copied(),
    }
}

fn value(text: Option<&String>) -> Cell {
    Cell {
        text: text.map_or_else(|| "-".to_owned(), String::clone),
        number: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_differs_between_runs_that_have_it_is_compared() {
        let run = |pairs: &[(&str, &str)]| {
            let own = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            own.collect::<BTreeMap<_, _>>()
        };
        let made = [
            run(&[("a.x", "1"), ("a.y", "1"), ("b.z", "1")]),
            run(&[("a.x", "1"), ("a.y", "2")]),
            run(&[("a.x", "1"), ("c.w", "3")]),
        ];
        assert_eq!(differing(&made), ["a.y"]);
        assert!(differing(&made[..1]).is_empty());
    }

    #[test]
    fn text_from_pipelines_is_escaped() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let run = PastRun {
            journal: serde_json::from_value(serde_json::json!({
                "format": 1, "run": "20261130-101112-123-abcd", "pipeline": "<script>alert(1)</script>",
                "file": "p.yaml", "version": "0.1.0", "started": "2026-11-30T10:11:12Z",
                "ended": null, "status": "failed", "stages": [],
            }))
            .unwrap(),
            pinned: true,
            tags: vec!["prod".to_owned()],
        };
        let page = runs(&store, &[run]).unwrap();
        assert!(!page.contains("<script>alert"), "{page}");
        assert!(page.contains("&lt;script&gt;alert"), "{page}");
        assert!(page.contains("pinned prod"), "{page}");
        assert!(page.contains(">failed<"), "{page}");
    }
}
