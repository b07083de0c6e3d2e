//! Tells the program which commit it is built from.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=GFM_PIPE_COMMIT");
    println!("cargo::rustc-env=GFM_PIPE_COMMIT={}", commit());
}

fn commit() -> String {
    // A build without a repository can be told.
    if let Ok(commit) = std::env::var("GFM_PIPE_COMMIT") {
        return commit;
    }
    // A debug build would be made again after each commit.
    if std::env::var("PROFILE").is_ok_and(|profile| profile != "release") {
        return "debug build".to_owned();
    }
    let unknown = || "unknown commit".to_owned();
    // The repository of another project may lie around these files.
    let own = std::env::var("CARGO_MANIFEST_DIR").is_ok_and(|here| {
        let top = git(&["rev-parse", "--show-toplevel"]);
        top.is_some_and(|top| {
            Path::new(&top).canonicalize().ok() == Path::new(&here).canonicalize().ok()
        })
    });
    let Some(hash) = git(&["rev-parse", "--short=10", "HEAD"]).filter(|_| own) else {
        return unknown();
    };
    // Built again when another commit is made or checked out.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some();
    format!("commit {hash}{}", if changed { ", changed" } else { "" })
}

/// What git prints; `None` where there is no git, or no repository.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
}
