//! `gfm-pipe run --watch`: runs again whenever a file changes that the pipeline is made of or
//! reads.
//!
//! Files are looked at by their stamps, a few times a second, which works on every file system.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gfm_pipe_api::Cancel;

use super::error::{CliError, CliResult};
use super::look;
use crate::plan::FileStamps;
use crate::spec::Pipeline;
use crate::ui::{self, Out};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Most changes that are named.
const MOST_NAMES: usize = 3;

/// Runs until the user stops. `load` reads the pipeline and `once` runs it. `files` are those that
/// the pipeline is read from, as far as the command line names them.
///
/// Returns the exit code of the last run.
pub fn rerun(
    files: &[PathBuf],
    cancel: &Cancel,
    err: &Out,
    mut load: impl FnMut() -> CliResult<Pipeline>,
    mut once: impl FnMut(&Pipeline) -> CliResult<u8>,
) -> u8 {
    let base = Path::new("");
    let told = |e: &CliError| {
        err.text(&e.text(look(std::io::stderr().is_terminal())));
        e.code()
    };
    // A pipeline with a mistake does not say which files it includes: then those count that it
    // included before.
    let mut own = files.to_vec();
    loop {
        // Files are looked at before they are read: what changes meanwhile is a reason for another
        // run.
        let of_pipeline = FileStamps::files(own.iter().cloned(), base);
        let loaded = load();
        let watched = || match &loaded {
            Ok(pipeline) => FileStamps::of(pipeline, base),
            Err(_) => FileStamps::files(own.iter().cloned(), base),
        };
        let before = watched().with(of_pipeline);
        let ran = loaded.as_ref().map(&mut once);
        let code = match &ran {
            Ok(Ok(code)) => *code,
            Ok(Err(e)) => told(e),
            Err(e) => told(e),
        };
        if cancel.is_cancelled() {
            return code;
        }
        let count = ui::number(before.count() as u64, "file");
        err.line(&format!("watching {count}; Ctrl-C ends"));
        match changed(&before, &watched, cancel) {
            Some(changes) => err.line(&said(&changes)),
            None => return code,
        }
        if let Ok(pipeline) = &loaded {
            own = files.iter().chain(&pipeline.files).cloned().collect();
        }
    }
}

/// Waits until files have changed and then stay as they are for a moment. `None` when the user
/// stops.
fn changed(
    before: &FileStamps,
    look: &dyn Fn() -> FileStamps,
    cancel: &Cancel,
) -> Option<Vec<String>> {
    let mut last = look();
    loop {
        let settled = !before.changes(&last).is_empty();
        if cancel.is_cancelled() {
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
        let now = look();
        if settled && now == last {
            return Some(before.changes(&now));
        }
        last = now;
    }
}

fn said(changes: &[String]) -> String {
    let mut text = changes
        .iter()
        .take(MOST_NAMES)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if let Some(more) = changes.len().checked_sub(MOST_NAMES).filter(|n| *n > 0) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_change_counts_when_it_has_settled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "0").unwrap();
        let look = || FileStamps::files([PathBuf::from("a")], dir.path());
        let before = look();
        let writer = {
            let path = path.clone();
            std::thread::spawn(move || {
                for i in 1..8 {
                    std::thread::sleep(LOOK_EVERY / 3);
                    std::fs::write(&path, "x".repeat(i)).unwrap();
                }
            })
        };
        assert_eq!(
            changed(&before, &look, &Cancel::default()).unwrap(),
            ["a changed"]
        );
        assert!(writer.is_finished());
        let cancel = Cancel::default();
        cancel.cancel();
        assert_eq!(changed(&look(), &look, &cancel), None);
    }

    #[test]
    fn many_changes_are_not_all_named() {
        let names = |n: usize| (0..n).map(|i| format!("{i} is new")).collect::<Vec<_>>();
        assert_eq!(said(&names(2)), "0 is new, 1 is new");
        assert_eq!(said(&names(5)), "0 is new, 1 is new, 2 is new and 2 more");
    }
}
