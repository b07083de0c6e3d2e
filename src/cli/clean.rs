//! `gfm-pipe clean`.

use std::collections::BTreeSet;

use gfm_pipe_api::Operator as _;
use gfm_pipe_api::schema::nearest;

use super::error::{CliError, CliResult};
use super::gc::{alone, readable, remove};
use super::shared_args::StoreArgs;
use crate::pinned::Pinned;
use crate::plan::Key;
use crate::record::history::PastRun;
use crate::record::{Event, RunStatus, events_of};
use crate::store::Store;
use crate::ui::{self, Out};

const AFTER_HELP: &str = "\
Results go from the lists of all earlier runs too, except for what pinned and tagged runs used, and
for what a stage of `pinned` took. A run with --remote may get them from there again. To compute a
stage again and lose nothing: gfm-pipe run PIPELINE --force STAGE";

/// Arguments of `clean`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Stages of earlier runs, by name
    #[arg(value_name = "STAGE", required = true)]
    stages: Vec<String>,
    /// Only in runs of this pipeline, by its name [default: of all pipelines]
    #[arg(long, value_name = "PIPELINE")]
    of: Option<String>,
    /// Also remove results of single documents and texts that no other stage uses
    #[arg(long)]
    items: bool,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// A stage of a run.
struct Used {
    run: String,
    stage: String,
    op: String,
    key: Option<Key>,
}

/// The stages of a run; of one that was killed, also those that were running.
fn used(store: &Store, run: &PastRun) -> Vec<Used> {
    let journal = &run.journal;
    let ended = journal.stages.iter().map(|record| Used {
        run: journal.run.clone(),
        stage: record.name.clone(),
        op: record.op.clone(),
        key: record.key.clone(),
    });
    let mut out: Vec<Used> = ended.collect();
    if journal.status == RunStatus::Running {
        // Without its events, nobody knows what else it worked on.
        let events = events_of(store, &journal.run).ok().flatten();
        let events = events.unwrap_or_default().into_iter();
        out.extend(events.filter_map(|recorded| match recorded.event {
            Event::StageStarted { stage, op, key, .. } => Some(Used {
                run: journal.run.clone(),
                stage,
                op,
                key: Some(key),
            }),
            _ => None,
        }));
    }
    out
}

/// Removes what runs have kept of some stages, so that the next run computes them again.
pub fn clean(args: &Args, out: &Out) -> CliResult<()> {
    let store = args.store.open()?;
    let alone = alone(&store, args.dry_run)?;
    let runs = readable(&store)?;
    let of = |run: &PastRun| match &args.of {
        Some(pipeline) => run.journal.pipeline == *pipeline,
        None => true,
    };
    let stages: Vec<Used> = runs
        .iter()
        .filter(|run| of(run))
        .flat_map(|run| used(&store, run))
        .collect();
    if let (true, Some(pipeline)) = (stages.is_empty(), &args.of) {
        let e = CliError::usage(format!("pipeline `{pipeline}` has not run in this store"));
        return Err(e.hint("gfm-pipe runs lists them"));
    }
    let known: BTreeSet<&str> = stages.iter().map(|s| s.stage.as_str()).collect();
    if let Some(stage) = args.stages.iter().find(|s| !known.contains(s.as_str())) {
        let e = CliError::usage(format!("no run had a stage `{stage}`"));
        return Err(e.hint(match nearest(stage, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                let known: Vec<&str> = known.into_iter().collect();
                format!("stages of earlier runs: {}", known.join(", "))
            }
        }));
    }
    let asked = stages.iter().filter(|s| args.stages.contains(&s.stage));
    let (pinned, asked): (Vec<&Used>, Vec<&Used>) = asked.partition(|s| s.op == Pinned::NAME);
    let mut keys: BTreeSet<Key> = asked.iter().filter_map(|s| s.key.clone()).collect();
    // What a run to keep has used stays, under whatever name of a stage.
    let mut keeping = Vec::new();
    for run in runs.iter().filter(|run| run.pinned || !run.tags.is_empty()) {
        let all = run.journal.stages.iter().filter_map(|s| s.key.as_ref());
        if all.filter(|key| keys.remove(*key)).count() > 0 {
            keeping.push(run.journal.run.as_str());
        }
    }
    let garbage = store.garbage_of(&keys, args.items)?;
    out.line(&remove(&store, &garbage, 0, args.dry_run)?);
    let has_lost = |s: &&&Used| {
        let path = s.key.as_ref().map(|key| store.manifest_path(key.as_str()));
        path.is_some_and(|path| garbage.stages.contains(&path))
    };
    let losing: BTreeSet<&str> = asked
        .iter()
        .filter(has_lost)
        .map(|s| s.run.as_str())
        .collect();
    if !losing.is_empty() {
        let (verb, count) = (
            if args.dry_run { "would be" } else { "are" },
            losing.len() as u64,
        );
        out.line(&format!(
            "results of {} {verb} gone: `show`, `ask` and `runs` lack them until a run makes them again",
            ui::number(count, "run")
        ));
    }
    if !keeping.is_empty() {
        out.line(&format!(
            "kept what {} used: {}",
            ui::number(keeping.len() as u64, "pinned or tagged run"),
            keeping.join(", ")
        ));
    }
    let pinned: BTreeSet<&str> = pinned.iter().map(|s| s.stage.as_str()).collect();
    for stage in pinned {
        out.line(&format!(
            "kept what `{stage}` took from an earlier run: it cannot be computed again"
        ));
    }
    drop(alone);
    Ok(())
}
