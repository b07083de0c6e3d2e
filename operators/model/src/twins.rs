//! Near-duplicates among a graph's relations, by relation id with inverses.

use std::collections::{HashMap, HashSet};

use gfm_pipe_api::twins::twins;

use crate::graph::inverse_relation;
use crate::sampling::Triple;

/// Relations, inverses included, and their near-duplicates. Invariant: being near-duplicates is
/// mutual, whichever of two relations has the other's pairs of nodes, and the inverses of two
/// near-duplicates are near-duplicates as well.
#[derive(Debug, Default)]
pub struct Twins {
    /// Number of direct relations.
    direct: u32,
    of: HashMap<u32, HashSet<u32>>,
}

impl Twins {
    /// The near-duplicates among `relations` direct relations of these triples: relations that have
    /// at least `share` of their pairs of nodes in common. Without a share there are none.
    pub fn find(relations: usize, triples: &[Triple], share: Option<f64>) -> Self {
        let mut out = Twins {
            direct: relations as u32,
            of: HashMap::new(),
        };
        let Some(share) = share else {
            return out;
        };
        for twin in twins(triples.iter().copied(), share) {
            let relation = twin.relation;
            let other = if twin.reversed {
                out.inverse(twin.other)
            } else {
                twin.other
            };
            for (a, b) in [
                (relation, other),
                (out.inverse(relation), out.inverse(other)),
            ] {
                out.of.entry(a).or_default().insert(b);
                out.of.entry(b).or_default().insert(a);
            }
        }
        out
    }

    fn inverse(&self, relation: u32) -> u32 {
        inverse_relation(relation, self.direct)
    }

    /// Number of direct relations that have near-duplicates.
    pub fn len(&self) -> usize {
        // The inverse of each relation is in there too.
        self.of.len() / 2
    }

    /// Whether no relation has near-duplicates.
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Whether a relation has near-duplicates.
    pub fn has(&self, relation: u32) -> bool {
        self.of.contains_key(&relation)
    }

    /// Whether two relations are near-duplicates.
    pub fn are(&self, relation: u32, other: u32) -> bool {
        let others = self.of.get(&relation);
        others.is_some_and(|others| others.contains(&other))
    }

    /// Triples without those in `gone` and without triples that repeat one of them under a
    /// near-duplicate of its relation.
    pub fn without(&self, all: Vec<Triple>, gone: &HashSet<Triple>) -> Vec<Triple> {
        // Relations of the removed triples by their two nodes, in both directions.
        let mut between: HashMap<(u32, u32), Vec<u32>> = HashMap::new();
        for [head, relation, tail] in gone.iter().filter(|t| self.has(t[1])) {
            between.entry((*head, *tail)).or_default().push(*relation);
            let inverse = self.inverse(*relation);
            between.entry((*tail, *head)).or_default().push(inverse);
        }
        let repeats = |[head, relation, tail]: &Triple| {
            let removed = between.get(&(*head, *tail));
            removed.is_some_and(|removed| removed.iter().any(|r| self.are(*r, *relation)))
        };
        let kept = all.into_iter().filter(|t| !gone.contains(t) && !repeats(t));
        kept.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five pairs under relation 0, four of them under 1, all of them reversed under 2; 3 holds in
    /// both directions.
    fn triples() -> Vec<Triple> {
        let pairs = [(0, 1), (1, 2), (5, 3), (3, 4), (4, 0)];
        let mut out: Vec<Triple> = pairs.iter().map(|(h, t)| [*h, 0, *t]).collect();
        out.extend(pairs[..4].iter().map(|(h, t)| [*h, 1, *t]));
        out.extend(pairs.iter().map(|(h, t)| [*t, 2, *h]));
        out.extend([[0, 3, 2], [2, 3, 0], [6, 3, 7], [7, 3, 6], [0, 4, 1]]);
        out
    }

    #[test]
    fn duplicates_are_mutual_and_hold_for_inverses() {
        let twins = Twins::find(5, &triples(), Some(0.8));
        let pairs = |r: u32| -> Vec<u32> { (0..10).filter(|o| twins.are(r, *o)).collect() };
        // The inverse of 2 is 7. Relation 4 is a duplicate: its only pair is one of 0, 1 and 7.
        assert_eq!(pairs(0), [1, 4, 7]);
        assert_eq!(pairs(4), [0, 1, 7]);
        assert_eq!(pairs(7), [0, 1, 4]);
        assert_eq!(pairs(2), [5, 6, 9]);
        assert_eq!(pairs(3), [8]);
        assert_eq!(pairs(8), [3]);
        assert_eq!((twins.len(), twins.is_empty()), (5, false));
        assert!(Twins::find(5, &triples(), None).is_empty());
        assert!(Twins::find(5, &triples()[..5], Some(0.8)).is_empty());
    }

    #[test]
    fn triples_that_repeat_a_removed_one_are_removed_too() {
        let all = triples();
        let twins = Twins::find(5, &all, Some(0.8));
        let left = |gone: &[Triple]| -> Vec<Triple> {
            let gone: HashSet<Triple> = gone.iter().copied().collect();
            let kept = twins.without(all.clone(), &gone);
            all.iter().filter(|t| !kept.contains(t)).copied().collect()
        };
        let first = [[0, 0, 1], [0, 1, 1], [1, 2, 0], [0, 4, 1]];
        for one in first {
            assert_eq!(left(&[one]), first);
        }
        assert_eq!(left(&[[2, 3, 0]]), [[0, 3, 2], [2, 3, 0]]);
        assert_eq!(left(&[[9, 0, 9]]), [[0; 3]; 0]);
        let none = Twins::default();
        let gone = HashSet::from([[0, 0, 1]]);
        assert_eq!(none.without(all.clone(), &gone).len(), all.len() - 1);
    }
}
