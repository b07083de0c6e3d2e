//! GNNRetriever: entity scores for questions, the fine-tuning task.

use candle_core::{Result, Tensor, bail};
use gfm_pipe_api::OpResult;

use super::Params;
use super::background::Background;
use super::backward::NetworkGrads;
use super::forward::Queries;
use super::network::Network;
use super::params::Grads;
use super::passes::Tape;
use super::query_gnn::relation_states;
use super::reach::Compute;
use crate::graph::Graph;
use crate::ops::{self, Linear, Seeds};
use crate::tensor_error;

/// A question as the model sees it.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Its embedding, `[text]`.
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
    prepared: Option<Prepared>,
}

struct Prepared {
    /// Relation states, `[2R, d]`.
    relations: Tensor,
    /// For aggregates that have one.
    background: Option<Background>,
}

/// A forward pass's memory.
pub struct Pass {
    tape: Tape,
    /// Scores of all nodes, `[B, N]`.
    pub scores: Tensor,
    questions: Tensor,
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
    /// The model over a graph.
    pub fn new(params: &'a Params, graph: &'a Graph, embeddings: &'a Tensor) -> Self {
        Retriever {
            network: Network {
                params,
                graph,
                recompute: false,
                compute: Compute::default(),
            },
            embeddings,
            prepared: None,
        }
    }

    /// Computes once what no question changes; [`Retriever::score_all`] then computes for each question only the states that
    /// it reaches. `known` are the background's states, where they were computed before.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn prepared(self, known: Option<Vec<Tensor>>) -> OpResult<Self> {
        self.prepared_with(known, &|_, _| {})
    }

    /// As [`Retriever::prepared`]; `progress` is called with how many layers of how many are done.
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
        self.prepared = Some(Prepared {
            relations,
            background,
        });
        Ok(self)
    }

    /// What [`Retriever::prepared`] computed, for aggregates that have a background.
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

    /// Relation states `[2R, d]`, question vectors `[B, d]`, embeddings `[B, text]`, seeds.
    fn start(&self, batch: &[Question<'_>]) -> OpResult<(Tensor, Tensor, Tensor, Seeds)> {
        let run = || {
            let relations = self.relations()?;
            let (vectors, text, seeds) = start(self.network.params, batch)?;
            Ok((relations, vectors, text, seeds))
        };
        run().map_err(tensor_error)
    }

    /// Scores of all nodes, with a tape.
    ///
    /// # Errors
    /// When embeddings have another width than the model's.
    pub fn forward(&self, batch: &[Question<'_>]) -> OpResult<Pass> {
        let (relations, vectors, questions, seeds) = self.start(batch)?;
        let start = Queries {
            relations: &relations,
            vectors: &vectors,
            seeds: &seeds,
        };
        let (scores, tape) = self.network.scores(&start, None)?;
        Ok(Pass {
            tape,
            scores,
            questions,
        })
    }

    /// Scores of all nodes, `[B, N]`, without a tape.
    ///
    /// # Errors
    /// When embeddings have another width than the model's.
    pub fn score_all(&self, batch: &[Question<'_>]) -> OpResult<Tensor> {
        let (relations, vectors, _, seeds) = self.start(batch)?;
        let start = Queries {
            relations: &relations,
            vectors: &vectors,
            seeds: &seeds,
        };
        self.network.score_all(&start, self.background())
    }

    /// Gradients of all parameters from the gradient of the scores. The pass's memory is used up.
    ///
    /// # Errors
    /// When shapes do not fit, or the pass was used before.
    pub fn backward(&self, pass: &mut Pass, dscores: &Tensor) -> OpResult<Grads> {
        let network = self.network.gradients(&mut pass.tape, dscores)?;
        let params = self.network.params;
        grads(network, self.embeddings, &pass.questions, params).map_err(tensor_error)
    }
}

/// The map from embeddings of questions to query vectors.
fn question_map(params: &Params) -> Result<&Linear> {
    match &params.tensors.questions {
        Some(map) => Ok(map),
        None => bail!("a {} answers no questions", params.class.name()),
    }
}

/// Question vectors `[B, d]`, embeddings `[B, text]`, seeds.
pub(super) fn start(params: &Params, batch: &[Question<'_>]) -> Result<(Tensor, Tensor, Seeds)> {
    let text: Vec<f32> = batch.iter().flat_map(|q| q.embedding).copied().collect();
    let shape = (batch.len(), params.text_dim);
    let text = crate::tensor::tensor(text, shape)?.to_dtype(params.dtype())?;
    let vectors = ops::linear(&text, question_map(params)?)?;
    let seeds = batch.iter().map(|q| q.seeds.to_vec()).collect();
    Ok((vectors, text, seeds))
}

/// Gradients of all parameters, from those of the network: the backward pass of [`start`] and of the relation states.
pub(super) fn grads(
    network: NetworkGrads,
    embeddings: &Tensor,
    questions: &Tensor,
    params: &Params,
) -> Result<Grads> {
    let map = question_map(params)?;
    let of_questions = ops::linear_backward(questions, &map.weight, &network.query)?;
    let weight = &params.tensors.relations.weight;
    let of_relations = ops::linear_backward(embeddings, weight, &network.relations)?;
    Ok(Grads {
        layers: network.layers,
        head: network.head,
        relations: of_relations.params,
        questions: Some(of_questions.params),
    })
}
