//! The gain of every edge: how the output changes when the message of one edge grows. Paths that
//! explain a score are made of these (GFM-RAG, Luo et al., 2025, as NBFNet, Zhu et al., 2021).
//!
//! Let a weight w(e) = 1 multiply the message m(e) of edge e. The gain of e is the derivative for
//! its weight, <∂/∂m(e), m(e)>. The weight counts wherever the message does: PNA's squares of
//! messages grow as its square. So do squares of parts ([`Squares::Parts`](super::Squares)), since
//! to multiply x + w is to multiply both.
//!
//! This is a backward pass without gradients of parameters, over the rows of one query that the
//! caller chooses: those from which a target can still be reached are often few. It runs on one
//! thread; callers run targets side by side.

use super::messages::{add_parts, message_grad, parts_grad};
use super::ties::Scratch;
use super::{Aggregate, Layer, Saved, add};
use crate::Real;
use crate::activation::by_activation;
use crate::csr::row;
use crate::gemm::{Mat, product};
use crate::message::Message;
use crate::norm::{backward as norm_backward, dot};
use crate::rows::{NONE, Rows};
use crate::simd::vectorised;

/// The rows that a pass visits, of one query (their query 0). They are among those of the layer.
#[derive(Clone, Copy)]
pub struct Cone<'a> {
    /// Rows of the input: edges from other nodes are left out.
    pub from: &'a Rows,
    /// Rows of the output. Every other row must have a gradient of zero.
    pub to: &'a Rows,
}

/// An edge and how much it adds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gain<T> {
    /// Place of the edge in [`Layer::into`].
    pub edge: u32,
    /// The node that receives.
    pub to: u32,
    /// The derivative for the weight of its message.
    pub gain: T,
}

/// The gains of all edges of a cone, grouped by the node that receives, from the gradient `dy` of
/// its output, `to.len() x out`. Adds the gradient of its input to `dx`, `from.len() x dim`. The
/// layer is that of query 0 of the forward pass.
///
/// # Panics
/// When lengths do not fit, when a row of the cone is none of the layer, or when an edge names a
/// node or relation outside.
pub fn edge_gains<M: Message, T: Real>(
    layer: &Layer<'_, T>,
    saved: Saved<'_, T>,
    cone: Cone<'_>,
    dy: &[T],
    dx: &mut [T],
) -> Vec<Gain<T>> {
    layer.check::<M>();
    let (d, n, width) = (layer.dim, layer.out, layer.width());
    assert_eq!(dy.len(), cone.to.len() * n, "gradient of the output");
    assert_eq!(dx.len(), cone.from.len() * d, "gradient of the input");
    assert_eq!(saved.normed.len(), layer.to.len() * n, "output");
    assert_eq!(saved.features.len(), layer.to.len() * width, "features");
    let visited = visited(layer, cone.to);
    let mut grads = linear_backward(layer, saved, &visited, dy);
    let mut gains = Vec::new();
    vectorised(
        #[inline(always)]
        || {
            features_backward::<M, T>(layer, saved, &visited, &mut grads.features);
            for (i, v) in visited.iter().enumerate() {
                let at = cone.from.find(v.node, 0);
                if at != NONE {
                    let dx = &mut dx[at as usize * d..][..d];
                    add(dx, row(&grads.state, i, d));
                    if layer.shortcut {
                        add(dx, row(dy, i, d));
                    }
                }
            }
            gains = messages_backward::<M, T>(layer, saved, cone, &visited, &grads.features, dx);
        },
    );
    gains
}

/// A node of the cone's output, in the order of its rows.
struct Visited {
    node: usize,
    /// Its row in the forward pass.
    row: usize,
}

fn visited<T: Real>(layer: &Layer<'_, T>, to: &Rows) -> Vec<Visited> {
    assert_eq!(to.queries(), 1, "a cone has one query");
    let nodes = (0..to.nodes()).filter(|v| !to.of(*v).is_empty());
    let with_row = nodes.map(|node| match layer.to.find(node, 0) {
        NONE => panic!("node {node} has no row in the forward pass"),
        row => Visited {
            node,
            row: row as usize,
        },
    });
    with_row.collect()
}

/// Gradients of what the linear map saw, a row for each visited node.
struct Seen<T> {
    /// Of states, `dim` values each.
    state: Vec<T>,
    /// Of features.
    features: Vec<T>,
}

fn linear_backward<T: Real>(
    layer: &Layer<'_, T>,
    saved: Saved<'_, T>,
    visited: &[Visited],
    dy: &[T],
) -> Seen<T> {
    let (n, count) = (layer.out, visited.len());
    let zeros = |width: usize| vec![T::zero(); count * width];
    let mut dlin = zeros(n);
    // The kernel adds up gradients of scale and shift, which nobody reads.
    let (mut dgamma, mut dbeta) = (vec![T::zero(); n], vec![T::zero(); n]);
    vectorised(
        #[inline(always)]
        || {
            let rows = dlin.chunks_exact_mut(n).zip(dy.chunks_exact(n));
            for ((dlin, dy), v) in rows.zip(visited) {
                by_activation!(layer.activation, A => norm_backward::<A, T>(
                    dlin,
                    dy,
                    row(saved.normed, v.row, n),
                    &saved.rstd[v.row..=v.row],
                    layer.affine,
                    (&mut dgamma, &mut dbeta),
                    n,
                ));
            }
        },
    );
    let mut out = Seen {
        state: zeros(layer.dim),
        features: zeros(layer.width()),
    };
    let mut scaled = Vec::new();
    for map in layer.maps() {
        let dlin = match map.scale {
            None => &dlin,
            Some(scale) => {
                scaled.clone_from(&dlin);
                for (row, v) in scaled.chunks_exact_mut(n).zip(visited) {
                    row.iter_mut().for_each(|x| *x *= scale[v.node]);
                }
                &scaled
            }
        };
        let part = if map.of_state {
            &mut out.state
        } else {
            &mut out.features
        };
        let weight = Mat::new(&map.weight, n, map.width);
        product(part, Mat::new(dlin, count, n), weight, map.scale.is_some());
    }
    out
}

/// Turns the gradients of the features of visited nodes into those of their messages, in place.
#[inline(always)]
fn features_backward<M: Message, T: Real>(
    layer: &Layer<'_, T>,
    saved: Saved<'_, T>,
    visited: &[Visited],
    grads: &mut [T],
) {
    let (d, width) = (layer.dim, layer.width());
    let (zeros, mut scratch) = (vec![T::zero(); d], Scratch::new(d));
    let starts = layer.boundary.at;
    for (g, v) in grads.chunks_exact_mut(width).zip(visited) {
        match layer.aggregate {
            Aggregate::Sum => {}
            Aggregate::Mean(counts) => g.iter_mut().for_each(|g| *g = *g / counts[v.node]),
            Aggregate::Max(_) | Aggregate::Min(_) | Aggregate::Pna(_) => {
                let start = starts.binary_search_by_key(&v.row, |(at, _)| *at as usize);
                let boundary = match start {
                    Ok(i) => row(layer.boundary.rows, starts[i].1 as usize, d),
                    Err(_) => layer
                        .boundary
                        .nodes
                        .map_or(&zeros[..], |nodes| row(nodes, v.node, d)),
                };
                let features = row(saved.features, v.row, width);
                let ends = (v.node, 0);
                layer.row_extremes_backward::<M>(
                    ends,
                    features,
                    boundary,
                    g,
                    &mut [],
                    &mut scratch,
                );
            }
        }
    }
}

/// The gains of all edges into visited nodes, from the gradients of their messages. Adds those of
/// the states that messages are made of to `dx`.
#[inline(always)]
fn messages_backward<M: Message, T: Real>(
    layer: &Layer<'_, T>,
    saved: Saved<'_, T>,
    cone: Cone<'_>,
    visited: &[Visited],
    grads: &[T],
    dx: &mut [T],
) -> Vec<Gain<T>> {
    let (d, width, edges) = (layer.dim, layer.width(), layer.into);
    let mut scratch = vec![T::zero(); 2 * d];
    let (g, message) = scratch.split_at_mut(d);
    let mut out = Vec::new();
    for (grads, v) in grads.chunks_exact(width).zip(visited) {
        let features = row(saved.features, v.row, width);
        for e in edges.offsets[v.node] as usize..edges.offsets[v.node + 1] as usize {
            let u = edges.other[e] as usize;
            let at = cone.from.find(u, 0);
            if at == NONE {
                continue;
            }
            let dx = &mut dx[at as usize * d..][..d];
            let x = match layer.state(u, 0) {
                Some(x) => x,
                None => panic!("node {u} has no row in the forward pass"),
            };
            let w = row(layer.relations, edges.relation[e] as usize, d);
            M::write(message, x, w);
            message_grad(&layer.aggregate, g, message, features, grads);
            let mut gain = dot(g, message);
            M::add_x_grad(dx, g, w);
            if let Some(square) = parts_grad(&layer.aggregate, grads, d) {
                add_parts(dx, x, square);
                for ((x, w), s) in x.iter().zip(w).zip(square) {
                    let squares = *x * *x + *w * *w;
                    gain += (squares + squares) * *s;
                }
            }
            out.push(Gain {
                edge: e as u32,
                to: v.node as u32,
                gain,
            });
        }
    }
    out
}
