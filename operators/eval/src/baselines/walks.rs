//! Walks that explain a mass of personalised PageRank.
//!
//! The mass of a node is the sum over all walks to it from the start nodes: a walk s -> ... -> t of
//! n edges carries share(s) c (1 - restart)^n times the probabilities of its steps. Here share(s)
//! is the start's share of what returns, and c the part of the walker that returns in a step: c =
//! restart, or restart / (1 - (1 - restart) S) where starts with the shares S have no edge, which
//! always return. The walks that carry most are found by the search of [`crate::paths`], since the
//! logarithm of such a product is a sum.

use super::ppr::Ppr;
use crate::BadShape;
use crate::by_node::ByNode;
use crate::paths::{Edge, Path, Search, Step, best_walks};

/// Edges of the longest walk that is looked for. All longer walks together carry the mass (1 -
/// restart)^5: 3 % for a restart of 0.5, 17 % for 0.3, and each of them little. People cannot
/// follow them either.
pub const LONGEST: usize = 4;

/// More hops than are counted.
const FAR: usize = usize::MAX;

/// A walk and the mass that it carries.
#[derive(Debug, Clone, PartialEq)]
pub struct MassWalk {
    /// Its part of the target's mass.
    pub mass: f64,
    /// Its nodes, from the start to the target; at least two.
    pub nodes: Vec<u32>,
}

impl Ppr {
    /// The walks of at most `longest` edges that carry the most mass to any of the targets, at most
    /// `top` of them, heaviest first. A walk ends where it first enters its target; a target's mass
    /// from walks that pass it, and from starting there, is not shown. `starts`: see
    /// [`Ppr::masses`].
    ///
    /// # Errors
    /// When an id is out of range.
    pub fn walks(
        &self,
        starts: &[(u32, f64)],
        targets: &[u32],
        longest: usize,
        top: usize,
    ) -> Result<Vec<MassWalk>, BadShape> {
        let nodes = self.offsets.len() - 1;
        if let Some(outside) = targets.iter().find(|t| **t as usize >= nodes) {
            return Err(BadShape(format!("target {outside} of {nodes} nodes")));
        }
        let shares = self.shares(starts)?;
        let isolated = |s: &u32| self.isolated.binary_search(s).is_ok();
        let stuck: f64 = shares.iter().filter(|s| isolated(&s.0)).map(|s| s.1).sum();
        let returning = self.restart / (1.0 - (1.0 - self.restart) * stuck);
        let from_starts = self.hops(shares.iter().map(|s| s.0), longest);
        let to_targets = self.hops(targets.iter().copied(), longest);
        let layers: Vec<Vec<Edge>> = (1..=longest)
            .map(|layer| {
                let near = |v: &usize| to_targets[*v] <= longest - layer;
                let into = (0..nodes).filter(near).flat_map(|v| self.into(v));
                into.filter(|e| from_starts[e.from as usize] < layer)
                    .collect()
            })
            .collect();
        let starts = shares
            .iter()
            .map(|(s, share)| (*s, (share * returning).ln()));
        let starts: Vec<(u32, f64)> = starts.collect();
        let search = Search {
            starts: &starts,
            layers: &layers,
            beam: top,
            top,
        };
        let walks = best_walks(search, targets, |walk| walk.gain.exp());
        let nodes = |edges: &[Edge]| {
            let first = edges.first().map(|e| e.from);
            first
                .into_iter()
                .chain(edges.iter().map(|e| e.to))
                .collect()
        };
        // A walker that never goes on carries nothing anywhere.
        let carried = walks.into_iter().filter(|(mass, _)| *mass > 0.0);
        let found = carried.map(|(mass, walk)| MassWalk {
            mass,
            nodes: nodes(&walk.edges),
        });
        Ok(found.collect())
    }

    /// The same walks as paths of at most [`LONGEST`] steps; each step is the heaviest fact between
    /// its nodes.
    ///
    /// # Errors
    /// When an id is out of range, or `facts` are not those of the graph.
    pub fn paths(
        &self,
        starts: &[(u32, f64)],
        targets: &[u32],
        facts: &Facts,
        top: usize,
    ) -> Result<Vec<Path>, BadShape> {
        let walks = self.walks(starts, targets, LONGEST, top)?;
        let paths = walks.iter().map(|walk| {
            let steps = walk.nodes.windows(2).map(|ends| {
                let no_fact = || BadShape(format!("no fact between {} and {}", ends[0], ends[1]));
                facts.step(ends[0], ends[1]).ok_or_else(no_fact)
            });
            Ok(Path {
                weight: walk.mass,
                steps: steps.collect::<Result<_, _>>()?,
            })
        });
        paths.collect()
    }

    /// The edges into a node, with the logarithms of the probabilities that the walker does not
    /// return and takes them.
    fn into(&self, node: usize) -> impl Iterator<Item = Edge> {
        let row = self.offsets[node]..self.offsets[node + 1];
        row.map(move |i| Edge {
            from: self.neighbours[i],
            to: node as u32,
            label: 0,
            gain: ((1.0 - self.restart) * self.steps[i]).ln(),
        })
    }

    /// Number of hops from the nearest of some nodes to every node, at most `most`; [`FAR`] beyond
    /// that.
    fn hops(&self, from: impl Iterator<Item = u32>, most: usize) -> Vec<usize> {
        let mut out = vec![FAR; self.offsets.len() - 1];
        let mut now: Vec<u32> = from.collect();
        for hop in 0..=most {
            let mut next = Vec::new();
            for v in now {
                if out[v as usize] == FAR {
                    out[v as usize] = hop;
                    let row = self.offsets[v as usize]..self.offsets[v as usize + 1];
                    next.extend_from_slice(&self.neighbours[row]);
                }
            }
            now = next;
        }
        out
    }
}

/// The facts that walks are shown by: of several between two nodes, the heaviest.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Direct triples (head, relation, tail) with their weights.
    triples: Vec<([u32; 3], f64)>,
    by_node: ByNode,
}

impl Facts {
    /// Takes direct triples (head, relation, tail) with their weights, those of [`Ppr::new`].
    pub fn new(triples: impl IntoIterator<Item = ([u32; 3], f64)>) -> Self {
        let triples: Vec<([u32; 3], f64)> = triples.into_iter().collect();
        let ends = triples.iter().map(|([head, _, tail], _)| (*head, *tail));
        let last = ends.clone().map(|(head, tail)| head.max(tail)).max();
        let by_node = ByNode::new(last.map_or(0, |last| last as usize + 1), ends);
        Facts { triples, by_node }
    }

    /// The heaviest fact between two nodes, walked from the first to the second. Of facts of equal
    /// weight the one with the lowest relation counts, and of these the one that is walked from its
    /// head.
    pub fn step(&self, from: u32, to: u32) -> Option<Step> {
        let mut best: Option<(f64, Step)> = None;
        for row in self.by_node.between(from, to) {
            let ([head, relation, tail], weight) = self.triples[*row as usize];
            for inverse in [false, true] {
                let step = Step {
                    head,
                    relation,
                    tail,
                    inverse,
                };
                if (step.from(), step.to()) != (from, to) {
                    continue;
                }
                let key = |s: &Step| (s.relation, s.inverse);
                let better = best.as_ref().is_none_or(|(most, best)| {
                    weight > *most || (weight == *most && key(&step) < key(best))
                });
                if better {
                    best = Some((weight, step));
                }
            }
        }
        best.map(|(_, step)| step)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// Every walk of at most `longest` edges with its mass, one without edges included.
    fn all(graph: &Ppr, shares: &[(u32, f64)], returning: f64, longest: usize) -> Vec<MassWalk> {
        let begin = |(s, share): &(u32, f64)| MassWalk {
            mass: share * returning,
            nodes: vec![*s],
        };
        let mut now: Vec<MassWalk> = shares.iter().map(begin).collect();
        let mut out = now.clone();
        for _ in 0..longest {
            let mut next = Vec::new();
            for walk in &now {
                let at = *walk.nodes.last().unwrap();
                for v in 0..graph.offsets.len() - 1 {
                    for i in graph.offsets[v]..graph.offsets[v + 1] {
                        if graph.neighbours[i] == at {
                            let mut nodes = walk.nodes.clone();
                            nodes.push(v as u32);
                            let mass = walk.mass * (1.0 - graph.restart) * graph.steps[i];
                            next.push(MassWalk { mass, nodes });
                        }
                    }
                }
            }
            out.extend_from_slice(&next);
            now = next;
        }
        out
    }

    fn triples() -> impl Strategy<Value = Vec<([u32; 3], f64)>> {
        let weight = prop_oneof![Just(1.0), 0.25..2.0f64];
        let triple =
            ((0u32..5, 0u32..3, 0u32..5), weight).prop_map(|((h, r, t), w)| ([h, r, t], w));
        proptest::collection::vec(triple, 0..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn all_walks_together_carry_the_masses_and_the_heaviest_are_found(
            triples in triples(), starts in proptest::collection::vec((0u32..6, 0.25..2.0f64), 1..3),
            targets in proptest::collection::vec(0u32..6, 0..3), restart in 0.5..0.9f64, top in 0usize..6,
        ) {
            let ends = triples.iter().map(|([h, _, t], w)| (*h, *t, *w));
            let graph = Ppr::new(6, ends).unwrap().restart(restart);
            let shares = graph.shares(&starts).unwrap();
            let masses = graph.masses(&starts).unwrap().unwrap();
            // What returns, from the masses: the walker returns by choice or has no edge.
            let isolated: f64 = graph.isolated.iter().map(|v| masses[*v as usize]).sum();
            let returning = restart + (1.0 - restart) * isolated;
            let walks = all(&graph, &shares, returning, 6);
            let mut sums = [0.0; 6];
            for walk in &walks {
                sums[*walk.nodes.last().unwrap() as usize] += walk.mass;
            }
            // What is missing is the mass of longer walks.
            let longer = (1.0 - restart).powi(7);
            for (sum, mass) in sums.iter().zip(&masses) {
                prop_assert!(sum - 1e-8 < *mass && *mass < sum + longer + 1e-8, "{sums:?} {masses:?}");
            }

            let facts = Facts::new(triples.iter().copied());
            let mut want: Vec<f64> = walks.iter().filter(|w| {
                let (last, before) = w.nodes.split_last().unwrap();
                (1..=LONGEST).contains(&before.len()) && targets.contains(last) && !before.contains(last)
            }).map(|w| w.mass).collect();
            want.sort_by(|a, b| b.total_cmp(a));
            want.truncate(top);
            let found = graph.walks(&starts, &targets, LONGEST, top).unwrap();
            prop_assert_eq!(found.len(), want.len());
            for (walk, want) in found.iter().zip(want) {
                prop_assert!((walk.mass - want).abs() < 1e-8, "{walk:?} {want}");
                let same = walks.iter().find(|w| w.nodes == walk.nodes).unwrap();
                prop_assert!((walk.mass - same.mass).abs() < 1e-8, "{walk:?} {same:?}");
            }
            let paths = graph.paths(&starts, &targets, &facts, top).unwrap();
            for (path, walk) in paths.iter().zip(&found) {
                prop_assert_eq!(path.weight, walk.mass);
                let nodes = path.steps.iter().map(|s| s.to());
                let nodes: Vec<u32> = std::iter::once(path.steps[0].from()).chain(nodes).collect();
                prop_assert_eq!(&nodes, &walk.nodes);
            }
        }
    }

    #[test]
    fn hand_computed_walks_on_a_path() {
        // 0 - 1 - 2 from 0: 0 1 2 carries 1/2 (1/2)² 1/2, and 0 1 0 1 2 carries 1/8 of that.
        let facts = [([0, 4, 1], 1.0), ([2, 5, 1], 1.0)];
        let graph = Ppr::new(4, facts.map(|([h, _, t], w)| (h, t, w))).unwrap();
        let facts = Facts::new(facts);
        let paths = graph.paths(&[(0, 3.0)], &[2, 3], &facts, 10).unwrap();
        let (there, back) = (facts.step(0, 1).unwrap(), facts.step(1, 0).unwrap());
        let last = Step {
            head: 2,
            relation: 5,
            tail: 1,
            inverse: true,
        };
        assert_eq!(paths[0].steps, [there, last]);
        assert_eq!(paths[1].steps, [there, back, there, last]);
        assert!((paths[0].weight - 1.0 / 16.0).abs() < 1e-12);
        assert!((paths[1].weight - 1.0 / 128.0).abs() < 1e-12);
        assert_eq!(paths.len(), 2);
        // A start itself, nothing to start from, and a walker that never leaves.
        assert!(graph.walks(&[(0, 1.0)], &[0], 4, 10).unwrap().is_empty());
        assert!(graph.walks(&[], &[0], 4, 10).unwrap().is_empty());
        let graph = graph.restart(1.0);
        assert!(graph.walks(&[(0, 1.0)], &[2], 4, 10).unwrap().is_empty());
        for (start, target) in [(4, 0), (0, 4)] {
            assert!(graph.walks(&[(start, 1.0)], &[target], 4, 10).is_err());
        }
        assert!(
            graph
                .restart(0.5)
                .paths(&[(0, 1.0)], &[2], &Facts::default(), 1)
                .is_err()
        );
    }

    #[test]
    fn a_step_is_the_heaviest_fact_between_its_nodes() {
        let facts = Facts::new([
            ([0, 2, 1], 1.0),
            ([1, 1, 0], 1.0),
            ([0, 1, 1], 1.0),
            ([3, 0, 2], 1.0),
            ([2, 7, 3], 1.5),
            ([4, 3, 4], 1.0),
        ]);
        let step = |from, to| {
            facts
                .step(from, to)
                .map(|s| (s.head, s.relation, s.inverse))
        };
        // Of equal weights the lowest relation, as it is before its inverse.
        assert_eq!(step(0, 1), Some((0, 1, false)));
        assert_eq!(step(1, 0), Some((1, 1, false)));
        assert_eq!(step(2, 3), Some((2, 7, false)));
        assert_eq!(step(3, 2), Some((2, 7, true)));
        assert_eq!(step(4, 4), Some((4, 3, false)));
        assert_eq!(step(0, 4), None);
    }
}
