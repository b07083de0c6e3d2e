//! `gfm-pipe demo`: the main job on the demo set that is compiled in, and a page to ask it.

use std::fs;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Parser;
use gfm_pipe_api::{OpEntry, files, shell};

use super::error::{CliError, CliResult, exit};
use super::output::write_new;
use super::shared_args::enter;
use super::signals::Interrupt;
use super::{run, serve};
use crate::init::{ATLAS, PIPELINE};
use crate::ui::Out;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for the data, the pipeline and the results; it is made where there is none
    #[arg(default_value = "gfm-pipe-demo")]
    folder: PathBuf,
    /// Address of the page
    #[arg(long, value_name = "HOST:PORT", default_value = serve::ADDRESS, value_parser = serve::address)]
    addr: SocketAddr,
    /// Print the address of the page, and open no browser
    #[arg(long)]
    no_browser: bool,
    /// End after the run, without a page
    #[arg(long)]
    no_page: bool,
}

/// The arguments of another subcommand, as they would be typed.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct Typed<A: clap::Args> {
    #[command(flatten)]
    args: A,
}

fn typed<A: clap::Args>(words: &[&str]) -> CliResult<A> {
    let typed = Typed::<A>::try_parse_from(words);
    typed
        .map(|typed| typed.args)
        .map_err(|e| CliError::usage(e.to_string()))
}

/// Writes the files, runs the pipeline, and serves its retriever until the user stops.
pub fn demo(args: &Args, ops: &[OpEntry], out: &Out, err: &Out) -> CliResult<u8> {
    let new = write(&args.folder, out)?;
    let folder = shell::path(&args.folder);
    if new > 0 {
        out.line(&format!(
            "{} written: a pipeline, and documents about the world",
            args.folder.display()
        ));
    }
    enter(Some(&args.folder))?;
    out.line(&format!("cd {folder}"));
    out.line(&format!("gfm-pipe run {PIPELINE}"));
    let interrupt = Interrupt::listen(err);
    let code = run::run_until(&typed(&[PIPELINE])?, ops, out, Some(&interrupt))?;
    if interrupt.cancel.is_cancelled() {
        return Ok(exit::INTERRUPTED);
    }
    if code != exit::OK || args.no_page {
        return Ok(code);
    }
    let addr = args.addr.to_string();
    out.line("");
    out.line("gfm-pipe serve");
    let opens = !args.no_browser && std::io::stderr().is_terminal() && has_screen();
    let args = typed(&["--addr", &addr])?;
    serve::serve_until(&args, ops, err, Some(&interrupt.cancel), |place| {
        err.line(&format!("open {place} and ask; Ctrl-C ends"));
        if opens {
            open(place);
        }
    })
}

/// Writes the files that are not there, and returns how many those were. A file that is there must
/// be the same.
fn write(folder: &Path, out: &Out) -> CliResult<usize> {
    let mut missing = Vec::new();
    for (name, text) in ATLAS {
        let path = folder.join(name);
        match files::read(&path) {
            Ok(bytes) if bytes == text.as_bytes() => {}
            Ok(_) => {
                let message = format!("{} is there, and is not the demo's", path.display());
                return Err(
                    CliError::usage(message).hint("name another folder: gfm-pipe demo FOLDER")
                );
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => missing.push((path, text)),
            Err(e) => {
                let message = format!("failed to read {}: {e}", path.display());
                return Err(CliError::failed(message));
            }
        }
    }
    for (path, text) in &missing {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .map_err(|e| CliError::failed(format!("cannot make {}: {e}", parent.display())))?;
        }
        write_new(path, text, false, out)?;
    }
    Ok(missing.len())
}

/// Whether a browser would have a screen to open on.
fn has_screen() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !cfg!(target_os = "linux") || set("DISPLAY") || set("WAYLAND_DISPLAY")
}

/// Opens a page in the user's browser. Where that fails, its address has been printed.
fn open(place: &str) {
    let program = match std::env::consts::OS {
        "macos" => "open",
        "windows" => "explorer",
        _ => "xdg-open",
    };
    let mut command = Command::new(program);
    command.arg(place).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    // Ctrl-C ends the server, not the browser.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let started = command.spawn();
    if let Err(e) = started {
        tracing::debug!("{program}: {e}");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_are_written_once_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("new/demo");
        let out = Out::new(std::io::sink());
        assert_eq!(write(&folder, &out).unwrap(), ATLAS.len());
        assert_eq!(write(&folder, &out).unwrap(), 0);
        fs::remove_file(folder.join("data/atlas/README.md")).unwrap();
        assert_eq!(write(&folder, &out).unwrap(), 1);
        fs::write(folder.join(PIPELINE), "mine").unwrap();
        let e = write(&folder, &out).unwrap_err();
        assert!(
            e.message()
                .ends_with("full.yaml is there, and is not the demo's")
        );
        assert_eq!(fs::read_to_string(folder.join(PIPELINE)).unwrap(), "mine");
    }
}
