//! The two models on a partitioned graph: as [`crate::model::QueryGnn`] and [`crate::model::Retriever`], on every rank at once.

use candle_core::{DType, Tensor};
use gfm_pipe_api::OpResult;
use gfm_pipe_api::ranks::Collective;

use super::Part;
use super::exchange::{Exchange, Number, Traffic};
use super::pass::{PartNetwork, PartTape};
use crate::graph::Graph;
use crate::model::forward::Queries;
use crate::model::network::Network;
use crate::model::{Compute, Grads, Params, Question, TailQuery, query_gnn, retriever};
use crate::ops::Seeds;
use crate::tensor::tensor;
use crate::tensor_error;

/// Tail prediction on one rank's part.
pub struct PartitionedGnn<'a> {
    inner: PartNetwork<'a>,
    /// Embeddings of relation names, `[2R, text]`.
    embeddings: &'a Tensor,
}

/// Entity scores of questions on one rank's part.
pub struct PartitionedRetriever<'a> {
    inner: PartNetwork<'a>,
    /// Embeddings of relation names, `[2R, text]`.
    embeddings: &'a Tensor,
}

/// Memory of [`PartitionedGnn::forward`].
pub struct LinkPass {
    tape: PartTape,
    /// Scores of the candidates, `[B, M]`, the same on every rank.
    pub scores: Tensor,
    queries: Vec<TailQuery>,
}

/// Memory of [`PartitionedRetriever::forward`].
pub struct QuestionPass {
    tape: PartTape,
    /// Scores of all nodes, `[B, N]`, the same on every rank.
    pub scores: Tensor,
    questions: Tensor,
}

/// What both models have.
macro_rules! settings {
    () => {
        /// The model on this rank's part of the graph.
        ///
        /// # Errors
        /// When the part is not this rank's.
        pub fn new(
            params: &'a Params,
            part: &'a Part,
            embeddings: &'a Tensor,
            ranks: &'a dyn Collective,
        ) -> OpResult<Self> {
            let network = Network {
                params,
                graph: part.graph(),
                recompute: false,
                compute: Compute::default(),
            };
            let exchange = Exchange::new(part, ranks, params.config.layers())?;
            Ok(Self {
                inner: PartNetwork { network, exchange },
                embeddings,
            })
        }

        /// On the part without some edges: what [`Part::without`] gave.
        #[must_use]
        pub fn on(mut self, graph: &'a Graph) -> Self {
            self.inner.network.graph = graph;
            self
        }

        /// See [`Network::compute`]; over whole tensors there is nothing here, and all states are computed.
        #[must_use]
        pub fn compute(mut self, compute: Compute) -> Self {
            self.inner.network.compute = compute;
            self
        }

        /// See [`Network::recompute`].
        #[must_use]
        pub fn recompute(mut self, recompute: bool) -> Self {
            self.inner.network.recompute = recompute;
            self
        }

        /// What this rank sent so far.
        pub fn traffic(&self) -> Traffic {
            self.inner.exchange.sent()
        }
    };
}

impl LinkPass {
    /// States this rank computed, of all there are of its nodes: layers x queries x nodes.
    pub fn share(&self) -> f64 {
        self.tape.tape.share()
    }
}

impl QuestionPass {
    /// See [`LinkPass::share`].
    pub fn share(&self) -> f64 {
        self.tape.tape.share()
    }
}

impl<'a> PartitionedGnn<'a> {
    settings!();

    fn start(&self, queries: &[TailQuery]) -> OpResult<(Tensor, Tensor, Seeds)> {
        let (params, nodes) = (self.inner.network.params, self.inner.exchange.part.nodes());
        query_gnn::start(params, self.embeddings, queries, nodes).map_err(tensor_error)
    }

    /// Scores of candidate tails, the same number for every query; all in ids of the whole graph.
    ///
    /// # Errors
    /// When ids are outside the graph, the aggregate is none that adds, or ranks cannot talk.
    pub fn forward(&self, queries: &[TailQuery], candidates: &[Vec<u32>]) -> OpResult<LinkPass> {
        let (relations, vectors, seeds) = self.start(queries)?;
        let start = Queries {
            relations: &relations,
            vectors: &vectors,
            seeds: &seeds,
        };
        let (scores, tape) = self.inner.scores(&start, Some(candidates))?;
        Ok(LinkPass {
            tape,
            scores,
            queries: queries.to_vec(),
        })
    }

    /// Scores of all nodes, `[B, N]`, the same on every rank, without a tape.
    ///
    /// # Errors
    /// See [`PartitionedGnn::forward`].
    pub fn score_all(&self, queries: &[TailQuery]) -> OpResult<Tensor> {
        let (relations, vectors, seeds) = self.start(queries)?;
        self.inner.score_all(&Queries {
            relations: &relations,
            vectors: &vectors,
            seeds: &seeds,
        })
    }

    /// This rank's share of the gradients of all parameters, from the gradient of the scores of all ranks: their sum is the gradient. The
    /// pass's memory is used up.
    ///
    /// # Errors
    /// When shapes do not fit, the memory was used before, or ranks cannot talk.
    pub fn backward(&self, pass: &mut LinkPass, dscores: &Tensor) -> OpResult<Grads> {
        let network = self.inner.gradients(&mut pass.tape, dscores)?;
        let params = self.inner.network.params;
        query_gnn::grads(network, self.embeddings, &pass.queries, params).map_err(tensor_error)
    }
}

impl<'a> PartitionedRetriever<'a> {
    settings!();

    fn start(&self, batch: &[Question<'_>]) -> OpResult<([Tensor; 3], Seeds)> {
        let params = self.inner.network.params;
        let run = || {
            let relations = query_gnn::relation_states(params, self.embeddings)?;
            let (query, text, seeds) = retriever::start(params, batch)?;
            Ok(([relations, query, text], seeds))
        };
        run().map_err(tensor_error)
    }

    /// Scores of all nodes, with a tape. Seeds are in ids of the whole graph.
    ///
    /// # Errors
    /// When embeddings have another width than the model's, seeds are outside the graph, the aggregate is none that adds, or ranks cannot talk.
    pub fn forward(&self, batch: &[Question<'_>]) -> OpResult<QuestionPass> {
        let ([relations, vectors, questions], seeds) = self.start(batch)?;
        let start = Queries {
            relations: &relations,
            vectors: &vectors,
            seeds: &seeds,
        };
        let (scores, tape) = self.inner.scores(&start, None)?;
        Ok(QuestionPass {
            tape,
            scores,
            questions,
        })
    }

    /// Scores of all nodes, `[B, N]`, the same on every rank, without a tape.
    ///
    /// # Errors
    /// See [`PartitionedRetriever::forward`].
    pub fn score_all(&self, batch: &[Question<'_>]) -> OpResult<Tensor> {
        let ([relations, vectors, _], seeds) = self.start(batch)?;
        self.inner.score_all(&Queries {
            relations: &relations,
            vectors: &vectors,
            seeds: &seeds,
        })
    }

    /// This rank's share of the gradients of all parameters, from the gradient of the scores of all ranks: their sum is the gradient. The
    /// pass's memory is used up.
    ///
    /// # Errors
    /// When shapes do not fit, the memory was used before, or ranks cannot talk.
    pub fn backward(&self, pass: &mut QuestionPass, dscores: &Tensor) -> OpResult<Grads> {
        let network = self.inner.gradients(&mut pass.tape, dscores)?;
        let params = self.inner.network.params;
        retriever::grads(network, self.embeddings, &pass.questions, params).map_err(tensor_error)
    }
}

/// Turns shares of gradients into their sums over ranks, which all of them get. All must ask, with the same parameters.
///
/// # Errors
/// When ranks cannot talk, or do not compute the same.
pub fn sum_grads(grads: &mut Grads, ranks: &dyn Collective) -> OpResult<()> {
    if grads
        .named()
        .values()
        .all(|share| share.dtype() == DType::F32)
    {
        sum_typed::<f32>(grads, ranks)
    } else {
        sum_typed::<f64>(grads, ranks)
    }
}

/// All in one message, in the order of names.
fn sum_typed<T: Number>(grads: &mut Grads, ranks: &dyn Collective) -> OpResult<()> {
    let mut numbers: Vec<T> = Vec::new();
    for share in grads.named().values() {
        let values = share
            .to_dtype(T::DTYPE)
            .and_then(|s| s.flatten_all()?.to_vec1());
        numbers.extend::<Vec<T>>(values.map_err(tensor_error)?);
    }
    ranks.all_reduce(T::to_sum(&mut numbers))?;
    let mut rest = numbers.as_slice();
    for share in grads.named_mut().into_values() {
        let (mine, more) = rest.split_at(share.elem_count());
        let sum = tensor(mine.to_vec(), share.shape()).and_then(|t| t.to_dtype(share.dtype()));
        *share = sum.map_err(tensor_error)?;
        rest = more;
    }
    Ok(())
}
