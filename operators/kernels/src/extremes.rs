//! The other aggregates' parts: extremes and sums of squares of messages over the edges into a node.
//!
//! Forward: [`extreme`] (max or min) and [`square_sum`]. Backward: messages are computed again, bit for bit, and compared
//! with the extreme to find the edges that attain it; [`ties`] counts them. [`input_grad`] and [`relation_grad`] take an
//! [`Upstream`]: the gradient of every message as a sum of parts that belong to its destination. Shapes are those of
//! [`crate::rspmm`].

use crate::Real;
use crate::message::Message;
use crate::rspmm::{ByRelation, Csr, for_relations, for_rows, row};

/// Which extreme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Largest.
    Max,
    /// Smallest.
    Min,
}

/// What is squared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Squares {
    /// The message.
    Message,
    /// State and relation, each: `x² + w²` (the reference's fused TransE with PNA).
    Parts,
}

/// Gradient of a message `m` over edge (v <- u, r): `sum[v] + 2 m square[v] + [m = max[v]] at_max[v] + …`.
#[derive(Debug, Clone, Copy)]
pub struct Upstream<'a, T> {
    /// Of the sum of messages.
    pub sum: Option<&'a [T]>,
    /// Of the sum of squares.
    pub square: Option<(&'a [T], Squares)>,
    /// Extremes, and what each edge that attains one receives.
    pub extremes: &'a [(&'a [T], &'a [T])],
}

/// `out[b, v] = max or min of out[b, v] and the messages into v`; NaN where one of them is.
///
/// # Panics
/// When lengths do not fit, or an edge names a node or relation outside.
pub fn extreme<M: Message, T: Real>(
    out: &mut [T],
    order: Order,
    edges: Csr<'_>,
    x: &[T],
    w: &[T],
    dim: usize,
) {
    assert_eq!(out.len(), x.len(), "input and output differ in shape");
    let nodes = edges.nodes();
    for_rows(
        out,
        edges,
        dim,
        dim,
        #[inline(always)]
        |out, (b, _), others, relations, scratch| {
            let m = scratch;
            for (u, r) in others.iter().zip(relations) {
                let u = b * nodes + *u as usize;
                M::write(m, row(x, u, dim), row(w, *r as usize, dim));
                match order {
                    Order::Max => out.iter_mut().zip(m.iter()).for_each(|(o, m)| {
                        *o = if *m > *o || m.is_nan() { *m } else { *o };
                    }),
                    Order::Min => out.iter_mut().zip(m.iter()).for_each(|(o, m)| {
                        *o = if *m < *o || m.is_nan() { *m } else { *o };
                    }),
                }
            }
        },
    );
}

/// `out[b, v] += Σ message²`, or of the squares of its parts.
///
/// # Panics
/// When lengths do not fit, or an edge names a node or relation outside.
pub fn square_sum<M: Message, T: Real>(
    out: &mut [T],
    squares: Squares,
    edges: Csr<'_>,
    x: &[T],
    w: &[T],
    dim: usize,
) {
    assert_eq!(out.len(), x.len(), "input and output differ in shape");
    let nodes = edges.nodes();
    for_rows(
        out,
        edges,
        dim,
        dim,
        #[inline(always)]
        |out, (b, _), others, relations, scratch| {
            let m = scratch;
            for (u, r) in others.iter().zip(relations) {
                let xs = row(x, b * nodes + *u as usize, dim);
                let ws = row(w, *r as usize, dim);
                match squares {
                    Squares::Message => {
                        M::write(m, xs, ws);
                        out.iter_mut()
                            .zip(m.iter())
                            .for_each(|(o, m)| *o += *m * *m);
                    }
                    Squares::Parts => {
                        for ((o, x), w) in out.iter_mut().zip(xs).zip(ws) {
                            *o += *x * *x + *w * *w;
                        }
                    }
                }
            }
        },
    );
}

/// `count[b, v] += number of messages into v that equal extremes[b, v]`, per column.
///
/// # Panics
/// When lengths do not fit, or an edge names a node or relation outside.
pub fn ties<M: Message, T: Real>(
    count: &mut [T],
    extremes: &[T],
    edges: Csr<'_>,
    x: &[T],
    w: &[T],
    dim: usize,
) {
    assert_eq!(count.len(), x.len(), "input and output differ in shape");
    let nodes = edges.nodes();
    for_rows(
        count,
        edges,
        dim,
        dim,
        #[inline(always)]
        |count, (b, v), others, relations, scratch| {
            let best = row(extremes, b * nodes + v, dim);
            let m = scratch;
            for (u, r) in others.iter().zip(relations) {
                let u = b * nodes + *u as usize;
                M::write(m, row(x, u, dim), row(w, *r as usize, dim));
                for ((c, m), e) in count.iter_mut().zip(m.iter()).zip(best) {
                    *c += if *m == *e { T::one() } else { T::zero() };
                }
            }
        },
    );
}

/// `g = ∂loss/∂message` of an edge into row `v` of the upstream gradients.
#[inline(always)]
fn message_grad<M: Message, T: Real>(
    g: &mut [T],
    m: &mut [T],
    up: &Upstream<'_, T>,
    v: usize,
    x: &[T],
    w: &[T],
) {
    let dim = g.len();
    match up.sum {
        Some(sum) => g.copy_from_slice(row(sum, v, dim)),
        None => g.fill(T::zero()),
    }
    M::write(m, x, w);
    if let Some((square, Squares::Message)) = up.square {
        for ((g, m), s) in g.iter_mut().zip(m.iter()).zip(row(square, v, dim)) {
            *g += (*m + *m) * *s;
        }
    }
    for (best, at) in up.extremes {
        let (best, at) = (row(best, v, dim), row(at, v, dim));
        for (((g, m), e), a) in g.iter_mut().zip(m.iter()).zip(best).zip(at) {
            *g += if *m == *e { *a } else { T::zero() };
        }
    }
}

#[inline(always)]
fn add_part<T: Real>(out: &mut [T], part: &[T], g: &[T]) {
    for ((o, p), g) in out.iter_mut().zip(part).zip(g) {
        *o += (*p + *p) * *g;
    }
}

/// `dx[b, u] += ` gradient of the states over the edges grouped by their source.
///
/// # Panics
/// When lengths do not fit, or an edge names a node or relation outside.
pub fn input_grad<M: Message, T: Real>(
    dx: &mut [T],
    edges: Csr<'_>,
    up: &Upstream<'_, T>,
    x: &[T],
    w: &[T],
    dim: usize,
) {
    assert_eq!(dx.len(), x.len(), "gradient and input differ in shape");
    let nodes = edges.nodes();
    for_rows(
        dx,
        edges,
        dim,
        2 * dim,
        #[inline(always)]
        |dx, (b, u), others, relations, scratch| {
            let xs = row(x, b * nodes + u, dim);
            let (g, m) = scratch.split_at_mut(dim);
            for (v, r) in others.iter().zip(relations) {
                let (v, ws) = (b * nodes + *v as usize, row(w, *r as usize, dim));
                message_grad::<M, T>(g, m, up, v, xs, ws);
                M::add_x_grad(dx, g, ws);
                if let Some((square, Squares::Parts)) = up.square {
                    add_part(dx, xs, row(square, v, dim));
                }
            }
        },
    );
}

/// `dw[r] += ` gradient of the relation states.
///
/// # Panics
/// When lengths do not fit, or an edge names a node outside.
pub fn relation_grad<M: Message, T: Real>(
    dw: &mut [T],
    edges: ByRelation<'_>,
    up: &Upstream<'_, T>,
    x: &[T],
    w: &[T],
    nodes: usize,
    dim: usize,
) {
    if nodes == 0 || dim == 0 {
        return;
    }
    for_relations(
        dw,
        edges,
        x.len() / (nodes * dim),
        (dim, 2 * dim),
        #[inline(always)]
        |sum, (b, r), destinations, sources, scratch| {
            let ws = row(w, r, dim);
            let (g, m) = scratch.split_at_mut(dim);
            for (v, u) in destinations.iter().zip(sources) {
                let (v, xs) = (
                    b * nodes + *v as usize,
                    row(x, b * nodes + *u as usize, dim),
                );
                message_grad::<M, T>(g, m, up, v, xs, ws);
                M::add_w_grad(sum, g, xs);
                if let Some((square, Squares::Parts)) = up.square {
                    add_part(sum, ws, row(square, v, dim));
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{DistMult, RotatE, TransE};
    use crate::testing::{Edges, by_relation, csr, graphs};
    use proptest::prelude::*;

    #[test]
    fn an_extreme_of_what_is_not_all_numbers_is_none() {
        // Nodes 1 and 2 send to node 0, in either order.
        for bad in [1, 2] {
            let edges = Edges {
                list: vec![(0, 1, 0), (0, 2, 0)],
                nodes: 3,
                relations: 1,
            };
            let into = edges.by_destination();
            let mut x = vec![1.0f64, 2.0, 3.0];
            x[bad] = f64::NAN;
            for order in [Order::Max, Order::Min] {
                let mut out = vec![0.0; 3];
                extreme::<DistMult, f64>(&mut out, order, csr(&into), &x, &[1.0], 1);
                assert!(out[0].is_nan() && out[1] == 0.0 && out[2] == 0.0, "{out:?}");
            }
        }
    }

    /// One complex or real number at a time: message, and its gradients for x and w times g.
    fn slow(kind: usize, x: &[f64], w: &[f64], i: usize) -> f64 {
        let half = x.len() / 2;
        match kind {
            0 => x[i] + w[i],
            1 => x[i] * w[i],
            _ if i < half => x[i] * w[i] - x[half + i] * w[half + i],
            _ => x[i - half] * w[i] + x[i] * w[i - half],
        }
    }

    /// The loss the upstream gradients belong to: sums, squares and the messages that attain the extremes.
    #[allow(clippy::too_many_arguments)]
    fn loss(
        kind: usize,
        edges: &Edges,
        (x, w): (&[f64], &[f64]),
        up: &Upstream<'_, f64>,
        attained: &[bool],
        dim: usize,
        batch: usize,
    ) -> f64 {
        let (mut total, mut at) = (0.0, 0);
        for b in 0..batch {
            for (v, u, r) in &edges.list {
                let (v, u, r) = (
                    b * edges.nodes + *v as usize,
                    b * edges.nodes + *u as usize,
                    *r as usize,
                );
                let (xs, ws) = (row(x, u, dim), row(w, r, dim));
                for i in 0..dim {
                    let m = slow(kind, xs, ws, i);
                    total += up.sum.map_or(0.0, |s| s[v * dim + i]) * m;
                    if let Some((s, squares)) = up.square {
                        let square = match squares {
                            Squares::Message => m * m,
                            Squares::Parts => xs[i] * xs[i] + ws[i] * ws[i],
                        };
                        total += s[v * dim + i] * square;
                    }
                    for (_, g) in up.extremes {
                        total += if attained[at] {
                            g[v * dim + i] * m
                        } else {
                            0.0
                        };
                        at += 1;
                    }
                }
            }
        }
        total
    }

    fn check<M: Message>(
        kind: usize,
        edges: &Edges,
        batch: usize,
        dim: usize,
        numbers: &[f64],
        squares: Squares,
    ) -> Result<(), TestCaseError> {
        let n = batch * edges.nodes * dim;
        let (x, rest) = numbers.split_at(n);
        let (g, w) = rest.split_at(n);
        let dst = edges.by_destination();
        let (mut max, mut min, mut square) = (vec![0.1; n], vec![-0.1; n], vec![0.0; n]);
        extreme::<M, _>(&mut max, Order::Max, csr(&dst), x, w, dim);
        extreme::<M, _>(&mut min, Order::Min, csr(&dst), x, w, dim);
        square_sum::<M, _>(&mut square, squares, csr(&dst), x, w, dim);
        let mut count = vec![0.0; n];
        ties::<M, _>(&mut count, &max, csr(&dst), x, w, dim);
        let (mut max2, mut min2, mut square2) = (vec![0.1f64; n], vec![-0.1f64; n], vec![0.0; n]);
        let mut count2 = vec![0.0; n];
        let mut attained = Vec::new();
        for pass in 0..2 {
            for b in 0..batch {
                for (v, u, r) in &edges.list {
                    let (v, u, r) = (
                        b * edges.nodes + *v as usize,
                        b * edges.nodes + *u as usize,
                        *r as usize,
                    );
                    let (xs, ws) = (row(x, u, dim), row(w, r, dim));
                    for i in 0..dim {
                        let (m, at) = (slow(kind, xs, ws, i), v * dim + i);
                        if pass == 0 {
                            max2[at] = max2[at].max(m);
                            min2[at] = min2[at].min(m);
                            square2[at] += match squares {
                                Squares::Message => m * m,
                                Squares::Parts => xs[i] * xs[i] + ws[i] * ws[i],
                            };
                        } else {
                            count2[at] += f64::from(u8::from(m == max2[at]));
                            attained.extend([m == max2[at], m == min2[at]]);
                        }
                    }
                }
            }
        }
        prop_assert_eq!(&max, &max2);
        prop_assert_eq!(&min, &min2);
        prop_assert_eq!(&count, &count2);
        for (a, b) in square.iter().zip(&square2) {
            prop_assert!((a - b).abs() < 1e-9);
        }

        let half: Vec<f64> = g.iter().map(|x| x * 0.5 + 0.1).collect();
        let up = Upstream {
            sum: Some(g),
            square: Some((&half, squares)),
            extremes: &[(&max, &half), (&min, g)],
        };
        let src = edges.by_source();
        let rel = edges.by_relation();
        let (mut dx, mut dw) = (vec![0.0; n], vec![0.0; w.len()]);
        input_grad::<M, _>(&mut dx, csr(&src), &up, x, w, dim);
        relation_grad::<M, _>(&mut dw, by_relation(&rel), &up, x, w, edges.nodes, dim);
        // Everything is at most quadratic in one coordinate: central differences are exact up to rounding.
        let probe = |values: &[f64], i: usize, f: &dyn Fn(&[f64]) -> f64| {
            let mut v = values.to_vec();
            v[i] += 0.5;
            let up = f(&v);
            v[i] -= 1.0;
            up - f(&v)
        };
        for i in (0..n).step_by(1 + n / 7) {
            let d = probe(x, i, &|x| {
                loss(kind, edges, (x, w), &up, &attained, dim, batch)
            });
            prop_assert!((dx[i] - d).abs() < 1e-8, "dx {} {}", dx[i], d);
        }
        for i in (0..w.len()).step_by(1 + w.len() / 7) {
            let d = probe(w, i, &|w| {
                loss(kind, edges, (x, w), &up, &attained, dim, batch)
            });
            prop_assert!((dw[i] - d).abs() < 1e-8, "dw {} {}", dw[i], d);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn equal_the_obvious_loops((edges, batch, dim, numbers) in graphs(), coarse: bool, parts: bool) {
            // Coarse numbers make ties between edges.
            let numbers: Vec<f64> =
                numbers.iter().map(|x| if coarse { (x * 2.0).round() / 2.0 } else { *x }).collect();
            let squares = if parts { Squares::Parts } else { Squares::Message };
            check::<TransE>(0, &edges, batch, dim, &numbers, squares)?;
            check::<DistMult>(1, &edges, batch, dim, &numbers, squares)?;
            if dim % 2 == 0 {
                check::<RotatE>(2, &edges, batch, dim, &numbers, squares)?;
            }
        }
    }
}
