//! A file of a store, which the first byte chooses: damage is found and reported, and nothing that
//! looks at the store ends the program.
#![no_main]

use std::collections::BTreeSet;
use std::fs;

use gfm_pipe::record::history;
use gfm_pipe::store::{Extent, Store};
use gfm_pipe_fuzz::folder;
use libfuzzer_sys::fuzz_target;

const RUN: &str = "20261130-101112-123-abcd";

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let root = folder().join("store");
    let _ = fs::remove_dir_all(&root);
    let store = Store::open(&root).expect("an empty store");
    let zeros = "0".repeat(64);
    let path = match first % 5 {
        0 => format!("stages/{zeros}.json"),
        1 => format!("runs/{RUN}.json"),
        2 => format!("runs/{RUN}.events.jsonl"),
        3 => format!("runs/{RUN}.metrics.parquet"),
        _ => format!("items/f/{zeros}/{zeros}.pack"),
    };
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(&path, rest).expect("a file");
    let _ = store.verify(true, &|_, _| {});
    let _ = history::runs(&store);
    let _ = history::faults(&store);
    let _ = gfm_pipe::record::metrics_of(&store, RUN);
    let extent = Extent {
        checkpoints: true,
        items: false,
        answers: false,
    };
    if let Ok(garbage) = store.garbage(&BTreeSet::new(), extent) {
        let _ = store.remove(&garbage);
    }
});
