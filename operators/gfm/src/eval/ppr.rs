//! Personalised PageRank from a question's entities, as HippoRAG retrieves (Gutiérrez et al. 2024), without its synonym edges.
//!
//! The graph is undirected: two entities are joined with a weight that is the number of direct triples between them, in
//! either direction (several relations, or one triple several times, are a stronger tie); a triple from an entity to itself
//! counts once. At every step the walker returns to the question's entities with probability 0.5, and always from an entity
//! without an edge; to which of them is drawn by their weights, HippoRAG's node specificity ([`specificity`]). A document scores the
//! mass of its entities (`Ranker::Simple`).

use super::{BadShape, EntityDocuments};

/// Probability of returning to the question's entities.
const RESTART: f64 = 0.5;
/// Iteration stops when the masses change by less than this in sum.
const TOLERANCE: f64 = 1e-9;
/// And here in any case; the change halves at every step, so about 31 are needed.
const MAX_STEPS: usize = 100;

/// A graph to walk on.
pub struct Ppr {
    offsets: Vec<usize>,
    neighbours: Vec<u32>,
    /// Probability of the step from the neighbour to the row's entity.
    steps: Vec<f64>,
    isolated: Vec<u32>,
}

impl Ppr {
    /// From the heads and tails of the direct triples.
    ///
    /// # Errors
    /// When an id is out of range or there are not as many tails as heads.
    pub fn new(num_entities: usize, heads: &[u32], tails: &[u32]) -> Result<Self, BadShape> {
        if heads.len() != tails.len() {
            return Err(BadShape(format!(
                "{} heads, {} tails",
                heads.len(),
                tails.len()
            )));
        }
        let mut pairs = Vec::with_capacity(2 * heads.len());
        for (&h, &t) in heads.iter().zip(tails) {
            let largest = h.max(t);
            if largest as usize >= num_entities {
                return Err(BadShape(format!(
                    "entity {largest} of {num_entities} in a triple"
                )));
            }
            pairs.push((h, t));
            if h != t {
                pairs.push((t, h));
            }
        }
        pairs.sort_unstable();
        let mut degrees = vec![0.0f64; num_entities];
        for (from, _) in &pairs {
            degrees[*from as usize] += 1.0;
        }
        let mut graph = Ppr {
            offsets: vec![0; num_entities + 1],
            neighbours: Vec::new(),
            steps: Vec::new(),
            isolated: (0..=u32::MAX)
                .zip(&degrees)
                .filter(|(_, d)| **d == 0.0)
                .map(|(id, _)| id)
                .collect(),
        };
        for same in pairs.chunk_by(|a, b| a == b) {
            let (row, neighbour) = same[0];
            graph.offsets[row as usize + 1] += 1;
            graph.neighbours.push(neighbour);
            graph
                .steps
                .push(same.len() as f64 / degrees[neighbour as usize]);
        }
        for i in 0..num_entities {
            graph.offsets[i + 1] += graph.offsets[i];
        }
        Ok(graph)
    }

    /// Mass of every entity for a question, in sum 1, from its entities with their weights (above 0; of an entity given twice the
    /// first counts); `None` without a question entity.
    ///
    /// # Errors
    /// When an id is out of range.
    pub fn masses(&self, question_entities: &[(u32, f64)]) -> Result<Option<Vec<f64>>, BadShape> {
        let nodes = self.offsets.len() - 1;
        let mut seeds = question_entities.to_vec();
        seeds.sort_by_key(|s| s.0);
        seeds.dedup_by_key(|s| s.0);
        let Some(&(largest, _)) = seeds.last() else {
            return Ok(None);
        };
        if largest as usize >= nodes {
            return Err(BadShape(format!(
                "question entity {largest} of {nodes} entities"
            )));
        }
        let total: f64 = seeds.iter().map(|s| s.1).sum();
        for seed in &mut seeds {
            seed.1 /= total;
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
                *out = (1.0 - RESTART) * arriving;
            }
            let stuck: f64 = self.isolated.iter().map(|&u| mass[u as usize]).sum();
            let back = RESTART + (1.0 - RESTART) * stuck;
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

/// Question entities with their weights: 1 / number of documents that mention the entity (HippoRAG, section 2.3), 1 where none
/// does, as its program has it; or 1 for all.
pub fn specificity(
    entities: &[u32],
    documents: &EntityDocuments,
    weighted: bool,
) -> Vec<(u32, f64)> {
    let weight = |e: u32| match documents.weight(e) {
        w if weighted && w > 0.0 => w,
        _ => 1.0,
    };
    entities.iter().map(|e| (*e, weight(*e))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::rankers::Ranker;
    use super::*;

    fn even(entities: &[u32]) -> Vec<(u32, f64)> {
        entities.iter().map(|e| (*e, 1.0)).collect()
    }

    #[test]
    fn a_specific_entity_pulls_more() {
        // Two entities without an edge: mass stays where it starts. Entity 0 is in three documents, 1 in one, 2 in none.
        let graph = Ppr::new(3, &[], &[]).unwrap();
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
        // 0 - 1 - 2 from 0: x0 = 1/2 + x1/4, x1 = x0/2 + x2/2, x2 = x1/4, so x1 = 2/7, x0 = 4/7 + 0, x2 = 1/14 … exactly:
        // x1 = x0/2 + x1/8 => x0 = 7/4 x1; 7/4 x1 = 1/2 + x1/4 => x1 = 1/3, x0 = 7/12, x2 = 1/12.
        let graph = Ppr::new(3, &[0, 2], &[1, 1]).unwrap();
        let masses = graph.masses(&even(&[0])).unwrap().unwrap();
        close(&masses, &[7.0 / 12.0, 1.0 / 3.0, 1.0 / 12.0]);
        // A document scores the mass of its entities.
        let documents = EntityDocuments::from_pairs(3, 2, [(1, 0), (2, 0), (0, 1)]).unwrap();
        close(
            &Ranker::Simple.documents(&masses, &documents),
            &[5.0 / 12.0, 7.0 / 12.0],
        );
    }

    #[test]
    fn several_triples_between_two_entities_weigh_more() {
        // 1 has two triples with 0 (one each way) and one with 2; from 1: x0 = x1/2 * 2/3 = x1/3, x2 = x1/6,
        // x1 = 1/2 + (x0 + x2)/2 = 1/2 + x1/4 => x1 = 2/3, x0 = 2/9, x2 = 1/9.
        let graph = Ppr::new(3, &[0, 1, 1], &[1, 0, 2]).unwrap();
        close(
            &graph.masses(&even(&[1])).unwrap().unwrap(),
            &[2.0 / 9.0, 2.0 / 3.0, 1.0 / 9.0],
        );
    }

    #[test]
    fn a_loop_keeps_half_of_what_leaves() {
        // 0 has a loop and an edge to 1: x1 = x0/4, x0 = 1/2 + x0/4 + x1/2 => x0 (1 - 1/4 - 1/8) = 1/2 => x0 = 4/5.
        let graph = Ppr::new(2, &[0, 0], &[0, 1]).unwrap();
        close(&graph.masses(&even(&[0])).unwrap().unwrap(), &[0.8, 0.2]);
    }

    #[test]
    fn mass_on_isolated_entities_returns_to_the_question() {
        // 0 - 1, 2 alone; from {0, 2} (and 0 named twice): x2 = 1/4 + x2/4 (its own half of what returns),
        // x2 = 1/3; x0 = 1/4 + x2/4 + x1/2 = 1/3 + x1/2, x1 = x0/2 => x0 = 4/9, x1 = 2/9.
        let graph = Ppr::new(3, &[0], &[1]).unwrap();
        let masses = graph.masses(&even(&[2, 0, 0])).unwrap().unwrap();
        close(&masses, &[4.0 / 9.0, 2.0 / 9.0, 1.0 / 3.0]);
        assert!((masses.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn without_a_question_entity_there_is_nothing_to_rank() {
        let graph = Ppr::new(2, &[0], &[1]).unwrap();
        assert_eq!(graph.masses(&even(&[])).unwrap(), None);
        assert!(graph.masses(&even(&[2])).is_err());
        assert!(Ppr::new(2, &[0], &[2]).is_err());
        assert!(Ppr::new(2, &[0], &[]).is_err());
    }
}
