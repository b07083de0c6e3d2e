//! `gfm-pipe runs` and `gfm-pipe diff`: earlier runs, and two of them side by side.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::error::{CliError, CliResult};
use super::report::write_page;
use super::shared_args::StoreArgs;
use crate::record::diff;
use crate::record::history::{self, PastRun};
use crate::record::{JournalFile, StageStatus, life};
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
    /// Write them as an HTML page instead, with a table to sort and filter; `-` is standard output
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "pin", "unpin"])]
    html: Option<PathBuf>,
    /// Replace that file where there is one
    #[arg(long, requires = "html")]
    force: bool,
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
    /// A run by its name, the start of it, or `latest`; `gfm-pipe runs` lists them. One alone is
    /// compared with the run of its pipeline before it
    #[arg(value_name = "OLD", default_value = "latest")]
    old: String,
    /// The run to compare the first one with
    #[arg(value_name = "NEW")]
    new: Option<String>,
    /// Write both side by side as an HTML page instead; `-` is standard output
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Replace that file where there is one
    #[arg(long, requires = "html")]
    force: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// All runs; journals that cannot be read are reported.
pub(super) fn all(store: &Store, err: &Out) -> CliResult<Vec<PastRun>> {
    let (runs, bad) = history::runs(store)?;
    for e in bad {
        err.line(&format!("warning: {e}"));
    }
    Ok(runs)
}

/// What to do where a run is needed and there is none.
pub(super) const NO_RUN: &str = "gfm-pipe run PIPELINE makes one; --store DIR names another store";

/// The run that a text refers to.
pub(super) fn find<'a>(all: &'a [PastRun], text: &str) -> CliResult<&'a PastRun> {
    history::find(all, text).map_err(|several| {
        if several.is_empty() {
            let lists = "gfm-pipe runs lists them";
            let hint = if all.is_empty() { NO_RUN } else { lists };
            CliError::usage(format!("there is no run `{text}`")).hint(hint)
        } else {
            CliError::usage(format!("`{text}` may be any of {} runs", several.len()))
                .hint(several.join(", "))
        }
    })
}

/// The latest earlier run of the same pipeline.
fn before<'a>(all: &'a [PastRun], run: &PastRun) -> CliResult<&'a PastRun> {
    let JournalFile { run, pipeline, .. } = &run.journal;
    let earlier = all.iter().take_while(|r| r.journal.run != *run);
    let found = earlier.filter(|r| r.journal.pipeline == *pipeline).last();
    found.ok_or_else(|| {
        CliError::usage(format!(
            "run {run} is the first of pipeline `{pipeline}`: there is nothing to compare it with"
        ))
        .hint("name two runs: gfm-pipe diff OLD NEW; gfm-pipe runs lists them")
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
    if let Some(file) = &args.html {
        let page = crate::report::runs(&store, shown);
        let page = page.map_err(|e| CliError::failed(e.to_string()))?;
        return write_page(file, &page, args.force, out);
    }
    if args.json {
        let rows: Vec<Value> = shown.iter().map(|r| row(&store, r)).collect();
        out.document(&format!("{}\n", Value::Array(rows)));
        return Ok(());
    }
    let head = [
        "run", "pipeline", "status", "ran", "cached", "time", "result", "",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for r in shown {
        let of = |s| r.journal.stages.iter().filter(|x| x.status == s).count();
        // An empty `sum()` is -0, which would be shown.
        let seconds = r.journal.stages.iter().fold(0.0, |sum, s| sum + s.seconds);
        let result = diff::headline(&store, &r.journal);
        rows.push(vec![
            r.journal.run.clone(),
            r.journal.pipeline.clone(),
            life(&store, &r.journal).word().to_owned(),
            of(StageStatus::Ran).to_string(),
            of(StageStatus::Cached).to_string(),
            ui::duration(seconds),
            result.map_or_else(|| "-".to_owned(), |h| h.to_string()),
            r.names(),
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
        "result": diff::headline(store, &r.journal), "metrics": diff::metrics(store, &r.journal),
    })
}

/// Prints what differs between two runs: parameters and files of their stages, then metrics.
pub fn diff(args: &DiffArgs, out: &Out, err: &Out) -> CliResult<()> {
    let store = args.store.open()?;
    let runs = all(&store, err)?;
    let first = find(&runs, &args.old)?;
    let (old, new) = match &args.new {
        Some(new) => (first, find(&runs, new)?),
        None => (before(&runs, first)?, first),
    };
    if let Some(file) = &args.html {
        let page = crate::report::compare(&store, &old.journal, &new.journal);
        let page = page.map_err(|e| CliError::failed(e.to_string()))?;
        return write_page(file, &page, args.force, out);
    }
    let mut rows = vec![vec![
        String::new(),
        old.journal.run.clone(),
        new.journal.run.clone(),
    ]];
    let (a, b) = (
        diff::made_of(&store, &old.journal),
        diff::made_of(&store, &new.journal),
    );
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for name in names {
        let (x, y) = (a.get(name), b.get(name));
        if x != y {
            let cell = |v: Option<&String>| v.map_or_else(|| "-".to_owned(), |v| shortened(v));
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
    let (a, b) = (
        diff::metrics(&store, &old.journal),
        diff::metrics(&store, &new.journal),
    );
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let mut rows = vec![
        ["metric", "old", "new", "change"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let same = names.iter().filter(|n| a.get(**n) == b.get(**n)).count();
    for name in names.into_iter().filter(|n| a.get(*n) != b.get(*n)) {
        let cell = |v: Option<&f64>| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
        let change = match (a.get(name), b.get(name)) {
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
    if rows.len() > 1 {
        for line in ui::table(&rows, 1) {
            out.line(&line);
        }
    }
    if same > 0 {
        out.line(&format!("{} the same", ui::number(same as u64, "metric")));
    }
    Ok(())
}

/// A value shortened to fit a column; `show` and the page have it in full.
fn shortened(value: &str) -> String {
    const MOST: usize = 60;
    match value.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &value[..at]),
        None => value.to_owned(),
    }
}
