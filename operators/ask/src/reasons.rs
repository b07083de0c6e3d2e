//! Why a document was found: paths of the model, and walks of personalised PageRank, in words.

use std::ops::Range;

use gfm_pipe_api::answer::Path;
use gfm_pipe_api::{OpError, OpResult};
use gfm_pipe_eval::baselines::asked::Walk;
use gfm_pipe_eval::baselines::walks;
use gfm_pipe_eval::paths;
use gfm_pipe_model::model::{Explained, Question, Retriever};

use crate::corpus::Corpus;
use crate::facts::Facts;
use crate::on_graph::OnGraph;

/// Walks that the search keeps for each node and layer, as in GFM-RAG.
const BEAM: usize = 10;

/// What paths are found in, and shown by.
#[derive(Clone, Copy)]
pub struct Grounds<'a> {
    pub corpus: &'a Corpus,
    pub facts: &'a Facts,
    /// The walk of personalised PageRank on the facts.
    pub walk: &'a Walk,
    pub walked: &'a walks::Facts,
}

/// What explains the documents of one question. The model's forward pass runs once for all of them.
pub struct Reasons<'a> {
    on: Grounds<'a>,
    seeds: &'a [(u32, f64)],
    by_model: Option<(&'a OnGraph, Explained<'a>)>,
}

impl<'a> Reasons<'a> {
    /// Prepares explanations of a question that the model answered.
    ///
    /// # Errors
    /// When the model cannot score it.
    pub fn by_model(
        on: Grounds<'a>,
        model: &'a OnGraph,
        retriever: &'a Retriever<'a>,
        question: &Question<'a>,
    ) -> OpResult<Self> {
        let explained = retriever.explain(question)?;
        Ok(Reasons {
            on,
            seeds: question.seeds,
            by_model: Some((model, explained)),
        })
    }

    /// Prepares explanations of a question that personalised PageRank answered.
    pub fn by_walk(on: Grounds<'a>, seeds: &'a [(u32, f64)]) -> Self {
        Reasons {
            on,
            seeds,
            by_model: None,
        }
    }

    /// The model's scores of all nodes.
    pub fn nodes(&self) -> Option<&[f64]> {
        Some(self.by_model.as_ref()?.1.scores())
    }

    /// The paths of a document, at most `most`. Where the search started at the document's own
    /// node, or at an entity by which it is found, the first path has no steps, and its weight is
    /// that of the start. The others follow, the heaviest first.
    pub fn of(&self, document: u32, most: usize) -> OpResult<Vec<Path>> {
        if most == 0 {
            return Ok(Vec::new());
        }
        let pieces = self.on.corpus.pieces_of(document);
        let (found, nodes) = match &self.by_model {
            Some((model, explained)) => {
                // The score of a document is that of its best piece; all have their own entities.
                let scores = explained.scores();
                let targets = pieces.map(|piece| model.targets(scores, piece));
                let best = targets.max_by(|a, b| mass(a, scores).total_cmp(&mass(b, scores)));
                let best = best.unwrap_or_default();
                let counting = best.iter().filter(|t| t.1 != 0.0).map(|t| t.0);
                let found = explained.paths(&best, BEAM.max(most), most)?;
                (found, counting.collect())
            }
            None => {
                let nodes = self.nodes_of(pieces);
                let walk = &self.on.walk.on;
                let found = walk.paths(self.seeds, &nodes, self.on.walked, most);
                let found = found.map_err(|e| OpError::wrap("the walks cannot be followed", e))?;
                (found, nodes)
            }
        };
        let mut out: Vec<Path> = found.into_iter().map(|path| self.worded(path)).collect();
        if let Some(weight) = self.started_at(&nodes) {
            let steps = Vec::new();
            out.insert(0, Path { weight, steps });
            out.truncate(most);
        }
        Ok(out)
    }

    fn worded(&self, path: paths::Path) -> Path {
        let steps = (1..).zip(path.steps);
        Path {
            weight: path.weight,
            steps: steps
                .map(|(layer, step)| self.on.facts.step(step, layer, self.on.corpus))
                .collect(),
        }
    }

    /// The own nodes of pieces, where documents are nodes, or else the entities that they mention.
    fn nodes_of(&self, pieces: Range<u32>) -> Vec<u32> {
        let mut nodes: Vec<u32> = match &self.on.walk.passages {
            Some(passages) => pieces.filter_map(|piece| passages.node(piece)).collect(),
            None => pieces
                .flat_map(|piece| self.on.facts.mentioned(piece).iter().copied())
                .collect(),
        };
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// The largest weight with which the search started at one of these nodes.
    fn started_at(&self, nodes: &[u32]) -> Option<f64> {
        let starts = self.seeds.iter().filter(|s| nodes.contains(&s.0));
        starts.map(|s| s.1).max_by(f64::total_cmp)
    }
}

/// What targets add to the score of a document.
fn mass(targets: &[(u32, f64)], nodes: &[f64]) -> f64 {
    targets
        .iter()
        .map(|(node, factor)| nodes[*node as usize] * factor)
        .sum()
}
