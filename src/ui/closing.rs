//! What a run prints at its end.

use std::collections::{BTreeMap, BTreeSet};

use gfm_pipe_api::kinds;
use gfm_pipe_eval::POOL;
use gfm_pipe_eval::systems::MODEL;
use gfm_pipe_eval::tables::CEILING;

use super::human::Look;
use super::metrics::{metric_rows, metrics_tables};
use super::text::{bytes, duration, number};
use crate::exec::RunSummary;
use crate::record::{RunStatus, StageStatus};
use crate::store::{Moved, Store};

/// The input of [`closing`].
pub struct Closing<'a> {
    /// Summary of the run.
    pub summary: &'a RunSummary,
    /// The store that the run used.
    pub store: &'a Store,
    /// Seconds from start to end.
    pub seconds: f64,
    /// Whether to use colours.
    pub look: Look,
}

/// Evaluation stages whose metrics another stage puts into a table with others: those of the model
/// alone, and all that are pooled. That table already shows everything.
fn compared(c: &Closing<'_>) -> BTreeSet<String> {
    let metrics = |name: &String| {
        let mut ports = c.summary.artifacts.get(name)?.values();
        ports.find(|a| *a.kind == kinds::METRICS)
    };
    let alone = |name: &String| {
        let Some(Ok(batch)) = metrics(name).map(|a| a.read("metrics")) else {
            return false;
        };
        let rows = metric_rows(&batch);
        rows.iter()
            .all(|m| [MODEL.name, CEILING].contains(&m.system))
    };
    let stages = c.summary.stages.iter();
    stages
        .filter(|s| metrics(&s.name).is_some())
        .flat_map(|s| s.inputs.values().flatten().map(|from| (&s.op, from)))
        .filter_map(|(op, from)| Some((op, from.rsplit_once('.')?.0.to_owned())))
        .filter(|(op, name)| op.as_str() == POOL || alone(name))
        .map(|(_, name)| name)
        .collect()
}

fn push(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

/// The closing text: metrics, disk space used, and how the run ended.
pub fn closing(c: &Closing<'_>) -> String {
    let mut out = String::new();
    metrics_and_warnings(c, &mut out);
    push(&mut out, "");
    disk_and_remote(c, &mut out);
    outcome(c, &mut out);
    out
}

fn metrics_and_warnings(c: &Closing<'_>, out: &mut String) {
    let mut batches = Vec::new();
    let mut unreadable = BTreeSet::new();
    let compared = compared(c);
    // Stages in the order written, so that the tables have that order too.
    for record in &c.summary.stages {
        let ports = c.summary.artifacts.get(&record.name);
        let artifacts = ports.into_iter().flat_map(|p| p.values());
        for artifact in artifacts.filter(|a| *a.kind == kinds::METRICS) {
            if compared.contains(&record.name) {
                continue;
            }
            match artifact.read("metrics") {
                Ok(batch) => batches.push((record.name.clone(), batch)),
                Err(e) => drop(unreadable.insert(e.to_string())),
            }
        }
    }
    let tables = metrics_tables(&batches);
    if !tables.is_empty() {
        push(out, "");
        for line in tables {
            push(out, &line);
        }
    }
    let of_stages = c.summary.stages.iter().flat_map(|record| {
        let texts = record.warnings.iter();
        texts.map(|text| format!("{}: {text}", record.name))
    });
    let of_run = c.summary.warnings.iter().cloned();
    for text in unreadable.into_iter().chain(of_stages).chain(of_run) {
        push(out, &format!("{} {text}", c.look.paint("33;1", "warning:")));
    }
}

fn disk_and_remote(c: &Closing<'_>, out: &mut String) {
    // An object that several stages share takes up disk space only once.
    let mut objects: BTreeMap<&str, u64> = BTreeMap::new();
    let artifacts = c.summary.artifacts.values().flat_map(|p| p.values());
    let tables = artifacts.flat_map(|a| &a.tables);
    for object in tables.flat_map(|t| &t.objects) {
        objects.insert(&object.digest, object.bytes);
    }
    let line = format!(
        "disk: {} for this run's artifacts, {} in {}",
        bytes(objects.values().sum()),
        bytes(c.store.disk_used()),
        c.store.root().display()
    );
    push(out, &line);
    if let Some((name, exchange)) = &c.summary.remote {
        let moved = |m: Moved| format!("{} ({})", number(m.stages, "stage"), bytes(m.bytes));
        let line = format!(
            "remote: {} taken from {name}, {} given to it",
            moved(exchange.fetched),
            moved(exchange.pushed)
        );
        push(out, &line);
    }
}

fn outcome(c: &Closing<'_>, out: &mut String) {
    let of = |status| {
        let stages = c.summary.stages.iter();
        stages.filter(|s| s.status == status).count()
    };
    let mut parts = vec![
        format!("{} ran", of(StageStatus::Ran)),
        format!("{} cached", of(StageStatus::Cached)),
    ];
    for (status, word) in [
        (StageStatus::Failed, "failed"),
        (StageStatus::Skipped, "skipped"),
    ] {
        if of(status) > 0 {
            parts.push(format!("{} {word}", of(status)));
        }
    }
    let word = match c.summary.status {
        RunStatus::Ok => c.look.paint("32;1", "ok"),
        RunStatus::Failed => c.look.paint("31;1", "failed"),
        RunStatus::Interrupted | RunStatus::Running => c.look.paint("33;1", "interrupted"),
    };
    let line = format!("{word}: {} in {}", parts.join(", "), duration(c.seconds));
    push(out, &line);
    if c.summary.status != RunStatus::Ok {
        push(out, &format!("log: {}", c.summary.log.display()));
    }
    if c.summary.status == RunStatus::Interrupted {
        push(
            out,
            "run the same command again to go on: finished stages are kept",
        );
    }
}
