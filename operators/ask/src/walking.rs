//! Personalised PageRank on a stage's graph.

use std::sync::Arc;

use gfm_pipe_api::{Context, OpResult};
use gfm_pipe_eval::baselines::asked::{Walk, edge_weights};
use gfm_pipe_eval::baselines::walks;
use gfm_pipe_eval::features::measure::Walks;

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
    let facts_walked = walks::Facts::new(Arc::clone(triples), weights);
    let on = facts_walked.graph(facts.nodes(), |_| true)?;
    let walk = Walk::of_stage(ctx, on, Arc::clone(facts.mentioning()), restart)?;
    Ok((walk, facts_walked))
}

/// The graph that scores are computed on.
#[derive(Default)]
pub struct Walked {
    /// Personalised PageRank on it.
    pub walk: Option<Walk>,
    /// The facts that its walks are shown by.
    pub facts: walks::Facts,
    /// Walks over some of its edges, for features.
    pub walks: Option<Walks>,
}

impl Walked {
    /// The graph of a stage, for features too if these are needed. For `restart` see [`walk_on`].
    ///
    /// # Errors
    /// When the inputs do not belong together.
    pub fn read(
        restart: Option<f64>,
        ctx: &Context,
        facts: &Facts,
        features: bool,
    ) -> OpResult<Self> {
        let (walk, facts) = walk_on(restart, ctx, facts)?;
        let walks = features
            .then(|| Walks::with(ctx, &walk, &facts))
            .transpose()?;
        Ok(Walked {
            walk: Some(walk),
            facts,
            walks,
        })
    }
}
