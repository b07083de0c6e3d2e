//! The rows that a rank computes and reads, and the scores that it computes.

use gfm_pipe_kernels::rows::Rows;

use super::Part;
use crate::model::forward::Seen;
use crate::model::reach::LayerRows;

/// The rows for which `has(layer, node, query)` is true, for the states before each layer and after
/// the last. Rows of own nodes come first, because own nodes have the first local numbers. A layer
/// writes only rows of own nodes.
pub(super) fn part_rows(
    part: &Part,
    layers: usize,
    queries: usize,
    has: impl Fn(usize, usize, usize) -> bool,
) -> LayerRows {
    let (own, all) = (part.own().len(), part.graph().nodes());
    let of = |layer: usize, nodes: usize, until: usize| {
        Rows::new(nodes, queries, |v, q| v < until && has(layer, v, q))
    };
    let read = (0..layers).map(|i| of(i, all, all));
    LayerRows {
        states: read.chain([of(layers, own, own)]).collect(),
        own: Some((1..=layers).map(|i| of(i, all, own)).collect()),
    }
}

/// Rows that this rank computes, as a share of layers x queries x own nodes.
pub(super) fn share(rows: &LayerRows, part: &Part) -> f64 {
    let written = || (0..rows.states.len() - 1).map(|i| rows.written(i));
    let computed: usize = written().map(Rows::len).sum();
    let all: usize = written().map(|r| r.queries() * part.own().len()).sum();
    computed as f64 / all.max(1) as f64
}

/// The scores that this rank computes.
pub(super) struct OwnScores {
    /// The states that the head sees, in local numbers. All queries have the same number of them:
    /// shorter lists of candidates are padded with node 0.
    pub seen: Seen,
    /// Number of scores per query on this rank, with padding.
    pub width: usize,
    /// Per query, the positions of own candidates among all its candidates, without padding. `None`
    /// if all nodes are scored.
    pub places: Option<Vec<Vec<usize>>>,
    /// Number of scores per query on all ranks together.
    pub columns: usize,
}

impl OwnScores {
    pub fn new(
        part: &Part,
        queries: usize,
        candidates: Option<&[Vec<u32>]>,
        by_rows: bool,
    ) -> Self {
        let own = part.own().len() as u32;
        let Some(candidates) = candidates else {
            return OwnScores {
                seen: if by_rows {
                    Seen::ByRows
                } else {
                    Seen::Nodes(vec![(0..own).collect(); queries])
                },
                width: own as usize,
                places: None,
                columns: part.nodes(),
            };
        };
        let here = |v: &u32| part.local(*v).filter(|local| *local < own);
        let (mut nodes, mut places) = (Vec::new(), Vec::new());
        for of_query in candidates {
            let mine = of_query.iter().enumerate();
            let mine = mine.filter_map(|(i, v)| Some((here(v)?, i)));
            let (local, at): (Vec<u32>, Vec<usize>) = mine.unzip();
            nodes.push(local);
            places.push(at);
        }
        let width = nodes.iter().map(Vec::len).max().unwrap_or(0);
        for of_query in &mut nodes {
            of_query.resize(width, 0);
        }
        OwnScores {
            seen: Seen::Nodes(nodes),
            width,
            places: Some(places),
            columns: candidates.first().map_or(0, Vec::len),
        }
    }

    /// Calls `f(own, all)` for each own score with its index in `[B, width]` and in `[B, columns]`.
    pub fn for_places(&self, part: &Part, queries: usize, mut f: impl FnMut(usize, usize)) {
        for q in 0..queries {
            let (mine, all) = (q * self.width, q * self.columns);
            match &self.places {
                Some(places) => {
                    let places = places[q].iter().enumerate();
                    places.for_each(|(i, at)| f(mine + i, all + at));
                }
                None => {
                    let own = part.own().iter().enumerate();
                    own.for_each(|(i, v)| f(mine + i, all + *v as usize));
                }
            }
        }
    }
}
