//! `gfm-pipe report`.

use std::path::{Path, PathBuf};

use super::error::{CliError, CliResult};
use super::output::write_new;
use super::runs::{all, find};
use super::shared_args::StoreArgs;
use crate::report;
use crate::ui::Out;

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A run by its name, the start of it, or `latest`; `gfm-pipe runs` lists them
    #[arg(default_value = "latest")]
    run: String,
    /// Write the page here; `-` is standard output [default: report-RUN.html]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the output file where there is one
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Writes the page of a run.
pub fn report(args: &Args, out: &Out, err: &Out) -> CliResult<()> {
    let store = args.store.open()?;
    let runs = all(&store, err)?;
    let run = &find(&runs, &args.run)?.journal;
    let page = report::report(&store, run).map_err(|e| CliError::failed(e.to_string()))?;
    match &args.output {
        Some(file) => write_page(file, &page, args.force, out),
        // The file is named after the run: one that exists can only be an older page of the same
        // run.
        None => {
            let file = PathBuf::from(format!("report-{}.html", run.run));
            write_page(&file, &page, true, out)
        }
    }
}

/// Writes a page and prints where it is, unless the page itself goes to standard output.
pub(super) fn write_page(file: &Path, page: &str, force: bool, out: &Out) -> CliResult<()> {
    if write_new(file, page, force, out)? {
        out.line(&format!(
            "{} written, {}: open it in a browser",
            file.display(),
            crate::ui::bytes(page.len() as u64)
        ));
    }
    Ok(())
}
