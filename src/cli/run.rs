//! `gfm-pipe run`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use gfm_pipe_api::{Cancel, OpEntry, OpError, OpResult};

use super::error::{CliError, CliResult, exit};
use super::look;
use super::on_finish::on_finish;
use super::rerun::rerun;
use super::shared_args::{Common, RemoteArg, Select};
use super::signals::{self, Interrupt};
use super::story::story;
use crate::exec::{self, Room, RunOptions};
use crate::plan::Request;
use crate::ranks::{self, Launch, Lead, Settings, Team};
use crate::record::{EventSink, Fanout, RunStatus, TensorBoard};
use crate::spec::Pipeline;
use crate::store::Store;
use crate::ui::{Closing, HumanUi, JsonUi, Look, Out, closing};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline; `-` is standard input
    file: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    remote: RemoteArg,
    /// When a stage fails, still start stages that do not depend on it
    #[arg(long)]
    keep_going: bool,
    /// Stages at the same time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// CPUs that stages may occupy together [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    cpus: Option<u32>,
    /// GPUs that stages may occupy together
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=64))]
    gpus: u32,
    /// Memory that stages may occupy together, as 8GiB [default: all]
    #[arg(long, value_name = "SIZE")]
    memory: Option<bytesize::ByteSize>,
    /// Let stages run programs the pipeline names (operator `exec`); it is no sandbox
    #[arg(long)]
    allow_exec: bool,
    /// Ask nothing over the network besides the remote: models that were not downloaded and answers
    /// of language models that are not stored are errors
    #[arg(long)]
    offline: bool,
    /// Take from the remote, give it nothing
    #[arg(long)]
    no_push: bool,
    /// Write metrics for TensorBoard, to DIR/RUN/STAGE
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
    /// Run again whenever a file changes that the pipeline is made of or reads, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Start a command in the shell when the run has ended, however it did; it finds GFM_PIPE_RUN,
    /// GFM_PIPE_STATUS (ok, failed, interrupted) and GFM_PIPE_STORE. Needs --allow-exec
    #[arg(long, value_name = "COMMAND", requires = "allow_exec")]
    on_finish: Option<String>,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = LogFormat::Human)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Lines and progress bars
    Human,
    /// One JSON event a line on standard output
    Json,
}

/// Runs a pipeline and returns the exit code.
pub fn run(args: &Args, ops: &[OpEntry], out: &Out) -> CliResult<u8> {
    run_until(args, ops, out, None)
}

/// As [`run`]. Where the process listens to Ctrl-C already, `interrupt` is what it listens with.
pub fn run_until(
    args: &Args,
    ops: &[OpEntry],
    out: &Out,
    interrupt: Option<&Interrupt>,
) -> CliResult<u8> {
    args.common.apply()?;
    let device = args.common.open_device()?;
    let start = Instant::now();
    // When the ranks cannot work as one run, only the first one reports it.
    if let Some(launch) = ranks::launched()
        && let Err(e) = launch.check()
    {
        return match launch.rank {
            0 => Err(refused(e)),
            _ => Ok(exit::USAGE),
        };
    }
    if args.watch {
        let refused = match ranks::launched() {
            Some(_) => Some("--watch and several ranks do not go together"),
            None if args.file == Path::new("-") => Some("standard input cannot be watched"),
            None if args.select.retry_failed => {
                Some("--watch and --retry-failed do not go together")
            }
            None => None,
        };
        if let Some(why) = refused {
            return Err(CliError::usage(why));
        }
    }
    let pipeline = args.common.load(&args.file, ops)?;
    let store = Store::open_readonly(args.common.store_dir())?;
    let ranks = match ranks::launched() {
        Some(launch) => match meet(launch, &pipeline, ops, &store, &device) {
            Ok(team) if launch.rank > 0 => {
                return Ok(follow(&Arc::new(team), ops, &store, &device));
            }
            Ok(team) => Some(Arc::new(Lead::new(team))),
            // Rank 0 reports why.
            Err(OpError::Cancelled) => return Ok(exit::USAGE),
            Err(e) => return Err(refused(e)),
        },
        None => None,
    };
    let err = Out::stderr();
    let own;
    let interrupt = match interrupt {
        Some(interrupt) => interrupt,
        None => {
            own = Interrupt::listen(&err);
            &own
        }
    };
    if let Some(lead) = &ranks {
        lead.on_interrupt(&interrupt.cancel);
        err.line(&lead.summary());
        let watched = Arc::clone(lead);
        guard(move || watched.stuck());
    }
    let seen = Seen {
        args,
        ops,
        store: &store,
        interrupt,
        out,
    };
    if !args.watch {
        let request = args.select.request(&pipeline, &store, &err);
        let options = request.and_then(|request| {
            let options = |request| options(args, request, device, ranks.clone());
            request.map(options).transpose()
        });
        return match options {
            Ok(Some(options)) => once(&seen, &pipeline, &options, start),
            nothing => {
                // The other ranks wait for this.
                if let Some(lead) = &ranks {
                    lead.close();
                }
                nothing.map(|_| exit::OK)
            }
        };
    }
    let files: Vec<PathBuf> = std::iter::once(&args.file)
        .chain(&args.common.var_files)
        .cloned()
        .collect();
    let load = || args.common.load(&args.file, ops);
    let again = |pipeline: &Pipeline| {
        let Some(request) = args.select.request(pipeline, &store, &err)? else {
            return Ok(exit::OK);
        };
        // A remote that failed in one run is tried again in the next one.
        let options = options(args, request, device.clone(), None)?;
        once(&seen, pipeline, &options, Instant::now())
    };
    Ok(rerun(&files, &interrupt.cancel, &err, load, again))
}

/// What all runs of a command have in common.
struct Seen<'a> {
    args: &'a Args,
    ops: &'a [OpEntry],
    store: &'a Store,
    interrupt: &'a Interrupt,
    out: &'a Out,
}

/// Runs a pipeline once.
fn once(
    seen: &Seen<'_>,
    pipeline: &Pipeline,
    options: &RunOptions,
    start: Instant,
) -> CliResult<u8> {
    let Seen {
        args,
        ops,
        store,
        interrupt,
        out,
    } = *seen;
    let err = Out::stderr();
    let look = Look {
        bars: std::io::stderr().is_terminal(),
        ..look(std::io::stdout().is_terminal())
    };
    let json = args.log_format == LogFormat::Json;
    let mut sinks: Vec<Arc<dyn EventSink>> = vec![if json {
        Arc::new(JsonUi::new(out.clone()))
    } else {
        Arc::new(HumanUi::new(out.clone(), look))
    }];
    let tensorboard = args.tensorboard.clone().map(TensorBoard::new).map(Arc::new);
    sinks.extend(tensorboard.clone().map(|t| t as Arc<dyn EventSink>));
    let listener = Arc::new(Fanout(sinks));
    let cancel = &interrupt.cancel;
    let summary = interrupt.running(|| exec::run(pipeline, store, options, listener, cancel));
    // Before errors are reported, because the other ranks wait for this.
    if let Some(lead) = &options.lead {
        lead.close();
    }
    let summary = summary?;
    if let Some(e) = tensorboard.and_then(|t| t.failed()) {
        err.line(&format!(
            "warning: metrics for TensorBoard are not complete: {e}"
        ));
    }
    if !json {
        out.text(&closing(&Closing {
            summary: &summary,
            store,
            seconds: start.elapsed().as_secs_f64(),
            look,
        }));
        if !cancel.is_cancelled()
            && let Some(text) = story(&summary, store, &args.common, ops, look)
        {
            out.text(&text);
        }
    }
    if let Some(command) = &args.on_finish {
        on_finish(command, &summary, store.root(), &err);
    }
    Ok(match summary.status {
        RunStatus::Ok => exit::OK,
        RunStatus::Failed => exit::FAILED,
        RunStatus::Interrupted | RunStatus::Running => exit::INTERRUPTED,
    })
}

fn options(
    args: &Args,
    request: Request,
    device: String,
    lead: Option<Arc<Lead>>,
) -> CliResult<RunOptions> {
    let usual = RunOptions::default();
    Ok(RunOptions {
        request: Request {
            remote: args.remote.open(!args.no_push)?,
            ..request
        },
        keep_going: args.keep_going,
        room: Room {
            jobs: u32::from(args.jobs),
            cpu: args.cpus.unwrap_or(usual.room.cpu),
            gpu: args.gpus,
            memory: args.memory.map(|m| m.as_u64()).or_else(memory),
        },
        device,
        allow_exec: args.allow_exec,
        environment: std::env::vars_os().collect(),
        offline: args.offline,
        lead,
        recorded: true,
    })
}

/// Connects with the other ranks.
fn meet(
    launch: Launch,
    pipeline: &Pipeline,
    ops: &[OpEntry],
    store: &Store,
    device: &str,
) -> OpResult<Team> {
    let claims = ranks::shared_setup(pipeline, ops, store, Path::new(""), device);
    let mut settings = Settings::default();
    let silence = std::env::var("GFM_PIPE_RANK_SILENCE").ok();
    if let Some(seconds) = silence.and_then(|s| s.parse().ok()) {
        settings.silence = Duration::from_secs(seconds);
    }
    ranks::meet(launch, claims, settings)
}

fn refused(e: OpError) -> CliError {
    CliError::usage(e.to_string()).hint_opt(e.advice())
}

/// Computes what rank 0 orders, and returns the exit code. Rank 0 reports errors, unless it is
/// gone.
fn follow(team: &Arc<Team>, ops: &[OpEntry], store: &Store, device: &str) -> u8 {
    let cancel = Cancel::default();
    let err = Out::stderr();
    if let Err(e) = signals::listen_quietly(&cancel) {
        err.line(&format!("warning: Ctrl-C will stop at once: {e}"));
    }
    let here = team.members()[team.rank()].clone();
    let watched = Arc::clone(team);
    guard(move || watched.lost());
    let ended = ranks::follow(team, ops, store, PathBuf::new(), device, &cancel);
    team.close();
    match ended {
        Ok(()) => exit::OK,
        Err(OpError::Cancelled) => exit::FAILED,
        Err(e) => {
            err.line(&format!("{here} stops: {e}"));
            exit::FAILED
        }
    }
}

/// How long a stage may take to end by itself after a rank is gone.
const ENDING: Duration = Duration::from_secs(20);

/// Ends the process where it cannot end by itself: a device that adds up gradients waits for ever
/// for the device of a rank that is gone.
fn guard(stuck: impl Fn() -> Option<OpError> + Send + 'static) {
    let watch = move || {
        let mut since: Option<Instant> = None;
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let Some(e) = stuck() else {
                since = None;
                continue;
            };
            if since.get_or_insert_with(Instant::now).elapsed() > ENDING {
                let e = refused(e);
                Out::stderr().text(&e.text(look(std::io::stderr().is_terminal())));
                #[expect(clippy::exit)]
                std::process::exit(i32::from(exit::FAILED));
            }
        }
    };
    // If the thread cannot be started, only such a case hangs, and there MPI has printed a message.
    let _ = std::thread::Builder::new()
        .name("gfm-rank-guard".to_owned())
        .spawn(watch);
}

/// Bytes of memory in this machine; `None` where the system does not report them.
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
