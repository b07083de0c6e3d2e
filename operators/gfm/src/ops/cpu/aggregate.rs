//! Messages into a node and its boundary state, joined: forward and backward on slices.
//!
//! The boundary is one more message of every node: query times weight at the seeds, zero elsewhere. Feature rows are `d`
//! wide, or `4 d` for PNA: mean, max, min and deviation one after the other.

use gfm_pipe_kernels::extremes::{
    Order, Squares, Upstream, extreme, input_grad, relation_grad, square_sum, ties,
};
use gfm_pipe_kernels::message::{Message, TransE};
use gfm_pipe_kernels::rspmm::{ByRelation, Csr, rspmm, rspmm_input_grad, rspmm_relation_grad};
use std::any::TypeId;

use crate::graph::Graph;
use crate::ops::{AggregateFunc, Boundary, LayerKind, Path};
use crate::tensor::Elem;

/// The reference's lower bound of a variance.
const MIN_VARIANCE: f64 = 1e-6;

/// Boundary states that are not zero: where (`b * N + v`), and the rows, d values each.
pub(super) struct Rows<'a, T> {
    at: Vec<usize>,
    rows: &'a [T],
}

impl<'a, T: Elem> Rows<'a, T> {
    pub fn new(boundary: &Boundary, nodes: usize, rows: &'a [T]) -> Self {
        let rows_of = boundary.nodes.iter().enumerate();
        let at = rows_of.flat_map(|(b, row)| row.iter().map(move |v| b * nodes + *v as usize));
        Rows {
            at: at.collect(),
            rows,
        }
    }

    /// `x[b, v] += boundary[b, v]`.
    pub fn add(&self, x: &mut [T], d: usize) {
        for (at, row) in self.at.iter().zip(self.rows.chunks_exact(d)) {
            for (o, q) in x[at * d..][..d].iter_mut().zip(row) {
                *o += *q;
            }
        }
    }

    /// Rows of `g` where the boundary is.
    pub fn gather(&self, g: &[T], d: usize) -> Vec<T> {
        let mut out = Vec::with_capacity(self.rows.len());
        for at in &self.at {
            out.extend_from_slice(&g[at * d..][..d]);
        }
        out
    }

    fn dense(&self, len: usize, d: usize) -> Vec<T> {
        let mut out = vec![T::zero(); len];
        self.add(&mut out, d);
        out
    }
}

/// Edges in the direction messages run.
pub(super) struct Flow<'a> {
    into: Csr<'a>,
    from: Csr<'a>,
    relation: ByRelation<'a>,
    path: Path,
}

impl<'a> Flow<'a> {
    pub fn new(graph: &'a Graph, path: Path) -> Self {
        let (into, from) = path.flow(graph);
        let relation = graph.by_relation();
        let relation = match path {
            Path::Fused => relation,
            Path::Plain => ByRelation {
                destination: relation.source,
                source: relation.destination,
                ..relation
            },
        };
        Flow {
            into,
            from,
            relation,
            path,
        }
    }
}

/// Degree + 1 of every node: the number of messages, as the reference counts them (edges by their tail).
pub(in crate::ops) fn messages<T: Elem>(graph: &Graph) -> Vec<T> {
    let offsets = graph.by_source().offsets;
    offsets
        .windows(2)
        .map(|w| T::of(f64::from(w[1] - w[0] + 1)))
        .collect()
}

/// PNA's three functions of the degree per node: 1, s = ln(degree + 1) over its mean, 1 / max(s, .01).
pub(super) fn scales<T: Elem>(graph: &Graph) -> [Vec<T>; 2] {
    scales_of(&messages::<T>(graph))
}

/// The same from degrees + 1.
pub(in crate::ops) fn scales_of<T: Elem>(messages: &[T]) -> [Vec<T>; 2] {
    let logs: Vec<T> = messages.iter().copied().map(T::ln).collect();
    let mean = logs.iter().copied().sum::<T>() / T::of(logs.len() as f64);
    // Without edges the reference divides zero by zero.
    let s: Vec<T> = logs
        .iter()
        .map(|l| {
            if mean > T::zero() {
                *l / mean
            } else {
                T::one()
            }
        })
        .collect();
    let inverse = s
        .iter()
        .map(|s| T::one() / num_traits::Float::max(*s, T::of(0.01)))
        .collect();
    [s, inverse]
}

/// What is squared for the deviation: the reference's fused TransE squares the parts of a message.
fn squares<M: Message>(path: Path) -> Squares {
    if path == Path::Fused && TypeId::of::<M>() == TypeId::of::<TransE>() {
        Squares::Parts
    } else {
        Squares::Message
    }
}

fn per_node<T: Elem>(values: &mut [T], counts: &[T], d: usize) {
    for (row, c) in values.chunks_exact_mut(d).zip(counts.iter().cycle()) {
        row.iter_mut().for_each(|x| *x /= *c);
    }
}

/// Features of every node, `[B N, d]` or `[B N, 4 d]`.
pub(super) fn forward<M: Message, T: Elem>(
    kind: LayerKind,
    graph: &Graph,
    boundary: &Rows<'_, T>,
    x: &[T],
    w: &[T],
    d: usize,
) -> Vec<T> {
    let flow = Flow::new(graph, kind.path);
    let sum = || {
        let mut out = vec![T::zero(); x.len()];
        rspmm::<M, T>(&mut out, flow.into, x, w, d);
        boundary.add(&mut out, d);
        out
    };
    let best = |order| {
        let mut out = boundary.dense(x.len(), d);
        extreme::<M, T>(&mut out, order, flow.into, x, w, d);
        out
    };
    match kind.aggregate {
        AggregateFunc::Sum => sum(),
        AggregateFunc::Mean => {
            let mut out = sum();
            per_node(&mut out, &messages(graph), d);
            out
        }
        AggregateFunc::Max => best(Order::Max),
        AggregateFunc::Min => best(Order::Min),
        AggregateFunc::Pna => {
            let counts = messages(graph);
            let mut mean = sum();
            per_node(&mut mean, &counts, d);
            let mut second = vec![T::zero(); x.len()];
            square_sum::<M, T>(&mut second, squares::<M>(kind.path), flow.into, x, w, d);
            let squared: Vec<T> = boundary.rows.iter().map(|x| *x * *x).collect();
            let at = boundary.at.clone();
            Rows { at, rows: &squared }.add(&mut second, d);
            per_node(&mut second, &counts, d);
            let (max, min) = (best(Order::Max), best(Order::Min));
            let floor = T::of(MIN_VARIANCE);
            let mut out = Vec::with_capacity(4 * x.len());
            for i in (0..x.len()).step_by(d.max(1)) {
                let at = i..i + d;
                out.extend_from_slice(&mean[at.clone()]);
                out.extend_from_slice(&max[at.clone()]);
                out.extend_from_slice(&min[at.clone()]);
                out.extend(second[at.clone()].iter().zip(&mean[at]).map(|(s, m)| {
                    let variance = *s - *m * *m;
                    if variance <= floor { floor } else { variance }.sqrt()
                }));
            }
            out
        }
    }
}

/// Gradients the aggregate gives, each added to what is there.
pub(super) struct Grads<'a, T> {
    /// Of the states, `[B N, d]`.
    pub x: &'a mut [T],
    /// Of the relation states, `[2R, d]`.
    pub w: &'a mut [T],
    /// Of the boundary's rows.
    pub boundary: &'a mut [T],
}

/// Splits the gradient `g` of an extreme: turns it into what every edge that attains it receives, and adds the boundary's
/// part.
fn split<M: Message, T: Elem>(
    g: &mut [T],
    best: &[T],
    flow: &Flow<'_>,
    (x, w): (&[T], &[T]),
    boundary: &Rows<'_, T>,
    dboundary: &mut [T],
    d: usize,
) {
    let mut edges = vec![T::zero(); g.len()];
    ties::<M, T>(&mut edges, best, flow.into, x, w, d);
    let start = boundary.dense(g.len(), d);
    let half = T::of(0.5);
    // PyTorch's scatter_reduce starts the plain path's extremes from zeros and counts that zero as one more tie.
    let phantom = |best: T| match (flow.path, best == T::zero()) {
        (Path::Plain, true) => T::one(),
        _ => T::zero(),
    };
    // In place: g becomes the edges' share, `edges` the boundary's.
    for (((g, edges), start), best) in g.iter_mut().zip(&mut edges).zip(&start).zip(best) {
        let (whole, attains) = (*g, *start == *best);
        let own = if attains { T::one() } else { T::zero() };
        let (edge, boundary) = match flow.path {
            Path::Fused if attains && *edges > T::zero() => (half, half),
            Path::Fused => (T::one() - own, own),
            Path::Plain => {
                let share = T::one() / (*edges + own + phantom(*best));
                (share, share * own)
            }
        };
        *g = whole * edge;
        *edges = whole * boundary;
    }
    for (o, v) in dboundary.iter_mut().zip(boundary.gather(&edges, d)) {
        *o += v;
    }
}

/// Backward of [`forward`]: `features` is what it gave, `g` the gradient of that.
#[allow(clippy::too_many_arguments)]
pub(super) fn backward<M: Message, T: Elem>(
    kind: LayerKind,
    graph: &Graph,
    boundary: &Rows<'_, T>,
    features: &[T],
    mut g: Vec<T>,
    (x, w): (&[T], &[T]),
    grads: Grads<'_, T>,
    d: usize,
) {
    let flow = Flow::new(graph, kind.path);
    let n = graph.nodes();
    match kind.aggregate {
        AggregateFunc::Sum | AggregateFunc::Mean => {
            if kind.aggregate == AggregateFunc::Mean {
                per_node(&mut g, &messages(graph), d);
            }
            rspmm_input_grad::<M, T>(grads.x, flow.from, &g, w, d);
            rspmm_relation_grad::<M, T>(grads.w, flow.relation, &g, x, n, d);
            for (o, v) in grads.boundary.iter_mut().zip(boundary.gather(&g, d)) {
                *o += v;
            }
        }
        AggregateFunc::Max | AggregateFunc::Min => {
            split::<M, T>(&mut g, features, &flow, (x, w), boundary, grads.boundary, d);
            let up = Upstream {
                sum: None,
                square: None,
                extremes: &[(features, &g)],
            };
            input_grad::<M, T>(grads.x, flow.from, &up, x, w, d);
            relation_grad::<M, T>(grads.w, flow.relation, &up, x, w, n, d);
        }
        AggregateFunc::Pna => {
            let part = |values: &[T], a: usize| -> Vec<T> {
                let mut out = Vec::with_capacity(values.len() / 4);
                for row in values.chunks_exact(4 * d) {
                    out.extend_from_slice(&row[a * d..][..d]);
                }
                out
            };
            let (mean, max, min, deviation) = (
                part(features, 0),
                part(features, 1),
                part(features, 2),
                part(features, 3),
            );
            let (mut gsum, mut gmax, mut gmin, mut gsquare) =
                (part(&g, 0), part(&g, 1), part(&g, 2), part(&g, 3));
            let clamped = T::of(MIN_VARIANCE).sqrt();
            for (((gsq, gsum), mean), deviation) in
                gsquare.iter_mut().zip(&mut gsum).zip(&mean).zip(&deviation)
            {
                let of_variance = if *deviation > clamped {
                    *gsq / (*deviation + *deviation)
                } else {
                    T::zero()
                };
                *gsum -= (*mean + *mean) * of_variance;
                *gsq = of_variance;
            }
            let counts = messages(graph);
            per_node(&mut gsum, &counts, d);
            per_node(&mut gsquare, &counts, d);
            split::<M, T>(&mut gmax, &max, &flow, (x, w), boundary, grads.boundary, d);
            split::<M, T>(&mut gmin, &min, &flow, (x, w), boundary, grads.boundary, d);
            let (sums, seconds) = (boundary.gather(&gsum, d), boundary.gather(&gsquare, d));
            for (((o, s), q), b) in grads
                .boundary
                .iter_mut()
                .zip(sums)
                .zip(seconds)
                .zip(boundary.rows)
            {
                *o += s + (*b + *b) * q;
            }
            let up = Upstream {
                sum: Some(&gsum),
                square: Some((&gsquare, squares::<M>(kind.path))),
                extremes: &[(&max, &gmax), (&min, &gmin)],
            };
            input_grad::<M, T>(grads.x, flow.from, &up, x, w, d);
            relation_grad::<M, T>(grads.w, flow.relation, &up, x, w, n, d);
        }
    }
}
