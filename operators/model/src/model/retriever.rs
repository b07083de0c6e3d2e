//! GNNRetriever: scores of entities for questions, the fine-tuning task.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use gfm_pipe_api::OpResult;

use super::Params;
use super::background::Background;
use super::backward::NetworkGrads;
use super::explain::Explained;
use super::forward::QueryStart;
use super::network::Network;
use super::params::Grads;
use super::passes::Tape;
use super::query_gnn::relation_states;
use super::reach::Compute;
use crate::graph::Graph;
use crate::ops::{self, Linear};
use crate::tensor_error;

/// The inputs that a question gives the model.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The embedding of its text, `[text]`.
    pub embedding: &'a [f32],
    /// Distinct question entities with their weights.
    pub seeds: &'a [(u32, f64)],
}

/// The model on one graph with one set of relation embeddings.
pub struct Retriever<'a> {
    network: Network<'a>,
    /// Embeddings of relation names, `[2R, text]`.
    embeddings: &'a Tensor,
    /// What [`Retriever::prepared`] computed.
    prepared: Option<Arc<Prepared>>,
}

/// What is the same for all questions of a model on a graph: see [`Retriever::prepared`].
pub struct Prepared {
    /// Relation states, `[2R, d]`.
    relations: Tensor,
    /// `None` for aggregates without a background.
    background: Option<Background>,
}

/// The scores of a forward pass, and what its backward pass needs.
pub struct Pass {
    tape: Tape,
    /// Scores of all nodes, `[B, N]`.
    pub scores: Tensor,
    /// Embeddings of the questions, `[B, text]`.
    texts: Tensor,
}

/// The inputs of the network for a batch of questions.
pub(super) struct QuestionStart {
    pub start: QueryStart,
    /// Embeddings of the questions, `[B, text]`, in the type of the parameters.
    pub texts: Tensor,
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
    pub fn new(params: &'a Params, graph: &'a Graph, embeddings: &'a Tensor) -> Self {
        Retriever {
            network: Network::new(params, graph),
            embeddings,
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
        let relations = self.relations().map_err(tensor_error)?;
        let background = self.network.background(&relations, known, progress)?;
        self.prepared = Some(Arc::new(Prepared {
            relations,
            background,
        }));
        Ok(self)
    }

    /// The model on a graph with what an earlier retriever of the same model and graph prepared.
    pub fn with(
        params: &'a Params,
        graph: &'a Graph,
        embeddings: &'a Tensor,
        prepared: Arc<Prepared>,
    ) -> Self {
        Retriever {
            prepared: Some(prepared),
            ..Retriever::new(params, graph, embeddings)
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

    /// Relation states, `[2R, d]`.
    fn relations(&self) -> Result<Tensor> {
        if let Some(prepared) = &self.prepared {
            return Ok(prepared.relations.clone());
        }
        relation_states(self.network.params, self.embeddings)
    }

    fn start(&self, batch: &[Question<'_>]) -> OpResult<QuestionStart> {
        let relations = self.relations();
        let start = relations.and_then(|relations| start(self.network.params, relations, batch));
        start.map_err(tensor_error)
    }

    /// Scores of all nodes, with a tape.
    ///
    /// # Errors
    /// When the embeddings do not have the width that the model expects.
    pub fn forward(&self, batch: &[Question<'_>]) -> OpResult<Pass> {
        let QuestionStart { start, texts } = self.start(batch)?;
        let (scores, tape) = self.network.scores(&start.queries(), None)?;
        Ok(Pass {
            tape,
            scores,
            texts,
        })
    }

    /// Scores of all nodes, `[B, N]`, without a tape.
    ///
    /// # Errors
    /// When the embeddings do not have the width that the model expects.
    pub fn score_all(&self, batch: &[Question<'_>]) -> OpResult<Tensor> {
        let start = self.start(batch)?.start;
        self.network.score_all(&start.queries(), self.background())
    }

    /// Runs the forward pass of a question whose scores are to be explained.
    ///
    /// # Errors
    /// When the embedding does not have the width that the model expects.
    pub fn explain(&self, question: &Question<'_>) -> OpResult<Explained<'_>> {
        let start = self.start(&[*question])?.start;
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
        let params = self.network.params;
        grads(network, self.embeddings, &pass.texts, params).map_err(tensor_error)
    }
}

/// The linear map from embeddings of questions to query vectors.
fn question_map(params: &Params) -> Result<&Linear> {
    match &params.tensors.questions {
        Some(map) => Ok(map),
        None => bail!("a {} answers no questions", params.class.name()),
    }
}

/// The inputs of the network for these questions and these relation states, `[2R, d]`.
pub(super) fn start(
    params: &Params,
    relations: Tensor,
    batch: &[Question<'_>],
) -> Result<QuestionStart> {
    let texts: Vec<f32> = batch.iter().flat_map(|q| q.embedding).copied().collect();
    let shape = (batch.len(), params.text_dim);
    let texts = crate::tensor::tensor(texts, shape)?.to_dtype(params.dtype())?;
    let start = QueryStart {
        relations,
        vectors: ops::linear(&texts, question_map(params)?)?,
        seeds: batch.iter().map(|q| q.seeds.to_vec()).collect(),
    };
    Ok(QuestionStart { start, texts })
}

/// Gradients of all parameters from those of the network. This is the backward pass of [`start`]
/// and of the relation states. `texts` are the embeddings of the questions, `[B, text]`.
pub(super) fn grads(
    network: NetworkGrads,
    embeddings: &Tensor,
    texts: &Tensor,
    params: &Params,
) -> Result<Grads> {
    let map = question_map(params)?;
    let of_questions = ops::linear_backward(texts, &map.weight, &network.query)?;
    let weight = &params.tensors.relations.weight;
    let of_relations = ops::linear_backward(embeddings, weight, &network.relations)?;
    Ok(Grads {
        layers: network.layers,
        head: network.head,
        relations: of_relations.params,
        questions: Some(of_questions.params),
    })
}
