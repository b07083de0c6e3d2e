//! Edges of a graph, grouped as the kernels read them.

/// Edges grouped by one of their ends.
#[derive(Debug, Clone, Copy)]
pub struct Csr<'a> {
    /// `nodes + 1` offsets into the other two.
    pub offsets: &'a [u32],
    /// The node at the other end of each edge.
    pub other: &'a [u32],
    /// The relation of each edge.
    pub relation: &'a [u32],
}

impl Csr<'_> {
    /// Number of nodes that the edges are grouped by.
    pub fn nodes(&self) -> usize {
        self.offsets.len() - 1
    }
}

/// Edges in relation order.
#[derive(Debug, Clone, Copy)]
pub struct ByRelation<'a> {
    /// `relations + 1` offsets into the other two.
    pub offsets: &'a [u32],
    /// The node that receives the message.
    pub destination: &'a [u32],
    /// The node that sends the message.
    pub source: &'a [u32],
}

/// Row `i` of a matrix with `dim` columns.
#[inline(always)]
pub(crate) fn row<T>(x: &[T], i: usize, dim: usize) -> &[T] {
    &x[i * dim..][..dim]
}
