//! Which states a pass has to compute: how far a batch's queries reach, and what its scores depend on.
//!
//! A node more than k hops from a query's seeds has, after k layers, a state that does not depend on the query: one state for
//! the whole batch, the background's. And the state of a node after layer k matters only when a candidate is at most
//! L - k hops away. Both are exact for sum and mean. Hops follow the messages.

use gfm_pipe_kernels::csr::Csr;
use gfm_pipe_kernels::rows::Rows;
use rayon::prelude::*;

use serde::{Deserialize, Serialize};

use super::ModelConfig;
use crate::graph::Graph;
use crate::ops::{Path, Seeds};

/// More hops than were counted. A model with more layers than this computes every state that far away.
pub(super) const FAR: u8 = u8::MAX;

/// Which states a pass computes. All give the same scores and gradients but for rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compute {
    /// Dense or sparse, whichever is less work for the sizes at hand.
    #[default]
    Auto,
    /// Every state of every query.
    Dense,
    /// Only states that differ between queries or matter for the scores; the others once for the batch, or not at all.
    Sparse,
}

/// Rows of the states that each layer reads and writes.
pub(super) struct LayerRows {
    /// Rows of the states before each layer and after the last.
    pub states: Vec<Rows>,
    /// Rows that each layer computes, where other ranks compute the others; they come first among the states.
    pub own: Option<Vec<Rows>>,
}

impl LayerRows {
    /// Rows that layer `i` reads.
    pub fn read(&self, i: usize) -> &Rows {
        &self.states[i]
    }

    /// Rows that layer `i` writes.
    pub fn written(&self, i: usize) -> &Rows {
        match &self.own {
            Some(own) => &own[i],
            None => &self.states[i + 1],
        }
    }
}

impl From<Reach> for LayerRows {
    fn from(reach: Reach) -> Self {
        LayerRows {
            states: reach.rows,
            own: None,
        }
    }
}

/// Rows of the states before the first layer and after each.
pub struct Reach {
    /// `layers + 1` of them.
    pub rows: Vec<Rows>,
    /// Whether these are all rows of all queries, everywhere.
    whole: bool,
}

/// What the scores of a pass depend on.
pub struct Request<'a> {
    /// Where queries start.
    pub seeds: &'a Seeds,
    /// Nodes whose scores are wanted, for each query; all where this is `None`.
    pub candidates: Option<&'a [Vec<u32>]>,
    /// Number of layers.
    pub layers: usize,
    /// Whether a state of zeros sends nothing, so that the background before the first layer needs no rows.
    pub zeros_are_silent: bool,
    /// Whether the background's states are known, so that it needs no rows at all.
    pub background: bool,
}

/// Hops from some nodes to every node, as far as `most`.
fn hops(edges: Csr<'_>, from: impl Iterator<Item = u32>, most: usize) -> Vec<u8> {
    let mut out = vec![FAR; edges.nodes()];
    let mut now: Vec<u32> = Vec::new();
    for v in from {
        if out[v as usize] == FAR {
            out[v as usize] = 0;
            now.push(v);
        }
    }
    for hop in 1..=most.min(usize::from(FAR) - 1) {
        let mut next = Vec::new();
        for u in now {
            let at = edges.offsets[u as usize] as usize..edges.offsets[u as usize + 1] as usize;
            for v in &edges.other[at] {
                if out[*v as usize] == FAR {
                    out[*v as usize] = hop as u8;
                    next.push(*v);
                }
            }
        }
        if next.is_empty() {
            break;
        }
        now = next;
    }
    out
}

/// The seeds that start something: of weight 0 the boundary is 0.
pub(super) fn starts(seeds: &[(u32, f64)]) -> impl Iterator<Item = u32> {
    seeds.iter().filter(|s| s.1 != 0.0).map(|s| s.0)
}

impl Reach {
    /// Every state of every query.
    pub fn whole(nodes: usize, queries: usize, layers: usize) -> Self {
        let all = Rows::new(nodes, queries, |_, q| q < queries);
        Reach {
            rows: vec![all; layers + 1],
            whole: true,
        }
    }

    /// One row for each node, the background's; none before the first layer where `silent`.
    pub fn background(nodes: usize, layers: usize, silent: bool) -> Self {
        let all = Rows::new(nodes, 0, |_, _| true);
        let first = Rows::new(nodes, 0, |_, _| !silent);
        Reach {
            rows: std::iter::once(first)
                .chain(std::iter::repeat_n(all, layers))
                .collect(),
            whole: false,
        }
    }

    /// Whether every state of every query is computed.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The rows a model computes with `compute`; aggregates other than sum and mean compute all. `background`: whether its
    /// states are known.
    pub fn chosen(
        config: &ModelConfig,
        graph: &Graph,
        compute: Compute,
        (seeds, candidates): (&Seeds, Option<&[Vec<u32>]>),
        background: bool,
    ) -> Self {
        let path = config.message_func.path();
        let whole = || Reach::whole(graph.nodes(), seeds.len(), config.layers());
        if !config.aggregate_func.adds() || compute == Compute::Dense {
            return whole();
        }
        let request = Request {
            seeds,
            candidates,
            layers: config.layers(),
            zeros_are_silent: config.message_func.zeros_are_silent(),
            background,
        };
        let needed = Reach::needed(graph, path, &request);
        if compute == Compute::Sparse {
            return needed;
        }
        let whole = whole();
        let cost = |r: &Reach| r.cost(graph, path, config.input_dim);
        if cost(&needed) < cost(&whole) {
            needed
        } else {
            whole
        }
    }

    /// Only what has to be computed.
    pub fn needed(graph: &Graph, path: Path, request: &Request<'_>) -> Self {
        let (into, out_of) = graph.flow(path);
        let (nodes, queries, layers) = (graph.nodes(), request.seeds.len(), request.layers);
        let from_seeds: Vec<Vec<u8>> = request
            .seeds
            .par_iter()
            .map(|seeds| hops(out_of, starts(seeds), layers))
            .collect();
        let to_candidates: Option<Vec<Vec<u8>>> = request.candidates.map(|all| {
            let each = all.par_iter();
            each.map(|c| hops(into, c.iter().copied(), layers))
                .collect()
        });
        let rows = (0..=layers).into_par_iter().map(|layer| {
            let matters = |v: usize, q: usize| match &to_candidates {
                Some(hops) => usize::from(hops[q][v]) <= layers - layer,
                None => true,
            };
            let reached = |v: usize, q: usize| usize::from(from_seeds[q][v]) <= layer;
            let silent = layer == 0 && request.zeros_are_silent;
            Rows::new(nodes, queries, |v, q| {
                if q < queries {
                    reached(v, q) && matters(v, q)
                } else {
                    !request.background
                        && !silent
                        && (0..queries).any(|q| matters(v, q) && !reached(v, q))
                }
            })
        });
        Reach {
            rows: rows.collect(),
            whole: false,
        }
    }

    /// Rows that layers compute, as a share of layers x queries x nodes.
    pub fn share(&self) -> f64 {
        let rows: usize = self.rows[1..].iter().map(Rows::len).sum();
        let all: usize = self.rows[1..].iter().map(|r| r.nodes() * r.queries()).sum();
        rows as f64 / all.max(1) as f64
    }

    /// Messages of each layer.
    pub(crate) fn messages(&self, graph: &Graph, path: Path) -> Vec<u64> {
        let layers = self.rows[1..].iter();
        layers.map(|rows| messages(rows, graph, path)).collect()
    }

    /// About how long the layers take, without a unit: rows for the linear maps, rows times edges for the messages.
    pub fn cost(&self, graph: &Graph, path: Path, dim: usize) -> f64 {
        cost(&self.rows[1..], graph, path, dim)
    }
}

/// Messages into some rows.
fn messages(rows: &Rows, graph: &Graph, path: Path) -> u64 {
    let (into, _) = graph.flow(path);
    let nodes = into.offsets.windows(2).enumerate();
    nodes
        .map(|(v, w)| rows.of(v).len() as u64 * u64::from(w[1] - w[0]))
        .sum()
}

/// See [`Reach::cost`], of the rows after each layer.
pub(super) fn cost(to: &[Rows], graph: &Graph, path: Path, dim: usize) -> f64 {
    let rows: usize = to.iter().map(Rows::len).sum();
    let messages: u64 = to.iter().map(|rows| messages(rows, graph, path)).sum();
    let dim = dim as f64;
    rows as f64 * dim * dim / 8.0 + messages as f64 * (dim + 16.0)
}
