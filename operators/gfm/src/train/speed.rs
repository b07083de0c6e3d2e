//! How fast this machine takes training steps: a small one of the same model is timed, so that
//! whatever a step is made of has its part.

use std::time::Instant;

use candle_core::DType;
use gfm_pipe_api::OpResult;
use rand_chacha::rand_core::Rng;

use gfm_pipe_model::graph::Graph;
use gfm_pipe_model::model::{
    Class, Compute, ModelConfig, Params, QueryGnn, QueryNodes, Reach, TailQuery, rng,
};
use gfm_pipe_model::ops::Seeds;
use gfm_pipe_model::tensor::tensor;
use gfm_pipe_model::tensor_error;

/// What a graph's layers cost in the step that is timed, in the unit of [`Reach::cost`]: about ten
/// milliseconds' work of two cores.
const COST: f64 = 1.5e7;

/// Most nodes and messages a node of the graph that is timed.
const MOST: (usize, usize) = (4_000, 64);

/// Width of its text embeddings. The cost of projecting them does not grow with the graph.
const TEXT: usize = 8;

/// Seconds for a unit of [`Reach::cost`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speed {
    /// Forward, as in a validation.
    pub forward: f64,
    /// Forward and backward.
    pub step: f64,
}

impl Speed {
    /// Times this machine with a model of these dimensions, on a graph with `degree` edges a node
    /// and batches of `batch`.
    pub fn measure(
        config: &ModelConfig,
        degree: f64,
        batch: usize,
        dtype: DType,
    ) -> OpResult<Self> {
        let width = config.input_dim as f64;
        let degree = (degree.round() as usize).clamp(1, MOST.1);
        let a_row = width * width / 8.0 + degree as f64 * (width + 16.0);
        let nodes = COST / (a_row * (batch * config.layers()) as f64);
        let nodes = (nodes as usize).clamp(16, MOST.0);
        let mut numbers = rng(0, "a graph to time");
        let mut pick = |n: usize| (numbers.next_u64() % n as u64) as u32;
        // Each triple is two edges.
        let triples = (nodes * degree).div_ceil(2);
        let triples: Vec<[u32; 3]> = (0..triples)
            .map(|_| [pick(nodes), pick(2), pick(nodes)])
            .collect();
        let graph = Graph::from_triples(nodes, 2, &triples);
        let params = Params::init(Class::QueryGNN, config, TEXT, 0, dtype).map_err(tensor_error)?;
        let embeddings = tensor(vec![0.5f32; 4 * TEXT], (4, TEXT))
            .and_then(|t| t.to_dtype(dtype))
            .map_err(tensor_error)?;
        let queries: Vec<TailQuery> = (0..batch)
            .map(|_| TailQuery {
                head: pick(nodes),
                relation: 0,
            })
            .collect();
        let all: Vec<u32> = (0..nodes as u32).collect();
        let candidates = vec![all; batch];
        let gnn = QueryGnn::new(&params, &graph, &embeddings).compute(Compute::Dense);
        let once = || -> OpResult<(f64, f64)> {
            let start = Instant::now();
            let mut pass = gnn.forward(&queries, candidates.clone())?;
            let forward = start.elapsed().as_secs_f64();
            let dscores = pass.scores.ones_like().map_err(tensor_error)?;
            gnn.backward(&mut pass, &dscores)?;
            Ok((forward, start.elapsed().as_secs_f64()))
        };
        // The first time memory is asked for and threads start. Of the others the faster one was
        // disturbed less.
        once()?;
        let (first, second) = (once()?, once()?);
        let (forward, step) = if first.1 < second.1 { first } else { second };
        let seeds: Seeds = queries.iter().map(|q| vec![(q.head, 1.0)]).collect();
        let queries = QueryNodes {
            seeds: &seeds,
            candidates: None,
        };
        let reach = Reach::chosen(config, &graph, Compute::Dense, queries, false);
        let cost = cost(config, &graph, &reach, batch * nodes);
        Ok(Speed {
            forward: forward / cost,
            step: step / cost,
        })
    }
}

/// What layers and head cost: the head scores `seen` pairs, each about a row of a layer.
pub(crate) fn cost(config: &ModelConfig, graph: &Graph, reach: &Reach, seen: usize) -> f64 {
    let (path, width) = (config.message_func.path(), config.input_dim);
    reach.cost(graph, path, width) + seen as f64 * (width * width) as f64 / 8.0
}
