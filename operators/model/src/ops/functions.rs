//! The functions that a layer is made of, with the reference's names.

use gfm_pipe_kernels::activation::Activation;
pub use gfm_pipe_kernels::message::{Function as MessageFunc, Path};
use serde::{Deserialize, Serialize};

/// How the messages to a node and its boundary state are aggregated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AggregateFunc {
    /// The sum.
    #[default]
    Sum,
    /// The sum divided by degree + 1.
    Mean,
    /// The largest value per column.
    Max,
    /// The smallest value per column.
    Min,
    /// Mean, max, min and standard deviation, each times three functions of the degree (Corso et
    /// al., 2020).
    Pna,
}

impl AggregateFunc {
    /// Whether messages are summed. States that queries share can then be computed once for all of
    /// them.
    pub fn adds(self) -> bool {
        matches!(self, AggregateFunc::Sum | AggregateFunc::Mean)
    }

    /// Width of the aggregate in multiples of d.
    pub fn width(self) -> usize {
        match self {
            AggregateFunc::Sum | AggregateFunc::Mean | AggregateFunc::Max | AggregateFunc::Min => 1,
            AggregateFunc::Pna => 12,
        }
    }
}

/// The activation of a layer, with PyTorch's name.
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
    /// The kernel that computes this activation.
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

/// The functions that a layer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerKind {
    /// How a message is computed from a state and a relation.
    pub message: MessageFunc,
    /// How messages are aggregated.
    pub aggregate: AggregateFunc,
    /// The activation of the output.
    pub activation: ActivationFunc,
    /// Whether the layer adds its input to its output, where shapes match.
    pub shortcut: bool,
    /// The direction of messages, and how gradients treat ties.
    pub path: Path,
}
