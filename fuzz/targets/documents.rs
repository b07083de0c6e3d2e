//! A document of any format, which the first byte chooses: it is read or rejected.
#![no_main]

use std::collections::BTreeMap;

use gfm_pipe_api::local;
use gfm_pipe_fuzz::{folder, with_file};
use gfm_pipe_index::IngestDocuments;
use libfuzzer_sys::fuzz_target;

const ENDINGS: [&str; 7] = ["txt", "md", "html", "json", "jsonl", "csv", "parquet"];

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let ending = ENDINGS[usize::from(*first) % ENDINGS.len()];
    let out = folder().join("out");
    with_file(&format!("document.{ending}"), rest, |path| {
        let split = match *first >> 7 {
            0 => serde_json::json!("none"),
            _ => serde_json::json!({"tokens": 60}),
        };
        let params = serde_json::json!({"path": path, "split": split});
        // A folder without a single document is refused with a message that names the file.
        if let Err(e) = local::run::<IngestDocuments>(&out, &params, BTreeMap::new()) {
            assert!(e.to_string().contains("document"), "{e}");
        }
    });
});
