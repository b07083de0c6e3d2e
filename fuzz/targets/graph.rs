//! A file of triples: every line becomes a triple, or is blank or rejected.
#![no_main]

use std::collections::BTreeMap;

use gfm_pipe_api::local;
use gfm_pipe_fuzz::{folder, with_file};
use gfm_pipe_kg::IngestKg;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let out = folder().join("out");
    with_file("kg.txt", bytes, |path| {
        let params = serde_json::json!({"path": path});
        let Ok(done) = local::run::<IngestKg>(&out, &params, BTreeMap::new()) else {
            return;
        };
        let rows = |port: &str, table: &str| done.port(port).rows(table).unwrap_or_default();
        let text = String::from_utf8_lossy(bytes);
        let lines = text.replace("\r\n", "\n").replace('\r', "\n");
        let lines = lines
            .strip_suffix('\n')
            .unwrap_or(&lines)
            .split('\n')
            .count();
        assert!(rows("triples", "triples") + rows("rejects", "rejects") <= lines);
    });
});
