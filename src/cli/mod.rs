//! The command line: one file per subcommand.
//!
//! Parses, calls the library, prints, and turns errors into exit codes. Invariant: results go to
//! standard output, messages about them to standard error; no decisions are made here that a
//! program using the library would have to make again.

mod answers;
mod ask;
mod audit;
mod clean;
mod completions;
mod config;
#[cfg(feature = "demo")]
mod demo;
mod error;
mod gc;
pub mod graph;
mod import_config;
mod init;
mod man;
mod on_finish;
pub mod ops;
mod output;
mod plan;
pub mod reference;
mod report;
mod rerun;
mod retriever;
mod run;
mod runs;
pub mod schema;
#[cfg(feature = "serve")]
mod serve;
mod shared_args;
mod show;
mod signals;
mod story;
mod tag;
mod verify;
mod version;
mod watch;
mod why;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use gfm_pipe_api::OpEntry;
use gfm_pipe_api::schema::nearest;

use self::error::{CliError, CliResult, exit};
use self::shared_args::Common;
use crate::ranks;
use crate::ui::{Look, Out};

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a stage failed, or the machine refused (disk, permissions)
  2    the pipeline or the command line is wrong; nothing ran
  130  interrupted";

/// Runs declarative pipelines that train graph foundation models for retrieval
#[derive(Debug, Parser)]
#[command(name = "gfm-pipe", version, long_version = version::long(), after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Try it: the main job on data that is compiled in, and a page to ask it
    #[cfg(feature = "demo")]
    #[command(after_help = EXIT_CODES)]
    Demo(demo::Args),
    /// Write a first pipeline for a folder of data
    Init(init::Args),
    /// Say what is wrong with data, and where, before anything is trained on it
    #[command(after_help = EXIT_CODES)]
    Audit(audit::Args),
    /// Run a pipeline; finished stages are taken from the store
    #[command(after_help = EXIT_CODES)]
    Run(run::Args),
    /// Ask a question in plain words: where it starts, which documents it finds, and why
    #[command(after_help = EXIT_CODES)]
    Ask(ask::Args),
    /// Answer questions over HTTP, with a page to ask them, or for agents (MCP)
    #[cfg(feature = "serve")]
    #[command(after_help = EXIT_CODES)]
    Serve(serve::Args),
    /// Say what `run` would do, and why, without running
    #[command(after_help = EXIT_CODES)]
    Plan(plan::Args),
    /// Say why a stage ran, or would run
    Why(why::Args),
    /// Show a table of an artifact
    Show(show::Args),
    /// Print the pipeline as it will run, with the origin of each value
    Config(config::Args),
    /// Print the stage graph
    Graph(GraphArgs),
    /// List operators, or describe one
    Ops(OpsArgs),
    /// Print the JSON Schema of pipeline files, for editors
    Schema,
    /// List earlier runs
    Runs(runs::Args),
    /// Give a run a name, under which pipelines find what it made (`pinned`), or list the names
    Tag(tag::Args),
    /// Compare the parameters and metrics of two runs
    Diff(runs::DiffArgs),
    /// Write a run as one HTML page
    Report(report::Args),
    /// Look at a run while it goes on: stages, progress, curves
    #[command(after_help = EXIT_CODES)]
    Watch(watch::Args),
    /// Look for damage in the store
    Verify(verify::Args),
    /// Make room: remove what no kept run needs
    Gc(gc::Args),
    /// Remove what is kept of a stage, so that the next run computes it again
    Clean(clean::Args),
    /// Print the answers of language models that a run used
    Answers(answers::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Write manual pages, one for each subcommand
    Man(man::Args),
    /// Turn a configuration of GFM-RAG into a pipeline
    ImportConfig(import_config::Args),
}

#[derive(Debug, clap::Args)]
struct GraphArgs {
    /// The pipeline; `-` is standard input
    file: PathBuf,
    /// Language of the graph
    #[arg(long, value_enum, default_value_t = GraphFormat::Mermaid)]
    format: GraphFormat,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GraphFormat {
    /// Mermaid flowchart
    Mermaid,
    /// Graphviz
    Dot,
}

#[derive(Debug, clap::Args)]
struct OpsArgs {
    /// The operator to describe
    name: Option<String>,
}

/// Runs the command line of this process with these operators. A binary with operators of its own
/// calls this with them added to [`crate::registry::builtin`].
pub fn main(ops: Vec<OpEntry>) -> ExitCode {
    main_from(std::env::args_os(), &ops)
}

/// Runs a command line given as arguments, the program's name first.
pub fn main_from(args: impl IntoIterator<Item = OsString>, ops: &[OpEntry]) -> ExitCode {
    let out = Out::stdout();
    let err = Out::stderr();
    let code = match Cli::try_parse_from(args) {
        Ok(cli) => {
            logging();
            let code = dispatch(cli.verb, ops, &out, &err).unwrap_or_else(|e| {
                err.text(&e.text(look(std::io::stderr().is_terminal())));
                e.code()
            });
            // Output that could not be written must not count as success.
            match out.failure() {
                Some(why) if code == exit::OK => unwritten(&why, &err),
                _ => code,
            }
        }
        Err(e) => refused(&e, &err),
    };
    ExitCode::from(code)
}

/// Reports that the result could not be written.
fn unwritten(why: &str, err: &Out) -> u8 {
    let e = CliError::failed(format!("failed to write to standard output: {why}"));
    err.text(&e.text(look(std::io::stderr().is_terminal())));
    e.code()
}

/// Prints what clap returned instead of a subcommand: help and the version on standard output,
/// mistakes on standard error.
fn refused(e: &clap::Error, err: &Out) -> u8 {
    if e.use_stderr() {
        // It quotes arguments, which may be names of files with any characters.
        let text = e.render().to_string();
        let look = look(std::io::stderr().is_terminal());
        err.text(&match text.strip_prefix("error:") {
            Some(rest) => format!("{}{rest}", look.paint("31;1", "error:")),
            None => text,
        });
        return exit::USAGE;
    }
    match e.print() {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => unwritten(&e.to_string(), err),
        _ => exit::OK,
    }
}

fn dispatch(verb: Verb, ops: &[OpEntry], out: &Out, err: &Out) -> CliResult<u8> {
    // Of several ranks, only the first one carries out the subcommand. The others help it with
    // `run`.
    let helps = ranks::launched().is_some_and(|launch| launch.rank > 0);
    if helps && !matches!(verb, Verb::Run(_)) {
        return Ok(exit::OK);
    }
    match verb {
        Verb::Run(args) => return run::run(&args, ops, out),
        Verb::Ask(args) => return ask::ask(&args, ops, out, err),
        #[cfg(feature = "serve")]
        Verb::Serve(args) => return serve::serve(&args, ops, err),
        #[cfg(feature = "demo")]
        Verb::Demo(args) => return demo::demo(&args, ops, out, err),
        Verb::Audit(args) => return audit::audit(&args, ops, out, err),
        Verb::Init(args) => init::init(&args, ops, out, err)?,
        Verb::Plan(args) => plan::plan(&args, ops, out, err)?,
        Verb::Why(args) => why::why(&args, ops, out)?,
        Verb::Runs(args) => runs::runs(&args, out, err)?,
        Verb::Tag(args) => tag::tag(&args, out, err)?,
        Verb::Diff(args) => runs::diff(&args, out, err)?,
        Verb::Report(args) => report::report(&args, out, err)?,
        Verb::Watch(args) => return watch::watch(&args, out, err),
        Verb::Verify(args) => return verify::verify(&args, out),
        Verb::Gc(args) => gc::gc(&args, out)?,
        Verb::Clean(args) => clean::clean(&args, out)?,
        Verb::Answers(args) => answers::answers(&args, out, err)?,
        Verb::Completions(args) => completions::completions(&args, out),
        Verb::Man(args) => man::man(&args, out)?,
        Verb::Show(args) => show::show(&args, ops, out, err)?,
        Verb::Schema => {
            let schema = schema::json_schema(ops);
            let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
            out.document(&format!("{text}\n"));
        }
        Verb::Config(args) => config::config(&args, ops, out)?,
        Verb::Graph(args) => {
            args.common.apply()?;
            let pipeline = args.common.load(&args.file, ops)?;
            out.document(&match args.format {
                GraphFormat::Mermaid => graph::mermaid(&pipeline),
                GraphFormat::Dot => graph::dot(&pipeline),
            });
        }
        Verb::ImportConfig(args) => import_config::import_config(&args, ops, out, err)?,
        Verb::Ops(args) => match args.name {
            None => out.text(&ops::list(ops)),
            Some(name) => {
                let op = ops.iter().find(|o| o.name == name);
                let op = op.ok_or_else(|| {
                    let hint = match nearest(&name, ops.iter().map(|o| o.name)) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "gfm-pipe ops lists them".to_owned(),
                    };
                    CliError::usage(format!("there is no operator `{name}`")).hint(hint)
                })?;
                out.text(&ops::describe(op));
            }
        },
    }
    Ok(exit::OK)
}

/// How output looks: colours only on a terminal, and not where NO_COLOR is set.
fn look(terminal: bool) -> Look {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|v| v == "dumb");
    Look {
        colour: terminal && !no_colour && !dumb,
        bars: false,
    }
}

/// Diagnostics of the program itself, for users who set GFM_PIPE_LOG (`debug`, `gfm_pipe=trace`).
fn logging() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("GFM_PIPE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    // A second subscriber in one process is refused; the first one stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Diagnostics(Out::stderr()))
        .with_ansi(false)
        .try_init();
}

/// Diagnostics may quote text from outside, so they are written through [`Out`] like all output.
struct Diagnostics(Out);

impl std::io::Write for Diagnostics {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.text(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
