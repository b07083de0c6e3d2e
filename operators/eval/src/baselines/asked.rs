//! All systems that need no training, asked together.

use std::sync::Arc;

use gfm_pipe_api::bm25::Bm25;

use super::dense::Dense;
use super::ppr::Ppr;
use super::rrf::fuse;
use crate::passages::Passages;
use crate::pieces::Pieces;
use crate::rankers::SIMPLE;
use crate::systems::{BM25, DENSE, PPR, RRF, System};
use crate::{BadShape, EntityDocuments};

/// Systems that need no training, ready to be asked.
pub struct Baselines {
    /// Those to ask, in the order of [`crate::systems::BASELINES`].
    pub systems: Vec<&'static System>,
    /// Needed by dense, and by rrf where it takes part.
    pub dense: Option<Dense>,
    /// Likewise for bm25.
    pub bm25: Option<Arc<Bm25>>,
    /// Likewise for ppr.
    pub walk: Option<Walk>,
    /// Which documents are pieces of the same document, if any are.
    pub pieces: Option<Arc<Pieces>>,
}

/// Personalised PageRank and how it ranks documents.
pub struct Walk {
    /// The graph to walk on.
    pub on: Ppr,
    /// Which documents mention a node.
    pub matrix: Arc<EntityDocuments>,
    /// The nodes of documents, if documents are nodes.
    pub passages: Option<Passages>,
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
    /// Scores of documents from the masses of nodes.
    fn documents(&self, masses: &[f64]) -> Vec<f64> {
        match &self.passages {
            Some(passages) => passages.ranking(masses),
            None => SIMPLE.whole().ranking(masses, &self.matrix),
        }
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
    pub fn ask(&self, question: Asked<'_>) -> Result<Scores, BadShape> {
        let by_text = self.dense.as_ref().map(|d| d.scores(question.embedding));
        let by_word = self.bm25.as_ref().map(|b| b.scores(question.text));
        let masses = self.walk.as_ref().map(|w| w.on.masses(question.starts));
        let entities = masses.transpose()?.flatten();
        let by_walk = self.walk.as_ref().zip(entities.as_ref());
        let by_walk = by_walk.map(|(walk, masses)| walk.documents(masses));
        let whole = |mut scores: Vec<f64>| {
            if let Some(pieces) = &self.pieces {
                pieces.fold(&mut scores);
            }
            scores
        };
        let mut documents = vec![
            (&DENSE, by_text.transpose()?.map(whole)),
            (&BM25, by_word.map(whole)),
            (&PPR, by_walk.map(whole)),
        ];
        if self.has(&RRF) {
            let parts: Vec<Option<&[f64]>> = documents.iter().map(|s| s.1.as_deref()).collect();
            documents.push((&RRF, fuse(&parts).map(whole)));
        }
        documents.retain(|(system, _)| self.has(system));
        Ok(Scores {
            documents: documents.into_iter().map(|(_, scores)| scores).collect(),
            entities,
        })
    }
}
