//! `gfm-pipe runs` and `gfm-pipe diff`: earlier runs, and two of them side by side.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::args::StoreArgs;
use super::error::{CliError, CliResult};
use crate::record::history::{self, PastRun};
use crate::record::{Life, RunStatus, StageStatus, life};
use crate::store::Store;
use crate::ui::{self, Out};

/// Arguments of `runs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// At most this many, the latest ones
    #[arg(short = 'n', value_name = "RUNS", default_value_t = 20)]
    number: usize,
    /// One JSON array of objects, for programs
    #[arg(long)]
    json: bool,
    /// Keep what this run used from `gc`, for good
    #[arg(long, value_name = "RUN", conflicts_with = "unpin")]
    pin: Option<String>,
    /// Let `gc` have it again
    #[arg(long, value_name = "RUN")]
    unpin: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// A run by its name, the start of it, or `latest`; `gfm-pipe runs` lists them
    old: String,
    /// The run to compare it with
    #[arg(default_value = "latest")]
    new: String,
    #[command(flatten)]
    store: StoreArgs,
}

fn status(store: &Store, run: &PastRun) -> &'static str {
    match life(store, &run.journal) {
        Life::GoesOn => "going on",
        Life::Killed(_) => "killed",
        Life::Unknown | Life::Ended(RunStatus::Running) => "killed or going on",
        Life::Ended(RunStatus::Ok) => "ok",
        Life::Ended(RunStatus::Failed) => "failed",
        Life::Ended(RunStatus::Interrupted) => "interrupted",
    }
}

/// All runs; journals that cannot be read are told.
pub(super) fn all(store: &Store, err: &Out) -> CliResult<Vec<PastRun>> {
    let (runs, bad) = history::runs(store)?;
    for e in bad {
        err.line(&format!("warning: {e}"));
    }
    Ok(runs)
}

/// The run a text means.
pub(super) fn find<'a>(all: &'a [PastRun], text: &str) -> CliResult<&'a PastRun> {
    history::find(all, text).map_err(|several| {
        if several.is_empty() {
            CliError::usage(format!("there is no run `{text}`")).hint("gfm-pipe runs lists them")
        } else {
            CliError::usage(format!("`{text}` may be any of {} runs", several.len()))
                .hint(several.join(", "))
        }
    })
}

/// Lists earlier runs, or pins one.
pub fn runs(args: &Args, out: &Out, err: &Out) -> CliResult<()> {
    let store = args.store.open()?;
    let runs = all(&store, err)?;
    for (name, pinned) in [(&args.pin, true), (&args.unpin, false)] {
        if let Some(name) = name {
            let run = &find(&runs, name)?.journal.run;
            history::pin(&store, run, pinned)?;
            out.line(&format!(
                "{run} {}",
                if pinned { "pinned" } else { "unpinned" }
            ));
            return Ok(());
        }
    }
    let shown = &runs[runs.len().saturating_sub(args.number)..];
    if args.json {
        let rows: Vec<Value> = shown.iter().map(|r| row(&store, r)).collect();
        out.line(&Value::Array(rows).to_string());
        return Ok(());
    }
    let head = [
        "run",
        "pipeline",
        "status",
        "ran",
        "cached",
        "time",
        "best result",
        "",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for r in shown {
        let of = |s| r.journal.stages.iter().filter(|x| x.status == s).count();
        // The sum of nothing is -0, which would be shown.
        let seconds = r.journal.stages.iter().fold(0.0, |sum, s| sum + s.seconds);
        let best = metrics(&store, r)
            .into_iter()
            .filter(|(name, _)| name.ends_with(" recall@5") && name.contains(" model"))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        rows.push(vec![
            r.journal.run.clone(),
            r.journal.pipeline.clone(),
            status(&store, r).to_owned(),
            of(StageStatus::Ran).to_string(),
            of(StageStatus::Cached).to_string(),
            ui::duration(seconds),
            best.map_or_else(|| "-".to_owned(), |(_, v)| format!("recall@5 {v:.3}")),
            if r.pinned { "pinned" } else { "" }.to_owned(),
        ]);
    }
    for line in ui::table(&rows, 3) {
        out.line(line.trim_end());
    }
    Ok(())
}

fn row(store: &Store, r: &PastRun) -> Value {
    let j = &r.journal;
    let stages: Vec<Value> = j
        .stages
        .iter()
        .map(|s| {
            json!({"name": s.name, "status": s.status, "key": s.key, "seconds": s.seconds, "reasons": s.reasons})
        })
        .collect();
    json!({
        "run": j.run, "pipeline": j.pipeline, "file": j.file, "version": j.version, "started": j.started,
        "ended": j.ended, "status": j.status, "pinned": r.pinned, "stages": stages,
        "metrics": metrics(store, r),
    })
}

/// Main metrics of a run over all questions: `STAGE: DATASET, SPLIT: SYSTEM (RANKER) METRIC`. Those whose artifacts are gone are
/// left out.
fn metrics(store: &Store, r: &PastRun) -> BTreeMap<String, f64> {
    let mut out = BTreeMap::new();
    for stage in r.journal.stages.iter().filter(|s| !s.outputs.is_empty()) {
        let manifest = stage
            .key
            .as_ref()
            .and_then(|k| store.manifest(k).ok().flatten());
        let Some(port) = manifest.as_ref().and_then(|m| m.ports.get("metrics")) else {
            continue;
        };
        for t in port.tables.iter().filter(|_| port.kind == "metrics") {
            let Ok(reader) = gfm_pipe_api::table::reader(&store.object(&t.digest)) else {
                continue;
            };
            for batch in reader.flatten() {
                let rows = ui::metric_rows(&batch).into_iter();
                let main = rows.filter(|m| {
                    m.group == "all" && m.target == "document" && ui::MAIN.contains(&m.metric)
                });
                out.extend(main.map(|m| {
                    let (name, set) = (m.name(), format!("{}, {}", m.dataset, m.split));
                    (
                        format!("{}: {set}: {name} {}", stage.name, m.metric),
                        m.value,
                    )
                }));
            }
        }
    }
    out
}

/// Prints what differs between two runs: parameters and files of their stages, then metrics.
pub fn diff(args: &DiffArgs, out: &Out, err: &Out) -> CliResult<()> {
    let store = args.store.open()?;
    let runs = all(&store, err)?;
    let (old, new) = (find(&runs, &args.old)?, find(&runs, &args.new)?);
    let mut rows = vec![vec![
        String::new(),
        old.journal.run.clone(),
        new.journal.run.clone(),
    ]];
    let (a, b) = (made_of(&store, old), made_of(&store, new));
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for name in names {
        let (x, y) = (a.get(name), b.get(name));
        if x != y {
            let cell = |v: Option<&String>| v.cloned().unwrap_or_else(|| "-".to_owned());
            rows.push(vec![name.clone(), cell(x), cell(y)]);
        }
    }
    if rows.len() == 1 {
        out.line("the same parameters and files");
    } else {
        for line in ui::table(&rows, 3) {
            out.line(line.trim_end());
        }
    }
    let (a, b) = (metrics(&store, old), metrics(&store, new));
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let mut rows = vec![
        ["metric", "old", "new", "change"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for name in names {
        let cell = |v: Option<&f64>| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
        let change = match (a.get(name), b.get(name)) {
            (Some(x), Some(y)) if x == y => "=".to_owned(),
            (Some(x), Some(y)) => format!("{:+.4}", y - x),
            _ => String::new(),
        };
        rows.push(vec![
            name.clone(),
            cell(a.get(name)),
            cell(b.get(name)),
            change,
        ]);
    }
    out.line("");
    for line in ui::table(&rows, 1) {
        out.line(&line);
    }
    Ok(())
}

/// Parameters that count and files, by `STAGE.PATH`, of the stages a run finished.
fn made_of(store: &Store, r: &PastRun) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for stage in &r.journal.stages {
        let Some(m) = stage
            .key
            .as_ref()
            .and_then(|k| store.manifest(k).ok().flatten())
        else {
            continue;
        };
        let i = &m.ingredients;
        let name = &stage.name;
        out.insert(
            format!("{name} (operator)"),
            format!("{} {}", i.operator, i.version),
        );
        flatten(name, &i.params, &mut out);
        for f in &i.files {
            let digest = f
                .digest
                .as_deref()
                .map_or("-", |d| d.get(..12).unwrap_or(d));
            out.insert(format!("{name} file {}", f.path), digest.to_owned());
        }
    }
    out
}

fn flatten(path: &str, value: &Value, out: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                flatten(&format!("{path}.{key}"), value, out);
            }
        }
        Value::String(s) => drop(out.insert(path.to_owned(), s.clone())),
        other => drop(out.insert(path.to_owned(), other.to_string())),
    }
}
