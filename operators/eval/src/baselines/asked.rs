//! All systems that need no training, asked together.

use std::sync::Arc;

use gfm_pipe_api::bm25::Bm25;
use gfm_pipe_api::{Context, OpError, OpResult, columns};

use super::dense::Dense;
use super::ppr::{Ppr, RESTART, RESTART_WITH_PASSAGES};
use super::rrf::fuse;
use crate::EntityDocuments;
use crate::features::fusion::Fusion;
use crate::features::of_question::QuestionFeatures;
use crate::numbers::{self, Numbers};
use crate::passages::Passages;
use crate::pieces::Pieces;
use crate::rankers::SIMPLE;
use crate::systems::{BM25, DENSE, FUSED, PPR, RRF, System};

/// Systems that need no training, ready to be asked.
pub struct Baselines {
    /// Those to ask, in the order of [`crate::systems::BASELINES`].
    pub systems: Vec<&'static System>,
    /// Needed by dense, and by rrf where it takes part.
    pub dense: Option<Arc<Dense>>,
    /// Likewise for bm25.
    pub bm25: Option<Arc<Bm25>>,
    /// Likewise for ppr.
    pub walk: Option<Walk>,
    /// Needed by fused.
    pub fused: Option<Fused>,
    /// Which documents are pieces of the same document, if any are.
    pub pieces: Option<Arc<Pieces>>,
}

/// Personalised PageRank and how it ranks documents.
pub struct Walk {
    /// The graph to walk on.
    pub on: Arc<Ppr>,
    /// Which documents mention a node.
    pub matrix: Arc<EntityDocuments>,
    /// The nodes of documents, if documents are nodes.
    pub passages: Option<Passages>,
}

/// The weights of the port `edge_weights`, by triple; `None` if it is not connected.
///
/// # Errors
/// When the number of weights differs from this number of triples.
pub fn edge_weights(ctx: &Context, triples: usize) -> OpResult<Option<Numbers<f32>>> {
    let Some(artifact) = ctx.input_opt("edge_weights") else {
        return Ok(None);
    };
    let rows = artifact.rows("edge_weights")?;
    if rows != triples {
        return Err(OpError::new(format!(
            "there are {rows} weights, but the graph has {triples} triples",
        ))
        .artifact(&artifact.name)
        .hint("connect `edge_weights` of the stage whose triples the graph has"));
    }
    let mut weights = numbers::Builder::new(rows, |weight: f32| u64::from(weight.to_bits()));
    for batch in artifact.batches("edge_weights")? {
        let batch = batch?;
        let of_batch = columns::f32s(&batch, "weight")?.values().iter();
        of_batch.for_each(|weight| weights.push(*weight));
    }
    Ok(Some(weights.finish()))
}

/// Weights of features, and how many documents they rank.
pub struct Fused {
    /// The weights.
    pub by: Fusion,
    /// Number of documents.
    pub documents: usize,
}

/// A question as these systems need it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its text.
    pub text: &'a str,
    /// The embedding of its text.
    pub embedding: &'a [f32],
    /// The nodes that the walk starts from, with their weights.
    pub starts: &'a [(u32, f64)],
    /// The features of its documents, for fused.
    pub features: Option<&'a QuestionFeatures>,
}

/// The scores for a question.
pub struct Scores {
    /// Scores of all documents by system, in the order of [`Baselines::systems`]; `None` where the
    /// question could not be asked.
    pub documents: Vec<Option<Vec<f64>>>,
    /// Masses of all nodes, by personalised PageRank.
    pub entities: Option<Vec<f64>>,
}

impl Walk {
    /// A walk on the graph of a stage, whose port `nodes` says which documents are nodes. `restart`
    /// is the probability of returning to the start, if it is not the usual one.
    ///
    /// # Errors
    /// When `nodes` is of another graph or of other documents.
    pub fn of_stage(
        ctx: &Context,
        on: Ppr,
        matrix: Arc<EntityDocuments>,
        restart: Option<f64>,
    ) -> OpResult<Walk> {
        let passages = ctx.input_opt("nodes");
        let passages = passages.map(|of| Passages::read(of, on.nodes(), matrix.num_documents()));
        let passages = passages.transpose()?.flatten();
        let usual = match passages {
            Some(_) => RESTART_WITH_PASSAGES,
            None => RESTART,
        };
        Ok(Walk {
            on: Arc::new(on.restart(restart.unwrap_or(usual))),
            matrix,
            passages,
        })
    }

    /// Scores of documents from the masses of nodes. Each document has the score of its best piece.
    pub fn documents(&self, masses: &[f64], pieces: Option<&Pieces>) -> Vec<f64> {
        let mut scores = match &self.passages {
            Some(passages) => passages.ranking(masses),
            None => SIMPLE.whole().ranking(masses, &self.matrix),
        };
        if let Some(pieces) = pieces {
            pieces.fold(&mut scores);
        }
        scores
    }
}

impl Baselines {
    /// Whether this system is among them.
    pub fn has(&self, system: &System) -> bool {
        self.systems.iter().any(|s| s.is(system))
    }

    /// Asks all systems a question.
    ///
    /// # Errors
    /// When the embedding has another length than those of the documents, or a start is not a node.
    pub fn ask(&self, question: Asked<'_>) -> OpResult<Scores> {
        let (mut documents, entities) = self.parts(question, &|_| true)?;
        if self.has(&RRF) {
            documents.push((&RRF, self.by_ranks(&documents)));
        }
        if self.has(&FUSED) {
            documents.push((&FUSED, self.by_features(&question)));
        }
        documents.retain(|(system, _)| self.has(system));
        Ok(Scores {
            documents: documents.into_iter().map(|(_, scores)| scores).collect(),
            entities,
        })
    }

    /// Asks one system a question, and computes nothing that it does not need. It need not be among
    /// [`Baselines::systems`].
    ///
    /// # Errors
    /// See [`Baselines::ask`].
    pub fn ask_one(&self, system: &System, question: Asked<'_>) -> OpResult<Option<Vec<f64>>> {
        if system.is(&FUSED) {
            return Ok(self.by_features(&question));
        }
        let (parts, _) = self.parts(question, &|s| system.is(s) || system.is(&RRF))?;
        if system.is(&RRF) {
            return Ok(self.by_ranks(&parts));
        }
        let own = parts.into_iter().find(|(s, _)| system.is(s));
        Ok(own.and_then(|(_, scores)| scores))
    }

    /// The scores of the systems that are not made from others and that are wanted, and the masses
    /// of nodes by personalised PageRank.
    fn parts(
        &self,
        question: Asked<'_>,
        wanted: &dyn Fn(&System) -> bool,
    ) -> OpResult<(Vec<Part>, Option<Vec<f64>>)> {
        let dense = self.dense.as_ref().filter(|_| wanted(&DENSE));
        let bm25 = self.bm25.as_ref().filter(|_| wanted(&BM25));
        let walk = self.walk.as_ref().filter(|_| wanted(&PPR));
        let by_text = dense.map(|d| d.scores(question.embedding)).transpose()?;
        let by_word = bm25.map(|b| b.scores(question.text));
        let masses = walk.map(|w| w.on.masses(question.starts)).transpose()?;
        let masses = masses.flatten();
        let by_walk = walk.zip(masses.as_ref());
        let by_walk = by_walk.map(|(walk, masses)| walk.documents(masses, self.pieces.as_deref()));
        let parts: Vec<Part> = vec![
            (&DENSE, by_text.map(|s| self.whole(s))),
            (&BM25, by_word.map(|s| self.whole(s))),
            (&PPR, by_walk),
        ];
        Ok((parts, masses))
    }

    fn by_features(&self, question: &Asked<'_>) -> Option<Vec<f64>> {
        let (fused, features) = self.fused.as_ref().zip(question.features)?;
        let pieces = self.pieces.as_deref();
        Some(fused.by.scores(features, fused.documents, pieces))
    }

    fn by_ranks(&self, parts: &[Part]) -> Option<Vec<f64>> {
        let parts: Vec<Option<&[f64]>> = parts.iter().map(|s| s.1.as_deref()).collect();
        fuse(&parts).map(|scores| self.whole(scores))
    }

    /// Gives each document the score of its best piece.
    fn whole(&self, mut scores: Vec<f64>) -> Vec<f64> {
        if let Some(pieces) = &self.pieces {
            pieces.fold(&mut scores);
        }
        scores
    }
}

/// A system, and its scores of all documents; `None` where the question could not be asked.
type Part = (&'static System, Option<Vec<f64>>);
