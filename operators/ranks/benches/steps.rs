//! Training steps on several ranks: `cargo bench -p gfm-pipe-ranks --features mpi --bench steps`
//! for a single rank, or start its program with `mpirun` (scripts/bench-ranks does both, in turn).
//! Rank 0 prints one JSON line.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

#[allow(dead_code)]
#[path = "../../kernels/benches/common.rs"]
mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arrow::array::{ArrayRef, StringArray, UInt32Array, UInt64Array};
use common::{median, triples};
use gfm_pipe_api::artifact::texts_digest;
use gfm_pipe_api::ranks::{Shared, single};
use gfm_pipe_api::{
    Artifact, Cancel, Collective, Context, Level, OpEntry, OpResult, Reporter, columns, kinds,
    local,
};
use gfm_pipe_ranks::{Launch, Order, Settings, meet};
use serde_json::{Value, json};

/// Width of text embeddings.
const TEXT: usize = 64;

/// The value of the option `--NAME VALUE`, or the default `usual`.
fn given(name: &str, usual: &str) -> String {
    let all: Vec<String> = std::env::args().collect();
    let at = all.iter().position(|a| *a == format!("--{name}"));
    at.and_then(|i| all.get(i + 1))
        .map_or(usual, String::as_str)
        .to_owned()
}

/// Measures the time that a rank spends in collective calls, and the bytes that it sends.
struct Timed {
    of: Shared,
    nanos: AtomicU64,
    sent: AtomicU64,
}

impl Timed {
    fn count<T>(&self, bytes: usize, call: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let out = call();
        let nanos = start.elapsed().as_nanos() as u64;
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        out
    }
}

impl Collective for Timed {
    fn rank(&self) -> usize {
        self.of.rank()
    }

    fn size(&self) -> usize {
        self.of.size()
    }

    fn exchange(&self, to: Vec<Vec<u8>>) -> OpResult<Vec<Vec<u8>>> {
        let others = to.iter().enumerate().filter(|(i, _)| *i != self.rank());
        let bytes = others.map(|(_, m)| m.len()).sum();
        self.count(bytes, || self.of.exchange(to))
    }

    fn all_gather(&self, mine: Vec<u8>) -> OpResult<Vec<Vec<u8>>> {
        self.count(mine.len() * (self.size() - 1), || self.of.all_gather(mine))
    }
}

/// Records for each step when it ended, and the time in collective calls and the bytes sent by
/// then.
struct Steps {
    ranks: Arc<Timed>,
    ended: Mutex<Vec<(Instant, u64, u64)>>,
}

impl Reporter for Steps {
    fn progress(&self, _done: u64, _total: u64, unit: &str, _note: &str) {
        if unit == "steps" {
            let at = (
                Instant::now(),
                self.ranks.nanos.load(Ordering::Relaxed),
                self.ranks.sent.load(Ordering::Relaxed),
            );
            self.ended.lock().unwrap().push(at);
        }
    }
    fn message(&self, _level: Level, text: &str) {
        if self.ranks.rank() == 0 && text.contains("between ranks") {
            eprintln!("{text}");
        }
    }
    fn resumed_at(&self, _step: u64) {}
}

fn op(name: &str) -> OpEntry {
    let all = gfm_pipe_gfm::operators();
    all.into_iter().find(|o| o.name == name).unwrap()
}

/// A power-law graph with the given numbers of nodes, triples and relations.
fn graph(dir: &Path, (nodes, edges, relations): (usize, usize, usize)) -> Artifact {
    let made = triples(nodes, edges, relations);
    let u32s = |v: &mut dyn Iterator<Item = u32>| -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values(v))
    };
    let text = |v: Vec<String>| -> ArrayRef { Arc::new(StringArray::from(v)) };
    let count = |n: usize| -> ArrayRef { Arc::new(UInt64Array::from(vec![n as u64])) };
    let store = |kind: &'static gfm_pipe_api::Kind, name: &str, tables: Vec<Vec<ArrayRef>>| {
        let tables = tables.into_iter().enumerate();
        let tables = tables.map(|(i, t)| columns::batch(&kind.tables[i], t).unwrap());
        local::artifact(dir, kind, name, tables.collect()).unwrap()
    };
    let columns_of = (0..3)
        .map(|c| u32s(&mut made.iter().map(|t| t[c])))
        .collect();
    let list = store(&kinds::TRIPLES, "triples", vec![columns_of]);
    let names: Vec<String> = (0..nodes).map(|i| format!("e{i}")).collect();
    let entities = vec![u32s(&mut (0..nodes as u32)), text(names)];
    let entities = store(&kinds::ENTITIES, "entities", vec![entities]);
    let texts: Vec<String> = (0..2 * relations).map(|i| format!("r{i}")).collect();
    let values = (0..2 * relations * TEXT).map(|i| ((i * 7919 % 1000) as f32 - 500.0) / 2000.0);
    let vectors = vec![columns::build_vectors(TEXT, values.collect()).unwrap()];
    let about = vec![
        text(vec!["made".to_owned()]),
        text(vec!["made".to_owned()]),
        u32s(&mut std::iter::once(TEXT as u32)),
        count(2 * relations),
        count(0),
        text(vec![texts_digest(&texts)]),
    ];
    let embeddings = store(&kinds::EMBEDDINGS, "relations", vec![vectors, about]);
    let inputs = [
        ("triples", list),
        ("entities", entities),
        ("relations", embeddings),
    ];
    let inputs = inputs.map(|(port, a)| (port.to_owned(), vec![a]));
    let out = local::run_entry(
        &op("build-graph"),
        &dir.join("graph"),
        &json!({}),
        inputs.into(),
    );
    out.unwrap().port("graph").clone()
}

/// Trains, and returns for each step when it ended, the time in collective calls (ns) and the bytes
/// sent.
fn train(ranks: Shared, dir: &Path, graph: &Artifact, params: &Value) -> Vec<(Instant, u64, u64)> {
    let ranks = Arc::new(Timed {
        of: ranks,
        nanos: AtomicU64::new(0),
        sent: AtomicU64::new(0),
    });
    let steps = Arc::new(Steps {
        ranks: Arc::clone(&ranks),
        ended: Mutex::new(Vec::new()),
    });
    let workdir = dir.join("work");
    std::fs::create_dir_all(&workdir).unwrap();
    let ctx = Context {
        inputs: BTreeMap::from([("graph".to_owned(), vec![graph.clone()])]),
        reporter: Arc::clone(&steps) as Arc<dyn Reporter>,
        workdir,
        ranks,
        ..local::context()
    };
    let entry = op("pretrain");
    entry.run(entry.validate(params).unwrap(), &ctx).unwrap();
    let ended = steps.ended.lock().unwrap();
    ended.clone()
}

fn main() {
    // `cargo test` runs benches too, without their arguments.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    let number = |name: &str, usual: &str| given(name, usual).parse::<usize>().unwrap();
    let (size, dim, steps) = (
        given("size", "M"),
        number("dim", "64"),
        number("steps", "10"),
    );
    let (batch, divide) = (number("batch", "8"), given("divide", "batch"));
    let threads = number("threads", "1");
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .unwrap();
    let sizes = match size.as_str() {
        "M" => (20_000, 100_000, 2_000),
        "L" => (10_000, 50_000, 1_000),
        other => {
            let n: Vec<usize> = other.split('x').map(|x| x.parse().unwrap()).collect();
            (n[0], n[1], n[2])
        }
    };
    let launch = Launch::from_env(|name| std::env::var(name).ok());
    let team = launch.map(|l| meet(l, Vec::new(), Settings::default()).unwrap());
    let count = team.as_ref().map_or(1, |t| t.members().len());
    let params = json!({
        "model": {"entity_model": {"input_dim": dim, "hidden_dims": vec![dim; 6]}},
        "task": {"num_negative": 256},
        "train": {
            "batch_size": if divide == "graph" { batch } else { batch * count },
            "num_epoch": 1, "batch_per_epoch": steps, "divide": divide, "fast_test": 1,
        },
    });
    let dir = tempfile::tempdir().unwrap();
    let graph = graph(dir.path(), sizes);
    let cancel = Cancel::default();
    let ended = match &team {
        None => train(single(), dir.path(), &graph, &params),
        Some(team) if team.rank() == 0 => {
            let session = team.start(json!({}), &cancel).unwrap();
            let ended = train(session.ranks(), dir.path(), &graph, &params);
            session.end(Ok(())).unwrap();
            ended
        }
        Some(team) => {
            let Ok(Order::Compute(order, _)) = team.next() else {
                return;
            };
            let ranks = team.begin(order, Ok(())).unwrap().unwrap();
            train(ranks, dir.path(), &graph, &params);
            team.done(order, &Ok(()));
            let _ = team.next();
            team.close();
            return;
        }
    };
    if let Some(team) = &team {
        team.close();
    }
    // The first steps fill caches.
    let pairs = || ended.windows(2).skip(1);
    let step = median(pairs().map(|w| (w[1].0 - w[0].0).as_secs_f64()).collect());
    let calls = median(pairs().map(|w| (w[1].1 - w[0].1) as f64 / 1e9).collect());
    let sent = median(pairs().map(|w| (w[1].2 - w[0].2) as f64).collect());
    println!(
        "{}",
        json!({
            "size": size, "dim": dim, "ranks": count, "threads": threads, "divide": divide,
            "batch_a_rank": batch, "step_s": step, "in_calls_s": calls, "sent_bytes": sent,
        })
    );
}
