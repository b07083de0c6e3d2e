//! One NBFNet layer (Zhu et al., 2021) over [`Rows`], forward and backward: messages are
//! aggregated, then a linear map, normalisation, activation and shortcut follow, in one pass over
//! blocks of rows that stay in the cache.
//!
//! Row i of the output, the pair (v, q), sees `[x(v, q) ; features(v, q)]`, where the features join
//! the messages `message(x(u, q), w[r])` over all edges (v <- u, r) and the boundary state of (v,
//! q), which is one more message ([`Aggregate`]). States that no row holds are zero.
//!
//! Work is cut by sizes alone into a fixed number of tasks, and partial sums are added in their
//! order: results do not depend on the number of threads.

mod aggregate;
mod gains;
mod linear;
mod messages;
mod ties;

use std::ops::Range;

use rayon::prelude::*;

use crate::Real;
use crate::activation::{Activation, by_activation};
use crate::csr::{Csr, row};
use crate::gemm::{Mat, product_of_rows};
use crate::message::Message;
use crate::norm::{Affine, forward as norm_forward};
use crate::rows::{NONE, Rows, cut};
use crate::simd::vectorised;

pub use self::aggregate::{Aggregate, Squares, Statistics, Ties, messages};
pub use self::gains::{Cone, Gain, edge_gains};
use self::linear::LinearGrads;
pub use self::messages::{OwnGrads, sum_backward};
use self::ties::BoundaryGrads;

/// Rows of a product at a time.
const BLOCK: usize = 512;
/// Tasks of a pass: more than most machines have threads, few enough to add up their partial sums.
const TASKS: usize = 32;
/// Bytes that partial sums may take together, where four of them do not take more: they are cleared
/// and added up, which must not cost more than what they save.
const PARTIAL_BYTES: usize = 16 << 20;

/// A layer's input, parameters and graph.
#[derive(Clone, Copy)]
pub struct Layer<'a, T> {
    /// Rows of the input.
    pub from: &'a Rows,
    /// Rows of the output.
    pub to: &'a Rows,
    /// Edges grouped by the node that receives.
    pub into: Csr<'a>,
    /// Edges grouped by the node that sends; only the backward pass reads them.
    pub out_of: Csr<'a>,
    /// States, `from.len() x dim`.
    pub x: &'a [T],
    /// States of the nodes without a row, `nodes x dim`; zero where there are none. They have no
    /// gradient.
    pub far: Option<&'a [T]>,
    /// Relation states, `relations x dim`.
    pub relations: &'a [T],
    /// Width of states.
    pub dim: usize,
    /// Width of the output.
    pub out: usize,
    /// `out x columns`: `dim` columns for the state, then those of the features ([`Aggregate`]).
    pub weight: &'a [T],
    /// `out`.
    pub bias: &'a [T],
    /// Scale and shift of the normalisation.
    pub affine: Option<Affine<'a, T>>,
    /// Activation.
    pub activation: Activation,
    /// Adds the state to the output; widths are equal then.
    pub shortcut: bool,
    /// Boundary states, one more message of the rows that have one.
    pub boundary: Boundary<'a, T>,
    /// How messages are joined.
    pub aggregate: Aggregate<'a, T>,
}

/// Boundary states. Rows that are not mentioned have a state of zeros.
#[derive(Clone, Copy)]
pub struct Boundary<'a, T> {
    /// Rows of the output that have one of their own, increasing, with the index of each into
    /// `rows`. No index is there twice.
    pub at: &'a [(u32, u32)],
    /// `dim` values each, by index.
    pub rows: &'a [T],
    /// The boundary state of every other row is that of its node, `nodes x dim`; `None` if these
    /// are zeros.
    pub nodes: Option<&'a [T]>,
}

/// What the forward pass fills.
pub struct Out<'a, T> {
    /// Joined messages, `to.len() x features`.
    pub features: &'a mut [T],
    /// Normalised values, `to.len() x out`.
    pub normed: &'a mut [T],
    /// Reciprocal standard deviation, one per row.
    pub rstd: &'a mut [T],
    /// The output, `to.len() x out`.
    pub y: &'a mut [T],
}

/// What the backward pass needs of the forward pass.
#[derive(Clone, Copy)]
pub struct Saved<'a, T> {
    /// See [`Out::features`].
    pub features: &'a [T],
    /// See [`Out::normed`].
    pub normed: &'a [T],
    /// See [`Out::rstd`].
    pub rstd: &'a [T],
}

/// Gradients, each added to what is there, and two scratch buffers.
pub struct Grads<'a, T> {
    /// Of the input states.
    pub x: &'a mut [T],
    /// Scratch, `to.len() x dim`: of the states that the linear map saw.
    pub state: &'a mut [T],
    /// Scratch, `to.len() x features`: of the features that it saw. They lie apart from the states'
    /// gradient because they are read out of order.
    pub features: &'a mut [T],
    /// Of the relation states.
    pub relations: &'a mut [T],
    /// Of the boundary's rows.
    pub boundary: &'a mut [T],
    /// Of the boundary states of nodes, if there are any.
    pub nodes: Option<&'a mut [T]>,
    /// Of the weight.
    pub weight: &'a mut [T],
    /// Of the bias.
    pub bias: &'a mut [T],
    /// Of scale and shift.
    pub affine: Option<(&'a mut [T], &'a mut [T])>,
}

impl<T: Real> Layer<'_, T> {
    fn check<M: Message>(&self) {
        assert!(!M::PAIRS || self.dim.is_multiple_of(2), "rows are pairs");
        let nodes = self.to.nodes();
        assert_eq!(self.from.nodes(), nodes, "rows of different graphs");
        assert_eq!(self.into.nodes(), nodes, "edges of another graph");
        assert_eq!(self.x.len(), self.from.len() * self.dim, "states");
        let far = self.far.is_none_or(|far| far.len() == nodes * self.dim);
        assert!(far, "states of nodes without a row");
        assert_eq!(self.weight.len(), self.out * self.columns(), "weight");
        assert_eq!(self.bias.len(), self.out, "bias");
        assert!(!self.shortcut || self.out == self.dim, "shortcut");
        let boundary = self.boundary.nodes;
        let fits = boundary.is_none_or(|states| states.len() == nodes * self.dim);
        assert!(fits, "boundary states of nodes");
        self.aggregate.check(nodes);
    }

    /// Width of features.
    fn width(&self) -> usize {
        self.aggregate.width(self.dim)
    }

    /// Ranges of nodes with about the same work in the forward pass.
    fn tasks(&self) -> Vec<Range<usize>> {
        let gemm = self.out as u64;
        self.to.tasks(self.worth(TASKS), |v| {
            let degree = u64::from(self.into.offsets[v + 1] - self.into.offsets[v]);
            self.to.of(v).len() as u64 * (gemm + 4 + degree)
        })
    }

    /// At most this many tasks, and none much smaller than a block.
    fn worth(&self, most: usize) -> usize {
        most.min(self.to.len() / BLOCK).max(1)
    }

    /// The boundary of some rows.
    fn boundary_of(&self, rows: &Range<usize>) -> &[(u32, u32)] {
        let at = self.boundary.at;
        let from = at.partition_point(|(r, _)| (*r as usize) < rows.start);
        let to = at.partition_point(|(r, _)| (*r as usize) < rows.end);
        &at[from..to]
    }

    /// Calls `f(row, boundary state)` for every row of some nodes that has one.
    #[inline(always)]
    fn for_boundary(&self, nodes: Range<usize>, mut f: impl FnMut(usize, &[T])) {
        let (
            d,
            Boundary {
                rows,
                nodes: of_nodes,
                ..
            },
        ) = (self.dim, self.boundary);
        let starts = self.boundary_of(&self.to.of_all(&nodes)).iter();
        let Some(of_nodes) = of_nodes else {
            starts.for_each(|(at, k)| f(*at as usize, row(rows, *k as usize, d)));
            return;
        };
        let mut starts = starts.peekable();
        for v in nodes {
            for at in self.to.of(v) {
                let own = starts.next_if(|(start, _)| *start as usize == at);
                let state =
                    own.map_or_else(|| row(of_nodes, v, d), |(_, k)| row(rows, *k as usize, d));
                f(at, state);
            }
        }
    }

    /// The state of a node for a query; `None` where it is zero.
    #[inline(always)]
    fn state(&self, v: usize, q: usize) -> Option<&[T]> {
        match self.from.find(v, q) {
            NONE => self.far.map(|far| row(far, v, self.dim)),
            at => Some(row(self.x, at as usize, self.dim)),
        }
    }

    /// The states of the rows of some nodes.
    #[inline(always)]
    fn states(&self, nodes: Range<usize>, states: &mut [T]) {
        let d = self.dim;
        let mut rows = states.chunks_exact_mut(d);
        for v in nodes {
            for (q, state) in self.to.queries_of(v).iter().zip(&mut rows) {
                match self.state(v, *q as usize) {
                    None => state.fill(T::zero()),
                    Some(x) => state.copy_from_slice(x),
                }
            }
        }
    }

    /// Asks the processor for the states of the neighbour that comes [`AHEAD`] edges later.
    #[inline(always)]
    fn prefetch_neighbour(&self, edge: usize) {
        if let Some(next) = self.into.other.get(edge + AHEAD) {
            let next = *next as usize;
            prefetch(self.x, self.from.of(next), self.dim);
            if let Some(far) = self.far {
                prefetch(far, next..next + 1, self.dim);
            }
        }
    }
}

/// Neighbours whose states are asked for before it is their turn: they lie anywhere, and waiting
/// for them one by one would be most of the work.
const AHEAD: usize = 2;

/// Asks the processor for some rows. It changes nothing but the time.
#[inline(always)]
fn prefetch<T>(rows: &[T], which: Range<usize>, dim: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const LINE: usize = 64;
        let step = (LINE / size_of::<T>()).max(1);
        for value in rows[which.start * dim..which.end * dim]
            .iter()
            .step_by(step)
        {
            // SAFETY: a prefetch reads nothing the program sees and cannot fault; the pointer is
            // one into the slice.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (rows, which, dim);
}

/// Blocks of nodes with about [`BLOCK`] rows.
fn blocks(rows: &Rows, nodes: Range<usize>) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut from = nodes.start;
    for v in nodes.clone() {
        if rows.of_all(&(from..v + 1)).len() >= BLOCK {
            out.push(from..v + 1);
            from = v + 1;
        }
    }
    // A product of a few rows costs as much as one of many: no block is small where another is
    // there to join.
    match out.last_mut() {
        Some(last) if rows.of_all(&(from..nodes.end)).len() < BLOCK / 4 => last.end = nodes.end,
        _ if from < nodes.end => out.push(from..nodes.end),
        _ => {}
    }
    out
}

fn add<T: Real>(to: &mut [T], part: &[T]) {
    for (o, p) in to.iter_mut().zip(part) {
        *o += *p;
    }
}

/// The forward pass.
///
/// # Panics
/// When lengths do not fit, or an edge names a node or relation outside.
pub fn forward<M: Message, T: Real>(layer: &Layer<'_, T>, out: Out<'_, T>) {
    layer.check::<M>();
    let (m, d, n, width) = (layer.to.len(), layer.dim, layer.out, layer.width());
    assert_eq!(out.features.len(), m * width, "features");
    assert_eq!((out.normed.len(), out.y.len()), (m * n, m * n), "output");
    assert_eq!(out.rstd.len(), m, "one deviation a row");
    let maps = layer.transposed_maps();
    let tasks = layer.tasks();
    let ends = |width: usize| {
        let ends = tasks.iter().map(|t| layer.to.of_all(t).end);
        ends.map(move |e| e * width).collect::<Vec<_>>().into_iter()
    };
    let pieces: Vec<_> = tasks
        .iter()
        .zip(cut(out.features, ends(width)))
        .zip(cut(out.normed, ends(n)))
        .zip(cut(out.rstd, ends(1)))
        .zip(cut(out.y, ends(n)))
        .collect();
    pieces
        .into_par_iter()
        .for_each(|((((nodes, features), normed), rstd), y)| {
            let first = layer.to.of_all(nodes).start;
            let (mut states, mut scaled) = (Vec::new(), Vec::new());
            for block in blocks(layer.to, nodes.clone()) {
                let rows = layer.to.of_all(&block);
                let at = rows.start - first..rows.end - first;
                let part = |x: Range<usize>, width: usize| x.start * width..x.end * width;
                let features = &mut features[part(at.clone(), width)];
                let normed = &mut normed[part(at.clone(), n)];
                states.resize(rows.len() * d, T::zero());
                let states = &mut states[..];
                vectorised(
                    #[inline(always)]
                    || {
                        layer.states(block.clone(), states);
                        layer.features::<M>(block.clone(), features);
                    },
                );
                for lin in normed.chunks_exact_mut(n) {
                    lin.copy_from_slice(layer.bias);
                }
                for map in &maps {
                    let seen = if map.of_state { &*states } else { &*features };
                    let seen = Mat::new(seen, rows.len(), map.width);
                    let weight = Mat::new(&map.weight, map.width, n);
                    let Some(scale) = map.scale else {
                        product_of_rows(normed, seen, weight, true);
                        continue;
                    };
                    scaled.resize(rows.len() * n, T::zero());
                    product_of_rows(&mut scaled, seen, weight, false);
                    layer.scale_rows(block.clone(), &mut scaled, scale, n);
                    add(normed, &scaled);
                }
                let y = &mut y[part(at.clone(), n)];
                let rstd = &mut rstd[at];
                vectorised(
                    #[inline(always)]
                    || {
                        by_activation!(layer.activation, A => norm_forward::<A, T>(y, normed, rstd, layer.affine, None, n));
                        if layer.shortcut {
                            add(y, states);
                        }
                    },
                );
            }
        });
}

/// The backward pass: `dy` is the gradient of the output.
///
/// # Panics
/// When lengths do not fit, or an edge names a node or relation outside.
pub fn backward<M: Message, T: Real>(
    layer: &Layer<'_, T>,
    saved: Saved<'_, T>,
    dy: &[T],
    grads: Grads<'_, T>,
) {
    layer.check::<M>();
    let (m, d, n, width) = (layer.to.len(), layer.dim, layer.out, layer.width());
    assert_eq!((dy.len(), saved.normed.len()), (m * n, m * n), "output");
    assert_eq!(saved.features.len(), m * width, "features");
    assert_eq!(
        (grads.state.len(), grads.features.len()),
        (m * d, m * width),
        "scratch"
    );
    assert_eq!(grads.x.len(), layer.x.len(), "states");
    assert!(layer.far.is_none(), "states without a gradient");
    linear::backward(
        layer,
        saved,
        dy,
        &mut LinearGrads {
            state: grads.state,
            features: grads.features,
            weight: grads.weight,
            bias: grads.bias,
            affine: grads.affine,
        },
    );
    let boundary = BoundaryGrads {
        rows: grads.boundary,
        nodes: grads.nodes,
    };
    layer.features_backward::<M>(saved.features, grads.features, boundary);
    let own = OwnGrads {
        state: grads.state,
        dy,
    };
    match layer.aggregate {
        Aggregate::Sum | Aggregate::Mean(_) => {
            messages::sum_backward::<M, T>(layer, own, grads.features, grads.x, grads.relations);
        }
        Aggregate::Max(_) | Aggregate::Min(_) | Aggregate::Pna(_) => {
            let up = messages::Upstream {
                aggregate: &layer.aggregate,
                features: saved.features,
                grads: grads.features,
                dim: d,
            };
            messages::backward::<M, T, _>(layer, own, &up, grads.x, grads.relations);
        }
    }
}

#[cfg(test)]
mod tests;
