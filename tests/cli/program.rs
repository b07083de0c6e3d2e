//! Starting programs and making their output comparable.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Environment variable set for the process that is the command line with toy operators: its
/// arguments, one per line.
const ARGS: &str = "GFM_PIPE_CLI_TEST_ARGS";

/// The line that ends the test harness's own output, before that of the program.
const MARK: &str = "----- program -----\n";

/// A command that runs the real binary.
pub fn real(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gfm-pipe"));
    command.args(args);
    clean(command, dir)
}

/// A command that runs the command line with toy operators: this test program, in the role of
/// gfm-pipe.
pub fn toy(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["program::be_the_program", "--exact", "--nocapture"])
        .env(ARGS, args.join("\n"));
    clean(command, dir)
}

fn clean(mut command: Command, dir: &Path) -> Command {
    command
        .current_dir(dir)
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .env_remove("GFM_PIPE_LOG")
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null());
    command
}

/// Not a test in itself: this is what [`toy`] starts.
#[test]
fn be_the_program() {
    use std::io::Write as _;
    let Ok(args) = std::env::var(ARGS) else {
        return;
    };
    std::io::stdout().write_all(MARK.as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
    let args = std::iter::once("gfm-pipe").chain(args.lines());
    let code = gfm_pipe::cli::main_from(args.map(Into::into), &crate::toy::ops());
    // An `ExitCode` cannot be converted to a number, but it can be compared.
    let code = (0..=255u8).find(|c| code == std::process::ExitCode::from(*c));
    #[expect(clippy::exit)]
    std::process::exit(i32::from(code.unwrap()));
}

/// Runs a command; returns standard output, standard error and the exit code, with what differs
/// from run to run replaced.
pub fn told(command: &mut Command) -> String {
    text(&command.output().unwrap())
}

/// The same for output that is already there.
pub fn text(output: &Output) -> String {
    let mut out = stdout(output);
    let err = String::from_utf8_lossy(&output.stderr);
    if !err.is_empty() {
        out.push_str("--- stderr\n");
        out.push_str(&err);
    }
    out.push_str(&format!(
        "--- exit {}\n",
        output.status.code().unwrap_or(-1)
    ));
    out
}

/// Standard output of the program, without the test harness's lines.
pub fn stdout(output: &Output) -> String {
    let all = String::from_utf8_lossy(&output.stdout);
    match all.split_once(MARK) {
        Some((_, program)) => program.to_owned(),
        None => all.into_owned(),
    }
}

/// Snapshot settings that replace times, keys and sizes.
pub fn filters() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r" +\d+\.\d\d s\b", " [time]");
    settings.add_filter(r"\b[0-9a-f]{64}\b", "[digest]");
    settings.add_filter(r"(?m)^(\w+ +)[0-9a-f]{8}  ", "$1[key]  ");
    settings.add_filter(r"\d+(\.\d)? (k|M)?B\b", "[size]");
    settings.add_filter(r"\d{8}-\d{6}-\d{3}-[0-9a-f]{4}", "[run]");
    settings.add_filter(r"gfm-pipe\.exe", "gfm-pipe");
    settings
}

pub fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    (dir, path)
}

/// Copies a folder and everything in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
