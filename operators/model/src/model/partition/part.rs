//! What one rank holds of a graph: its nodes, the nodes of others that send to them, and the edges into its own.

use std::ops::Range;
use std::sync::Arc;

use gfm_pipe_api::{OpError, OpResult};

use super::Partition;
use crate::graph::{Edge, Graph};
use crate::ops::{MessageFunc, Path, Seeds};
use crate::sampling::{EasyEdges, Triple};

/// One rank's part of a graph. Nodes have local numbers: own ones first, by their ids, then copies of others' (the halo), by rank and id.
///
/// Only edges that an own node receives are here: a rank computes all messages of its nodes, and no others.
#[derive(Debug, Clone)]
pub struct Part {
    partition: Arc<Partition>,
    rank: usize,
    path: Path,
    /// Ids of own nodes, increasing.
    own: Vec<u32>,
    /// Ids of copies, by rank and id.
    halo: Vec<u32>,
    /// Of each rank, its copies here, as local numbers.
    from: Vec<Range<usize>>,
    /// For each rank, own nodes that it has copies of, as local numbers, increasing.
    to: Vec<Vec<u32>>,
    graph: Graph,
}

impl Part {
    /// A rank's part, for models with this message function: it decides which way messages run.
    ///
    /// # Errors
    /// When the partition is one of another graph or has no such rank.
    pub fn new(
        graph: &Graph,
        partition: &Arc<Partition>,
        rank: usize,
        message: MessageFunc,
    ) -> OpResult<Self> {
        if partition.nodes() != graph.nodes() || rank >= partition.ranks() {
            return Err(OpError::new(format!(
                "a partition of {} nodes over {} ranks does not fit rank {rank} of a graph of {} nodes",
                partition.nodes(),
                partition.ranks(),
                graph.nodes()
            )));
        }
        let (path, owners, ranks) = (message.path(), partition.owners(), partition.ranks());
        let (into, out_of) = graph.flow(path);
        let own = partition.of(rank);
        let around = |offsets: &[u32], v: u32| {
            offsets[v as usize] as usize..offsets[v as usize + 1] as usize
        };
        let theirs = |u: &u32| owners[*u as usize] as usize != rank;

        let senders = own
            .iter()
            .flat_map(|v| &into.other[around(into.offsets, *v)]);
        let mut halo: Vec<u32> = senders.copied().filter(theirs).collect();
        halo.sort_unstable_by_key(|u| (owners[*u as usize], *u));
        halo.dedup();
        let first =
            |r: usize| own.len() + halo.partition_point(|u| (owners[*u as usize] as usize) < r);
        let from = (0..ranks).map(|r| first(r)..first(r + 1)).collect();

        let mut to = vec![Vec::new(); ranks];
        for (local, v) in (0u32..).zip(&own) {
            for u in out_of.other[around(out_of.offsets, *v)]
                .iter()
                .filter(|u| theirs(u))
            {
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
        let mut edges = Vec::new();
        for (local, v) in (0u32..).zip(&part.own) {
            for i in around(into.offsets, *v) {
                // Who sends to an own node is own or in the halo.
                let Some(sender) = part.local(into.other[i]) else {
                    continue;
                };
                let (head, tail) = match path {
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
        part.graph = Graph::new(part.own.len() + part.halo.len(), graph.relations(), &edges);
        Ok(part)
    }

    /// This rank.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Which rank holds what.
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// Number of nodes of the whole graph, N.
    pub fn nodes(&self) -> usize {
        self.partition.nodes()
    }

    /// Ids of this rank's nodes, increasing: local numbers 0, 1 and so on.
    pub fn own(&self) -> &[u32] {
        &self.own
    }

    /// Ids of others' nodes that send to own ones, by rank and id: local numbers after the own ones.
    pub fn halo(&self) -> &[u32] {
        &self.halo
    }

    /// Copies here of nodes of each rank, as local numbers.
    pub fn from(&self) -> &[Range<usize>] {
        &self.from
    }

    /// Own nodes that each rank has copies of, as local numbers, increasing.
    pub fn to(&self) -> &[Vec<u32>] {
        &self.to
    }

    /// The edges into own nodes, in local numbers.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Which way messages run.
    pub fn path(&self) -> Path {
        self.path
    }

    /// A node's local number, where it is here.
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

    /// The part without the edges that a batch asks for, in local numbers: what [`EasyEdges::removed`] takes out of the whole graph. Triples are
    /// in ids of the whole graph, the same on every rank.
    pub fn without(&self, easy: EasyEdges<'_>, triples: impl IntoIterator<Item = Triple>) -> Graph {
        let direct = self.graph.relations() as u32;
        let both = triples.into_iter().filter_map(|[head, relation, tail]| {
            let (head, tail) = (self.local(head)?, self.local(tail)?);
            let inverse = match relation < direct {
                true => relation + direct,
                false => relation - direct,
            };
            // Of an edge and its inverse, only those that an own node receives are here.
            Some([[head, relation, tail], [tail, inverse, head]])
        });
        easy.removed(&self.graph, both.flatten())
    }

    /// Seeds that are here, in local numbers.
    pub(super) fn seeds(&self, seeds: &Seeds) -> Seeds {
        let here = |(v, w): &(u32, f64)| Some((self.local(*v)?, *w));
        let rows = seeds.iter();
        rows.map(|row| row.iter().filter_map(here).collect())
            .collect()
    }
}
