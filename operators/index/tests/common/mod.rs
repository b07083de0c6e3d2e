//! Tables of an operator's outputs as plain texts.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::path::{Path, PathBuf};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use gfm_pipe_api::local::Local;

/// The rows of a port's table: the named columns, joined by ` | `; missing values are empty.
pub fn rows(local: &Local, port: &str, table: &str, columns: &[&str]) -> Vec<String> {
    let batch = local.port(port).read(table).unwrap();
    let options = FormatOptions::default();
    let columns: Vec<ArrayFormatter<'_>> = columns
        .iter()
        .map(|c| {
            ArrayFormatter::try_new(batch.column_by_name(c).unwrap().as_ref(), &options).unwrap()
        })
        .collect();
    (0..batch.num_rows())
        .map(|row| {
            let cells: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            cells.join(" | ")
        })
        .collect()
}

/// The counts of an ingest.
pub fn counts(local: &Local) -> Vec<String> {
    rows(local, "counts", "counts", &["name", "value"])
}

/// A file or folder of the shared data, or `None` (with the reason printed) where it is absent.
/// `GFM_SHARED` names it, else it is `shared` beside the workspace; `GFM_REQUIRE_SHARED=1` makes a
/// missing one fail.
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
pub fn shared(what: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = std::env::var_os("GFM_SHARED").map_or(workspace.join("../shared"), PathBuf::from);
    let path = root.join(what);
    if path.exists() {
        return Some(path);
    }
    let required = std::env::var("GFM_REQUIRE_SHARED").is_ok_and(|v| v == "1");
    assert!(
        !required,
        "{} is missing and GFM_REQUIRE_SHARED=1",
        path.display()
    );
    eprintln!(
        "skipped: {} is missing (GFM_SHARED says where it is)",
        path.display()
    );
    None
}
