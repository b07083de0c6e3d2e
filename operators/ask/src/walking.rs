//! Personalised PageRank on a stage's graph.

use std::sync::Arc;

use gfm_pipe_api::{Context, OpError, OpResult, columns};
use gfm_pipe_eval::baselines::asked::Walk;
use gfm_pipe_eval::baselines::ppr::{Ppr, RESTART, RESTART_WITH_PASSAGES};
use gfm_pipe_eval::baselines::walks;
use gfm_pipe_eval::passages::Passages;
use gfm_pipe_eval::{BadShape, EntityDocuments};

use crate::corpus::Corpus;
use crate::facts::Facts;

/// Which documents mention each node.
///
/// # Errors
/// When a document or node does not exist.
pub fn matrix(facts: &Facts, corpus: &Corpus) -> OpResult<Arc<EntityDocuments>> {
    let documents = 0..corpus.len() as u32;
    let pairs = documents.flat_map(|d| facts.mentioned(d).iter().map(move |node| (*node, d)));
    let matrix = EntityDocuments::from_pairs(facts.nodes(), corpus.len(), pairs);
    matrix.map(Arc::new).map_err(shape)
}

/// Personalised PageRank on the graph of a stage, and the facts that its walks are shown by.
/// `restart` is the probability of returning to the start, if it is not the usual one.
///
/// # Errors
/// When the inputs do not belong together.
pub fn walk_on(
    restart: Option<f64>,
    ctx: &Context,
    facts: &Facts,
    corpus: &Corpus,
    matrix: &Arc<EntityDocuments>,
) -> OpResult<(Walk, walks::Facts)> {
    let weights = ctx.input_opt("edge_weights").map(|artifact| {
        let table = artifact.read("edge_weights")?;
        let weights = columns::f32s(&table, "weight")?.values().to_vec();
        if weights.len() == facts.triples().len() {
            return Ok(weights);
        }
        Err(OpError::new(format!(
            "there are {} weights, but the graph has {} triples",
            weights.len(),
            facts.triples().len()
        ))
        .artifact(&artifact.name)
        .hint("connect `edge_weights` and `triples` of the same stage"))
    });
    let weights = weights.transpose()?;
    let weight = |row: usize| weights.as_ref().map_or(1.0, |w| f64::from(w[row]));
    let triples = || facts.triples().iter().enumerate();
    let edges = triples().map(|(row, [head, _, tail])| (*head, *tail, weight(row)));
    let on = Ppr::new(facts.nodes(), edges).map_err(shape)?;
    let walked = walks::Facts::new(triples().map(|(row, triple)| (*triple, weight(row))));
    let passages = ctx.input_opt("nodes");
    let passages = passages.map(|of| Passages::read(of, facts.nodes(), corpus.len()));
    let passages = passages.transpose()?.flatten();
    let usual = match passages {
        Some(_) => RESTART_WITH_PASSAGES,
        None => RESTART,
    };
    let walk = Walk {
        on: Arc::new(on.restart(restart.unwrap_or(usual))),
        matrix: Arc::clone(matrix),
        passages,
    };
    Ok((walk, walked))
}

/// An error of a shape, as an operator's error.
pub fn shape(e: BadShape) -> OpError {
    OpError::wrap("the inputs do not belong together", e)
}
