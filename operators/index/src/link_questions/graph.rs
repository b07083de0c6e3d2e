//! The graph as the sources need it: names, document nodes, and which documents mention which
//! nodes.

use gfm_pipe_api::node_types::NodeTypes;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns};

use crate::build_kg::read;

/// The graph as the sources need it.
pub struct Graph {
    /// Names of nodes, by id.
    pub names: Vec<String>,
    /// Titles of documents, by id.
    pub titles: Vec<String>,
    /// The first piece of the same document; the document itself where it is whole.
    pub parents: Vec<u32>,
    /// The node of each document, where documents are nodes.
    passages: Vec<Option<u32>>,
    /// Whether a node is a document node.
    is_passage: Vec<bool>,
    /// Number of documents that mention a node; the pieces of a document count as one.
    frequency: Vec<u32>,
    /// Nodes linked to each document.
    links: Vec<Vec<u32>>,
}

impl Graph {
    /// Reads the tables.
    ///
    /// # Errors
    /// When the tables do not belong together.
    pub fn read(ctx: &Context) -> OpResult<Graph> {
        let names = ctx.input("entities")?.texts()?;
        let documents = ctx.input("documents")?;
        let titles = read::titles(ctx, documents)?;
        let count = titles.len() as u32;
        let parents = match ctx.input_opt("sources") {
            Some(sources) => read::parents(ctx, sources, count)?,
            None => (0..count).collect(),
        };
        let mut graph = Graph {
            passages: vec![None; titles.len()],
            is_passage: vec![false; names.len()],
            frequency: vec![0; names.len()],
            links: vec![Vec::new(); titles.len()],
            names,
            titles,
            parents,
        };
        if let Some(nodes) = ctx.input_opt("nodes") {
            graph.nodes(nodes)?;
        }
        graph.links(ctx.input("links")?)?;
        Ok(graph)
    }

    fn nodes(&mut self, nodes: &Artifact) -> OpResult<()> {
        for (node, document) in NodeTypes::read(nodes, self.names.len())?.documents() {
            match self.passages.get_mut(document as usize) {
                Some(passage) => *passage = Some(node),
                None => return Err(stray(nodes, "nodes", node as usize)),
            }
            self.is_passage[node as usize] = true;
        }
        Ok(())
    }

    fn links(&mut self, links: &Artifact) -> OpResult<()> {
        let table = links.read("links")?;
        let (documents, nodes) = (
            columns::u32s(&table, "document")?,
            columns::u32s(&table, "entity")?,
        );
        let pairs = documents.values().iter().zip(nodes.values());
        for (row, (document, node)) in pairs.enumerate() {
            let of = self.links.get_mut(*document as usize);
            match of {
                Some(of) if (*node as usize) < self.names.len() => of.push(*node),
                _ => return Err(stray(links, "links", row)),
            }
        }
        // Pieces of a document are consecutive.
        let mut last = vec![u32::MAX; self.names.len()];
        for (of, parent) in self.links.iter().zip(&self.parents) {
            for node in of {
                let last = &mut last[*node as usize];
                if *last != *parent {
                    *last = *parent;
                    self.frequency[*node as usize] += 1;
                }
            }
        }
        Ok(())
    }

    /// Checks that a node of a table exists.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn check(&self, node: u32, of: &Artifact) -> OpResult<()> {
        if (node as usize) < self.names.len() {
            Ok(())
        } else {
            Err(OpError::new(format!(
                "node {node} does not exist: there are {}",
                self.names.len()
            ))
            .artifact(&of.name)
            .hint("connect what was made from the same documents"))
        }
    }

    /// Whether a node is an entity, not a document node.
    pub fn is_entity(&self, node: u32) -> bool {
        !self.is_passage[node as usize]
    }

    /// 1 / number of documents that mention a node, or 1 where none does.
    pub fn specificity(&self, node: u32) -> f64 {
        1.0 / f64::from(self.frequency[node as usize].max(1))
    }

    /// The nodes that represent a document, with shares that sum to 1: its own node, or the nodes
    /// that it mentions.
    pub fn shares(&self, document: u32) -> Vec<(u32, f64)> {
        if let Some(passage) = self.passages[document as usize] {
            return vec![(passage, 1.0)];
        }
        let links = self.links[document as usize].iter();
        let shares: Vec<(u32, f64)> = links.map(|n| (*n, self.specificity(*n))).collect();
        let sum: f64 = shares.iter().map(|s| s.1).sum();
        shares.into_iter().map(|(n, s)| (n, s / sum)).collect()
    }

    /// Distinct nodes linked to these documents and to all their pieces, ascending.
    pub fn supporting(&self, documents: &[u32]) -> Vec<u32> {
        let mut out = Vec::new();
        for document in documents {
            let parent = self.parents[*document as usize];
            let pieces = (*document as usize..self.parents.len())
                .take_while(|piece| self.parents[*piece] == parent);
            out.extend(pieces.flat_map(|piece| self.links[piece].iter().copied()));
        }
        out.sort_unstable();
        out.dedup();
        out
    }
}

fn stray(artifact: &Artifact, table: &str, row: usize) -> OpError {
    OpError::new("a row names a node or document that does not exist")
        .artifact(format!("{}.{table}", artifact.name))
        .row(row as u64)
        .hint("connect what was made from the same documents")
}
