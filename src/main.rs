//! The `gfm-pipe` binary: the command line with the built-in operators.

use std::process::ExitCode;

fn main() -> ExitCode {
    gfm_pipe::cli::main(gfm_pipe::registry::builtin())
}
