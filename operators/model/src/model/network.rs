//! The entity model on one graph: relation projections, and what its passes share.
//!
//! `forward.rs` runs the layers, `backward.rs` runs them backwards, `passes.rs` is what the two models use. QueryGNN and
//! GNNRetriever differ only in where queries and seeds come from.

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
    /// The graph messages are passed on.
    pub graph: &'a Graph,
    /// Whether the backward pass computes each layer once more instead of keeping what it needs: a third of the memory of
    /// a step, for a forward pass more. The numbers are the same.
    pub recompute: bool,
    /// Which states are computed.
    pub compute: Compute,
}

/// A layer's own view of the relations.
pub(super) struct Projection {
    /// `[2R, d]`.
    pub relations: Tensor,
    /// Between the two linear maps, after ReLU, `[2R, d]`.
    pub hidden: Tensor,
}

/// Gradients of a projection: of the relation states before it, `[2R, d]`, and of its two maps.
pub(super) struct ProjectionGrads {
    pub relations: Tensor,
    pub params: [Linear; 2],
}

/// A layer's own view of the relation states `[2R, d]`: Linear, ReLU, Linear.
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

impl Network<'_> {
    /// The parameters of layer `i`.
    pub(super) fn layer(&self, i: usize) -> &LayerParams {
        &self.params.tensors.layers[i]
    }

    /// What aggregates need to know of the graph.
    pub(super) fn degrees<T: Elem>(&self) -> Degrees<T> {
        Degrees::new(self.params.config.layer_kind(), self.graph)
    }

    /// Whether the head can go over the rows of all nodes: it has two maps and sees the last states only.
    pub(super) fn head_by_rows(&self) -> bool {
        let config = &self.params.config;
        !config.concat_hidden && config.num_mlp_layer == 2
    }

    /// Whether the head sees the states after layer `i`.
    pub(super) fn head_sees(&self, i: usize) -> bool {
        let config = &self.params.config;
        config.concat_hidden || i + 1 == config.layers()
    }
}

/// Checks that seeds and candidates are nodes, and that every query has the same number of candidates.
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
