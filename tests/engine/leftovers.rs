//! What a store still has of something that is gone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use gfm_pipe::plan::Key;
use gfm_pipe::record::history;
use gfm_pipe::store::{Extent, Store};
use gfm_pipe_api::table;

/// Keys of the stages that the last runs used.
pub fn keys_of_last(store: &Store, n: usize) -> BTreeSet<Key> {
    let (runs, bad) = history::runs(store).unwrap();
    assert!(bad.is_empty());
    let stages = runs.iter().rev().take(n).flat_map(|r| &r.journal.stages);
    stages.filter_map(|s| s.key.clone()).collect()
}

/// What `gfm-pipe gc --keep 1` does.
pub fn collect(store: &Store) {
    let (runs, _) = history::runs(store).unwrap();
    let old = runs.iter().rev().skip(1).map(|r| r.journal.run.as_str());
    let keep = keys_of_last(store, 1);
    let mut garbage = store.garbage(&keep, Extent::default()).unwrap();
    garbage.events = store.events_files(&old.collect::<Vec<_>>());
    store.remove(&garbage).unwrap();
}

/// The files of a folder that have a text; Parquet files are read as tables.
pub fn mentions(folder: &Path, text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.extend(mentions(&path, text));
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let mut found = bytes.windows(text.len()).any(|w| w == text.as_bytes());
        if path.extension().is_some_and(|e| e == "parquet") {
            let batches = table::reader(&path).unwrap();
            found |= batches
                .into_iter()
                .any(|b| format!("{:?}", b.unwrap()).contains(text));
        }
        if found {
            out.push(path.display().to_string());
        }
    }
    out
}
