//! QueryGNN: tail prediction for triples, the pre-training task.

use candle_core::Tensor;
use gfm_pipe_api::OpResult;

use super::Params;
use super::network::Network;
use super::params::Grads;
use super::passes::Tape;
use super::reach::Compute;
use super::start::{Shared, Source, Start, grads};
use super::texts::Texts;
use crate::graph::{Graph, TailQuery};
use crate::tensor_error;

/// The model on one graph with the embeddings of its texts.
pub struct QueryGnn<'a> {
    network: Network<'a>,
    texts: Texts<'a>,
}

/// The scores of a forward pass, and what its backward pass needs.
pub struct Pass {
    tape: Tape,
    /// Scores of the candidates, `[B, M]`.
    pub scores: Tensor,
    source: Source,
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
    pub fn new(params: &'a Params, graph: &'a Graph, texts: impl Into<Texts<'a>>) -> Self {
        QueryGnn {
            network: Network::new(params, graph),
            texts: texts.into(),
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
    pub(crate) fn relations(&self) -> candle_core::Result<Tensor> {
        Ok(Shared::new(self.network.params, self.texts)?.relations)
    }

    fn start(&self, queries: &[TailQuery]) -> OpResult<Start> {
        let (params, nodes) = (self.network.params, self.network.graph.nodes());
        let embeddings = self.texts.relations;
        Shared::new(params, self.texts)
            .and_then(|shared| Start::of_links(params, shared, embeddings, queries, nodes))
            .map_err(tensor_error)
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
            source: start.source,
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
        grads(network, self.texts, &pass.source, self.network.params).map_err(tensor_error)
    }
}
