//! The graph as the sources need it: names, document nodes, and which documents mention which
//! nodes.

use std::sync::Arc;

use gfm_pipe_api::bm25::Bm25;
use gfm_pipe_api::lists::Lists;
use gfm_pipe_api::node_types::NodeTypes;
use gfm_pipe_api::text_list::TextList;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns};

use super::sentence_places::SentencePlaces;
use crate::build_kg::read;

/// Tables in memory that a retriever has for itself too.
#[derive(Clone)]
pub struct Shared {
    /// Titles of documents, by id.
    pub titles: Arc<TextList>,
    /// Their texts.
    pub texts: Arc<TextList>,
    /// Names of nodes, by id.
    pub names: Arc<TextList>,
    /// Nodes linked to each document: see [`read_links`].
    pub links: Arc<Lists>,
    /// Head, relation and tail of each triple. All heads and tails are nodes.
    pub triples: Arc<Vec<[u32; 3]>>,
    /// Where sentences are, if this is known already.
    pub sentences: Option<Arc<SentencePlaces>>,
    /// The index of the documents by their words.
    pub words: Arc<Bm25>,
}

/// The graph as the sources need it.
pub struct Graph {
    /// Names of nodes, by id.
    pub names: Arc<TextList>,
    /// Titles of documents, by id.
    pub titles: Arc<TextList>,
    /// The first piece of the same document; the document itself where it is whole.
    pub parents: Vec<u32>,
    /// The node of each document, where documents are nodes.
    passages: Vec<Option<u32>>,
    /// Whether a node is a document node.
    is_passage: Vec<bool>,
    /// Number of documents that mention a node; the pieces of a document count as one.
    frequency: Vec<u32>,
    /// Nodes linked to each document.
    links: Arc<Lists>,
}

impl Graph {
    /// Reads the tables.
    ///
    /// # Errors
    /// When the tables do not belong together.
    pub fn read(ctx: &Context) -> OpResult<Graph> {
        let names = ctx.input("entities")?.text_list()?;
        let titles = read::titles(ctx, ctx.input("documents")?)?;
        let links = read_links(ctx, titles.len(), names.len())?;
        let titles = titles.iter().collect();
        Self::of(ctx, Arc::new(names), Arc::new(titles), Arc::new(links))
    }

    /// Reads what is not in memory yet.
    ///
    /// # Errors
    /// When the tables do not belong together.
    pub fn of(
        ctx: &Context,
        names: Arc<TextList>,
        titles: Arc<TextList>,
        links: Arc<Lists>,
    ) -> OpResult<Graph> {
        let count = titles.len() as u32;
        let parents = match ctx.input_opt("sources") {
            Some(sources) => read::parents(ctx, sources, count)?,
            None => (0..count).collect(),
        };
        let mut graph = Graph {
            passages: vec![None; titles.len()],
            is_passage: vec![false; names.len()],
            frequency: vec![0; names.len()],
            names,
            titles,
            parents,
            links,
        };
        if let Some(nodes) = ctx.input_opt("nodes") {
            graph.nodes(nodes)?;
        }
        graph.count_documents();
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

    fn count_documents(&mut self) {
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
        let links = self.links.of(document as usize).iter();
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
            out.extend(pieces.flat_map(|piece| self.links.of(piece).iter().copied()));
        }
        out.sort_unstable();
        out.dedup();
        out
    }
}

/// Reads which nodes each document mentions, in the order of the table.
///
/// # Errors
/// When a row names a document or node that does not exist.
pub fn read_links(ctx: &Context, documents: usize, nodes: usize) -> OpResult<Lists> {
    let rows = ctx.input("links")?.rows("links")?;
    let mut pairs = Vec::with_capacity(rows);
    each_link(ctx, documents, nodes, &mut |document, node| {
        pairs.push((document, node));
    })?;
    Ok(Lists::grouped(documents, pairs.into_iter()))
}

/// Calls `each` with the document and the node of each link, in the order of the table.
///
/// # Errors
/// When a row names a document or node that does not exist.
pub fn each_link(
    ctx: &Context,
    documents: usize,
    nodes: usize,
    each: &mut dyn FnMut(u32, u32),
) -> OpResult<()> {
    let links = ctx.input("links")?;
    let mut row = 0;
    for batch in links.batches("links")? {
        let batch = batch?;
        let of = columns::u32s(&batch, "document")?.values().iter();
        for (document, node) in of.zip(columns::u32s(&batch, "entity")?.values()) {
            if *document as usize >= documents || *node as usize >= nodes {
                return Err(stray(links, "links", row));
            }
            each(*document, *node);
            row += 1;
        }
    }
    Ok(())
}

fn stray(artifact: &Artifact, table: &str, row: usize) -> OpError {
    OpError::new("a row names a node or document that does not exist")
        .artifact(format!("{}.{table}", artifact.name))
        .row(row as u64)
        .hint("connect what was made from the same documents")
}
