//! `gfm-pipe run`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::ValueEnum;
use gfm_pipe_api::{Cancel, OpEntry};

use super::args::{Common, Select};
use super::error::{CliResult, exit};
use super::{look, signals};
use crate::exec::{self, RunOptions};
use crate::record::{EventSink, RunStatus};
use crate::store::Store;
use crate::ui::{Closing, HumanUi, JsonUi, Look, Out, closing};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline
    file: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    select: Select,
    /// When a stage fails, still start stages that do not depend on it
    #[arg(long)]
    keep_going: bool,
    /// Stages at the same time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
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

/// Runs a pipeline and gives the exit code.
pub fn run(args: &Args, ops: &[OpEntry], out: &Out) -> CliResult<u8> {
    args.common.apply()?;
    let start = Instant::now();
    let pipeline = args.common.load(&args.file, ops)?;
    let store = Store::open_readonly(args.common.store_dir())?;
    let options = RunOptions {
        request: args.select.request(),
        keep_going: args.keep_going,
        jobs: usize::from(args.jobs),
        device: args.common.device.as_str().to_owned(),
    };
    let cancel = Cancel::default();
    let err = Out::stderr();
    if let Err(e) = signals::listen(&cancel, &err) {
        err.line(&format!("warning: Ctrl-C will stop at once: {e}"));
    }
    let look = Look {
        bars: std::io::stderr().is_terminal(),
        ..look(std::io::stdout().is_terminal())
    };
    let json = args.log_format == LogFormat::Json;
    let listener: Arc<dyn EventSink> = if json {
        Arc::new(JsonUi::new(out.clone()))
    } else {
        Arc::new(HumanUi::new(out.clone(), look))
    };
    let summary = exec::run(&pipeline, &store, &options, listener, &cancel)?;
    if !json {
        out.text(&closing(&Closing {
            summary: &summary,
            store: &store,
            seconds: start.elapsed().as_secs_f64(),
            look,
        }));
    }
    Ok(match summary.status {
        RunStatus::Ok => exit::OK,
        RunStatus::Failed => exit::FAILED,
        RunStatus::Interrupted | RunStatus::Running => exit::INTERRUPTED,
    })
}
