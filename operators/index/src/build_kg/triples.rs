//! Turns facts into distinct triples, each with the facts behind it.

use ahash::AHashMap;

/// A fact as ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FactTriple {
    /// Head, relation, tail.
    pub triple: [u32; 3],
    /// Row of `facts`.
    pub fact: u64,
}

/// Distinct triples, by first appearance.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Triples {
    /// Head, relation, tail.
    pub all: Vec<[u32; 3]>,
    /// Pairs of a row of `all` and a row of `facts`, sorted.
    pub evidence: Vec<(u64, u64)>,
    /// Number of facts that repeat an earlier one.
    pub duplicates: u64,
    /// Number of triples from an entity to itself.
    pub self_loops: u64,
}

impl Triples {
    /// Collects the triples of facts, in their order.
    pub fn new(facts: impl IntoIterator<Item = FactTriple>) -> Triples {
        let mut out = Triples::default();
        let mut known: AHashMap<[u32; 3], u64> = AHashMap::new();
        for FactTriple { triple, fact } in facts {
            let next = out.all.len() as u64;
            let row = *known.entry(triple).or_insert(next);
            if row == next {
                out.all.push(triple);
                out.self_loops += u64::from(triple[0] == triple[2]);
            } else {
                out.duplicates += 1;
            }
            out.evidence.push((row, fact));
        }
        out.evidence.sort_unstable();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_triple_is_there_once_with_all_its_facts() {
        let facts = [[0, 0, 1], [1, 0, 1], [0, 0, 1], [0, 1, 1]];
        let triples = (5..)
            .zip(facts)
            .map(|(fact, triple)| FactTriple { triple, fact });
        let got = Triples::new(triples);
        assert_eq!(got.all, [[0, 0, 1], [1, 0, 1], [0, 1, 1]]);
        assert_eq!(got.evidence, [(0, 5), (0, 7), (1, 6), (2, 8)]);
        assert_eq!((got.duplicates, got.self_loops), (1, 1));
    }
}
