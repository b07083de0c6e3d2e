//! Personalised PageRank of large graphs, where only what is near the starts is visited.
//!
//! This is the approximation of Andersen, Chung and Lang (Local Graph Partitioning using PageRank
//! Vectors, FOCS 2006). A walker that has arrived at a node and has not gone on yet is *waiting*
//! there. At first all wait at the starts. A node is settled by letting its walkers end there with
//! the probability of returning, and sending the others to its neighbours. Nodes are settled until
//! none has more than [`LEAST`] waiting for each edge of mean weight that it has. Then the mass of
//! no node is off by more than [`LEAST`] for each of these edges, because the graph is undirected.
//! At most `1 / (LEAST * restart)` such edges are followed in all, whatever the size of the graph.
//!
//! Nodes are settled in the order in which enough walkers arrived, on one thread: the masses have
//! the same bits with any number of threads.

use std::collections::VecDeque;

use super::ppr::Ppr;
use crate::BadShape;

/// Most walkers that may be left waiting at a node, for each edge of mean weight.
const LEAST: f64 = 1e-7;
/// Number of steps between neighbours from which on a graph is large. Visiting all nodes is faster
/// in smaller ones, and exact.
pub(super) const LARGE: usize = 4 << 20;

impl Ppr {
    /// Whether masses are those of walks near the starts.
    pub(super) fn is_large(&self) -> bool {
        self.neighbours.values().len() >= LARGE
    }

    /// Most walkers that may be left waiting at a node, divided by the weight of its edges.
    fn least(&self) -> f64 {
        let all: f64 = self.weights.iter().sum();
        match self.neighbours.values().len() {
            0 => LEAST,
            edges => LEAST * edges as f64 / all,
        }
    }

    /// The mass of every node, nearly: see [`Ppr::masses`]. `restart` is the probability of
    /// returning.
    pub(super) fn nearby(
        &self,
        starts: &[(u32, f64)],
        restart: f64,
    ) -> Result<Option<Vec<f64>>, BadShape> {
        let shares = self.shares(starts)?;
        if shares.is_empty() {
            return Ok(None);
        }
        let isolated = |node: u32| self.isolated.binary_search(&node).is_ok();
        let (goes_on, least) = (1.0 - restart, self.least());
        // Walkers at nodes without an edge return, and are drawn again among all starts.
        let stuck: f64 = shares.iter().filter(|s| isolated(s.0)).map(|s| s.1).sum();
        let drawn = 1.0 / (1.0 - goes_on * stuck);
        // Both are divided by the weight of the node's edges.
        let mut ended = vec![0.0_f64; self.nodes()];
        let mut waiting = vec![0.0_f64; self.nodes()];
        let mut queued = vec![false; self.nodes()];
        let mut queue = VecDeque::new();
        for (start, share) in shares.iter().filter(|s| !isolated(s.0)) {
            let node = *start as usize;
            waiting[node] = drawn * share / self.weights[node];
            if waiting[node] > least {
                queued[node] = true;
                queue.push_back(node);
            }
        }
        while let Some(node) = queue.pop_front() {
            queued[node] = false;
            let here = std::mem::take(&mut waiting[node]);
            ended[node] += restart * here;
            for (to, step) in self.arriving(node) {
                // The step is the one from `to` to here: the weight of the edge, divided by that of
                // all edges of `to`.
                waiting[to] += goes_on * here * step;
                if waiting[to] > least && !queued[to] {
                    queued[to] = true;
                    queue.push_back(to);
                }
            }
        }
        // Of those who still wait, some would end where they are.
        let nodes = ended.iter_mut().zip(&waiting).zip(&self.weights);
        nodes.for_each(|((mass, waits), weight)| *mass = (*mass + restart * waits) * weight);
        for (start, share) in shares.iter().filter(|s| isolated(s.0)) {
            ended[*start as usize] = restart * drawn * share;
        }
        Ok(Some(ended))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::baselines::walks_at_once::WalkFrom;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_mass_is_off_by_more_than_its_weight_allows(
            edges in prop::collection::vec((0u32..40, 0u32..40, 0.1..3.0f64), 0..90),
            starts in prop::collection::vec((0u32..40, 0.1..2.0f64), 0..4),
            restart in 0.05..1.0f64,
        ) {
            let graph = Ppr::new(40, edges.iter().copied()).unwrap().restart(restart);
            let exact = graph.masses(&starts).unwrap();
            let near = graph.nearby(&starts, restart).unwrap();
            prop_assert_eq!(exact.is_some(), near.is_some());
            // The unit of weights does not matter.
            for unit in [1.0 / 8192.0, 8192.0] {
                let scaled = edges.iter().map(|(h, t, weight)| (*h, *t, weight * unit));
                let scaled = Ppr::new(40, scaled).unwrap().nearby(&starts, restart).unwrap();
                prop_assert_eq!(&near, &scaled);
            }
            let pairs = exact.iter().flatten().zip(near.iter().flatten());
            for ((a, b), weight) in pairs.zip(&graph.weights) {
                // The exact masses are off by about 1e-9 / restart themselves.
                prop_assert!((a - b).abs() <= weight * graph.least() + 1e-7, "{} {}", a, b);
            }
        }
    }

    #[test]
    fn far_nodes_are_not_visited() {
        // A long path, and a hub far away.
        let long = LARGE as u32 / 2;
        let path = (0..long).map(|v| (v, v + 1, 1.0));
        let hub = (0..1000).map(|leaf| (long, long + 1 + leaf, 1.0));
        let nodes = long as usize + 1001;
        let mut graph = Ppr::new(nodes, path.chain(hub)).unwrap();
        assert!(graph.is_large());
        let masses = graph.masses(&[(10, 1.0)]).unwrap().unwrap();
        let from = |restart| WalkFrom {
            starts: vec![(10, 1.0)],
            restart,
        };
        let each = graph.masses_of_each(&[from(0.5), from(0.9)]).unwrap();
        let [same, other] = [0, 1].map(|walk| each[walk].as_ref().unwrap()[10]);
        assert!(same == masses[10] as f32 && other > same + 0.1);
        assert!(masses[10] > 0.5 && masses[18] > 0.0);
        assert!(masses[100..].iter().all(|mass| *mass == 0.0));
        let sum: f64 = masses.iter().sum();
        assert!(sum > 0.999_99 && sum < 1.000_000_1, "{sum}");
        assert!(graph.masses(&[(nodes as u32, 1.0)]).is_err());
        // Probabilities that are computed when they are needed have the same bits.
        graph.divide_weights(usize::MAX);
        assert_eq!(graph.masses(&[(10, 1.0)]).unwrap().unwrap(), masses);
    }
}
