//! Which pairs (node, query) have a state of their own, as rows, and where each row is.
//!
//! A batch of queries on one graph shares most of its states: far from where a query starts, a
//! node's state does not depend on the query. Such states are rows of one more query, the
//! *background*. Rows lie node by node, and within a node query by query with the background last,
//! so that the states of a neighbour that the queries of a batch read lie side by side.

use std::ops::Range;

/// No row.
pub const NONE: u32 = u32::MAX;

/// The pairs that have a row.
#[derive(Debug, Clone)]
pub struct Rows {
    /// `nodes + 1` offsets.
    offsets: Vec<u32>,
    /// Query of each row.
    query: Vec<u32>,
    /// `nodes x width`: the row of a pair, else that of the background, else [`NONE`].
    map: Vec<u32>,
    /// The queries of each node as bits, 0 where there are more than 64.
    masks: Vec<u64>,
    /// Queries, the background included.
    width: usize,
}

impl Rows {
    /// The rows for which `has(node, query)` holds; queries are `0..queries`, and `queries` is the
    /// background.
    ///
    /// # Panics
    /// When there are more rows than a u32 counts.
    pub fn new(nodes: usize, queries: usize, has: impl Fn(usize, usize) -> bool) -> Self {
        let width = queries + 1;
        let mut out = Rows {
            offsets: Vec::with_capacity(nodes + 1),
            query: Vec::new(),
            map: vec![NONE; nodes * width],
            masks: vec![0; nodes],
            width,
        };
        out.offsets.push(0);
        let nodes = out.map.chunks_exact_mut(width).zip(&mut out.masks);
        for (v, (map, mask)) in nodes.enumerate() {
            for (q, at) in map.iter_mut().enumerate() {
                if has(v, q) {
                    *mask |= u64::from(width <= 64) << (q % 64);
                    *at = u32::try_from(out.query.len()).unwrap_or(NONE);
                    assert!(*at != NONE, "too many rows");
                    out.query.push(q as u32);
                }
            }
            // Resolved here once, so that reading a neighbour's state is a single lookup.
            let background = map[queries];
            for at in map.iter_mut().filter(|at| **at == NONE) {
                *at = background;
            }
            out.offsets.push(out.query.len() as u32);
        }
        out
    }

    /// The most queries for which the rows of a node can be given as bits.
    pub const MOST_AS_BITS: usize = 63;

    /// The rows of the queries whose bit is set in `queries_of(node)`; bit `queries` is the
    /// background.
    ///
    /// # Panics
    /// When there are more than [`Rows::MOST_AS_BITS`] queries, or more rows than a u32 counts.
    pub fn of_bits(nodes: usize, queries: usize, queries_of: impl Fn(usize) -> u64) -> Self {
        assert!(queries <= Rows::MOST_AS_BITS, "{queries} queries as bits");
        let width = queries + 1;
        let masks: Vec<u64> = (0..nodes).map(queries_of).collect();
        let rows: u64 = masks.iter().map(|mask| u64::from(mask.count_ones())).sum();
        assert!(rows < u64::from(NONE), "too many rows");
        let mut offsets = Vec::with_capacity(nodes + 1);
        let mut query = Vec::with_capacity(rows as usize);
        let mut map = Vec::with_capacity(nodes * width);
        offsets.push(0);
        for mask in &masks {
            let first = query.len() as u32;
            let end = first + mask.count_ones();
            let background = if mask >> queries == 1 { end - 1 } else { NONE };
            let at = map.len();
            map.resize(at + width, background);
            let mut left = *mask;
            for row in first..end {
                let q = left.trailing_zeros();
                map[at + q as usize] = row;
                query.push(q);
                left &= left - 1;
            }
            offsets.push(end);
        }
        Rows {
            offsets,
            query,
            map,
            masks,
            width,
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.query.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.query.is_empty()
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of queries, without the background.
    pub fn queries(&self) -> usize {
        self.width - 1
    }

    /// `nodes + 1` offsets into the rows.
    pub fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// The query of each row.
    pub fn query(&self) -> &[u32] {
        &self.query
    }

    /// The rows of a node.
    #[inline(always)]
    pub fn of(&self, node: usize) -> Range<usize> {
        self.offsets[node] as usize..self.offsets[node + 1] as usize
    }

    /// The rows of several nodes.
    pub fn of_all(&self, nodes: &Range<usize>) -> Range<usize> {
        self.offsets[nodes.start] as usize..self.offsets[nodes.end] as usize
    }

    /// Copies the values of each node, `[nodes, width]`, to all of its rows, `[rows, width]`.
    ///
    /// # Panics
    /// When there are values of more nodes than there are, or of fewer rows.
    pub fn spread<T: Copy>(&self, of_nodes: &[T], to: &mut [T], width: usize) {
        for (node, values) in of_nodes.chunks_exact(width).enumerate() {
            let rows = self.of(node);
            for row in to[rows.start * width..rows.end * width].chunks_exact_mut(width) {
                row.copy_from_slice(values);
            }
        }
    }

    /// The query of each row of a node.
    #[inline(always)]
    pub fn queries_of(&self, node: usize) -> &[u32] {
        &self.query[self.of(node)]
    }

    /// Whether the rows of one node belong to the same queries, in the same order, as those of a
    /// node of `other`. Returns `false` where this cannot be decided quickly.
    #[inline(always)]
    pub(crate) fn aligned(&self, node: usize, other: &Rows, there: usize) -> bool {
        self.masks[node] != 0 && self.masks[node] == other.masks[there]
    }

    /// The row that holds the state of a node for a query: its own, or the background's. [`NONE`]
    /// where there is neither: the state is zero.
    #[inline(always)]
    pub fn find(&self, node: usize, query: usize) -> u32 {
        self.map[node * self.width + query]
    }

    /// The row of a pair itself, or [`NONE`].
    #[inline(always)]
    pub fn own(&self, node: usize, query: usize) -> u32 {
        match self.find(node, query) {
            NONE => NONE,
            row if self.query[row as usize] as usize == query => row,
            _ => NONE,
        }
    }

    /// About `most` ranges of nodes with about the same work each, by `cost`. They depend on
    /// nothing else.
    pub(crate) fn tasks(&self, most: usize, cost: impl Fn(usize) -> u64) -> Vec<Range<usize>> {
        let nodes = self.nodes();
        let total: u64 = (0..nodes).map(&cost).sum();
        let share = total.div_ceil(most.max(1) as u64).max(1);
        let mut out = Vec::new();
        let (mut from, mut sum) = (0, 0);
        for v in 0..nodes {
            sum += cost(v);
            if sum >= share {
                out.push(from..v + 1);
                (from, sum) = (v + 1, 0);
            }
        }
        if from < nodes {
            out.push(from..nodes);
        }
        out
    }
}

/// Cuts a slice into pieces that end where `ends` says.
pub(crate) fn cut<T>(mut rest: &mut [T], ends: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    let mut out = Vec::new();
    let mut at = 0;
    for end in ends {
        let (piece, more) = rest.split_at_mut(end - at);
        out.push(piece);
        (rest, at) = (more, end);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_or_its_background() {
        // Query 0 has node 1, query 1 nodes 0 and 1, the background node 2.
        let rows = Rows::new(4, 2, |v, q| matches!((v, q), (1, 0) | (0 | 1, 1) | (2, 2)));
        assert_eq!((rows.len(), rows.nodes(), rows.queries()), (4, 4, 2));
        assert_eq!(rows.of(1), 1..3);
        assert_eq!(rows.queries_of(1), [0, 1]);
        assert_eq!(rows.find(1, 1), 2);
        assert_eq!(rows.find(2, 0), 3);
        assert_eq!(rows.find(0, 0), NONE);
        assert_eq!(rows.find(3, 2), NONE);
        let other = Rows::new(2, 2, |_, q| q == 1);
        assert!(other.aligned(1, &rows, 0));
        assert!(!other.aligned(1, &rows, 1) && !other.aligned(1, &rows, 2));
        // Nodes without rows are never aligned, nor are nodes with too many queries to compare.
        assert!(!rows.aligned(3, &rows, 3));
        let wide = Rows::new(1, 64, |_, _| true);
        assert!(!wide.aligned(0, &wide, 0));
    }

    #[test]
    fn rows_of_bits_are_those_that_a_function_says() {
        let bit = |v: usize, q: usize| (v * 7919 + q * 31 + v * q).is_multiple_of(3) && v != 5;
        for queries in [0, 1, 8, 63] {
            let bits = |v| (0..=queries).map(|q| u64::from(bit(v, q)) << q).sum();
            let got = Rows::of_bits(20, queries, bits);
            let want = Rows::new(20, queries, bit);
            assert_eq!(got.offsets, want.offsets);
            assert_eq!(got.query, want.query);
            assert_eq!(got.map, want.map);
            assert_eq!(got.masks, want.masks);
            assert_eq!(got.width, want.width);
        }
    }

    #[test]
    fn tasks_cover_all_nodes_once_whatever_they_cost() {
        let rows = Rows::new(50, 1, |_, _| true);
        for most in [1, 3, 7, 200] {
            let tasks = rows.tasks(most, |v| if v == 20 { 1000 } else { v as u64 % 3 });
            assert!(tasks.len() <= most + 1);
            let all: Vec<usize> = tasks.iter().cloned().flatten().collect();
            assert_eq!(all, (0..50).collect::<Vec<_>>());
        }
        let mut numbers = [0, 1, 2, 3, 4, 5];
        let cut = cut(&mut numbers, [2, 2, 5].into_iter());
        assert_eq!(cut, [&mut [0, 1][..], &mut [], &mut [2, 3, 4]]);
    }
}
