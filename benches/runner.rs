//! What the runner itself costs: `cargo bench --bench runner` prints a table. Toy operators, a
//! folder on the disk of `TMPDIR`.
//!
//! Medians of several rounds. Pairs that are compared are measured in turn, in one run.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]
#![expect(clippy::cast_precision_loss, reason = "sizes for people")]

#[allow(dead_code)]
#[path = "../tests/engine/toy.rs"]
mod toy;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{RecordBatch, UInt32Array};
use gfm_pipe::exec::{RunOptions, run};
use gfm_pipe::plan::{Request, prepare};
use gfm_pipe::record::{Fanout, RunStatus};
use gfm_pipe::spec::{LoadOptions, Pipeline, load};
use gfm_pipe::store::{StageTables, Store};
use gfm_pipe_api::{Cancel, OutPort, Outputs, kinds, table};

fn main() {
    // `cargo test` and `cargo bench` pass flags of the usual harness.
    println!("{:<44} {:>12}", "", "median");
    stages(100, 1, 7);
    stages(1000, 10, 5);
    hashing();
    writing();
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Seconds.
fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let out = work();
    (start.elapsed().as_secs_f64(), out)
}

fn line(what: &str, value: String) {
    println!("{what:<44} {value:>12}");
}

fn ms(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1e3)
}

fn loaded(dir: &Path) -> Pipeline {
    let opts = LoadOptions {
        base: dir.to_owned(),
        ..LoadOptions::default()
    };
    load(Path::new("p.yaml"), &opts, &toy::ops()).unwrap_or_else(|e| panic!("{e}"))
}

/// A pipeline of chains side by side, all cached: what loading, planning and a run that does
/// nothing take.
fn stages(n: usize, wide: usize, rounds: usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut yaml = String::from("stages:\n");
    for i in 0..n {
        if i < wide {
            fs::write(dir.path().join(format!("{i}.txt")), format!("{i}\n")).unwrap();
            yaml.push_str(&format!(
                "  s{i}: {{op: source, with: {{path: {i}.txt}}}}\n"
            ));
        } else {
            yaml.push_str(&format!(
                "  s{i}: {{op: concat, in: {{text: s{}}}, with: {{prefix: x}}}}\n",
                i - wide
            ));
        }
    }
    fs::write(dir.path().join("p.yaml"), yaml).unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let request = Request {
        base: dir.path().to_owned(),
        ..Request::default()
    };
    let options = RunOptions {
        request: request.clone(),
        ..RunOptions::default()
    };
    let pipeline = loaded(dir.path());
    let go = || {
        let nobody = Arc::new(Fanout(Vec::new()));
        let summary = run(&pipeline, &store, &options, nobody, &Cancel::default()).unwrap();
        assert_eq!(summary.status, RunStatus::Ok);
        summary
    };
    let (first, _) = timed(go);
    let load_times = (0..rounds)
        .map(|_| timed(|| loaded(dir.path())).0)
        .collect();
    let plan_times = (0..rounds).map(|_| timed(|| prepare(&pipeline, &store, &request).unwrap()).0);
    let plan = median(plan_times.collect());
    let cached = median((0..rounds).map(|_| timed(go).0).collect());
    println!("{n} stages, {wide} side by side");
    line("  load and check", ms(median(load_times)));
    line("  plan", ms(plan));
    line("  first run, one row a stage", ms(first));
    line("    a stage that runs", ms(first / n as f64));
    line("  run, all cached", ms(cached));
    line("    a cached stage", ms(cached / n as f64));
}

fn hashing() {
    const MB: usize = 512;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let block: Vec<u8> = (0..1u32 << 20)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut file = File::create(&path).unwrap();
    for _ in 0..MB {
        file.write_all(&block).unwrap();
    }
    drop(file);
    gfm_pipe_api::files::digest_of(&path).unwrap();
    let seconds = median(
        (0..5)
            .map(|_| timed(|| gfm_pipe_api::files::digest_of(&path).unwrap()).0)
            .collect(),
    );
    println!("input files ({MB} MiB, in the page cache)");
    line(
        "  hashing",
        format!("{:.2} GB/s", (MB << 20) as f64 / seconds / 1e9),
    );
}

/// The same batches as a stage's table and as a plain Parquet file, both down to the disk.
fn writing() {
    const ROWS: u32 = 8_000_000;
    let batches: Vec<RecordBatch> = (0..ROWS)
        .step_by(table::BATCH_ROWS)
        .map(|from| {
            let ids = from..(from + u32::try_from(table::BATCH_ROWS).unwrap()).min(ROWS);
            let column = |salt: u32| {
                let mixed = ids
                    .clone()
                    .map(|i| (i ^ salt).wrapping_mul(2_654_435_761) % 1_000_000);
                Arc::new(UInt32Array::from_iter_values(mixed)) as _
            };
            let schema = Arc::new(kinds::TRIPLES.tables[0].schema(0));
            RecordBatch::try_new(schema, vec![column(1), column(2), column(3)]).unwrap()
        })
        .collect();
    let ports = [OutPort {
        name: "triples",
        kind: &kinds::TRIPLES,
        about: "",
    }];
    let (mut plain, mut stored, mut bytes) = (Vec::new(), Vec::new(), 0);
    for round in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plain.parquet");
        let (seconds, ()) = timed(|| {
            let mut writer =
                table::writer(File::create(&path).unwrap(), batches[0].schema()).unwrap();
            for b in &batches {
                writer.write(b).unwrap();
            }
            writer.finish().unwrap();
            writer.inner().sync_all().unwrap();
        });
        bytes = fs::metadata(&path).unwrap().len();
        let store = Store::open(dir.path().join(format!("store{round}"))).unwrap();
        let (with, ()) = timed(|| {
            let tables = StageTables::new(&store, &ports);
            let mut sink = tables
                .create("triples", "triples", batches[0].schema())
                .unwrap();
            for b in &batches {
                sink.write(b).unwrap();
            }
            sink.finish().unwrap();
            tables.commit().unwrap();
        });
        plain.push(seconds);
        stored.push(with);
    }
    println!(
        "8,000,000 triples ({:.0} MB of Parquet), synced",
        bytes as f64 / 1e6
    );
    let (plain, stored) = (median(plain), median(stored));
    line("  plain Parquet file", ms(plain));
    line("  object of the store", ms(stored));
    line(
        "    more",
        format!("{:.1} %", (stored / plain - 1.0) * 100.0),
    );
}
