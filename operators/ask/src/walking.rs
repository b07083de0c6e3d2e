//! Personalised PageRank on a stage's graph.

use std::sync::Arc;

use gfm_pipe_api::{Context, OpError, OpResult};
use gfm_pipe_eval::baselines::asked::{Walk, edge_weights};
use gfm_pipe_eval::baselines::ppr::Ppr;
use gfm_pipe_eval::baselines::walks;
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
    matrix: &Arc<EntityDocuments>,
) -> OpResult<(Walk, walks::Facts)> {
    let weights = edge_weights(ctx, facts.triples().len())?;
    let weight = |row: usize| weights.as_ref().map_or(1.0, |w| f64::from(w[row]));
    let triples = || facts.triples().iter().enumerate();
    let edges = triples().map(|(row, [head, _, tail])| (*head, *tail, weight(row)));
    let on = Ppr::new(facts.nodes(), edges).map_err(shape)?;
    let walked = walks::Facts::new(triples().map(|(row, triple)| (*triple, weight(row))));
    let walk = Walk::of_stage(ctx, on, Arc::clone(matrix), restart)?;
    Ok((walk, walked))
}

/// An error of a shape, as an operator's error.
pub fn shape(e: BadShape) -> OpError {
    OpError::wrap("the inputs do not belong together", e)
}
