//! Which functions a layer is made of, by the reference's words.

use gfm_pipe_kernels::activation::Activation;
use gfm_pipe_kernels::rspmm::Csr;
use serde::{Deserialize, Serialize};

use crate::graph::Graph;

/// How a neighbour's state and a relation make a message; [`gfm_pipe_kernels::message`] has the formulas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageFunc {
    /// Sum.
    TransE,
    /// Product.
    #[default]
    DistMult,
    /// Complex product.
    RotatE,
}

/// How the messages into a node and its boundary state are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AggregateFunc {
    /// Sum.
    #[default]
    Sum,
    /// Sum over (degree + 1).
    Mean,
    /// Largest, per column.
    Max,
    /// Smallest, per column.
    Min,
    /// Mean, max, min and standard deviation, each times three functions of the degree (Corso et al., 2020).
    Pna,
}

impl AggregateFunc {
    /// Whether it adds messages up, so that states which queries share may be computed once for all of them.
    pub fn adds(self) -> bool {
        matches!(self, AggregateFunc::Sum | AggregateFunc::Mean)
    }

    /// Width of the aggregate, in multiples of d, as the layer's linear map sees it.
    pub fn width(self) -> usize {
        match self {
            AggregateFunc::Sum | AggregateFunc::Mean | AggregateFunc::Max | AggregateFunc::Min => 1,
            AggregateFunc::Pna => 12,
        }
    }
}

/// Activation of a layer, by PyTorch's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ActivationFunc {
    #[default]
    Relu,
    Gelu,
    Silu,
    Tanh,
    Sigmoid,
    Elu,
    LeakyRelu,
    Softplus,
}

impl ActivationFunc {
    /// The kernel's name for it.
    pub fn kernel(self) -> Activation {
        match self {
            ActivationFunc::Relu => Activation::Relu,
            ActivationFunc::Gelu => Activation::Gelu,
            ActivationFunc::Silu => Activation::Silu,
            ActivationFunc::Tanh => Activation::Tanh,
            ActivationFunc::Sigmoid => Activation::Sigmoid,
            ActivationFunc::Elu => Activation::Elu,
            ActivationFunc::LeakyRelu => Activation::LeakyRelu,
            ActivationFunc::Softplus => Activation::Softplus,
        }
    }
}

/// Which of the reference's two ways of passing messages: they are different functions of the same weights, because
/// messages run in opposite directions (so that each edge acts with the other relation of its pair), and they share the
/// gradient of tied extremes differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Its fused kernel, which trains TransE and DistMult: (h, r, t) sends from t to h; every tied edge receives the whole
    /// gradient, a tie between edges and boundary is split in halves.
    Fused,
    /// Its plain message passing, which trains RotatE: (h, r, t) sends from h to t; ties are split evenly (a tie at
    /// exactly zero has one part more, which nobody receives: PyTorch's `scatter_reduce` counts its initial zero).
    Plain,
}

impl Path {
    /// Edges in the direction messages run: grouped by who receives, and by who sends.
    pub fn flow(self, graph: &Graph) -> (Csr<'_>, Csr<'_>) {
        match self {
            Path::Fused => (graph.by_head(), graph.by_tail()),
            Path::Plain => (graph.by_tail(), graph.by_head()),
        }
    }
}

impl MessageFunc {
    /// The path the reference trains this message function on.
    pub fn path(self) -> Path {
        match self {
            MessageFunc::TransE | MessageFunc::DistMult => Path::Fused,
            MessageFunc::RotatE => Path::Plain,
        }
    }
}

/// What a layer computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerKind {
    /// Message function.
    pub message: MessageFunc,
    /// Aggregate.
    pub aggregate: AggregateFunc,
    /// Activation.
    pub activation: ActivationFunc,
    /// Adds the layer's input where shapes match.
    pub shortcut: bool,
    /// Direction and ties.
    pub path: Path,
}
