//! `gfm-pipe man`.

use std::path::PathBuf;

use clap::CommandFactory;

use gfm_pipe_api::shell;

use super::Cli;
use super::error::{CliError, CliResult};
use crate::ui::Out;

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An existing folder for the pages: ~/.local/share/man/man1
    folder: PathBuf,
}

/// Writes the pages. Those that are there are replaced.
pub fn man(args: &Args, out: &Out) -> CliResult<()> {
    let folder = args.folder.display();
    clap_mangen::generate_to(Cli::command(), &args.folder).map_err(|e| {
        CliError::failed(format!("cannot write into {folder}: {e}"))
            .hint("name a folder that is there and may be written to")
    })?;
    let first = shell::path(&args.folder.join("gfm-pipe.1"));
    out.line(&format!("pages written to {folder}: man -l {first}"));
    Ok(())
}
