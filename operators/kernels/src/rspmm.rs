//! Relational sparse-dense product: `out[v] = Σ over edges (v <- u, r) of message(x[u], w[r])`,
//! forward and backward.
//!
//! This is the sum aggregate of NBFNet (Zhu et al., 2021, eq. 6 and 7). Shapes: `x`, `out` and
//! their gradients are `batch x nodes x dim`, `w` is `relations x dim` and shared by the batch.
//! Edges are given as CSR by destination for the forward pass, by source for the gradient of `x`,
//! and in relation order for the gradient of `w`. The sum over the edges of a relation is divided
//! into segments, whose results are added in order, without locks.

use rayon::prelude::*;

use crate::Real;
use crate::message::Message;
use crate::rows::cut;
use crate::simd::vectorised;

/// Number of rows that one task computes.
const TASK_NODES: usize = 128;
/// Number of edges of one relation that one task sums.
const SEGMENT: usize = 512;

/// Edges grouped by one of their ends.
#[derive(Debug, Clone, Copy)]
pub struct Csr<'a> {
    /// `nodes + 1` offsets into the other two.
    pub offsets: &'a [u32],
    /// The node at the other end of each edge.
    pub other: &'a [u32],
    /// The relation of each edge.
    pub relation: &'a [u32],
}

impl Csr<'_> {
    /// Number of nodes that the edges are grouped by.
    pub fn nodes(&self) -> usize {
        self.offsets.len() - 1
    }
}

/// Edges in relation order.
#[derive(Debug, Clone, Copy)]
pub struct ByRelation<'a> {
    /// `relations + 1` offsets into the other two.
    pub offsets: &'a [u32],
    /// The node that receives the message.
    pub destination: &'a [u32],
    /// The node that sends the message.
    pub source: &'a [u32],
}

/// Calls `f(out[b, v], (b, v), others, relations, scratch)` for every row of `out` in parallel,
/// with the edges grouped at v. `scratch` is memory for `f`.
pub(crate) fn for_rows<T: Real>(
    out: &mut [T],
    edges: Csr<'_>,
    dim: usize,
    scratch: usize,
    f: impl Fn(&mut [T], (usize, usize), &[u32], &[u32], &mut [T]) + Sync,
) {
    let nodes = edges.nodes();
    if nodes == 0 || dim == 0 || out.is_empty() {
        return;
    }
    assert_eq!(out.len() % (nodes * dim), 0, "not a whole number of graphs");
    out.par_chunks_mut(nodes * dim)
        .enumerate()
        .for_each(|(b, out)| {
            out.par_chunks_mut(TASK_NODES * dim)
                .enumerate()
                .for_each(|(task, block)| {
                    vectorised(
                        #[inline(always)]
                        || {
                            let first = task * TASK_NODES;
                            let mut scratch = vec![T::zero(); scratch];
                            for (i, row) in block.chunks_exact_mut(dim).enumerate() {
                                let v = first + i;
                                let at = edges.offsets[v] as usize..edges.offsets[v + 1] as usize;
                                f(
                                    row,
                                    (b, v),
                                    &edges.other[at.clone()],
                                    &edges.relation[at],
                                    &mut scratch,
                                );
                            }
                        },
                    );
                });
        });
}

/// Adds to `dw[r]` what `f(sum, (b, r), destinations, sources, scratch)` adds to `sum` for the
/// edges of r, segment by segment and for every graph b of the batch, in parallel; sums of segments
/// are added in order.
pub(crate) fn for_relations<T: Real>(
    dw: &mut [T],
    edges: ByRelation<'_>,
    batch: usize,
    (dim, scratch): (usize, usize),
    f: impl Fn(&mut [T], (usize, usize), &[u32], &[u32], &mut [T]) + Sync,
) {
    assert_eq!(
        dw.len(),
        (edges.offsets.len() - 1) * dim,
        "one row per relation"
    );
    if dim == 0 {
        return;
    }
    let segments: Vec<(usize, usize, usize)> = edges
        .offsets
        .windows(2)
        .enumerate()
        .flat_map(|(r, w)| {
            let (from, to) = (w[0] as usize, w[1] as usize);
            (from..to)
                .step_by(SEGMENT)
                .map(move |s| (r, s, (s + SEGMENT).min(to)))
        })
        .collect();
    let mut partial = vec![T::zero(); segments.len() * dim];
    partial
        .par_chunks_mut(dim)
        .zip(&segments)
        .for_each(|(sum, (r, from, to))| {
            vectorised(
                #[inline(always)]
                || {
                    let mut scratch = vec![T::zero(); scratch];
                    for b in 0..batch {
                        f(
                            sum,
                            (b, *r),
                            &edges.destination[*from..*to],
                            &edges.source[*from..*to],
                            &mut scratch,
                        );
                    }
                },
            );
        });
    for ((r, _, _), part) in segments.iter().zip(partial.chunks_exact(dim)) {
        for (o, p) in dw[r * dim..][..dim].iter_mut().zip(part) {
            *o += *p;
        }
    }
}

/// Row `i` of a matrix with `dim` columns.
#[inline(always)]
pub(crate) fn row<T>(x: &[T], i: usize, dim: usize) -> &[T] {
    &x[i * dim..][..dim]
}

/// `out[b, v] += Σ_(v,u,r) message(x[b, u], w[r])` over the edges grouped by `v`.
///
/// # Panics
/// When lengths do not fit, or an edge names a node or relation outside.
pub fn rspmm<M: Message, T: Real>(out: &mut [T], edges: Csr<'_>, x: &[T], w: &[T], dim: usize) {
    assert_eq!(out.len(), x.len(), "input and output differ in shape");
    assert!(!M::PAIRS || dim.is_multiple_of(2), "rows are pairs");
    let nodes = edges.nodes();
    for_rows(
        out,
        edges,
        dim,
        0,
        #[inline(always)]
        |out, (b, _), others, relations, _| {
            for (u, r) in others.iter().zip(relations) {
                M::add(
                    out,
                    row(x, b * nodes + *u as usize, dim),
                    row(w, *r as usize, dim),
                );
            }
        },
    );
}

/// `dx[b, u] += Σ_(v,u,r) g[b, v]ᵀ ∂message/∂x` over the edges grouped by their source `u`, `g`
/// being the output's gradient.
///
/// # Panics
/// When lengths do not fit, or an edge names a node or relation outside.
pub fn rspmm_input_grad<M: Message, T: Real>(
    dx: &mut [T],
    edges: Csr<'_>,
    g: &[T],
    w: &[T],
    dim: usize,
) {
    assert_eq!(dx.len(), g.len(), "gradient and input differ in shape");
    let nodes = edges.nodes();
    for_rows(
        dx,
        edges,
        dim,
        0,
        #[inline(always)]
        |dx, (b, _), others, relations, _| {
            for (v, r) in others.iter().zip(relations) {
                M::add_x_grad(
                    dx,
                    row(g, b * nodes + *v as usize, dim),
                    row(w, *r as usize, dim),
                );
            }
        },
    );
}

/// `dw[r] += Σ_b Σ_(v,u,r) g[b, v]ᵀ ∂message/∂w`: the gradient of the relation states.
///
/// # Panics
/// When lengths do not fit, or an edge names a node outside.
pub fn rspmm_relation_grad<M: Message, T: Real>(
    dw: &mut [T],
    edges: ByRelation<'_>,
    g: &[T],
    x: &[T],
    nodes: usize,
    dim: usize,
) {
    assert_eq!(g.len(), x.len(), "gradient and input differ in shape");
    if nodes == 0 || dim == 0 {
        return;
    }
    for_relations(
        dw,
        edges,
        g.len() / (nodes * dim),
        (dim, 0),
        #[inline(always)]
        |sum, (b, _), destinations, sources, _| {
            for (v, u) in destinations.iter().zip(sources) {
                let (v, u) = (b * nodes + *v as usize, b * nodes + *u as usize);
                M::add_w_grad(sum, row(g, v, dim), row(x, u, dim));
            }
        },
    );
}

/// `dweight[e] += Σ_b g[b, v] · message(x[b, u], w[r])` for the edges e = (v <- u, r) in the order
/// of `edges`, grouped by `v`: the gradient of a weight that multiplies the message of an edge (1
/// in this model, which learns none).
///
/// # Panics
/// When lengths do not fit, or an edge names a node or relation outside.
pub fn rspmm_weight_grad<M: Message, T: Real>(
    dweight: &mut [T],
    edges: Csr<'_>,
    g: &[T],
    x: &[T],
    w: &[T],
    dim: usize,
) {
    assert_eq!(g.len(), x.len(), "gradient and input differ in shape");
    assert_eq!(dweight.len(), edges.other.len(), "one weight an edge");
    let nodes = edges.nodes();
    if nodes == 0 || dim == 0 {
        return;
    }
    let batch = g.len() / (nodes * dim);
    let tasks: Vec<_> = (0..nodes).step_by(TASK_NODES).collect();
    let end = |from: usize| edges.offsets[(from + TASK_NODES).min(nodes)] as usize;
    let pieces = cut(dweight, tasks.iter().map(|from| end(*from)));
    tasks.into_par_iter().zip(pieces).for_each(|(from, piece)| {
        vectorised(
            #[inline(always)]
            || {
                let mut message = vec![T::zero(); dim];
                let first = edges.offsets[from] as usize;
                for v in from..(from + TASK_NODES).min(nodes) {
                    for e in edges.offsets[v] as usize..edges.offsets[v + 1] as usize {
                        let (u, r) = (edges.other[e] as usize, edges.relation[e] as usize);
                        for b in 0..batch {
                            let at = |node: usize| b * nodes + node;
                            M::write(&mut message, row(x, at(u), dim), row(w, r, dim));
                            let g = row(g, at(v), dim);
                            let dot: T = g.iter().zip(&message).map(|(g, m)| *g * *m).sum();
                            piece[e - first] += dot;
                        }
                    }
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::DistMult;
    use crate::testing::{Edges, csr, graphs};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Forward against the obvious loop; both gradients because the map is linear in x and in
        /// w: <g, f(x, w)> = <dx, x> = <dw, w> summed over all coordinates, checked coordinate by
        /// coordinate below.
        #[test]
        fn equals_the_obvious_loop((edges, batch, dim, numbers) in graphs()) {
            let n = batch * edges.nodes * dim;
            let (x, rest) = numbers.split_at(n);
            let (g, w) = rest.split_at(n);
            let want = edges.slow(x, w, batch, dim);
            let dst = edges.by_destination();
            let mut out = vec![0.0; n];
            rspmm::<DistMult, _>(&mut out, csr(&dst), x, w, dim);
            for (a, b) in out.iter().zip(&want) {
                prop_assert!((a - b).abs() < 1e-10);
            }

            let (mut dx_slow, mut dw_slow) = (vec![0.0; n], vec![0.0; w.len()]);
            for b in 0..batch {
                for (v, u, r) in &edges.list {
                    for i in 0..dim {
                        let (vi, ui) = ((b * edges.nodes + *v as usize) * dim + i, (b * edges.nodes + *u as usize) * dim + i);
                        dx_slow[ui] += g[vi] * w[*r as usize * dim + i];
                        dw_slow[*r as usize * dim + i] += g[vi] * x[ui];
                    }
                }
            }
            let src = edges.by_source();
            let mut dx = vec![0.0; n];
            rspmm_input_grad::<DistMult, _>(&mut dx, csr(&src), g, w, dim);
            for (a, b) in dx.iter().zip(&dx_slow) {
                prop_assert!((a - b).abs() < 1e-10);
            }
            let rel = edges.by_relation();
            let order = ByRelation { offsets: &rel.offsets, destination: &rel.a, source: &rel.b };
            let mut dw = vec![0.0; w.len()];
            rspmm_relation_grad::<DistMult, _>(&mut dw, order, g, x, edges.nodes, dim);
            for (a, b) in dw.iter().zip(&dw_slow) {
                prop_assert!((a - b).abs() < 1e-9);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// The sum of messages is linear in the edges' weights: the slope for one is what the loss
        /// gains from a second edge like it.
        #[test]
        fn a_weight_s_gradient_is_what_the_edge_once_more_would_add((edges, batch, dim, numbers) in graphs()) {
            let n = batch * edges.nodes * dim;
            let (x, rest) = numbers.split_at(n);
            let (g, w) = rest.split_at(n);
            let dst = edges.by_destination();
            let mut got = vec![0.5; edges.list.len()];
            rspmm_weight_grad::<DistMult, _>(&mut got, csr(&dst), g, x, w, dim);
            let loss = |list: Vec<(u32, u32, u32)>| -> f64 {
                let edges = Edges { list, ..edges };
                edges.slow(x, w, batch, dim).iter().zip(g).map(|(o, g)| o * g).sum()
            };
            let mut sorted = edges.list.clone();
            sorted.sort_by_key(|e| e.0);
            for (e, got) in sorted.iter().zip(&got).step_by(1 + got.len() / 9) {
                prop_assert!((got - 0.5 - loss(vec![*e])).abs() < 1e-10);
            }
        }
    }

    #[test]
    fn does_not_depend_on_the_number_of_threads() {
        let (nodes, relations, batch, dim) = (501, 3, 2, 7);
        let list: Vec<_> = (0..6000u32)
            .map(|i| (i * 7 % 501, i * 13 % 501, i % 3))
            .collect();
        let edges = Edges {
            list,
            nodes,
            relations,
        };
        let x: Vec<f32> = (0..batch * nodes * dim)
            .map(|i| (i as f32 * 0.37).sin())
            .collect();
        let w: Vec<f32> = (0..relations * dim)
            .map(|i| (i as f32 * 0.11).cos())
            .collect();
        let (dst, rel) = (edges.by_destination(), edges.by_relation());
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                let mut out = vec![0f32; x.len()];
                rspmm::<DistMult, _>(&mut out, csr(&dst), &x, &w, dim);
                let mut dw = vec![0f32; w.len()];
                let order = ByRelation {
                    offsets: &rel.offsets,
                    destination: &rel.a,
                    source: &rel.b,
                };
                rspmm_relation_grad::<DistMult, _>(&mut dw, order, &out, &x, nodes, dim);
                (out, dw)
            })
        };
        assert_eq!(run(1), run(3));
    }
}
