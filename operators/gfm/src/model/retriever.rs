//! GNNRetriever: entity scores for questions, the fine-tuning task.

use candle_core::{Result, Tensor};

use super::Params;
use super::background::Background;
use super::network::{Compute, Grads, Memory, Network};
use super::query_gnn::relation_states;
use crate::graph::Graph;
use crate::ops::{self, Seeds};

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
    memory: Memory,
    /// Scores of all nodes, `[B, N]`.
    pub scores: Tensor,
    seeds: Seeds,
    questions: Tensor,
}

impl Pass {
    /// See [`Memory::share`].
    pub fn share(&self) -> f64 {
        self.memory.share()
    }

    /// The network's tape, of [`Compute::Whole`].
    #[cfg(test)]
    pub(crate) fn tape(&self) -> &super::Tape {
        match &self.memory {
            Memory::Whole { tape, .. } => tape,
            Memory::Rows(_) => panic!("rows have no tape of whole tensors"),
        }
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

    /// Computes once what no question changes; [`Retriever::score_all`] then computes of each question only what it reaches. `known` are
    /// the background's states, where somebody computed them before.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn prepared(self, known: Option<Vec<Tensor>>) -> Result<Self> {
        self.prepared_telling(known, &|_, _| {})
    }

    /// The same; `told` is called with how many layers of how many are computed.
    ///
    /// # Errors
    /// See [`Retriever::prepared`].
    pub fn prepared_telling(
        mut self,
        known: Option<Vec<Tensor>>,
        told: &dyn Fn(usize, usize),
    ) -> Result<Self> {
        let relations = self.relations()?;
        let background = self.network.background(&relations, known, told)?;
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
    fn start(&self, batch: &[Question<'_>]) -> Result<(Tensor, Tensor, Tensor, Seeds)> {
        let relations = self.relations()?;
        let (query, text, seeds) = start(self.network.params, batch)?;
        Ok((relations, query, text, seeds))
    }

    /// Scores of all nodes, with a tape.
    ///
    /// # Errors
    /// When embeddings have another width than the model's.
    pub fn forward(&self, batch: &[Question<'_>]) -> Result<Pass> {
        let (relations, query, questions, seeds) = self.start(batch)?;
        let (scores, memory) = self.network.scores((&relations, &query), &seeds, None)?;
        Ok(Pass {
            memory,
            scores,
            seeds,
            questions,
        })
    }

    /// Scores of all nodes, `[B, N]`, without a tape.
    ///
    /// # Errors
    /// When embeddings have another width than the model's.
    pub fn score_all(&self, batch: &[Question<'_>]) -> Result<Tensor> {
        let (relations, query, _, seeds) = self.start(batch)?;
        self.network
            .score_all(&relations, &query, &seeds, self.background())
    }

    /// Gradients of all parameters from the gradient of the scores. The pass's memory is used up.
    ///
    /// # Errors
    /// When shapes do not fit, or rows were used up before.
    pub fn backward(&self, pass: &mut Pass, dscores: &Tensor) -> Result<Grads> {
        let mut grads = Grads::new();
        let (drel, dquery) =
            self.network
                .gradients(&mut pass.memory, dscores, &pass.seeds, &mut grads)?;
        let inputs = (self.embeddings, &pass.questions);
        start_backward(self.network.params, inputs, (&drel, &dquery), &mut grads)?;
        Ok(grads)
    }
}

/// Question vectors `[B, d]`, embeddings `[B, text]`, seeds.
pub(super) fn start(params: &Params, batch: &[Question<'_>]) -> Result<(Tensor, Tensor, Seeds)> {
    let text: Vec<f32> = batch.iter().flat_map(|q| q.embedding).copied().collect();
    let shape = (batch.len(), params.text_dim);
    let text = crate::tensor::tensor(text, shape)?.to_dtype(params.dtype())?;
    let weight = params.get("question_mlp.weight")?;
    let query = ops::linear(&text, weight, params.get("question_mlp.bias")?)?;
    let seeds = batch.iter().map(|q| q.seeds.to_vec()).collect();
    Ok((query, text, seeds))
}

/// Backward of [`start`] and of the relation states: from the embeddings of relations and questions, and the gradients of relation states and
/// queries.
pub(super) fn start_backward(
    params: &Params,
    (embeddings, questions): (&Tensor, &Tensor),
    (drelations, dquery): (&Tensor, &Tensor),
    grads: &mut Grads,
) -> Result<()> {
    for (name, input, dy) in [
        ("rel_mlp", embeddings, drelations),
        ("question_mlp", questions, dquery),
    ] {
        let g = ops::linear_backward(input, params.get(&format!("{name}.weight"))?, dy)?;
        grads.insert(format!("{name}.weight"), g.weight);
        grads.insert(format!("{name}.bias"), g.bias);
    }
    Ok(())
}
