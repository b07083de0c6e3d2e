//! QueryGNN: tail prediction for triples, the pre-training task.

use candle_core::{Result, Tensor, bail};

use super::Params;
use super::network::{Compute, Grads, Memory, Network};
use crate::graph::Graph;
use crate::ops::{self, Seeds};

/// "Which node is the tail of (head, relation, ?)": inverse relations ask for heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailQuery {
    /// Node the query starts from.
    pub head: u32,
    /// Relation id, inverses included.
    pub relation: u32,
}

/// The model on one graph with one set of relation embeddings.
pub struct QueryGnn<'a> {
    network: Network<'a>,
    /// Embeddings of relation names, `[2R, text]`.
    embeddings: &'a Tensor,
}

/// A forward pass's memory.
pub struct Pass {
    memory: Memory,
    /// Scores of the candidates, `[B, M]`.
    pub scores: Tensor,
    seeds: Seeds,
    queries: Vec<TailQuery>,
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

impl<'a> QueryGnn<'a> {
    /// The model over a graph (without the edges the batch asks for).
    pub fn new(params: &'a Params, graph: &'a Graph, embeddings: &'a Tensor) -> Self {
        QueryGnn {
            network: Network {
                params,
                graph,
                recompute: false,
                compute: Compute::default(),
            },
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
    pub fn relations(&self) -> Result<Tensor> {
        relation_states(self.network.params, self.embeddings)
    }

    fn start(&self, relations: &Tensor, queries: &[TailQuery]) -> Result<(Tensor, Seeds)> {
        start(relations, queries, self.network.graph.nodes())
    }

    /// Scores of candidate tails, the same number for every query.
    ///
    /// # Errors
    /// When ids are outside the graph.
    pub fn forward(&self, queries: &[TailQuery], candidates: Vec<Vec<u32>>) -> Result<Pass> {
        let relations = self.relations()?;
        let (query, seeds) = self.start(&relations, queries)?;
        let (scores, memory) =
            self.network
                .scores((&relations, &query), &seeds, Some(candidates))?;
        Ok(Pass {
            memory,
            scores,
            seeds,
            queries: queries.to_vec(),
        })
    }

    /// Scores of all nodes, `[B, N]`, without a tape.
    ///
    /// # Errors
    /// When ids are outside the graph.
    pub fn score_all(&self, queries: &[TailQuery]) -> Result<Tensor> {
        let relations = self.relations()?;
        let (query, seeds) = self.start(&relations, queries)?;
        self.network.score_all(&relations, &query, &seeds, None)
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
        let back = (&drel, &dquery);
        start_backward(
            self.network.params,
            self.embeddings,
            &pass.queries,
            back,
            &mut grads,
        )?;
        Ok(grads)
    }
}

/// Relation states `[2R, d]` of the embeddings of relation names, `[2R, text]`.
pub(super) fn relation_states(params: &Params, embeddings: &Tensor) -> Result<Tensor> {
    let (weight, bias) = (params.get("rel_mlp.weight")?, params.get("rel_mlp.bias")?);
    ops::linear(embeddings, weight, bias)
}

/// Query vectors `[B, d]` and seeds of queries on a graph of that many nodes.
pub(super) fn start(
    relations: &Tensor,
    queries: &[TailQuery],
    nodes: usize,
) -> Result<(Tensor, Seeds)> {
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
    Ok((relations.index_select(&ids, 0)?.contiguous()?, seeds))
}

/// Backward of [`start`] and [`relation_states`]: from the gradients of relation states and queries.
pub(super) fn start_backward(
    params: &Params,
    embeddings: &Tensor,
    queries: &[TailQuery],
    (drelations, dquery): (&Tensor, &Tensor),
    grads: &mut Grads,
) -> Result<()> {
    // The query is a row of the relation states: its gradient goes back there.
    let ids: Vec<u32> = queries.iter().map(|q| q.relation).collect();
    let ids = Tensor::new(ids, drelations.device())?;
    let drel = drelations.index_add(&ids, dquery, 0)?.contiguous()?;
    let g = ops::linear_backward(embeddings, params.get("rel_mlp.weight")?, &drel)?;
    grads.insert("rel_mlp.weight".to_owned(), g.weight);
    grads.insert("rel_mlp.bias".to_owned(), g.bias);
    Ok(())
}
