//! Writes the graph's tables.

use gfm_pipe_api::document_edges::EdgeKind;
use gfm_pipe_api::node_types::{DOCUMENT, ENTITY};
use gfm_pipe_api::{Context, OpResult, kinds};
use gfm_pipe_kg::names::Names;
use gfm_pipe_kg::tables::{Places, Table, write_counts, write_names, write_relations};

use super::documents::{self, Edge, Mentioned};
use super::entities::too_many;
use super::normalize::Normalize;
use super::row_of::RowOf;
use super::triples::Triples;
use super::weights;
use crate::rows::{Cell, Rows};

/// The finished graph, with ids.
pub struct Graph {
    /// Names of nodes: entities, then documents.
    pub names: Vec<String>,
    /// Number of nodes that are entities.
    pub entities: u32,
    /// Entity, written form and count.
    pub labels: Vec<(u32, String, u64)>,
    /// Relations of facts.
    pub relations: Names,
    /// Triples of facts.
    pub triples: Triples,
    /// Edges of documents, kind by kind, besides those of [`Graph::mentioned_in`].
    pub edges: Vec<Edge>,
    /// Which documents mention which entities, sorted.
    pub mentioned: Vec<Mentioned>,
    /// Number of document nodes; `None` where documents are not nodes.
    pub documents: Option<u32>,
    /// Number of facts and of mentions that were read.
    pub read: [u64; 2],
    /// Number of them that could not be used.
    pub rejected: u64,
}

impl Graph {
    /// Edges from entities to the nodes of documents that mention them, which come before all other
    /// edges of documents.
    pub fn mentioned_in(&self) -> impl Iterator<Item = Edge> + '_ {
        let of = self.documents.map(|_| &self.mentioned[..]);
        documents::mentioned_in(of.unwrap_or_default(), self.entities)
    }
}

/// Writes all tables except `rejects`.
///
/// # Errors
/// When there are more relations than ids, or writing fails.
pub fn graph(
    ctx: &Context,
    graph: &Graph,
    titles: &[String],
    normalize: Normalize,
) -> OpResult<()> {
    let mut table = Table::create(ctx, "entities", &kinds::ENTITIES, "entities")?;
    write_names(&mut table, graph.names.iter().map(String::as_str), |_| {
        Vec::new()
    })?;
    table.finish()?;
    nodes(ctx, graph)?;
    labels(ctx, graph, titles)?;
    links(ctx, graph)?;
    triples(ctx, graph, normalize)?;
    counts(ctx, graph, titles.len() as u64)
}

fn nodes(ctx: &Context, graph: &Graph) -> OpResult<()> {
    let mut table = Rows::create(ctx, "nodes", &kinds::NODES, "nodes")?;
    for id in 0..graph.names.len() as u32 {
        let document = id.checked_sub(graph.entities);
        let kind = match document {
            Some(_) => DOCUMENT,
            None => ENTITY,
        };
        table.push([Cell::Id(id), Cell::Text(kind), Cell::MaybeId(document)])?;
    }
    table.finish()
}

fn labels(ctx: &Context, graph: &Graph, titles: &[String]) -> OpResult<()> {
    let mut table = Rows::create(ctx, "labels", &kinds::LABELS, "labels")?;
    for (entity, label, count) in &graph.labels {
        table.push([
            Cell::Id(*entity),
            Cell::Text(label),
            Cell::Maybe(Some(*count)),
        ])?;
    }
    if graph.documents.is_some() {
        for (node, title) in (graph.entities..).zip(titles) {
            table.push([Cell::Id(node), Cell::Text(title), Cell::Maybe(Some(1))])?;
        }
    }
    table.finish()
}

/// Writes links in ascending order: the entities of each document, then its own node, whose id is
/// larger than those of all entities.
fn links(ctx: &Context, graph: &Graph) -> OpResult<()> {
    let mut table = Rows::create(ctx, "links", &kinds::LINKS, "links")?;
    let mut of_entities = graph.mentioned.iter().peekable();
    for document in 0..graph.documents.unwrap_or(0) {
        while let Some(pair) = of_entities.next_if(|pair| pair.document == document) {
            table.push([Cell::Id(document), Cell::Id(pair.entity)])?;
        }
        table.push([Cell::Id(document), Cell::Id(graph.entities + document)])?;
    }
    for pair in of_entities {
        table.push([Cell::Id(pair.document), Cell::Id(pair.entity)])?;
    }
    table.finish()
}

/// Writes triples with their weights, evidence and places, and the relations, which get their ids
/// from them.
fn triples(ctx: &Context, graph: &Graph, normalize: Normalize) -> OpResult<()> {
    let mut names = Names::new(u32::MAX / 2);
    for name in graph.relations.iter() {
        names.intern(name);
    }
    let mut per_relation = vec![0u64; names.len() as usize];
    let mut table = Rows::create(ctx, "triples", &kinds::TRIPLES, "triples")?;
    let mut edge_weights = Rows::create(ctx, "edge_weights", &kinds::EDGE_WEIGHTS, "edge_weights")?;
    let mut places = Places::create(ctx)?;
    let mut push = |[head, relation, tail]: [u32; 3], weight, place: RowOf| {
        let row = u64::from(table.total());
        places.push("triples", row, place.table(), place.row() + 1)?;
        edge_weights.push([Cell::Weight(weight)])?;
        table.push([Cell::Id(head), Cell::Id(relation), Cell::Id(tail)])
    };
    let mut evidence = graph.triples.evidence.iter().peekable();
    for (row, triple) in (0..).zip(&graph.triples.all) {
        // Evidence is sorted, so the first is the earliest fact.
        let first = evidence.next().map_or(0, |(_, fact)| *fact);
        while evidence.next_if(|(triple, _)| *triple == row).is_some() {}
        per_relation[triple[1] as usize] += 1;
        push(*triple, weights::PLAIN, RowOf::facts(first))?;
    }
    for edge in graph.mentioned_in().chain(graph.edges.iter().cloned()) {
        let relation = names.intern(documents::relation(edge.kind, normalize));
        let relation = relation.ok_or_else(|| too_many("relations"))?;
        per_relation.resize(names.len() as usize, 0);
        per_relation[relation as usize] += 1;
        push([edge.head, relation, edge.tail], edge.weight, edge.place)?;
    }
    table.finish()?;
    edge_weights.finish()?;
    places.finish()?;
    let mut table = Rows::create(ctx, "evidence", &kinds::EVIDENCE, "evidence")?;
    for (triple, fact) in &graph.triples.evidence {
        table.push([Cell::Maybe(Some(*triple)), Cell::Maybe(Some(*fact))])?;
    }
    table.finish()?;
    write_relations(ctx, &names, &per_relation)
}

fn counts(ctx: &Context, graph: &Graph, documents: u64) -> OpResult<()> {
    // Sorted by document.
    let with_entity = graph.mentioned.chunk_by(|a, b| a.document == b.document);
    let with_entity = with_entity.count() as u64;
    let mentions = graph.mentioned_in().count();
    let edges = (mentions + graph.edges.len()) as u64;
    let facts = graph.triples.all.len() as u64;
    let mut counts: Vec<(String, u64)> = [
        ("documents", documents),
        ("facts", graph.read[0]),
        ("mentions", graph.read[1]),
        ("rejected", graph.rejected),
        ("entities", u64::from(graph.entities)),
        ("document_nodes", u64::from(graph.documents.unwrap_or(0))),
        ("labels", graph.labels.len() as u64),
        ("triples", facts + edges),
        ("triples_of_facts", facts),
        ("duplicates", graph.triples.duplicates),
        ("self_loops", graph.triples.self_loops),
        ("mentioned_entities", graph.mentioned.len() as u64),
        ("documents_without_entity", documents - with_entity),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    for kind in EdgeKind::ALL {
        let name = match kind {
            EdgeKind::MentionedIn => "edges_is_mentioned_in",
            EdgeKind::TitleOf => "edges_title_of",
            EdgeKind::NamesTitle => "edges_mentions_the_title_of",
            EdgeKind::Next => "edges_next",
        };
        let of = match kind {
            EdgeKind::MentionedIn => mentions,
            _ => graph.edges.iter().filter(|e| e.kind == kind).count(),
        };
        counts.push((name.to_owned(), of as u64));
    }
    write_counts(ctx, &counts)
}
