//! Which functions a layer is made of, by the reference's words.

use gfm_pipe_kernels::activation::Activation;
pub use gfm_pipe_kernels::message::{Function as MessageFunc, Path};
use serde::{Deserialize, Serialize};

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
