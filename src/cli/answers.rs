//! `gfm-pipe answers`: the answers of language models that a run used.

use std::collections::{BTreeMap, HashMap, HashSet};

use gfm_pipe_api::items::{Folder, hex};
use serde_json::{Value, json};

use super::error::{CliError, CliResult};
use super::runs::{all, find};
use super::shared_args::StoreArgs;
use crate::record::{JournalFile, latest};
use crate::registry::AnswerLine;
use crate::store::{NamedItem, Store};
use crate::ui::Out;

const AFTER_HELP: &str = "\
A line is a JSON object: the id of the request, which stands for the model, its parameters and the
conversation; the stage, what the request was about, and the answer. A pipeline that names such a
file with `llm: {recorded: FILE}` uses its answers as if it had asked for them itself.";

/// Arguments of `answers`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Only what this stage used
    #[arg(value_name = "STAGE")]
    stage: Option<String>,
    /// The answers of this run: its name, or the start of it [default: the latest that ended]
    #[arg(long)]
    run: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Prints the answers, one JSON object per line, by stage, each once.
pub fn answers(args: &Args, out: &Out, err: &Out) -> CliResult<()> {
    let store = args.store.open()?;
    let runs = all(&store, err)?;
    let journal = match &args.run {
        Some(run) => find(&runs, run)?.journal.clone(),
        None => latest(&store)?.ok_or_else(|| {
            CliError::usage(format!("{} has no finished run", store.root().display()))
        })?,
    };
    let used = used(args, &store, &journal)?;
    let wanted: HashSet<&str> = used.iter().map(|(_, item)| item.id.as_str()).collect();
    let mut lines = lines(&store, &used, &wanted)?;
    let lost = wanted.len() - lines.len();
    for (stage, item) in &used {
        // Each is printed once.
        if let Some(Value::Object(mut line)) = lines.remove(&item.id) {
            line.insert("stage".to_owned(), json!(stage));
            line.insert("name".to_owned(), json!(item.name));
            out.document(&format!("{}\n", Value::Object(line)));
        }
    }
    if used.is_empty() {
        err.line(&format!(
            "note: run {} used no answers of a language model",
            journal.run
        ));
    }
    if lost > 0 {
        err.line(&format!(
            "warning: {lost} answers are not in the store any more"
        ));
    }
    Ok(())
}

/// The answers that stages of a run used.
fn used(args: &Args, store: &Store, journal: &JournalFile) -> CliResult<Vec<(String, NamedItem)>> {
    if let Some(stage) = &args.stage
        && !journal.stages.iter().any(|s| s.name == *stage)
    {
        let names: Vec<&str> = journal.stages.iter().map(|s| s.name.as_str()).collect();
        let e = CliError::usage(format!("run {} has no stage `{stage}`", journal.run));
        return Err(e.hint(format!("its stages: {}", names.join(", "))));
    }
    let mut out = Vec::new();
    for record in &journal.stages {
        let asked = args
            .stage
            .as_ref()
            .is_none_or(|stage| *stage == record.name);
        let Some(key) = record.key.as_ref().filter(|_| asked) else {
            continue;
        };
        let Some(manifest) = store.manifest(key)? else {
            continue;
        };
        let items = store.items(&manifest).map_err(|e| {
            CliError::failed(e.to_string()).hint("run again: what is damaged is computed anew")
        })?;
        let paid = items.into_iter().filter(|item| {
            let folder = Folder::named(&store.items_root(), &item.folder);
            folder.is_some_and(|folder| folder.is_paid())
        });
        out.extend(paid.map(|item| (record.name.clone(), item)));
    }
    Ok(out)
}

/// The lines of wanted answers, by id.
fn lines(
    store: &Store,
    used: &[(String, NamedItem)],
    wanted: &HashSet<&str>,
) -> CliResult<HashMap<String, Value>> {
    let names = used.iter().map(|(_, item)| item.folder.as_str());
    let folders: BTreeMap<&str, Option<Folder>> = names
        .map(|name| (name, Folder::named(&store.items_root(), name)))
        .collect();
    let mut out = HashMap::new();
    for folder in folders.into_values().flatten() {
        let read = folder.for_each(|id, bytes| {
            let digits = hex(id);
            if wanted.contains(digits.as_str())
                && let Some(line) = AnswerLine::of(id, bytes)
                && let Ok(line) = serde_json::to_value(line)
            {
                out.insert(digits, line);
            }
        });
        read.map_err(|e| {
            CliError::failed(format!("failed to read {}: {e}", folder.path().display()))
        })?;
    }
    Ok(out)
}
