//! Rankers: from entity scores to document scores.
//!
//! A ranker says what each entity adds to the score of every document that mentions it. Sums are
//! taken in f64 in ascending order of entities, so that documents with the same contributions tie,
//! and ties then go by lower id.
//!
//! To add a ranker, add a [`RankerKind`] in this file and list it in [`RANKERS`].

use std::sync::LazyLock;

use gfm_pipe_api::named::{Choice, Named, listed};
use gfm_pipe_api::{Field, Type};

use crate::{EntityDocuments, top};

/// The score of a document that mentions no entity. Such documents come after all others, ordered
/// by id.
pub const NO_SCORE: f64 = f64::NEG_INFINITY;

/// The sum of all scores of a document's entities.
pub static SIMPLE: RankerKind = RankerKind {
    name: "simple",
    meaning: "sums the scores of a document's entities",
    uses_top_k: false,
    factor: |_, _| 1.0,
};

/// Entities that few documents mention count more.
pub static IDF: RankerKind = RankerKind {
    name: "idf",
    meaning: "weighs each score by 1 / number of the entity's documents",
    uses_top_k: false,
    factor: EntityDocuments::weight,
};

/// The number of the best entities that a document mentions.
pub static TOPK: RankerKind = RankerKind {
    name: "topk",
    meaning: "counts the `top_k` best entities",
    uses_top_k: true,
    factor: |_, _| 1.0,
};

/// Like [`TOPK`], but entities that few documents mention count more.
pub static IDF_TOPK: RankerKind = RankerKind {
    name: "idf_topk",
    meaning: "counts each of the `top_k` best entities by 1 / number of its documents",
    uses_top_k: true,
    factor: EntityDocuments::weight,
};

/// Every ranker, in the order of schemas and pages.
pub static RANKERS: [&RankerKind; 4] = [&SIMPLE, &IDF, &TOPK, &IDF_TOPK];

/// The ranker that is used where a pipeline names none.
pub static DEFAULT: &RankerKind = &IDF_TOPK;

/// A way to rank documents by entity scores.
pub struct RankerKind {
    /// Name in pipelines and tables.
    pub name: &'static str,
    /// What it does to a document, for help texts and docs/metrics.md.
    pub meaning: &'static str,
    /// Whether it counts the `top_k` best entities; otherwise it sums the scores of all.
    pub uses_top_k: bool,
    /// What an entity counts for its documents: by this its score is multiplied, or this is what
    /// one of the best entities adds.
    factor: fn(&EntityDocuments, u32) -> f64,
}

/// A parameter that names a ranker.
pub type RankerName = Choice<RankerKind>;

impl Named for RankerKind {
    const WHAT: &'static str = "ranker";

    fn all() -> &'static [&'static Self] {
        &RANKERS
    }

    fn name(&self) -> &'static str {
        self.name
    }
}

/// The type of a parameter that names a ranker.
pub fn ranker_type() -> Type {
    static NAMES: LazyLock<Vec<&str>> = LazyLock::new(RankerKind::names);
    Type::one_of(&NAMES)
}

/// The names of all rankers, the default one first: what `evaluate` reports.
pub fn default_first() -> Vec<&'static str> {
    let others = RANKERS.iter().filter(|r| r.name != DEFAULT.name);
    std::iter::once(DEFAULT.name)
        .chain(others.map(|r| r.name))
        .collect()
}

/// Largest number of entities.
pub const MAX_ENTITIES: f64 = u32::MAX as f64;
/// The reason for [`MAX_ENTITIES`].
pub const NUMBERED: &str = "entities are numbered with 32 bits";

/// Default of the parameter `top_k`, for all operators that have it.
pub const DEFAULT_TOP_K: usize = 20;

/// The parameter `top_k`.
pub fn top_k_field(default: usize) -> Field {
    static ABOUT: LazyLock<String> = LazyLock::new(|| {
        let users = RANKERS.iter().filter(|r| r.uses_top_k);
        let users: Vec<&str> = users.map(|r| r.name).collect();
        format!("entities that count, for {}", listed(&users, "and"))
    });
    Field::new("top_k", Type::int(1), default, &ABOUT).at_most(MAX_ENTITIES, NUMBERED)
}

/// What a ranker works on: the scores of all entities for one question.
struct Query<'a> {
    /// One score per entity.
    scores: &'a [f64],
    matrix: &'a EntityDocuments,
    top_k: usize,
}

impl Query<'_> {
    /// Calls `add` with each entity that counts, its factor, and what it adds to its documents, in
    /// ascending order of entities.
    fn contributions(&self, kind: &RankerKind, add: &mut dyn FnMut(u32, f64, f64)) {
        let factor = |entity| (kind.factor)(self.matrix, entity);
        if kind.uses_top_k {
            for entity in self.best() {
                add(entity, factor(entity), factor(entity));
            }
        } else {
            for (entity, score) in (0..=u32::MAX).zip(self.scores) {
                add(entity, factor(entity), score * factor(entity));
            }
        }
    }

    /// The `top_k` entities with the highest scores, in ascending order of ids.
    fn best(&self) -> Vec<u32> {
        let mut best = top(self.scores, self.top_k);
        best.sort_unstable();
        best
    }
}

/// A ranker with its parameter.
#[derive(Clone, Copy)]
pub struct Ranker {
    kind: &'static RankerKind,
    top_k: usize,
}

impl RankerKind {
    /// The ranker with this number of best entities; rankers that count all entities ignore it.
    pub const fn top_k(&'static self, top_k: usize) -> Ranker {
        Ranker { kind: self, top_k }
    }

    /// The ranker over all entities.
    pub const fn whole(&'static self) -> Ranker {
        self.top_k(usize::MAX)
    }
}

impl Ranker {
    /// Name in tables.
    pub fn name(self) -> &'static str {
        self.kind.name
    }

    /// Scores to rank documents by: those of [`Ranker::documents`], but [`NO_SCORE`] for documents
    /// that mention no entity. The sum of such a document is 0, and most scores are negative, so it
    /// would otherwise come first for no reason.
    pub fn ranking(self, scores: &[f64], matrix: &EntityDocuments) -> Vec<f64> {
        let mut out = self.documents(scores, matrix);
        for &document in matrix.without_entities() {
            out[document as usize] = NO_SCORE;
        }
        out
    }

    /// Whether it counts entities, so that a document without any of the best has the score 0.
    pub fn counts(self) -> bool {
        self.kind.uses_top_k
    }

    /// The entities that count for a document, ascending, each with its factor: how much the
    /// document's score grows with the entity's. Where entities are counted, what a counted entity
    /// adds.
    pub fn targets(
        self,
        scores: &[f64],
        matrix: &EntityDocuments,
        document: u32,
    ) -> Vec<(u32, f64)> {
        let mut out = Vec::new();
        let query = self.query(scores, matrix);
        query.contributions(self.kind, &mut |entity, factor, _| {
            if matrix.documents(entity).binary_search(&document).is_ok() {
                out.push((entity, factor));
            }
        });
        out
    }

    /// Scores of all documents for one question, as the reference computes them, from one score per
    /// entity.
    pub fn documents(self, scores: &[f64], matrix: &EntityDocuments) -> Vec<f64> {
        let mut sums = vec![0.0; matrix.num_documents()];
        let query = self.query(scores, matrix);
        query.contributions(self.kind, &mut |entity, _, value| {
            for &document in matrix.documents(entity) {
                sums[document as usize] += value;
            }
        });
        sums
    }

    fn query<'a>(self, scores: &'a [f64], matrix: &'a EntityDocuments) -> Query<'a> {
        Query {
            scores: &scores[..scores.len().min(matrix.num_entities())],
            matrix,
            top_k: self.top_k,
        }
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
            SIMPLE.whole().documents(&scores, &m),
            [6.0, 5.0, 4.0, 4.0, 0.0]
        );
        // 2 / 2, -1 / 1, 4 / 4.
        assert_eq!(
            IDF.whole().documents(&scores, &m),
            [2.0, 1.0, 1.0, 1.0, 0.0]
        );
        // Best three: entities 2 (in no document), 3, 0.
        assert_eq!(
            TOPK.top_k(3).documents(&scores, &m),
            [2.0, 2.0, 1.0, 1.0, 0.0]
        );
        assert_eq!(
            IDF_TOPK.top_k(3).documents(&scores, &m),
            [0.75, 0.75, 0.25, 0.25, 0.0]
        );
        assert_eq!(
            IDF_TOPK.top_k(100).documents(&scores, &m),
            [0.75, 1.75, 0.25, 0.25, 0.0]
        );
    }

    #[test]
    fn a_document_counts_entities_by_their_factors() {
        let (scores, m) = ([2.0, -1.0, 9.0, 4.0], matrix());
        let targets = |ranker: Ranker| ranker.targets(&scores, &m, 1);
        assert_eq!(targets(SIMPLE.whole()), [(0, 1.0), (1, 1.0), (3, 1.0)]);
        assert_eq!(targets(IDF.whole()), [(0, 0.5), (1, 1.0), (3, 0.25)]);
        assert_eq!(targets(TOPK.top_k(3)), [(0, 1.0), (3, 1.0)]);
        assert_eq!(targets(IDF_TOPK.top_k(2)), [(3, 0.25)]);
    }

    #[test]
    fn documents_without_entities_come_last() {
        // Documents 0 and 3 mention nothing, 1 and 2 entities with negative scores.
        let m = EntityDocuments::from_pairs(2, 4, [(0, 1), (1, 2)]).unwrap();
        let scores = [-3.0f64, -1.0];
        for (ranker, order) in [
            (SIMPLE.whole(), [2, 1, 0, 3]),
            (IDF.whole(), [2, 1, 0, 3]),
            // A document that mentions only entities beyond the first has the sum 0, like documents
            // without entities.
            (TOPK.top_k(1), [2, 1, 0, 3]),
            (IDF_TOPK.top_k(1), [2, 1, 0, 3]),
        ] {
            let placed = ranker.ranking(&scores, &m);
            assert_eq!(top(&placed, 4), order, "{}", ranker.name());
            assert_eq!((placed[0], placed[3]), (NO_SCORE, NO_SCORE));
            // The reference's scores stay what they are.
            assert_eq!(ranker.documents(&scores, &m)[0], 0.0);
        }
        // Masses of PageRank that do not reach a document do not tie with it.
        let masses = [1.0, 0.0];
        assert_eq!(top(&SIMPLE.whole().ranking(&masses, &m), 4), [1, 2, 0, 3]);
    }

    #[test]
    fn tied_entities_are_taken_by_lower_id() {
        let scores = [1.0; 4];
        assert_eq!(
            TOPK.top_k(2).documents(&scores, &matrix()),
            [1.0, 2.0, 0.0, 0.0, 0.0]
        );
    }

    #[test]
    fn names_are_distinct_and_the_default_is_listed_first() {
        for ranker in RANKERS {
            let found = RankerKind::named(ranker.name).unwrap();
            assert!(std::ptr::eq(found, ranker), "{}", ranker.name);
        }
        assert!(RankerKind::named("other").is_none());
        assert_eq!(default_first(), ["idf_topk", "simple", "idf", "topk"]);
    }
}
