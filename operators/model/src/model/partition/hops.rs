//! Which states a pass over parts has to compute: as [`crate::model::Reach`], found by all ranks together.
//!
//! Hops are counted in rounds. A rank follows the edges it has; where they lead to another rank's node, or from one, the
//! two ranks send each other what they found before the next round. In the end a node and its copies have the same hops, so
//! that the rows which one rank sends are those for which the other has places.

use gfm_pipe_api::OpResult;
use gfm_pipe_api::ranks::gather;
use gfm_pipe_kernels::csr::Csr;
use rayon::prelude::*;

use super::exchange::Exchange;
use super::rows::part_rows;
use crate::graph::Graph;
use crate::model::ModelConfig;
use crate::model::reach::{Compute, FAR, LayerRows, cost, starts};
use crate::ops::Seeds;

/// Hops from some nodes, for each query, to every node that is here.
struct Hops {
    /// For each query, the hops of each local number.
    of: Vec<Vec<u8>>,
    /// For each query, the nodes that the last round found.
    found: Vec<Vec<u32>>,
}

impl Hops {
    /// No hops yet from these nodes, which all ranks know.
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

    /// One hop more, along the edges that are here.
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

    /// Hops of some nodes as a message, query by query.
    fn message(&self, nodes: impl Iterator<Item = u32> + Clone) -> Vec<u8> {
        let queries = self.of.iter();
        queries
            .flat_map(|hops| nodes.clone().map(|v| hops[v as usize]))
            .collect()
    }

    /// Reads a message about some nodes: smaller hops count, and their nodes are found.
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

/// The rows to compute with `compute`; seeds and candidates are those that are here, copies among them. All ranks decide
/// the same.
pub(super) fn chosen(
    exchange: &Exchange<'_>,
    (config, graph): (&ModelConfig, &Graph),
    compute: Compute,
    (seeds, candidates): (&Seeds, Option<Vec<Vec<u32>>>),
) -> OpResult<LayerRows> {
    let (part, queries, layers) = (exchange.part, seeds.len(), config.layers());
    let whole = || part_rows(part, layers, queries, |_, _, q| q < queries);
    // Hops are counted up to what is far.
    if compute == Compute::Dense || layers >= usize::from(FAR) {
        return Ok(whole());
    }
    let path = config.message_func.path();
    let (into, out_of) = graph.flow(path);
    let nodes = graph.nodes();
    let mut reached = Hops::new(nodes, seeds.iter().map(|s| starts(s).collect()));
    for hop in 1..=layers {
        reached.step(out_of, hop as u8);
        // No layer sees copies of what the last one reaches.
        if hop < layers {
            reached.send_to_copies(exchange)?;
        }
    }
    let mut needed = candidates.map(|all| Hops::new(nodes, all.into_iter()));
    if let Some(needed) = &mut needed {
        for hop in 1..=layers {
            needed.step(into, hop as u8);
            needed.send_to_owners(exchange)?;
        }
        needed.send_to_copies(exchange)?;
    }
    let silent = config.message_func.zeros_are_silent();
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
        cost(written, graph, path, config.input_dim)
    };
    let all = gather(exchange.ranks, &(cost(&sparse), cost(&whole)))?;
    let most = |of: fn(&(f64, f64)) -> f64| all.iter().map(of).fold(0.0, f64::max);
    if most(|c| c.0) < most(|c| c.1) {
        Ok(sparse)
    } else {
        Ok(whole)
    }
}
