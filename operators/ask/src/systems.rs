//! Which system ranks documents, by what there is.

use gfm_pipe_eval::features::fusion::Fusion;
use gfm_pipe_eval::features::rely_on_walks;
use gfm_pipe_eval::systems::{BM25, FUSED, MODEL, PPR, RRF, System};

/// What a stage's inputs allow.
pub struct Systems<'a> {
    /// Whether there is a model.
    pub model: bool,
    /// Weights of features.
    pub fused: Option<&'a Fusion>,
    /// Whether there is a graph.
    pub graph: bool,
    /// Whether there are embeddings of documents.
    pub dense: bool,
}

impl Systems<'_> {
    /// The best system for questions with a start.
    pub fn best(&self) -> &'static System {
        let fused = self.fused;
        let fused = fused.is_some_and(|by| !rely_on_walks(&by.weights) || self.graph);
        let best = [
            (&MODEL, self.model),
            (&FUSED, fused),
            (&PPR, self.graph),
            (&RRF, self.dense),
        ];
        let best = best.into_iter().find(|(_, able)| *able);
        best.map_or(&BM25, |(system, _)| system)
    }
}
