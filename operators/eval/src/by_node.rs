//! The triples of each node.

/// The rows of a table of triples, by the nodes at their ends.
#[derive(Debug, Clone, Default)]
pub struct ByNode {
    /// For each node, the range of `rows` with its own.
    offsets: Vec<usize>,
    rows: Vec<u32>,
}

impl ByNode {
    /// Takes the heads and tails of all triples, in the order of the table. A triple from a node to
    /// itself counts once.
    ///
    /// # Panics
    /// When there are fewer nodes than a triple says.
    pub fn new(nodes: usize, triples: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let ends = |(head, tail): (u32, u32)| {
            let other = (tail != head).then_some(tail);
            std::iter::once(head).chain(other).map(|node| node as usize)
        };
        let mut offsets = vec![0; nodes + 1];
        for node in triples.clone().flat_map(ends) {
            offsets[node + 1] += 1;
        }
        for node in 0..nodes {
            offsets[node + 1] += offsets[node];
        }
        let mut next = offsets.clone();
        let mut rows = vec![0; offsets[nodes]];
        for (row, triple) in (0..).zip(triples) {
            for node in ends(triple) {
                rows[next[node]] = row;
                next[node] += 1;
            }
        }
        ByNode { offsets, rows }
    }

    /// The rows of a node's triples, ascending; none where there is no such node.
    pub fn of(&self, node: u32) -> &[u32] {
        match self.offsets.get(node as usize..) {
            Some([from, to, ..]) => &self.rows[*from..*to],
            _ => &[],
        }
    }

    /// The rows among which those between two nodes are: of the node that has fewer.
    pub fn between(&self, a: u32, b: u32) -> &[u32] {
        let (a, b) = (self.of(a), self.of(b));
        if a.len() <= b.len() { a } else { b }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_its_rows() {
        let triples = [(0, 1), (1, 1), (2, 0), (0, 1)];
        let rows = ByNode::new(5, triples.into_iter());
        assert_eq!(rows.of(0), [0, 2, 3]);
        assert_eq!(rows.of(1), [0, 1, 3]);
        assert_eq!(rows.of(2), [2]);
        for without in [3, 4, 5, u32::MAX] {
            assert!(rows.of(without).is_empty());
        }
        assert_eq!(rows.between(0, 2), [2]);
        assert!(ByNode::default().of(0).is_empty());
    }
}
