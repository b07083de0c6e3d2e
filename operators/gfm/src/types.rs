//! The nodes of a graph by type, and the nodes of one type as candidates of a ranking.

use std::collections::BTreeMap;

use gfm_pipe_api::node_types::NodeTypes;
use gfm_pipe_api::{Artifact, OpError, OpResult};
use gfm_pipe_eval::EntityDocuments;

/// The nodes of a graph by type.
pub(crate) struct Types {
    /// Ids, ascending.
    of: BTreeMap<String, Vec<u32>>,
}

impl Types {
    /// Reads a `nodes` artifact of a graph with `nodes` nodes.
    ///
    /// # Errors
    /// When it belongs to another graph.
    pub fn read(artifact: Option<&Artifact>, nodes: usize) -> OpResult<Option<Self>> {
        let Some(artifact) = artifact else {
            return Ok(None);
        };
        let mut of: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (node, kind) in (0..).zip(NodeTypes::read(artifact, nodes)?.types()) {
            of.entry(kind.to_owned()).or_default().push(node);
        }
        Ok(Some(Types { of }))
    }

    /// The types that nodes have, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.of.keys().map(String::as_str)
    }

    /// The nodes of a type, ascending; `None` where there are none.
    pub fn nodes(&self, kind: &str) -> Option<&[u32]> {
        self.of.get(kind).map(Vec::as_slice)
    }
}

/// The nodes of one type, as columns.
pub(crate) struct OfType {
    /// Node by column.
    nodes: Vec<u32>,
    /// The same as a matrix of nodes and columns.
    columns: EntityDocuments,
}

impl OfType {
    /// These nodes, of `of` in all.
    ///
    /// # Errors
    /// When a node is not one of these.
    pub fn new(nodes: &[u32], of: usize) -> OpResult<Self> {
        let pairs = nodes.iter().copied().zip(0..);
        Ok(OfType {
            columns: EntityDocuments::from_pairs(of, nodes.len(), pairs)
                .map_err(|e| OpError::internal(e.to_string()))?,
            nodes: nodes.to_vec(),
        })
    }

    /// The node of each column.
    pub fn nodes(&self) -> &[u32] {
        &self.nodes
    }

    /// The columns as a matrix, `[nodes, columns]`.
    pub fn columns(&self) -> &EntityDocuments {
        &self.columns
    }

    /// The columns of these nodes, as far as they are of the type.
    pub fn columns_of(&self, nodes: &[u32]) -> Vec<u32> {
        let column = |v: &u32| self.nodes.binary_search(v).ok().map(|at| at as u32);
        nodes.iter().filter_map(column).collect()
    }

    /// The scores of the columns, from those of all nodes.
    pub fn scores(&self, nodes: &[f64]) -> Vec<f64> {
        self.nodes.iter().map(|v| nodes[*v as usize]).collect()
    }
}
