//! What a training takes on a GPU, before it runs: memory by going through a step's allocations, time by what a step computes and moves.
//!
//! Memory is held against what the emulated device counts (tests). Time is a model: it knows a device by its data sheet, assumes shares of it,
//! and is no measurement.

use gfm_pipe_api::Estimate;
use gfm_pipe_kernels::gpu::messages::chunk_count;

use crate::model::{ModelConfig, Reach};
use crate::ops::AggregateFunc;

/// A step's sizes.
#[derive(Debug, Clone)]
pub(crate) struct Shape<'a> {
    pub config: &'a ModelConfig,
    /// Bytes of a state's value, and of a weight's.
    pub bytes: (usize, usize),
    /// Values of all parameters.
    pub params: usize,
    /// Width of text embeddings.
    pub text: usize,
    pub nodes: usize,
    /// Edges, inverses included.
    pub edges: usize,
    /// 2R.
    pub relations: usize,
    pub batch: usize,
    /// Seeds of all queries together.
    pub seeds: usize,
    /// Candidates of each query; all nodes where there are none.
    pub candidates: Option<usize>,
    /// Documents, where losses are over them.
    pub documents: usize,
    pub recompute: bool,
    /// Rows before the first layer and after each.
    pub rows: Vec<usize>,
    /// Whether these are all rows of all queries.
    pub whole: bool,
    /// Messages of each layer.
    pub messages: Vec<u64>,
}

/// Bytes that are allocated, and most that were.
#[derive(Default)]
struct Ledger {
    now: usize,
    peak: usize,
}

impl Ledger {
    fn take(&mut self, bytes: usize) -> usize {
        self.now += bytes;
        self.peak = self.peak.max(self.now);
        bytes
    }

    fn give(&mut self, bytes: usize) {
        self.now -= bytes;
    }
}

impl Shape<'_> {
    /// Rows and messages of a reach.
    pub fn of_reach(&mut self, reach: &Reach, messages: Vec<u64>) {
        self.rows = reach
            .rows
            .iter()
            .map(gfm_pipe_kernels::rows::Rows::len)
            .collect();
        self.whole = reach.is_whole();
        self.messages = messages;
    }

    /// Width of a layer's features, as they are kept, in multiples of d.
    fn width(&self) -> usize {
        match self.config.aggregate_func {
            AggregateFunc::Pna => 4,
            _ => 1,
        }
    }

    fn by_rows(&self) -> bool {
        self.candidates.is_none() && !self.config.concat_hidden && self.config.num_mlp_layer == 2
    }

    /// Bytes that a graph takes as long as it is in memory.
    pub fn graph_bytes(&self) -> usize {
        let (_, acc) = self.bytes;
        let groupings = 2 * 4 * (self.nodes + 1 + 2 * self.edges) + 2 * 4 * self.edges;
        groupings + 4 * chunk_count(self.edges, self.relations) + self.relations * self.text * acc
    }

    /// Bytes of weights, gradients, moments, and of a step on one graph at its largest.
    pub fn memory(&self) -> usize {
        let (s, a) = self.bytes;
        let (d, config) = (self.config.input_dim, self.config);
        let layers = config.layers();
        let mut m = Ledger::default();
        m.take(self.params * (4 * a + s));
        m.take(self.graph_bytes());
        let rows = |n: usize| 4 * (self.nodes + 1 + 2 * n + self.nodes * (self.batch + 1));
        match self.whole {
            true => m.take(rows(self.rows[0])),
            false => m.take(self.rows.iter().map(|n| rows(*n)).sum()),
        };
        // Relations, queries and what they are made of, boundary.
        m.take(self.relations * d * a + self.batch * (d + self.text) * a);
        m.take(self.seeds * (d * a + a + 4));
        let mut states = vec![m.take(self.rows[0] * d * s)];
        let mut kept = Vec::new();
        let layer = |m: &mut Ledger, i: usize| {
            let (n, out) = (self.rows[i + 1], config.hidden_dims[i]);
            let start = m.take(n * 4);
            let features = m.take(n * self.width() * d * s);
            let wide = match self.width() {
                1 => 0,
                _ => m.take(n * 12 * d * s),
            };
            let gathered = if self.whole { 0 } else { m.take(n * d * s) };
            let left = features + m.take(n * out * s);
            let y = m.take(n * out * s);
            let rstd = m.take(n * a);
            m.give(start + wide + gathered);
            (y, left + rstd)
        };
        for i in 0..layers {
            m.take(self.relations * d * (a + s));
            let wide = m.take(self.relations * d * a);
            m.give(wide);
            let (y, left) = layer(&mut m, i);
            states.push(y);
            if self.recompute {
                m.give(left);
                kept.push(0);
            } else {
                kept.push(left);
            }
        }
        let seen = self.batch * self.candidates.unwrap_or(self.nodes);
        let f = config.output_dim() + d;
        m.take(self.batch * f * a);
        let last = self.rows[layers];
        let mut head = 0;
        let scores = if self.by_rows() {
            let p = m.take(last * f * s);
            let scores = m.take(seen * a);
            if self.recompute {
                m.give(p);
            } else {
                head = p;
            }
            scores
        } else {
            m.take(seen * config.output_dim() * a);
            m.take(seen * f * a * (config.num_mlp_layer - 1));
            m.take(seen * a)
        };
        // The loss and its gradient, in f64 and then narrow.
        let wide = m.take(seen * 8 + 2 * 8 * self.batch * self.documents);
        m.take(seen * a);
        m.give(wide + scores);
        // Backward: the head.
        let mut upper = if self.by_rows() {
            let p = if self.recompute {
                m.take(last * f * s)
            } else {
                head
            };
            let partial = m.take(256.min(self.nodes.div_ceil(32)) * 2 * self.batch * f * a);
            m.give(partial);
            let dy = m.take(last * config.output_dim() * s);
            m.give(p);
            dy
        } else {
            let dx = m.take(seen * f * a);
            let dseen = m.take(seen * config.output_dim() * a);
            m.give(dx + dseen);
            m.take(dseen);
            m.take(last * config.hidden_dims.last().copied().unwrap_or(d) * s)
        };
        m.take(self.seeds * d * a + self.relations * d * a);
        for i in (0..layers).rev() {
            let (n, out) = (self.rows[i + 1], config.hidden_dims[i]);
            if let Some(y) = states.pop() {
                m.give(y);
            }
            let left = match kept.pop() {
                Some(0) | None => {
                    let (y, left) = layer(&mut m, i);
                    m.give(y);
                    left
                }
                Some(left) => left,
            };
            let dlin = m.take(n * out * s);
            let parts = n.div_ceil(n.div_ceil(1024).max(64)).max(1);
            let partial = m.take(parts * 3 * out * a);
            m.give(partial);
            let features = n * self.width() * d * s;
            m.give(left - features);
            let gathered = if self.whole { 0 } else { m.take(n * d * s) };
            let dstate = m.take(n * d * s);
            let wide = match self.width() {
                1 => 0,
                _ => m.take(n * 12 * d * s),
            };
            let mut dinput = m.take(n * if self.width() == 1 { 1 } else { 12 } * d * s);
            m.give(dlin + gathered + wide);
            let dx = m.take(self.rows[i] * d * s);
            let dprojected = m.take(self.relations * d * a);
            if self.width() != 1 {
                dinput += m.take(features);
            }
            let partial = m.take(chunk_count(self.edges, self.relations) * d * a);
            m.give(partial + upper + features + dstate + dinput + dprojected);
            upper = dx;
        }
        m.peak
    }

    /// Floating-point operations of products, and bytes that kernels read and write, of a step.
    fn work(&self) -> (f64, f64) {
        let (s, a) = self.bytes;
        let (s, a, d) = (s as f64, a as f64, self.config.input_dim as f64);
        let (mut flops, mut moved) = (0.0, 0.0);
        for (i, messages) in self.messages.iter().enumerate() {
            let (m, out) = (self.rows[i + 1] as f64, self.config.hidden_dims[i] as f64);
            let wide = self.config.aggregate_func.width() as f64;
            // Forward, and backward to input and weights.
            flops += 3.0 * 2.0 * m * (1.0 + wide) * d * out;
            if self.recompute {
                flops += 2.0 * m * (1.0 + wide) * d * out;
            }
            // One state a message forward and back to the states, two back to the relations.
            moved += 4.0 * *messages as f64 * d * s;
            // Rows pass through gathers, products, norms and back.
            moved += 24.0 * m * d.max(out) * s;
        }
        let f = self.config.output_dim() as f64 + d;
        let last = match self.by_rows() {
            true => self.rows.last().copied().unwrap_or(0),
            false => self.batch * self.candidates.unwrap_or(self.nodes),
        } as f64;
        flops += 3.0 * 2.0 * last * self.config.output_dim() as f64 * f;
        moved += 6.0 * last * f * s;
        moved += 8.0 * self.params as f64 * a;
        (flops, moved)
    }
}

/// A device's data sheet: TFLOP/s of products of f32, of TF32, of bf16, and TB/s of its memory.
struct Sheet {
    name: &'static str,
    f32: f64,
    tf32: f64,
    bf16: f64,
    memory: f64,
}

const SHEETS: [Sheet; 4] = [
    Sheet {
        name: "H100",
        f32: 67.0,
        tf32: 495.0,
        bf16: 989.0,
        memory: 3.35,
    },
    Sheet {
        name: "H200",
        f32: 67.0,
        tf32: 495.0,
        bf16: 989.0,
        memory: 4.8,
    },
    Sheet {
        name: "A100",
        f32: 19.5,
        tf32: 156.0,
        bf16: 312.0,
        memory: 2.0,
    },
    Sheet {
        name: "L4",
        f32: 30.0,
        tf32: 60.0,
        bf16: 121.0,
        memory: 0.3,
    },
];

/// Shares of the data sheet that products and kernels are taken to reach.
const SHARES: (f64, f64) = (0.7, 0.5);
/// Seconds of a step that no size explains: launches, and the loss on its way back.
const PER_STEP: f64 = 1e-3;

/// Of steps of these shapes: the memory of the largest and the time of `steps` of the average one, on a device of this name (an H100 where it is
/// not known).
pub(crate) fn estimate(shapes: &[Shape<'_>], steps: u64, tf32: bool, device: &str) -> Estimate {
    let sheet = SHEETS.iter().find(|s| device.contains(s.name));
    let sheet = sheet.unwrap_or(&SHEETS[0]);
    let memory = shapes.iter().map(Shape::memory).max().unwrap_or(0);
    let seconds = |shape: &Shape<'_>| {
        let (flops, moved) = shape.work();
        let rate = match (shape.bytes.0, tf32) {
            (2, _) => sheet.bf16,
            (8, _) => sheet.f32 / 2.0,
            (_, true) => sheet.tf32,
            _ => sheet.f32,
        };
        flops / (rate * 1e12 * SHARES.0) + moved / (sheet.memory * 1e12 * SHARES.1) + PER_STEP
    };
    let mean = shapes.iter().map(seconds).sum::<f64>() / shapes.len().max(1) as f64;
    Estimate {
        memory: memory as u64,
        seconds: mean * steps as f64,
        device: sheet.name.to_owned(),
    }
}
