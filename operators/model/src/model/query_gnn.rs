//! QueryGNN: tail prediction for triples, the pre-training task.

use candle_core::{Result, Tensor, bail};
use gfm_pipe_api::OpResult;

use super::Params;
use super::backward::NetworkGrads;
use super::forward::QueryStart;
use super::network::Network;
use super::params::Grads;
use super::passes::Tape;
use super::reach::Compute;
use crate::graph::{Graph, TailQuery};
use crate::ops::{self, Seeds};
use crate::tensor_error;

/// The model on one graph with one set of relation embeddings.
pub struct QueryGnn<'a> {
    network: Network<'a>,
    /// Embeddings of relation names, `[2R, text]`.
    embeddings: &'a Tensor,
}

/// The scores of a forward pass, and what its backward pass needs.
pub struct Pass {
    tape: Tape,
    /// Scores of the candidates, `[B, M]`.
    pub scores: Tensor,
    queries: Vec<TailQuery>,
}

impl Pass {
    /// See [`Tape::share`].
    pub fn share(&self) -> f64 {
        self.tape.share()
    }

    #[cfg(test)]
    pub(crate) fn tape(&self) -> &Tape {
        &self.tape
    }
}

impl<'a> QueryGnn<'a> {
    /// The model on a graph. In training, the edges that the batch asks for must already be removed
    /// from it.
    pub fn new(params: &'a Params, graph: &'a Graph, embeddings: &'a Tensor) -> Self {
        QueryGnn {
            network: Network::new(params, graph),
            embeddings,
        }
    }

    /// See [`Network::compute`].
    #[must_use]
    pub fn compute(mut self, compute: Compute) -> Self {
        self.network.compute = compute;
        self
    }

    /// See [`Network::recompute`].
    #[must_use]
    pub fn recompute(mut self, recompute: bool) -> Self {
        self.network.recompute = recompute;
        self
    }

    /// Relation states, `[2R, d]`.
    ///
    /// # Errors
    /// When shapes do not fit.
    #[cfg(test)]
    pub(crate) fn relations(&self) -> Result<Tensor> {
        relation_states(self.network.params, self.embeddings)
    }

    fn start(&self, queries: &[TailQuery]) -> OpResult<QueryStart> {
        let nodes = self.network.graph.nodes();
        start(self.network.params, self.embeddings, queries, nodes).map_err(tensor_error)
    }

    /// Scores of candidate tails, the same number for every query.
    ///
    /// # Errors
    /// When ids are outside the graph.
    pub fn forward(&self, queries: &[TailQuery], candidates: Vec<Vec<u32>>) -> OpResult<Pass> {
        let start = self.start(queries)?;
        let (scores, tape) = self.network.scores(&start.queries(), Some(candidates))?;
        Ok(Pass {
            tape,
            scores,
            queries: queries.to_vec(),
        })
    }

    /// Scores of all nodes, `[B, N]`, without a tape.
    ///
    /// # Errors
    /// When ids are outside the graph.
    pub fn score_all(&self, queries: &[TailQuery]) -> OpResult<Tensor> {
        self.network
            .score_all(&self.start(queries)?.queries(), None)
    }

    /// Gradients of all parameters from the gradient of the scores. Consumes the memory of the
    /// pass.
    ///
    /// # Errors
    /// When shapes do not fit, or when the pass was used before.
    pub fn backward(&self, pass: &mut Pass, dscores: &Tensor) -> OpResult<Grads> {
        let network = self.network.gradients(&mut pass.tape, dscores)?;
        grads(network, self.embeddings, &pass.queries, self.network.params).map_err(tensor_error)
    }
}

/// Relation states `[2R, d]` from the embeddings of relation names, `[2R, text]`.
pub(super) fn relation_states(params: &Params, embeddings: &Tensor) -> Result<Tensor> {
    ops::linear(embeddings, &params.tensors.relations)
}

/// The inputs of the network for these queries on a graph of `nodes` nodes.
pub(super) fn start(
    params: &Params,
    embeddings: &Tensor,
    queries: &[TailQuery],
    nodes: usize,
) -> Result<QueryStart> {
    let relations = relation_states(params, embeddings)?;
    let count = relations.dims2()?.0;
    let (mut ids, mut seeds) = (Vec::new(), Seeds::new());
    for q in queries {
        if q.relation as usize >= count || q.head as usize >= nodes {
            bail!("query ({}, {}, ?) is outside the graph", q.head, q.relation);
        }
        ids.push(q.relation);
        seeds.push(vec![(q.head, 1.0)]);
    }
    let ids = Tensor::new(ids, relations.device())?;
    let vectors = relations.index_select(&ids, 0)?.contiguous()?;
    Ok(QueryStart {
        relations,
        vectors,
        seeds,
    })
}

/// Gradients of all parameters from those of the network. This is the backward pass of [`start`].
pub(super) fn grads(
    network: NetworkGrads,
    embeddings: &Tensor,
    queries: &[TailQuery],
    params: &Params,
) -> Result<Grads> {
    // A query vector is a row of the relation states, so its gradient is added to that row.
    let ids: Vec<u32> = queries.iter().map(|q| q.relation).collect();
    let ids = Tensor::new(ids, network.relations.device())?;
    let drelations = network.relations.index_add(&ids, &network.query, 0)?;
    let weight = &params.tensors.relations.weight;
    let relations = ops::linear_backward(embeddings, weight, &drelations.contiguous()?)?;
    Ok(Grads {
        layers: network.layers,
        head: network.head,
        relations: relations.params,
        questions: None,
    })
}
