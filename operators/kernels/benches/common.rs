//! What the benches share: medians, what the machine can do at most, and power-law graphs.

use std::collections::HashSet;
use std::hint::black_box;
use std::time::Instant;

use gfm_pipe_kernels::gemm::{Mat, gemm};
use gfm_pipe_kernels::pages::ask_for_large;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// The middle one.
pub fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

/// Median seconds of some calls, after one that does not count.
pub fn seconds(times: usize, mut f: impl FnMut()) -> f64 {
    f();
    let once = |_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    median((0..times).map(once).collect())
}

/// GFLOP/s of a large product in f32, with all threads.
pub fn product_gflops() -> f64 {
    let n = 2048;
    let (a, b) = (vec![0.5f32; n * n], vec![0.25f32; n * n]);
    let mut c = vec![0f32; n * n];
    let s = seconds(5, || {
        gemm(&mut c, Mat::new(&a, n, n), Mat::new(&b, n, n), false)
    });
    2.0 * (n as f64).powi(3) / s / 1e9
}

/// GB/s of a copy of so many bytes, read and written, with all threads.
pub fn copy_gbytes(bytes: usize) -> f64 {
    let n = (bytes / 4).max(1 << 12);
    let large = |value: f32| {
        let mut out = Vec::with_capacity(n);
        ask_for_large(&out);
        out.resize(n, value);
        out
    };
    let (from, mut to) = (large(1.0), large(0.0));
    let times = (1 + (256 << 20) / bytes.max(1)).min(200);
    let s = seconds(5, || {
        for _ in 0..times {
            let part = n.div_ceil(2 * rayon::current_num_threads()).max(1 << 12);
            let pairs = to.par_chunks_mut(part).zip(from.par_chunks(part));
            pairs.for_each(|(t, f)| t.copy_from_slice(f));
            black_box(&mut to);
        }
    });
    times as f64 * 2.0 * 4.0 * n as f64 / s / 1e9
}

/// Draws an index with weight (i + 1)^-power.
struct PowerLaw(Vec<f64>);

impl PowerLaw {
    fn new(n: usize, power: f64) -> Self {
        let mut sum = 0.0;
        let sums = (0..n).map(|i| {
            sum += (i as f64 + 1.0).powf(-power);
            sum
        });
        PowerLaw(sums.collect())
    }

    fn draw(&self, rng: &mut impl Rng) -> u32 {
        let at = rng.random::<f64>() * self.0.last().copied().unwrap_or(0.0);
        self.0.partition_point(|s| *s <= at).min(self.0.len() - 1) as u32
    }
}

/// Distinct triples (head, relation, tail) with a few hubs and a few frequent relations; every node
/// and relation occurs.
pub fn triples(nodes: usize, triples: usize, relations: usize) -> Vec<[u32; 3]> {
    let mut rng = ChaCha8Rng::seed_from_u64(100);
    let (of_node, of_relation) = (PowerLaw::new(nodes, 0.8), PowerLaw::new(relations, 1.0));
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    while out.len() < triples {
        let i = out.len();
        let mut pick = |n: usize, law: &PowerLaw| if i < n { i as u32 } else { law.draw(&mut rng) };
        let (h, r) = (pick(nodes, &of_node), pick(relations, &of_relation));
        let t = of_node.draw(&mut rng);
        if h != t && seen.insert([h, r, t]) {
            out.push([h, r, t]);
        }
    }
    out
}
