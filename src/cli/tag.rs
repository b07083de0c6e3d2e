//! `gfm-pipe tag`: names for runs.

use super::error::{CliError, CliResult};
use super::runs::{all, find};
use super::shared_args::StoreArgs;
use crate::record::{Life, latest, life, tags};
use crate::ui::{self, Out};

/// Arguments of `tag`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A run by its name, the start of it, or `latest`
    #[arg(value_name = "RUN", requires = "name")]
    run: Option<String>,
    /// The name to give it; a name that another run has is taken from that one
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Remove a name
    #[arg(long, value_name = "NAME", conflicts_with = "run")]
    remove: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Names a run, removes a name, or lists all names.
pub fn tag(args: &Args, out: &Out, err: &Out) -> CliResult<()> {
    let store = args.store.open()?;
    if let Some(name) = &args.remove {
        if !tags::exists(&store, name) {
            let e = CliError::usage(format!("there is no tag `{name}`"));
            return Err(e.hint("gfm-pipe tag lists them"));
        }
        // A damaged tag can be removed like any other.
        let run = tags::tagged(&store, name).ok().flatten();
        tags::set(&store, name, None)?;
        out.line(&match run {
            Some(run) => format!("{name} removed: it named {run}"),
            None => format!("{name} removed"),
        });
        return Ok(());
    }
    if let (Some(run), Some(name)) = (&args.run, &args.name) {
        if !tags::is_tag(name) {
            return Err(CliError::usage(format!("`{name}` cannot be a tag")).hint(
                "letters, digits, `-`, `_` and `.`, at most 64, the first a letter, and not `latest`",
            ));
        }
        let runs = all(&store, err)?;
        let journal = match run.as_str() {
            // As for `show` and `report`: a run that goes on has made nothing yet.
            "latest" => latest(&store)?.ok_or_else(|| {
                CliError::usage(format!("{} has no finished run", store.root().display()))
            })?,
            run => find(&runs, run)?.journal.clone(),
        };
        if life(&store, &journal) == Life::GoesOn {
            let e = CliError::usage(format!("run {} is going on", journal.run));
            return Err(e.hint("wait for its end"));
        }
        let run = &journal.run;
        let gone = journal.stages.iter().filter(|stage| {
            let key = stage.key.as_ref().filter(|_| !stage.outputs.is_empty());
            key.is_some_and(|key| !matches!(store.manifest(key), Ok(Some(_))))
        });
        match gone.count() {
            0 => {}
            n => err.line(&format!(
                "warning: `gc` has removed the results of {} of this run",
                ui::number(n as u64, "stage")
            )),
        }
        let before = tags::tagged(&store, name).ok().flatten();
        let before = before.filter(|before| before != run);
        tags::set(&store, name, Some(run))?;
        out.line(&match before {
            Some(before) => format!("{name}: {run}, before {before}"),
            None => format!("{name}: {run}"),
        });
        return Ok(());
    }
    let (tags, bad) = tags::all(&store)?;
    for e in &bad {
        err.line(&format!("warning: {e}"));
    }
    if tags.is_empty() && bad.is_empty() {
        err.line("no tags: gfm-pipe tag RUN NAME gives a run a name");
    }
    let rows: Vec<Vec<String>> = tags
        .into_iter()
        .map(|(name, run)| vec![name, run])
        .collect();
    for line in ui::table(&rows, 2) {
        out.line(line.trim_end());
    }
    Ok(())
}
