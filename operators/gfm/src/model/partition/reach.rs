//! Which states a pass over parts has to compute: as [`crate::model::Reach`], found together.
//!
//! Hops are counted in rounds. A rank follows the edges it has, and where they lead to another's node, or from one, the two tell each other
//! before the next round. In the end a node and its copies have the same hops, so that the rows which one rank sends are those for which the
//! other has places.

use gfm_pipe_api::OpResult;
use gfm_pipe_api::ranks::gather;
use gfm_pipe_kernels::rspmm::Csr;
use rayon::prelude::*;

use super::exchange::Exchange;
use super::rows::PartRows;
use crate::graph::Graph;
use crate::model::ModelConfig;
use crate::model::network::Compute;
use crate::model::reach::{FAR, cost, starts, zeros_are_silent};
use crate::ops::Seeds;

/// Hops from some nodes, for each query, to every node that is here.
struct Hops {
    /// For each query, of each local number.
    of: Vec<Vec<u8>>,
    /// For each query, whom the last round found.
    found: Vec<Vec<u32>>,
}

impl Hops {
    /// None from these, which all ranks know.
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
    fn say(&self, nodes: impl Iterator<Item = u32> + Clone) -> Vec<u8> {
        let queries = self.of.iter();
        queries
            .flat_map(|hops| nodes.clone().map(|v| hops[v as usize]))
            .collect()
    }

    /// Takes what a message says of some nodes: what is nearer counts, and is found.
    fn hear(&mut self, nodes: impl Iterator<Item = u32> + Clone, message: &[u8]) -> OpResult<()> {
        let count = nodes.clone().count() * self.of.len();
        let said = gfm_pipe_api::ranks::numbers_of::<u8>(message, count)?;
        let mut said = said.into_iter();
        for (hops, found) in self.of.iter_mut().zip(&mut self.found) {
            for (v, hop) in nodes.clone().zip(&mut said) {
                if hop < hops[v as usize] {
                    hops[v as usize] = hop;
                    found.push(v);
                }
            }
        }
        Ok(())
    }

    /// Own nodes' hops to those that have copies.
    fn tell_copies(&mut self, exchange: &Exchange<'_>) -> OpResult<()> {
        let part = exchange.part;
        let to = part
            .to()
            .iter()
            .map(|nodes| self.say(nodes.iter().copied()));
        let got = exchange.send(to.collect(), |t| &mut t.reach)?;
        for (nodes, message) in part.from().iter().zip(&got) {
            self.hear(nodes.start as u32..nodes.end as u32, message)?;
        }
        Ok(())
    }

    /// Copies' hops to those that have the nodes.
    fn tell_owners(&mut self, exchange: &Exchange<'_>) -> OpResult<()> {
        let part = exchange.part;
        let from = part.from().iter();
        let to = from.map(|nodes| self.say(nodes.start as u32..nodes.end as u32));
        let got = exchange.send(to.collect(), |t| &mut t.reach)?;
        for (nodes, message) in part.to().iter().zip(&got) {
            self.hear(nodes.iter().copied(), message)?;
        }
        Ok(())
    }
}

/// The rows to compute, in the way asked for; seeds and candidates are those that are here, copies among them. All ranks decide the same.
pub(super) fn chosen(
    exchange: &Exchange<'_>,
    (config, graph): (&ModelConfig, &Graph),
    compute: Compute,
    (seeds, candidates): (&Seeds, Option<Vec<Vec<u32>>>),
) -> OpResult<PartRows> {
    let (part, queries, layers) = (exchange.part, seeds.len(), config.layers());
    let whole = || PartRows::new(part, (layers, queries), |_, _, q| q < queries);
    // Hops are counted up to what is far.
    if matches!(compute, Compute::Dense | Compute::Whole) || layers >= usize::from(FAR) {
        return Ok(whole());
    }
    let path = config.message_func.path();
    let (into, out_of) = path.flow(graph);
    let nodes = graph.nodes();
    let mut reached = Hops::new(nodes, seeds.iter().map(|s| starts(s).collect()));
    for hop in 1..=layers {
        reached.step(out_of, hop as u8);
        // No layer sees copies of what the last one reaches.
        if hop < layers {
            reached.tell_copies(exchange)?;
        }
    }
    let mut needed = candidates.map(|all| Hops::new(nodes, all.into_iter()));
    if let Some(needed) = &mut needed {
        for hop in 1..=layers {
            needed.step(into, hop as u8);
            needed.tell_owners(exchange)?;
        }
        needed.tell_copies(exchange)?;
    }
    let silent = zeros_are_silent(config.message_func);
    let matters = |layer: usize, v: usize, q: usize| match &needed {
        Some(hops) => usize::from(hops.of[q][v]) <= layers - layer,
        None => true,
    };
    let reaches = |layer: usize, v: usize, q: usize| usize::from(reached.of[q][v]) <= layer;
    let sparse = PartRows::new(part, (layers, queries), |layer, v, q| {
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
    let cost = |rows: &PartRows| cost(&rows.to, graph, path, config.input_dim);
    let all = gather(exchange.ranks, &(cost(&sparse), cost(&whole)))?;
    let most = |of: fn(&(f64, f64)) -> f64| all.iter().map(of).fold(0.0, f64::max);
    match most(|c| c.0) < most(|c| c.1) {
        true => Ok(sparse),
        false => Ok(whole),
    }
}
