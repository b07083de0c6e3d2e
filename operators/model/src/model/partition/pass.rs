//! The forward and the backward pass over one rank's part of a divided graph.

use candle_core::Tensor;
use gfm_pipe_api::{OpError, OpResult};

use super::exchange::{Exchange, Number};
use super::hops;
use super::rows::{OwnScores, share};
use crate::model::backward::NetworkGrads;
use crate::model::forward::{Pass, Queries};
use crate::model::network::{Network, check_nodes};
use crate::model::passes::{Tape, by_types};
use crate::model::reach::{LayerRows, QueryNodes};
use crate::ops::Seeds;
use crate::tensor::{Elem, tensor, view};
use crate::tensor_error;

/// The network with its parameters on one rank's part.
pub(super) struct PartNetwork<'a> {
    /// The network on the part's graph, or on that graph without some edges.
    pub network: Network<'a>,
    pub exchange: Exchange<'a>,
}

/// What the backward pass needs from a forward pass.
pub(super) struct PartTape {
    pub tape: Tape,
    own: OwnScores,
    queries: usize,
}

impl PartNetwork<'_> {
    /// Scores of candidates `[B, M]` or of all nodes `[B, N]`, on every rank, and a tape for the
    /// backward pass. Seeds and candidates are ids of the whole graph.
    ///
    /// # Errors
    /// When shapes or ids do not fit, when the aggregate is neither sum nor mean, or when the
    /// connection to a rank fails.
    pub fn scores(
        &self,
        queries: &Queries<'_>,
        candidates: Option<&[Vec<u32>]>,
    ) -> OpResult<(Tensor, PartTape)> {
        self.forward(queries, candidates, true)
    }

    /// Scores of all nodes `[B, N]` on every rank, without a tape.
    ///
    /// # Errors
    /// See [`PartNetwork::scores`].
    pub fn score_all(&self, queries: &Queries<'_>) -> OpResult<Tensor> {
        Ok(self.forward(queries, None, false)?.0)
    }

    /// This rank's share of the gradients of the network, from the gradient of all scores. Consumes
    /// the memory of the tape.
    ///
    /// # Errors
    /// See [`PartNetwork::scores`]; also when the tape was used before.
    pub fn gradients(&self, tape: &mut PartTape, dscores: &Tensor) -> OpResult<NetworkGrads> {
        let message = self.network.params.config.message_func;
        by_types!(dscores.dtype(), message, M, T => {
            let own = self.own_gradient::<T>(tape, dscores).map_err(tensor_error)?;
            let exchange = Some(&self.exchange as &_);
            self.network.backward::<M, T>(tape.tape.typed::<T>()?, &own, exchange)
        })
    }

    fn check(&self, seeds: &Seeds, candidates: Option<&[Vec<u32>]>) -> OpResult<()> {
        let (part, config) = (self.exchange.part, &self.network.params.config);
        if !config.aggregate_func.adds() {
            return Err(OpError::new(format!(
                "a model whose aggregate_func is {:?} cannot run on a partitioned graph",
                config.aggregate_func
            ))
            .hint("use aggregate_func sum or mean, or a machine with memory for the whole graph"));
        }
        if config.message_func.path() != part.path() {
            return Err(OpError::internal(format!(
                "the graph was cut for messages that run the other way than those of {:?}",
                config.message_func
            )));
        }
        if self.network.graph.nodes() != part.graph().nodes() {
            return Err(OpError::internal(
                "the graph is not the graph of this rank's part",
            ));
        }
        check_nodes(part.nodes(), seeds, candidates).map_err(tensor_error)
    }

    fn rows(&self, seeds: &Seeds, candidates: Option<&[Vec<u32>]>) -> OpResult<LayerRows> {
        let (network, part) = (&self.network, self.exchange.part);
        let here = |c: &Vec<u32>| c.iter().filter_map(|v| part.local(*v)).collect();
        let candidates: Option<Vec<Vec<u32>>> =
            candidates.map(|all| all.iter().map(here).collect());
        let queries = QueryNodes {
            seeds,
            candidates: candidates.as_deref(),
        };
        hops::chosen(&self.exchange, network, queries)
    }

    fn forward(
        &self,
        queries: &Queries<'_>,
        candidates: Option<&[Vec<u32>]>,
        keep: bool,
    ) -> OpResult<(Tensor, PartTape)> {
        self.check(queries.seeds, candidates)?;
        let (network, part) = (&self.network, self.exchange.part);
        let count = queries.seeds.len();
        let seeds = part.seeds(queries.seeds);
        let by_rows = candidates.is_none() && network.params.config.head_by_rows();
        let own = OwnScores::new(part, count, candidates, by_rows);
        let rows = self.rows(&seeds, candidates)?;
        let share = share(&rows, part);
        let local = Queries {
            seeds: &seeds,
            ..*queries
        };
        let message = network.params.config.message_func;
        by_types!(queries.vectors.dtype(), message, M, T => {
            let pass = Pass::<T> {
                rows,
                seen: own.seen.clone(),
                tape: keep,
                background: None,
                exchange: Some(&self.exchange),
            };
            let (scores, tape) = network.forward::<M, T>(&local, pass)?;
            let scores = self.all_scores::<T>(&own, count, &scores)?;
            let tape = Tape::new(tape, share);
            Ok((scores, PartTape { tape, own, queries: count }))
        })
    }

    /// The scores of all ranks, from those of this rank.
    fn all_scores<T: Number>(
        &self,
        own: &OwnScores,
        queries: usize,
        scores: &Tensor,
    ) -> OpResult<Tensor> {
        let mine = scores.flatten_all().and_then(|s| s.to_vec1::<T>());
        let mine = mine.map_err(tensor_error)?;
        let all = match own.places {
            None => self.exchange.all_scores(queries, &mine)?,
            Some(_) => {
                let mut all = vec![T::zero(); queries * own.columns];
                let part = self.exchange.part;
                own.for_places(part, queries, |i, at| all[at] = mine[i]);
                self.exchange.sum_scores(&mut all)?;
                all
            }
        };
        tensor(all, (queries, own.columns)).map_err(tensor_error)
    }

    /// The gradient of this rank's scores, from the gradient of all scores.
    fn own_gradient<T: Elem>(
        &self,
        tape: &PartTape,
        dscores: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let (own, queries) = (&tape.own, tape.queries);
        let all = view::<T>(dscores)?;
        let all = all.slice()?;
        // A rank without scores checks this too: all ranks must fail together.
        if all.len() != queries * own.columns {
            candle_core::bail!(
                "gradient of the scores: {} numbers for {queries} queries of {} scores",
                all.len(),
                own.columns
            );
        }
        let mut mine = vec![T::zero(); queries * own.width];
        own.for_places(self.exchange.part, queries, |i, at| mine[i] = all[at]);
        tensor(mine, (queries, own.width))
    }
}
