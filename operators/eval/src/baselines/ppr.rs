//! Personalised PageRank from a question's start nodes, as in HippoRAG (Gutiérrez et al. 2024).
//!
//! The graph is undirected. The weight of an edge is the sum of the weights of the direct triples
//! between its two nodes, in either direction. Without weights each triple counts 1, so several
//! relations, or one triple several times, make a stronger edge. A triple from a node to itself
//! counts once. At every step the walker returns to the question's start nodes with the probability
//! [`RESTART`], or the one set by [`Ppr::restart`]; from a node without an edge it always returns.
//! Which start node it returns to is drawn by their weights: those given, or HippoRAG's node
//! specificity ([`specificity`]). A document's score is the mass of its own node where documents
//! are nodes, as in HippoRAG 2 (Gutiérrez et al. 2025), otherwise the sum of the masses of its
//! entities (the ranker `simple`).

use crate::{BadShape, EntityDocuments};

/// Probability of returning to the question's start nodes, as in HippoRAG.
pub const RESTART: f64 = 0.5;
/// The same where documents are nodes: they are one step farther from the start nodes, so the
/// walker returns less often.
pub const RESTART_WITH_PASSAGES: f64 = 0.3;
/// Iteration stops when the sum of the changes of all masses is below this.
const TOLERANCE: f64 = 1e-9;
/// Most steps of the iteration. The change shrinks by the factor 1 - restart at every step: about
/// 30 steps are needed for 0.5, 60 for 0.3, 400 for 0.05.
pub(super) const MAX_STEPS: usize = 400;

/// A graph to walk on.
pub struct Ppr {
    pub(super) offsets: Vec<usize>,
    pub(super) neighbours: Vec<u32>,
    /// For each entry of `neighbours`: probability of the step from that neighbour to the row's
    /// node.
    pub(super) steps: Vec<f64>,
    /// For each node: the weight of its edges together.
    pub(super) weights: Vec<f64>,
    pub(super) isolated: Vec<u32>,
    pub(super) restart: f64,
}

impl Ppr {
    /// Builds the graph from the heads, tails and weights of the direct triples, which are read
    /// twice. Triples of weight 0 are left out.
    ///
    /// # Errors
    /// When an id is out of range, or a weight is negative or not finite.
    pub fn new(
        num_entities: usize,
        triples: impl IntoIterator<Item = (u32, u32, f64), IntoIter: Clone>,
    ) -> Result<Self, BadShape> {
        let edges = triples.into_iter();
        let mut offsets = vec![0; num_entities + 1];
        for (h, t, weight) in edges.clone() {
            let largest = h.max(t);
            if largest as usize >= num_entities {
                return Err(BadShape(format!(
                    "entity {largest} of {num_entities} in a triple"
                )));
            }
            if !weight.is_finite() || weight < 0.0 {
                return Err(BadShape(format!("a triple weighs {weight}")));
            }
            if weight > 0.0 {
                offsets[h as usize + 1] += 1;
                if h != t {
                    offsets[t as usize + 1] += 1;
                }
            }
        }
        for i in 0..num_entities {
            offsets[i + 1] += offsets[i];
        }
        // The ends of the edges of each node, in the order of the triples.
        let ends = offsets[num_entities];
        let (mut neighbours, mut steps) = (vec![0; ends], vec![0.0; ends]);
        let mut next = offsets.clone();
        let mut put = |from: u32, to: u32, weight: f64| {
            let at = &mut next[from as usize];
            (neighbours[*at], steps[*at]) = (to, weight);
            *at += 1;
        };
        for (h, t, weight) in edges.filter(|(.., weight)| *weight > 0.0) {
            put(h, t, weight);
            if h != t {
                put(t, h, weight);
            }
        }
        let mut graph = Ppr {
            offsets,
            neighbours,
            steps,
            weights: vec![0.0; num_entities],
            isolated: Vec::new(),
            restart: RESTART,
        };
        graph.join_edges();
        graph.divide_weights();
        Ok(graph)
    }

    /// Sorts the neighbours of each node, joins those that are the same, and adds up the weights.
    fn join_edges(&mut self) {
        let (mut row, mut written) = (Vec::new(), 0);
        for node in 0..self.weights.len() {
            let ends = self.offsets[node]..self.offsets[node + 1];
            row.clear();
            row.extend(ends.map(|at| (self.neighbours[at], self.steps[at])));
            // Stable, so that weights are summed in the order of the triples.
            row.sort_by_key(|(to, _)| *to);
            self.weights[node] = row.iter().map(|(_, weight)| weight).sum();
            self.offsets[node] = written;
            for same in row.chunk_by(|a, b| a.0 == b.0) {
                self.neighbours[written] = same[0].0;
                self.steps[written] = same.iter().map(|(_, weight)| weight).sum();
                written += 1;
            }
        }
        if let Some(last) = self.offsets.last_mut() {
            *last = written;
        }
        self.neighbours.truncate(written);
        self.steps.truncate(written);
        self.neighbours.shrink_to_fit();
        self.steps.shrink_to_fit();
    }

    /// Makes probabilities of the weights of edges.
    fn divide_weights(&mut self) {
        for (to, step) in self.neighbours.iter().zip(&mut self.steps) {
            *step /= self.weights[*to as usize];
        }
        let none = (0..)
            .zip(&self.weights)
            .filter(|(_, weight)| **weight == 0.0);
        self.isolated = none.map(|(id, _)| id).collect();
    }

    /// Sets the probability of returning to the start nodes, above 0 and at most 1.
    #[must_use]
    pub fn restart(self, restart: f64) -> Self {
        Ppr { restart, ..self }
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The probability of returning to the start nodes.
    pub fn returns(&self) -> f64 {
        self.restart
    }

    /// The distinct start nodes, in increasing order, with their shares of what returns. When a
    /// node is given twice, the first weight counts.
    pub(super) fn shares(&self, starts: &[(u32, f64)]) -> Result<Vec<(u32, f64)>, BadShape> {
        let nodes = self.nodes();
        let mut seeds = starts.to_vec();
        seeds.sort_by_key(|s| s.0);
        seeds.dedup_by_key(|s| s.0);
        if let Some((largest, _)) = seeds.last().filter(|s| s.0 as usize >= nodes) {
            return Err(BadShape(format!("start node {largest} of {nodes} nodes")));
        }
        let total: f64 = seeds.iter().map(|s| s.1).sum();
        for seed in &mut seeds {
            seed.1 /= total;
        }
        Ok(seeds)
    }

    /// The mass of every node for a question; the masses add up to 1, or nearly in large graphs,
    /// where those far from the starts are left out (see `walks_nearby.rs`). `starts` are the
    /// question's start nodes with their weights, which must be above 0. When a node is given
    /// twice, the first weight counts. `None` without a start node.
    ///
    /// # Errors
    /// When an id is out of range.
    pub fn masses(&self, starts: &[(u32, f64)]) -> Result<Option<Vec<f64>>, BadShape> {
        if self.is_large() {
            return self.nearby(starts, self.restart);
        }
        let nodes = self.nodes();
        let seeds = self.shares(starts)?;
        if seeds.is_empty() {
            return Ok(None);
        }
        let mut mass = vec![0.0; nodes];
        for &(s, share) in &seeds {
            mass[s as usize] = share;
        }
        let mut next = vec![0.0; nodes];
        for _ in 0..MAX_STEPS {
            for (v, out) in next.iter_mut().enumerate() {
                let row = self.offsets[v]..self.offsets[v + 1];
                let arriving: f64 = self.neighbours[row.clone()]
                    .iter()
                    .zip(&self.steps[row])
                    .map(|(&u, p)| mass[u as usize] * p)
                    .sum();
                *out = (1.0 - self.restart) * arriving;
            }
            let stuck: f64 = self.isolated.iter().map(|&u| mass[u as usize]).sum();
            let back = self.restart + (1.0 - self.restart) * stuck;
            for &(s, share) in &seeds {
                next[s as usize] += back * share;
            }
            let change: f64 = mass.iter().zip(&next).map(|(a, b)| (a - b).abs()).sum();
            std::mem::swap(&mut mass, &mut next);
            if change < TOLERANCE {
                break;
            }
        }
        Ok(Some(mass))
    }
}

/// Question entities with their weights as start nodes. If `weighted`, a weight is 1 / number of
/// documents that mention the entity (HippoRAG, section 2.3), or 1 where no document does, as in
/// HippoRAG's code. Otherwise all weights are 1.
pub fn specificity(
    entities: &[u32],
    documents: &EntityDocuments,
    weighted: bool,
) -> Vec<(u32, f64)> {
    let weight = |e: u32| match if weighted { documents.weight(e) } else { 0.0 } {
        share if share > 0.0 => share,
        _ => 1.0,
    };
    entities.iter().map(|e| (*e, weight(*e))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::rankers::SIMPLE;

    /// Triples of weight 1.
    fn plain(pairs: &[(u32, u32)]) -> Vec<(u32, u32, f64)> {
        pairs.iter().map(|(h, t)| (*h, *t, 1.0)).collect()
    }

    fn even(entities: &[u32]) -> Vec<(u32, f64)> {
        entities.iter().map(|e| (*e, 1.0)).collect()
    }

    #[test]
    fn a_specific_entity_pulls_more() {
        // Two entities without an edge: mass stays where it starts. Entity 0 is in three documents,
        // 1 in one, 2 in none.
        let graph = Ppr::new(3, plain(&[])).unwrap();
        let pairs = [(0, 0), (0, 1), (0, 2), (1, 0)];
        let documents = EntityDocuments::from_pairs(3, 3, pairs).unwrap();
        let seeds = specificity(&[0, 1, 2], &documents, true);
        assert_eq!(seeds, [(0, 1.0 / 3.0), (1, 1.0), (2, 1.0)]);
        close(
            &graph.masses(&seeds[..2]).unwrap().unwrap(),
            &[0.25, 0.75, 0.0],
        );
        assert_eq!(
            specificity(&[0, 1], &documents, false),
            [(0, 1.0), (1, 1.0)]
        );
    }

    fn close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() < 1e-8, "{got:?} {want:?}");
        }
    }

    #[test]
    fn hand_computed_masses_on_a_path() {
        // 0 - 1 - 2 from 0: x0 = 1/2 + x1/4, x1 = x0/2 + x2/2, x2 = x1/4, so x1 = 2/7, x0 = 4/7 +
        // 0, x2 = 1/14 … exactly: x1 = x0/2 + x1/8 => x0 = 7/4 x1; 7/4 x1 = 1/2 + x1/4 => x1 = 1/3,
        // x0 = 7/12, x2 = 1/12.
        let graph = Ppr::new(3, plain(&[(0, 1), (2, 1)])).unwrap();
        let masses = graph.masses(&even(&[0])).unwrap().unwrap();
        close(&masses, &[7.0 / 12.0, 1.0 / 3.0, 1.0 / 12.0]);
        // A document scores the mass of its entities.
        let documents = EntityDocuments::from_pairs(3, 2, [(1, 0), (2, 0), (0, 1)]).unwrap();
        close(
            &SIMPLE.whole().documents(&masses, &documents),
            &[5.0 / 12.0, 7.0 / 12.0],
        );
    }

    #[test]
    fn several_triples_between_two_entities_weigh_more() {
        // 1 has two triples with 0 (one each way) and one with 2; from 1: x0 = x1/2 * 2/3 = x1/3,
        // x2 = x1/6, x1 = 1/2 + (x0 + x2)/2 = 1/2 + x1/4 => x1 = 2/3, x0 = 2/9, x2 = 1/9.
        let graph = Ppr::new(3, plain(&[(0, 1), (1, 0), (1, 2)])).unwrap();
        close(
            &graph.masses(&even(&[1])).unwrap().unwrap(),
            &[2.0 / 9.0, 2.0 / 3.0, 1.0 / 9.0],
        );
    }

    #[test]
    fn heavier_triples_are_taken_more_often() {
        // The same walk as above, by weights; a triple of weight 0 is ignored.
        let triples = [(1, 0, 1.5), (0, 1, 0.5), (2, 1, 1.0), (3, 1, 0.0)];
        let graph = Ppr::new(4, triples).unwrap();
        close(
            &graph.masses(&even(&[1])).unwrap().unwrap(),
            &[2.0 / 9.0, 2.0 / 3.0, 1.0 / 9.0, 0.0],
        );
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(Ppr::new(2, [(0, 1, bad)]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_walker_that_seldom_returns_gets_farther() {
        // 0 - 1 from 0 with restart 1/4: x0 = 1/4 + 3/4 x1, x1 = 3/4 x0 => x0 = 4/7.
        let graph = Ppr::new(2, plain(&[(0, 1)])).unwrap().restart(0.25);
        let masses = graph.masses(&even(&[0])).unwrap().unwrap();
        close(&masses, &[4.0 / 7.0, 3.0 / 7.0]);
        let stays = Ppr::new(2, plain(&[(0, 1)])).unwrap().restart(1.0);
        close(&stays.masses(&even(&[0])).unwrap().unwrap(), &[1.0, 0.0]);
    }

    #[test]
    fn a_loop_keeps_half_of_what_leaves() {
        // 0 has a loop and an edge to 1: x1 = x0/4, x0 = 1/2 + x0/4 + x1/2 => x0 (1 - 1/4 - 1/8) =
        // 1/2 => x0 = 4/5.
        let graph = Ppr::new(2, plain(&[(0, 0), (0, 1)])).unwrap();
        close(&graph.masses(&even(&[0])).unwrap().unwrap(), &[0.8, 0.2]);
    }

    #[test]
    fn mass_on_isolated_entities_returns_to_the_question() {
        // 0 - 1, 2 alone; from {0, 2} (and 0 named twice): x2 = 1/4 + x2/4 (its own half of what
        // returns), x2 = 1/3; x0 = 1/4 + x2/4 + x1/2 = 1/3 + x1/2, x1 = x0/2 => x0 = 4/9, x1 = 2/9.
        let graph = Ppr::new(3, plain(&[(0, 1)])).unwrap();
        let masses = graph.masses(&even(&[2, 0, 0])).unwrap().unwrap();
        close(&masses, &[4.0 / 9.0, 2.0 / 9.0, 1.0 / 3.0]);
        assert!((masses.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn without_a_question_entity_there_is_nothing_to_rank() {
        let graph = Ppr::new(2, plain(&[(0, 1)])).unwrap();
        assert_eq!(graph.masses(&even(&[])).unwrap(), None);
        assert!(graph.masses(&even(&[2])).is_err());
        assert!(Ppr::new(2, plain(&[(0, 2)])).is_err());
    }
}
