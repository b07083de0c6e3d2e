//! What a run says at its end where it made a retriever for the first time: an example question
//! with its answer, and what to do next.

use std::path::PathBuf;

use gfm_pipe_api::answer::{Answer, Ask};
use gfm_pipe_api::printable::one_line;
use gfm_pipe_api::{Artifact, OpEntry, columns, shell};

use super::error::CliResult;
use super::retriever::{RetrieverArgs, can_be_asked, refused};
use super::shared_args::Common;
use crate::exec::RunSummary;
use crate::record::{RunStatus, StageRecord, StageStatus, history};
use crate::store::Store;
use crate::ui::{self, Look, Out};

/// A retriever of more documents takes so long to load that a run does not ask it.
const MOST_DOCUMENTS: u64 = 20_000;
/// Documents of the answer that are shown.
const DOCUMENTS: usize = 3;
/// Paths of each document that are shown.
const PATHS: usize = 1;

/// The text, or `None` where this run is not the first one with a retriever.
pub fn story(
    summary: &RunSummary,
    store: &Store,
    common: &Common,
    ops: &[OpEntry],
    look: Look,
) -> Option<String> {
    let record = first_retriever(summary, store)?;
    let err = Out::stderr();
    let mut out = String::from("\n");
    let mut asked = false;
    if is_small(summary, record) {
        let args = RetrieverArgs::of_run(&summary.run, &record.name, common);
        match example(&args, ops, &err) {
            Ok(Some(answer)) => {
                let said = look.paint("1", "asked");
                out.push_str(&format!("{said} {}\n", one_line(&answer.question)));
                out.push_str(&ui::answer(&answer, look));
                out.push('\n');
                asked = true;
            }
            Ok(None) => {}
            Err(e) => err.line(&format!(
                "warning: the retriever cannot be asked: {}",
                e.message()
            )),
        }
    }
    out.push_str(&next(common, asked));
    Some(out)
}

/// The retriever that this run made, where no earlier run in the store has made one.
fn first_retriever<'a>(summary: &'a RunSummary, store: &Store) -> Option<&'a StageRecord> {
    if summary.status != RunStatus::Ok {
        return None;
    }
    let mut made = summary.stages.iter().rev();
    let record = made.find(|s| s.status == StageStatus::Ran && can_be_asked(s))?;
    let (runs, _) = history::runs(store).ok()?;
    let earlier = runs.iter().filter(|run| run.journal.run != summary.run);
    let mut retrievers = earlier.flat_map(|run| &run.journal.stages);
    (!retrievers.any(can_be_asked)).then_some(record)
}

fn is_small(summary: &RunSummary, record: &StageRecord) -> bool {
    let documents = |artifact: &Artifact| {
        let table = artifact.read(artifact.kind.tables.first()?.name).ok()?;
        let column = columns::u64s(&table, "documents").ok()?;
        column.values().iter().max().copied()
    };
    let ports = summary.artifacts.get(&record.name);
    let mut counts = ports.into_iter().flat_map(|p| p.values()).map(documents);
    counts.all(|count| count.is_some_and(|n| n <= MOST_DOCUMENTS))
}

/// The answer to an example question, if the retriever has examples.
fn example(args: &RetrieverArgs, ops: &[OpEntry], err: &Out) -> CliResult<Option<Answer>> {
    let retriever = args.find(ops, err)?.open()?;
    let examples = retriever.about().examples;
    // They are from all over the data, and those in the middle are no special cases.
    let Some(question) = examples.get(examples.len() / 2) else {
        return Ok(None);
    };
    let asked = Ask {
        k: DOCUMENTS,
        paths: PATHS,
        ..Ask::new(question)
    };
    let answer = retriever.ask(&[asked]).pop();
    answer.transpose().map_err(|e| refused(&e))
}

/// What to do next.
fn next(common: &Common, asked: bool) -> String {
    let option = |name: &str, dir: &Option<PathBuf>| {
        let dir = dir.as_deref();
        dir.map_or_else(String::new, |dir| format!(" {name} {}", shell::path(dir)))
    };
    let place = option("-C", &common.dir) + &option("--store", &common.store);
    let ask = if asked {
        "ask something else"
    } else {
        "ask a question"
    };
    let steps = [
        (ask, format!("gfm-pipe ask \"…\"{place}")),
        ("ask in a browser", format!("gfm-pipe serve{place}")),
        ("see how it went", format!("gfm-pipe report{place}")),
    ];
    let line = |(what, how): &(&str, String)| format!("{:<20}{how}\n", format!("{what}:"));
    steps.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        common: Common,
    }

    #[test]
    fn commands_name_the_place() {
        let typed = |words: &[&str]| Typed::try_parse_from(words).unwrap().common;
        let here = next(&typed(&["run"]), true);
        assert!(
            here.starts_with("ask something else: gfm-pipe ask \"…\"\n"),
            "{here}"
        );
        assert!(
            here.ends_with("see how it went:    gfm-pipe report\n"),
            "{here}"
        );
        let there = next(&typed(&["run", "--store", "a b", "-C", "d"]), false);
        assert!(
            there.starts_with("ask a question:     gfm-pipe ask \"…\" -C d --store 'a b'\n"),
            "{there}"
        );
    }
}
