//! Which states a pass over parts has to compute. This is [`crate::model::Reach`] for divided
//! graphs; all ranks find it together.
//!
//! Hops are counted in rounds. A rank follows the edges that it has. Before the next round, ranks
//! with an edge between them send each other what they found. In the end a node and its copies have
//! the same number of hops, so that one rank sends exactly the rows that the other expects.

use gfm_pipe_api::OpResult;
use gfm_pipe_api::ranks::gather;
use gfm_pipe_kernels::csr::Csr;
use rayon::prelude::*;

use super::exchange::Exchange;
use super::rows::part_rows;
use crate::model::network::Network;
use crate::model::reach::{Compute, LayerRows, QueryNodes, cost, starts};

/// More hops than are counted.
const FAR: u8 = u8::MAX;

/// Number of hops, for each query, from its start nodes to every node of a part.
struct Hops {
    /// Per query, the hops by local number.
    of: Vec<Vec<u8>>,
    /// Per query, the nodes that the last round found.
    found: Vec<Vec<u32>>,
}

impl Hops {
    /// Start nodes per query, before the first round. All ranks know them.
    fn new(nodes: usize, from: impl Iterator<Item = Vec<u32>>) -> Self {
        let mut out = Hops {
            of: Vec::new(),
            found: Vec::new(),
        };
        for mut from in from {
            from.sort_unstable();
            from.dedup();
            let mut hops = vec![FAR; nodes];
            from.iter().for_each(|v| hops[*v as usize] = 0);
            out.of.push(hops);
            out.found.push(from);
        }
        out
    }

    /// Goes one more hop along the edges of this part.
    fn step(&mut self, edges: Csr<'_>, hop: u8) {
        let queries = self.of.par_iter_mut().zip(&mut self.found);
        queries.for_each(|(hops, found)| {
            let mut next = Vec::new();
            for u in std::mem::take(found) {
                let at = edges.offsets[u as usize] as usize..edges.offsets[u as usize + 1] as usize;
                for v in &edges.other[at] {
                    if hops[*v as usize] == FAR {
                        hops[*v as usize] = hop;
                        next.push(*v);
                    }
                }
            }
            *found = next;
        });
    }

    /// The hops of these nodes as a message, query by query.
    fn message(&self, nodes: impl Iterator<Item = u32> + Clone) -> Vec<u8> {
        let queries = self.of.iter();
        queries
            .flat_map(|hops| nodes.clone().map(|v| hops[v as usize]))
            .collect()
    }

    /// Reads a message about these nodes. A smaller number of hops replaces a larger one, and its
    /// node counts as found.
    fn receive(
        &mut self,
        nodes: impl Iterator<Item = u32> + Clone,
        message: &[u8],
    ) -> OpResult<()> {
        let count = nodes.clone().count() * self.of.len();
        let hops = gfm_pipe_api::ranks::numbers_of::<u8>(message, count)?;
        let mut received = hops.into_iter();
        for (hops, found) in self.of.iter_mut().zip(&mut self.found) {
            for (v, hop) in nodes.clone().zip(&mut received) {
                if hop < hops[v as usize] {
                    hops[v as usize] = hop;
                    found.push(v);
                }
            }
        }
        Ok(())
    }

    /// Sends the hops of own nodes to the ranks that have copies of them.
    fn send_to_copies(&mut self, exchange: &Exchange<'_>) -> OpResult<()> {
        let part = exchange.part;
        let to = part
            .to()
            .iter()
            .map(|nodes| self.message(nodes.iter().copied()));
        let got = exchange.send(to.collect(), |t| &mut t.reach)?;
        for (nodes, message) in part.from().iter().zip(&got) {
            self.receive(nodes.start as u32..nodes.end as u32, message)?;
        }
        Ok(())
    }

    /// Sends the hops of copies to the ranks that own the nodes.
    fn send_to_owners(&mut self, exchange: &Exchange<'_>) -> OpResult<()> {
        let part = exchange.part;
        let from = part.from().iter();
        let to = from.map(|nodes| self.message(nodes.start as u32..nodes.end as u32));
        let got = exchange.send(to.collect(), |t| &mut t.reach)?;
        for (nodes, message) in part.to().iter().zip(&got) {
            self.receive(nodes.iter().copied(), message)?;
        }
        Ok(())
    }
}

/// Hops from the seeds of each query, along the messages.
fn from_seeds(
    exchange: &Exchange<'_>,
    network: &Network<'_>,
    queries: QueryNodes<'_>,
) -> OpResult<Hops> {
    let (config, graph) = (&network.params.config, network.graph);
    let (_, out_of) = graph.flow(config.message_func.path());
    let starts = queries.seeds.iter().map(|s| starts(s).collect());
    let mut reached = Hops::new(graph.nodes(), starts);
    for hop in 1..=config.layers() {
        reached.step(out_of, hop as u8);
        // No layer reads copies of what the last layer reaches.
        if hop < config.layers() {
            reached.send_to_copies(exchange)?;
        }
    }
    Ok(reached)
}

/// Hops to the candidates of each query, along the messages; `None` if all nodes are candidates.
fn to_candidates(
    exchange: &Exchange<'_>,
    network: &Network<'_>,
    queries: QueryNodes<'_>,
) -> OpResult<Option<Hops>> {
    let Some(candidates) = queries.candidates else {
        return Ok(None);
    };
    let (config, graph) = (&network.params.config, network.graph);
    let (into, _) = graph.flow(config.message_func.path());
    let mut needed = Hops::new(graph.nodes(), candidates.iter().cloned());
    for hop in 1..=config.layers() {
        needed.step(into, hop as u8);
        needed.send_to_owners(exchange)?;
    }
    needed.send_to_copies(exchange)?;
    Ok(Some(needed))
}

/// The rows to compute, by the network's [`Compute`]. Seeds and candidates are local numbers, of
/// own nodes and copies. All ranks make the same choice.
pub(super) fn chosen(
    exchange: &Exchange<'_>,
    network: &Network<'_>,
    nodes: QueryNodes<'_>,
) -> OpResult<LayerRows> {
    let (config, compute) = (&network.params.config, network.compute);
    let (part, queries, layers) = (exchange.part, nodes.seeds.len(), config.layers());
    let whole = || part_rows(part, layers, queries, |_, _, q| q < queries);
    // Hops are counted only up to FAR.
    if compute == Compute::Dense || layers >= usize::from(FAR) {
        return Ok(whole());
    }
    let reached = from_seeds(exchange, network, nodes)?;
    let needed = to_candidates(exchange, network, nodes)?;
    let silent = config.starts_silent();
    let matters = |layer: usize, v: usize, q: usize| match &needed {
        Some(hops) => usize::from(hops.of[q][v]) <= layers - layer,
        None => true,
    };
    let reaches = |layer: usize, v: usize, q: usize| usize::from(reached.of[q][v]) <= layer;
    let sparse = part_rows(part, layers, queries, |layer, v, q| {
        if q < queries {
            return reaches(layer, v, q) && matters(layer, v, q);
        }
        let differs = |q| matters(layer, v, q) && !reaches(layer, v, q);
        !(layer == 0 && silent) && (0..queries).any(differs)
    });
    if compute == Compute::Sparse {
        return Ok(sparse);
    }
    // The slowest rank decides.
    let whole = whole();
    let cost = |rows: &LayerRows| {
        let written = rows.own.as_deref().unwrap_or_default();
        let path = config.message_func.path();
        cost(written, network.graph, path, config.input_dim)
    };
    let all = gather(exchange.ranks, &(cost(&sparse), cost(&whole)))?;
    let (sparse_costs, whole_costs): (Vec<f64>, Vec<f64>) = all.into_iter().unzip();
    let most = |costs: Vec<f64>| costs.into_iter().fold(0.0, f64::max);
    if most(sparse_costs) < most(whole_costs) {
        Ok(sparse)
    } else {
        Ok(whole)
    }
}
