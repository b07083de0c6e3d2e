//! The speed of a device's kernels, compared with what the device can do:
//! `cargo bench -p gfm-pipe-kernels --features cuda --bench gpu -- [--small]`.
//!
//! Copies and large products measure what the device can do. Products in the shapes of the model's
//! layers are compared with large products of the same type. Messages, their gradients and norms,
//! for all states of eight queries, are compared with a copy of as much memory as the states take.
//! Only bytes that a kernel asks for are counted: a state for each message, and each state that it
//! reads or writes otherwise once. A kernel whose states are in a cache can therefore be faster
//! than memory. Every time is the mean over many launches, with one wait at their end. `--small`
//! makes everything small, for the emulation (feature `gpu-emulation`).
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "sizes of benchmarks"
)]

#[allow(dead_code, reason = "half of it is for the CPU")]
mod common;
mod grouped;

use std::time::Instant;

use common::{median, triples};
use gfm_pipe_kernels::activation::Activation;
use gfm_pipe_kernels::gpu::messages::{DeviceRows, Edges, Function, Messages};
use gfm_pipe_kernels::gpu::norms::{Affine, Norm, NormGrads, Normed};
use gfm_pipe_kernels::gpu::products::{Matrix, product};
use gfm_pipe_kernels::gpu::rows::cast;
use gfm_pipe_kernels::gpu::{Error, Gpu, State, Vector};
use gfm_pipe_kernels::rows::Rows;
use grouped::{Grouped, both_ways};
use half::bf16;

const BATCH: usize = 8;

/// Seconds of one call among many, queued together: the median of five such rounds.
fn seconds(gpu: &Gpu, round: f64, f: impl Fn() -> Result<(), Error>) -> Result<f64, Error> {
    let run = |times: usize| -> Result<f64, Error> {
        gpu.wait()?;
        let start = Instant::now();
        for _ in 0..times {
            f()?;
        }
        gpu.wait()?;
        Ok(start.elapsed().as_secs_f64() / times as f64)
    };
    run(2)?;
    let times = (round / run(2)?).clamp(1.0, 1000.0) as usize;
    let rounds: Result<Vec<f64>, Error> = (0..5).map(|_| run(times)).collect();
    rounds.map(median)
}

struct Bench {
    gpu: Gpu,
    small: bool,
    /// Seconds that are measured at a time.
    round: f64,
}

impl Bench {
    /// Numbers that are no special case.
    fn some<S: State>(&self, n: usize) -> Result<Vector<S>, Error> {
        let out = self.gpu.dirty::<S>(n)?;
        // Cast in parts, so that a large vector needs no wide copy.
        let part = n.min(1 << 20);
        let mut x = 0x9e37_79b9_7f4a_7c15_u64;
        let values: Vec<f64> = (0..part)
            .map(|_| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (x >> 40) as f64 / (1 << 23) as f64 - 1.0
            })
            .collect();
        let wide = self.gpu.vector(&values)?;
        let narrow = self.gpu.dirty::<S::Acc>(part)?;
        cast(narrow.view(), wide.view())?;
        for from in (0..n).step_by(part.max(1)) {
            let len = part.min(n - from);
            cast(out.part(from, len), narrow.part(0, len))?;
        }
        Ok(out)
    }

    fn seconds(&self, f: impl Fn() -> Result<(), Error>) -> Result<f64, Error> {
        seconds(&self.gpu, self.round, f)
    }

    /// GB/s of a copy of so many bytes, read and written.
    fn copy(&self, bytes: usize) -> Result<f64, Error> {
        let (from, to) = (
            self.gpu.zeros::<u32>(bytes / 4)?,
            self.gpu.zeros::<u32>(bytes / 4)?,
        );
        let s = self.seconds(|| to.view().copy(from.view()))?;
        Ok(2.0 * bytes as f64 / s / 1e9)
    }

    /// TFLOP/s of a square product.
    fn square<S: State>(&self, n: usize) -> Result<f64, Error> {
        let (a, b, c) = (
            self.some::<S>(n * n)?,
            self.some::<S>(n * n)?,
            self.gpu.dirty::<S>(n * n)?,
        );
        let at = |v| Matrix::new(v, n, n);
        let s = self.seconds(|| product(at(c.view()), at(a.view()), at(b.view()), false))?;
        Ok(2.0 * (n as f64).powi(3) / s / 1e12)
    }

    /// Products of a layer, `rows` states of `d`: forward, gradient of states, gradient of the
    /// weight.
    fn products<S: State>(
        &self,
        name: &str,
        rows: usize,
        d: usize,
        most: f64,
    ) -> Result<(), Error> {
        let (x, g, y) = (
            self.some::<S>(rows * d)?,
            self.some::<S>(rows * d)?,
            self.gpu.dirty::<S>(rows * d)?,
        );
        // A layer's weight has two halves, side by side.
        let (w, dw) = (
            self.some::<S>(2 * d * d)?,
            self.gpu.dirty::<S::Acc>(2 * d * d)?,
        );
        let states = |v| Matrix::new(v, rows, d);
        let half = Matrix::strided(w.view(), d, d, 2 * d);
        let to = Matrix::strided(dw.view(), d, d, 2 * d);
        let (x, g, y) = (states(x.view()), states(g.view()), states(y.view()));
        let cases = [
            (
                "states x weight' (forward)",
                [rows, d, d],
                self.seconds(|| product(y, x, half.t(), false))?,
            ),
            (
                "gradient x weight (states)",
                [rows, d, d],
                self.seconds(|| product(y, g, half, false))?,
            ),
            (
                "gradient' x states (weight)",
                [d, d, rows],
                self.seconds(|| product(to, g.t(), x, false))?,
            ),
        ];
        for (what, [m, n, k], s) in cases {
            let rate = 2.0 * (rows * d * d) as f64 / s / 1e12;
            println!(
                "{what:28} {name:5} {m:7} {n:5} {k:7} {:9.4} {rate:9.1} {:7.0}%",
                1e3 * s,
                100.0 * rate / most
            );
        }
        Ok(())
    }

    /// Messages and norms over all states of a graph.
    fn states<S: State>(
        &self,
        label: &str,
        graph: &OnDevice,
        relations: usize,
        d: usize,
        copy: f64,
    ) -> Result<(), Error> {
        let gpu = &self.gpu;
        let rows = graph.rows.len();
        let n = rows * d;
        let (x, w) = (self.some::<S>(n)?, self.some::<S>(2 * relations * d)?);
        let (g, dy) = (self.some::<S>(n)?, self.some::<S>(n)?);
        let (y, dw) = (gpu.dirty::<S>(n)?, gpu.dirty::<S::Acc>(2 * relations * d)?);
        let messages = Messages {
            function: Function::DistMult,
            edges: &graph.edges,
            from: &graph.rows,
            to: &graph.rows,
            x: x.view(),
            far: None,
            relations: w.view(),
            dim: d,
        };
        let acc = |n| self.some::<S::Acc>(n);
        let (bias, gamma, beta) = (acc(d)?, acc(d)?, acc(d)?);
        let (rstd, grads) = (acc(rows)?, acc(3 * d)?);
        let norm = Norm::<S> {
            bias: bias.view(),
            affine: Some(Affine {
                scale: gamma.view(),
                shift: beta.view(),
            }),
            activation: Activation::Relu,
            dim: d,
        };
        let of_norm = || NormGrads {
            bias: grads.part(0, d),
            affine: Some(Affine {
                scale: grads.part(d, d),
                shift: grads.part(2 * d, d),
            }),
        };
        let states = (n * size_of::<S>()) as f64;
        let sent = (graph.count * BATCH * d * size_of::<S>()) as f64;
        let cases = [
            // The sums.
            (
                "messages",
                sent + states,
                self.seconds(|| messages.sum(None, None, y.view()))?,
            ),
            // Reads the gradients of linear map and shortcut besides, and writes its own.
            (
                "state gradient",
                sent + 3.0 * states,
                self.seconds(|| {
                    messages.state_grad(g.view(), dy.view(), Some(dy.view()), y.view())
                })?,
            ),
            // Reads a state and a sum's gradient for each message.
            (
                "relation gradient",
                2.0 * sent,
                self.seconds(|| messages.relation_grad(g.view(), dw.view()))?,
            ),
            // Replaces the linear map's output, reads the shortcut, writes the output.
            (
                "norm",
                4.0 * states,
                self.seconds(|| norm.forward(g.view(), rstd.view(), Some(x.view()), y.view()))?,
            ),
            // Reads the normalised values and the output's gradient twice, and writes its own.
            (
                "norm backward",
                5.0 * states,
                self.seconds(|| {
                    let normed = Normed {
                        values: g.view(),
                        rstd: rstd.view(),
                    };
                    norm.backward(normed, dy.view(), y.view(), of_norm())
                })?,
            ),
        ];
        for (what, bytes, s) in cases {
            let rate = bytes / s / 1e9;
            println!(
                "{what:18} {label:6} {:5} {:8} {:8} {d:4} {:9.1} {:9.4} {rate:9.1} {copy:9.1} {:7.0}%",
                S::TAG,
                rows / BATCH,
                graph.count,
                states / 1e6,
                1e3 * s,
                100.0 * rate / copy
            );
        }
        Ok(())
    }

    fn run(&self) -> Result<(), Error> {
        let memory = self.gpu.memory()?;
        println!(
            "device: {}, {:.1} GB",
            self.gpu.name(),
            memory.total as f64 / 1e9
        );
        let large = if self.small { 1 << 20 } else { 1 << 30 };
        let copy = self.copy(large)?;
        println!("copy of {:.0} MB: {copy:.1} GB/s", large as f64 / 1e6);
        let side = if self.small { 64 } else { 8192 };
        let rounded = Bench {
            gpu: self.gpu.with_tf32(true),
            ..*self
        };
        let f32s = self.square::<f32>(side)?;
        let tf32s = rounded.square::<f32>(side)?;
        let bf16s = self.square::<bf16>(side)?;
        println!(
            "product of {side} x {side}: f32 {f32s:.1} TFLOP/s, tf32 {tf32s:.1}, bf16 {bf16s:.1}"
        );
        println!(
            "\n{:28} {:5} {:>7} {:>5} {:>7} {:>9} {:>9} {:>8}",
            "product", "type", "m", "n", "k", "ms", "TFLOP/s", "of most"
        );
        let shapes = if self.small {
            vec![(256, 16)]
        } else {
            vec![(160_000, 64), (80_000, 512), (800_000, 512)]
        };
        for (rows, d) in shapes {
            self.products::<f32>("f32", rows, d, f32s)?;
            rounded.products::<f32>("tf32", rows, d, tf32s)?;
            self.products::<bf16>("bf16", rows, d, bf16s)?;
        }
        println!(
            "\n{:18} {:6} {:5} {:>8} {:>8} {:>4} {:>9} {:>9} {:>9} {:>9} {:>8}",
            "kernel",
            "graph",
            "type",
            "nodes",
            "edges",
            "d",
            "states MB",
            "ms",
            "GB/s",
            "copy GB/s",
            "of copy"
        );
        let graphs = if self.small {
            vec![("tiny", 40, 120, 3, 16)]
        } else {
            vec![
                ("M", 20_000, 100_000, 2_000, 64),
                ("L", 10_000, 50_000, 1_000, 512),
                ("100k", 100_000, 320_000, 1_000, 512),
            ]
        };
        for (label, nodes, count, relations, d) in graphs {
            let graph = OnDevice::new(&self.gpu, nodes, count, relations)?;
            let n = graph.rows.len() * d;
            let copy = self.copy(4 * n)?;
            self.states::<f32>(label, &graph, relations, d, copy)?;
            let copy = self.copy(2 * n)?;
            self.states::<bf16>(label, &graph, relations, d, copy)?;
        }
        Ok(())
    }
}

/// A graph on the device, all states of eight queries.
struct OnDevice {
    edges: Edges,
    rows: DeviceRows,
    /// Edges.
    count: usize,
}

impl OnDevice {
    fn new(gpu: &Gpu, nodes: usize, count: usize, relations: usize) -> Result<Self, Error> {
        let edges = both_ways(&triples(nodes, count, relations), relations);
        let turned = |f: fn(&[u32; 3]) -> [u32; 3]| edges.iter().map(f).collect();
        let into = Grouped::new(nodes, edges.clone());
        let out_of = Grouped::new(nodes, turned(|[v, u, k]| [*u, *v, *k]));
        let by = Grouped::new(2 * relations, turned(|[v, u, k]| [*k, *v, *u]));
        let on = Edges::new(gpu, into.csr(), out_of.csr(), by.by_relation())?;
        let rows = DeviceRows::new(&on, &Rows::new(nodes, BATCH, |_, q| q < BATCH))?;
        Ok(OnDevice {
            rows,
            edges: on,
            count: edges.len(),
        })
    }
}

fn main() {
    let small = std::env::args().any(|a| a == "--small");
    let run = || -> Result<(), Error> {
        let bench = Bench {
            gpu: Gpu::open(0)?,
            small,
            round: if small { 1e-4 } else { 0.02 },
        };
        bench.run()
    };
    if let Err(e) = run() {
        println!("{e}: {}", e.hint());
        std::process::exit(1);
    }
}
