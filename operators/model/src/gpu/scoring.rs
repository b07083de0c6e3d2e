//! Scores of all nodes on the device.

use std::cell::OnceCell;

use candle_core::{DType, Tensor};
use gfm_pipe_api::OpResult;
use gfm_pipe_kernels::Real;
use gfm_pipe_kernels::gpu::{Gpu, State, Vector};

use super::error::{Result, device_error};
use super::graph::{DeviceGraph, DeviceTexts};
use super::model::{Background, BatchInput, Model, QuerySource};
use super::weights::{Weights, upload};
use crate::graph::Graph;
use crate::model::{Compute, Params, Question, Reach, TailQuery, Texts};
use crate::ops::Seeds;
use crate::sampling::Triple;
use crate::scorer::Scorer;
use crate::tensor::to_f64;
use crate::tensor_error;

/// Scores all nodes of one graph.
pub(crate) struct DeviceScorer<'a, S: State> {
    model: Model<'a, S>,
    graph: &'a Graph,
    /// Computed with the first questions; `None` inside if the aggregate has no background.
    background: OnceCell<Option<Background<S>>>,
}

impl<'a, S: State> DeviceScorer<'a, S> {
    pub fn new(model: Model<'a, S>, graph: &'a Graph) -> Self {
        DeviceScorer {
            model,
            graph,
            background: OnceCell::new(),
        }
    }

    fn reach(&self, seeds: &Seeds, background: bool) -> Reach {
        let config = self.model.config;
        let nodes = crate::model::QueryNodes {
            seeds,
            candidates: None,
        };
        Reach::chosen(config, self.graph, Compute::Auto, nodes, background)
    }

    fn background(&self) -> Result<Option<&Background<S>>> {
        if self.background.get().is_none() {
            let made = if self.model.config.aggregate_func.adds() {
                Some(self.model.background()?)
            } else {
                None
            };
            let _ = self.background.set(made);
        }
        Ok(self.background.get().and_then(Option::as_ref))
    }

    fn score_questions(&self, batch: &[Question<'_>]) -> Result<Vector<S::Acc>> {
        let texts: Vec<f32> = batch.iter().flat_map(|q| q.embedding).copied().collect();
        let seeds: Seeds = batch.iter().map(|q| q.seeds.to_vec()).collect();
        let background = self.background()?;
        let reach = self.reach(&seeds, background.is_some());
        let input = BatchInput {
            query: QuerySource::Texts(&texts),
            seeds: &seeds,
            candidates: None,
            reach: self.model.graph.rows(reach)?,
            removed: None,
        };
        self.model.scores(&input, background)
    }

    fn score_links(&self, gone: &[Triple], queries: &[TailQuery]) -> Result<Vector<S::Acc>> {
        let graph = self.model.graph;
        let removed = graph.removal(self.graph, gone.iter().copied())?;
        let relations: Vec<u32> = queries.iter().map(|q| q.relation).collect();
        let seeds: Seeds = queries.iter().map(|q| vec![(q.head, 1.0)]).collect();
        let input = BatchInput {
            query: QuerySource::Relations(&relations),
            seeds: &seeds,
            candidates: None,
            reach: graph.rows(self.reach(&seeds, false))?,
            removed: Some(&removed),
        };
        graph.flip(&removed)?;
        let scores = self.model.scores(&input, None);
        graph.flip(&removed)?;
        scores
    }
}

/// Downloads scores.
fn wide<A: State + Real>(scores: Result<Vector<A>>) -> OpResult<Vec<f64>> {
    let scores = scores.and_then(|s| s.read()).map_err(device_error)?;
    Ok(scores.into_iter().map(Real::f64).collect())
}

impl<S: State> Scorer for DeviceScorer<'_, S> {
    fn questions(&self, batch: &[Question<'_>]) -> OpResult<Vec<f64>> {
        wide(self.score_questions(batch))
    }

    fn links(&self, gone: &[Triple], queries: &[TailQuery]) -> OpResult<Vec<f64>> {
        wide(self.score_links(gone, queries))
    }
}

/// Calls `use_it` with a scorer of a model on a graph, in the element type of its weights.
pub(crate) fn with_scorer<R>(
    gpu: &Gpu,
    params: &Params,
    graph: &Graph,
    texts: Texts<'_>,
    use_it: impl FnOnce(&dyn Scorer) -> OpResult<R>,
) -> OpResult<R> {
    match params.dtype() {
        DType::F64 => scorer_in::<f64, R>(gpu, params, graph, texts, use_it),
        _ => scorer_in::<f32, R>(gpu, params, graph, texts, use_it),
    }
}

fn scorer_in<S: State, R>(
    gpu: &Gpu,
    params: &Params,
    graph: &Graph,
    texts: Texts<'_>,
    use_it: impl FnOnce(&dyn Scorer) -> OpResult<R>,
) -> OpResult<R> {
    let weights = Weights::<S>::new(gpu, params).map_err(tensor_error)?;
    let texts = DeviceTexts::new(gpu, texts, &params.config)?;
    let on = DeviceGraph::new(graph, texts, &params.config).map_err(device_error)?;
    let model = Model {
        class: params.class,
        config: &params.config,
        weights: &weights,
        graph: &on,
        recompute: false,
    };
    use_it(&DeviceScorer::new(model, graph))
}

/// Copies a tensor to a device.
pub(super) fn upload_tensor<A: State>(gpu: &Gpu, tensor: &Tensor) -> OpResult<Vector<A>> {
    let values = to_f64(tensor).map_err(tensor_error)?;
    upload(gpu, &values).map_err(device_error)
}
