//! A layer over [`Rows`]: messages summed, linear map, normalisation, activation, shortcut, in one pass over blocks of rows
//! that stay in the cache, forward and backward.
//!
//! Row i of the output, the pair (v, q), sees `[x(v, q) ; Σ over edges (v <- u, r) of message(x(u, q), w[r]) + boundary]`. States
//! that no row holds are zero, and so are their messages: for a message function of which that is not true, there must be rows.
//!
//! Work is cut by sizes alone into a fixed number of tasks, and partial sums are added in their order.

use std::ops::Range;

use rayon::prelude::*;

use crate::Real;
use crate::activation::{Activation, by_activation};
use crate::gemm::{Mat, product};
use crate::message::Message;
use crate::norm::{Affine, backward as norm_backward, forward as norm_forward};
use crate::rows::{NONE, Rows, cut};
use crate::rspmm::{Csr, row};
use crate::simd::vectorised;

/// Rows of a product at a time.
const BLOCK: usize = 512;
/// Tasks of a pass: more than most machines have threads, few enough to add up their partial sums.
const TASKS: usize = 32;
/// Bytes that partial sums may take together, where four of them do not take more: they are cleared and added up, which must
/// not cost more than what they save.
const PARTIAL_BYTES: usize = 16 << 20;

/// What a layer sees.
#[derive(Clone, Copy)]
pub struct Layer<'a, T> {
    /// Rows of the input.
    pub from: &'a Rows,
    /// Rows of the output.
    pub to: &'a Rows,
    /// Edges grouped by the node that receives.
    pub into: Csr<'a>,
    /// Edges grouped by the node that sends; only the backward pass looks at them.
    pub out_of: Csr<'a>,
    /// States, `from.len() x dim`.
    pub x: &'a [T],
    /// States of the nodes without a row, `nodes x dim`; zero where there are none. The backward pass knows no gradient of them.
    pub far: Option<&'a [T]>,
    /// Relation states, `relations x dim`.
    pub relations: &'a [T],
    /// Width of states.
    pub dim: usize,
    /// Width of the output.
    pub out: usize,
    /// `out x 2 dim`.
    pub weight: &'a [T],
    /// `out`.
    pub bias: &'a [T],
    /// Scale and shift of the normalisation.
    pub affine: Option<Affine<'a, T>>,
    /// Activation.
    pub activation: Activation,
    /// Adds the state to the output; widths are equal then.
    pub shortcut: bool,
    /// Rows of the output at which the boundary is not zero, increasing, and it there.
    pub boundary: Boundary<'a, T>,
    /// Divides the sum of a node by this: the mean.
    pub counts: Option<&'a [T]>,
}

/// Boundary states that are not zero.
#[derive(Clone, Copy)]
pub struct Boundary<'a, T> {
    /// Rows they belong to, increasing, with the index of each.
    pub at: &'a [(u32, u32)],
    /// `dim` values each, by index.
    pub rows: &'a [T],
}

/// What the forward pass fills.
pub struct Out<'a, T> {
    /// Sums of messages, `to.len() x dim`.
    pub sum: &'a mut [T],
    /// Normalised values, `to.len() x out`.
    pub normed: &'a mut [T],
    /// One per row.
    pub rstd: &'a mut [T],
    /// The output, `to.len() x out`.
    pub y: &'a mut [T],
}

/// What it left.
#[derive(Clone, Copy)]
pub struct Left<'a, T> {
    /// See [`Out::sum`].
    pub sum: &'a [T],
    /// See [`Out::normed`].
    pub normed: &'a [T],
    /// See [`Out::rstd`].
    pub rstd: &'a [T],
}

/// Gradients, each added to what is there, but for the two that are scratch.
pub struct Grads<'a, T> {
    /// Of the input states.
    pub x: &'a mut [T],
    /// Scratch, `to.len() x dim`: of the states the linear map saw.
    pub state: &'a mut [T],
    /// Scratch, `to.len() x dim`: of the sums of messages it saw. Apart from the others, because these are what is read out of order.
    pub sum: &'a mut [T],
    /// Of the relation states.
    pub relations: &'a mut [T],
    /// Of the boundary's rows.
    pub boundary: &'a mut [T],
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
        assert_eq!(self.weight.len(), self.out * 2 * self.dim, "weight");
        assert_eq!(self.bias.len(), self.out, "bias");
        assert!(!self.shortcut || self.out == self.dim, "shortcut");
        assert!(self.counts.is_none_or(|c| c.len() == nodes), "counts");
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

    /// The sums of messages of the rows of some nodes.
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
                // The next node's neighbours come after this one's.
                if let Some(next) = self.into.other.get(e + AHEAD) {
                    let next = *next as usize;
                    prefetch(self.x, self.from.of(next), d);
                    if let Some(far) = self.far {
                        prefetch(far, next..next + 1, d);
                    }
                }
                let (u, r) = (self.into.other[e] as usize, self.into.relation[e] as usize);
                let w = row(self.relations, r, d);
                if self.to.aligned(v, self.from, u) {
                    let at = self.from.of(u);
                    M::add_rows(block, &self.x[at.start * d..at.end * d], w);
                    continue;
                }
                for (sum, q) in block.chunks_exact_mut(d).zip(queries) {
                    if let Some(x) = self.state(u, *q as usize) {
                        M::add(sum, x, w);
                    }
                }
            }
        }
        for (at, k) in self.boundary_of(&rows) {
            let sum = &mut sums[(*at as usize - rows.start) * d..][..d];
            add(sum, row(self.boundary.rows, *k as usize, d));
        }
        if let Some(counts) = self.counts {
            for v in nodes {
                for at in self.to.of(v) {
                    let sum = &mut sums[(at - rows.start) * d..][..d];
                    sum.iter_mut().for_each(|s| *s = *s / counts[v]);
                }
            }
        }
    }

    /// The weight's transpose, `2 dim x out`: products with it are faster than with the weight read across, and it is small.
    fn turned(&self) -> Vec<T> {
        let (rows, columns) = (self.out, 2 * self.dim);
        let mut out = vec![T::zero(); self.weight.len()];
        for (r, row) in self.weight.chunks_exact(columns).enumerate() {
            for (c, value) in row.iter().enumerate() {
                out[c * rows + r] = *value;
            }
        }
        out
    }

    /// The weight's columns for the state, and for the sum.
    fn weights(&self) -> [Mat<'_, T>; 2] {
        let d = self.dim;
        [0, d].map(|column| Mat::strided(&self.weight[column..], self.out, d, 2 * d))
    }
}

/// Neighbours whose states are asked for before it is their turn: they lie anywhere, and waiting for them one by one would be most
/// of the work.
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
            // SAFETY: a prefetch reads nothing the program sees and cannot fault; the pointer is one into the slice.
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
    // A product of a few rows may be rounded in another way than one of many: equal states must stay equal, so no block is small where
    // another is there to join.
    match out.last_mut() {
        Some(last) if rows.of_all(&(from..nodes.end)).len() < BLOCK / 4 => last.end = nodes.end,
        _ if from < nodes.end => out.push(from..nodes.end),
        _ => {}
    }
    out
}

/// The forward pass.
///
/// # Panics
/// When lengths do not fit, or an edge names a node or relation outside.
pub fn forward<M: Message, T: Real>(layer: &Layer<'_, T>, out: Out<'_, T>) {
    layer.check::<M>();
    let (m, d, n) = (layer.to.len(), layer.dim, layer.out);
    assert_eq!(out.sum.len(), m * d, "sums");
    assert_eq!((out.normed.len(), out.y.len()), (m * n, m * n), "output");
    assert_eq!(out.rstd.len(), m, "one deviation a row");
    let turned = layer.turned();
    let tasks = layer.tasks();
    let ends = |width: usize| {
        let ends = tasks.iter().map(|t| layer.to.of_all(t).end);
        ends.map(move |e| e * width).collect::<Vec<_>>().into_iter()
    };
    let pieces: Vec<_> = tasks
        .iter()
        .zip(cut(out.sum, ends(d)))
        .zip(cut(out.normed, ends(n)))
        .zip(cut(out.rstd, ends(1)))
        .zip(cut(out.y, ends(n)))
        .collect();
    pieces
        .into_par_iter()
        .for_each(|((((nodes, sum), normed), rstd), y)| {
            let first = layer.to.of_all(nodes).start;
            let mut scratch = Vec::new();
            for block in blocks(layer.to, nodes.clone()) {
                let rows = layer.to.of_all(&block);
                let at = rows.start - first..rows.end - first;
                let part = |x: Range<usize>, width: usize| x.start * width..x.end * width;
                let sum = &mut sum[part(at.clone(), d)];
                let normed = &mut normed[part(at.clone(), n)];
                scratch.resize(rows.len() * d, T::zero());
                let states = &mut scratch[..];
                vectorised(
                    #[inline(always)]
                    || {
                        layer.states(block.clone(), states);
                        layer.sums::<M>(block.clone(), sum);
                    },
                );
                for lin in normed.chunks_exact_mut(n) {
                    lin.copy_from_slice(layer.bias);
                }
                let (of_state, of_sum) = turned.split_at(d * n);
                let (of_state, of_sum) = (Mat::new(of_state, d, n), Mat::new(of_sum, d, n));
                product(normed, Mat::new(states, rows.len(), d), of_state, true);
                product(normed, Mat::new(sum, rows.len(), d), of_sum, true);
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

/// Only the sums of messages, `to.len() x dim`: what [`forward`] begins with, block by block. For whoever measures it.
///
/// # Panics
/// As [`forward`].
pub fn messages<M: Message, T: Real>(layer: &Layer<'_, T>, out: &mut [T]) {
    layer.check::<M>();
    assert_eq!(out.len(), layer.to.len() * layer.dim, "sums");
    let tasks = layer.tasks();
    let pieces = cut(
        out,
        tasks.iter().map(|t| layer.to.of_all(t).end * layer.dim),
    );
    tasks.into_par_iter().zip(pieces).for_each(|(nodes, out)| {
        vectorised(
            #[inline(always)]
            || layer.sums::<M>(nodes.clone(), out),
        );
    });
}

/// Partial gradients of a task.
struct Partial<T> {
    /// Of the state's columns, and of the sum's.
    weight: [Vec<T>; 2],
    bias: Vec<T>,
    gamma: Vec<T>,
    beta: Vec<T>,
}

fn add<T: Real>(to: &mut [T], part: &[T]) {
    for (o, p) in to.iter_mut().zip(part) {
        *o += *p;
    }
}

/// The backward pass: `dy` is the gradient of the output.
///
/// # Panics
/// When lengths do not fit, or an edge names a node or relation outside.
pub fn backward<M: Message, T: Real>(
    layer: &Layer<'_, T>,
    left: Left<'_, T>,
    dy: &[T],
    grads: Grads<'_, T>,
) {
    layer.check::<M>();
    let (m, d, n) = (layer.to.len(), layer.dim, layer.out);
    assert_eq!((dy.len(), left.normed.len()), (m * n, m * n), "output");
    assert_eq!(left.sum.len(), m * d, "sums");
    assert_eq!(
        (grads.state.len(), grads.sum.len()),
        (m * d, m * d),
        "scratch"
    );
    assert_eq!(grads.x.len(), layer.x.len(), "states");
    assert!(layer.far.is_none(), "states without a gradient");
    through_linear(
        layer,
        left,
        dy,
        &mut Linear {
            state: grads.state,
            sum: grads.sum,
            weight: grads.weight,
            bias: grads.bias,
            affine: grads.affine,
        },
    );
    let (dstate, dsum): (&[T], &[T]) = (grads.state, grads.sum);
    for (at, k) in layer.boundary.at {
        let sum = row(dsum, *at as usize, d);
        add(&mut grads.boundary[*k as usize * d..][..d], sum);
    }
    through_messages::<M, T>(layer, (dstate, dsum), dy, grads.x, grads.relations);
}

struct Linear<'a, T> {
    state: &'a mut [T],
    sum: &'a mut [T],
    weight: &'a mut [T],
    bias: &'a mut [T],
    affine: Option<(&'a mut [T], &'a mut [T])>,
}

/// From the output to what the linear map saw.
fn through_linear<T: Real>(
    layer: &Layer<'_, T>,
    left: Left<'_, T>,
    dy: &[T],
    grads: &mut Linear<'_, T>,
) {
    let (d, n) = (layer.dim, layer.out);
    let most = PARTIAL_BYTES / size_of_val(layer.weight).max(1);
    let most = most.clamp(4, TASKS);
    let tasks = layer
        .to
        .tasks(layer.worth(most), |v| layer.to.of(v).len() as u64);
    let ends = || tasks.iter().map(|t| layer.to.of_all(t).end * d);
    let pieces: Vec<_> = tasks
        .iter()
        .zip(cut(grads.state, ends()))
        .zip(cut(grads.sum, ends()))
        .collect();
    let partial: Vec<Partial<T>> = pieces
        .into_par_iter()
        .map(|((nodes, dstate), dsum)| {
            let zeros = |len: usize| vec![T::zero(); len];
            let mut sums = Partial {
                weight: [zeros(n * d), zeros(n * d)],
                bias: zeros(n),
                gamma: zeros(n),
                beta: zeros(n),
            };
            let all = layer.to.of_all(nodes);
            let (mut dlin, mut states) = (Vec::new(), Vec::new());
            for block in blocks(layer.to, nodes.clone()) {
                let rows = layer.to.of_all(&block);
                let count = rows.len();
                dlin.resize(count * n, T::zero());
                states.resize(count * d, T::zero());
                vectorised(
                    #[inline(always)]
                    || {
                        let grads = (&mut sums.gamma[..], &mut sums.beta[..]);
                        by_activation!(layer.activation, A => norm_backward::<A, T>(
                            &mut dlin,
                            &dy[rows.start * n..rows.end * n],
                            &left.normed[rows.start * n..rows.end * n],
                            &left.rstd[rows.clone()],
                            layer.affine,
                            grads,
                            n,
                        ));
                        for dlin in dlin.chunks_exact(n) {
                            add(&mut sums.bias, dlin);
                        }
                        layer.states(block.clone(), &mut states);
                    },
                );
                let dl = Mat::new(&dlin, count, n);
                let seen = [&states[..], &left.sum[rows.start * d..rows.end * d]];
                let at = (rows.start - all.start) * d..(rows.end - all.start) * d;
                let parts = [&mut dstate[at.clone()], &mut dsum[at]];
                for (k, (seen, part)) in seen.into_iter().zip(parts).enumerate() {
                    product(&mut sums.weight[k], dl.t(), Mat::new(seen, count, d), true);
                    product(part, dl, layer.weights()[k], false);
                }
            }
            if let Some(counts) = layer.counts {
                for v in nodes.clone() {
                    for at in layer.to.of(v) {
                        let sum = &mut dsum[(at - all.start) * d..][..d];
                        sum.iter_mut().for_each(|s| *s = *s / counts[v]);
                    }
                }
            }
            sums
        })
        .collect();
    for p in &partial {
        for (k, part) in p.weight.iter().enumerate() {
            for (to, from) in grads
                .weight
                .chunks_exact_mut(2 * d)
                .zip(part.chunks_exact(d))
            {
                add(&mut to[k * d..][..d], from);
            }
        }
        add(grads.bias, &p.bias);
        if let Some((gamma, beta)) = &mut grads.affine {
            add(gamma, &p.gamma);
            add(beta, &p.beta);
        }
    }
}

/// The last part of [`backward`]: from what the linear map saw to the states and relations it came from. Every task owns the states of
/// its nodes and looks at all that these were sent to, so that a row of the gradient is read once for both.
///
/// # Panics
/// As [`backward`].
pub fn through_messages<M: Message, T: Real>(
    layer: &Layer<'_, T>,
    (dstate, dsum): (&[T], &[T]),
    dy: &[T],
    dx: &mut [T],
    drelations: &mut [T],
) {
    let d = layer.dim;
    let (from, to) = (layer.from, layer.to);
    let edges = layer.out_of;
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
            let first = from.of_all(nodes).start;
            vectorised(
                #[inline(always)]
                || {
                    for u in nodes.clone() {
                        if from.of(u).is_empty() {
                            continue;
                        }
                        for (i, q) in to.of(u).zip(to.queries_of(u)) {
                            let at = from.find(u, *q as usize);
                            if at == NONE {
                                continue;
                            }
                            let dx = &mut dx[(at as usize - first) * d..][..d];
                            add(dx, row(dstate, i, d));
                            if layer.shortcut {
                                add(dx, row(dy, i, d));
                            }
                        }
                        let of_u = edges.offsets[u] as usize..edges.offsets[u + 1] as usize;
                        for e in of_u {
                            if let Some(next) = edges.other.get(e + AHEAD) {
                                prefetch(dsum, to.of(*next as usize), d);
                            }
                            let (v, r) = (edges.other[e] as usize, edges.relation[e] as usize);
                            let w = row(layer.relations, r, d);
                            let dw = &mut drelations[r * d..][..d];
                            if from.aligned(u, to, v) {
                                let (at, i) = (from.of(u), to.of(v));
                                M::add_grads(
                                    &mut dx[(at.start - first) * d..(at.end - first) * d],
                                    dw,
                                    &dsum[i.start * d..i.end * d],
                                    &layer.x[at.start * d..at.end * d],
                                    w,
                                );
                                continue;
                            }
                            for (i, q) in to.of(v).zip(to.queries_of(v)) {
                                let at = from.find(u, *q as usize);
                                if at == NONE {
                                    continue;
                                }
                                let g = row(dsum, i, d);
                                let dx = &mut dx[(at as usize - first) * d..][..d];
                                M::add_x_grad(dx, g, w);
                                M::add_w_grad(dw, g, row(layer.x, at as usize, d));
                            }
                        }
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

#[cfg(test)]
mod tests;
