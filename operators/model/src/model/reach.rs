//! Which states a pass has to compute: those that the queries of a batch reach, and that the scores
//! depend on.
//!
//! After k layers, the state of a node more than k hops from a query's seeds does not depend on the
//! query. One state, that of the background, serves the whole batch. The state of a node after
//! layer k of L matters only if a candidate is at most L - k hops away. Both rules are exact for
//! sum and mean. Hops follow the direction of the messages.

use gfm_pipe_kernels::csr::Csr;
use gfm_pipe_kernels::rows::Rows;
use rayon::prelude::*;

use serde::{Deserialize, Serialize};

use super::ModelConfig;
use crate::graph::Graph;
use crate::ops::{Path, Seeds};

/// More hops than are counted. Nodes this far away count as reached in models with that many
/// layers.
pub(super) const FAR: u8 = u8::MAX;

/// Which states a pass computes. Scores and gradients are the same for all choices, except for
/// rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compute {
    /// Dense or sparse, whichever is less work for the batch.
    #[default]
    Auto,
    /// Every state of every query.
    Dense,
    /// Only states that matter for the scores; those that queries share are computed once for the
    /// batch.
    Sparse,
}

/// Rows of the states that each layer reads and writes.
pub(super) struct LayerRows {
    /// Rows of the states before each layer and after the last.
    pub states: Vec<Rows>,
    /// Rows that each layer computes on this rank, if ranks divide the graph. They come first among
    /// the states.
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

/// The rows that a pass computes.
pub struct Reach {
    /// Rows of the states before the first layer and after each layer: `layers + 1` of them.
    pub rows: Vec<Rows>,
    /// Whether these are the rows of all nodes for all queries.
    whole: bool,
}

/// The nodes that the queries of a batch start from and ask about.
#[derive(Debug, Clone, Copy)]
pub struct QueryNodes<'a> {
    /// Where each query starts.
    pub seeds: &'a Seeds,
    /// Nodes whose scores are wanted, per query; `None` for all nodes.
    pub candidates: Option<&'a [Vec<u32>]>,
}

/// What [`Reach::needed`] takes into account.
pub struct Request<'a> {
    /// The nodes of the queries.
    pub queries: QueryNodes<'a>,
    /// Number of layers.
    pub layers: usize,
    /// Whether the states before the first layer send no messages where no query starts. The
    /// background then needs no rows there.
    pub starts_silent: bool,
    /// Whether the states of the background are known. It then needs no rows at all.
    pub background_known: bool,
}

/// Number of hops from the nearest of the nodes `from` to every node, at most `most`; [`FAR`]
/// beyond that.
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

/// The seeds with a boundary state other than zero: those whose weight is not 0.
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

    /// One row per node, that of the background. If its states before the first layer send no
    /// messages (`silent`), it has no rows there.
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

    /// The rows that a model computes with `compute`. Aggregates other than sum and mean compute
    /// all rows. `background_known`: see [`Request::background_known`].
    pub fn chosen(
        config: &ModelConfig,
        graph: &Graph,
        compute: Compute,
        queries: QueryNodes<'_>,
        background_known: bool,
    ) -> Self {
        let path = config.message_func.path();
        let whole = || Reach::whole(graph.nodes(), queries.seeds.len(), config.layers());
        if !config.aggregate_func.adds() || compute == Compute::Dense {
            return whole();
        }
        let request = Request {
            queries,
            layers: config.layers(),
            starts_silent: config.starts_silent(),
            background_known,
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

    /// Only the rows that have to be computed.
    pub fn needed(graph: &Graph, path: Path, request: &Request<'_>) -> Self {
        let (into, out_of) = graph.flow(path);
        let QueryNodes { seeds, candidates } = request.queries;
        let (nodes, queries, layers) = (graph.nodes(), seeds.len(), request.layers);
        let from_seeds: Vec<Vec<u8>> = seeds
            .par_iter()
            .map(|seeds| hops(out_of, starts(seeds), layers))
            .collect();
        let to_candidates: Option<Vec<Vec<u8>>> = candidates.map(|all| {
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
            let silent = layer == 0 && request.starts_silent;
            Rows::new(nodes, queries, |v, q| {
                if q < queries {
                    reached(v, q) && matters(v, q)
                } else {
                    !request.background_known
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

    /// Computed rows as a share of layers x queries x nodes.
    pub fn share(&self) -> f64 {
        let rows: usize = self.rows[1..].iter().map(Rows::len).sum();
        let all: usize = self.rows[1..].iter().map(|r| r.nodes() * r.queries()).sum();
        rows as f64 / all.max(1) as f64
    }

    /// Number of messages of each layer.
    pub(crate) fn messages(&self, graph: &Graph, path: Path) -> Vec<u64> {
        let layers = self.rows[1..].iter();
        layers.map(|rows| messages(rows, graph, path)).collect()
    }

    /// Estimated work of the layers, without a unit: rows for the linear maps, rows times edges for
    /// the messages.
    pub fn cost(&self, graph: &Graph, path: Path, dim: usize) -> f64 {
        cost(&self.rows[1..], graph, path, dim)
    }
}

/// Number of messages into these rows.
fn messages(rows: &Rows, graph: &Graph, path: Path) -> u64 {
    let (into, _) = graph.flow(path);
    let nodes = into.offsets.windows(2).enumerate();
    nodes
        .map(|(v, w)| rows.of(v).len() as u64 * u64::from(w[1] - w[0]))
        .sum()
}

/// See [`Reach::cost`]; `to` are the rows after each layer.
pub(super) fn cost(to: &[Rows], graph: &Graph, path: Path, dim: usize) -> f64 {
    let rows: usize = to.iter().map(Rows::len).sum();
    let messages: u64 = to.iter().map(|rows| messages(rows, graph, path)).sum();
    let dim = dim as f64;
    rows as f64 * dim * dim / 8.0 + messages as f64 * (dim + 16.0)
}
