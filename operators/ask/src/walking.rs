//! Personalised PageRank on a stage's graph.

use std::sync::Arc;

use gfm_pipe_api::{Context, OpError, OpResult};
use gfm_pipe_eval::BadShape;
use gfm_pipe_eval::baselines::asked::{Walk, edge_weights};
use gfm_pipe_eval::baselines::ppr::Ppr;
use gfm_pipe_eval::baselines::walks;

use crate::facts::Facts;

/// Personalised PageRank on the graph of a stage, and the facts that its walks are shown by.
/// `restart` is the probability of returning to the start, if it is not the usual one.
///
/// # Errors
/// When the inputs do not belong together.
pub fn walk_on(
    restart: Option<f64>,
    ctx: &Context,
    facts: &Facts,
) -> OpResult<(Walk, walks::Facts)> {
    let triples = facts.triples();
    let weights = edge_weights(ctx, triples.all.len())?;
    let weight = |row: usize| weights.as_ref().map_or(1.0, |w| f64::from(w[row]));
    let edges = triples.all.iter().enumerate();
    let edges = edges.map(|(row, [head, _, tail])| (*head, *tail, weight(row)));
    let on = Ppr::new(facts.nodes(), edges).map_err(shape)?;
    let walk = Walk::of_stage(ctx, on, Arc::clone(facts.mentioning()), restart)?;
    Ok((walk, walks::Facts::new(Arc::clone(triples), weights)))
}

/// An error of a shape, as an operator's error.
pub fn shape(e: BadShape) -> OpError {
    OpError::wrap("the inputs do not belong together", e)
}
