//! Scores of all nodes, on whichever device.

use std::cell::OnceCell;

use candle_core::Tensor;
use gfm_pipe_api::{Context, OpResult};

use crate::device;
use crate::gpu;
use crate::graph::Graph;
use crate::inputs::LoadedGraph;
use crate::model::{Params, QueryGnn, Question, Retriever, TailQuery};
use crate::sampling::Triple;
use crate::tensor::to_f64;
use crate::tensor_error;

/// Whoever gives scores of all nodes of a graph by a model.
pub trait Scorer {
    /// Of questions, `[B, N]`.
    ///
    /// # Errors
    /// When something cannot be computed (so for both).
    fn questions(&self, batch: &[Question<'_>]) -> OpResult<Vec<f64>>;

    /// Of tail queries, `[B, N]`, on the graph without some triples and their inverses.
    ///
    /// # Errors
    /// See above.
    fn links(&self, gone: &[Triple], queries: &[TailQuery]) -> OpResult<Vec<f64>>;

    /// Whether all ranks compute every score together: each of them must ask for all, in the same order. Else each asks for what it wants.
    fn together(&self) -> bool {
        false
    }
}

/// A model on a graph on the CPU.
pub(crate) struct OnCpu<'a> {
    params: &'a Params,
    graph: &'a Graph,
    /// Embeddings of relation names, `[2R, text]`.
    embeddings: &'a Tensor,
    /// What no question changes: computed, or taken from who computed it before, when questions are first asked.
    ready: OnceCell<Retriever<'a>>,
}

impl<'a> OnCpu<'a> {
    /// A model on a graph.
    pub fn new(params: &'a Params, graph: &'a Graph, embeddings: &'a Tensor) -> Self {
        OnCpu {
            params,
            graph,
            embeddings,
            ready: OnceCell::new(),
        }
    }

    /// The same with a background that was computed before.
    pub fn known(
        params: &'a Params,
        input: &'a LoadedGraph,
        background: Option<Vec<Tensor>>,
    ) -> OpResult<Self> {
        let out = OnCpu::new(params, &input.graph, &input.embeddings);
        out.prepared(background)?;
        Ok(out)
    }

    fn prepared(&self, background: Option<Vec<Tensor>>) -> OpResult<&Retriever<'a>> {
        if self.ready.get().is_none() {
            let model = Retriever::new(self.params, self.graph, self.embeddings);
            let made = model.prepared(background).map_err(tensor_error)?;
            let _ = self.ready.set(made);
        }
        match self.ready.get() {
            Some(ready) => Ok(ready),
            None => unreachable!("it was set above"),
        }
    }
}

impl Scorer for OnCpu<'_> {
    fn questions(&self, batch: &[Question<'_>]) -> OpResult<Vec<f64>> {
        let scores = self.prepared(None)?.score_all(batch);
        scores.and_then(|s| to_f64(&s)).map_err(tensor_error)
    }

    fn links(&self, gone: &[Triple], queries: &[TailQuery]) -> OpResult<Vec<f64>> {
        let pruned = self.graph.without(gone.iter().copied());
        QueryGnn::new(self.params, &pruned, self.embeddings)
            .score_all(queries)
            .and_then(|s| to_f64(&s))
            .map_err(tensor_error)
    }
}

/// Calls `use_it` with a scorer on the stage's device. `background` is that of model and graph, where it was computed before.
pub(crate) fn with_scorer<R>(
    ctx: &Context,
    (params, background): (&Params, Option<Vec<Tensor>>),
    input: &LoadedGraph,
    use_it: impl FnOnce(&dyn Scorer) -> OpResult<R>,
) -> OpResult<R> {
    match device::gpu(ctx)? {
        Some(gpu) => gpu::with_scorer(&gpu, params, (&input.graph, &input.embeddings), use_it),
        None => use_it(&OnCpu::known(params, input, background)?),
    }
}
