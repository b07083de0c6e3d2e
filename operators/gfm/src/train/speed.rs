//! How fast this machine computes training steps: a small step of the same model is timed, so that
//! every part of a step counts.

use std::time::Instant;

use candle_core::DType;
use gfm_pipe_api::OpResult;
use rand_chacha::rand_core::Rng;

use gfm_pipe_model::graph::Graph;
use gfm_pipe_model::model::{
    Class, Compute, ModelConfig, Params, QueryGnn, QueryNodes, Reach, TailQuery, Texts, rng,
};
use gfm_pipe_model::ops::Seeds;
use gfm_pipe_model::tensor::tensor;
use gfm_pipe_model::tensor_error;

/// Cost of the layers in the timed step, in the unit of [`Reach::cost`]: about ten milliseconds on
/// two cores.
const COST: f64 = 1.5e7;

/// Largest number of nodes of the timed graph.
const MAX_NODES: usize = 4_000;

/// Largest number of edges per node of the timed graph.
const MAX_DEGREE: usize = 64;

/// Width of the timed graph's text embeddings. The cost of projecting them does not grow with the
/// graph.
const TEXT: usize = 8;

/// Seconds per unit of [`Reach::cost`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speed {
    /// Forward, as in a validation.
    pub forward: f64,
    /// Forward and backward.
    pub step: f64,
}

impl Speed {
    /// Times this machine with a model of these dimensions, on a graph with `degree` edges per node
    /// and batches of `batch` queries.
    pub fn measure(
        config: &ModelConfig,
        degree: f64,
        batch: usize,
        dtype: DType,
    ) -> OpResult<Self> {
        let width = config.input_dim as f64;
        let degree = (degree.round() as usize).clamp(1, MAX_DEGREE);
        let row_cost = width * width / 8.0 + degree as f64 * (width + 16.0);
        let nodes = COST / (row_cost * (batch * config.layers()) as f64);
        let nodes = (nodes as usize).clamp(16, MAX_NODES);
        let mut numbers = rng(0, "a graph to time");
        let mut pick = |n: usize| (numbers.next_u64() % n as u64) as u32;
        // Each triple is two edges.
        let triples = (nodes * degree).div_ceil(2);
        let triples: Vec<[u32; 3]> = (0..triples)
            .map(|_| [pick(nodes), pick(2), pick(nodes)])
            .collect();
        let graph = Graph::from_triples(nodes, 2, &triples);
        let class = match config.use_ent_emb {
            Some(_) => Class::GraphReasoner,
            None => Class::QueryGNN,
        };
        let params = Params::init(class, config, TEXT, 0, dtype).map_err(tensor_error)?;
        let embeddings = |rows: usize| {
            tensor(vec![0.5f32; rows * TEXT], (rows, TEXT))
                .and_then(|t| t.to_dtype(dtype))
                .map_err(tensor_error)
        };
        let (of_relations, of_nodes) = (embeddings(4)?, embeddings(nodes)?);
        let texts = Texts {
            relations: &of_relations,
            nodes: config.use_ent_emb.map(|_| &of_nodes),
        };
        let queries: Vec<TailQuery> = (0..batch)
            .map(|_| TailQuery {
                head: pick(nodes),
                relation: 0,
            })
            .collect();
        let all: Vec<u32> = (0..nodes as u32).collect();
        let candidates = vec![all; batch];
        let gnn = QueryGnn::new(&params, &graph, texts).compute(Compute::Dense);
        let once = || -> OpResult<(f64, f64)> {
            let start = Instant::now();
            let mut pass = gnn.forward(&queries, candidates.clone())?;
            let forward = start.elapsed().as_secs_f64();
            let dscores = pass.scores.ones_like().map_err(tensor_error)?;
            gnn.backward(&mut pass, &dscores)?;
            Ok((forward, start.elapsed().as_secs_f64()))
        };
        // The first run allocates memory and starts threads. The faster of the other two was
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

/// Cost of layers and head. The head scores `scored` pairs, each about as much as a row of a layer.
pub(crate) fn cost(config: &ModelConfig, graph: &Graph, reach: &Reach, scored: usize) -> f64 {
    let (path, width) = (config.message_func.path(), config.input_dim);
    reach.cost(graph, path, width) + scored as f64 * (width * width) as f64 / 8.0
}
