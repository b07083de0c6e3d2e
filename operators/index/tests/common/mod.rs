//! Returns tables of an operator's outputs as plain texts.
#![allow(dead_code, unused_imports, reason = "each test takes what it needs")]

use arrow::util::display::{ArrayFormatter, FormatOptions};
use gfm_pipe_api::local::Local;
pub use gfm_pipe_testing::shared;

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
