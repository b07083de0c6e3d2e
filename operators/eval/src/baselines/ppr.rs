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

use gfm_pipe_api::lists::Lists;

use super::walks_nearby::LARGE;
use crate::by_node::{ByNode, check_ends};
use crate::numbers::{self, Numbers};
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
    /// The neighbours of each node, ascending.
    pub(super) neighbours: Lists,
    steps: Steps,
    /// For each node: the weight of its edges together.
    pub(super) weights: Vec<f64>,
    pub(super) isolated: Vec<u32>,
    pub(super) restart: f64,
}

/// What tells, for each neighbour in the row of a node, the probability of the step from that
/// neighbour to the node.
enum Steps {
    /// The probabilities.
    Known(Vec<f64>),
    /// The weights of the edges, of which few are different: they take a quarter of the memory.
    Weights(Numbers<f64>),
}

impl Ppr {
    /// Builds the graph from the heads, tails and weights of the direct triples. Triples of weight
    /// 0 are left out.
    ///
    /// # Errors
    /// When an id is out of range, or a weight is negative or not finite.
    pub fn new(
        num_entities: usize,
        triples: impl IntoIterator<Item = (u32, u32, f64)>,
    ) -> Result<Self, BadShape> {
        let edges: Vec<(u32, u32, f64)> = triples.into_iter().collect();
        let ends = edges.iter().map(|(head, tail, _)| (*head, *tail));
        check_ends(num_entities, ends.clone())?;
        let by_node = ByNode::new(num_entities, ends);
        Self::of_edges(num_entities, &by_node, |row| Some(edges[row as usize]))
    }

    /// Builds the graph from some of the triples of each node: `edge` returns the head, tail and
    /// weight of a row, or nothing where it is not used.
    ///
    /// # Errors
    /// When a weight is negative or not finite.
    pub fn of_edges(
        num_entities: usize,
        by_node: &ByNode,
        edge: impl Fn(u32) -> Option<(u32, u32, f64)>,
    ) -> Result<Self, BadShape> {
        let mut neighbours = Lists::default();
        let mut of_edges = numbers::Builder::new(0, f64::to_bits);
        let mut weights = Vec::with_capacity(num_entities);
        let mut ends: Vec<(u32, f64)> = Vec::new();
        for node in (0..=u32::MAX).take(num_entities) {
            ends.clear();
            for (head, tail, weight) in by_node.of(node).iter().filter_map(|row| edge(*row)) {
                check_weight(weight)?;
                if weight > 0.0 {
                    ends.push((if head == node { tail } else { head }, weight));
                }
            }
            // Stable, so that weights are summed in the order of the triples.
            ends.sort_by_key(|(to, _)| *to);
            weights.push(ends.iter().map(|(_, weight)| weight).sum());
            let joined = ends.chunk_by(|a, b| a.0 == b.0);
            neighbours.push(joined.clone().map(|same| same[0].0));
            joined.for_each(|same| of_edges.push(same.iter().map(|(_, weight)| weight).sum()));
        }
        neighbours.shrink();
        let none = (0..).zip(&weights).filter(|(_, weight)| **weight == 0.0);
        let mut graph = Ppr {
            isolated: none.map(|(id, _)| id).collect(),
            neighbours,
            steps: Steps::Weights(of_edges.finish()),
            weights,
            restart: RESTART,
        };
        graph.divide_weights(LARGE);
        Ok(graph)
    }

    /// Makes probabilities of the weights of edges, unless there are at least `most` of them and
    /// few are different.
    pub(super) fn divide_weights(&mut self, most: usize) {
        let steps = match &self.steps {
            Steps::Weights(Numbers::Few { of, .. }) if of.len() >= most => return,
            _ => (0..self.neighbours.values().len()).map(|place| self.step(place)),
        };
        self.steps = Steps::Known(steps.collect());
    }

    /// The probability of the step from the neighbour in a place to the node in whose row it is.
    pub(super) fn step(&self, place: usize) -> f64 {
        match &self.steps {
            Steps::Known(steps) => steps[place],
            Steps::Weights(weights) => {
                let from = self.neighbours.values()[place];
                weights.at(place) / self.weights[from as usize]
            }
        }
    }

    /// The neighbours of a node with the probabilities of the steps from them.
    pub(super) fn arriving(&self, node: usize) -> impl Iterator<Item = (usize, f64)> {
        let row = self.neighbours.range(node);
        let neighbours = self.neighbours.values()[row.clone()].iter();
        let steps = row.map(|place| self.step(place));
        neighbours.map(|from| *from as usize).zip(steps)
    }

    /// Sets the probability of returning to the start nodes, above 0 and at most 1.
    #[must_use]
    pub fn restart(self, restart: f64) -> Self {
        Ppr { restart, ..self }
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.weights.len()
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
                let arriving: f64 = self.arriving(v).map(|(u, p)| mass[u] * p).sum();
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

/// Checks the weight of a triple.
///
/// # Errors
/// When it is negative or not finite.
pub fn check_weight(weight: f64) -> Result<(), BadShape> {
    if weight.is_finite() && weight >= 0.0 {
        return Ok(());
    }
    Err(BadShape(format!("a triple weighs {weight}")))
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
