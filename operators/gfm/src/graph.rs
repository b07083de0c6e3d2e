//! A knowledge graph as message passing wants it.
//!
//! Edges are the triples and their inverses. The message of edge (h, r, t) goes from t to h: the direction of the
//! reference's fused kernel, in which its DistMult models are trained. Three groupings are kept: by destination (forward),
//! by source (gradient of states), by relation (gradient of relation states). Invariant: all three hold the same edges, and
//! with every (h, r, t) its inverse (t, r + R, h).

use gfm_pipe_api::{Artifact, OpError, OpResult, columns};
use gfm_pipe_kernels::rspmm::{ByRelation, Csr};

/// A directed edge: the triple (destination, relation, source).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edge {
    /// Head of the triple: receives.
    pub destination: u32,
    /// Tail of the triple: sends.
    pub source: u32,
    /// Relation, inverses included.
    pub relation: u32,
}

/// Edges grouped by one of their three parts.
#[derive(Debug, Clone, Default)]
struct Grouping {
    offsets: Vec<u32>,
    a: Vec<u32>,
    b: Vec<u32>,
}

impl Grouping {
    /// Counting sort, stable in the given order.
    fn new(groups: usize, edges: &[Edge], parts: fn(&Edge) -> (u32, u32, u32)) -> Self {
        let mut offsets = vec![0u32; groups + 1];
        for e in edges {
            offsets[parts(e).0 as usize + 1] += 1;
        }
        for i in 0..groups {
            offsets[i + 1] += offsets[i];
        }
        let mut next = offsets.clone();
        let (mut a, mut b) = (vec![0; edges.len()], vec![0; edges.len()]);
        for e in edges {
            let (key, x, y) = parts(e);
            let at = next[key as usize] as usize;
            next[key as usize] += 1;
            (a[at], b[at]) = (x, y);
        }
        Grouping { offsets, a, b }
    }
}

/// Entries of some edges in each grouping.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub by_destination: Vec<u32>,
    pub by_source: Vec<u32>,
    pub by_relation: Vec<u32>,
    /// The node each of them comes from.
    pub sources: Vec<u32>,
}

/// A graph ready for message passing.
#[derive(Debug, Clone)]
pub struct Graph {
    nodes: usize,
    /// R: number of direct relations; edges have 2R.
    relations: usize,
    by_destination: Grouping,
    by_source: Grouping,
    by_relation: Grouping,
}

impl Graph {
    /// A graph of `nodes` nodes and `relations` direct relations from edges that include the inverses.
    ///
    /// # Panics
    /// When an edge names a node or relation outside.
    pub fn new(nodes: usize, relations: usize, edges: &[Edge]) -> Self {
        let by_destination = Grouping::new(nodes, edges, |e| (e.destination, e.source, e.relation));
        let by_source = Grouping::new(nodes, edges, |e| (e.source, e.destination, e.relation));
        let by_relation = Grouping::new(2 * relations, edges, |e| {
            (e.relation, e.destination, e.source)
        });
        Graph {
            nodes,
            relations,
            by_destination,
            by_source,
            by_relation,
        }
    }

    /// A graph from direct triples (head, relation, tail): adds the inverses.
    pub fn from_triples(nodes: usize, relations: usize, triples: &[[u32; 3]]) -> Self {
        Graph::new(nodes, relations, &with_inverses(relations, triples))
    }

    /// Reads a `graph` artifact.
    ///
    /// # Errors
    /// When tables cannot be read or ids do not fit.
    pub fn read(artifact: &Artifact) -> OpResult<Self> {
        let info = artifact.read("info")?;
        let nodes = columns::u64s(&info, "nodes")?.value(0) as usize;
        let relations = columns::u64s(&info, "relations")?.value(0) as usize;
        let batch = artifact.read("edges")?;
        let (d, s, r) = (
            columns::u32s(&batch, "destination")?,
            columns::u32s(&batch, "source")?,
            columns::u32s(&batch, "relation")?,
        );
        let edges: Vec<Edge> = (0..batch.num_rows())
            .map(|i| Edge {
                destination: d.value(i),
                source: s.value(i),
                relation: r.value(i),
            })
            .collect();
        if let Some(row) = edges.iter().position(|e| {
            e.destination as usize >= nodes
                || e.source as usize >= nodes
                || e.relation as usize >= 2 * relations
        }) {
            return Err(
                OpError::new("an edge names a node or relation that does not exist")
                    .artifact(format!("{}.edges", artifact.name))
                    .row(row as u64),
            );
        }
        Ok(Graph::new(nodes, relations, &edges))
    }

    /// Number of nodes N.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// Number of direct relations R.
    pub fn relations(&self) -> usize {
        self.relations
    }

    /// Number of edges, inverses included.
    pub fn edges(&self) -> usize {
        self.by_destination.a.len()
    }

    /// Edges grouped by the node that receives.
    pub fn by_destination(&self) -> Csr<'_> {
        csr(&self.by_destination)
    }

    /// Edges grouped by the node that sends.
    pub fn by_source(&self) -> Csr<'_> {
        csr(&self.by_source)
    }

    /// Edges in relation order.
    pub fn by_relation(&self) -> ByRelation<'_> {
        ByRelation {
            offsets: &self.by_relation.offsets,
            destination: &self.by_relation.a,
            source: &self.by_relation.b,
        }
    }

    /// All edges, by destination.
    pub fn list(&self) -> Vec<Edge> {
        let g = &self.by_destination;
        let mut out = Vec::with_capacity(g.a.len());
        for v in 0..self.nodes {
            for i in g.offsets[v] as usize..g.offsets[v + 1] as usize {
                out.push(Edge {
                    destination: v as u32,
                    source: g.a[i],
                    relation: g.b[i],
                });
            }
        }
        out
    }

    /// Direct triples (head, relation, tail), by head.
    pub fn triples(&self) -> Vec<[u32; 3]> {
        self.list()
            .into_iter()
            .filter(|e| (e.relation as usize) < self.relations)
            .map(|e| [e.destination, e.relation, e.source])
            .collect()
    }

    /// The graph without these triples, their duplicates and their inverses.
    ///
    /// A triple's relation may be direct or inverse; triples that are no edges are ignored. This is the reference's
    /// `remove_easy_edges`: what a row asks for must not stand in the graph.
    pub fn without(&self, triples: impl IntoIterator<Item = [u32; 3]>) -> Graph {
        let gone = self.gone(triples);
        if gone.is_empty() {
            return self.clone();
        }
        let drop = |g: &Grouping, parts: fn(&Edge) -> (u32, u32, u32)| {
            let mut gone: Vec<(u32, u32, u32)> = gone.iter().map(parts).collect();
            gone.sort_unstable();
            cut(g, &gone)
        };
        Graph {
            nodes: self.nodes,
            relations: self.relations,
            by_destination: drop(&self.by_destination, |e| {
                (e.destination, e.source, e.relation)
            }),
            by_source: drop(&self.by_source, |e| (e.source, e.destination, e.relation)),
            by_relation: drop(&self.by_relation, |e| (e.relation, e.destination, e.source)),
        }
    }

    /// The distinct edges of some triples and their inverses that stand in the graph.
    fn gone(&self, triples: impl IntoIterator<Item = [u32; 3]>) -> Vec<Edge> {
        let r = self.relations as u32;
        let mut gone: Vec<Edge> = Vec::new();
        for [head, relation, tail] in triples {
            let edge = Edge {
                destination: head,
                source: tail,
                relation,
            };
            if self.has(&edge) {
                gone.push(edge);
                let inverse = if relation < r {
                    relation + r
                } else {
                    relation - r
                };
                gone.push(Edge {
                    destination: tail,
                    source: head,
                    relation: inverse,
                });
            }
        }
        gone.sort_unstable();
        gone.dedup();
        gone
    }

    /// Where the edges stand that [`Graph::without`] takes out.
    pub(crate) fn places_of(&self, triples: impl IntoIterator<Item = [u32; 3]>) -> Places {
        let mut out = Places::default();
        let find = |g: &Grouping, (key, a, b): (u32, u32, u32), to: &mut Vec<u32>| {
            let group = g.offsets[key as usize]..g.offsets[key as usize + 1];
            to.extend(group.filter(|i| (g.a[*i as usize], g.b[*i as usize]) == (a, b)));
        };
        for e in self.gone(triples) {
            let (d, s, r) = (e.destination, e.source, e.relation);
            let before = out.by_source.len();
            find(&self.by_destination, (d, s, r), &mut out.by_destination);
            find(&self.by_source, (s, d, r), &mut out.by_source);
            find(&self.by_relation, (r, d, s), &mut out.by_relation);
            let found = out.by_source.len() - before;
            out.sources.extend(std::iter::repeat_n(s, found));
        }
        out
    }

    /// Whether the triple (of a direct or inverse relation) stands in the graph.
    pub fn contains(&self, [head, relation, tail]: [u32; 3]) -> bool {
        self.has(&Edge {
            destination: head,
            source: tail,
            relation,
        })
    }

    fn has(&self, edge: &Edge) -> bool {
        let g = &self.by_destination;
        let v = edge.destination as usize;
        (g.offsets[v] as usize..g.offsets[v + 1] as usize)
            .any(|i| g.a[i] == edge.source && g.b[i] == edge.relation)
    }
}

/// A grouping without the sorted (key, a, b) in `gone`; groups that lose nothing are copied whole.
fn cut(g: &Grouping, gone: &[(u32, u32, u32)]) -> Grouping {
    let mut out = Grouping {
        offsets: Vec::with_capacity(g.offsets.len()),
        a: Vec::with_capacity(g.a.len()),
        b: Vec::with_capacity(g.b.len()),
    };
    let mut copied = 0;
    let mut rest = gone;
    let mut removed = 0;
    out.offsets.push(0);
    for key in 0..g.offsets.len() - 1 {
        let end = g.offsets[key + 1] as usize;
        let here = rest.iter().take_while(|x| x.0 as usize == key).count();
        if here > 0 {
            let (mine, later) = rest.split_at(here);
            rest = later;
            for i in g.offsets[key] as usize..end {
                if mine.binary_search(&(key as u32, g.a[i], g.b[i])).is_ok() {
                    out.a.extend_from_slice(&g.a[copied..i]);
                    out.b.extend_from_slice(&g.b[copied..i]);
                    copied = i + 1;
                    removed += 1;
                }
            }
        }
        out.offsets.push(end as u32 - removed);
    }
    out.a.extend_from_slice(&g.a[copied..]);
    out.b.extend_from_slice(&g.b[copied..]);
    out
}

fn csr(g: &Grouping) -> Csr<'_> {
    Csr {
        offsets: &g.offsets,
        other: &g.a,
        relation: &g.b,
    }
}

/// Edges of direct triples: the triples in order, then their inverses in order, as the reference numbers them.
pub fn with_inverses(relations: usize, triples: &[[u32; 3]]) -> Vec<Edge> {
    let r = relations as u32;
    let direct = triples.iter().map(|[h, r, t]| Edge {
        destination: *h,
        source: *t,
        relation: *r,
    });
    let inverse = triples.iter().map(|[h, k, t]| Edge {
        destination: *t,
        source: *h,
        relation: k + r,
    });
    direct.chain(inverse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flat(g: &Graph) -> (Vec<Edge>, Vec<Edge>, Vec<Edge>) {
        let by = |g: &Grouping, make: fn(u32, u32, u32) -> Edge| {
            let mut out = Vec::new();
            for k in 0..g.offsets.len() - 1 {
                for i in g.offsets[k] as usize..g.offsets[k + 1] as usize {
                    out.push(make(k as u32, g.a[i], g.b[i]));
                }
            }
            out.sort_unstable();
            out
        };
        (
            by(&g.by_destination, |k, a, b| Edge {
                destination: k,
                source: a,
                relation: b,
            }),
            by(&g.by_source, |k, a, b| Edge {
                destination: a,
                source: k,
                relation: b,
            }),
            by(&g.by_relation, |k, a, b| Edge {
                destination: a,
                source: b,
                relation: k,
            }),
        )
    }

    proptest! {
        #[test]
        fn removing_triples_equals_building_without_them(
            triples in proptest::collection::vec((0u32..6, 0u32..2, 0u32..6).prop_map(|(h, r, t)| [h, r, t]), 0..40),
            gone in proptest::collection::vec((0u32..6, 0u32..4, 0u32..6).prop_map(|(h, r, t)| [h, r, t]), 0..8),
        ) {
            let whole = Graph::from_triples(6, 2, &triples);
            let (a, b, c) = flat(&whole);
            prop_assert_eq!(&a, &b);
            prop_assert_eq!(&a, &c);
            let kept: Vec<[u32; 3]> = triples
                .iter()
                .filter(|[h, r, t]| !gone.contains(&[*h, *r, *t]) && !gone.contains(&[*t, *r + 2, *h]))
                .copied()
                .collect();
            let cut = flat(&whole.without(gone));
            prop_assert_eq!(cut, flat(&Graph::from_triples(6, 2, &kept)));
        }
    }
}
