//! `gfm-pipe completions`.

use clap::CommandFactory;

use super::Cli;
use crate::ui::Out;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

/// Prints the completion script of a shell.
pub fn completions(args: &Args, out: &Out) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "gfm-pipe", &mut script);
    out.document(&String::from_utf8_lossy(&script));
}
