//! Paths: walks in a graph that explain a ranking, and the search for the best ones.
//!
//! A walk takes its edge number l in layer l, from a start node to a target. Every edge has a gain
//! in every layer: for the model the derivative of the target's score for the weight of the edge's
//! message there (GFM-RAG, Luo et al., 2025, section 4.5), for PageRank the logarithm of a
//! probability ([`crate::baselines::walks`]). The gain of a walk is the sum over its edges. The
//! search keeps the best walks to every node, layer by layer. It is exact: a walk's gain is a sum,
//! so the best walks to a node are made of the best walks to the nodes before it.

use std::cmp::Ordering;
use std::ops::Range;

/// An edge of a path: a direct triple, and the direction in which the path takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step {
    /// Head of the triple.
    pub head: u32,
    /// Direct relation.
    pub relation: u32,
    /// Tail of the triple.
    pub tail: u32,
    /// Whether the path goes from the tail to the head.
    pub inverse: bool,
}

/// A walk from a start node to a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// How much the walk contributes.
    pub weight: f64,
    /// Its edges, from the start. Step `i` is taken in layer `i + 1`.
    pub steps: Vec<Step>,
}

impl Step {
    /// The node that the path leaves.
    pub fn from(self) -> u32 {
        if self.inverse { self.tail } else { self.head }
    }

    /// The node that the path enters.
    pub fn to(self) -> u32 {
        if self.inverse { self.head } else { self.tail }
    }
}

/// An edge that walks may take in one layer. Copies of an edge with the same gain count once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edge {
    /// The node that a walk leaves.
    pub from: u32,
    /// The node that it enters.
    pub to: u32,
    /// Tells edges between the same nodes apart, such as a relation.
    pub label: u32,
    /// What the edge adds to a walk's gain.
    pub gain: f64,
}

/// A walk that the search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Walk {
    /// What it starts with, and the gains of its edges.
    pub gain: f64,
    /// At least one, from the start.
    pub edges: Vec<Edge>,
}

impl Walk {
    /// The mean gain of its edges, for a walk that starts with 0.
    pub fn mean(&self) -> f64 {
        self.gain / self.edges.len() as f64
    }

    /// For walks of equal weight: the shorter first, then by the nodes and labels of their edges,
    /// from the start.
    fn order(&self, other: &Walk) -> Ordering {
        let key = |e: &Edge| (e.from, e.to, e.label);
        let edges = || self.edges.iter().map(key).cmp(other.edges.iter().map(key));
        let lengths = self.edges.len().cmp(&other.edges.len());
        lengths.then_with(edges)
    }
}

/// What [`best_walks`] looks for.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// Where walks begin, each node once, with what a walk from there starts with.
    pub starts: &'a [(u32, f64)],
    /// The edges of each layer. It is faster if those into one node lie side by side, in the order
    /// of nodes.
    pub layers: &'a [Vec<Edge>],
    /// Walks that are kept for each node and layer.
    pub beam: usize,
    /// Walks that are returned.
    pub top: usize,
}

/// The best walks to any of the targets by `weight`, with their weights, best first. Of each target
/// and length the best `top` by gain are candidates (at most `beam`). A walk ends where it first
/// enters its target, and has at least one edge.
///
/// `weight` must not order walks of one length in another way than their gains. Gains must not be
/// NaN.
pub fn best_walks(
    search: Search<'_>,
    targets: &[u32],
    weight: impl Fn(&Walk) -> f64,
) -> Vec<(f64, Walk)> {
    let sorted: Vec<Vec<Edge>>;
    let layers = if search.layers.iter().all(|l| l.is_sorted_by_key(|e| e.to)) {
        search.layers
    } else {
        let by_target = |edges: &Vec<Edge>| {
            let mut edges = edges.clone();
            edges.sort_by_key(|e| e.to);
            edges
        };
        sorted = search.layers.iter().map(by_target).collect();
        &sorted
    };
    let mut targets = targets.to_vec();
    targets.sort_unstable();
    targets.dedup();
    let largest = layers
        .iter()
        .flatten()
        .map(|e| e.from.max(e.to))
        .chain(search.starts.iter().map(|s| s.0))
        .chain(targets.iter().copied())
        .max();
    let nodes = largest.map_or(0, |v| v as usize + 1);
    let mut found: Vec<(f64, Walk)> = Vec::new();
    for target in targets {
        let beams = Beams::new(Search { layers, ..search }, target, nodes);
        let walks = beams.walks(target, search.top);
        found.extend(walks.into_iter().map(|walk| (weight(&walk), walk)));
    }
    found.sort_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| x.order(y)));
    found.truncate(search.top);
    found
}

/// A walk to a node as its last edge and the walk before it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    gain: f64,
    /// Index of the walk before it among the entries of the layer before.
    before: u32,
    /// Index of its last edge among those of its layer.
    edge: u32,
}

/// The best walks to every node after a layer.
#[derive(Default)]
struct Beam {
    /// Grouped by node, best first.
    entries: Vec<Entry>,
    /// The nodes that walks reach, with the range of each among `entries`.
    of: Vec<(u32, Range<usize>)>,
}

impl Beam {
    /// The walks to a node.
    fn to(&self, node: u32) -> Range<usize> {
        let found = self.of.binary_search_by_key(&node, |(v, _)| *v);
        found.map_or(0..0, |i| self.of[i].1.clone())
    }
}

/// The best walks after every layer, for one target.
struct Beams<'a> {
    layers: &'a [Vec<Edge>],
    /// The starts, then one for each layer.
    after: Vec<Beam>,
}

/// The group of edges into the node of the first of `edges`.
fn group(edges: &[Edge]) -> usize {
    let to = edges.first().map(|e| e.to);
    edges.iter().take_while(|e| Some(e.to) == to).count()
}

/// For each layer, by node: whether a walk that enters the node there can still reach the target,
/// or has.
fn useful(layers: &[Vec<Edge>], target: u32, nodes: usize) -> Vec<Vec<bool>> {
    let mut out = vec![Vec::new(); layers.len()];
    let mut next: Option<(&Vec<Edge>, &Vec<bool>)> = None;
    for (edges, out) in layers.iter().zip(&mut out).rev() {
        let mut here = vec![false; nodes];
        here[target as usize] = true;
        if let Some((edges, then)) = next {
            for e in edges.iter().filter(|e| then[e.to as usize]) {
                here[e.from as usize] = true;
            }
        }
        *out = here;
        next = Some((edges, out));
    }
    out
}

impl<'a> Beams<'a> {
    fn new(search: Search<'a>, target: u32, nodes: usize) -> Self {
        let mut starts = search.starts.to_vec();
        starts.sort_unstable_by_key(|s| s.0);
        let mut first = Beam::default();
        for (i, (node, gain)) in starts.iter().enumerate() {
            first.of.push((*node, i..i + 1));
            first.entries.push(Entry {
                gain: *gain,
                before: 0,
                edge: 0,
            });
        }
        let mut out = Beams {
            layers: search.layers,
            after: vec![first],
        };
        // By node: its range in the beam before, empty for nodes that no walk reaches.
        let mut before = vec![[0u32; 2]; nodes];
        let useful = useful(search.layers, target, nodes);
        for (layer, useful) in useful.iter().enumerate() {
            let last = &out.after[layer];
            for (v, at) in &last.of {
                before[*v as usize] = [at.start as u32, at.end as u32];
            }
            // No walk goes on from its target.
            before[target as usize] = [0, 0];
            let next = out.one_layer(layer, &before, useful, search.beam);
            let last = &out.after[layer];
            for (v, _) in &last.of {
                before[*v as usize] = [0, 0];
            }
            out.after.push(next);
        }
        out
    }

    /// The beam after a layer. `before`: by node, its range in the beam before.
    fn one_layer(&self, layer: usize, before: &[[u32; 2]], useful: &[bool], beam: usize) -> Beam {
        let (edges, last) = (&self.layers[layer], &self.after[layer].entries);
        let mut out = Beam::default();
        let mut at = 0;
        while at < edges.len() {
            let (first, to) = (at, edges[at].to);
            at += group(&edges[at..]);
            if !useful[to as usize] {
                continue;
            }
            let start = out.entries.len();
            for (e, edge) in (first..).zip(&edges[first..at]) {
                let [from, to] = before[edge.from as usize];
                for k in from..to {
                    let entry = Entry {
                        gain: last[k as usize].gain + edge.gain,
                        before: k,
                        edge: e as u32,
                    };
                    // The walks before are sorted: none that comes later is better.
                    if !self.insert(&mut out.entries, start, entry, layer, beam) {
                        break;
                    }
                }
            }
            if out.entries.len() > start {
                out.of.push((to, start..out.entries.len()));
            }
        }
        out
    }

    /// Inserts a walk into the sorted walks to one node, which begin at `start`. Returns whether a
    /// worse one by the same edge might also have a place.
    fn insert(
        &self,
        entries: &mut Vec<Entry>,
        start: usize,
        new: Entry,
        layer: usize,
        beam: usize,
    ) -> bool {
        let order = |a: &Entry, b: &Entry| {
            let key = |e: &Entry| {
                let edge = &self.layers[layer][e.edge as usize];
                (edge.from, edge.label, e.before)
            };
            // Gains of 0.0 and -0.0 are equal.
            let gains = b.gain.partial_cmp(&a.gain).unwrap_or(Ordering::Equal);
            gains.then_with(|| key(a).cmp(&key(b)))
        };
        let full = entries.len() - start >= beam;
        match entries[start..].last() {
            Some(worst) if full && order(&new, worst) != Ordering::Less => return false,
            None if full => return false,
            Some(_) | None => {}
        }
        // Few walks: looking at one after the other is faster than a binary search.
        let mut place = entries.len();
        while place > start {
            match order(&new, &entries[place - 1]) {
                Ordering::Less => place -= 1,
                // A copy of an edge.
                Ordering::Equal => return true,
                Ordering::Greater => break,
            }
        }
        if full {
            entries.pop();
        }
        entries.insert(place, new);
        true
    }

    /// The best `top` walks of each length to a node.
    fn walks(&self, node: u32, top: usize) -> Vec<Walk> {
        let mut out = Vec::new();
        for (length, beam) in self.after.iter().enumerate().skip(1) {
            for at in beam.to(node).take(top) {
                out.push(self.walk(length, at));
            }
        }
        out
    }

    /// The walk of an entry after `length` layers.
    fn walk(&self, length: usize, at: usize) -> Walk {
        let gain = self.after[length].entries[at].gain;
        let mut edges = Vec::with_capacity(length);
        let mut at = at;
        for layer in (0..length).rev() {
            let entry = &self.after[layer + 1].entries[at];
            edges.push(self.layers[layer][entry.edge as usize]);
            at = entry.before as usize;
        }
        edges.reverse();
        Walk { gain, edges }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edge((from, label, to): (u32, u32, u32), gain: f64) -> Edge {
        Edge {
            from,
            to,
            label,
            gain,
        }
    }

    /// All walks from a start to where they first enter a target, copies of edges once.
    fn all(starts: &[(u32, f64)], layers: &[Vec<Edge>], target: u32) -> Vec<Walk> {
        let none = |(node, gain): &(u32, f64)| {
            (
                *node,
                Walk {
                    gain: *gain,
                    edges: Vec::new(),
                },
            )
        };
        let mut now: Vec<(u32, Walk)> = starts.iter().map(none).collect();
        let mut out: Vec<Walk> = Vec::new();
        for layer in layers {
            let mut next: Vec<(u32, Walk)> = Vec::new();
            for (at, walk) in now.iter().filter(|(at, _)| *at != target) {
                for e in layer.iter().filter(|e| e.from == *at) {
                    let mut edges = walk.edges.clone();
                    edges.push(*e);
                    let longer = Walk {
                        gain: walk.gain + e.gain,
                        edges,
                    };
                    if !next.iter().any(|(_, w)| *w == longer) {
                        next.push((e.to, longer));
                    }
                }
            }
            let there = next.iter().filter(|(at, _)| *at == target);
            out.extend(there.map(|(_, walk)| walk.clone()));
            now = next;
        }
        out
    }

    /// The order of walks of one length to one node: gains, then the last edges, then the walks
    /// before these.
    fn beam_order(starts: &[(u32, f64)], a: &Walk, b: &Walk) -> Ordering {
        let gains = |walk: &Walk| {
            let start = walk.edges.first().map(|e| e.from);
            let start = starts
                .iter()
                .find(|s| Some(s.0) == start)
                .map_or(0.0, |s| s.1);
            let mut sum = start;
            let mut out = Vec::new();
            for e in &walk.edges {
                sum += e.gain;
                out.push((sum, e.from, e.label));
            }
            out.reverse();
            out
        };
        for ((x, from_x, label_x), (y, from_y, label_y)) in gains(a).into_iter().zip(gains(b)) {
            let order = y
                .total_cmp(&x)
                .then((from_x, label_x).cmp(&(from_y, label_y)));
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    }

    /// [`best_walks`] by looking at all of them.
    fn slow(search: Search<'_>, targets: &[u32], weight: fn(&Walk) -> f64) -> Vec<(f64, Walk)> {
        let mut out: Vec<(f64, Walk)> = Vec::new();
        let mut targets = targets.to_vec();
        targets.sort_unstable();
        targets.dedup();
        for target in targets {
            for length in 1..=search.layers.len() {
                let mut walks = all(search.starts, search.layers, target);
                walks.retain(|w| w.edges.len() == length);
                walks.sort_by(|a, b| beam_order(search.starts, a, b));
                walks.truncate(search.top.min(search.beam));
                out.extend(walks.into_iter().map(|w| (weight(&w), w)));
            }
        }
        out.sort_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| x.order(y)));
        out.truncate(search.top);
        out
    }

    /// Small graphs with several edges between two nodes, copies, self-loops and gains of either
    /// sign. Few different gains, so that many walks are equally good.
    fn layers() -> impl Strategy<Value = Vec<Vec<Edge>>> {
        let gain = prop_oneof![(-3i8..4).prop_map(f64::from), -1.0..1.0f64];
        let one = ((0u32..5, 0u32..2, 0u32..5), gain).prop_map(|(ends, gain)| edge(ends, gain));
        let copied = proptest::collection::vec((one, 1usize..3), 0..9).prop_map(|edges| {
            // The gain of an edge is the same for all its copies.
            let mut layer: Vec<Edge> = Vec::new();
            for (e, copies) in edges {
                let same = |o: &&Edge| (o.from, o.to, o.label) == (e.from, e.to, e.label);
                let e = *layer.iter().find(same).unwrap_or(&e);
                layer.extend(std::iter::repeat_n(e, copies));
            }
            layer
        });
        proptest::collection::vec(copied, 0..5)
    }

    proptest! {
        #[test]
        fn finds_what_looking_at_all_walks_finds(
            layers in layers(), starts in proptest::collection::btree_map(0u32..6, -1i8..2, 0..4),
            targets in proptest::collection::vec(0u32..6, 0..4), beam in 0usize..6, top in 0usize..6,
        ) {
            let starts: Vec<(u32, f64)> = starts.into_iter().map(|(v, g)| (v, f64::from(g))).collect();
            let search = Search { starts: &starts, layers: &layers, beam, top };
            for weight in [Walk::mean as fn(&Walk) -> f64, |w| w.gain.exp()] {
                let found = best_walks(search, &targets, weight);
                prop_assert_eq!(&found, &slow(search, &targets, weight));
                for (_, walk) in &found {
                    prop_assert!(starts.iter().any(|s| s.0 == walk.edges[0].from));
                    prop_assert!(walk.edges.windows(2).all(|e| e[0].to == e[1].from));
                    prop_assert!(!walk.edges.iter().any(|e| e.from == walk.edges[walk.edges.len() - 1].to));
                }
            }
        }
    }

    #[test]
    fn walks_to_several_targets_are_joined_by_their_means() {
        // 0 -> 1 -> 2, and 0 -> 2 twice in the first layer.
        let first = vec![
            edge((0, 7, 2), 1.0),
            edge((0, 7, 1), 2.0),
            edge((0, 7, 2), 1.0),
        ];
        let layers = [first, vec![edge((1, 8, 2), 1.5), edge((2, 9, 1), 9.0)]];
        let search = Search {
            starts: &[(0, 0.0)],
            layers: &layers,
            beam: 10,
            top: 10,
        };
        let found = best_walks(search, &[2, 1, 2], Walk::mean);
        let shown: Vec<(f64, Vec<u32>)> = found
            .iter()
            .map(|(w, walk)| (*w, walk.edges.iter().map(|e| e.label).collect()))
            .collect();
        let want = [
            (5.0, vec![7, 9]),
            (2.0, vec![7]),
            (1.75, vec![7, 8]),
            (1.0, vec![7]),
        ];
        assert_eq!(shown, want);
        assert!(best_walks(search, &[0, 5], Walk::mean).is_empty());
        let best = best_walks(Search { top: 1, ..search }, &[1, 2], Walk::mean);
        assert_eq!(best[..], found[..1]);
    }
}
