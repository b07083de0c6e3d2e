//! `gfm-pipe run --on-finish COMMAND`: a command that is started when a run has ended, to tell
//! somebody or to copy something.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::exec::RunSummary;
use crate::record::RunStatus;
use crate::ui::Out;

/// Runs a command in the shell and waits for it. It finds the run in its environment. What it
/// prints goes to standard error, because standard output may be for programs. Its failure changes
/// nothing about the run.
pub fn on_finish(command: &str, summary: &RunSummary, store: &Path, err: &Out) {
    let (shell, option) = if cfg!(windows) {
        ("cmd", "/C")
    } else {
        ("sh", "-c")
    };
    let output = Command::new(shell)
        .args([option, command])
        .env("GFM_PIPE_RUN", &summary.run)
        .env("GFM_PIPE_STATUS", status(summary.status))
        .env("GFM_PIPE_STORE", store)
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(e) => {
            err.line(&format!(
                "warning: --on-finish: failed to start {shell}: {e}"
            ));
            return;
        }
    };
    for text in [&output.stdout, &output.stderr] {
        err.text(&String::from_utf8_lossy(text));
    }
    if !output.status.success() {
        err.line(&format!(
            "warning: --on-finish: the command ended with {}",
            output.status
        ));
    }
}

/// The status in one word, as in the journal.
fn status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Ok => "ok",
        RunStatus::Failed => "failed",
        RunStatus::Interrupted | RunStatus::Running => "interrupted",
    }
}
