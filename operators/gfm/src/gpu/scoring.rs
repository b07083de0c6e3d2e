//! Scores of all nodes on the device.

use std::cell::OnceCell;

use candle_core::{DType, Tensor};
use gfm_pipe_api::OpResult;
use gfm_pipe_kernels::Real;
use gfm_pipe_kernels::gpu::{Gpu, State, Vector};

use super::forward::{Ask, Background, Model, Query};
use super::graph::DeviceGraph;
use super::weights::Weights;
use super::{Result, device_error};
use crate::graph::Graph;
use crate::model::{Compute, Params, Question, Reach, TailQuery};
use crate::ops::Seeds;
use crate::sampling::Triple;
use crate::scorer::Scorer;
use crate::tensor_error;

/// A model on a graph.
pub(crate) struct OnGraph<'a, S: State> {
    model: Model<'a, S>,
    graph: &'a Graph,
    /// Of the whole graph, made when questions are first asked.
    background: OnceCell<Option<Background<S>>>,
}

impl<'a, S: State> OnGraph<'a, S> {
    pub fn new(model: Model<'a, S>, graph: &'a Graph) -> Self {
        OnGraph {
            model,
            graph,
            background: OnceCell::new(),
        }
    }

    fn reach(&self, seeds: &Seeds, background: bool) -> Reach {
        let asked = (seeds, None);
        Reach::chosen(
            self.model.config,
            self.graph,
            Compute::Auto,
            asked,
            background,
        )
    }

    fn background(&self) -> Result<Option<&Background<S>>> {
        if self.background.get().is_none() {
            let made = match self.model.config.aggregate_func.adds() {
                true => Some(self.model.background()?),
                false => None,
            };
            let _ = self.background.set(made);
        }
        Ok(self.background.get().and_then(Option::as_ref))
    }

    fn ask_questions(&self, batch: &[Question<'_>]) -> Result<Vector<S::Acc>> {
        let texts: Vec<f32> = batch.iter().flat_map(|q| q.embedding).copied().collect();
        let seeds: Seeds = batch.iter().map(|q| q.seeds.to_vec()).collect();
        let background = self.background()?;
        let ask = Ask {
            query: Query::Texts(&texts),
            seeds: &seeds,
            candidates: None,
            reach: self
                .model
                .graph
                .rows(self.reach(&seeds, background.is_some()))?,
            removed: None,
        };
        self.model.score_all(&ask, background)
    }

    fn ask_links(&self, gone: &[Triple], queries: &[TailQuery]) -> Result<Vector<S::Acc>> {
        let graph = self.model.graph;
        let removed = graph.removal(self.graph, gone.iter().copied())?;
        let relations: Vec<u32> = queries.iter().map(|q| q.relation).collect();
        let seeds: Seeds = queries.iter().map(|q| vec![(q.head, 1.0)]).collect();
        let ask = Ask {
            query: Query::Relations(&relations),
            seeds: &seeds,
            candidates: None,
            reach: graph.rows(self.reach(&seeds, false))?,
            removed: Some(&removed),
        };
        graph.flip(&removed)?;
        let scores = self.model.score_all(&ask, None);
        graph.flip(&removed)?;
        scores
    }
}

fn wide<A: State + Real>(scores: Result<Vector<A>>) -> OpResult<Vec<f64>> {
    let scores = scores.and_then(|s| s.read()).map_err(device_error)?;
    Ok(scores.into_iter().map(Real::f64).collect())
}

impl<S: State> Scorer for OnGraph<'_, S> {
    fn questions(&self, batch: &[Question<'_>]) -> OpResult<Vec<f64>> {
        wide(self.ask_questions(batch))
    }

    fn links(&self, gone: &[Triple], queries: &[TailQuery]) -> OpResult<Vec<f64>> {
        wide(self.ask_links(gone, queries))
    }
}

/// Calls `use_it` with a scorer of a model on a graph, in the element type of its weights.
pub(crate) fn with_scorer<R>(
    gpu: &Gpu,
    params: &Params,
    on: (&Graph, &Tensor),
    use_it: impl FnOnce(&dyn Scorer) -> OpResult<R>,
) -> OpResult<R> {
    match params.dtype() {
        DType::F64 => typed::<f64, R>(gpu, params, on, use_it),
        _ => typed::<f32, R>(gpu, params, on, use_it),
    }
}

fn typed<S: State, R>(
    gpu: &Gpu,
    params: &Params,
    (graph, embeddings): (&Graph, &Tensor),
    use_it: impl FnOnce(&dyn Scorer) -> OpResult<R>,
) -> OpResult<R> {
    let weights = Weights::<S>::new(gpu, params).map_err(tensor_error)?;
    let on = DeviceGraph::new(gpu, graph, embeddings, &params.config).map_err(tensor_error)?;
    let model = Model {
        config: &params.config,
        weights: &weights,
        graph: &on,
        recompute: false,
    };
    use_it(&OnGraph::new(model, graph))
}
