//! Paths: walks in a graph that explain a ranking.

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
