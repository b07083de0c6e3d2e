//! How the messages into a node and its boundary state are joined into features.

use std::ops::Range;

use rayon::prelude::*;

use super::{Layer, add};
use crate::Real;
use crate::csr::row;
use crate::message::Message;
use crate::rows::cut;
use crate::simd::vectorised;

/// The reference's lower bound of a variance.
pub(super) const MIN_VARIANCE: f64 = 1e-6;

/// How messages are joined. Values for each node are indexed by its id.
#[derive(Clone, Copy)]
pub enum Aggregate<'a, T> {
    /// Sum.
    Sum,
    /// Sum over the number of messages, boundary included, which is given for each node.
    Mean(&'a [T]),
    /// Largest message, column by column.
    Max(Ties),
    /// Smallest message, column by column.
    Min(Ties),
    /// Principal neighbourhood aggregation (Corso et al., 2020).
    Pna(Statistics<'a, T>),
}

/// Mean, max, min and standard deviation of the messages, each times three functions of the degree.
///
/// Features of a row are `4 dim` wide: the four statistics one after the other. The functions of
/// the degree are not applied to the features but to the rows of the linear map's result, which is
/// the same and four times smaller.
#[derive(Clone, Copy)]
pub struct Statistics<'a, T> {
    /// Number of messages of each node, boundary included.
    pub counts: &'a [T],
    /// The functions of the degree of each node, besides 1.
    pub scales: [&'a [T]; 2],
    /// What the standard deviation's squares are of.
    pub squares: Squares,
    /// How the gradient of tied extremes is shared.
    pub ties: Ties,
}

/// What is squared for the standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Squares {
    /// The message.
    Message,
    /// State and relation, each: `x² + w²`, as the reference's fused kernel does for TransE. Then
    /// all states need rows.
    Parts,
}

/// How edges and boundary share the gradient of an extreme that several of them attain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ties {
    /// As the reference's fused kernel: half for the boundary and half for *each* edge; all of it
    /// for each edge, or for the boundary, where only one side attains it.
    Halves,
    /// As PyTorch's `scatter_reduce`: equal shares, of which an extreme of zero has one more that
    /// nobody receives, for the zeros that it starts from.
    Equal,
}

impl<'a, T: Real> Aggregate<'a, T> {
    /// Width of features for states of width `dim`.
    pub fn width(&self, dim: usize) -> usize {
        match self {
            Aggregate::Sum | Aggregate::Mean(_) | Aggregate::Max(_) | Aggregate::Min(_) => dim,
            Aggregate::Pna(_) => 4 * dim,
        }
    }

    /// Number of messages of each node, where it matters.
    pub(super) fn counts(&self) -> Option<&'a [T]> {
        match self {
            Aggregate::Sum | Aggregate::Max(_) | Aggregate::Min(_) => None,
            Aggregate::Mean(counts) => Some(counts),
            Aggregate::Pna(pna) => Some(pna.counts),
        }
    }

    pub(super) fn check(&self, nodes: usize) {
        assert!(self.counts().is_none_or(|c| c.len() == nodes), "counts");
        if let Aggregate::Pna(pna) = self {
            let fits = pna.scales.iter().all(|s| s.len() == nodes);
            assert!(fits, "functions of the degree");
        }
    }
}

impl<T: Real> Layer<'_, T> {
    /// The features of the rows of some nodes.
    #[inline(always)]
    pub(super) fn features<M: Message>(&self, nodes: Range<usize>, features: &mut [T]) {
        match self.aggregate {
            Aggregate::Sum | Aggregate::Mean(_) => self.sums::<M>(nodes, features),
            Aggregate::Max(_) => self.extremes::<M>(nodes, features, larger),
            Aggregate::Min(_) => self.extremes::<M>(nodes, features, smaller),
            Aggregate::Pna(pna) => self.statistics::<M>(nodes, features, pna),
        }
    }

    /// Sums or means of messages.
    #[inline(always)]
    fn sums<M: Message>(&self, nodes: Range<usize>, sums: &mut [T]) {
        let d = self.dim;
        let rows = self.to.of_all(&nodes);
        for v in nodes.clone() {
            let of_v = self.to.of(v);
            let block = &mut sums[(of_v.start - rows.start) * d..(of_v.end - rows.start) * d];
            if block.is_empty() {
                continue;
            }
            block.fill(T::zero());
            let queries = self.to.queries_of(v);
            let edges = self.into.offsets[v] as usize..self.into.offsets[v + 1] as usize;
            for e in edges {
                self.prefetch_neighbour(e);
                let (u, r) = (self.into.other[e] as usize, self.into.relation[e] as usize);
                let w = row(self.relations, r, d);
                if self.to.aligned(v, self.from, u) {
                    let at = self.from.of(u);
                    M::add_rows(block, &self.x[at.start * d..at.end * d], w);
                    continue;
                }
                // A state of zeros adds nothing: for a message function of which that is not true,
                // all states have rows.
                for (sum, q) in block.chunks_exact_mut(d).zip(queries) {
                    if let Some(x) = self.state(u, *q as usize) {
                        M::add(sum, x, w);
                    }
                }
            }
        }
        self.for_boundary(nodes.clone(), |at, state| {
            add(&mut sums[(at - rows.start) * d..][..d], state);
        });
        if let Some(counts) = self.aggregate.counts() {
            for v in nodes {
                for at in self.to.of(v) {
                    let sum = &mut sums[(at - rows.start) * d..][..d];
                    sum.iter_mut().for_each(|s| *s = *s / counts[v]);
                }
            }
        }
    }

    /// Calls `f(row of the features, message, state, relation)` for every message into the rows of
    /// some nodes. `features` has `width` columns.
    #[inline(always)]
    fn for_messages<M: Message>(
        &self,
        nodes: Range<usize>,
        features: &mut [T],
        width: usize,
        f: impl Fn(&mut [T], &[T], &[T], &[T]),
    ) {
        let d = self.dim;
        let first = self.to.of_all(&nodes).start;
        let (zeros, mut message) = (vec![T::zero(); d], vec![T::zero(); d]);
        for v in nodes {
            let of_v = self.to.of(v);
            if of_v.is_empty() {
                continue;
            }
            let block = &mut features[(of_v.start - first) * width..(of_v.end - first) * width];
            let edges = self.into.offsets[v] as usize..self.into.offsets[v + 1] as usize;
            for e in edges {
                self.prefetch_neighbour(e);
                let (u, r) = (self.into.other[e] as usize, self.into.relation[e] as usize);
                let w = row(self.relations, r, d);
                for (out, q) in block.chunks_exact_mut(width).zip(self.to.queries_of(v)) {
                    let x = self.state(u, *q as usize).unwrap_or(&zeros);
                    M::write(&mut message, x, w);
                    f(out, &message, x, w);
                }
            }
        }
    }

    /// The largest or smallest messages, the boundary (zero where there is none) among them; NaN
    /// where one is NaN.
    #[inline(always)]
    fn extremes<M: Message>(
        &self,
        nodes: Range<usize>,
        best: &mut [T],
        pick: impl Fn(&mut T, T) + Copy,
    ) {
        let d = self.dim;
        let rows = self.to.of_all(&nodes);
        best.fill(T::zero());
        self.for_boundary(nodes.clone(), |at, state| {
            best[(at - rows.start) * d..][..d].copy_from_slice(state);
        });
        self.for_messages::<M>(
            nodes,
            best,
            d,
            #[inline(always)]
            |best, message, _, _| {
                for (b, m) in best.iter_mut().zip(message) {
                    pick(b, *m);
                }
            },
        );
    }

    /// Mean, max, min and standard deviation of the messages.
    #[inline(always)]
    fn statistics<M: Message>(
        &self,
        nodes: Range<usize>,
        features: &mut [T],
        pna: Statistics<'_, T>,
    ) {
        let d = self.dim;
        let rows = self.to.of_all(&nodes);
        features.fill(T::zero());
        self.for_boundary(nodes.clone(), |at, state| {
            let [_, max, min, _] = quarters(&mut features[(at - rows.start) * 4 * d..], d);
            max.copy_from_slice(state);
            min.copy_from_slice(state);
        });
        self.for_messages::<M>(
            nodes.clone(),
            features,
            4 * d,
            #[inline(always)]
            |out, message, x, w| {
                let [sum, max, min, square] = quarters(out, d);
                for (i, m) in message.iter().enumerate() {
                    sum[i] += *m;
                    larger(&mut max[i], *m);
                    smaller(&mut min[i], *m);
                    square[i] += match pna.squares {
                        Squares::Message => *m * *m,
                        Squares::Parts => x[i] * x[i] + w[i] * w[i],
                    };
                }
            },
        );
        self.for_boundary(nodes.clone(), |at, state| {
            let [sum, _, _, square] = quarters(&mut features[(at - rows.start) * 4 * d..], d);
            for (i, b) in state.iter().enumerate() {
                sum[i] += *b;
                square[i] += *b * *b;
            }
        });
        let floor = T::of(MIN_VARIANCE);
        for v in nodes {
            for at in self.to.of(v) {
                let [sum, _, _, square] = quarters(&mut features[(at - rows.start) * 4 * d..], d);
                for (mean, square) in sum.iter_mut().zip(square) {
                    *mean = *mean / pna.counts[v];
                    let variance = *square / pna.counts[v] - *mean * *mean;
                    *square = if variance <= floor { floor } else { variance }.sqrt();
                }
            }
        }
    }
}

/// The first four times `d` columns of a row, apart.
#[inline(always)]
pub(super) fn quarters<T>(row: &mut [T], d: usize) -> [&mut [T]; 4] {
    let (a, rest) = row.split_at_mut(d);
    let (b, rest) = rest.split_at_mut(d);
    let (c, rest) = rest.split_at_mut(d);
    [a, b, c, &mut rest[..d]]
}

#[inline(always)]
fn larger<T: Real>(best: &mut T, message: T) {
    if message > *best || message.is_nan() {
        *best = message;
    }
}

#[inline(always)]
fn smaller<T: Real>(best: &mut T, message: T) {
    if message < *best || message.is_nan() {
        *best = message;
    }
}

/// Only the features, `to.len() x features`: what [`super::forward`] begins with, block by block.
/// Benchmarks time it.
///
/// # Panics
/// As [`super::forward`].
pub fn messages<M: Message, T: Real>(layer: &Layer<'_, T>, out: &mut [T]) {
    layer.check::<M>();
    let width = layer.width();
    assert_eq!(out.len(), layer.to.len() * width, "features");
    let tasks = layer.tasks();
    let ends = tasks.iter().map(|t| layer.to.of_all(t).end * width);
    let pieces = cut(out, ends);
    tasks.into_par_iter().zip(pieces).for_each(|(nodes, out)| {
        vectorised(
            #[inline(always)]
            || layer.features::<M>(nodes.clone(), out),
        );
    });
}
