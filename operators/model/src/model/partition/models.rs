//! The two models on a partitioned graph: [`crate::model::QueryGnn`] and
//! [`crate::model::Retriever`], computed by all ranks together.

use candle_core::{DType, Tensor};
use gfm_pipe_api::OpResult;
use gfm_pipe_api::ranks::Collective;

use super::Part;
use super::exchange::{Exchange, Number, Traffic};
use super::pass::{PartNetwork, PartTape};
use crate::graph::Graph;
use crate::model::network::Network;
use crate::model::start::{Shared, Source, Start, grads};
use crate::model::{Compute, Grads, Params, Question, TailQuery, Texts};
use crate::tensor::tensor;
use crate::tensor_error;

/// Tail prediction on one rank's part.
pub struct PartitionedGnn<'a> {
    inner: PartNetwork<'a>,
    texts: Texts<'a>,
}

/// Scores of entities for questions on one rank's part.
pub struct PartitionedRetriever<'a> {
    inner: PartNetwork<'a>,
    texts: Texts<'a>,
}

/// The results of [`PartitionedGnn::forward`].
pub struct LinkPass {
    tape: PartTape,
    /// Scores of the candidates, `[B, M]`, the same on every rank.
    pub scores: Tensor,
    source: Source,
}

/// The results of [`PartitionedRetriever::forward`].
pub struct QuestionPass {
    tape: PartTape,
    /// Scores of all nodes, `[B, N]`, the same on every rank.
    pub scores: Tensor,
    source: Source,
}

/// The constructor and the settings, which both models share.
macro_rules! settings {
    () => {
        /// The model on this rank's part of the graph. The texts of nodes are those of the part's.
        ///
        /// # Errors
        /// When the part belongs to another rank.
        pub fn new(
            params: &'a Params,
            part: &'a Part,
            texts: impl Into<Texts<'a>>,
            ranks: &'a dyn Collective,
        ) -> OpResult<Self> {
            let network = Network::new(params, part.graph());
            let exchange = Exchange::new(part, ranks, params.config.layers())?;
            Ok(Self {
                inner: PartNetwork { network, exchange },
                texts: texts.into(),
            })
        }

        /// Uses the part's graph without some edges, as [`Part::without`] and
        /// [`Part::dropped`] return it.
        #[must_use]
        pub fn on(mut self, graph: &'a Graph) -> Self {
            self.inner.network.graph = graph;
            self
        }

        /// See [`Network::compute`].
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

        /// The bytes that this rank has sent so far.
        pub fn traffic(&self) -> Traffic {
            self.inner.exchange.sent()
        }
    };
}

impl LinkPass {
    /// States that this rank computed, as a share of layers x queries x own nodes.
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

    fn start(&self, queries: &[TailQuery]) -> OpResult<Start> {
        let (params, nodes) = (self.inner.network.params, self.inner.exchange.part.nodes());
        let embeddings = self.texts.relations;
        Shared::new(params, self.texts)
            .and_then(|shared| Start::of_links(params, shared, embeddings, queries, nodes))
            .map_err(tensor_error)
    }

    /// Scores of candidate tails, the same number for every query. Queries and candidates are ids
    /// of the whole graph.
    ///
    /// # Errors
    /// When ids are outside the graph, when the aggregate is neither sum nor mean, or when the
    /// connection to a rank fails.
    pub fn forward(&self, queries: &[TailQuery], candidates: &[Vec<u32>]) -> OpResult<LinkPass> {
        let start = self.start(queries)?;
        let (scores, tape) = self.inner.scores(&start.queries(), Some(candidates))?;
        Ok(LinkPass {
            tape,
            scores,
            source: start.source,
        })
    }

    /// Scores of all nodes, `[B, N]`, the same on every rank, without a tape.
    ///
    /// # Errors
    /// See [`PartitionedGnn::forward`].
    pub fn score_all(&self, queries: &[TailQuery]) -> OpResult<Tensor> {
        self.inner.score_all(&self.start(queries)?.queries())
    }

    /// This rank's share of the gradients of all parameters, from the gradient of all scores. The
    /// sum of the shares over ranks is the gradient. Consumes the memory of the pass.
    ///
    /// # Errors
    /// When shapes do not fit, when the pass was used before, or when the connection to a rank
    /// fails.
    pub fn backward(&self, pass: &mut LinkPass, dscores: &Tensor) -> OpResult<Grads> {
        let network = self.inner.gradients(&mut pass.tape, dscores)?;
        let params = self.inner.network.params;
        grads(network, self.texts, &pass.source, params).map_err(tensor_error)
    }
}

impl<'a> PartitionedRetriever<'a> {
    settings!();

    fn start(&self, batch: &[Question<'_>]) -> OpResult<Start> {
        let params = self.inner.network.params;
        Shared::new(params, self.texts)
            .and_then(|shared| Start::of_questions(params, shared, batch))
            .map_err(tensor_error)
    }

    /// Scores of all nodes, with a tape. Seeds are ids of the whole graph.
    ///
    /// # Errors
    /// When the embeddings do not have the width that the model expects, when seeds are outside the
    /// graph, when the aggregate is neither sum nor mean, or when the connection to a rank fails.
    pub fn forward(&self, batch: &[Question<'_>]) -> OpResult<QuestionPass> {
        let start = self.start(batch)?;
        let (scores, tape) = self.inner.scores(&start.queries(), None)?;
        Ok(QuestionPass {
            tape,
            scores,
            source: start.source,
        })
    }

    /// Scores of all nodes, `[B, N]`, the same on every rank, without a tape.
    ///
    /// # Errors
    /// See [`PartitionedRetriever::forward`].
    pub fn score_all(&self, batch: &[Question<'_>]) -> OpResult<Tensor> {
        let start = self.start(batch)?;
        self.inner.score_all(&start.queries())
    }

    /// See [`PartitionedGnn::backward`].
    ///
    /// # Errors
    /// See [`PartitionedGnn::backward`].
    pub fn backward(&self, pass: &mut QuestionPass, dscores: &Tensor) -> OpResult<Grads> {
        let network = self.inner.gradients(&mut pass.tape, dscores)?;
        let params = self.inner.network.params;
        grads(network, self.texts, &pass.source, params).map_err(tensor_error)
    }
}

/// Replaces shares of gradients by their sums over ranks. All ranks must call this, with the same
/// parameters.
///
/// # Errors
/// When the connection to a rank fails, or when ranks call it with different parameters.
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

/// Sends all gradients in one message, in the order of names.
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
