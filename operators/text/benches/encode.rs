//! Measures texts per second: `cargo bench -p gfm-pipe-text --bench encode -- MODEL_FOLDER TEXTS
//! [DEVICE [DTYPE]]`. TEXTS has one text per line. DEVICE is `cpu` or `cuda:N`, DTYPE `f32`, `f16`
//! or `bf16`. Prints one JSON line.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on stops, and says what it saw"
)]

use std::path::Path;
use std::time::Instant;

use gfm_pipe_text::{Compute, Round, Settings, Tokenised, Transformer, batches};

/// Texts per batch, the operator's default.
const BATCH: usize = 32;
/// Number of measured passes; one pass before them is not measured.
const PASSES: usize = 3;

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let [model, file, rest @ ..] = &args[..] else {
        println!(
            "skipped: a model folder and a file of texts are expected (scripts/bench-encoders/run has both)"
        );
        return;
    };
    let device = rest.first().map_or("cpu", String::as_str);
    let dtype = rest.get(1).map_or("f32", String::as_str);
    let round = match dtype {
        "f32" => Round::No,
        "f16" => Round::Float16,
        "bf16" => Round::BFloat16,
        other => panic!("no type `{other}`: f32, f16 and bf16 are known"),
    };
    let settings = Settings {
        round,
        ..Settings::default()
    };
    let start = Instant::now();
    let compute = Compute::of(device).unwrap();
    let encoder = Transformer::load_on(Path::new(model), &settings, compute).unwrap();
    let load = start.elapsed().as_secs_f64();
    let text = std::fs::read_to_string(file).unwrap();
    let texts: Vec<&str> = text.lines().collect();
    let prompt = encoder.prompt(None).unwrap();
    let mut seconds = Vec::new();
    let (mut tokens, mut first) = (0, 0.0);
    for _ in 0..=PASSES {
        let start = Instant::now();
        let of = encoder.tokenise(&prompt, &texts).unwrap();
        let batches = batches(&of, &encoder.compute().batch_limits(BATCH));
        let encode = |batch: &Vec<usize>| {
            let batch: Vec<&Tokenised> = batch.iter().map(|i| &of[*i]).collect();
            encoder.encode(&batch, &prompt).unwrap()
        };
        let vectors = encoder.compute().each(&batches, encode);
        seconds.push(start.elapsed().as_secs_f64());
        tokens = of.iter().map(Tokenised::tokens).sum();
        first = vectors[0][0];
    }
    seconds.remove(0);
    seconds.sort_by(f64::total_cmp);
    let median = seconds[PASSES / 2];
    println!(
        "{{\"who\": \"gfm-pipe\", \"device\": \"{device}\", \"dtype\": \"{dtype}\", \"texts\": {}, \"tokens\": {tokens}, \"load_s\": {load:.3}, \"median_s\": {median:.4}, \"texts_per_s\": {:.1}, \"first\": {first}}}",
        texts.len(),
        texts.len() as f64 / median
    );
}
