//! The graph: nodes with keys, names and types, documents among them, relations and edges.

use gfm_pipe_api::node_types::{DOCUMENT, ENTITY, NodeTypes};
use gfm_pipe_api::{Context, OpError, OpResult};

use super::super::files::{Report, row};
use super::super::names::{Changed, distinct};
use super::pandas::{self, Look, Misread};
use crate::layout::{EDGES, NODES, RELATIONS};
use crate::names::entity_names;
use crate::node_texts::write_as_labelled;
use crate::read::{Documents, links, relations, stray, triples};
use crate::tables::Reject;

/// The relation from an entity to a document that mentions it, as GFM-RAG 2.0 names it.
const MENTIONED: &str = "is_mentioned_in";

/// A node as it is written.
#[derive(Debug)]
pub struct Node {
    /// What edges and questions call it; no other node has it.
    pub key: String,
    /// What it is called.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// The document that it is.
    pub document: Option<u32>,
}

/// A graph as it is written.
#[derive(Debug)]
pub struct Graph {
    /// Nodes by id: those of the inputs, then the documents that had none.
    pub nodes: Vec<Node>,
    /// How many nodes the inputs have.
    pub given: usize,
    /// Whether a node's name is not its key, so that there is a column for each.
    pub uids: bool,
    /// Names of direct relations.
    pub relations: Vec<String>,
    /// Source, relation, target: the triples, then edges to documents that had no node.
    pub edges: Vec<[u32; 3]>,
    /// The node of each document.
    pub of_document: Vec<u32>,
}

impl Graph {
    /// Reads the graph. Documents without a node get one.
    ///
    /// # Errors
    /// When a table cannot be read, or tables do not belong together.
    pub fn read(
        ctx: &Context,
        documents: Option<&Documents>,
        report: Report<'_>,
    ) -> OpResult<Graph> {
        let (mut nodes, given) = given(ctx, documents, report)?;
        let relations = relations(ctx.input("relations")?)?;
        let direct = relations.into_iter().take_while(|r| r.direct);
        let mut relations: Vec<String> = direct.map(|r| r.name).collect();
        let mut edges = triples(ctx.input("triples")?, given as u32, relations.len())?;
        ctx.check_cancelled()?;
        let number = documents.map_or(0, |d| d.titles.len());
        let mut of_document: Vec<Option<u32>> = vec![None; number];
        for (node, id) in nodes.iter().zip(0..) {
            if let Some(slot) = node.document.and_then(|d| of_document.get_mut(d as usize)) {
                slot.get_or_insert(id);
            }
        }
        let linked = match ctx.input_opt("links") {
            Some(artifact) => links(artifact, number, given as u32)?,
            None => vec![Vec::new(); number],
        };
        for change in written(&mut relations) {
            let reason = no_nul("relations.csv", &relations[change.row]);
            report(&row("relations", change.row, &reason, &change.name))?;
        }
        let mut mentioned = None;
        for (document, linked) in linked.iter().enumerate() {
            if of_document[document].is_some() {
                continue;
            }
            let node = u32::try_from(nodes.len()).map_err(|_| {
                OpError::data("more than 4294967295 nodes with the documents: ids have 32 bits")
            })?;
            of_document[document] = Some(node);
            let title = documents.map_or("", |d| &d.titles[document]);
            nodes.push(Node {
                key: title.to_owned(),
                name: title.to_owned(),
                kind: DOCUMENT.to_owned(),
                document: Some(document as u32),
            });
            for entity in linked {
                let relation = *mentioned.get_or_insert_with(|| {
                    let there = relations.iter().position(|name| name == MENTIONED);
                    there.unwrap_or_else(|| {
                        relations.push(MENTIONED.to_owned());
                        relations.len() - 1
                    })
                });
                edges.push([*entity, relation as u32, node]);
            }
        }
        keys(&mut nodes, given, report)?;
        let graph = Graph {
            uids: nodes.iter().any(|node| node.name != node.key),
            nodes,
            given,
            relations,
            edges,
            // Every document has one by now.
            of_document: of_document.into_iter().flatten().collect(),
        };
        graph.report_misread(report)?;
        Ok(graph)
    }

    /// Reports what the Python package would not read as it is written.
    fn report_misread(&self, report: Report<'_>) -> OpResult<()> {
        let keys: Vec<Look> = self.nodes.iter().map(|n| pandas::look(&n.key)).collect();
        let kinds: Vec<Look> = self.nodes.iter().map(|n| pandas::look(&n.kind)).collect();
        let relations: Vec<Look> = self.relations.iter().map(|r| pandas::look(r)).collect();
        let ends = |end: usize, looks: &[Look]| -> Vec<Look> {
            self.edges.iter().map(|e| looks[e[end] as usize]).collect()
        };
        let key = if self.uids { "uid" } else { "name" };
        let node_columns = 3 + usize::from(self.uids);
        let (source, relation) = (ends(0, &keys), ends(1, &relations));
        let target = ends(2, &keys);
        for (table, file, column, looks, columns) in [
            ("entities", NODES, key, &keys, node_columns),
            ("nodes", NODES, "type", &kinds, node_columns),
            ("relations", RELATIONS, "name", &relations, 2),
            ("triples", EDGES, "source", &source, 4),
            ("triples", EDGES, "relation", &relation, 4),
            ("triples", EDGES, "target", &target, 4),
        ] {
            let Some(Misread { what, rows }) = pandas::misread(looks, columns) else {
                continue;
            };
            let [from, to] = rows;
            let reason = format!(
                "GFM-RAG 2.0 reads the column `{column}` of {file} as {what}, because nothing else is in its rows {from} to {to}: it would need another text in one of them. Here it is read as it is written"
            );
            report(&Reject {
                source: table,
                line: None,
                item: None,
                reason: &reason,
                text: "",
            })?;
        }
        let mut ends = vec![false; self.nodes.len()];
        let mut used = vec![false; self.relations.len()];
        for [source, relation, target] in &self.edges {
            ends[*source as usize] = true;
            ends[*target as usize] = true;
            used[*relation as usize] = true;
        }
        let missing = |name: &str| pandas::MISSING.contains(&name);
        let reason = "gfm_rag_v1 of GFM-RAG 2.0 takes the name for a missing value, and leaves its edges out";
        for (id, node) in self.nodes.iter().enumerate() {
            if ends[id] && missing(&node.key) {
                let (table, at) = match node.document {
                    Some(document) if id >= self.given => ("documents", document as usize),
                    _ => ("entities", id),
                };
                report(&row(table, at, reason, &node.key))?;
            }
        }
        for (id, name) in self.relations.iter().enumerate() {
            if used[id] && missing(name) {
                report(&row("relations", id, reason, name))?;
            }
        }
        Ok(())
    }
}

/// The nodes that the inputs have.
fn given(
    ctx: &Context,
    documents: Option<&Documents>,
    report: Report<'_>,
) -> OpResult<(Vec<Node>, usize)> {
    let names = entity_names(ctx.input("entities")?)?;
    let keys: Vec<String> = names.iter().map(str::to_owned).collect();
    drop(names);
    let of_nodes = ctx.input_opt("nodes");
    let types = of_nodes.map(|artifact| NodeTypes::read(artifact, keys.len()));
    let types = types.transpose()?;
    let mut labels = keys.clone();
    if let Some(artifact) = ctx.input_opt("labels") {
        write_as_labelled(artifact, &mut labels)?;
    }
    let mut nodes = Vec::with_capacity(keys.len());
    let mut kinds = types.iter().flat_map(NodeTypes::types);
    for (id, (key, mut name)) in keys.into_iter().zip(labels).enumerate() {
        let kind = kinds.next().unwrap_or(ENTITY);
        let document = types.as_ref().and_then(|types| types.document(id));
        if let (Some(document), Some(documents)) = (document, documents) {
            let title = documents.titles.get(document as usize);
            let title = title.ok_or_else(|| match of_nodes {
                Some(artifact) => stray(artifact, id, "document"),
                None => OpError::internal("a document without types of nodes"),
            })?;
            title.clone_into(&mut name);
        }
        if (kind == DOCUMENT) != document.is_some() {
            let reason = match document {
                Some(_) => format!("the node is a document: written with the type `{DOCUMENT}`"),
                None => format!(
                    "the node has the type `{DOCUMENT}`, but no document: read as one without a text"
                ),
            };
            report(&row("nodes", id, &reason, kind))?;
        }
        let kind = if document.is_some() { DOCUMENT } else { kind };
        nodes.push(Node {
            key,
            name,
            kind: without_nul(kind),
            document,
        });
    }
    let given = nodes.len();
    Ok((nodes, given))
}

/// Makes the keys of nodes unique.
fn keys(nodes: &mut [Node], given: usize, report: Report<'_>) -> OpResult<()> {
    let mut keys: Vec<String> = nodes
        .iter_mut()
        .map(|n| std::mem::take(&mut n.key))
        .collect();
    let changed = written(&mut keys);
    for change in &changed {
        let key = &keys[change.row];
        match nodes.get(change.row).and_then(|n| n.document) {
            Some(document) if change.row >= given => {
                let why = if change.numbered {
                    "another node has this name"
                } else {
                    "nodes.csv cannot hold NUL"
                };
                let reason = format!("{why}: the `uid` is `{key}`");
                report(&row("documents", document as usize, &reason, &change.name))?;
            }
            _ => {
                let reason = no_nul("nodes.csv", key);
                report(&row("entities", change.row, &reason, &change.name))?;
            }
        }
    }
    for (node, key) in nodes.iter_mut().zip(keys) {
        node.key = key;
        node.name = without_nul(&node.name);
    }
    // Without a column for labels, a name that a file cannot hold is that of the key.
    for change in changed.iter().filter(|change| change.row < given) {
        let node = &mut nodes[change.row];
        if node.document.is_none() && node.name == without_nul(&change.name) {
            node.name.clone_from(&node.key);
        }
    }
    Ok(())
}

/// Replaces names by distinct ones that a CSV file can hold: pandas cuts a text off at a NUL, and a
/// text with NULs looks like another encoding.
fn written(names: &mut [String]) -> Vec<Changed> {
    distinct(names, |_, name| {
        name.contains('\0').then(|| without_nul(name))
    })
}

fn without_nul(text: &str) -> String {
    text.replace('\0', " ")
}

fn no_nul(file: &str, written: &str) -> String {
    format!("{file} cannot hold NUL, and a name only once: written as `{written}`")
}
