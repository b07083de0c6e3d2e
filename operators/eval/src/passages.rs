//! Documents that are nodes of the graph.

use gfm_pipe_api::node_types::NodeTypes;
use gfm_pipe_api::{Artifact, OpError, OpResult};

use crate::rankers::NO_SCORE;

/// The node of each document that is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passages(Vec<Option<u32>>);

impl Passages {
    /// Reads a `nodes` artifact. Returns `None` if no document is a node.
    ///
    /// # Errors
    /// When it has another number of nodes than the graph, or names a document that does not exist.
    pub fn read(of: &Artifact, nodes: usize, documents: usize) -> OpResult<Option<Passages>> {
        let types = NodeTypes::read(of, nodes)?;
        let mut passages = vec![None; documents];
        for (node, document) in types.documents() {
            let place = passages.get_mut(document as usize).ok_or_else(|| {
                OpError::data(format!(
                    "a node stands for document {document}, but there are only {documents}"
                ))
                .artifact(&of.name)
                .row(u64::from(node))
            })?;
            *place = Some(node);
        }
        let any = passages.iter().any(Option::is_some);
        Ok(any.then_some(Passages(passages)))
    }

    /// The node of each document, by document.
    pub fn from_nodes(nodes: Vec<Option<u32>>) -> Passages {
        Passages(nodes)
    }

    /// The node of a document, if it is one.
    pub fn node(&self, document: u32) -> Option<u32> {
        self.0.get(document as usize).copied().flatten()
    }

    /// Scores of documents: the masses of their nodes.
    pub fn ranking(&self, masses: &[f64]) -> Vec<f64> {
        let mass = |node: &Option<u32>| node.map_or(NO_SCORE, |node| masses[node as usize]);
        self.0.iter().map(mass).collect()
    }
}
