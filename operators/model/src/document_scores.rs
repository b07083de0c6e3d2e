//! Scores of the documents of questions, by a model: from its scores of nodes, and from ranking
//! features if it has a head for them.

use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_eval::features::of_question::QuestionFeatures;
use gfm_pipe_eval::pieces::Pieces;
use gfm_pipe_eval::rankers::Ranker;

use crate::model::FeatureWeights;

/// How a model's scores of nodes become scores of documents.
#[derive(Clone, Copy)]
pub struct DocumentScores<'a> {
    /// The ranker of documents.
    pub ranker: Ranker,
    /// The head of features, if the model has one.
    pub head: Option<&'a FeatureWeights>,
    /// Which documents mention a node.
    pub matrix: &'a EntityDocuments,
    /// Which documents are pieces of the same document, if any are.
    pub pieces: Option<&'a Pieces>,
}

impl DocumentScores<'_> {
    /// The scores for a question, from the scores of nodes and, if the model has a head, the
    /// question's features. A document in pieces has the score of its best piece.
    pub fn of(&self, nodes: &[f64], features: Option<&QuestionFeatures>) -> Vec<f64> {
        let mut network = self.ranker.ranking(nodes, self.matrix);
        if let Some(pieces) = self.pieces {
            pieces.fold(&mut network);
        }
        match self.head.zip(features) {
            Some((head, features)) => head.documents(features, Some(network), self.documents()),
            None => network,
        }
    }

    /// The scores for a question that has no node to start from: those of features alone; `None`
    /// without features.
    pub fn without_nodes(&self, features: Option<&QuestionFeatures>) -> Option<Vec<f64>> {
        let (head, features) = self.head.zip(features)?;
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
