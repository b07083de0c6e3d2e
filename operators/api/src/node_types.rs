//! The types of a graph's nodes, and which of them are documents: what a `nodes` artifact says.

use arrow::array::{Array, StringArray, UInt32Array};

use crate::{Artifact, OpError, OpResult, columns};

/// The type of nodes that are entities.
pub const ENTITY: &str = "entity";
/// The type of nodes that are documents.
pub const DOCUMENT: &str = "document";

/// The type of each node, and the document that it stands for.
#[derive(Debug, Clone)]
pub struct NodeTypes {
    types: StringArray,
    documents: UInt32Array,
}

impl NodeTypes {
    /// Reads a `nodes` artifact of a graph with `nodes` nodes.
    ///
    /// # Errors
    /// When it belongs to a graph with another number of nodes.
    pub fn read(of: &Artifact, nodes: usize) -> OpResult<Self> {
        let table = of.read("nodes")?;
        if table.num_rows() != nodes {
            return Err(OpError::new(format!(
                "there are types for {} nodes, but the graph has {nodes}",
                table.num_rows()
            ))
            .artifact(&of.name)
            .hint("connect `nodes` of the stage that the graph's entities come from"));
        }
        Ok(NodeTypes {
            types: columns::text(&table, "type")?.clone(),
            documents: columns::u32s(&table, "document")?.clone(),
        })
    }

    /// The type of each node, by node.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.types.iter().map(Option::unwrap_or_default)
    }

    /// The nodes that stand for documents, ascending, each with its document.
    pub fn documents(&self) -> impl Iterator<Item = (u32, u32)> {
        let of = (0..).zip(&self.documents);
        of.filter_map(|(node, document)| Some((node, document?)))
    }

    /// The document that a node stands for.
    pub fn document(&self, node: usize) -> Option<u32> {
        self.documents
            .is_valid(node)
            .then(|| self.documents.value(node))
    }
}
