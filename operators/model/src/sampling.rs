//! Negative samples, the true answers of queries, and the edges that would give answers away.

use std::collections::HashMap;
use std::ops::Range;

use rand_chacha::rand_core::Rng;

use crate::graph::{Graph, TailQuery};
use crate::twins::Twins;

/// A triple (head, relation, tail) of direct or inverse relations.
pub type Triple = [u32; 3];

/// The true tails of every (head, relation), direct and inverse, sorted and distinct.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    relations: u32,
    nodes: u32,
    tails: HashMap<(u32, u32), Vec<u32>>,
}

impl Truth {
    /// The true tails by direct triples of `relations` relations.
    pub fn new(nodes: usize, relations: usize, triples: &[Triple]) -> Self {
        let r = relations as u32;
        let mut tails: HashMap<(u32, u32), Vec<u32>> = HashMap::new();
        for [h, k, t] in triples {
            tails.entry((*h, *k)).or_default().push(*t);
            tails.entry((*t, k + r)).or_default().push(*h);
        }
        for list in tails.values_mut() {
            list.sort_unstable();
            list.dedup();
        }
        Truth {
            relations: r,
            nodes: nodes as u32,
            tails,
        }
    }

    /// True tails of a query, in increasing order.
    pub fn tails(&self, q: TailQuery) -> &[u32] {
        self.tails
            .get(&(q.head, q.relation))
            .map_or(&[], Vec::as_slice)
    }

    /// The query (?, r, t) for the head of a triple, as a tail query: by the inverse relation from
    /// the tail.
    pub fn head_query(&self, [_, relation, tail]: Triple) -> TailQuery {
        TailQuery {
            head: tail,
            relation: relation + self.relations,
        }
    }

    /// Number of nodes that may be sampled for a query.
    pub fn candidates(&self, q: TailQuery, strict: bool) -> u32 {
        let excluded = if strict {
            self.tails(q).len() as u32
        } else {
            0
        };
        // A query that every node answers has no negative. All nodes are sampled then.
        if excluded == self.nodes {
            self.nodes
        } else {
            self.nodes - excluded
        }
    }

    /// The `index`-th candidate in increasing order.
    pub fn candidate(&self, q: TailQuery, strict: bool, index: u32) -> u32 {
        let excluded = self.tails(q);
        if !strict || excluded.len() as u32 == self.nodes {
            return index;
        }
        // There are (tail - i) other nodes before true tail number i. Count the true tails before
        // the candidate.
        let (mut low, mut high) = (0, excluded.len());
        while low < high {
            let mid = (low + high) / 2;
            if excluded[mid] - mid as u32 <= index {
                low = mid + 1;
            } else {
                high = mid;
            }
        }
        index + low as u32
    }

    /// A negative from a uniform number `u` in [0, 1). Like the reference, truncates u * n in f32.
    pub fn negative(&self, q: TailQuery, strict: bool, u: f32) -> u32 {
        let n = self.candidates(q, strict);
        let index = (u * n as f32) as u32;
        self.candidate(q, strict, index.min(n - 1))
    }
}

/// A pre-training batch as tail queries: the first half of the triples asks for tails, the rest for
/// heads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// One query per triple.
    pub queries: Vec<TailQuery>,
    /// Per query, the true answer and then the negatives.
    pub candidates: Vec<Vec<u32>>,
}

/// Builds a batch. `uniform` returns numbers in [0, 1); it is called for the negatives of one query
/// after the other.
pub fn batch(
    truth: &Truth,
    triples: &[Triple],
    negatives: usize,
    strict: bool,
    mut uniform: impl FnMut() -> f32,
) -> Batch {
    let half = triples.len() / 2;
    let mut out = Batch {
        queries: Vec::new(),
        candidates: Vec::new(),
    };
    for (i, triple) in triples.iter().enumerate() {
        let (query, answer) = if i < half {
            let [head, relation, tail] = *triple;
            (TailQuery { head, relation }, tail)
        } else {
            (truth.head_query(*triple), triple[0])
        };
        let row = std::iter::once(answer)
            .chain((0..negatives).map(|_| truth.negative(query, strict, uniform())))
            .collect();
        out.queries.push(query);
        out.candidates.push(row);
    }
    out
}

impl Batch {
    /// The rows in this range.
    pub fn part(&self, rows: Range<usize>) -> Batch {
        Batch {
            queries: self.queries[rows.clone()].to_vec(),
            candidates: self.candidates[rows].to_vec(),
        }
    }

    /// The triples that all rows ask for, positives and negatives. The graph must not contain them
    /// while they are scored.
    pub fn asked(&self) -> impl Iterator<Item = Triple> + '_ {
        self.queries
            .iter()
            .zip(&self.candidates)
            .flat_map(|(q, row)| row.iter().map(|t| [q.head, q.relation, *t]))
    }
}

/// Which edges give the answer of a triple away. They are taken out of the graph before the triple
/// is scored.
#[derive(Debug, Clone, Copy)]
pub enum EasyEdges<'a> {
    /// The triple's own edge, with duplicates and inverses.
    Relation,
    /// The triple's own edge, and edges between its two nodes under near-duplicates of its
    /// relation.
    Twins(&'a Twins),
    /// All edges between its two nodes, whatever the relation (`remove_one_hop`).
    Pair,
}

impl EasyEdges<'_> {
    /// The easy edges of these triples, without their duplicates and inverses.
    pub fn of_triples(
        self,
        graph: &Graph,
        triples: impl IntoIterator<Item = Triple>,
    ) -> Vec<Triple> {
        // The inverse of every edge from t to h runs from h to t, so this direction covers both.
        match self {
            EasyEdges::Relation => triples.into_iter().collect(),
            EasyEdges::Twins(twins) => {
                let mut all = Vec::new();
                for [h, r, t] in triples {
                    all.push([h, r, t]);
                    if twins.has(r) {
                        let between = out_of(graph, h).filter(|e| e[2] == t);
                        all.extend(between.filter(|e| twins.are(r, e[1])));
                    }
                }
                all
            }
            EasyEdges::Pair => {
                let all = triples
                    .into_iter()
                    .flat_map(|[h, _, t]| out_of(graph, h).filter(move |e| e[2] == t));
                all.collect()
            }
        }
    }

    /// The graph without the easy edges of these triples.
    pub fn removed(self, graph: &Graph, triples: impl IntoIterator<Item = Triple>) -> Graph {
        graph.without(self.of_triples(graph, triples))
    }

    /// Whether a triple has an easy edge in the graph.
    pub fn any(self, graph: &Graph, triple: Triple) -> bool {
        let [head, relation, tail] = triple;
        out_of(graph, head).any(|e| e[2] == tail && self.reveals(e[1], relation))
    }

    /// The easy edges of all answers that a query could have.
    pub fn of_query(self, graph: &Graph, q: TailQuery) -> impl Iterator<Item = Triple> {
        out_of(graph, q.head).filter(move |e| self.reveals(e[1], q.relation))
    }

    /// Whether an edge with relation `relation` gives away a triple with relation `asked` and the
    /// same two nodes.
    fn reveals(self, relation: u32, asked: u32) -> bool {
        match self {
            EasyEdges::Relation => asked == relation,
            EasyEdges::Twins(twins) => asked == relation || twins.are(asked, relation),
            EasyEdges::Pair => true,
        }
    }
}

/// The edges of a node as triples (node, relation, other).
fn out_of(graph: &Graph, node: u32) -> impl Iterator<Item = Triple> + '_ {
    let edges = graph.by_head();
    let at = node as usize;
    (edges.offsets[at] as usize..edges.offsets[at + 1] as usize)
        .map(move |i| [node, edges.relation[i], edges.other[i]])
}

/// A uniformly random permutation of `0..n` (Fisher-Yates).
pub fn permutation(n: usize, rng: &mut impl Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        // Multiply-shift of 64 random bits: bias below n / 2^64.
        let j = ((u128::from(rng.next_u64()) * (i as u128 + 1)) >> 64) as usize;
        order.swap(i, j);
    }
    order
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn candidates_are_the_nodes_that_are_not_true_tails(
            nodes in 1u32..30,
            tails in proptest::collection::vec(0u32..30, 0..20),
        ) {
            let triples: Vec<Triple> = tails.iter().map(|t| [0, 0, t % nodes]).collect();
            let truth = Truth::new(nodes as usize, 1, &triples);
            let q = TailQuery { head: 0, relation: 0 };
            let mut want: Vec<u32> = (0..nodes).filter(|v| !triples.iter().any(|t| t[2] == *v)).collect();
            if want.is_empty() {
                want = (0..nodes).collect();
            }
            let got: Vec<u32> = (0..truth.candidates(q, true)).map(|i| truth.candidate(q, true, i)).collect();
            prop_assert_eq!(got, want);
        }
    }

    proptest! {
        #[test]
        fn easy_edges_of_a_pair_are_all_between_the_two(
            triples in proptest::collection::vec((0u32..5, 0u32..2, 0u32..5).prop_map(|(h, r, t)| [h, r, t]), 0..30),
            gone in proptest::collection::vec((0u32..5, 0u32..4, 0u32..5).prop_map(|(h, r, t)| [h, r, t]), 0..6),
        ) {
            let graph = Graph::from_triples(5, 2, &triples);
            let pair = |t: &Triple| (t[0].min(t[2]), t[0].max(t[2]));
            let kept: Vec<Triple> = triples.iter().filter(|t| !gone.iter().any(|g| pair(g) == pair(t))).copied().collect();
            let mut want = Graph::from_triples(5, 2, &kept).list();
            let mut got = EasyEdges::Pair.removed(&graph, gone.iter().copied()).list();
            want.sort_unstable();
            got.sort_unstable();
            prop_assert_eq!(got, want);
            for g in gone {
                let any = triples.iter().any(|t| pair(t) == pair(&g));
                prop_assert_eq!(EasyEdges::Pair.any(&graph, g), any);
            }
        }

        #[test]
        fn easy_edges_of_twins_are_those_that_repeat_a_triple(
            triples in proptest::collection::vec((0u32..5, 0u32..3, 0u32..5).prop_map(|(h, r, t)| [h, r, t]), 0..20),
            gone in proptest::collection::vec((0u32..5, 0u32..3, 0u32..5).prop_map(|(h, r, t)| [h, r, t]), 0..6),
        ) {
            let twins = Twins::find(3, &triples, Some(0.5));
            let graph = Graph::from_triples(5, 3, &triples);
            let kept = twins.without(triples.clone(), &gone.iter().copied().collect());
            let mut want = Graph::from_triples(5, 3, &kept).list();
            let mut got = EasyEdges::Twins(&twins).removed(&graph, gone.iter().copied()).list();
            want.sort_unstable();
            got.sort_unstable();
            prop_assert_eq!(got, want);
            for g in gone {
                let left = twins.without(triples.clone(), &HashSet::from([g]));
                let any = EasyEdges::Twins(&twins).any(&graph, g);
                prop_assert_eq!(any, left.len() < triples.len());
            }
        }

        #[test]
        fn easy_edges_of_a_query_are_those_of_all_its_answers(
            triples in proptest::collection::vec((0u32..5, 0u32..2, 0u32..5).prop_map(|(h, r, t)| [h, r, t]), 0..30),
            head in 0u32..5,
            relation in 0u32..4,
        ) {
            let graph = Graph::from_triples(5, 2, &triples);
            let q = TailQuery { head, relation };
            let twins = Twins::find(2, &triples, Some(0.5));
            for easy in [EasyEdges::Relation, EasyEdges::Twins(&twins), EasyEdges::Pair] {
                let all = (0..5).map(|t| [head, relation, t]);
                let want = easy.removed(&graph, all).list();
                prop_assert_eq!(graph.without(easy.of_query(&graph, q)).list(), want);
            }
        }
    }

    #[test]
    fn permutations_hold_every_number_once() {
        let mut rng = crate::model::test_rng(7);
        let mut p = permutation(100, &mut rng);
        assert_ne!(p, (0..100).collect::<Vec<_>>());
        p.sort_unstable();
        assert_eq!(p, (0..100).collect::<Vec<_>>());
    }
}
