//! Ranks documents that were ingested in pieces by their best piece.

use gfm_pipe_api::{Artifact, OpError, OpResult, columns};

/// For each piece, the first piece of its document.
pub struct Pieces(Vec<u32>);

impl Pieces {
    /// Reads a `sources` artifact; `None` where every document is in one piece.
    ///
    /// # Errors
    /// When it lists another number of documents.
    pub fn read(sources: &Artifact, documents: usize) -> OpResult<Option<Pieces>> {
        let table = sources.read("sources")?;
        let parents = columns::u32s(&table, "parent")?.values().to_vec();
        if parents.len() != documents || parents.iter().any(|p| *p as usize >= documents) {
            return Err(OpError::new(format!(
                "there are sources of {} documents, and {documents} documents",
                parents.len()
            ))
            .artifact(&sources.name)
            .hint("connect `documents` and `sources` of the same `ingest-documents` stage"));
        }
        let whole = (0..).zip(&parents).all(|(id, parent)| id == *parent);
        Ok((!whole).then_some(Pieces(parents)))
    }

    /// The first piece of each of these pieces, for tests.
    #[cfg(test)]
    pub fn of(first: Vec<u32>) -> Pieces {
        Pieces(first)
    }

    /// Number of documents, of which pieces count once.
    pub fn documents(&self) -> usize {
        let firsts = (0..).zip(&self.0).filter(|(id, parent)| id == *parent);
        firsts.count()
    }

    /// Whether the pieces of each document are side by side, and the first of them comes first.
    pub fn in_order(&self) -> bool {
        let follow = (0..).zip(&self.0).all(|(piece, first)| *first <= piece);
        follow && self.0.is_sorted()
    }

    /// The first piece of a piece's document.
    pub fn first(&self, piece: u32) -> u32 {
        self.0.get(piece as usize).copied().unwrap_or(piece)
    }

    /// Sets the scores of later pieces to NaN, where the scores of first pieces are those of whole
    /// documents already.
    pub fn hide_later(&self, scores: &mut [f64]) {
        for (piece, parent) in self.0.iter().enumerate() {
            if *parent as usize != piece {
                scores[piece] = f64::NAN;
            }
        }
    }

    /// Sets the score of each document's first piece to the best score of its pieces, and the
    /// scores of the other pieces to NaN, which every ranking puts last.
    pub fn fold(&self, scores: &mut [f64]) {
        for (piece, parent) in self.0.iter().enumerate() {
            let parent = *parent as usize;
            if parent != piece {
                scores[parent] = scores[parent].max(scores[piece]);
                scores[piece] = f64::NAN;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rankers::NO_SCORE;
    use crate::{places, top};

    #[test]
    fn a_document_has_the_place_of_its_best_piece() {
        let pieces = Pieces(vec![0, 0, 2, 3, 3, 3]);
        let mut scores = [0.1, 0.9, 0.5, NO_SCORE, NO_SCORE, NO_SCORE];
        pieces.fold(&mut scores);
        assert_eq!(top(&scores, 3), [0, 2, 3]);
        assert_eq!(scores[0], 0.9);
        assert_eq!(pieces.documents(), 3);
        assert_eq!([0, 1, 2, 5, 9].map(|d| pieces.first(d)), [0, 0, 2, 3, 9]);
        assert_eq!(places(&scores, &[3, 2, 0]), [2, 1, 0]);
        // Folding again changes nothing.
        let mut again = scores;
        pieces.fold(&mut again);
        assert_eq!(top(&again, 6), top(&scores, 6));
    }
}
