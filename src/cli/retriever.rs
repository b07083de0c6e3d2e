//! Finds and loads the retriever that a command line means, for `ask` and `serve`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use gfm_pipe_api::answer::Answers;
use gfm_pipe_api::items::Items;
use gfm_pipe_api::schema::nearest;
use gfm_pipe_api::{Artifact, Cancel, Context, Nowhere, OpEntry, OpError, ranks, shell};
use serde_json::Value;

use super::error::{CliError, CliResult};
use super::runs::{all, find};
use super::shared_args::Common;
use crate::plan::{Request, Verdict, prepare};
use crate::record::{JournalFile, StageRecord};
use crate::report::Run;
use crate::silent::Silent;
use crate::spec::{Pipeline, Stage};
use crate::store::{Manifest, Store};
use crate::ui::Out;

/// Which retriever.
#[derive(Debug, Clone, Args)]
pub struct RetrieverArgs {
    /// Ask what this pipeline describes now, not what the store's latest run made
    #[arg(long, value_name = "FILE")]
    pipeline: Option<PathBuf>,
    /// Ask what this run made: its name, or the start of it; `gfm-pipe runs` lists them
    #[arg(long, conflicts_with = "pipeline")]
    run: Option<String>,
    /// The `retriever` stage to ask [default: the last one]
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,
    #[command(flatten)]
    pub common: Common,
}

/// A stage that can be asked questions, with its inputs.
pub struct Found {
    op: OpEntry,
    stage: String,
    params: Value,
    inputs: BTreeMap<String, Vec<Artifact>>,
    /// The key of the result: another one after anything that it depends on has changed.
    #[cfg_attr(
        not(feature = "serve"),
        expect(dead_code, reason = "only a server reloads")
    )]
    pub key: String,
}

impl RetrieverArgs {
    /// The retriever that this stage of a run made.
    pub fn of_run(run: &str, stage: &str, common: &Common) -> Self {
        RetrieverArgs {
            pipeline: None,
            run: Some(run.to_owned()),
            stage: Some(stage.to_owned()),
            common: Common {
                vars: Vec::new(),
                var_files: Vec::new(),
                sets: Vec::new(),
                ..common.clone()
            },
        }
    }

    /// Finds the retriever in the store. Nothing is computed.
    pub fn find(&self, ops: &[OpEntry], err: &Out) -> CliResult<Found> {
        let common = &self.common;
        let described = [
            ("-p", common.vars.is_empty()),
            ("--vars", common.var_files.is_empty()),
            ("--set", common.sets.is_empty()),
        ];
        let given = described.iter().find(|(_, empty)| !empty);
        if let (Some((option, _)), None) = (given, &self.pipeline) {
            return Err(
                CliError::usage(format!("{option} changes a pipeline, but none is named")).hint(
                    "add --pipeline FILE, or leave it out: what a run made has its parameters",
                ),
            );
        }
        let folder = self.common.store_dir();
        if self.pipeline.is_none() && !folder.exists() {
            return Err(CliError::usage(format!(
                "there is nothing to ask: no store at {}",
                folder.display()
            ))
            .hint(MAKE_ONE));
        }
        let store = Store::open_readonly(folder)?;
        match &self.pipeline {
            Some(file) => self.described(file, &store, ops),
            None => self.stored(&store, ops, err),
        }
    }

    /// The retriever as a pipeline file describes it now.
    fn described(&self, file: &Path, store: &Store, ops: &[OpEntry]) -> CliResult<Found> {
        let pipeline = self.common.load(file, ops)?;
        let stage = self.chosen(&pipeline, file)?;
        let request = Request::until([stage.name.clone()]);
        let prepared = prepare(&pipeline, store, &request)?;
        let stored = prepared.plan.into_iter().filter_map(|p| match p.verdict {
            Verdict::Cached(manifest) => Some((p.name, *manifest)),
            _ => None,
        });
        let manifests: BTreeMap<String, Manifest> = stored.collect();
        let make = format!(
            "make it: gfm-pipe run {} --until {}{}",
            shell::path(file),
            shell::quote(&stage.name),
            self.common.changes()
        );
        let lacking = |name: &str| {
            CliError::usage(format!(
                "`{name}` is not in the store as {} describes it",
                file.display()
            ))
            .hint(make.clone())
        };
        let own = manifests.get(&stage.name);
        let own = own.ok_or_else(|| lacking(&stage.name))?;
        let mut inputs = BTreeMap::new();
        for (port, from) in &stage.inputs {
            let mut all = Vec::new();
            for from in from {
                let giver = pipeline.stages.iter().find(|s| s.name == from.stage);
                let giver = giver.zip(manifests.get(&from.stage));
                let (giver, manifest) = giver.ok_or_else(|| lacking(&from.stage))?;
                let mut of = store.artifacts(&from.stage, &giver.op, manifest);
                all.push(of.remove(&from.port).ok_or_else(|| lacking(&from.stage))?);
            }
            inputs.insert(port.clone(), all);
        }
        Ok(Found {
            op: stage.op.clone(),
            stage: stage.name.clone(),
            params: stage.params.clone(),
            inputs,
            key: own.key.as_str().to_owned(),
        })
    }

    /// The stage of a pipeline to ask.
    fn chosen<'a>(&self, pipeline: &'a Pipeline, file: &Path) -> CliResult<&'a Stage> {
        let able = pipeline.stages.iter().filter(|s| s.op.answers_questions);
        let able: Vec<&Stage> = able.collect();
        let names: Vec<&str> = able.iter().map(|s| s.name.as_str()).collect();
        let place = chosen(self.stage.as_deref(), &names, &file.display().to_string())?;
        Ok(able[place])
    }

    /// The retriever that a run made.
    fn stored(&self, store: &Store, ops: &[OpEntry], err: &Out) -> CliResult<Found> {
        let runs = all(store, err)?;
        let journal: &JournalFile = match &self.run {
            Some(run) => &find(&runs, run)?.journal,
            None => {
                let mut latest = runs.iter().rev().map(|r| &r.journal);
                latest.find(|j| !able(j).is_empty()).ok_or_else(|| {
                    let of = store.root().display();
                    CliError::usage(format!("no run in {of} has made a retriever")).hint(MAKE_ONE)
                })?
            }
        };
        let able = able(journal);
        let names: Vec<&str> = able.iter().map(|s| s.name.as_str()).collect();
        let of = format!("run {}", journal.run);
        let record = able[chosen(self.stage.as_deref(), &names, &of)?];
        let gone = |what: &str| {
            CliError::usage(format!("{what} of {of} is not in the store any more")).hint(format!(
                "make it again: gfm-pipe run {} --until {}",
                shell::quote(&journal.file),
                shell::quote(&record.name)
            ))
        };
        let op = ops.iter().find(|op| op.name == record.op);
        let op = op.ok_or_else(|| gone(&format!("the operator `{}`", record.op)))?;
        let run = Run::read(store, journal);
        let mut inputs = BTreeMap::new();
        for (port, from) in run.inputs(&record.name) {
            let mut all = Vec::new();
            for name in from {
                let artifact = given(store, &run, journal, ops, &name);
                all.push(artifact.ok_or_else(|| gone(&format!("`{name}`")))?);
            }
            inputs.insert(port, all);
        }
        Ok(Found {
            op: op.clone(),
            stage: record.name.clone(),
            params: record.params.clone().unwrap_or_default(),
            inputs,
            key: record.key.iter().map(|key| key.as_str()).collect(),
        })
    }
}

/// What to do where there is nothing to ask.
const MAKE_ONE: &str = "gfm-pipe init FOLDER writes a pipeline with one, and gfm-pipe run PIPELINE makes it; --store DIR names another store";

/// The artifact with this name, `STAGE.PORT`, of a run.
fn given(
    store: &Store,
    run: &Run<'_>,
    journal: &JournalFile,
    ops: &[OpEntry],
    name: &str,
) -> Option<Artifact> {
    let (stage, port) = name.rsplit_once('.')?;
    let record = journal.stages.iter().find(|s| s.name == stage)?;
    let entry = run.manifests.get(stage)?.ports.get(port)?;
    // Ports of some operators depend on parameters, so the kind is taken from the manifest.
    let kind = gfm_pipe_api::kinds::ALL
        .iter()
        .find(|k| k.name == entry.kind)?;
    ops.iter().find(|op| op.name == record.op)?;
    let tables: Vec<_> = entry.tables.iter().map(|t| store.table(t)).collect();
    let mut objects = tables.iter().flat_map(|t| &t.objects);
    let there = objects.all(|o| o.path.is_file());
    there.then(|| Artifact {
        kind,
        name: name.to_owned(),
        tables,
    })
}

/// Whether a stage of a run can be asked.
pub fn can_be_asked(record: &StageRecord) -> bool {
    record.params.is_some() && !record.outputs.is_empty()
}

/// The stages of a run that can be asked.
fn able(journal: &JournalFile) -> Vec<&StageRecord> {
    let stages = journal.stages.iter();
    stages.filter(|s| can_be_asked(s)).collect()
}

/// The place of the wanted stage among those that can be asked: the last one if none is named.
fn chosen(wanted: Option<&str>, names: &[&str], of: &str) -> CliResult<usize> {
    let none = || {
        CliError::usage(format!("{of} has no stage that can be asked questions"))
            .hint("add a stage with `op: retriever`: docs/asking.md")
    };
    let last = names.len().checked_sub(1).ok_or_else(none)?;
    let Some(wanted) = wanted else {
        return Ok(last);
    };
    names
        .iter()
        .position(|name| *name == wanted)
        .ok_or_else(|| {
            let hint = match nearest(wanted, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("stages that can: {}", names.join(", ")),
            };
            CliError::usage(format!(
                "{of} has no stage `{wanted}` that can be asked questions"
            ))
            .hint(hint)
        })
}

impl Found {
    /// Loads the retriever into memory.
    pub fn open(self) -> CliResult<Arc<dyn Answers>> {
        let ctx = Context {
            stage: self.stage,
            inputs: self.inputs,
            outputs: Arc::new(Nowhere),
            reporter: Arc::new(Silent),
            cancel: Cancel::default(),
            base: PathBuf::new(),
            workdir: PathBuf::new(),
            items: Items::nowhere(),
            device: "cpu".to_owned(),
            environment: std::env::vars_os().collect(),
            offline: false,
            requests: None,
            ranks: ranks::single(),
        };
        self.op.answers(self.params, &ctx).map_err(|e| refused(&e))
    }
}

/// An error of a retriever, for the user.
pub fn refused(e: &OpError) -> CliError {
    CliError::failed(e.to_string()).hint_opt(e.advice())
}
