//! Prints how long loading the compiled-in encoder takes and how many texts it encodes per second.
//!
//! `cargo run -p gfm-pipe-text --example encoder_speed [FILE]`: FILE has one text per line; without
//! it, made-up names are encoded.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use gfm_pipe_text::StaticEncoder;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let texts: Vec<String> = match std::env::args().nth(1) {
        Some(path) => std::fs::read_to_string(path)?
            .lines()
            .map(str::to_owned)
            .collect(),
        None => (0..100_000)
            .map(|at| format!("place {at} is the capital of region {}", at / 7))
            .collect(),
    };
    let start = Instant::now();
    let encoder = StaticEncoder::builtin()?;
    println!("load    {:>8.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    let digest = encoder.digest();
    println!(
        "digest  {:>8.1} ms  {digest}",
        start.elapsed().as_secs_f64() * 1e3
    );
    let start = Instant::now();
    let encoded = encoder.encode(&texts)?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "encode  {:>8.1} ms  {} texts, {:.0} a second, {} without a known token",
        seconds * 1e3,
        texts.len(),
        texts.len() as f64 / seconds,
        encoded.zero_rows.len()
    );
    Ok(())
}
