//! The entity model on one graph: the relation projections, and helpers that its passes share.
//!
//! `forward.rs` runs the layers, `backward.rs` computes their gradients, and `passes.rs` is the
//! interface for the two models. QueryGNN and GNNRetriever differ only in where queries and seeds
//! come from.

use candle_core::{Result, Tensor, bail};

use super::Params;
use super::params::LayerParams;
use super::reach::Compute;
use crate::graph::Graph;
use crate::ops::{self, Degrees, Linear, Seeds};
use crate::tensor::Elem;

/// The entity model with its parameters on one graph.
pub struct Network<'a> {
    /// Parameters.
    pub params: &'a Params,
    /// The graph along whose edges messages travel.
    pub graph: &'a Graph,
    /// Whether the backward pass computes each layer again instead of keeping its intermediate
    /// values. A step then needs a third of the memory and one more forward pass. The numbers are
    /// the same.
    pub recompute: bool,
    /// Which states are computed.
    pub compute: Compute,
}

/// The relations as one layer sees them.
pub(super) struct Projection {
    /// The projected relation states, `[2R, d]`.
    pub relations: Tensor,
    /// The values between the two linear maps, after ReLU, `[2R, d]`.
    pub hidden: Tensor,
}

/// Gradients of a projection.
pub(super) struct ProjectionGrads {
    /// Gradient of the relation states before the projection, `[2R, d]`.
    pub relations: Tensor,
    /// Gradients of the two linear maps.
    pub params: [Linear; 2],
}

/// Projects the relation states `[2R, d]` for one layer: Linear, ReLU, Linear.
pub(super) fn project(relations: &Tensor, [first, second]: &[Linear; 2]) -> Result<Projection> {
    let hidden = ops::relu(&ops::linear(relations, first)?)?;
    Ok(Projection {
        relations: ops::linear(&hidden, second)?,
        hidden,
    })
}

/// Backward of [`project`].
pub(super) fn project_backward(
    relations: &Tensor,
    [first, second]: &[Linear; 2],
    projection: &Projection,
    dprojected: &Tensor,
) -> Result<ProjectionGrads> {
    let second = ops::linear_backward(&projection.hidden, &second.weight, dprojected)?;
    let open = projection.hidden.gt(0f64)?.to_dtype(second.x.dtype())?;
    let first = ops::linear_backward(relations, &first.weight, &(second.x * open)?)?;
    Ok(ProjectionGrads {
        relations: first.x,
        params: [first.params, second.params],
    })
}

impl<'a> Network<'a> {
    /// The network with the settings that fit most uses.
    pub fn new(params: &'a Params, graph: &'a Graph) -> Self {
        Network {
            params,
            graph,
            recompute: false,
            compute: Compute::default(),
        }
    }

    /// The parameters of layer `i`.
    pub(super) fn layer(&self, i: usize) -> &LayerParams {
        &self.params.tensors.layers[i]
    }

    /// The functions of node degrees that the aggregate needs.
    pub(super) fn degrees<T: Elem>(&self) -> Degrees<T> {
        Degrees::new(self.params.config.layer_kind(), self.graph)
    }

    /// Whether the head sees the states after layer `i`.
    pub(super) fn head_sees(&self, i: usize) -> bool {
        let config = &self.params.config;
        config.concat_hidden || i + 1 == config.layers()
    }
}

/// Checks that seeds and candidates are nodes, and that every query has the same number of
/// candidates.
pub(super) fn check_nodes(
    nodes: usize,
    seeds: &Seeds,
    candidates: Option<&[Vec<u32>]>,
) -> Result<()> {
    if seeds.iter().flatten().any(|(v, _)| *v as usize >= nodes) {
        bail!("a seed is outside the graph");
    }
    let Some(all) = candidates else {
        return Ok(());
    };
    let n = all.first().map_or(0, Vec::len);
    if all.len() != seeds.len() || all.iter().any(|c| c.len() != n) {
        bail!("every query must have the same number of candidates");
    }
    if all.iter().flatten().any(|v| *v as usize >= nodes) {
        bail!("a candidate is outside the graph");
    }
    Ok(())
}
