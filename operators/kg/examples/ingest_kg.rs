//! Runs `ingest-kg` on a file without the engine and prints what was counted and how long it took:
//!
//!     cargo run --release -p gfm-pipe-kg --example ingest_kg -- data/atlas/processed/stage1/kg.txt
//!     /tmp/out
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use gfm_pipe_api::{OpError, OpResult, columns, local};
use gfm_pipe_kg::IngestKg;
use serde_json::json;

fn main() -> OpResult<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, out] = arguments.as_slice() else {
        return Err(OpError::new("usage: ingest_kg KG_TXT OUT_FOLDER"));
    };
    let start = Instant::now();
    let done = local::run::<IngestKg>(Path::new(out), &json!({"path": path}), BTreeMap::new())?;
    let seconds = start.elapsed().as_secs_f64();
    let counts = done.port("counts").read("counts")?;
    let names = columns::text(&counts, "name")?;
    let values = columns::u64s(&counts, "value")?;
    for (name, value) in names.iter().flatten().zip(values.values()) {
        println!("{name:<12} {value}");
    }
    for (_, message) in &done.messages {
        println!("{message}");
    }
    println!("{seconds:.2} s");
    Ok(())
}
