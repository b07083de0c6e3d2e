//! Decides which rank owns which node, so that all ranks have about the same work and few edges run
//! between them.

use std::collections::VecDeque;

use gfm_pipe_api::{OpError, OpResult};
use serde::Serialize;

use crate::graph::Graph;

/// Owner of a node that has none yet.
const NOBODY: u32 = u32::MAX;
/// The work of a rank may exceed the mean by the mean divided by this.
const SLACK: u64 = 32;
/// How often the nodes are streamed again after the first pass.
const PASSES: usize = 10;

/// Which rank owns each node of a graph. It depends only on the graph, so all ranks compute the
/// same without communication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    owner: Vec<u32>,
    ranks: usize,
}

/// The size of a partition's parts, and the number of edges between them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cut {
    /// Number of nodes of each rank.
    pub nodes: Vec<usize>,
    /// Number of edges into the nodes of each rank, inverses included: the messages that it
    /// computes.
    pub edges: Vec<usize>,
    /// Number of nodes of other ranks that each rank has copies of.
    pub halo: Vec<usize>,
    /// Number of edges between nodes of different ranks.
    pub cut_edges: usize,
    /// `cut_edges` as a share of all edges.
    pub share: f64,
}

impl Partition {
    /// Streams the nodes in breadth-first order to the rank with the largest product of neighbours
    /// of the node and room that is left. This is linear deterministic greedy (Stanton & Kliot,
    /// 2012, "Streaming graph partitioning for large distributed graphs"). Then streams them again,
    /// with the owners of later nodes known from the pass before (Nishimura & Ugander, 2013,
    /// "Restreaming graph partitioning"). Returns the pass that cuts the fewest edges.
    ///
    /// The work of a rank exceeds the mean by at most 1/32, or by the work of one node. The unit of
    /// work is an edge; the linear maps of a node count as several edges, depending on the `width`
    /// of states.
    pub fn streamed(graph: &Graph, ranks: usize, width: usize) -> Self {
        let ranks = ranks.max(1);
        let work = works(graph, width);
        let order = breadth_first(graph);
        let mut owner = vec![NOBODY; graph.nodes()];
        let mut best: Option<(usize, Vec<u32>)> = None;
        for _ in 0..=PASSES {
            stream(graph, &order, &work, ranks, &mut owner);
            let cut = cut_edges(graph, &owner);
            if best.as_ref().is_none_or(|(least, _)| cut < *least) {
                best = Some((cut, owner.clone()));
            }
        }
        let owner = best.map_or(owner, |(_, owner)| owner);
        Partition { owner, ranks }
    }

    /// Divides the nodes in the order of their ids, in blocks of about the same work (see
    /// [`Partition::streamed`]).
    pub fn blocks(graph: &Graph, ranks: usize, width: usize) -> Self {
        let ranks = ranks.max(1);
        let work = works(graph, width);
        let total: u64 = work.iter().sum();
        let mut before = 0;
        let owner = work.iter().map(|w| {
            // The middle of a node's work decides which block it belongs to.
            let middle = u128::from(2 * before + w) * ranks as u128;
            before += w;
            (middle / u128::from(2 * total.max(1))) as u32
        });
        Partition {
            owner: owner.collect(),
            ranks,
        }
    }

    /// A partition from the rank of each node.
    ///
    /// # Errors
    /// When the rank of a node is not below `ranks`.
    pub fn given(owner: Vec<u32>, ranks: usize) -> OpResult<Self> {
        match owner.iter().position(|o| *o as usize >= ranks) {
            None => Ok(Partition { owner, ranks }),
            Some(node) => Err(OpError::internal(format!(
                "node {node} belongs to rank {}, but there are {ranks} ranks",
                owner[node]
            ))),
        }
    }

    /// Number of ranks.
    pub fn ranks(&self) -> usize {
        self.ranks
    }

    /// Number of nodes of the whole graph, N.
    pub fn nodes(&self) -> usize {
        self.owner.len()
    }

    /// The rank of each node.
    pub fn owners(&self) -> &[u32] {
        &self.owner
    }

    /// The nodes of a rank, in increasing order.
    pub fn of(&self, rank: usize) -> Vec<u32> {
        let nodes = (0u32..).zip(&self.owner);
        nodes
            .filter(|(_, o)| **o as usize == rank)
            .map(|(v, _)| v)
            .collect()
    }

    /// The sizes of the parts of this graph.
    pub fn cut(&self, graph: &Graph) -> Cut {
        let mut out = Cut {
            nodes: vec![0; self.ranks],
            edges: vec![0; self.ranks],
            halo: vec![0; self.ranks],
            cut_edges: cut_edges(graph, &self.owner),
            share: 0.0,
        };
        out.share = out.cut_edges as f64 / graph.edges().max(1) as f64;
        // For each rank, the last node that was counted in its halo, so that no node counts twice.
        let mut known_by = vec![NOBODY; self.ranks];
        for (v, owner) in (0u32..).zip(&self.owner) {
            let near = neighbours(graph, v);
            out.nodes[*owner as usize] += 1;
            out.edges[*owner as usize] += near.len();
            for u in near {
                let there = self.owner[*u as usize];
                if there != *owner && known_by[there as usize] != v {
                    known_by[there as usize] = v;
                    out.halo[there as usize] += 1;
                }
            }
        }
        out
    }
}

/// The other ends of a node's edges. Every edge has an inverse, so senders and receivers are the
/// same nodes.
fn neighbours(graph: &Graph, v: u32) -> &[u32] {
    let edges = graph.by_head();
    let at = edges.offsets[v as usize] as usize..edges.offsets[v as usize + 1] as usize;
    &edges.other[at]
}

/// The work of each node, in edges. The linear maps of a row take `d² / 8` and a message takes
/// `d + 16`, as in [`crate::model::Reach::cost`].
fn works(graph: &Graph, width: usize) -> Vec<u64> {
    let width = width as u64;
    let linear = (width * width / 8 / (width + 16)).max(1);
    let nodes = 0..graph.nodes() as u32;
    nodes
        .map(|v| linear + neighbours(graph, v).len() as u64)
        .collect()
}

fn breadth_first(graph: &Graph) -> Vec<u32> {
    let mut order = Vec::with_capacity(graph.nodes());
    let mut seen = vec![false; graph.nodes()];
    let mut queue = VecDeque::new();
    for start in 0..graph.nodes() as u32 {
        if !std::mem::replace(&mut seen[start as usize], true) {
            queue.push_back(start);
        }
        while let Some(v) = queue.pop_front() {
            order.push(v);
            for u in neighbours(graph, v) {
                if !std::mem::replace(&mut seen[*u as usize], true) {
                    queue.push_back(*u);
                }
            }
        }
    }
    order
}

/// Assigns a rank to every node, based on the ranks of its neighbours in this pass or in the one
/// before.
fn stream(graph: &Graph, order: &[u32], work: &[u64], ranks: usize, owner: &mut [u32]) {
    let mean = work.iter().sum::<u64>().div_ceil(ranks as u64);
    let room = mean + mean / SLACK;
    let mut load = vec![0u64; ranks];
    let mut near = vec![0u32; ranks];
    for v in order {
        near.fill(0);
        for u in neighbours(graph, *v) {
            if u != v && owner[*u as usize] != NOBODY {
                near[owner[*u as usize] as usize] += 1;
            }
        }
        let mine = work[*v as usize];
        let score = |r: usize| f64::from(near[r]) * (1.0 - load[r] as f64 / room as f64);
        let better = |a: usize, b: usize| match score(a).total_cmp(&score(b)) {
            std::cmp::Ordering::Equal => load[a] < load[b],
            order => order.is_gt(),
        };
        let fits = (0..ranks).filter(|r| load[*r] + mine <= room);
        let chosen = fits.reduce(|best, r| if better(r, best) { r } else { best });
        // If the node fits nowhere, it goes to the least loaded rank, whose load is at most the
        // mean.
        let least = || (0..ranks).min_by_key(|r| load[*r]).unwrap_or(0);
        let rank = chosen.unwrap_or_else(least);
        load[rank] += mine;
        owner[*v as usize] = rank as u32;
    }
}

fn cut_edges(graph: &Graph, owner: &[u32]) -> usize {
    let of = |v: u32| {
        let mine = owner[v as usize];
        let other = |u: &&u32| owner[**u as usize] != mine;
        neighbours(graph, v).iter().filter(other).count()
    };
    (0..graph.nodes() as u32).map(of).sum()
}
