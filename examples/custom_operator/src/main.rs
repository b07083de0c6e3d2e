//! gfm-pipe with one operator more. Everything else is as ever: `my-pipe run`,
//! `my-pipe ops dedupe`, `my-pipe plan`…

mod dedupe;

use std::process::ExitCode;

use gfm_pipe_api::OpEntry;

fn main() -> ExitCode {
    let mut ops = gfm_pipe::registry::builtin();
    ops.push(OpEntry::of::<dedupe::Dedupe>());
    gfm_pipe::cli::main(ops)
}
