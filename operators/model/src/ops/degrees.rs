//! The functions of each node's degree that aggregates need.

use gfm_pipe_kernels::csr::Csr;
use gfm_pipe_kernels::layer::{Aggregate, Squares, Statistics, Ties};

use super::{AggregateFunc, LayerKind, Path};
use crate::graph::Graph;
use crate::tensor::Elem;

/// Number of messages to every node: one per edge, and the boundary.
pub(crate) fn message_counts<T: Elem>(into: Csr<'_>) -> Vec<T> {
    let count = |w: &[u32]| T::of(f64::from(w[1] - w[0] + 1));
    into.offsets.windows(2).map(count).collect()
}

/// The two functions of the degree that PNA uses besides the constant 1, from [`message_counts`]: s
/// = ln(degree + 1) / mean of ln(degree + 1), and 1 / max(s, .01) (Corso et al., 2020).
pub(crate) fn degree_scales<T: Elem>(counts: &[T]) -> [Vec<T>; 2] {
    let logs: Vec<T> = counts.iter().copied().map(T::ln).collect();
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

/// The functions of every node's degree that a kind of layer needs; empty where it needs none.
pub(crate) struct Degrees<T> {
    kind: LayerKind,
    counts: Vec<T>,
    scales: [Vec<T>; 2],
}

impl<T: Elem> Degrees<T> {
    /// Computes the functions for layers of this kind on a graph.
    pub fn new(kind: LayerKind, graph: &Graph) -> Self {
        let counts = || message_counts(graph.flow(kind.path).0);
        let (counts, scales) = match kind.aggregate {
            AggregateFunc::Sum | AggregateFunc::Max | AggregateFunc::Min => {
                (Vec::new(), Default::default())
            }
            AggregateFunc::Mean => (counts(), Default::default()),
            AggregateFunc::Pna => {
                let counts = counts();
                let scales = degree_scales(&counts);
                (counts, scales)
            }
        };
        Degrees {
            kind,
            counts,
            scales,
        }
    }

    /// The aggregate in the form that the kernels expect.
    pub fn aggregate(&self) -> Aggregate<'_, T> {
        let ties = match self.kind.path {
            Path::Fused => Ties::Halves,
            Path::Plain => Ties::Equal,
        };
        let parts = self.kind.message.squares_of_parts() && self.kind.path == Path::Fused;
        let squares = if parts {
            Squares::Parts
        } else {
            Squares::Message
        };
        match self.kind.aggregate {
            AggregateFunc::Sum => Aggregate::Sum,
            AggregateFunc::Mean => Aggregate::Mean(&self.counts),
            AggregateFunc::Max => Aggregate::Max(ties),
            AggregateFunc::Min => Aggregate::Min(ties),
            AggregateFunc::Pna => Aggregate::Pna(Statistics {
                counts: &self.counts,
                scales: [&self.scales[0], &self.scales[1]],
                squares,
                ties,
            }),
        }
    }
}
