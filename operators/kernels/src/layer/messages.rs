//! From the gradient of the features to those of the states and relations that messages are made
//! of.

use std::ops::Range;

use rayon::prelude::*;

use super::aggregate::{Aggregate, Squares};
use super::{AHEAD, Layer, PARTIAL_BYTES, TASKS, add, prefetch};
use crate::Real;
use crate::csr::row;
use crate::message::Message;
use crate::rows::{NONE, cut};
use crate::simd::vectorised;

/// What a row of the output gives back to its node's own state.
#[derive(Clone, Copy)]
pub struct OwnGrads<'a, T> {
    /// Of the state that the linear map saw, `to.len() x dim`.
    pub state: &'a [T],
    /// Of the output, which a shortcut passes on.
    pub dy: &'a [T],
}

/// What an edge gives back.
pub(super) trait EdgeGrads<M: Message, T: Real>: Sync {
    /// Adds the gradients of the state `x` and the relation `w` of a message into row `i` of the
    /// output.
    fn add(&self, dx: &mut [T], dw: &mut [T], i: usize, x: &[T], w: &[T], scratch: &mut [T]);

    /// [`EdgeGrads::add`] for rows `i..` of the output and as many states, side by side.
    #[inline(always)]
    fn add_rows(&self, dx: &mut [T], dw: &mut [T], i: usize, x: &[T], w: &[T], scratch: &mut [T]) {
        let d = w.len();
        let rows = dx.chunks_exact_mut(d).zip(x.chunks_exact(d));
        for (k, (dx, x)) in rows.enumerate() {
            self.add(dx, dw, i + k, x, w, scratch);
        }
    }

    /// Asks the processor for the gradients of some rows of the output.
    fn prefetch(&self, rows: Range<usize>);
}

/// Gradients of sums of messages, `to.len() x dim`.
struct SumGrads<'a, T> {
    grads: &'a [T],
    dim: usize,
}

impl<M: Message, T: Real> EdgeGrads<M, T> for SumGrads<'_, T> {
    #[inline(always)]
    fn add(&self, dx: &mut [T], dw: &mut [T], i: usize, x: &[T], w: &[T], _: &mut [T]) {
        let g = row(self.grads, i, self.dim);
        M::add_x_grad(dx, g, w);
        M::add_w_grad(dw, g, x);
    }

    #[inline(always)]
    fn add_rows(&self, dx: &mut [T], dw: &mut [T], i: usize, x: &[T], w: &[T], _: &mut [T]) {
        let g = &self.grads[i * self.dim..][..dx.len()];
        M::add_grads(dx, dw, g, x, w);
    }

    #[inline(always)]
    fn prefetch(&self, rows: Range<usize>) {
        prefetch(self.grads, rows, self.dim);
    }
}

/// Gradients of every message of an aggregate with extremes: [`Layer::features_backward`] prepared
/// them, row by row.
///
/// Messages are computed again, bit for bit, and compared with the extreme to find the edges that
/// attain it.
pub(super) struct Upstream<'a, T> {
    pub aggregate: &'a Aggregate<'a, T>,
    pub features: &'a [T],
    pub grads: &'a [T],
    pub dim: usize,
}

#[inline(always)]
fn add_where_equal<T: Real>(g: &mut [T], message: &[T], best: &[T], share: &[T]) {
    for (((g, m), best), share) in g.iter_mut().zip(message).zip(best).zip(share) {
        *g += if *m == *best { *share } else { T::zero() };
    }
}

/// Writes to `g` the gradient that an aggregate gives to a message, from what
/// [`Layer::features_backward`] made of the gradient of the features of the row that receives it,
/// and from these features. Squares of parts ([`add_parts`]) come on top.
#[inline(always)]
pub(super) fn message_grad<T: Real>(
    aggregate: &Aggregate<'_, T>,
    g: &mut [T],
    message: &[T],
    features: &[T],
    grads: &[T],
) {
    let d = message.len();
    match aggregate {
        Aggregate::Sum | Aggregate::Mean(_) => g.copy_from_slice(grads),
        Aggregate::Max(_) | Aggregate::Min(_) => {
            g.fill(T::zero());
            add_where_equal(g, message, features, grads);
        }
        Aggregate::Pna(pna) => {
            // Rows of [mean, max, min, deviation] and of [sum, max, min, square].
            g.copy_from_slice(row(grads, 0, d));
            if pna.squares == Squares::Message {
                for ((g, m), s) in g.iter_mut().zip(message).zip(row(grads, 3, d)) {
                    *g += (*m + *m) * *s;
                }
            }
            for k in [1, 2] {
                add_where_equal(g, message, row(features, k, d), row(grads, k, d));
            }
        }
    }
}

/// What a row's gradient says about the sum of the squares of states and relations
/// ([`Squares::Parts`]), `dim` values; `None` for every other aggregate.
#[inline(always)]
pub(super) fn parts_grad<'g, T: Real>(
    aggregate: &Aggregate<'_, T>,
    grads: &'g [T],
    dim: usize,
) -> Option<&'g [T]> {
    match aggregate {
        Aggregate::Pna(pna) if pna.squares == Squares::Parts => Some(row(grads, 3, dim)),
        _ => None,
    }
}

/// Adds the gradient of the sum of the squares of `x`: 2 x times that of the sum.
#[inline(always)]
pub(super) fn add_parts<T: Real>(dx: &mut [T], x: &[T], square: &[T]) {
    for ((dx, x), s) in dx.iter_mut().zip(x).zip(square) {
        *dx += (*x + *x) * *s;
    }
}

impl<M: Message, T: Real> EdgeGrads<M, T> for Upstream<'_, T> {
    #[inline(always)]
    fn add(&self, dx: &mut [T], dw: &mut [T], i: usize, x: &[T], w: &[T], scratch: &mut [T]) {
        let (d, width) = (self.dim, self.aggregate.width(self.dim));
        let (features, grads) = (row(self.features, i, width), row(self.grads, i, width));
        let (g, message) = scratch.split_at_mut(d);
        M::write(message, x, w);
        message_grad(self.aggregate, g, message, features, grads);
        if let Some(square) = parts_grad(self.aggregate, grads, d) {
            add_parts(dx, x, square);
            add_parts(dw, w, square);
        }
        M::add_x_grad(dx, g, w);
        M::add_w_grad(dw, g, x);
    }

    #[inline(always)]
    fn prefetch(&self, rows: Range<usize>) {
        prefetch(self.grads, rows, self.aggregate.width(self.dim));
    }
}

/// The last part of [`super::backward`] for sums of messages, from the gradient `dsum` of the sums
/// to those of states and relations.
///
/// # Panics
/// As [`super::backward`].
pub fn sum_backward<M: Message, T: Real>(
    layer: &Layer<'_, T>,
    own: OwnGrads<'_, T>,
    dsum: &[T],
    dx: &mut [T],
    drelations: &mut [T],
) {
    let grads = SumGrads {
        grads: dsum,
        dim: layer.dim,
    };
    backward::<M, T, _>(layer, own, &grads, dx, drelations);
}

/// The last part of [`super::backward`]. Every task owns the states of its nodes and looks at all
/// that these were sent to, so that a row of the gradient is read once for both the state and the
/// relation.
pub(super) fn backward<M: Message, T: Real, G: EdgeGrads<M, T>>(
    layer: &Layer<'_, T>,
    own: OwnGrads<'_, T>,
    grads: &G,
    dx: &mut [T],
    drelations: &mut [T],
) {
    let d = layer.dim;
    let (from, edges) = (layer.from, layer.out_of);
    let most = PARTIAL_BYTES / size_of_val(drelations).max(1);
    // A row for every edge there is, at most: the batch's queries come and go together.
    let tasks = from.tasks(most.clamp(4, TASKS), |u| {
        let degree = u64::from(edges.offsets[u + 1] - edges.offsets[u]);
        u64::from(!from.of(u).is_empty()) * (4 + degree)
    });
    let ends = tasks.iter().map(|t| from.of_all(t).end * d);
    let pieces: Vec<_> = tasks.iter().zip(cut(dx, ends)).collect();
    let partial: Vec<Vec<T>> = pieces
        .into_par_iter()
        .map(|(nodes, dx)| {
            let mut drelations = vec![T::zero(); drelations.len()];
            let mut scratch = vec![T::zero(); 2 * d];
            vectorised(
                #[inline(always)]
                || {
                    let first = from.of_all(nodes).start;
                    for u in nodes.clone().filter(|u| !from.of(*u).is_empty()) {
                        let at = from.of(u);
                        let dx = &mut dx[(at.start - first) * d..(at.end - first) * d];
                        layer.own_backward(u, own, dx);
                        layer.sender_backward(u, grads, dx, &mut drelations, &mut scratch);
                    }
                },
            );
            drelations
        })
        .collect();
    for p in &partial {
        add(drelations, p);
    }
}

impl<T: Real> Layer<'_, T> {
    /// Adds to the gradient `dx` of the rows of node u what its own rows of the output give back.
    #[inline(always)]
    fn own_backward(&self, u: usize, own: OwnGrads<'_, T>, dx: &mut [T]) {
        let (d, first) = (self.dim, self.from.of(u).start);
        for (i, q) in self.to.of(u).zip(self.to.queries_of(u)) {
            let at = self.from.find(u, *q as usize);
            if at == NONE {
                continue;
            }
            let dx = &mut dx[(at as usize - first) * d..][..d];
            add(dx, row(own.state, i, d));
            if self.shortcut {
                add(dx, row(own.dy, i, d));
            }
        }
    }

    /// Adds to the gradients of the rows of node u and of the relations what the messages that u
    /// sent give back.
    #[inline(always)]
    fn sender_backward<M: Message, G: EdgeGrads<M, T>>(
        &self,
        u: usize,
        grads: &G,
        dx: &mut [T],
        drelations: &mut [T],
        scratch: &mut [T],
    ) {
        let (d, edges) = (self.dim, self.out_of);
        let (from, to) = (self.from, self.to);
        let first = from.of(u).start;
        for e in edges.offsets[u] as usize..edges.offsets[u + 1] as usize {
            if let Some(next) = edges.other.get(e + AHEAD) {
                grads.prefetch(to.of(*next as usize));
            }
            let (v, r) = (edges.other[e] as usize, edges.relation[e] as usize);
            let w = row(self.relations, r, d);
            let dw = &mut drelations[r * d..][..d];
            if from.aligned(u, to, v) {
                let (at, i) = (from.of(u), to.of(v).start);
                let x = &self.x[at.start * d..at.end * d];
                grads.add_rows(dx, dw, i, x, w, scratch);
                continue;
            }
            for (i, q) in to.of(v).zip(to.queries_of(v)) {
                let at = from.find(u, *q as usize);
                if at == NONE {
                    continue;
                }
                let dx = &mut dx[(at as usize - first) * d..][..d];
                grads.add(dx, dw, i, row(self.x, at as usize, d), w, scratch);
            }
        }
    }
}
