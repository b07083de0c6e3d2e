//! From the gradient of the features to what every message and the boundary receive.

use std::ops::Range;

use rayon::prelude::*;

use super::aggregate::{MIN_VARIANCE, Statistics, Ties, quarters};
use super::{Aggregate, Layer, add};
use crate::Real;
use crate::csr::row;
use crate::message::Message;
use crate::rows::cut;
use crate::simd::vectorised;

/// Gradients of boundary states, each added to what is there.
pub(super) struct BoundaryGrads<'a, T> {
    /// Of the rows' own.
    pub rows: &'a mut [T],
    /// Of the nodes', if they have any.
    pub nodes: Option<&'a mut [T]>,
}

/// A boundary state.
#[derive(Clone, Copy)]
enum Place {
    /// A row's own, by index.
    Row(u32),
    /// That of a node.
    Node(usize),
}

impl<T: Real> BoundaryGrads<'_, T> {
    fn add(&mut self, to: Place, grad: &[T]) {
        let (grads, at) = match (to, &mut self.nodes) {
            (Place::Row(k), _) => (&mut *self.rows, k as usize),
            (Place::Node(v), Some(nodes)) => (&mut **nodes, v),
            (Place::Node(_), None) => return,
        };
        add(&mut grads[at * grad.len()..][..grad.len()], grad);
    }
}

/// What counting ties writes to, `dim` values each.
pub(super) struct Scratch<T> {
    edges: Vec<T>,
    message: Vec<T>,
    /// The state of a node that has none.
    zeros: Vec<T>,
}

impl<T: Real> Scratch<T> {
    pub fn new(dim: usize) -> Self {
        let zeros = vec![T::zero(); dim];
        Scratch {
            edges: zeros.clone(),
            message: zeros.clone(),
            zeros,
        }
    }
}

impl<T: Real> Layer<'_, T> {
    /// Turns the gradient `grads` of the features into that of the messages, in place: of each sum,
    /// of the sum of squares, and of each message that attains an extreme. Adds the boundary's part
    /// to `dboundary`.
    pub(super) fn features_backward<M: Message>(
        &self,
        features: &[T],
        grads: &mut [T],
        dboundary: BoundaryGrads<'_, T>,
    ) {
        match self.aggregate {
            Aggregate::Sum => self.sum_boundary_backward(grads, dboundary),
            Aggregate::Mean(counts) => {
                self.by_task(grads, |nodes, grads| {
                    let first = self.to.of_all(&nodes).start;
                    for v in nodes {
                        for at in self.to.of(v) {
                            let row = &mut grads[(at - first) * self.dim..][..self.dim];
                            row.iter_mut().for_each(|g| *g = *g / counts[v]);
                        }
                    }
                });
                self.sum_boundary_backward(grads, dboundary);
            }
            Aggregate::Max(_) | Aggregate::Min(_) | Aggregate::Pna(_) => {
                self.extremes_backward::<M>(features, grads, dboundary);
            }
        }
    }

    fn sum_boundary_backward(&self, dsum: &[T], dboundary: BoundaryGrads<'_, T>) {
        let d = self.dim;
        for (at, k) in self.boundary.at {
            add(
                &mut dboundary.rows[*k as usize * d..][..d],
                row(dsum, *at as usize, d),
            );
        }
        let Some(of_nodes) = dboundary.nodes else {
            return;
        };
        let tasks = self.tasks();
        let pieces = cut(of_nodes, tasks.iter().map(|t| t.end * d));
        tasks.into_par_iter().zip(pieces).for_each(|(nodes, out)| {
            let starts = self.boundary_of(&self.to.of_all(&nodes)).iter();
            let mut starts = starts.peekable();
            for (v, out) in nodes.zip(out.chunks_exact_mut(d)) {
                for at in self.to.of(v) {
                    if starts.next_if(|(own, _)| *own as usize == at).is_none() {
                        add(out, row(dsum, at, d));
                    }
                }
            }
        });
    }

    fn extremes_backward<M: Message>(
        &self,
        features: &[T],
        grads: &mut [T],
        mut dboundary: BoundaryGrads<'_, T>,
    ) {
        let of_boundary = self.by_task(grads, |nodes, grads| {
            vectorised(
                #[inline(always)]
                || self.task_extremes_backward::<M>(nodes.clone(), features, grads),
            )
        });
        for (place, grads) in of_boundary.into_iter().flatten() {
            dboundary.add(place, &grads);
        }
    }

    /// Runs `f` for ranges of nodes and their rows of the features' gradient, in parallel.
    fn by_task<R: Send>(
        &self,
        grads: &mut [T],
        f: impl Fn(Range<usize>, &mut [T]) -> R + Sync,
    ) -> Vec<R> {
        let (tasks, width) = (self.tasks(), self.width());
        let ends = tasks.iter().map(|t| self.to.of_all(t).end * width);
        let pieces: Vec<_> = tasks.iter().cloned().zip(cut(grads, ends)).collect();
        let pieces = pieces.into_par_iter();
        pieces.map(|(nodes, grads)| f(nodes, grads)).collect()
    }

    /// [`Layer::extremes_backward`] for the rows of some nodes; returns the boundary's part.
    #[inline(always)]
    fn task_extremes_backward<M: Message>(
        &self,
        nodes: Range<usize>,
        features: &[T],
        grads: &mut [T],
    ) -> Vec<(Place, Vec<T>)> {
        let (d, width) = (self.dim, self.width());
        let rows = self.to.of_all(&nodes);
        let mut starts = self.boundary_of(&rows).iter().peekable();
        let zeros = vec![T::zero(); d];
        let mut scratch = Scratch::new(d);
        let mut out = Vec::new();
        for v in nodes {
            for (i, q) in self.to.of(v).zip(self.to.queries_of(v)) {
                let own = starts.next_if(|(at, _)| *at as usize == i);
                let (start, boundary) = match (own, self.boundary.nodes) {
                    (Some((_, k)), _) => {
                        let state = row(self.boundary.rows, *k as usize, d);
                        (Some(Place::Row(*k)), state)
                    }
                    (None, Some(nodes)) => (Some(Place::Node(v)), row(nodes, v, d)),
                    (None, None) => (None, &zeros[..]),
                };
                let g = &mut grads[(i - rows.start) * width..][..width];
                let best = row(features, i, width);
                let mut dstart = vec![T::zero(); if start.is_some() { d } else { 0 }];
                let ends = (v, *q as usize);
                self.row_extremes_backward::<M>(ends, best, boundary, g, &mut dstart, &mut scratch);
                out.extend(start.map(|place| (place, dstart)));
            }
        }
        out
    }

    /// Turns the gradient `g` of the features of a pair of node and query into that of its
    /// messages, in place. Adds the boundary's part to `dstart`, unless it is empty.
    #[inline(always)]
    pub(super) fn row_extremes_backward<M: Message>(
        &self,
        (v, q): (usize, usize),
        features: &[T],
        boundary: &[T],
        g: &mut [T],
        dstart: &mut [T],
        scratch: &mut Scratch<T>,
    ) {
        let d = self.dim;
        let mut split = |ties, best: &[T], g: &mut [T], dstart: &mut [T]| {
            self.count_ties::<M>((v, q), best, scratch);
            ties_backward(ties, best, boundary, &scratch.edges, g, dstart);
        };
        match self.aggregate {
            Aggregate::Sum | Aggregate::Mean(_) => {}
            Aggregate::Max(ties) | Aggregate::Min(ties) => split(ties, features, g, dstart),
            Aggregate::Pna(pna) => {
                moments_backward(pna, v, features, g);
                let [sum, max, min, square] = quarters(g, d);
                split(pna.ties, &features[d..2 * d], max, dstart);
                split(pna.ties, &features[2 * d..3 * d], min, dstart);
                for (j, to) in dstart.iter_mut().enumerate() {
                    *to += sum[j] + (boundary[j] + boundary[j]) * square[j];
                }
            }
        }
    }

    /// Counts, column by column, the messages into a pair of node and query that equal `best`.
    #[inline(always)]
    fn count_ties<M: Message>(
        &self,
        (v, q): (usize, usize),
        best: &[T],
        Scratch {
            edges: count,
            message,
            zeros,
        }: &mut Scratch<T>,
    ) {
        count.fill(T::zero());
        for e in self.into.offsets[v] as usize..self.into.offsets[v + 1] as usize {
            let (u, r) = (self.into.other[e] as usize, self.into.relation[e] as usize);
            let x = self.state(u, q).unwrap_or(zeros);
            M::write(message, x, row(self.relations, r, self.dim));
            for ((c, m), best) in count.iter_mut().zip(&*message).zip(best) {
                *c += if *m == *best { T::one() } else { T::zero() };
            }
        }
    }
}

/// Splits the gradient `g` of an extreme into what each of the `edges` that attain it receives,
/// which replaces it, and the boundary's part, which is added to `dstart` where there is one.
#[inline(always)]
fn ties_backward<T: Real>(
    ties: Ties,
    best: &[T],
    boundary: &[T],
    edges: &[T],
    g: &mut [T],
    dstart: &mut [T],
) {
    let half = T::of(0.5);
    for (j, g) in g.iter_mut().enumerate() {
        let attains = boundary[j] == best[j];
        let own = if attains { T::one() } else { T::zero() };
        let (edge, start) = match ties {
            Ties::Halves if attains && edges[j] > T::zero() => (half, half),
            Ties::Halves => (T::one() - own, own),
            Ties::Equal => {
                let initial_zero = if best[j] == T::zero() {
                    T::one()
                } else {
                    T::zero()
                };
                let share = T::one() / (edges[j] + own + initial_zero);
                (share, share * own)
            }
        };
        if let Some(to) = dstart.get_mut(j) {
            *to += *g * start;
        }
        *g *= edge;
    }
}

/// From the gradients of a row's mean and standard deviation, to those of the sum of messages and
/// of the sum of their squares.
#[inline(always)]
fn moments_backward<T: Real>(pna: Statistics<'_, T>, node: usize, features: &[T], g: &mut [T]) {
    let d = features.len() / 4;
    let (mean, deviation) = (&features[..d], &features[3 * d..]);
    let smallest = T::of(MIN_VARIANCE).sqrt();
    let [sum, _, _, square] = quarters(g, d);
    for j in 0..d {
        let of_variance = if deviation[j] > smallest {
            square[j] / (deviation[j] + deviation[j])
        } else {
            T::zero()
        };
        sum[j] = (sum[j] - (mean[j] + mean[j]) * of_variance) / pna.counts[node];
        square[j] = of_variance / pna.counts[node];
    }
}
