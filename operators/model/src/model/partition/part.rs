//! One rank's part of a graph: its own nodes, the edges into them, and copies of the nodes that
//! send along these edges.

use std::ops::Range;
use std::sync::Arc;

use gfm_pipe_api::{OpError, OpResult};
use gfm_pipe_kernels::csr::Csr;

use super::Partition;
use crate::edge_dropout::EdgeDropout;
use crate::graph::{Edge, Graph, inverse_relation};
use crate::ops::{MessageFunc, Path, Seeds};
use crate::sampling::{EasyEdges, Triple};

/// One rank's part of a graph. Nodes have local numbers: first own nodes in the order of their ids,
/// then copies of other ranks' nodes (the halo) in the order of rank and id.
///
/// It has only the edges whose messages an own node receives: a rank computes all messages to its
/// nodes, and no others.
#[derive(Debug, Clone)]
pub struct Part {
    partition: Arc<Partition>,
    rank: usize,
    path: Path,
    /// Ids of own nodes, in increasing order.
    own: Vec<u32>,
    /// Ids of copies, in the order of rank and id.
    halo: Vec<u32>,
    /// Per rank, the local numbers of the copies of its nodes.
    from: Vec<Range<usize>>,
    /// Per rank, the local numbers of own nodes that it has copies of, in increasing order.
    to: Vec<Vec<u32>>,
    graph: Graph,
}

impl Part {
    /// A rank's part, for models with this message function, which decides in which direction
    /// messages run.
    ///
    /// # Errors
    /// When the partition belongs to another graph or has no such rank.
    pub fn new(
        graph: &Graph,
        partition: &Arc<Partition>,
        rank: usize,
        message: MessageFunc,
    ) -> OpResult<Self> {
        if partition.nodes() != graph.nodes() || rank >= partition.ranks() {
            return Err(OpError::internal(format!(
                "a partition of {} nodes over {} ranks does not fit rank {rank} of a graph of {} nodes",
                partition.nodes(),
                partition.ranks(),
                graph.nodes()
            )));
        }
        let (path, owners, ranks) = (message.path(), partition.owners(), partition.ranks());
        let (into, out_of) = graph.flow(path);
        let own = partition.of(rank);
        let theirs = |u: &u32| owners[*u as usize] as usize != rank;

        let senders = own.iter().flat_map(|v| &into.other[edges_of(into, *v)]);
        let mut halo: Vec<u32> = senders.copied().filter(theirs).collect();
        halo.sort_unstable_by_key(|u| (owners[*u as usize], *u));
        halo.dedup();
        let first =
            |r: usize| own.len() + halo.partition_point(|u| (owners[*u as usize] as usize) < r);
        let from = (0..ranks).map(|r| first(r)..first(r + 1)).collect();

        let mut to = vec![Vec::new(); ranks];
        for (local, v) in (0u32..).zip(&own) {
            let receivers = out_of.other[edges_of(out_of, *v)].iter();
            for u in receivers.filter(|u| theirs(u)) {
                let list: &mut Vec<u32> = &mut to[owners[*u as usize] as usize];
                if list.last() != Some(&local) {
                    list.push(local);
                }
            }
        }

        let mut part = Part {
            partition: Arc::clone(partition),
            rank,
            path,
            own,
            halo,
            from,
            to,
            graph: Graph::new(0, graph.relations(), &[]),
        };
        let edges = part.edges(into);
        part.graph = Graph::new(part.own.len() + part.halo.len(), graph.relations(), &edges);
        Ok(part)
    }

    /// The edges into own nodes, in local numbers, from the edges of the whole graph grouped by
    /// receiver.
    fn edges(&self, into: Csr<'_>) -> Vec<Edge> {
        let mut edges = Vec::new();
        for (local, v) in (0u32..).zip(&self.own) {
            for i in edges_of(into, *v) {
                // Every sender to an own node is an own node or in the halo.
                let Some(sender) = self.local(into.other[i]) else {
                    continue;
                };
                let (head, tail) = match self.path {
                    Path::Fused => (local, sender),
                    Path::Plain => (sender, local),
                };
                edges.push(Edge {
                    head,
                    tail,
                    relation: into.relation[i],
                });
            }
        }
        edges
    }

    /// The rank that the part belongs to.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The partition that it is a part of.
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// Number of nodes of the whole graph, N.
    pub fn nodes(&self) -> usize {
        self.partition.nodes()
    }

    /// Ids of own nodes, in increasing order. Their local numbers are 0, 1 and so on.
    pub fn own(&self) -> &[u32] {
        &self.own
    }

    /// Ids of other ranks' nodes that send to own nodes, in the order of rank and id. Their local
    /// numbers follow those of own nodes.
    pub fn halo(&self) -> &[u32] {
        &self.halo
    }

    /// Per rank, the local numbers of the copies of its nodes.
    pub fn from(&self) -> &[Range<usize>] {
        &self.from
    }

    /// Per rank, the local numbers of own nodes that it has copies of, in increasing order.
    pub fn to(&self) -> &[Vec<u32>] {
        &self.to
    }

    /// The edges into own nodes, in local numbers.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The direction of messages.
    pub fn path(&self) -> Path {
        self.path
    }

    /// The local number of a node; `None` if it is not in this part.
    pub fn local(&self, node: u32) -> Option<u32> {
        let owner = *self.partition.owners().get(node as usize)? as usize;
        if owner == self.rank {
            return self.own.binary_search(&node).ok().map(|i| i as u32);
        }
        let here = &self.from[owner];
        let skip = self.own.len();
        let copies = &self.halo[here.start - skip..here.end - skip];
        let i = copies.binary_search(&node).ok()?;
        Some((here.start + i) as u32)
    }

    /// The part's graph without the edges that [`EasyEdges::removed`] takes out of the whole graph.
    /// Triples are ids of the whole graph, the same on every rank.
    pub fn without(&self, easy: EasyEdges<'_>, triples: impl IntoIterator<Item = Triple>) -> Graph {
        let direct = self.graph.relations() as u32;
        let both = triples.into_iter().filter_map(|[head, relation, tail]| {
            let (head, tail) = (self.local(head)?, self.local(tail)?);
            let inverse = inverse_relation(relation, direct);
            // The part may have an edge without its inverse: it has those that an own node
            // receives.
            Some([[head, relation, tail], [tail, inverse, head]])
        });
        easy.removed(&self.graph, both.flatten())
    }

    /// The part's graph without the triples that this step leaves out of the whole graph.
    pub fn dropped(&self, dropout: &EdgeDropout) -> Graph {
        let direct = self.graph.relations() as u32;
        let id = |local: u32| {
            let at = local as usize;
            let own = self.own.get(at);
            *own.unwrap_or_else(|| &self.halo[at - self.own.len()])
        };
        self.graph.keeping(|edge| {
            let whole = Edge {
                head: id(edge.head),
                tail: id(edge.tail),
                relation: edge.relation,
            };
            !dropout.drops(whole, direct)
        })
    }

    /// The seeds that are in this part, in local numbers.
    pub(super) fn seeds(&self, seeds: &Seeds) -> Seeds {
        let here = |(v, w): &(u32, f64)| Some((self.local(*v)?, *w));
        let rows = seeds.iter();
        rows.map(|row| row.iter().filter_map(here).collect())
            .collect()
    }
}

/// Positions of a node's edges.
fn edges_of(edges: Csr<'_>, node: u32) -> Range<usize> {
    edges.offsets[node as usize] as usize..edges.offsets[node as usize + 1] as usize
}
