//! GNNRetriever: scores of entities for questions, the fine-tuning task.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use gfm_pipe_api::OpResult;

use super::Params;
use super::background::Background;
use super::explain::Explained;
use super::network::Network;
use super::params::Grads;
use super::passes::Tape;
use super::reach::Compute;
use super::start::{Shared, Source, Start, grads};
use super::texts::Texts;
use crate::graph::Graph;
use crate::tensor_error;

/// The inputs that a question gives the model.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The embedding of its text, `[text]`.
    pub embedding: &'a [f32],
    /// Distinct question entities with their weights.
    pub seeds: &'a [(u32, f64)],
}

/// The model on one graph with the embeddings of its texts.
pub struct Retriever<'a> {
    network: Network<'a>,
    texts: Texts<'a>,
    /// What [`Retriever::prepared`] computed.
    prepared: Option<Arc<Prepared>>,
}

/// What is the same for all questions of a model on a graph: see [`Retriever::prepared`].
pub struct Prepared {
    shared: Shared,
    /// `None` for aggregates without a background.
    background: Option<Background>,
}

/// The scores of a forward pass, and what its backward pass needs.
pub struct Pass {
    tape: Tape,
    /// Scores of all nodes, `[B, N]`.
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

impl<'a> Retriever<'a> {
    /// The model on a graph.
    pub fn new(params: &'a Params, graph: &'a Graph, texts: impl Into<Texts<'a>>) -> Self {
        Retriever {
            network: Network::new(params, graph),
            texts: texts.into(),
            prepared: None,
        }
    }

    /// Computes everything that is the same for all questions. [`Retriever::score_all`] then
    /// computes only the states that a question reaches. `known`: the states of the background, if
    /// they were computed before.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn prepared(self, known: Option<Vec<Tensor>>) -> OpResult<Self> {
        self.prepared_with(known, &|_, _| {})
    }

    /// Like [`Retriever::prepared`]. Calls `progress(done, total)` as layers finish.
    ///
    /// # Errors
    /// See [`Retriever::prepared`].
    pub fn prepared_with(
        mut self,
        known: Option<Vec<Tensor>>,
        progress: &dyn Fn(usize, usize),
    ) -> OpResult<Self> {
        let shared = self.shared().map_err(tensor_error)?;
        let background = self.network.background(&shared, known, progress)?;
        self.prepared = Some(Arc::new(Prepared { shared, background }));
        Ok(self)
    }

    /// The model on a graph with what an earlier retriever of the same model and graph prepared.
    pub fn with(
        params: &'a Params,
        graph: &'a Graph,
        texts: impl Into<Texts<'a>>,
        prepared: Arc<Prepared>,
    ) -> Self {
        Retriever {
            prepared: Some(prepared),
            ..Retriever::new(params, graph, texts)
        }
    }

    /// What [`Retriever::prepared`] computed, for [`Retriever::with`].
    pub fn kept(&self) -> Option<Arc<Prepared>> {
        self.prepared.clone()
    }

    /// The background that [`Retriever::prepared`] computed; `None` for aggregates without one.
    pub fn background(&self) -> Option<&Background> {
        self.prepared.as_ref()?.background.as_ref()
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

    fn shared(&self) -> Result<Shared> {
        match &self.prepared {
            Some(prepared) => Ok(prepared.shared.clone()),
            None => Shared::new(self.network.params, self.texts),
        }
    }

    fn start(&self, batch: &[Question<'_>]) -> OpResult<Start> {
        let params = self.network.params;
        let shared = self.shared();
        let start = shared.and_then(|shared| Start::of_questions(params, shared, batch));
        start.map_err(tensor_error)
    }

    /// Scores of all nodes, with a tape.
    ///
    /// # Errors
    /// When the embeddings do not have the width that the model expects.
    pub fn forward(&self, batch: &[Question<'_>]) -> OpResult<Pass> {
        let start = self.start(batch)?;
        let (scores, tape) = self.network.scores(&start.queries(), None)?;
        Ok(Pass {
            tape,
            scores,
            source: start.source,
        })
    }

    /// Scores of all nodes, `[B, N]`, without a tape.
    ///
    /// # Errors
    /// When the embeddings do not have the width that the model expects.
    pub fn score_all(&self, batch: &[Question<'_>]) -> OpResult<Tensor> {
        let start = self.start(batch)?;
        self.network.score_all(&start.queries(), self.background())
    }

    /// Runs the forward pass of a question whose scores are to be explained.
    ///
    /// # Errors
    /// When the embedding does not have the width that the model expects.
    pub fn explain(&self, question: &Question<'_>) -> OpResult<Explained<'_>> {
        let start = self.start(&[*question])?;
        let network = Network {
            // Every target would have to compute the layers again.
            recompute: false,
            ..self.network
        };
        Explained::new(network, &start.queries(), self.background())
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
