//! Scores of the documents of questions, by a model: from its scores of nodes, and from ranking
//! features if it has a head for them.

use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_eval::pieces::Pieces;
use gfm_pipe_eval::rankers::Ranker;
use gfm_pipe_model::model::FeatureWeights;
use gfm_pipe_model::questions::Questions;

/// How a model's scores of nodes become scores of documents.
pub(crate) struct DocumentScores<'a> {
    pub ranker: Ranker,
    /// The head of features, if the model has one.
    pub head: Option<FeatureWeights>,
    pub matrix: &'a EntityDocuments,
    pub questions: &'a Questions,
    /// Which documents are pieces of the same document, if any are.
    pub pieces: Option<&'a Pieces>,
}

impl DocumentScores<'_> {
    /// The scores for question `i`, from the scores of nodes. A document in pieces has the score of
    /// its best piece.
    pub fn of(&self, i: usize, nodes: &[f64]) -> Vec<f64> {
        let mut network = self.ranker.ranking(nodes, self.matrix);
        if let Some(pieces) = self.pieces {
            pieces.fold(&mut network);
        }
        match self.head.as_ref().zip(self.questions.features(i)) {
            Some((head, features)) => head.documents(features, Some(network), self.documents()),
            None => network,
        }
    }

    /// The scores for question `i` if it has no node to start from: those of features alone; `None`
    /// without features.
    pub fn without_nodes(&self, i: usize) -> Option<Vec<f64>> {
        let (head, features) = self.head.as_ref().zip(self.questions.features(i))?;
        let mut scores = head.documents(features, None, self.documents());
        if let Some(pieces) = self.pieces {
            pieces.hide_later(&mut scores);
        }
        Some(scores)
    }

    fn documents(&self) -> usize {
        self.matrix.num_documents()
    }
}
