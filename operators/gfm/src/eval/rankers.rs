//! From entity scores to document scores.
//!
//! A document's score is a sum over the entities it mentions. Sums are taken in f64 in ascending order of entities, so that
//! documents with the same contributions tie also in f32, and ties then go by lower id.

use num_traits::Float;

use super::{EntityDocuments, top};

/// What a document that mentions no entity is ranked by: after all others, by id among its like.
pub const NO_SCORE: f64 = f64::NEG_INFINITY;

/// How entity scores become document scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranker {
    /// The scores of its entities.
    Simple,
    /// Scores times 1 / number of documents of the entity.
    Idf,
    /// 1 for each of the k best entities.
    TopK(usize),
    /// 1 / number of documents for each of the k best entities.
    IdfTopK(usize),
}

impl Ranker {
    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Ranker::Simple => "simple",
            Ranker::Idf => "idf",
            Ranker::TopK(_) => "topk",
            Ranker::IdfTopK(_) => "idf_topk",
        }
    }

    /// The ranker of that name; `k` counts where it has one.
    pub fn from_name(name: &str, k: usize) -> Option<Ranker> {
        match name {
            "simple" => Some(Ranker::Simple),
            "idf" => Some(Ranker::Idf),
            "topk" => Some(Ranker::TopK(k)),
            "idf_topk" => Some(Ranker::IdfTopK(k)),
            _ => None,
        }
    }

    /// Scores to rank documents by: those of [`Ranker::documents`], with [`NO_SCORE`] for documents
    /// that mention no entity. Their sums are 0, which says nothing about them, and scores are
    /// mostly negative: as they are, such documents would come first.
    pub fn ranking<T: Float>(self, scores: &[T], matrix: &EntityDocuments) -> Vec<T> {
        let mut out = self.documents(scores, matrix);
        for &document in matrix.without_entities() {
            out[document as usize] = T::neg_infinity();
        }
        out
    }

    /// Scores of all documents for one question, as the reference gives them; `scores` has one
    /// value an entity.
    pub fn documents<T: Float>(self, scores: &[T], matrix: &EntityDocuments) -> Vec<T> {
        let mut sums = vec![0.0f64; matrix.num_documents()];
        let mut add = |entity: u32, value: f64| {
            for &document in matrix.documents(entity) {
                sums[document as usize] += value;
            }
        };
        let rows = (0..=u32::MAX).zip(scores).take(matrix.num_entities());
        match self {
            Ranker::Simple => rows.for_each(|(e, s)| add(e, s.to_f64().unwrap_or(f64::NAN))),
            Ranker::Idf => rows.for_each(|(e, s)| {
                add(e, s.to_f64().unwrap_or(f64::NAN) * matrix.weight(e));
            }),
            Ranker::TopK(k) | Ranker::IdfTopK(k) => {
                let mut best = top(&scores[..scores.len().min(matrix.num_entities())], k);
                best.sort_unstable();
                for e in best {
                    let value = match self {
                        Ranker::TopK(_) => 1.0,
                        _ => matrix.weight(e),
                    };
                    add(e, value);
                }
            }
        }
        sums.into_iter()
            .map(|x| T::from(x).unwrap_or_else(T::nan))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Entity 0 in documents 0, 1; entity 1 in 1; entity 2 in none; entity 3 in 0, 1, 2 and 3.
    fn matrix() -> EntityDocuments {
        let pairs = [(0, 0), (0, 1), (1, 1), (3, 0), (3, 1), (3, 2), (3, 3)];
        EntityDocuments::from_pairs(4, 5, pairs).unwrap()
    }

    #[test]
    fn hand_computed_scores() {
        let scores = [2.0, -1.0, 9.0, 4.0];
        let m = matrix();
        assert_eq!(
            Ranker::Simple.documents(&scores, &m),
            [6.0, 5.0, 4.0, 4.0, 0.0]
        );
        // 2 / 2, -1 / 1, 4 / 4.
        assert_eq!(
            Ranker::Idf.documents(&scores, &m),
            [2.0, 1.0, 1.0, 1.0, 0.0]
        );
        // Best three: entities 2 (in no document), 3, 0.
        assert_eq!(
            Ranker::TopK(3).documents(&scores, &m),
            [2.0, 2.0, 1.0, 1.0, 0.0]
        );
        assert_eq!(
            Ranker::IdfTopK(3).documents(&scores, &m),
            [0.75, 0.75, 0.25, 0.25, 0.0]
        );
        assert_eq!(
            Ranker::IdfTopK(100).documents(&scores, &m),
            [0.75, 1.75, 0.25, 0.25, 0.0]
        );
    }

    #[test]
    fn documents_without_entities_come_last() {
        // Documents 0 and 3 mention nothing, 1 and 2 entities with negative scores.
        let m = EntityDocuments::from_pairs(2, 4, [(0, 1), (1, 2)]).unwrap();
        let scores = [-3.0f64, -1.0];
        for (ranker, order) in [
            (Ranker::Simple, [2, 1, 0, 3]),
            (Ranker::Idf, [2, 1, 0, 3]),
            // Of entities beyond the first, the document has 0 like those without any.
            (Ranker::TopK(1), [2, 1, 0, 3]),
            (Ranker::IdfTopK(1), [2, 1, 0, 3]),
        ] {
            let placed = ranker.ranking(&scores, &m);
            assert_eq!(top(&placed, 4), order, "{}", ranker.name());
            assert_eq!((placed[0], placed[3]), (NO_SCORE, NO_SCORE));
            // The reference's scores stay what they are.
            assert_eq!(ranker.documents(&scores, &m)[0], 0.0);
        }
        // Masses of PageRank that do not reach a document do not tie with it.
        let masses = [1.0, 0.0];
        assert_eq!(top(&Ranker::Simple.ranking(&masses, &m), 4), [1, 2, 0, 3]);
    }

    #[test]
    fn tied_entities_are_taken_by_lower_id() {
        let scores = [1.0f32, 1.0, 1.0, 1.0];
        assert_eq!(
            Ranker::TopK(2).documents(&scores, &matrix()),
            [1.0, 2.0, 0.0, 0.0, 0.0]
        );
    }

    #[test]
    fn names_go_both_ways() {
        for ranker in [
            Ranker::Simple,
            Ranker::Idf,
            Ranker::TopK(7),
            Ranker::IdfTopK(7),
        ] {
            assert_eq!(Ranker::from_name(ranker.name(), 7), Some(ranker));
        }
        assert_eq!(Ranker::from_name("other", 7), None);
    }
}
