//! Baselines for questions of an operator's inputs: dense, BM25, personalised PageRank and their
//! fusion.

use arrow::array::Array;
use gfm_pipe_api::bm25::Bm25;
use gfm_pipe_api::{Context, OpError, OpResult};
use gfm_pipe_eval::baselines::dense::Dense;
use gfm_pipe_eval::baselines::ppr::{Ppr, RESTART, RESTART_WITH_PASSAGES};
use gfm_pipe_eval::baselines::rrf::fuse;
use gfm_pipe_eval::rankers::SIMPLE;
use gfm_pipe_eval::systems::{BASELINES, BM25, DENSE, FUSED, PPR, RRF, System, Walking, listed};
use gfm_pipe_eval::{BadShape, EntityDocuments};

use crate::documents::Embeddings;
use crate::inference::Inputs;
use crate::passages::{Passages, weighted_triples};

/// Baselines, ready to be asked.
pub(crate) struct Baselines<'a> {
    inputs: &'a Inputs,
    /// Those of [`BASELINES`] that were wanted and can be asked, in that order.
    pub systems: Vec<&'static System>,
    walking: Walking,
    dense: Option<Dense>,
    bm25: Option<Bm25>,
    ppr: Option<Walk<'a>>,
}

/// Personalised PageRank and how it ranks documents.
struct Walk<'a> {
    on: Ppr,
    matrix: &'a EntityDocuments,
    /// Where documents are nodes.
    passages: Option<Passages>,
}

impl Walk<'_> {
    /// Scores of documents from the masses of nodes.
    fn documents(&self, masses: &[f64]) -> Vec<f64> {
        match &self.passages {
            Some(passages) => passages.ranking(masses),
            None => SIMPLE.whole().ranking(masses, self.matrix),
        }
    }
}

/// The scores of baselines for a question.
pub(crate) struct Scores {
    /// Scores of all documents by system, in the order of [`Baselines::systems`]; `None` where the
    /// question could not be asked.
    pub documents: Vec<Option<Vec<f64>>>,
    /// Masses of all entities, by personalised PageRank.
    pub entities: Option<Vec<f64>>,
}

impl<'a> Baselines<'a> {
    /// Makes those that `wanted` chooses and the stage's ports allow; reports which it leaves out.
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
            let parts = FUSED.iter().filter(|system| able(system));
            let parts: Vec<&str> = parts.map(|system| system.name).collect();
            if parts.len() < FUSED.len() {
                ctx.info(format!("`rrf` fuses {} only", listed(&parts)));
            }
        }
        let uses = |system: &System| has(system) || (has(&RRF) && able(system));
        let ppr = || -> OpResult<_> {
            let on = inputs.on_graph()?;
            let nodes = on.input.graph.nodes();
            let walk = match ctx.input_opt("edge_weights") {
                Some(weights) => Ppr::new(nodes, weighted_triples(ctx.input("graph")?, weights)?),
                None => {
                    let triples = on.input.graph.triples().into_iter();
                    Ppr::new(nodes, triples.map(|[head, _, tail]| (head, tail, 1.0)))
                }
            };
            let passages = ctx.input_opt("nodes");
            let passages = passages.map(|of| Passages::read(of, nodes, inputs.titles.len()));
            let passages = passages.transpose()?.flatten();
            let restart = match passages {
                Some(_) => RESTART_WITH_PASSAGES,
                None => RESTART,
            };
            let restart = walking.restart.unwrap_or(restart);
            Ok(Walk {
                on: walk.map_err(shape)?.restart(restart),
                matrix: &on.matrix,
                passages,
            })
        };
        let bm25 = || {
            let pairs = inputs.titles.iter().zip(&inputs.texts);
            Bm25::new(pairs.map(|(a, b)| (a.unwrap_or(""), b.unwrap_or(""))))
        };
        Ok(Baselines {
            dense: uses(&DENSE).then(|| dense(ctx, inputs)).transpose()?,
            bm25: uses(&BM25).then(bm25),
            ppr: uses(&PPR).then(ppr).transpose()?,
            inputs,
            systems,
            walking,
        })
    }

    /// Whether this system is asked.
    pub fn has(&self, system: &System) -> bool {
        self.systems.iter().any(|s| s.is(system))
    }

    /// Asks them a question.
    pub fn ask(&self, question: usize) -> OpResult<Scores> {
        let questions = &self.inputs.questions;
        let by_text = self
            .dense
            .as_ref()
            .map(|d| d.scores(questions.embedding(question)));
        let by_word = self
            .bm25
            .as_ref()
            .map(|b| b.scores(&questions.texts[question]));
        let walk = |walk: &Walk<'_>| {
            let starts = questions.walk(question, walk.matrix, self.walking.node_specificity);
            walk.on.masses(&starts)
        };
        let masses = self.ppr.as_ref().map(walk).transpose().map_err(shape)?;
        let entities = masses.flatten();
        let by_walk = self.ppr.as_ref().zip(entities.as_ref());
        let by_walk = by_walk.map(|(walk, masses)| walk.documents(masses));
        let whole = |scores: Option<Vec<f64>>| scores.map(|s| self.inputs.whole(s));
        let mut documents = vec![
            (&DENSE, whole(by_text.transpose().map_err(shape)?)),
            (&BM25, whole(by_word)),
            (&PPR, whole(by_walk)),
        ];
        if self.has(&RRF) {
            let parts: Vec<Option<&[f64]>> = documents.iter().map(|s| s.1.as_deref()).collect();
            documents.push((&RRF, whole(fuse(&parts))));
        }
        documents.retain(|(system, _)| self.has(system));
        Ok(Scores {
            documents: documents.into_iter().map(|(_, scores)| scores).collect(),
            entities,
        })
    }
}

/// Embeddings of the corpus, by the encoder of the questions.
fn dense(ctx: &Context, inputs: &Inputs) -> OpResult<Dense> {
    let (corpus, artifact) = (ctx.input("corpus")?, ctx.input("corpus_embeddings")?);
    let e = Embeddings::read(artifact, &corpus.texts()?, &corpus.name)?;
    let questions = &inputs.questions;
    if (&e.digest, e.dim) != (&questions.encoder_digest, questions.text_dim) {
        return Err(OpError::new(format!(
            "questions `{}` are embedded with {} ({} wide), the corpus with {} ({} wide)",
            questions.name, questions.encoder, questions.text_dim, e.encoder, e.dim
        ))
        .artifact(&artifact.name)
        .hint("give both `embed` stages the same `model`"));
    }
    Dense::new(e.dim, e.values).map_err(shape)
}

fn shape(e: BadShape) -> OpError {
    OpError::wrap("inputs do not belong together", e)
}
