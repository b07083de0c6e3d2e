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
    /// A folder for the pages, which is made if need be: ~/.local/share/man/man1
    folder: PathBuf,
}

/// Writes the pages. Those that are there are replaced.
pub fn man(args: &Args, out: &Out) -> CliResult<()> {
    let folder = args.folder.display();
    // A page has the version in its foot, though only the program itself has the option.
    let version = env!("CARGO_PKG_VERSION");
    let all = Cli::command().mut_subcommands(|c| c.version(version).disable_version_flag(true));
    let made = std::fs::create_dir_all(&args.folder);
    made.and_then(|()| clap_mangen::generate_to(all, &args.folder))
        .map_err(|e| {
            CliError::failed(format!("cannot write into {folder}: {e}"))
                .hint("name a folder that can be written to")
        })?;
    let first = shell::path(&args.folder.join("gfm-pipe.1"));
    out.line(&format!("pages written to {folder}: man -l {first}"));
    Ok(())
}
