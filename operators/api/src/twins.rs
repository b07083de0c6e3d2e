//! Relations of a graph that say the same thing twice, in one direction or in both.
//!
//! A near-duplicate gives away the triples of the other relation: if (a, `also born in`, b) is in
//! the graph, then (a, `born in`, b) is probably true as well. So the audit reports
//! near-duplicates, and pre-training removes them where they would give away the triple that it
//! asks for; both use what is defined here.

use std::collections::BTreeMap;

/// A relation is a near-duplicate of another one if the other has at least this share of its pairs.
pub const SHARE: f64 = 0.8;

/// Most distinct triples between two entities that are compared with each other. If more relations
/// than this join two entities, that says nothing about any two of the relations, and the number of
/// comparisons grows with the square of the number of triples.
const MOST: usize = 64;

/// A relation that shares most of its entity pairs with another relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Twin {
    /// The relation.
    pub relation: u32,
    /// The relation that shares its pairs; the same relation if it has its own pairs in both
    /// directions.
    pub other: u32,
    /// Whether the other relation has the pairs with head and tail exchanged.
    pub reversed: bool,
    /// Number of its pairs that the other relation has too.
    pub shared: u64,
    /// Number of all its pairs: distinct (head, tail) with two different entities.
    pub pairs: u64,
}

/// Finds the near-duplicates among the relations of these triples: those that share at least
/// `share` of their pairs with another relation. Sorted by relation, then by the other relation.
pub fn twins(triples: impl IntoIterator<Item = [u32; 3]>, share: f64) -> Vec<Twin> {
    // Each triple under the two entities it joins, whatever its direction.
    let mut joins: Vec<(u32, u32, u32, bool)> = triples
        .into_iter()
        .filter(|[head, _, tail]| head != tail)
        .map(|[head, relation, tail]| (head.min(tail), head.max(tail), relation, head > tail))
        .collect();
    joins.sort_unstable();
    joins.dedup();
    let mut pairs: BTreeMap<u32, u64> = BTreeMap::new();
    let mut shared: BTreeMap<(u32, u32, bool), u64> = BTreeMap::new();
    for between in joins.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        for (_, _, relation, _) in between {
            *pairs.entry(*relation).or_default() += 1;
        }
        if between.len() > MOST {
            continue;
        }
        for (i, (_, _, relation, direction)) in between.iter().enumerate() {
            for (j, (_, _, other, opposite)) in between.iter().enumerate() {
                if i != j {
                    let key = (*relation, *other, direction != opposite);
                    *shared.entry(key).or_default() += 1;
                }
            }
        }
    }
    let twins = shared
        .into_iter()
        .map(|((relation, other, reversed), shared)| Twin {
            relation,
            other,
            reversed,
            shared,
            pairs: pairs.get(&relation).copied().unwrap_or(shared),
        });
    // Numbers of pairs are far below 2^53.
    #[expect(clippy::cast_precision_loss)]
    let enough = |twin: &Twin| twin.shared as f64 >= share * twin.pairs as f64;
    twins.filter(enough).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(triples: &[[u32; 3]]) -> Vec<(u32, u32, bool, u64, u64)> {
        let found = twins(triples.iter().copied(), SHARE).into_iter();
        found
            .map(|t| (t.relation, t.other, t.reversed, t.shared, t.pairs))
            .collect()
    }

    #[test]
    fn duplicates_are_found_in_either_direction() {
        // Relation 1 has four of the five pairs of 0 as they are, 2 has them all reversed, 3 has
        // one.
        let pairs = [(0, 1), (1, 2), (5, 3), (3, 4), (4, 0)];
        let mut triples: Vec<[u32; 3]> = pairs.iter().map(|(h, t)| [*h, 0, *t]).collect();
        triples.extend(pairs[..4].iter().map(|(h, t)| [*h, 1, *t]));
        triples.extend(pairs.iter().map(|(h, t)| [*t, 2, *h]));
        triples.push([0, 3, 1]);
        triples.extend([[6, 3, 7], [6, 3, 8], [9, 3, 8]]);
        // Repeated triples and triples from an entity to itself change nothing.
        triples.extend([[0, 0, 1], [7, 0, 7], [8, 1, 8]]);
        assert_eq!(
            found(&triples),
            [
                (0, 1, false, 4, 5),
                (0, 2, true, 5, 5),
                (1, 0, false, 4, 4),
                (1, 2, true, 4, 4),
                (2, 0, true, 5, 5),
                (2, 1, true, 4, 5),
            ]
        );
    }

    #[test]
    fn a_relation_that_holds_in_both_directions_is_its_own_duplicate() {
        let married = [[0, 0, 1], [1, 0, 0], [2, 0, 3], [3, 0, 2], [4, 0, 5]];
        assert_eq!(found(&married), [(0, 0, true, 4, 5)]);
        assert_eq!(found(&married[1..]), []);
    }

    #[test]
    fn entities_that_very_many_relations_join_are_passed_over() {
        let between = |n: u32| -> Vec<[u32; 3]> { (0..n).map(|r| [0, r, 1]).collect() };
        let few = MOST as u32;
        assert_eq!(found(&between(few)).len() as u32, few * (few - 1));
        assert_eq!(found(&between(few + 1)), []);
    }
}
