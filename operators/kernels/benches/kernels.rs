//! Kernels against what the machine can do: `cargo bench -p gfm-pipe-kernels --bench kernels`.
//!
//! Products in the shapes of the model's layers, beside a large square one. Messages (rspmm over
//! rows, forward and backward) for all states of eight queries on power-law graphs: bytes that must
//! come and go at least once a message, beside a copy over as much memory as the states take. Small
//! states stay in a cache, and then both are faster than the memory.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "sizes of benchmarks"
)]

mod common;
mod grouped;

use common::{copy_gbytes, product_gflops, seconds, triples};
use gfm_pipe_kernels::activation::Activation;
use gfm_pipe_kernels::gemm::{Mat, gemm, gemm_tn};
use gfm_pipe_kernels::layer::{Aggregate, Boundary, Layer, OwnGrads, messages, sum_backward};
use gfm_pipe_kernels::message::DistMult;
use gfm_pipe_kernels::pages::ask_for_large;
use gfm_pipe_kernels::rows::Rows;
use grouped::{Grouped, both_ways};

const BATCH: usize = 8;

/// Numbers that are no special case, where the model's buffers would lie.
fn some(n: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(n);
    ask_for_large(&out);
    out.extend((0..n).map(|i| (i % 1013) as f32 / 1013.0 - 0.5));
    out
}

fn products(most: f64) {
    println!(
        "\n{:28} {:>6} {:>6} {:>6} {:>9} {:>8}",
        "product", "m", "n", "k", "GFLOP/s", "of most"
    );
    for d in [64, 128, 512] {
        let m = (32 << 20) / 4 / d;
        let (x, w, g) = (some(m * d), some(d * d), some(m * d));
        let (xm, wm, gm) = (Mat::new(&x, m, d), Mat::new(&w, d, d), Mat::new(&g, m, d));
        let mut y = some(m * d);
        let mut dw = vec![0f32; d * d];
        let flop = 2.0 * (m * d * d) as f64;
        let times = (2e10 / flop) as usize + 3;
        let cases = [
            (
                "states x weight' (forward)",
                seconds(times, || gemm(&mut y, xm, wm.t(), false)),
            ),
            (
                "gradient x weight (states)",
                seconds(times, || gemm(&mut y, gm, wm, false)),
            ),
            (
                "gradient' x states (weight)",
                seconds(times, || gemm_tn(&mut dw, gm, xm)),
            ),
        ];
        for (i, (name, s)) in cases.into_iter().enumerate() {
            let (m, n, k) = if i < 2 { (m, d, d) } else { (d, d, m) };
            let rate = flop / s / 1e9;
            println!(
                "{name:28} {m:6} {n:6} {k:6} {rate:9.0} {:7.0}%",
                100.0 * rate / most
            );
        }
    }
}

fn rspmm() {
    println!(
        "\n{:12} {:>7} {:>8} {:>4} {:>9} {:>9} {:>8} {:>9} {:>8}",
        "messages", "nodes", "edges", "d", "states MB", "ms", "GB/s", "copy GB/s", "of copy"
    );
    for (nodes, count, relations, d) in [
        (2_000, 10_000, 200, 64),
        (20_000, 100_000, 2_000, 64),
        (10_000, 50_000, 1_000, 512),
        (100_000, 500_000, 1_000, 64),
    ] {
        let direct = triples(nodes, count, relations);
        let edges = both_ways(&direct, relations);
        let into = Grouped::new(nodes, edges.clone());
        let out_of = Grouped::new(nodes, edges.iter().map(|[v, u, k]| [*u, *v, *k]).collect());
        let rows = Rows::new(nodes, BATCH, |_, q| q < BATCH);
        let (x, w) = (some(rows.len() * d), some(2 * relations * d));
        let (weight, bias) = (vec![0f32; 2 * d * d], vec![0f32; d]);
        let layer = Layer {
            from: &rows,
            to: &rows,
            into: into.csr(),
            out_of: out_of.csr(),
            x: &x,
            far: None,
            relations: &w,
            dim: d,
            out: d,
            weight: &weight,
            bias: &bias,
            affine: None,
            activation: Activation::Relu,
            shortcut: true,
            boundary: Boundary {
                at: &[],
                rows: &[],
                nodes: None,
            },
            aggregate: Aggregate::Sum,
        };
        let mut y = some(x.len());
        let mut dw = vec![0f32; w.len()];
        let g = some(x.len());
        let states = 4.0 * x.len() as f64;
        let sent = 4.0 * (edges.len() * BATCH * d) as f64;
        let copy = copy_gbytes(4 * x.len());
        let times = 9;
        let cases = [
            // A state for each message, and the sums.
            (
                "forward",
                sent + states,
                seconds(times, || messages::<DistMult, _>(&layer, &mut y)),
            ),
            // A sum's gradient for each message; state, the two gradients that come to it, and its
            // own, read and written.
            (
                "backward",
                sent + 5.0 * states,
                seconds(times, || {
                    let own = OwnGrads { state: &g, dy: &g };
                    sum_backward::<DistMult, _>(&layer, own, &g, &mut y, &mut dw);
                }),
            ),
        ];
        for (name, bytes, s) in cases {
            let rate = bytes / s / 1e9;
            println!(
                "{name:12} {nodes:7} {:8} {d:4} {:9.1} {:9.2} {rate:8.1} {copy:9.1} {:7.0}%",
                edges.len(),
                states / 1e6,
                1e3 * s,
                100.0 * rate / copy
            );
        }
    }
}

fn main() {
    let (flops, copy) = (product_gflops(), copy_gbytes(512 << 20));
    println!(
        "machine: {} threads, product of 2048 x 2048 {flops:.0} GFLOP/s, copy of 512 MB {copy:.1} GB/s",
        rayon::current_num_threads()
    );
    products(flops);
    rspmm();
}
