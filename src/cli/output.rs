//! Files that verbs write for the user.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use super::error::{CliError, CliResult};

/// Writes a file; one that is there already only with `force`.
pub fn write_new(path: &Path, text: &str, force: bool) -> CliResult<()> {
    let mut open = fs::OpenOptions::new();
    open.write(true);
    if force {
        open.create(true).truncate(true);
    } else {
        open.create_new(true);
    }
    let written = open
        .open(path)
        .and_then(|mut f| f.write_all(text.as_bytes()));
    written.map_err(|e| {
        let error = CliError::failed(format!("cannot write {}: {e}", path.display()));
        match e.kind() {
            ErrorKind::AlreadyExists => error.hint("--force replaces it"),
            _ => error,
        }
    })
}
