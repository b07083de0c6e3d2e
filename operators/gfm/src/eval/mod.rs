//! Retrieval systems beside the model, and how good a ranking is.
//!
//! Everything here is a pure function of numbers: entity scores to document scores ([`rankers`]),
//! baselines ([`dense`], [`ppr`], [`rrf`]), metrics of a question ([`metrics`]), groups of
//! questions ([`groups`]), and how sure their means are ([`bootstrap`]). Nothing reads an artifact,
//! holds a tensor or knows an operator.
//!
//! Invariant: equal scores are ordered by lower id, everywhere, and no result depends on the number of threads: each question is
//! computed by one thread, in one order, with f64 sums. Callers may run questions in parallel.

use std::cmp::Ordering;

use num_traits::Float;

pub mod bootstrap;
pub mod dense;
pub mod groups;
pub mod metrics;
pub mod ppr;
pub mod rankers;
pub mod rrf;

#[cfg(test)]
mod parity_tests;

/// Numbers that do not belong together: lengths, ids out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadShape(pub String);

/// Higher score first, then lower id; NaN comes after every number, and 0.0 equals -0.0.
fn by_score<T: Float>(scores: &[T], a: u32, b: u32) -> Ordering {
    let (x, y) = (scores[a as usize], scores[b as usize]);
    y.partial_cmp(&x)
        .unwrap_or_else(|| x.is_nan().cmp(&y.is_nan()))
        .then(a.cmp(&b))
}

/// Ids of the `k` best scores, best first.
pub fn top<T: Float>(scores: &[T], k: usize) -> Vec<u32> {
    // Ids are u32 throughout; a longer slice has no ids beyond them.
    let mut ids: Vec<u32> = (0..=u32::MAX).zip(scores).map(|(id, _)| id).collect();
    let k = k.min(ids.len());
    if k == 0 {
        return Vec::new();
    }
    if k < ids.len() {
        ids.select_nth_unstable_by(k - 1, |&a, &b| by_score(scores, a, b));
        ids.truncate(k);
    }
    ids.sort_unstable_by(|&a, &b| by_score(scores, a, b));
    ids
}

/// Zero-based places of some items in the ranking of all, in the order the items are given.
pub fn places<T: Float>(scores: &[T], items: &[u32]) -> Vec<usize> {
    items
        .iter()
        .map(|&item| {
            (0..=u32::MAX)
                .zip(scores)
                .filter(|(id, _)| by_score(scores, *id, item) == Ordering::Less)
                .count()
        })
        .collect()
}

/// Which documents mention an entity: a 0/1 matrix in CSR form, one row an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityDocuments {
    offsets: Vec<usize>,
    documents: Vec<u32>,
    num_documents: usize,
    /// Documents that mention no entity, ascending.
    bare: Vec<u32>,
}

impl EntityDocuments {
    /// From (entity, document) pairs in any order; a pair given twice counts once.
    ///
    /// # Errors
    /// When an id is out of range.
    pub fn from_pairs(
        num_entities: usize,
        num_documents: usize,
        pairs: impl IntoIterator<Item = (u32, u32)>,
    ) -> Result<Self, BadShape> {
        let mut pairs: Vec<(u32, u32)> = pairs.into_iter().collect();
        for (entity, document) in &pairs {
            if *entity as usize >= num_entities || *document as usize >= num_documents {
                return Err(BadShape(format!(
                    "pair (entity {entity}, document {document}) is outside of {num_entities} entities and {num_documents} documents"
                )));
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        let mut offsets = vec![0; num_entities + 1];
        for (entity, _) in &pairs {
            offsets[*entity as usize + 1] += 1;
        }
        for i in 0..num_entities {
            offsets[i + 1] += offsets[i];
        }
        let mut mentions = vec![false; num_documents];
        for (_, document) in &pairs {
            mentions[*document as usize] = true;
        }
        let ids = (0..=u32::MAX).zip(mentions);
        Ok(EntityDocuments {
            offsets,
            documents: pairs.into_iter().map(|p| p.1).collect(),
            num_documents,
            bare: ids.filter(|(_, any)| !any).map(|(id, _)| id).collect(),
        })
    }

    /// Number of entities.
    pub fn num_entities(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of documents.
    pub fn num_documents(&self) -> usize {
        self.num_documents
    }

    /// Documents that mention an entity, ascending.
    pub fn documents(&self, entity: u32) -> &[u32] {
        let entity = entity as usize;
        &self.documents[self.offsets[entity]..self.offsets[entity + 1]]
    }

    /// Documents that mention no entity, ascending.
    pub fn without_entities(&self) -> &[u32] {
        &self.bare
    }

    /// 1 / number of documents that mention the entity; 0 where none does.
    pub fn weight(&self, entity: u32) -> f64 {
        match self.documents(entity).len() {
            0 => 0.0,
            n => 1.0 / n as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ties_go_to_the_lower_id_and_nan_is_last() {
        let scores = [0.5, f64::NAN, 0.0, 2.0, -0.0, 0.5, f64::NAN];
        assert_eq!(top(&scores, 9), [3, 0, 5, 2, 4, 1, 6]);
        assert_eq!(top(&scores, 2), [3, 0]);
        assert_eq!(places(&scores, &[5, 1, 4]), [2, 5, 4]);
        assert!(top::<f32>(&[], 3).is_empty());
        assert!(top(&scores, 0).is_empty());
    }

    proptest! {
        #[test]
        fn places_and_top_agree_with_a_stable_sort(
            scores in prop::collection::vec(0u8..6, 1..40), k in 0usize..45,
        ) {
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let mut order: Vec<u32> = (0..scores.len() as u32).collect();
            order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
            prop_assert_eq!(&top(&scores, k), &order[..k.min(order.len())]);
            let place = places(&scores, &order);
            prop_assert_eq!(place, (0..order.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn pairs_become_rows_and_bad_ids_are_refused() {
        let m = EntityDocuments::from_pairs(3, 2, [(2, 1), (0, 1), (0, 0), (2, 1)]).unwrap();
        assert_eq!(m.documents(0), [0, 1]);
        assert!(m.documents(1).is_empty());
        assert_eq!(m.documents(2), [1]);
        assert_eq!((m.weight(0), m.weight(1), m.weight(2)), (0.5, 0.0, 1.0));
        assert!(m.without_entities().is_empty());
        let m = EntityDocuments::from_pairs(1, 4, [(0, 1), (0, 1)]).unwrap();
        assert_eq!(m.without_entities(), [0, 2, 3]);
        assert!(EntityDocuments::from_pairs(3, 2, [(3, 0)]).is_err());
        assert!(EntityDocuments::from_pairs(3, 2, [(0, 2)]).is_err());
    }
}
