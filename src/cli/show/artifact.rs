//! Finds the artifact that was asked for, and what it was made from.

use std::collections::BTreeMap;
use std::path::Path;

use gfm_pipe_api::OpEntry;
use gfm_pipe_api::schema::nearest;

use crate::cli::error::{CliError, CliResult};
use crate::cli::runs::{NO_RUN, all, find};
use crate::cli::shared_args::Common;
use crate::plan::{Request, Verdict, prepare};
use crate::record::history::PastRun;
use crate::record::{JournalFile, StageRecord, StageStatus, latest};
use crate::report::Run;
use crate::store::{Manifest, Store, TableEntry};
use crate::ui::Out;
use gfm_pipe_api::shell;

/// The manifests of stages, and what each stage was connected to: taken from a run, or from a
/// pipeline file as it is now.
pub struct Source {
    manifests: BTreeMap<String, Manifest>,
    inputs: BTreeMap<String, Vec<(String, String)>>,
    /// The command that computes its stages.
    command: String,
}

impl Source {
    /// The stages as a pipeline file describes them now, up to a given one.
    pub fn described(
        common: &Common,
        file: &Path,
        stage: &str,
        store: &Store,
        ops: &[OpEntry],
    ) -> CliResult<Self> {
        let pipeline = common.load(file, ops)?;
        let prepared = prepare(&pipeline, store, &Request::until([stage.to_owned()]))?;
        let stored = prepared.plan.into_iter().filter_map(|p| match p.verdict {
            Verdict::Cached(manifest) => Some((p.name, *manifest)),
            _ => None,
        });
        let manifests: BTreeMap<String, Manifest> = stored.collect();
        let command = format!("gfm-pipe run {}", shell::path(file));
        if !manifests.contains_key(stage) {
            let message = format!(
                "`{stage}` is not in the store as {} describes it",
                file.display()
            );
            return Err(CliError::usage(message).hint(format!(
                "compute it: {command} --until {}",
                shell::quote(stage)
            )));
        }
        let inputs = pipeline.stages.iter().map(|s| {
            let refs = s.inputs.values().flatten();
            let refs = refs.map(|r| (r.stage.clone(), r.port.clone()));
            (s.name.clone(), refs.collect())
        });
        Ok(Source {
            inputs: inputs.collect(),
            manifests,
            command,
        })
    }

    /// The stages as a run left them. If no run is named, the latest run that ended is used; if
    /// that one left the stage out, the latest run of the same pipeline that has it, with a note to
    /// the user.
    pub fn stored(stage: &str, run: Option<&str>, store: &Store, err: &Out) -> CliResult<Self> {
        let runs = all(store, err)?;
        let journal = match run {
            Some(run) => find(&runs, run)?.journal.clone(),
            None => latest(store)?.ok_or_else(|| {
                CliError::usage(format!("{} has no finished run", store.root().display()))
                    .hint(NO_RUN)
            })?,
        };
        let record = record(&journal, stage, run.is_some())?;
        if has_result(record) {
            return Ok(Source::of_run(store, &journal));
        }
        let other = elsewhere(&runs, &journal, stage, store);
        let name = &journal.run;
        let why = match record.status {
            StageStatus::Failed => format!("`{stage}` failed in run {name}"),
            _ => format!(
                "run {name} left `{stage}` out ({})",
                record.reasons.join(", ")
            ),
        };
        match other {
            // Another run's result is a substitute only if this run left the stage out on purpose.
            Some(other) if run.is_none() && record.status == StageStatus::Skipped => {
                err.line(&format!("note: {why}: this is of run {}", other.run));
                Ok(Source::of_run(store, other))
            }
            Some(other) => Err(CliError::usage(why)
                .hint(format!("the latest run that has it: --run {}", other.run))),
            None => Err(CliError::usage(why).hint(format!(
                "compute it: gfm-pipe run {} --until {}",
                shell::quote(&journal.file),
                shell::quote(stage)
            ))),
        }
    }

    fn of_run(store: &Store, journal: &JournalFile) -> Self {
        let run = Run::read(store, journal);
        let inputs = journal.stages.iter().map(|s| {
            let from = run.inputs(&s.name).into_values().flatten();
            let from = from.filter_map(|f| {
                let (stage, port) = f.rsplit_once('.')?;
                Some((stage.to_owned(), port.to_owned()))
            });
            (s.name.clone(), from.collect())
        });
        Source {
            inputs: inputs.collect(),
            command: format!("gfm-pipe run {}", shell::quote(&journal.file)),
            manifests: run.manifests,
        }
    }

    /// The manifest of a stage.
    pub fn manifest(&self, stage: &str) -> CliResult<&Manifest> {
        self.manifests.get(stage).ok_or_else(|| {
            CliError::usage(format!("`{stage}` has no artifacts in the store any more")).hint(
                format!(
                    "compute it: {} --until {}",
                    self.command,
                    shell::quote(stage)
                ),
            )
        })
    }

    /// The stages and ports that a stage takes inputs from.
    pub fn inputs(&self, stage: &str) -> &[(String, String)] {
        self.inputs.get(stage).map_or(&[], Vec::as_slice)
    }

    /// The kind of the artifact at a port.
    pub fn kind(&self, stage: &str, port: &str) -> Option<&str> {
        let port = self.manifests.get(stage)?.ports.get(port)?;
        Some(&port.kind)
    }

    /// The output ports of a stage.
    pub fn ports(&self, stage: &str) -> Vec<&str> {
        let ports = self.manifests.get(stage).map(|m| m.ports.keys());
        ports.into_iter().flatten().map(String::as_str).collect()
    }
}

fn has_result(record: &StageRecord) -> bool {
    record.key.is_some() && !record.outputs.is_empty()
}

/// The record of a stage in a run's journal.
fn record<'a>(journal: &'a JournalFile, stage: &str, named: bool) -> CliResult<&'a StageRecord> {
    let found = journal.stages.iter().find(|s| s.name == stage);
    found.ok_or_else(|| {
        let known: Vec<&str> = journal.stages.iter().map(|s| s.name.as_str()).collect();
        let hint = match nearest(stage, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "its stages: {}; --run RUN takes another run",
                known.join(", ")
            ),
        };
        let which = if named {
            format!("run {}", journal.run)
        } else {
            "the latest run".to_owned()
        };
        CliError::usage(format!(
            "{which}, of pipeline `{}`, has no stage `{stage}`",
            journal.pipeline
        ))
        .hint(hint)
    })
}

/// The latest other run of the same pipeline that has a result of this stage still in the store.
fn elsewhere<'a>(
    runs: &'a [PastRun],
    not: &JournalFile,
    stage: &str,
    store: &Store,
) -> Option<&'a JournalFile> {
    let others = runs.iter().rev().map(|r| &r.journal);
    let mut others = others.filter(|j| j.pipeline == not.pipeline && j.run != not.run);
    others.find(|j| {
        let record = j.stages.iter().find(|s| s.name == stage && has_result(s));
        let key = record.and_then(|r| r.key.as_ref());
        key.is_some_and(|k| store.manifest(k).is_ok_and(|m| m.is_some()))
    })
}

/// The table that the user meant: its port, the port's kind, and its entry.
pub fn pick<'a>(
    manifest: &'a Manifest,
    stage: &str,
    port: Option<&str>,
    table: Option<&str>,
) -> CliResult<(&'a str, &'a str, &'a TableEntry)> {
    let unknown = |what: &str, name: &str, known: Vec<&str>| {
        let hint = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it has: {}", known.join(", ")),
        };
        CliError::usage(format!("{what} has no `{name}`")).hint(hint)
    };
    let ports = || {
        manifest
            .ports
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>()
    };
    let (name, entry) = match port {
        Some(port) => manifest
            .ports
            .get_key_value(port)
            .ok_or_else(|| unknown(&format!("stage `{stage}`"), port, ports()))?,
        None => match manifest.ports.iter().next() {
            Some(first) if manifest.ports.len() == 1 => first,
            _ => {
                return Err(
                    CliError::usage(format!("stage `{stage}` has several ports")).hint(format!(
                        "name one: {stage}.{}",
                        ports().join(&format!(", {stage}."))
                    )),
                );
            }
        },
    };
    let tables = || entry.tables.iter().map(|t| t.name.as_str()).collect();
    let found = match table {
        Some(table) => entry
            .tables
            .iter()
            .find(|t| t.name == table)
            .ok_or_else(|| unknown(&format!("`{stage}.{name}`"), table, tables()))?,
        None => entry
            .tables
            .first()
            .ok_or_else(|| CliError::usage(format!("`{stage}.{name}` has no tables")))?,
    };
    Ok((name, &entry.kind, found))
}
