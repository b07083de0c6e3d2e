//! Arguments that several subcommands share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::error::{CliError, CliResult};
use crate::plan::Request;
use crate::plan::select::Selection;
use crate::ranks;
use crate::record::history::{self, PastRun};
use crate::record::{Life, life};
use crate::registry::resolve_device;
use crate::spec::{self, LoadOptions, Pipeline};
use crate::store::{Remote, Store};
use crate::ui::Out;
use gfm_pipe_api::{Device, OpEntry, shell};

/// Where artifacts are kept unless `--store` says otherwise.
const DEFAULT_STORE: &str = ".gfm-pipe";

/// What every verb that reads a pipeline takes.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Set an entry of the pipeline's `vars`, NAME=VALUE (VALUE is a YAML scalar)
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE", value_parser = assignment)]
    pub vars: Vec<(String, String)>,
    /// Set entries of the pipeline's `vars` from a YAML file of NAME: VALUE; `-p` wins
    #[arg(long = "vars", value_name = "FILE")]
    pub var_files: Vec<PathBuf>,
    /// Set any parameter, STAGE.with.PATH=VALUE (VALUE is a YAML scalar)
    #[arg(long = "set", value_name = "STAGE.with.PATH=VALUE", value_parser = assignment)]
    pub sets: Vec<(String, String)>,
    /// Folder for artifacts [default: .gfm-pipe]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Device for training and evaluation: auto (a GPU where there is one), cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device_name)]
    pub device: String,
    /// Count what is counted a rank (`train.batch_size`) for N ranks
    /// [default: those that were started]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub ranks: Option<u16>,
    /// Threads for computing [default: one per CPU, shared by the ranks of a host]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Work as if started in DIR
    #[arg(short = 'C', value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// What verbs that only look at a store take.
#[derive(Debug, Clone, Args)]
pub struct StoreArgs {
    /// Folder for artifacts [default: .gfm-pipe]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Work as if started in DIR
    #[arg(short = 'C', value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl StoreArgs {
    /// Opens the store read-only.
    pub fn open(&self) -> CliResult<Store> {
        enter(self.dir.as_deref())?;
        let folder = self.store.clone();
        let folder = folder.unwrap_or_else(|| PathBuf::from(DEFAULT_STORE));
        Ok(Store::open_readonly(folder)?)
    }
}

/// Applies `-C`.
pub fn enter(dir: Option<&Path>) -> CliResult<()> {
    let Some(dir) = dir else {
        return Ok(());
    };
    std::env::set_current_dir(dir)
        .map_err(|e| CliError::usage(format!("-C {}: {e}", dir.display())))
}

/// What verbs take that may look into a remote.
#[derive(Debug, Clone, Default, Args)]
pub struct RemoteArg {
    /// A store that several machines share, for what this one lacks: a folder,
    /// s3://BUCKET/PREFIX, gs://… or az://…
    #[arg(
        long,
        value_name = "PLACE",
        env = "GFM_PIPE_REMOTE",
        hide_env_values = true
    )]
    remote: Option<String>,
}

impl RemoteArg {
    /// The remote, if there is one. With `push`, a run may send it what it lacks.
    pub fn open(&self, push: bool) -> CliResult<Option<Arc<Remote>>> {
        // An empty variable means none, as is usual in shells.
        let named = self.remote.as_deref().filter(|name| !name.is_empty());
        let remote = named.map(|name| Remote::open(name, &environment(), push));
        let remote = remote
            .transpose()
            .map_err(|e| CliError::usage(e.to_string()).hint_opt(e.hint()))?;
        Ok(remote.map(Arc::new))
    }
}

/// Checks the name of a device as the user typed it.
fn device_name(text: &str) -> Result<String, String> {
    match Device::parse(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("devices are auto, cpu, cuda and cuda:N".to_owned()),
    }
}

/// Which stages.
#[derive(Debug, Clone, Default, Args)]
pub struct Select {
    /// Run exactly these stages; what they need must be in the store
    #[arg(long, value_name = "STAGE")]
    pub only: Vec<String>,
    /// Run these stages and whatever depends on them
    #[arg(long, value_name = "STAGE")]
    pub from: Vec<String>,
    /// Run these stages and whatever they depend on
    #[arg(long, value_name = "STAGE")]
    pub until: Vec<String>,
    /// Compute these stages though they are cached
    #[arg(long, value_name = "STAGE")]
    pub force: Vec<String>,
    /// Run what earlier runs of the pipeline left undone: stages that failed when they were last
    /// asked for, or were not started; what they need must be in the store
    #[arg(long, conflicts_with_all = ["only", "from", "until", "force"])]
    pub retry_failed: bool,
}

impl Select {
    /// The request in the form that the planner takes. Paths are relative to the process's working
    /// directory, which `-C` has set. `None` where `--retry-failed` has nothing to do; a
    /// message then goes to `err`.
    pub fn request(
        &self,
        pipeline: &Pipeline,
        store: &Store,
        err: &Out,
    ) -> CliResult<Option<Request>> {
        let only = if self.retry_failed {
            match undone(pipeline, store, err)? {
                stages if stages.is_empty() => return Ok(None),
                stages => stages,
            }
        } else {
            names(&self.only)
        };
        Ok(Some(Request {
            selection: Selection {
                only,
                from: names(&self.from),
                until: names(&self.until),
            },
            force: names(&self.force),
            ..Request::default()
        }))
    }
}

/// The stages without a result in the last run of the pipeline that was asked for them; says so
/// where there are none.
fn undone(pipeline: &Pipeline, store: &Store, err: &Out) -> CliResult<Vec<String>> {
    let name = &pipeline.name;
    let (mut runs, _) = history::runs(store)?;
    runs.retain(|run| run.journal.pipeline == *name);
    let Some(PastRun { journal: last, .. }) = runs.last() else {
        return Err(CliError::usage(format!(
            "--retry-failed: pipeline `{name}` has not run in {}",
            store.root().display()
        ))
        .hint("leave --retry-failed out"));
    };
    if life(store, last) == Life::GoesOn {
        let e = CliError::usage(format!("--retry-failed: run {} is going on", last.run));
        return Err(e.hint("wait for its end: gfm-pipe watch shows it"));
    }
    let is_undone = |stage: &String| {
        let asked = runs
            .iter()
            .rev()
            .find_map(|run| run.journal.has_result(stage));
        asked == Some(false)
    };
    let stages = pipeline.stages.iter().map(|s| s.name.clone());
    let undone: Vec<String> = stages.filter(is_undone).collect();
    if undone.is_empty() {
        err.line(&format!(
            "nothing to retry: no stage of `{name}` was left undone, run {} was the last",
            last.run
        ));
    }
    Ok(undone)
}

/// The stages of a flag that may be given several times, each time with several stages.
fn names(given: &[String]) -> Vec<String> {
    let all = given.iter().flat_map(|text| spec::split_names(text));
    all.map(str::to_owned).collect()
}

/// The number of threads for one of several ranks that share a host's CPUs. `None` leaves the
/// default: a launcher bound the rank to some of the CPUs, or the user set RAYON_NUM_THREADS.
fn threads_of_rank() -> Option<usize> {
    let launch = ranks::launched()?;
    let mine = std::thread::available_parallelism().ok()?.get();
    let all = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let all = all.lines().filter(|l| l.starts_with("processor")).count();
    let free = mine >= all && std::env::var_os("RAYON_NUM_THREADS").is_none();
    free.then(|| (mine / launch.local_size).max(1))
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.to_owned()))
        }
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

/// The environment variables of the process, without those that are not valid Unicode.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .collect()
}

impl Common {
    /// Applies `-C` and `--threads`, which concern the whole process.
    pub fn apply(&self) -> CliResult<()> {
        enter(self.dir.as_deref())?;
        let mut pool = rayon::ThreadPoolBuilder::new().thread_name(|i| format!("gfm-rayon-{i}"));
        if let Some(n) = self.threads.map(usize::from).or_else(threads_of_rank) {
            pool = pool.num_threads(n);
        }
        // A pool that exists already (a second subcommand in one process) keeps its size.
        if let Err(e) = pool.build_global() {
            tracing::debug!("thread pool: {e}");
        }
        Ok(())
    }

    /// The options that change a pipeline, as they are typed, each with a space before it.
    pub fn changes(&self) -> String {
        let pairs = |option: &'static str, all: &[(String, String)]| -> Vec<String> {
            let typed = all.iter().map(|(k, v)| format!("{k}={v}"));
            typed
                .map(|t| format!(" {option} {}", shell::quote(&t)))
                .collect()
        };
        let files = self.var_files.iter();
        let files = files.map(|f| format!(" --vars {}", shell::path(f)));
        let mut all = pairs("-p", &self.vars);
        all.extend(files);
        all.extend(pairs("--set", &self.sets));
        all.concat()
    }

    /// The device that `--device` stands for here, `cpu` or `cuda:N`. Each rank of a host has a GPU
    /// of its own, unless one is named.
    pub fn open_device(&self) -> CliResult<String> {
        let local = ranks::launched().map_or(0, |l| l.local_rank);
        resolve_device(&self.device, local).map_err(|e| {
            CliError::usage(format!("--device {}: {e}", self.device)).hint_opt(e.advice())
        })
    }

    /// The store's folder.
    pub fn store_dir(&self) -> PathBuf {
        self.store
            .clone()
            .unwrap_or_else(|| PathBuf::from(DEFAULT_STORE))
    }

    /// Reads a pipeline.
    pub fn load(&self, file: &Path, ops: &[OpEntry]) -> CliResult<Pipeline> {
        let ranks = self.ranks()?;
        let files = std::iter::once(file).chain(self.var_files.iter().map(PathBuf::as_path));
        match files.filter(|f| *f == Path::new(spec::STDIN)).count() {
            0 => {}
            // What rank 0 has read from standard input is gone for the other ranks.
            1 if ranks::launched().is_some_and(|l| l.size > 1) => {
                return Err(
                    CliError::usage("several ranks cannot read one standard input")
                        .hint("write it to a file that all of them see"),
                );
            }
            1 => {}
            _ => {
                return Err(CliError::usage(
                    "`-` is given twice, and standard input can be read only once",
                ));
            }
        }
        let opts = LoadOptions {
            base: PathBuf::new(),
            var_files: self.var_files.clone(),
            vars: self.vars.clone(),
            sets: self.sets.clone(),
            env: environment(),
        };
        let pipeline = spec::load(file, &opts, ops).map_err(|e| CliError::report(e.to_string()))?;
        // One rank says it.
        if ranks::launched().is_none_or(|launch| launch.rank == 0) {
            let warnings = pipeline.warnings.iter();
            warnings.for_each(|w| Out::stderr().text(&w.to_string()));
        }
        Ok(pipeline.for_ranks(ranks))
    }

    /// The number of ranks by which parameters that count per rank are multiplied.
    fn ranks(&self) -> CliResult<usize> {
        let started = ranks::launched().map(|l| l.size);
        match (self.ranks.map(usize::from), started) {
            (Some(n), Some(started)) if n != started => Err(CliError::usage(format!(
                "--ranks {n}: {started} ranks were started"
            ))
            .hint("leave --ranks out: it is for one process that looks at what several made")),
            (n, started) => Ok(n.or(started).unwrap_or(1)),
        }
    }
}
