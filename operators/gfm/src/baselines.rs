//! Prepares the systems that need no training for an operator's questions: dense, BM25,
//! personalised PageRank and their fusion.

use std::sync::Arc;

use arrow::array::Array;
use gfm_pipe_api::artifact::check_made_from_texts_of;
use gfm_pipe_api::bm25::Bm25;
use gfm_pipe_api::vector_table::VectorTable;
use gfm_pipe_api::{Context, OpError, OpResult};
use gfm_pipe_eval::baselines::asked::{self, Asked, Fused, Scores, Walk};
use gfm_pipe_eval::baselines::dense::Dense;
use gfm_pipe_eval::baselines::ppr::Ppr;
use gfm_pipe_eval::features::fusion::Fusion;
use gfm_pipe_eval::systems::{
    BASELINES, BM25, DENSE, FUSED, PPR, RANKED_FUSION, RRF, System, Walking, listed,
};

use crate::edge_weights::weighted_triples;
use crate::inference::Inputs;
use gfm_pipe_model::loaded::EncoderId;

/// Systems that need no training, ready to be asked an operator's questions.
pub(crate) struct Baselines<'a> {
    inputs: &'a Inputs,
    walking: Walking,
    by: asked::Baselines,
}

impl<'a> Baselines<'a> {
    /// Prepares the systems that `wanted` selects and the connected ports allow. Logs which ones
    /// are left out.
    pub fn new(
        ctx: &Context,
        inputs: &'a Inputs,
        wanted: &dyn Fn(&System) -> bool,
        walking: Walking,
    ) -> OpResult<Self> {
        let connected = |port: &str| ctx.input_opt(port).is_some();
        let able = |system: &System| system.missing(&connected).is_empty();
        let mut systems = Vec::new();
        for system in BASELINES.into_iter().filter(|system| wanted(system)) {
            match system.missing(&connected).as_slice() {
                [] => systems.push(system),
                ports => ctx.info(format!(
                    "`{}` is left out: nothing is connected to {}",
                    system.name,
                    listed(ports)
                )),
            }
        }
        let has = |system: &System| systems.iter().any(|s| s.is(system));
        if has(&RRF) {
            let parts = RANKED_FUSION.iter().filter(|system| able(system));
            let parts: Vec<&str> = parts.map(|system| system.name).collect();
            if parts.len() < RANKED_FUSION.len() {
                ctx.info(format!("`rrf` fuses {} only", listed(&parts)));
            }
        }
        let uses = |system: &System| has(system) || (has(&RRF) && able(system));
        let ppr = || -> OpResult<_> {
            let on = inputs.on_graph()?;
            let nodes = on.input.graph.nodes();
            let walk = match weighted_triples(ctx, ctx.input("graph")?)? {
                Some(triples) => Ppr::new(nodes, triples.iter().copied()),
                None => {
                    let triples = on.input.graph.triples();
                    let edges = triples.iter().map(|[head, _, tail]| (*head, *tail, 1.0));
                    Ppr::new(nodes, edges)
                }
            };
            let matrix = Arc::clone(&on.matrix);
            Walk::of_stage(ctx, walk?, matrix, walking.restart)
        };
        let bm25 = || {
            let pairs = inputs.titles.iter().zip(&inputs.texts);
            let pairs = pairs.map(|(a, b)| (a.unwrap_or(""), b.unwrap_or("")));
            Arc::new(Bm25::new(pairs))
        };
        let by = asked::Baselines {
            dense: uses(&DENSE)
                .then(|| dense(ctx, inputs).map(Arc::new))
                .transpose()?,
            bm25: uses(&BM25).then(bm25),
            walk: uses(&PPR).then(ppr).transpose()?,
            fused: uses(&FUSED).then(|| fused(ctx, inputs)).transpose()?,
            pieces: inputs.pieces.clone(),
            systems,
        };
        Ok(Baselines {
            inputs,
            walking,
            by,
        })
    }

    /// The systems, in the order of [`BASELINES`].
    pub fn systems(&self) -> &[&'static System] {
        &self.by.systems
    }

    /// Asks all systems a question.
    pub fn ask(&self, question: usize) -> OpResult<Scores> {
        let questions = &self.inputs.questions;
        let starts = self
            .by
            .walk
            .as_ref()
            .map(|walk| questions.walk(question, &walk.matrix, self.walking.node_specificity));
        let asked = Asked {
            text: &questions.texts[question],
            embedding: match &self.by.dense {
                Some(_) => questions.embedding(question),
                None => &[],
            },
            starts: &starts.unwrap_or_default(),
            features: questions.features(question),
        };
        self.by.ask(asked)
    }
}

/// Reads the weights of features.
fn fused(ctx: &Context, inputs: &Inputs) -> OpResult<Fused> {
    Ok(Fused {
        by: Fusion::read(ctx.input("fusion")?)?,
        documents: inputs.titles.len(),
    })
}

/// Reads the embeddings of the corpus, which must have the encoder of the questions.
fn dense(ctx: &Context, inputs: &Inputs) -> OpResult<Dense> {
    let (corpus, artifact) = (ctx.input("corpus")?, ctx.input("corpus_embeddings")?);
    check_made_from_texts_of(artifact, corpus)?;
    let e = EncoderId::of_embeddings(artifact)?;
    let questions = &inputs.questions;
    if (&e.digest, e.dim) != (&questions.encoder_digest, questions.text_dim) {
        return Err(OpError::new(format!(
            "questions `{}` are embedded with {} ({} wide), the corpus with {} ({} wide)",
            questions.name, questions.encoder, questions.text_dim, e.name, e.dim
        ))
        .artifact(&artifact.name)
        .hint("give both `embed` stages the same `model`"));
    }
    Ok(Dense::of(Arc::new(VectorTable::read(artifact)?)))
}
