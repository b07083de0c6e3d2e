//! What the tests share: small folders, running the operators, reading their tables.
#![allow(clippy::unwrap_used, dead_code, unused_imports)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{Artifact, OpResult, columns};
use gfm_pipe_kg::{IngestKg, IngestQa};
pub use gfm_pipe_testing::shared;
use serde_json::json;

/// Runs `ingest-kg` on these bytes.
pub fn ingest_bytes(bytes: &[u8]) -> OpResult<(tempfile::TempDir, Local)> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kg.txt");
    fs::write(&path, bytes).unwrap();
    let out = ingest_file(&path, &dir.path().join("out"))?;
    Ok((dir, out))
}

/// Runs `ingest-kg` on a file.
pub fn ingest_file(path: &Path, out: &Path) -> OpResult<Local> {
    local::run::<IngestKg>(out, &json!({"path": path}), BTreeMap::new())
}

/// Runs `ingest-qa` on a folder with the entities of an earlier run.
pub fn ingest_questions(root: &Path, entities: &Artifact, out: &Path) -> OpResult<Local> {
    let inputs = BTreeMap::from([("entities".to_owned(), vec![entities.clone()])]);
    local::run::<IngestQa>(out, &json!({"root": root, "dataset": "toy"}), inputs)
}

pub fn texts(artifact: &Artifact, table: &str, column: &str) -> Vec<String> {
    let batch = artifact.read(table).unwrap();
    let column = columns::text(&batch, column).unwrap();
    column.iter().map(|t| t.unwrap_or("-").to_owned()).collect()
}

pub fn ids(artifact: &Artifact, table: &str, column: &str) -> Vec<Option<u32>> {
    let batch = artifact.read(table).unwrap();
    columns::u32s(&batch, column).unwrap().iter().collect()
}

pub fn triples(local: &Local) -> Vec<[u32; 3]> {
    let column = |name| ids(local.port("triples"), "triples", name);
    let (heads, relations, tails) = (column("head"), column("relation"), column("tail"));
    heads
        .iter()
        .zip(&relations)
        .zip(&tails)
        .map(|((h, r), t)| [h.unwrap(), r.unwrap(), t.unwrap()])
        .collect()
}

pub fn counts(local: &Local) -> BTreeMap<String, u64> {
    let batch = local.port("counts").read("counts").unwrap();
    let values = columns::u64s(&batch, "value").unwrap();
    texts(local.port("counts"), "counts", "name")
        .into_iter()
        .zip(values.values().iter().copied())
        .collect()
}

/// Rejects as `line|item|reason|text`.
pub fn rejects(local: &Local) -> Vec<String> {
    let batch = local.port("rejects").read("rejects").unwrap();
    let lines = columns::u64s(&batch, "line").unwrap();
    let part = |name| texts(local.port("rejects"), "rejects", name);
    let (items, reasons, what) = (part("item"), part("reason"), part("text"));
    (0..batch.num_rows())
        .map(|i| {
            let line = lines.iter().nth(i).flatten();
            let line = line.map_or("-".to_owned(), |l| l.to_string());
            format!("{line}|{}|{}|{}", items[i], reasons[i], what[i])
        })
        .collect()
}

/// Places as `table[row] source:line`.
pub fn places(local: &Local) -> Vec<String> {
    let batch = local.port("places").read("places").unwrap();
    let part = |name| texts(local.port("places"), "places", name);
    let number = |name| columns::u64s(&batch, name).unwrap();
    let (tables, sources) = (part("table"), part("source"));
    let (rows, lines) = (number("row").values(), number("line").values());
    (0..batch.num_rows())
        .map(|i| format!("{}[{}] {}:{}", tables[i], rows[i], sources[i], lines[i]))
        .collect()
}
