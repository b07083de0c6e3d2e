//! `gfm-pipe gc`.

use std::collections::BTreeSet;

use super::error::{CliError, CliResult};
use super::shared_args::StoreArgs;
use crate::record::history::{self, PastRun};
use crate::record::latest;
use crate::store::{Extent, Garbage, KeyLock, Store};
use crate::ui::{self, Out};

/// Arguments of `gc`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep what this many latest runs used, besides pinned ones and those with a tag
    #[arg(long, value_name = "RUNS", default_value_t = 10)]
    keep: usize,
    /// Remove checkpoints of unfinished stages too
    #[arg(long)]
    checkpoints: bool,
    /// Remove results of single documents and texts too that kept runs used: a stage that runs
    /// again computes them all
    #[arg(long, visible_alias = "cache")]
    items: bool,
    /// Remove answers of language models too, which cost money: those that no kept run used, and
    /// with --items all of them
    #[arg(long)]
    answers: bool,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Removes what no kept run needs.
pub fn gc(args: &Args, out: &Out) -> CliResult<()> {
    let store = args.store.open()?;
    let alone = alone(&store, args.dry_run)?;
    let runs = readable(&store)?;
    // The run that `show` and `report` use by default is kept, whatever started after it.
    let latest = latest(&store)?.map(|journal| journal.run);
    let oldest = runs.len().saturating_sub(args.keep);
    let is_kept = |(i, r): &(usize, &PastRun)| {
        let run = &r.journal.run;
        *i >= oldest || r.pinned || !r.tags.is_empty() || latest.as_ref() == Some(run)
    };
    let (kept, old): (Vec<_>, Vec<_>) = runs.iter().enumerate().partition(is_kept);
    let keep: BTreeSet<_> = kept
        .iter()
        .flat_map(|(_, r)| &r.journal.stages)
        .filter_map(|s| s.key.clone())
        .collect();
    let mut garbage = store.garbage(
        &keep,
        Extent {
            checkpoints: args.checkpoints,
            items: args.items,
            answers: args.answers,
        },
    )?;
    let old: Vec<&str> = old.iter().map(|(_, r)| r.journal.run.as_str()).collect();
    garbage.events = store.events_files(&old);
    let recorded = old.iter().filter(|run| {
        let path = store.events_path(run);
        garbage.events.iter().any(|(p, _)| *p == path)
    });
    let recorded = recorded.count() as u64;
    out.line(&remove(&store, &garbage, recorded, args.dry_run)?);
    drop(alone);
    Ok(())
}

/// The store for this process alone. A dry run disturbs nothing, and does not insist where there is
/// no write access.
pub(super) fn alone(store: &Store, dry_run: bool) -> CliResult<Option<KeyLock>> {
    if !store.exists() {
        return Err(
            CliError::usage(format!("{} is not a store", store.root().display()))
                .hint("--store DIR names one"),
        );
    }
    match store.alone() {
        Err(e) if dry_run && e.is_read_only() => Ok(None),
        other => match other? {
            Some(alone) => Ok(Some(alone)),
            None => Err(
                CliError::failed("a run is going on in this store: nothing was removed")
                    .hint("try again when it has ended"),
            ),
        },
    }
}

/// All runs. What a run used whose journal cannot be read is unknown, and it may have to stay.
pub(super) fn readable(store: &Store) -> CliResult<Vec<PastRun>> {
    let (runs, bad) = history::runs(store)?;
    match bad.into_iter().next() {
        Some(e) => Err(CliError::from(e)),
        None => Ok(runs),
    }
}

/// Removes the garbage, unless this is a dry run. Returns what to say of it; `recorded` is the
/// number of runs whose events are part of it.
pub(super) fn remove(
    store: &Store,
    garbage: &Garbage,
    recorded: u64,
    dry_run: bool,
) -> CliResult<String> {
    let what = format!(
        "{}, {}{}{}{}, {}; {} kept",
        ui::number(garbage.stages.len() as u64, "stage"),
        ui::number(garbage.objects.len() as u64, "object"),
        match garbage.work.len() {
            0 => String::new(),
            n => format!(
                ", checkpoints of {}",
                ui::number(n as u64, "unfinished stage")
            ),
        },
        match garbage.items.iter().map(|dead| dead.items).sum() {
            0 => String::new(),
            n => format!(", {}", ui::number(n, "item")),
        },
        match recorded {
            0 => String::new(),
            n => format!(", events of {}", ui::number(n, "run")),
        },
        ui::bytes(garbage.bytes()),
        ui::number(garbage.kept, "stage"),
    );
    if dry_run {
        return Ok(format!("would remove {what}"));
    }
    store.remove(garbage)?;
    Ok(format!("removed {what}"))
}
