//! A knowledge graph ready for message passing: in memory, and as a `graph` artifact.
//!
//! Edges are the triples and their inverses, grouped by head and by tail. Which end receives the
//! messages depends on the message function ([`crate::ops::Path`]). Invariants: both groupings
//! contain the same edges, and for every (h, r, t) they contain its inverse (t, r + R, h).

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array, UInt64Array};
use gfm_pipe_api::{Artifact, OpError, OpResult, columns};
use gfm_pipe_kernels::csr::Csr;
use gfm_pipe_kernels::message::Path;

/// A directed edge: the triple (head, relation, tail).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edge {
    /// Head of the triple.
    pub head: u32,
    /// Tail of the triple.
    pub tail: u32,
    /// Relation, inverses included.
    pub relation: u32,
}

impl Edge {
    /// The edge of a triple.
    pub fn of([head, relation, tail]: [u32; 3]) -> Self {
        Edge {
            head,
            tail,
            relation,
        }
    }

    /// The edge of the inverse triple; `relations` is the number of direct relations.
    pub fn inverse(self, relations: u32) -> Self {
        Edge {
            head: self.tail,
            tail: self.head,
            relation: inverse_relation(self.relation, relations),
        }
    }
}

/// The inverse of a relation, which may itself be an inverse; `direct` is the number of direct
/// relations.
pub(crate) fn inverse_relation(relation: u32, direct: u32) -> u32 {
    if relation < direct {
        relation + direct
    } else {
        relation - direct
    }
}

/// The query (head, relation, ?) for tails. With an inverse relation it asks for heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailQuery {
    /// The node that the query starts from.
    pub head: u32,
    /// Relation id, inverses included.
    pub relation: u32,
}

/// Stable counting sort by keys below `groups`. Returns the offset of each group, `groups + 1` of
/// them, and the order: the index of the item at each position.
fn sorted(groups: usize, keys: impl Iterator<Item = u32> + Clone) -> (Vec<u32>, Vec<u32>) {
    let mut offsets = vec![0u32; groups + 1];
    for key in keys.clone() {
        offsets[key as usize + 1] += 1;
    }
    for i in 0..groups {
        offsets[i + 1] += offsets[i];
    }
    let mut next = offsets.clone();
    let mut order = vec![0; offsets[groups] as usize];
    for (i, key) in keys.enumerate() {
        let at = &mut next[key as usize];
        order[*at as usize] = i as u32;
        *at += 1;
    }
    (offsets, order)
}

/// Edges grouped by one of their ends.
#[derive(Debug, Clone, Default)]
struct Grouping {
    /// `nodes + 1` offsets into the other fields.
    offsets: Vec<u32>,
    /// The other end of each edge.
    other: Vec<u32>,
    relation: Vec<u32>,
}

impl Grouping {
    /// Groups edges by `parts(edge).0`; the other end is `parts(edge).1`. Keeps the given order
    /// within a group.
    fn new(nodes: usize, edges: &[Edge], parts: fn(&Edge) -> (u32, u32)) -> Self {
        let (offsets, order) = sorted(nodes, edges.iter().map(|e| parts(e).0));
        let at = |i: &u32| &edges[*i as usize];
        Grouping {
            offsets,
            other: order.iter().map(|i| parts(at(i)).1).collect(),
            relation: order.iter().map(|i| at(i).relation).collect(),
        }
    }

    /// Positions of the edges of a node.
    fn of(&self, node: u32) -> std::ops::Range<usize> {
        self.offsets[node as usize] as usize..self.offsets[node as usize + 1] as usize
    }

    /// The grouping of the edges for which `keep(node, other, relation)` is true.
    fn keeping(&self, keep: impl Fn(u32, u32, u32) -> bool) -> Grouping {
        let mut out = Grouping::default();
        out.offsets.push(0);
        for node in 0..self.offsets.len() as u32 - 1 {
            for i in self.of(node) {
                let (other, relation) = (self.other[i], self.relation[i]);
                if keep(node, other, relation) {
                    out.other.push(other);
                    out.relation.push(relation);
                }
            }
            out.offsets.push(out.other.len() as u32);
        }
        out
    }

    /// Node and position of each edge for which `pick(node, other, relation)` is true.
    fn places(&self, pick: impl Fn(u32, u32, u32) -> bool) -> impl Iterator<Item = (u32, usize)> {
        let nodes = 0..self.offsets.len() as u32 - 1;
        let all = nodes.flat_map(|node| self.of(node).map(move |i| (node, i)));
        all.filter(move |(node, i)| pick(*node, self.other[*i], self.relation[*i]))
    }

    fn csr(&self) -> Csr<'_> {
        Csr {
            offsets: &self.offsets,
            other: &self.other,
            relation: &self.relation,
        }
    }

    /// The grouping without the edges in `gone`, which are sorted (node, other, relation). Groups
    /// that lose nothing are copied as a whole.
    fn without(&self, gone: &[(u32, u32, u32)]) -> Grouping {
        let mut out = Grouping {
            offsets: Vec::with_capacity(self.offsets.len()),
            other: Vec::with_capacity(self.other.len()),
            relation: Vec::with_capacity(self.relation.len()),
        };
        let mut copied = 0;
        let mut rest = gone;
        let mut removed = 0;
        out.offsets.push(0);
        for node in 0..self.offsets.len() as u32 - 1 {
            let here = rest.iter().take_while(|x| x.0 == node).count();
            if here > 0 {
                let (mine, later) = rest.split_at(here);
                rest = later;
                for i in self.of(node) {
                    let edge = (node, self.other[i], self.relation[i]);
                    if mine.binary_search(&edge).is_ok() {
                        out.other.extend_from_slice(&self.other[copied..i]);
                        out.relation.extend_from_slice(&self.relation[copied..i]);
                        copied = i + 1;
                        removed += 1;
                    }
                }
            }
            out.offsets.push(self.offsets[node as usize + 1] - removed);
        }
        out.other.extend_from_slice(&self.other[copied..]);
        out.relation.extend_from_slice(&self.relation[copied..]);
        out
    }
}

/// Positions of some edges in each grouping.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub by_head: Vec<u32>,
    pub by_tail: Vec<u32>,
    /// The edges, in the order of `by_tail`.
    pub edges: Vec<Edge>,
}

/// Edges grouped by relation: devices sum the gradients of relations in this order.
#[derive(Debug)]
pub(crate) struct EdgesByRelation {
    /// `2R + 1` offsets into the other fields.
    pub offsets: Vec<u32>,
    pub head: Vec<u32>,
    pub tail: Vec<u32>,
}

impl EdgesByRelation {
    /// Positions of the edges for which `pick` is true.
    pub fn places_where(&self, pick: impl Fn(Edge) -> bool) -> Vec<u32> {
        let relations = 0..self.offsets.len() as u32 - 1;
        let all = relations.flat_map(|r| {
            let group = self.offsets[r as usize]..self.offsets[r as usize + 1];
            group.map(move |i| (r, i))
        });
        all.filter(|(r, i)| {
            let at = *i as usize;
            pick(Edge::of([self.head[at], *r, self.tail[at]]))
        })
        .map(|(_, i)| i)
        .collect()
    }

    /// Positions of these edges and of all their duplicates. `edges` must be sorted.
    pub fn places_of(&self, edges: &[Edge]) -> Vec<u32> {
        let mut out = Vec::new();
        let mut distinct = edges.to_vec();
        distinct.dedup();
        for e in distinct {
            let r = e.relation as usize;
            let group = self.offsets[r]..self.offsets[r + 1];
            let equal =
                |i: &u32| (self.head[*i as usize], self.tail[*i as usize]) == (e.head, e.tail);
            out.extend(group.filter(equal));
        }
        out
    }
}

/// A graph ready for message passing.
#[derive(Debug, Clone)]
pub struct Graph {
    nodes: usize,
    /// Number of direct relations, R. With inverses there are 2R.
    relations: usize,
    by_head: Grouping,
    by_tail: Grouping,
}

impl Graph {
    /// A graph of `nodes` nodes and `relations` direct relations, from edges that include the
    /// inverses.
    ///
    /// # Panics
    /// When an edge names a node that is not below `nodes`.
    pub fn new(nodes: usize, relations: usize, edges: &[Edge]) -> Self {
        Graph {
            nodes,
            relations,
            by_head: Grouping::new(nodes, edges, |e| (e.head, e.tail)),
            by_tail: Grouping::new(nodes, edges, |e| (e.tail, e.head)),
        }
    }

    /// A graph from direct triples (head, relation, tail); adds the inverses.
    pub fn from_triples(nodes: usize, relations: usize, triples: &[[u32; 3]]) -> Self {
        Graph::new(nodes, relations, &with_inverses(relations, triples))
    }

    /// The columns of the tables `edges` and `nodes` of a `graph` artifact, from direct triples:
    /// the edges sorted by head, and the row at which the edges of each node begin.
    pub fn tables(nodes: usize, relations: usize, triples: &[[u32; 3]]) -> [Vec<ArrayRef>; 2] {
        let edges = with_inverses(relations, triples);
        let (offsets, order) = sorted(nodes, edges.iter().map(|e| e.head));
        let pick = |f: fn(&Edge) -> u32| -> ArrayRef {
            let values = order.iter().map(|i| f(&edges[*i as usize]));
            Arc::new(UInt32Array::from_iter_values(values))
        };
        let starts = offsets[..nodes].iter().map(|x| u64::from(*x));
        [
            vec![
                pick(|e| e.head),
                pick(|e| e.relation),
                pick(|e| e.tail),
                Arc::new(UInt32Array::from(order.clone())),
            ],
            vec![Arc::new(UInt64Array::from_iter_values(starts))],
        ]
    }

    /// Reads a `graph` artifact.
    ///
    /// # Errors
    /// When tables cannot be read, edges are not sorted by head, or ids are outside the graph.
    pub fn read(artifact: &Artifact) -> OpResult<Self> {
        let info = artifact.read("info")?;
        let nodes = columns::u64s(&info, "nodes")?.value(0) as usize;
        let relations = columns::u64s(&info, "relations")?.value(0) as usize;
        let (of_nodes, batch) = (artifact.read("nodes")?, artifact.read("edges")?);
        let starts = columns::u64s(&of_nodes, "offset")?;
        let (head, relation, tail) = (
            columns::u32s(&batch, "head")?,
            columns::u32s(&batch, "relation")?,
            columns::u32s(&batch, "tail")?,
        );
        let count = batch.num_rows() as u32;
        let ends = starts
            .values()
            .iter()
            .map(|x| u32::try_from(*x).unwrap_or(count));
        let by_head = Grouping {
            offsets: ends.chain([count]).collect(),
            other: tail.values().to_vec(),
            relation: relation.values().to_vec(),
        };
        let wrong = |what: &str| OpError::data(what).artifact(format!("{}.edges", artifact.name));
        let groups = &by_head.offsets;
        if groups.len() != nodes + 1 || groups[0] != 0 || !groups.is_sorted() {
            return Err(wrong(
                "`nodes.offset` does not say where each node's edges begin",
            ));
        }
        let outside = |row: &usize| {
            let (r, t) = (relation.value(*row) as usize, tail.value(*row) as usize);
            t >= nodes || r >= 2 * relations
        };
        if let Some(row) = (0..batch.num_rows()).find(outside) {
            let why = "an edge names a node or relation that does not exist";
            return Err(wrong(why).row(row as u64));
        }
        let of_another = |v: &u32| by_head.of(*v).any(|row| head.value(row) != *v);
        if let Some(v) = (0..nodes as u32).find(of_another) {
            return Err(wrong("edges are not sorted by head").row(by_head.of(v).start as u64));
        }
        let (offsets, order) = sorted(nodes, tail.values().iter().copied());
        let by_tail = Grouping {
            offsets,
            other: order.iter().map(|i| head.value(*i as usize)).collect(),
            relation: order.iter().map(|i| relation.value(*i as usize)).collect(),
        };
        Ok(Graph {
            nodes,
            relations,
            by_head,
            by_tail,
        })
    }

    /// Number of nodes, N.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// Number of direct relations, R.
    pub fn relations(&self) -> usize {
        self.relations
    }

    /// Number of edges, inverses included.
    pub fn edges(&self) -> usize {
        self.by_head.other.len()
    }

    /// Edges in the direction of messages: grouped by the node that receives, and by the node that
    /// sends.
    pub fn flow(&self, path: Path) -> (Csr<'_>, Csr<'_>) {
        match path {
            Path::Fused => (self.by_head(), self.by_tail()),
            Path::Plain => (self.by_tail(), self.by_head()),
        }
    }

    /// Edges grouped by head.
    pub fn by_head(&self) -> Csr<'_> {
        self.by_head.csr()
    }

    /// Edges grouped by tail.
    pub fn by_tail(&self) -> Csr<'_> {
        self.by_tail.csr()
    }

    /// Edges grouped by relation; sorts them on every call.
    pub(crate) fn by_relation(&self) -> EdgesByRelation {
        let edges = self.list();
        let (offsets, order) = sorted(2 * self.relations, edges.iter().map(|e| e.relation));
        let pick = |f: fn(&Edge) -> u32| order.iter().map(|i| f(&edges[*i as usize])).collect();
        EdgesByRelation {
            head: pick(|e| e.head),
            tail: pick(|e| e.tail),
            offsets,
        }
    }

    /// All edges, sorted by head.
    pub fn list(&self) -> Vec<Edge> {
        let g = &self.by_head;
        let nodes = 0..self.nodes as u32;
        let edges = nodes.flat_map(|head| {
            g.of(head).map(move |i| Edge {
                head,
                tail: g.other[i],
                relation: g.relation[i],
            })
        });
        edges.collect()
    }

    /// Direct triples (head, relation, tail), sorted by head.
    pub fn triples(&self) -> Vec<[u32; 3]> {
        self.list()
            .into_iter()
            .filter(|e| (e.relation as usize) < self.relations)
            .map(|e| [e.head, e.relation, e.tail])
            .collect()
    }

    /// The graph without these triples, their duplicates and their inverses.
    ///
    /// The relation of a triple may be direct or inverse. Triples that are not in the graph are
    /// ignored. This is the reference's `remove_easy_edges`: the graph must not contain the answer
    /// of a query.
    pub fn without(&self, triples: impl IntoIterator<Item = [u32; 3]>) -> Graph {
        let gone = self.gone(triples);
        if gone.is_empty() {
            return self.clone();
        }
        let cut = |g: &Grouping, parts: fn(&Edge) -> (u32, u32, u32)| {
            let mut gone: Vec<(u32, u32, u32)> = gone.iter().map(parts).collect();
            gone.sort_unstable();
            g.without(&gone)
        };
        Graph {
            nodes: self.nodes,
            relations: self.relations,
            by_head: cut(&self.by_head, |e| (e.head, e.tail, e.relation)),
            by_tail: cut(&self.by_tail, |e| (e.tail, e.head, e.relation)),
        }
    }

    /// The graph of the edges for which `keep` is true.
    pub(crate) fn keeping(&self, keep: impl Fn(Edge) -> bool) -> Graph {
        Graph {
            nodes: self.nodes,
            relations: self.relations,
            by_head: self.by_head.keeping(|h, t, r| keep(Edge::of([h, r, t]))),
            by_tail: self.by_tail.keeping(|t, h, r| keep(Edge::of([h, r, t]))),
        }
    }

    /// Positions of the edges for which `pick` is true.
    pub(crate) fn places_where(&self, pick: impl Fn(Edge) -> bool) -> Places {
        let mut out = Places::default();
        let of_heads = self.by_head.places(|h, t, r| pick(Edge::of([h, r, t])));
        out.by_head.extend(of_heads.map(|(_, i)| i as u32));
        let g = &self.by_tail;
        for (tail, i) in g.places(|t, h, r| pick(Edge::of([h, r, t]))) {
            out.by_tail.push(i as u32);
            out.edges.push(Edge::of([g.other[i], g.relation[i], tail]));
        }
        out
    }

    /// The distinct edges of these triples and their inverses that are in the graph, sorted.
    fn gone(&self, triples: impl IntoIterator<Item = [u32; 3]>) -> Vec<Edge> {
        let mut gone: Vec<Edge> = Vec::new();
        for triple in triples {
            let edge = Edge::of(triple);
            if self.has(&edge) {
                gone.extend([edge, edge.inverse(self.relations as u32)]);
            }
        }
        gone.sort_unstable();
        gone.dedup();
        gone
    }

    /// Positions of the edges that [`Graph::without`] takes out.
    pub(crate) fn places_of(&self, triples: impl IntoIterator<Item = [u32; 3]>) -> Places {
        let mut out = Places::default();
        let find = |g: &Grouping, node: u32, other: u32, relation: u32, to: &mut Vec<u32>| {
            let equal = |i: &usize| (g.other[*i], g.relation[*i]) == (other, relation);
            to.extend(g.of(node).filter(equal).map(|i| i as u32));
        };
        for e in self.gone(triples) {
            find(&self.by_head, e.head, e.tail, e.relation, &mut out.by_head);
            find(&self.by_tail, e.tail, e.head, e.relation, &mut out.by_tail);
            out.edges.resize(out.by_tail.len(), e);
        }
        out
    }

    /// Whether the graph contains the triple, whose relation may be direct or inverse.
    pub fn contains(&self, triple: [u32; 3]) -> bool {
        self.has(&Edge::of(triple))
    }

    fn has(&self, edge: &Edge) -> bool {
        let g = &self.by_head;
        g.of(edge.head)
            .any(|i| g.other[i] == edge.tail && g.relation[i] == edge.relation)
    }
}

/// Edges of direct triples: first the triples in order, then their inverses in order, as the
/// reference numbers them.
pub fn with_inverses(relations: usize, triples: &[[u32; 3]]) -> Vec<Edge> {
    let direct = triples.iter().map(|triple| Edge::of(*triple));
    let inverse = direct.clone().map(|e| e.inverse(relations as u32));
    direct.chain(inverse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge_dropout::EdgeDropout;
    use proptest::prelude::*;

    /// The sorted edges of a graph, from each of its groupings.
    fn flat(g: &Graph) -> [Vec<Edge>; 3] {
        let by = |g: &Grouping, make: fn(u32, u32, u32) -> Edge| -> Vec<Edge> {
            let nodes = 0..g.offsets.len() as u32 - 1;
            let edges = nodes.flat_map(|v| g.of(v).map(move |i| (v, i)));
            edges
                .map(|(v, i)| make(v, g.other[i], g.relation[i]))
                .collect()
        };
        let by_relation = g.by_relation();
        let relations = 0..by_relation.offsets.len() as u32 - 1;
        let in_order = relations.flat_map(|relation| {
            let r = relation as usize;
            let at = by_relation.offsets[r] as usize..by_relation.offsets[r + 1] as usize;
            let edges = by_relation.head[at.clone()]
                .iter()
                .zip(&by_relation.tail[at]);
            let edges = edges.map(move |(head, tail)| Edge {
                head: *head,
                tail: *tail,
                relation,
            });
            edges.collect::<Vec<_>>()
        });
        let mut all = [
            by(&g.by_head, |head, tail, relation| Edge {
                head,
                tail,
                relation,
            }),
            by(&g.by_tail, |tail, head, relation| Edge {
                head,
                tail,
                relation,
            }),
            in_order.collect(),
        ];
        all.iter_mut().for_each(|edges| edges.sort_unstable());
        all
    }

    proptest! {
        #[test]
        fn removing_triples_equals_building_without_them(
            triples in proptest::collection::vec((0u32..6, 0u32..2, 0u32..6).prop_map(|(h, r, t)| [h, r, t]), 0..40),
            gone in proptest::collection::vec((0u32..6, 0u32..4, 0u32..6).prop_map(|(h, r, t)| [h, r, t]), 0..8),
        ) {
            let whole = Graph::from_triples(6, 2, &triples);
            let [a, b, c] = flat(&whole);
            prop_assert_eq!(&a, &b);
            prop_assert_eq!(&a, &c);
            let kept: Vec<[u32; 3]> = triples
                .iter()
                .filter(|[h, r, t]| !gone.contains(&[*h, *r, *t]) && !gone.contains(&[*t, *r + 2, *h]))
                .copied()
                .collect();
            let places = whole.places_of(gone.iter().copied());
            prop_assert_eq!(places.by_head.len(), a.len() - 2 * kept.len());
            let in_order = whole.by_relation().places_of(&places.edges);
            prop_assert_eq!(in_order.len(), places.by_tail.len());
            let cut = flat(&whole.without(gone));
            prop_assert_eq!(cut, flat(&Graph::from_triples(6, 2, &kept)));
        }

        #[test]
        fn keeping_some_edges_equals_building_from_them(
            triples in proptest::collection::vec((0u32..6, 0u32..2, 0u32..6).prop_map(|(h, r, t)| [h, r, t]), 0..40),
            key: u64,
        ) {
            let whole = Graph::from_triples(6, 2, &triples);
            let dropout = EdgeDropout::new(0.4, key);
            let drops = |e| dropout.drops(e, 2);
            let kept: Vec<[u32; 3]> = triples.iter().filter(|t| !drops(Edge::of(**t))).copied().collect();
            let cut = whole.keeping(|e| !drops(e));
            prop_assert_eq!(flat(&cut), flat(&Graph::from_triples(6, 2, &kept)));

            let places = whole.places_where(drops);
            let mut dropped: Vec<Edge> = with_inverses(2, &triples).into_iter().filter(|e| drops(*e)).collect();
            let mut found = places.edges.clone();
            dropped.sort_unstable();
            found.sort_unstable();
            prop_assert_eq!(&found, &dropped);
            let rest = |flow: &Grouping, gone: &[u32]| {
                let all = (0..flow.other.len() as u32).filter(|i| !gone.contains(i));
                all.map(|i| (flow.other[i as usize], flow.relation[i as usize])).collect::<Vec<_>>()
            };
            let ends = |flow: &Grouping| {
                let pairs = flow.other.iter().zip(&flow.relation);
                pairs.map(|(other, relation)| (*other, *relation)).collect::<Vec<_>>()
            };
            prop_assert_eq!(rest(&whole.by_head, &places.by_head), ends(&cut.by_head));
            prop_assert_eq!(rest(&whole.by_tail, &places.by_tail), ends(&cut.by_tail));
            let order = whole.by_relation();
            let in_order = order.places_where(drops);
            dropped.dedup();
            let mut want = order.places_of(&dropped);
            want.sort_unstable();
            prop_assert_eq!(in_order, want);
        }
    }
}
