//! Large inputs: `cargo bench --bench ingest [-- --triples 10000000 --names 1000000]`. Time,
//! throughput and peak memory of reading a kg.txt and of embedding relation names with the
//! compiled-in encoder; each in a process of its own, for its own peak.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]
#![expect(clippy::cast_precision_loss, reason = "sizes for people")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, StringArray, UInt32Array, UInt64Array};
use gfm_pipe_api::{Artifact, OpEntry, columns, kinds, local};
use serde_json::json;

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let value = |flag: &str, usual: u64| -> u64 {
        let at = args.iter().position(|a| a == flag);
        at.and_then(|i| args.get(i + 1))
            .map_or(usual, |v| v.parse().unwrap())
    };
    let (triples, names) = (value("--triples", 10_000_000), value("--names", 1_000_000));
    match args.first().map(String::as_str) {
        Some("ingest") => ingest(Path::new(&args[1])),
        Some("embed") => embed(names),
        _ => {
            let dir = tempfile::tempdir().unwrap();
            let kg = dir.path().join("kg.txt");
            write(&kg, triples);
            println!(
                "kg.txt of {triples} triples, {:.0} MB",
                fs::metadata(&kg).unwrap().len() as f64 / 1e6
            );
            again(&["ingest", kg.to_str().unwrap()]);
            again(&["embed", "--names", &names.to_string()]);
        }
    }
}

fn again(args: &[&str]) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(args)
        .status();
    assert!(status.unwrap().success());
}

fn peak_mb() -> f64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kb = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kb.unwrap_or(0.0) / 1024.0
}

/// A tenth as many entities as triples, a few of them in many triples; 1000 relations.
fn write(path: &Path, triples: u64) {
    let mut out = BufWriter::new(File::create(path).unwrap());
    let entities = (triples / 10).max(10);
    for i in 0..triples {
        let mix = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (a, b) = (mix >> 33, (mix ^ (mix >> 29)) & 0x7fff_ffff);
        // Squared, so that small numbers are drawn more often.
        let skewed = |x: u64| {
            (u128::from(x % entities) * u128::from(x % entities) / u128::from(entities)) as u64
        };
        writeln!(
            out,
            "entity number {},relation {},entity number {}",
            skewed(a),
            b % 1000,
            b % entities
        )
        .unwrap();
    }
}

fn op(name: &str) -> OpEntry {
    let all = gfm_pipe::registry::builtin();
    all.into_iter().find(|o| o.name == name).unwrap()
}

fn ingest(path: &Path) {
    let out = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let params = json!({"path": path});
    let done = local::run_entry(&op("ingest-kg"), out.path(), &params, BTreeMap::new()).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let rows = done.port("triples").rows("triples").unwrap() as f64;
    let bytes = fs::metadata(path).unwrap().len() as f64;
    println!(
        "ingest-kg: {seconds:.1} s, {:.2} M triples/s, {:.0} MB/s, peak {:.0} MB",
        rows / seconds / 1e6,
        bytes / seconds / 1e6,
        peak_mb()
    );
}

fn names(dir: &Path, n: u64) -> Artifact {
    let ids = UInt32Array::from_iter_values(0..u32::try_from(n).unwrap());
    let words = [
        "capital", "river", "author", "member", "located", "born", "employer", "award", "genre",
        "parent",
    ];
    let name = |i: u64| {
        let word = |k: u64| words[(i / 10u64.pow(k as u32) % 10) as usize];
        format!("{} {} of {} {i}", word(0), word(2), word(4))
    };
    let batch = columns::batch(
        &kinds::RELATIONS.tables[0],
        vec![
            Arc::new(ids) as ArrayRef,
            Arc::new(StringArray::from_iter_values((0..n).map(name))),
            Arc::new(UInt32Array::from_iter((0..n).map(|_| None::<u32>))),
            Arc::new(UInt64Array::from_iter_values((0..n).map(|_| 1))),
        ],
    );
    local::artifact(dir, &kinds::RELATIONS, "kg.relations", vec![batch.unwrap()]).unwrap()
}

fn embed(n: u64) {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let inputs = BTreeMap::from([("texts".to_owned(), vec![names(dir.path(), n)])]);
    let before = peak_mb();
    let start = Instant::now();
    let params = json!({"model": "static"});
    local::run_entry(&op("embed"), out.path(), &params, inputs).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "embed (static): {n} names in {seconds:.1} s, {:.0} k names/s, peak {:.0} MB ({before:.0} MB of it to make the names)",
        n as f64 / seconds / 1e3,
        peak_mb()
    );
}
