//! Which rows a rank computes and sees, and which scores are its own.

use gfm_pipe_kernels::rows::Rows;

use super::Part;

/// Rows of this rank. Those of own nodes come first, because these have the first local numbers.
pub(super) struct PartRows {
    /// Of the states that each layer sees, copies included; then of own nodes alone after the last.
    pub states: Vec<Rows>,
    /// Of each layer's output: of own nodes.
    pub to: Vec<Rows>,
}

impl PartRows {
    /// The rows for which `has(layer, node, query)` holds, of the states before each layer and after the last.
    pub fn new(
        part: &Part,
        (layers, queries): (usize, usize),
        has: impl Fn(usize, usize, usize) -> bool,
    ) -> Self {
        let (own, all) = (part.own().len(), part.graph().nodes());
        let of = |layer: usize, nodes: usize, until: usize| {
            Rows::new(nodes, queries, |v, q| v < until && has(layer, v, q))
        };
        let seen = (0..layers).map(|i| of(i, all, all));
        PartRows {
            states: seen.chain([of(layers, own, own)]).collect(),
            to: (1..=layers).map(|i| of(i, all, own)).collect(),
        }
    }

    /// Rows computed here, of layers x queries x own nodes.
    pub fn share(&self, part: &Part) -> f64 {
        let rows: usize = self.to.iter().map(Rows::len).sum();
        let all: usize = self.to.iter().map(|r| r.queries() * part.own().len()).sum();
        rows as f64 / all.max(1) as f64
    }
}

/// What this rank scores.
pub(super) struct Asked {
    /// Own candidates of each query, in local numbers; as many for each, so that some are only there to fill up. None: all own nodes, row by
    /// row.
    pub nodes: Option<Vec<Vec<u32>>>,
    /// Number of scores of a query here.
    pub width: usize,
    /// Where the scores of candidates belong among all of a query, without what fills up; none where all nodes are scored.
    pub places: Option<Vec<Vec<usize>>>,
    /// Number of scores of a query.
    pub columns: usize,
}

impl Asked {
    pub fn new(
        part: &Part,
        queries: usize,
        candidates: Option<&[Vec<u32>]>,
        by_rows: bool,
    ) -> Self {
        let own = part.own().len() as u32;
        let Some(candidates) = candidates else {
            return Asked {
                nodes: (!by_rows).then(|| vec![(0..own).collect(); queries]),
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
        Asked {
            nodes: Some(nodes),
            width,
            places: Some(places),
            columns: candidates.first().map_or(0, Vec::len),
        }
    }

    /// Where each own score belongs: `f(own, all)` of row-major `[B, width]` and `[B, columns]`.
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
