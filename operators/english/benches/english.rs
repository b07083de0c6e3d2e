//! Tokens a second: `cargo bench -p gfm-pipe-english -- TEXTS`. TEXTS is a JSON object of texts, as
//! `raw/dataset_corpus.json` is. One JSON line out. benches/spacy_speed.py does the same with
//! spaCy.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on stops, and says what it saw"
)]

use std::collections::BTreeMap;
use std::time::Instant;

use gfm_pipe_english::{English, facts};

/// Measured passes.
const PASSES: usize = 5;

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let [file] = &args[..] else {
        println!(
            "skipped: a file of texts is expected (data/atlas/raw/dataset_corpus.json is one)"
        );
        return;
    };
    let texts: BTreeMap<String, String> =
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let texts: Vec<String> = texts.into_values().collect();
    let start = Instant::now();
    let english = English::new().unwrap();
    let load = start.elapsed().as_secs_f64();
    let mut best: [f64; 2] = [f64::INFINITY; 2];
    let mut cpu: [f64; 2] = [f64::INFINITY; 2];
    let (mut tokens, mut docs) = (0, Vec::new());
    for _ in 0..PASSES {
        for (threads, (best, cpu)) in (1..).zip(best.iter_mut().zip(&mut cpu)) {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let (start, before) = (Instant::now(), cpu_seconds());
            docs = pool.install(|| english.parse_all(&texts));
            *best = best.min(start.elapsed().as_secs_f64());
            *cpu = cpu.min(cpu_seconds() - before);
            tokens = docs.iter().map(|d| d.tokens.len()).sum();
        }
    }
    let start = Instant::now();
    let found: usize = texts
        .iter()
        .zip(&docs)
        .map(|(text, doc)| facts::facts(text, doc, None).len())
        .sum();
    let facts_s = start.elapsed().as_secs_f64();
    let per = |seconds: f64| (tokens as f64 / seconds).round();
    println!(
        "{}",
        serde_json::json!({
            "texts": texts.len(),
            "tokens": tokens,
            "load_s": load,
            "one_thread": {"tokens_per_s": per(best[0]), "tokens_per_cpu_s": per(cpu[0])},
            "two_threads": {"tokens_per_s": per(best[1]), "tokens_per_cpu_s": per(cpu[1])},
            "facts": found,
            "facts_s": facts_s,
        })
    );
}

/// Time that this process has had a processor: on a machine that others use, it is a better measure
/// than the clock. Not a number where there is no /proc.
fn cpu_seconds() -> f64 {
    /// Ticks of the kernel's counters in a second.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program, in brackets, may hold spaces. Fields 14 and 15 are ticks for the
    // program and the kernel.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = |n: usize| fields.split_whitespace().nth(n)?.parse::<f64>().ok();
    match (ticks(11), ticks(12)) {
        (Some(user), Some(system)) => (user + system) / TICKS,
        _ => f64::NAN,
    }
}
