//! The model's operations over candle tensors, forward and backward, dispatched by device.
//!
//! Candle's own operations would store a message per edge and run element-wise work on one thread; and its fused
//! normalisation has no gradient. So the model is made of these few coarse operations, each with its backward pass
//! written out. Tensors are contiguous; `B` batch, `N` nodes, `d` input width, `R` relations with inverses.

mod cpu;
mod kind;

use candle_core::{Device, Result, Tensor, bail};

use crate::graph::Graph;
use crate::tensor::{Elem, by_dtype, tensor, view};

pub(crate) use self::cpu::First;
pub use self::kind::{ActivationFunc, AggregateFunc, LayerKind, MessageFunc, Path};

/// Where a query starts: for each row of the batch the distinct nodes whose state begins as weight * query.
pub type Seeds = Vec<Vec<(u32, f64)>>;

/// Parameters of one layer.
#[derive(Debug, Clone)]
pub struct LayerParams {
    /// `[out, 2 d]` (`[out, 13 d]` for PNA): the first d columns apply to the node's state, the others to the aggregate.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Tensor,
    /// Scale and shift of the layer norm, `[out]` each.
    pub norm: Option<(Tensor, Tensor)>,
}

/// max(x, 0), and NaN of a NaN: candle's own turns it into 0 and hides it.
///
/// # Errors
/// When the tensor is not contiguous, or of another element type than the model's.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    fn of<T: Elem>(x: &Tensor) -> Result<Tensor> {
        let values = view::<T>(x)?;
        let zero = T::zero();
        let open = |v: &T| if *v <= zero { zero } else { *v };
        tensor(
            values.slice()?.iter().map(open).collect::<Vec<T>>(),
            x.shape(),
        )
    }
    by_dtype!(x.dtype(), T => of::<T>(x))
}

/// What a layer's backward pass needs from its forward pass.
#[derive(Debug)]
pub struct LayerTape {
    x: Tensor,
    relations: Tensor,
    features: Tensor,
    normed: Tensor,
    rstd: Tensor,
    shortcut: bool,
}

impl LayerTape {
    /// States the layer saw, `[B, N, d]`.
    pub fn input(&self) -> &Tensor {
        &self.x
    }

    /// Messages and boundary joined, `[B, N, d]`; for PNA `[B, N, 4 d]`: mean, max, min, deviation.
    pub fn features(&self) -> &Tensor {
        &self.features
    }
}

/// Gradients a layer's backward pass gives.
#[derive(Debug)]
pub struct LayerGrads {
    /// Of the input states, `[B, N, d]`.
    pub x: Tensor,
    /// Of the relation states, `[R, d]`.
    pub relations: Tensor,
    /// Of the boundary's rows, `[K, d]`.
    pub boundary: Tensor,
    /// Of the parameters.
    pub params: LayerParams,
}

/// Gradients of a linear map.
#[derive(Debug)]
pub struct LinearGrads {
    /// Of the input.
    pub x: Tensor,
    /// Of the weight.
    pub weight: Tensor,
    /// Of the bias.
    pub bias: Tensor,
}

fn on_cpu(t: &Tensor) -> Result<()> {
    match t.device() {
        Device::Cpu => Ok(()),
        other => bail!("not implemented on {other:?}"),
    }
}

/// `x wᵀ + b`: `[M, k] -> [M, n]`.
///
/// # Errors
/// When shapes, types or devices do not fit (so for all functions here).
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    on_cpu(x)?;
    by_dtype!(x.dtype(), T => cpu::linear::<T>(x, weight, bias))
}

/// Backward of [`linear`].
///
/// # Errors
/// See [`linear`].
pub fn linear_backward(x: &Tensor, weight: &Tensor, dy: &Tensor) -> Result<LinearGrads> {
    on_cpu(x)?;
    by_dtype!(x.dtype(), T => cpu::linear_backward::<T>(x, weight, dy))
}

/// Boundary states that are not zero: the states queries start with, which every layer adds as one more message.
#[derive(Debug, Clone)]
pub struct Boundary {
    /// For each row of the batch the distinct nodes.
    pub nodes: Vec<Vec<u32>>,
    /// Their states, in that order, `[K, d]`.
    pub rows: Tensor,
}

/// The boundary of queries `[B, d]`: query times weight at the seeds of each row.
///
/// # Errors
/// See [`linear`].
pub fn boundary(query: &Tensor, seeds: &Seeds) -> Result<Boundary> {
    on_cpu(query)?;
    by_dtype!(query.dtype(), T => cpu::boundary::<T>(query, seeds))
}

/// Backward of [`boundary`]: gradient of the queries, `[B, d]`, from that of the rows.
///
/// # Errors
/// See [`linear`].
pub fn boundary_backward(drows: &Tensor, seeds: &Seeds) -> Result<Tensor> {
    on_cpu(drows)?;
    by_dtype!(drows.dtype(), T => cpu::boundary_backward::<T>(drows, seeds))
}

/// States before the first layer, `[B, N, d]`: the boundary, zero elsewhere.
///
/// # Errors
/// See [`linear`].
pub fn first_states(boundary: &Boundary, nodes: usize) -> Result<Tensor> {
    on_cpu(&boundary.rows)?;
    by_dtype!(boundary.rows.dtype(), T => cpu::first_states::<T>(boundary, nodes))
}

/// Backward of [`first_states`]: gradient of the boundary's rows.
///
/// # Errors
/// See [`linear`].
pub fn first_states_backward(dx: &Tensor, boundary: &Boundary) -> Result<Tensor> {
    on_cpu(dx)?;
    by_dtype!(dx.dtype(), T => cpu::first_states_backward::<T>(dx, boundary))
}

/// What a layer sees.
#[derive(Clone, Copy)]
pub struct LayerInput<'a> {
    /// Where messages run.
    pub graph: &'a Graph,
    /// States, `[B, N, d]`.
    pub x: &'a Tensor,
    /// Relation states as this layer projects them, `[R, d]`.
    pub relations: &'a Tensor,
    /// Where queries start.
    pub boundary: &'a Boundary,
}

/// Runs `$body` with `$M` being the type of the message function `$which`.
macro_rules! by_message {
    ($which:expr, $M:ident => $body:expr) => {
        match $which {
            $crate::ops::MessageFunc::TransE => {
                type $M = gfm_pipe_kernels::message::TransE;
                $body
            }
            $crate::ops::MessageFunc::DistMult => {
                type $M = gfm_pipe_kernels::message::DistMult;
                $body
            }
            $crate::ops::MessageFunc::RotatE => {
                type $M = gfm_pipe_kernels::message::RotatE;
                $body
            }
        }
    };
}

pub(crate) use by_message;

/// Degree + 1 of every node: the number of messages that a mean is made of.
pub(crate) fn message_counts<T: crate::tensor::Elem>(graph: &Graph) -> Vec<T> {
    cpu::messages(graph)
}

/// PNA's two functions of the degree of every node besides 1, from [`message_counts`].
pub(crate) fn degree_scales<T: crate::tensor::Elem>(counts: &[T]) -> [Vec<T>; 2] {
    cpu::scales_of(counts)
}

/// One NBFNet layer (Zhu et al., 2021): messages joined, with the boundary as one more message of every node, then
/// `activation(norm(W [x ; aggregate] + b))`, plus the input where `shortcut`: `[B, N, d] -> [B, N, out]`.
///
/// # Errors
/// See [`linear`].
pub fn layer(
    kind: LayerKind,
    input: &LayerInput<'_>,
    params: &LayerParams,
) -> Result<(Tensor, LayerTape)> {
    on_cpu(input.x)?;
    by_message!(kind.message, M => by_dtype!(input.x.dtype(), T => cpu::layer::<M, T>(kind, input, params)))
}

/// Backward of [`layer`].
///
/// # Errors
/// See [`linear`].
pub fn layer_backward(
    kind: LayerKind,
    graph: &Graph,
    tape: &LayerTape,
    boundary: &Boundary,
    params: &LayerParams,
    dout: &Tensor,
) -> Result<LayerGrads> {
    on_cpu(dout)?;
    by_message!(kind.message, M => by_dtype!(
        dout.dtype(), T => cpu::layer_backward::<M, T>(kind, graph, tape, boundary, params, dout)
    ))
}

/// What the scoring head's backward pass needs.
#[derive(Debug)]
pub struct HeadTape {
    x: Tensor,
    query: Tensor,
    /// Outputs of all maps but the last, after ReLU.
    hidden: Vec<Tensor>,
}

/// Parameters of the scoring head: linear maps (weight, bias) with ReLU between, from `[x ; query]` to one score.
#[derive(Debug, Clone)]
pub struct HeadParams {
    /// `[f, d + q]` and `[f]`.
    pub first: (Tensor, Tensor),
    /// `[f, f]` and `[f]` each, the last one `[1, f]` and `[1]`; empty when the first map gives the score.
    pub rest: Vec<(Tensor, Tensor)>,
}

/// Gradients the head's backward pass gives.
#[derive(Debug)]
pub struct HeadGrads {
    /// Of the states, `[B, M, d]`.
    pub x: Tensor,
    /// Of the queries, `[B, q]`.
    pub query: Tensor,
    /// Of the parameters.
    pub params: HeadParams,
}

/// Scores of `M` states per row: `[B, M, d], [B, q] -> [B, M]`. The query's share of the first linear map is computed
/// once per row, not per state.
///
/// # Errors
/// See [`linear`].
pub fn head(x: &Tensor, query: &Tensor, params: &HeadParams) -> Result<(Tensor, HeadTape)> {
    on_cpu(x)?;
    by_dtype!(x.dtype(), T => cpu::head::<T>(x, query, params))
}

/// Backward of [`head`].
///
/// # Errors
/// See [`linear`].
pub fn head_backward(tape: &HeadTape, params: &HeadParams, dscores: &Tensor) -> Result<HeadGrads> {
    on_cpu(dscores)?;
    by_dtype!(dscores.dtype(), T => cpu::head_backward::<T>(tape, params, dscores))
}

/// States of some nodes per row (the same number in every row): `[B, N, d] -> [B, M, d]`.
///
/// # Errors
/// See [`linear`].
pub fn gather(x: &Tensor, nodes: &[Vec<u32>]) -> Result<Tensor> {
    on_cpu(x)?;
    by_dtype!(x.dtype(), T => cpu::gather::<T>(x, nodes))
}

/// Backward of [`gather`]: adds rows up where a node was taken several times.
///
/// # Errors
/// See [`linear`].
pub fn gather_backward(dx: &Tensor, nodes: &[Vec<u32>], num_nodes: usize) -> Result<Tensor> {
    on_cpu(dx)?;
    by_dtype!(dx.dtype(), T => cpu::gather_backward::<T>(dx, nodes, num_nodes))
}
