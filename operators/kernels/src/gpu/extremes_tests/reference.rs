//! The aggregates by obvious loops, in f64.

use super::super::extremes::Path;
use super::super::messages::Function;
use super::super::tests::some;
use crate::testing::Edges as Graph;

pub(super) const QUERIES: usize = 3;
pub(super) const MIN_VARIANCE: f64 = 1e-6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Max,
    Min,
    Pna,
}

/// What a test computes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) which: Which,
    pub(super) path: Path,
    pub(super) function: Function,
}

#[derive(Debug)]
pub(super) struct Setup {
    pub(super) graph: Graph,
    pub(super) dim: usize,
    pub(super) x: Vec<f64>,
    pub(super) relations: Vec<f64>,
    /// Every third row has a start.
    pub(super) starts: Vec<f64>,
    pub(super) counts: Vec<f64>,
    pub(super) dstate: Vec<f64>,
    pub(super) dy: Vec<f64>,
    /// For 4 d values a row; the others take the first of them.
    pub(super) dfeatures: Vec<f64>,
}

/// Multiples of `step` between -2 and 2 of them.
fn few(n: usize, seed: u64, step: f64) -> Vec<f64> {
    let few = |x: f64| (x * 2.5).round().clamp(-2.0, 2.0) * step;
    some(n, seed).into_iter().map(few).collect()
}

impl Setup {
    pub(super) fn new(graph: Graph, dim: usize, seed: u64) -> Self {
        let rows = graph.nodes * QUERIES;
        let few = |n, s| few(n, seed ^ s, 0.5);
        Setup {
            x: few(rows * dim, 1),
            relations: few(graph.relations * dim, 2),
            starts: few(rows.div_ceil(3) * dim, 3),
            counts: (0..graph.nodes)
                .map(|v| {
                    let into = graph.list.iter().filter(|e| e.0 as usize == v);
                    into.count() as f64 + 1.0
                })
                .collect(),
            dstate: few(rows * dim, 4),
            dy: few(rows * dim, 5),
            dfeatures: few(rows * 4 * dim, 6),
            graph,
            dim,
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.graph.nodes * QUERIES
    }

    pub(super) fn width(&self, which: Which) -> usize {
        let statistics = if which == Which::Pna { 4 } else { 1 };
        statistics * self.dim
    }

    pub(super) fn start(&self, row: usize) -> Vec<f64> {
        if row.is_multiple_of(3) {
            self.starts[row / 3 * self.dim..][..self.dim].to_vec()
        } else {
            vec![0.0; self.dim]
        }
    }

    /// Calls `f(receiving row, sending row, relation, message)`.
    fn each(
        &self,
        graph: &Graph,
        function: Function,
        mut f: impl FnMut(usize, usize, usize, &[f64]),
    ) {
        for (v, u, r) in &graph.list {
            for q in 0..QUERIES {
                let (v, u, r) = (
                    *v as usize * QUERIES + q,
                    *u as usize * QUERIES + q,
                    *r as usize,
                );
                f(v, u, r, &message(function, self.x(u), self.relation(r)));
            }
        }
    }

    fn x(&self, row: usize) -> &[f64] {
        &self.x[row * self.dim..][..self.dim]
    }

    fn relation(&self, r: usize) -> &[f64] {
        &self.relations[r * self.dim..][..self.dim]
    }

    pub(super) fn parts(function: Function, path: Path) -> bool {
        path == Path::Fused && function == Function::TransE
    }

    /// Features the obvious way.
    pub(super) fn features(&self, graph: &Graph, case: Case) -> Vec<f64> {
        let Case {
            which,
            path,
            function,
        } = case;
        let (d, rows) = (self.dim, self.rows());
        // Sum, max, min, sum of squares.
        let mut all = vec![0.0; rows * 4 * d];
        for row in 0..rows {
            for (c, s) in self.start(row).into_iter().enumerate() {
                for (k, value) in [s, s, s, s * s].into_iter().enumerate() {
                    all[(row * 4 + k) * d + c] = value;
                }
            }
        }
        self.each(graph, function, |v, u, r, m| {
            let row = &mut all[v * 4 * d..][..4 * d];
            for (c, m) in m.iter().enumerate() {
                row[c] += m;
                row[d + c] = row[d + c].max(*m);
                row[2 * d + c] = row[2 * d + c].min(*m);
                let (x, w) = (self.x(u)[c], self.relation(r)[c]);
                row[3 * d + c] += if Self::parts(function, path) {
                    x * x + w * w
                } else {
                    m * m
                };
            }
        });
        for (row, all) in all.chunks_exact_mut(4 * d).enumerate() {
            let count = self.counts[row / QUERIES];
            for c in 0..d {
                all[c] /= count;
                let variance = all[3 * d + c] / count - all[c] * all[c];
                all[3 * d + c] = variance.max(MIN_VARIANCE).sqrt();
            }
        }
        let columns = match which {
            Which::Max => d..2 * d,
            Which::Min => 2 * d..3 * d,
            Which::Pna => 0..4 * d,
        };
        let rows = all.chunks_exact(4 * d);
        rows.flat_map(|row| row[columns.clone()].to_vec()).collect()
    }

    /// Gradients the obvious way, of features that were stored as `hold` makes them.
    pub(super) fn gradients(
        &self,
        graph: &Graph,
        case: Case,
        features: &[f64],
        mut g: Vec<f64>,
        hold: impl Fn(f64) -> f64,
    ) -> Wanted {
        let Case {
            which,
            path,
            function,
        } = case;
        let (d, rows, width, pna) = (
            self.dim,
            self.rows(),
            self.width(which),
            which == Which::Pna,
        );
        let mut dstarts = vec![1.0; self.starts.len()];
        let mut to_start = |row: usize, c: usize, value: f64| {
            if row.is_multiple_of(3) {
                dstarts[row / 3 * d + c] += value;
            }
        };
        if pna {
            let least = hold(MIN_VARIANCE.sqrt());
            for row in 0..rows {
                let count = self.counts[row / QUERIES];
                for c in 0..d {
                    let (mean, square) = (row * width + c, row * width + 3 * d + c);
                    let deviation = features[square];
                    let variance = if deviation > least {
                        g[square] / (2.0 * deviation)
                    } else {
                        0.0
                    };
                    g[mean] = (g[mean] - 2.0 * features[mean] * variance) / count;
                    g[square] = variance / count;
                    to_start(row, c, g[mean] + 2.0 * self.start(row)[c] * g[square]);
                }
            }
        }
        let extremes: &[usize] = if pna { &[1, 2] } else { &[0] };
        for at in extremes {
            let mut ties = vec![0.0; rows * d];
            self.each(graph, function, |v, _, _, m| {
                for (c, m) in m.iter().enumerate() {
                    let best = features[v * width + at * d + c];
                    ties[v * d + c] += if hold(*m) == best { 1.0 } else { 0.0 };
                }
            });
            for row in 0..rows {
                for c in 0..d {
                    let i = row * width + at * d + c;
                    let (edges, best) = (ties[row * d + c], features[i]);
                    let own = hold(self.start(row)[c]) == best;
                    assert!(own || edges > 0.0, "nobody attains an extreme");
                    let (edge, start) = match (path, own) {
                        (Path::Fused, true) if edges > 0.0 => (0.5, 0.5),
                        (Path::Fused, true) => (0.0, 1.0),
                        (Path::Fused, false) => (1.0, 0.0),
                        (Path::Plain, _) => {
                            let zero = f64::from(best == 0.0);
                            let share = 1.0 / (edges + f64::from(own) + zero);
                            (share, if own { share } else { 0.0 })
                        }
                    };
                    to_start(row, c, g[i] * start);
                    g[i] *= edge;
                }
            }
        }
        g.iter_mut().for_each(|g| *g = hold(*g));
        let mut dx: Vec<f64> = self
            .dstate
            .iter()
            .zip(&self.dy)
            .map(|(a, b)| a + b)
            .collect();
        let mut drelations = vec![0.0; self.relations.len()];
        self.each(graph, function, |v, u, r, m| {
            let (best, g) = (&features[v * width..][..width], &g[v * width..][..width]);
            let (x, w) = (self.x(u), self.relation(r));
            let parts = Self::parts(function, path);
            let of_message: Vec<f64> = (0..d)
                .map(|c| {
                    let attaining = extremes.iter().map(|at| at * d + c);
                    let attaining = attaining.filter(|i| hold(m[c]) == best[*i]);
                    let mut sum = attaining.map(|i| g[i]).sum();
                    if pna {
                        sum += g[c];
                        sum += if parts {
                            0.0
                        } else {
                            2.0 * m[c] * g[3 * d + c]
                        };
                    }
                    sum
                })
                .collect();
            let (of_x, of_w) = message_grads(function, &of_message, x, w);
            for c in 0..d {
                let square = if pna && parts { g[3 * d + c] } else { 0.0 };
                dx[u * d + c] += of_x[c] + 2.0 * x[c] * square;
                drelations[r * d + c] += of_w[c] + 2.0 * w[c] * square;
            }
        });
        Wanted {
            dx,
            drelations,
            dstarts,
            shares: g,
        }
    }
}

pub(super) struct Wanted {
    pub(super) dx: Vec<f64>,
    pub(super) drelations: Vec<f64>,
    pub(super) dstarts: Vec<f64>,
    pub(super) shares: Vec<f64>,
}

/// One complex or real number at a time.
fn message(function: Function, x: &[f64], w: &[f64]) -> Vec<f64> {
    let (d, half) = (x.len(), x.len() / 2);
    let one = |i: usize| match function {
        Function::TransE => x[i] + w[i],
        Function::DistMult => x[i] * w[i],
        Function::RotatE if i < half => x[i] * w[i] - x[half + i] * w[half + i],
        Function::RotatE => x[i - half] * w[i] + x[i] * w[i - half],
    };
    (0..d).map(one).collect()
}

/// Gradients of both factors from that of the message.
fn message_grads(function: Function, g: &[f64], x: &[f64], w: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let turned = |g: &[f64], by: &[f64]| -> Vec<f64> {
        let half = g.len() / 2;
        let one = |i: usize| {
            if i < half {
                g[i] * by[i] + g[half + i] * by[half + i]
            } else {
                g[i] * by[i - half] - g[i - half] * by[i]
            }
        };
        (0..g.len()).map(one).collect()
    };
    match function {
        Function::TransE => (g.to_vec(), g.to_vec()),
        Function::DistMult => (
            message(Function::DistMult, g, w),
            message(Function::DistMult, g, x),
        ),
        Function::RotatE => (turned(g, w), turned(g, x)),
    }
}
