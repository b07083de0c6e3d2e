//! The triples of a graph, and those of each node.

use std::sync::Arc;

use gfm_pipe_api::lists::Lists;

use crate::BadShape;

/// The rows of a table of triples, by the nodes at their ends.
#[derive(Debug, Clone, Default)]
pub struct ByNode(Lists);

impl ByNode {
    /// Takes the heads and tails of all triples, in the order of the table. A triple from a node to
    /// itself counts once.
    ///
    /// # Panics
    /// When there are fewer nodes than a triple says.
    pub fn new(nodes: usize, triples: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let ends = |(row, (head, tail)): (u32, (u32, u32))| {
            let other = (tail != head).then_some((tail, row));
            std::iter::once((head, row)).chain(other)
        };
        ByNode(Lists::grouped(nodes, (0..).zip(triples).flat_map(ends)))
    }

    /// The rows of a node's triples, ascending; none where there is no such node.
    pub fn of(&self, node: u32) -> &[u32] {
        self.0.of(node as usize)
    }

    /// The rows among which those between two nodes are: of the node that has fewer.
    pub fn between(&self, a: u32, b: u32) -> &[u32] {
        let (a, b) = (self.of(a), self.of(b));
        if a.len() <= b.len() { a } else { b }
    }
}

/// Direct triples (head, relation, tail), in the order of their table, and those of each node.
#[derive(Debug, Clone, Default)]
pub struct Triples {
    /// All triples.
    pub all: Arc<Vec<[u32; 3]>>,
    /// The rows of each node's triples.
    pub by_node: ByNode,
}

impl Triples {
    /// Takes the triples of a graph with this number of nodes.
    ///
    /// # Errors
    /// When a triple names a node that does not exist.
    pub fn new(nodes: usize, all: Vec<[u32; 3]>) -> Result<Self, BadShape> {
        let ends = all.iter().map(|[head, _, tail]| (*head, *tail));
        check_ends(nodes, ends.clone())?;
        Ok(Triples {
            by_node: ByNode::new(nodes, ends),
            all: Arc::new(all),
        })
    }
}

/// Checks that the nodes at the ends of triples exist.
///
/// # Errors
/// When one does not.
pub fn check_ends(
    nodes: usize,
    mut ends: impl Iterator<Item = (u32, u32)>,
) -> Result<(), BadShape> {
    let outside = ends.find(|(head, tail)| *head.max(tail) as usize >= nodes);
    outside.map_or(Ok(()), |(head, tail)| {
        let largest = head.max(tail);
        Err(BadShape(format!("entity {largest} of {nodes} in a triple")))
    })
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
        assert!(Triples::new(3, vec![[0, 7, 2], [2, 0, 1]]).is_ok());
        assert!(Triples::new(2, vec![[0, 7, 1], [2, 0, 1]]).is_err());
    }
}
