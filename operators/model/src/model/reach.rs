//! Which states a pass has to compute: those that the queries of a batch reach, and that the scores
//! depend on.
//!
//! After k layers, the state of a node more than k hops from a query's seeds does not depend on the
//! query. One state, that of the background, serves the whole batch. The state of a node after
//! layer k of L matters only if a candidate is at most L - k hops away. Both rules are exact for
//! sum and mean. Hops follow the direction of the messages.

use gfm_pipe_kernels::csr::Csr;
use gfm_pipe_kernels::rows::Rows;
use num_traits::{PrimInt, Unsigned};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::ModelConfig;
use crate::graph::Graph;
use crate::ops::{Path, Seeds};

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

/// Which queries are how many hops from each node, as bits of an unsigned integer.
struct Hops<M> {
    /// For each number of hops from 0, the queries that are at most that far: one for each node.
    /// More hops than there are entries for reach nothing new.
    within: Vec<Vec<M>>,
}

impl<M: PrimInt + Unsigned + Send> Hops<M> {
    /// Walks from the nodes of each query, at most `most` hops. There are at most as many queries
    /// as `M` has bits, and they walk together: a node passes on which of them have just reached it
    /// (multi-source breadth-first search: Then et al., The more the merrier, 2014).
    fn count<I: Iterator<Item = u32>>(
        edges: Csr<'_>,
        queries: impl Iterator<Item = I>,
        most: usize,
    ) -> Self {
        // The queries that have reached a node, and those that reached it in the last hop.
        let mut seen = vec![M::zero(); edges.nodes()];
        let mut now = seen.clone();
        let mut next = seen.clone();
        let mut reached: Vec<u32> = Vec::new();
        for (q, from) in queries.enumerate() {
            let bit = M::one() << q;
            for v in from {
                if now[v as usize].is_zero() {
                    reached.push(v);
                }
                now[v as usize] = now[v as usize] | bit;
                seen[v as usize] = seen[v as usize] | bit;
            }
        }
        let mut within = vec![seen.clone()];
        for _ in 1..=most {
            let mut newly = Vec::new();
            for u in reached {
                let from = std::mem::replace(&mut now[u as usize], M::zero());
                let at = edges.offsets[u as usize] as usize..edges.offsets[u as usize + 1] as usize;
                for v in &edges.other[at] {
                    let v = *v as usize;
                    let new = from & !seen[v];
                    if new.is_zero() {
                        continue;
                    }
                    seen[v] = seen[v] | new;
                    if next[v].is_zero() {
                        newly.push(v as u32);
                    }
                    next[v] = next[v] | new;
                }
            }
            if newly.is_empty() {
                break;
            }
            within.push(seen.clone());
            std::mem::swap(&mut now, &mut next);
            reached = newly;
        }
        Hops { within }
    }

    /// The queries that are at most `most` hops from each node.
    fn at_most(&self, most: usize) -> &[M] {
        &self.within[most.min(self.within.len() - 1)]
    }

    /// Walks from where queries start and, the other way, from where they ask, at the same time.
    fn both(
        (into, out_of): Flow<'_>,
        seeds: &[Vec<(u32, f64)>],
        candidates: Option<&[Vec<u32>]>,
        most: usize,
    ) -> (Self, Option<Self>) {
        let from_candidates = |all: &[Vec<u32>]| {
            let nodes = all.iter().map(|c| c.iter().copied());
            Hops::count(into, nodes, most)
        };
        rayon::join(
            || Hops::count(out_of, seeds.iter().map(|s| starts(s)), most),
            || candidates.map(from_candidates),
        )
    }
}

/// The edges into nodes and out of them, in the direction of the messages.
type Flow<'a> = (Csr<'a>, Csr<'a>);

impl Request<'_> {
    /// Whether the background has rows before layer `layer`, or after the last.
    fn has_background(&self, layer: usize) -> bool {
        let silent = layer == 0 && self.starts_silent;
        !self.background_known && !silent
    }

    /// The rows of no more queries than `M` has bits.
    fn rows_together<M>(&self, graph: &Graph, path: Path) -> Vec<Rows>
    where
        M: PrimInt + Unsigned + Into<u64> + Send + Sync,
    {
        let QueryNodes { seeds, candidates } = self.queries;
        let (queries, layers) = (seeds.len(), self.layers);
        let (starts, ends) = Hops::<M>::both(graph.flow(path), seeds, candidates, layers);
        let all = (1u64 << queries) - 1;
        let of_layer = |layer: usize| {
            let reached = starts.at_most(layer);
            let matter = ends.as_ref().map(|ends| ends.at_most(layers - layer));
            let with_background = self.has_background(layer);
            Rows::of_bits(graph.nodes(), queries, |v| {
                let reached: u64 = reached[v].into();
                let matter: u64 = matter.map_or(all, |matter| matter[v].into());
                let background = with_background && matter & !reached != 0;
                reached & matter | u64::from(background) << queries
            })
        };
        (0..=layers).into_par_iter().map(of_layer).collect()
    }

    /// The rows of any number of queries, of which 64 at a time walk together.
    fn rows_of_many(&self, graph: &Graph, path: Path) -> Vec<Rows> {
        let QueryNodes { seeds, candidates } = self.queries;
        let (queries, layers) = (seeds.len(), self.layers);
        let some = |first: usize| {
            let some = first..(first + 64).min(queries);
            let candidates = candidates.map(|all| &all[some.clone()]);
            Hops::<u64>::both(graph.flow(path), &seeds[some], candidates, layers)
        };
        let firsts = (0..queries.div_ceil(64)).into_par_iter().map(|i| 64 * i);
        let parts: Vec<(Hops<u64>, Option<Hops<u64>>)> = firsts.map(some).collect();
        let has = |hops: &Hops<u64>, most: usize, v: usize, q: usize| {
            hops.at_most(most)[v] >> (q % 64) & 1 == 1
        };
        let of_layer = |layer: usize| {
            let reached = |v: usize, q: usize| has(&parts[q / 64].0, layer, v, q);
            let matters = |v: usize, q: usize| {
                let ends = parts[q / 64].1.as_ref();
                ends.is_none_or(|ends| has(ends, layers - layer, v, q))
            };
            let with_background = self.has_background(layer);
            Rows::new(graph.nodes(), queries, |v, q| {
                if q < queries {
                    reached(v, q) && matters(v, q)
                } else {
                    with_background && (0..queries).any(|q| matters(v, q) && !reached(v, q))
                }
            })
        };
        (0..=layers).into_par_iter().map(of_layer).collect()
    }
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
        // What all rows would take, without making them.
        let each = (config.layers() * queries.seeds.len()) as u64;
        let (rows, messages) = (each * graph.nodes() as u64, each * graph.edges() as u64);
        let of_whole = work(rows, messages, config.input_dim);
        if needed.cost(graph, path, config.input_dim) < of_whole {
            needed
        } else {
            whole()
        }
    }

    /// Only the rows that have to be computed.
    pub fn needed(graph: &Graph, path: Path, request: &Request<'_>) -> Self {
        let rows = match request.queries.seeds.len() {
            0..=8 => request.rows_together::<u8>(graph, path),
            9..=Rows::MOST_AS_BITS => request.rows_together::<u64>(graph, path),
            _ => request.rows_of_many(graph, path),
        };
        Reach { rows, whole: false }
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
    work(rows as u64, messages, dim)
}

/// Estimated work of this many rows and messages, see [`Reach::cost`].
fn work(rows: u64, messages: u64, dim: usize) -> f64 {
    let dim = dim as f64;
    rows as f64 * dim * dim / 8.0 + messages as f64 * (dim + 16.0)
}

#[cfg(test)]
mod tests {
    use gfm_pipe_kernels::rows::NONE;

    use super::*;

    /// Whether a query that starts at these nodes reaches each node in so many hops.
    fn slow(edges: Csr<'_>, from: &[u32], most: usize) -> Vec<bool> {
        let mut out = vec![false; edges.nodes()];
        from.iter().for_each(|v| out[*v as usize] = true);
        for _ in 0..most {
            let before = out.clone();
            for u in (0..edges.nodes()).filter(|u| before[*u]) {
                let at = edges.offsets[u] as usize..edges.offsets[u + 1] as usize;
                edges.other[at].iter().for_each(|v| out[*v as usize] = true);
            }
        }
        out
    }

    fn graph() -> Graph {
        let triple = |i: u32| [(i * 7) % 290, i % 5, (i * i + 3 * i) % 290];
        let triples: Vec<[u32; 3]> = (0..330).map(triple).collect();
        Graph::from_triples(300, 5, &triples)
    }

    #[test]
    fn rows_are_those_that_are_reached_and_matter() {
        let graph = graph();
        for queries in [0, 1, 8, 9, 63, 64, 65, 130] {
            // Some start at several nodes, some at the same, and some at none.
            let seeds: Seeds = (0..queries)
                .map(|q| (0..q % 4).map(move |k| ((q * q + 50 * k) % 300, f64::from(k % 3))))
                .map(Iterator::collect)
                .collect();
            let asked: Vec<Vec<u32>> = (0..queries).map(|q| vec![(q * 11) % 300, 9]).collect();
            for (layers, path, known, some) in [
                (3, Path::Fused, false, true),
                (6, Path::Plain, true, true),
                (2, Path::Fused, false, false),
                (300, Path::Fused, false, true),
            ] {
                let request = Request {
                    queries: QueryNodes {
                        seeds: &seeds,
                        candidates: some.then_some(&asked),
                    },
                    layers,
                    starts_silent: true,
                    background_known: known,
                };
                let got = Reach::needed(&graph, path, &request).rows;
                assert_eq!(got.len(), layers + 1);
                let (into, out_of) = graph.flow(path);
                for layer in [0, 1, layers / 2, layers] {
                    let reached: Vec<Vec<bool>> = seeds
                        .iter()
                        .map(|s| slow(out_of, &starts(s).collect::<Vec<_>>(), layer))
                        .collect();
                    let matters: Vec<Vec<bool>> = asked
                        .iter()
                        .map(|a| slow(into, a, layers - layer))
                        .collect();
                    let q_all = 0..queries as usize;
                    for v in 0..graph.nodes() {
                        let matters = |q: usize| !some || matters[q][v];
                        for q in q_all.clone() {
                            let want = reached[q][v] && matters(q);
                            let got = got[layer].own(v, q) != NONE;
                            assert_eq!(got, want, "query {q} of {queries}, node {v}, {layer}");
                        }
                        let shared = q_all.clone().any(|q| matters(q) && !reached[q][v]);
                        let want = shared && !known && layer > 0;
                        let got = got[layer].own(v, queries as usize) != NONE;
                        assert_eq!(got, want, "background of {queries}, node {v}, {layer}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_work_of_all_rows_is_known_without_them() {
        let graph = graph();
        for path in [Path::Fused, Path::Plain] {
            let whole = Reach::whole(graph.nodes(), 7, 4);
            let each = 4 * 7;
            let (rows, messages) = (each * graph.nodes() as u64, each * graph.edges() as u64);
            assert_eq!(whole.cost(&graph, path, 32), work(rows, messages, 32));
        }
    }
}
