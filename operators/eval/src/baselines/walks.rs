//! Walks that explain a mass of personalised PageRank.
//!
//! The mass of a node is the sum over all walks to it from the start nodes: a walk s -> ... -> t of
//! n edges carries share(s) c (1 - restart)^n times the probabilities of its steps. Here share(s)
//! is the start's share of what returns, and c the part of the walker that returns in a step: c =
//! restart, or restart / (1 - (1 - restart) S) where starts with the shares S have no edge, which
//! always return. The walks that carry most are found by the search of [`crate::paths`], since the
//! logarithm of such a product is a sum.

use std::ops::Range;
use std::sync::Arc;

use super::ppr::Ppr;
use crate::BadShape;
use crate::by_node::Triples;
use crate::numbers::Numbers;
use crate::paths::{Edge, Path, Search, Step, best_walks};
use crate::starts::Starts;

/// Edges of the longest walk that is looked for. All longer walks together carry the mass (1 -
/// restart)^5: 3 % for a restart of 0.5, 17 % for 0.3, and each of them little. People cannot
/// follow them either.
pub const LONGEST: usize = 4;

/// Edges of the longest walks that are looked for first.
const SHORT: usize = 2;

/// More hops than are counted.
const FAR: u8 = u8::MAX;

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
        let nodes = self.nodes();
        if let Some(outside) = targets.iter().find(|t| **t as usize >= nodes) {
            return Err(BadShape(format!("target {outside} of {nodes} nodes")));
        }
        let shares = self.shares(starts)?;
        let isolated = |s: &u32| self.isolated.binary_search(s).is_ok();
        let stuck: f64 = shares.iter().filter(|s| isolated(&s.0)).map(|s| s.1).sum();
        let returning = self.restart / (1.0 - (1.0 - self.restart) * stuck);
        // The masses of walks without an edge.
        let begin: Starts = shares
            .iter()
            .map(|(s, share)| (*s, share * returning))
            .collect();
        // There are so many longer walks that only those are looked at which may carry more than
        // the shorter ones that were found.
        let first = longest.min(SHORT);
        let mut found = self.heaviest(&begin, targets, (first, 0.0), top);
        for longest in first + 1..=longest {
            let least = top.checked_sub(1).and_then(|last| found.get(last));
            let least = least.map_or(0.0, |walk| walk.mass);
            found = self.heaviest(&begin, targets, (longest, least), top);
        }
        Ok(found)
    }

    /// The heaviest walks of at most `longest` edges that carry at least about the mass `least`.
    fn heaviest(
        &self,
        begin: &Starts,
        targets: &[u32],
        (longest, least): (usize, f64),
        top: usize,
    ) -> Vec<MassWalk> {
        let mut layers = self.layers(begin, targets, longest, least);
        let local = Local::of(&layers, begin, targets);
        layers.iter_mut().flatten().for_each(|edge| {
            edge.from = local.number(edge.from);
            edge.to = local.number(edge.to);
        });
        let targets: Vec<u32> = targets.iter().map(|t| local.number(*t)).collect();
        let starts = begin.iter().map(|(s, mass)| (local.number(*s), mass.ln()));
        let starts: Vec<(u32, f64)> = starts.collect();
        let search = Search {
            starts: &starts,
            layers: &layers,
            beam: top,
            top,
        };
        let walks = best_walks(search, &targets, |walk| walk.gain.exp());
        let nodes = |edges: &[Edge]| {
            let first = edges.first().map(|e| e.from).into_iter();
            let all = first.chain(edges.iter().map(|e| e.to));
            all.map(|number| local.nodes[number as usize]).collect()
        };
        // A walker that never goes on carries nothing anywhere.
        let carried = walks.into_iter().filter(|(mass, _)| *mass > 0.0);
        let found = carried.map(|(mass, walk)| MassWalk {
            mass,
            nodes: nodes(&walk.edges),
        });
        found.collect()
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

    /// The edges that a walk to a target which carries at least the mass `least` may take in each
    /// layer. A few more may be among them. The first half of the layers are followed from the
    /// starts and the others from the targets, because most of a graph is within four hops of
    /// anything.
    fn layers(
        &self,
        begin: &Starts,
        targets: &[u32],
        longest: usize,
        least: f64,
    ) -> Vec<Vec<Edge>> {
        let half = longest / 2;
        let goes_on = 1.0 - self.restart;
        // Masses are products here, and sums of logarithms in the search.
        let least = least * (1.0 - 1e-9);
        let (to_targets, by_hop) = self.hops(targets.iter().copied(), longest - half);
        // The mass of the heaviest walk to each node that ends with the layer before.
        let mut before = Reached::of(self.nodes(), begin);
        let layers = (1..=longest).map(|layer| {
            // Most hops that are left after this layer.
            let left = longest - layer;
            // What a walk carries at most to a target behind this edge.
            let enough = |to: u32, mass: f64| {
                let hops = match to_targets[to as usize] {
                    // Farther than hops were counted.
                    FAR => longest - half + 1,
                    hops => usize::from(hops),
                };
                hops <= left && mass * goes_on.powi(hops as i32) >= least
            };
            let mut after = Reached::none(self.nodes());
            let mut edges = Vec::new();
            let mut take = |edge: Edge, mass: f64| {
                after.add(edge.to, mass);
                edges.push(edge);
            };
            if layer <= half {
                for from in &before.nodes {
                    let mass = before.mass(*from) * goes_on;
                    // No step has a probability above 1.
                    if mass < least {
                        continue;
                    }
                    for at in self.row(*from) {
                        let to = self.neighbours.values()[at];
                        if !enough(to, mass) {
                            continue;
                        }
                        if let Some(place) = self.place(*from, to)
                            && enough(to, mass * self.step(place))
                        {
                            take(self.edge_at(to, place), mass * self.step(place));
                        }
                    }
                }
            } else {
                for to in by_hop[..=left].iter().flatten() {
                    for place in self.row(*to) {
                        let mass = before.mass(self.neighbours.values()[place]);
                        let mass = mass * goes_on * self.step(place);
                        if mass > 0.0 && enough(*to, mass) {
                            take(self.edge_at(*to, place), mass);
                        }
                    }
                }
            }
            edges.sort_unstable_by_key(|edge| (edge.to, edge.from));
            before = after;
            edges
        });
        layers.collect()
    }

    /// The places of a node's neighbours.
    fn row(&self, node: u32) -> Range<usize> {
        self.neighbours.range(node as usize)
    }

    /// The edge into `to` from its neighbour at a place, with the logarithm of the probability that
    /// the walker does not return and takes it.
    fn edge_at(&self, to: u32, place: usize) -> Edge {
        Edge {
            from: self.neighbours.values()[place],
            to,
            label: 0,
            gain: ((1.0 - self.restart) * self.step(place)).ln(),
        }
    }

    /// Where the edge between two nodes stands in the row of `to`.
    fn place(&self, from: u32, to: u32) -> Option<usize> {
        let row = self.row(to);
        let at = self.neighbours.values()[row.clone()]
            .binary_search(&from)
            .ok()?;
        Some(row.start + at)
    }

    /// Number of hops from the nearest of some nodes to every node, if they are at most `most`;
    /// [`FAR`] for all others. And the nodes by number of hops.
    fn hops(&self, mut from: impl Iterator<Item = u32>, most: usize) -> (Vec<u8>, Vec<Vec<u32>>) {
        let mut out = vec![FAR; self.nodes()];
        let mut by_hop: Vec<Vec<u32>> = Vec::new();
        for hop in 0..=most {
            let mut next = Vec::new();
            let mut visit = |v: u32| {
                if out[v as usize] == FAR {
                    out[v as usize] = hop as u8;
                    next.push(v);
                }
            };
            match by_hop.last() {
                None => from.by_ref().for_each(visit),
                Some(last) => {
                    let rows = last.iter().flat_map(|v| self.neighbours.of(*v as usize));
                    rows.for_each(|v| visit(*v));
                }
            }
            by_hop.push(next);
        }
        (out, by_hop)
    }
}

/// The nodes that walks reach, with the mass of the heaviest walk to each.
struct Reached {
    nodes: Vec<u32>,
    /// By node; 0 for those that no walk reaches.
    masses: Vec<f64>,
}

impl Reached {
    fn none(nodes: usize) -> Self {
        Reached {
            nodes: Vec::new(),
            masses: vec![0.0; nodes],
        }
    }

    fn of(nodes: usize, begin: &Starts) -> Self {
        let mut out = Self::none(nodes);
        begin.iter().for_each(|(node, mass)| out.add(*node, *mass));
        out
    }

    fn mass(&self, node: u32) -> f64 {
        self.masses[node as usize]
    }

    fn add(&mut self, node: u32, mass: f64) {
        let most = &mut self.masses[node as usize];
        if *most == 0.0 && mass > 0.0 {
            self.nodes.push(node);
        }
        *most = most.max(mass);
    }
}

/// The nodes near starts and targets by consecutive numbers, in the order of their ids.
struct Local {
    nodes: Vec<u32>,
}

impl Local {
    fn of(layers: &[Vec<Edge>], shares: &[(u32, f64)], targets: &[u32]) -> Self {
        let ends = layers.iter().flatten().flat_map(|e| [e.from, e.to]);
        let starts = shares.iter().map(|s| s.0);
        let mut nodes: Vec<u32> = ends.chain(starts).chain(targets.iter().copied()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        Local { nodes }
    }

    /// The number of a node.
    fn number(&self, node: u32) -> u32 {
        self.nodes.partition_point(|v| *v < node) as u32
    }
}

/// The facts that walks are shown by: of several between two nodes, the heaviest.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    triples: Arc<Triples>,
    /// Their weights; `None` if all are the same.
    weights: Option<Numbers<f32>>,
}

impl Facts {
    /// Takes direct triples and a weight for each. Without weights all weigh the same.
    pub fn new(triples: Arc<Triples>, weights: Option<Numbers<f32>>) -> Self {
        Facts { triples, weights }
    }

    fn weight(&self, row: usize) -> f32 {
        self.weights.as_ref().map_or(1.0, |weights| weights.at(row))
    }

    /// The graph with this number of nodes of the facts whose relation is used.
    ///
    /// # Errors
    /// When a weight is negative or not finite.
    pub fn graph(&self, nodes: usize, uses: impl Fn(u32) -> bool) -> Result<Ppr, BadShape> {
        Ppr::of_edges(nodes, &self.triples.by_node, |row| {
            let [head, relation, tail] = self.triples.all[row as usize];
            let weight = || f64::from(self.weight(row as usize));
            uses(relation).then(|| (head, tail, weight()))
        })
    }

    /// The heaviest fact between two nodes, walked from the first to the second. Of facts of equal
    /// weight the one with the lowest relation counts, and of these the one that is walked from its
    /// head.
    pub fn step(&self, from: u32, to: u32) -> Option<Step> {
        let mut best: Option<(f32, Step)> = None;
        for row in self.triples.by_node.between(from, to) {
            let row = *row as usize;
            let ([head, relation, tail], weight) = (self.triples.all[row], self.weight(row));
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
                for v in 0..graph.nodes() {
                    for (from, step) in graph.arriving(v) {
                        if from == at as usize {
                            let mut nodes = walk.nodes.clone();
                            nodes.push(v as u32);
                            let mass = walk.mass * (1.0 - graph.restart) * step;
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

    fn facts(nodes: usize, triples: &[([u32; 3], f64)]) -> Facts {
        let weights = triples.iter().map(|(_, weight)| *weight as f32).collect();
        let triples = triples.iter().map(|(triple, _)| *triple).collect();
        let triples = Triples::new(nodes, triples).unwrap();
        Facts::new(Arc::new(triples), Some(Numbers::Many(weights)))
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

            let facts = facts(6, &triples);
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
        let triples = [([0, 4, 1], 1.0), ([2, 5, 1], 1.0)];
        let graph = Ppr::new(4, triples.map(|([h, _, t], w)| (h, t, w))).unwrap();
        let facts = facts(4, &triples);
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
        let triples = [
            ([0, 2, 1], 1.0),
            ([1, 1, 0], 1.0),
            ([0, 1, 1], 1.0),
            ([3, 0, 2], 1.0),
            ([2, 7, 3], 1.5),
            ([4, 3, 4], 1.0),
        ];
        let facts = facts(5, &triples);
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
