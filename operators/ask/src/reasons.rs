//! Why a document was found: paths of the model, and walks of personalised PageRank, in words.

use gfm_pipe_api::answer::Path;
use gfm_pipe_api::{OpError, OpResult};
use gfm_pipe_eval::paths;
use gfm_pipe_eval::systems::{MODEL, PPR, RRF};
use gfm_pipe_model::model::{Explained, Question, Retriever};

use crate::corpus::Corpus;
use crate::facts::Facts;
use crate::scoring::{Scored, Scoring};

/// Walks that the search keeps for each node and layer, as in GFM-RAG.
const BEAM: usize = 10;

/// What explains the documents of one question. The model's forward pass runs once for all of them.
pub struct Reasons<'a> {
    scoring: &'a Scoring,
    corpus: &'a Corpus,
    scored: &'a Scored,
    facts: &'a Facts,
    explained: Option<Explained<'a>>,
}

impl<'a> Reasons<'a> {
    /// Prepares explanations. `model` is the retriever of [`Scoring::model`], if that answered.
    /// `None` where the system has no paths.
    pub fn new(
        scoring: &'a Scoring,
        corpus: &'a Corpus,
        facts: Option<&'a Facts>,
        scored: &'a Scored,
        model: Option<&'a Retriever<'a>>,
    ) -> OpResult<Option<Self>> {
        let walks = [&MODEL, &PPR, &RRF].iter().any(|s| scored.system.is(s));
        let Some(facts) = facts.filter(|_| walks && !scored.seeds.is_empty()) else {
            return Ok(None);
        };
        let question = Question {
            embedding: &scored.embedding,
            seeds: &scored.seeds,
        };
        let explained = model.map(|model| model.explain(&question));
        Ok(Some(Reasons {
            explained: explained.transpose()?,
            scoring,
            corpus,
            scored,
            facts,
        }))
    }

    /// The paths of a document, the heaviest first, at most `most`. A document whose own node is a
    /// start has a path without steps.
    pub fn of(&self, document: u32, most: usize) -> OpResult<Vec<Path>> {
        if most == 0 {
            return Ok(Vec::new());
        }
        let pieces = self.corpus.pieces_of(document);
        let found = match (&self.explained, &self.scored.nodes, self.scoring.model()) {
            (Some(explained), Some(nodes), Some(model)) => {
                // The score of a document is that of its best piece; all have their own entities.
                let targets = pieces.clone().map(|piece| model.targets(nodes, piece));
                let best = targets.max_by(|a, b| mass(a, nodes).total_cmp(&mass(b, nodes)));
                explained.paths(&best.unwrap_or_default(), BEAM.max(most), most)?
            }
            _ => self.walks(pieces.clone(), most)?,
        };
        let mut out: Vec<Path> = found.into_iter().map(|path| self.worded(path)).collect();
        if let Some(weight) = self.started_at(pieces) {
            out.insert(
                0,
                Path {
                    weight,
                    steps: Vec::new(),
                },
            );
            out.truncate(most);
        }
        Ok(out)
    }

    fn worded(&self, path: paths::Path) -> Path {
        let steps = (1..).zip(path.steps);
        Path {
            weight: path.weight,
            steps: steps
                .map(|(layer, step)| self.facts.step(step, layer, self.corpus))
                .collect(),
        }
    }

    /// The walks of personalised PageRank to a document's own node, or to its entities.
    fn walks(&self, pieces: std::ops::Range<u32>, most: usize) -> OpResult<Vec<paths::Path>> {
        let Some(walk) = self.scoring.walk() else {
            return Ok(Vec::new());
        };
        let mut targets: Vec<u32> = match &walk.passages {
            Some(passages) => pieces.filter_map(|piece| passages.node(piece)).collect(),
            None => pieces
                .flat_map(|piece| self.facts.mentioned(piece).iter().copied())
                .collect(),
        };
        targets.sort_unstable();
        targets.dedup();
        walk.on
            .paths(&self.scored.seeds, &targets, self.scoring.walked(), most)
            .map_err(|e| OpError::wrap("the walks cannot be followed", e))
    }

    /// The weight with which the search started at a document's own node, if it did.
    fn started_at(&self, mut pieces: std::ops::Range<u32>) -> Option<f64> {
        let passages = self.scoring.walk()?.passages.as_ref()?;
        pieces.find_map(|piece| {
            let node = passages.node(piece)?;
            let seeds = &self.scored.seeds;
            let at = seeds.binary_search_by_key(&node, |s| s.0).ok()?;
            Some(seeds[at].1)
        })
    }
}

/// What targets add to the score of a document.
fn mass(targets: &[(u32, f64)], nodes: &[f64]) -> f64 {
    targets
        .iter()
        .map(|(node, factor)| nodes[*node as usize] * factor)
        .sum()
}
