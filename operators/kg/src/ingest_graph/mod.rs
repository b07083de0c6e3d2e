//! `ingest-graph`: a graph in the files of GFM-RAG 2.0 (nodes.csv, relations.csv, edges.csv) and
//! its questions.
//!
//! Nodes have types: `document` is a document, and anything else is a type of entities. Ids are
//! those of GFM-RAG 2.0: row of nodes.csv, row of relations.csv, inverses behind. Its faults are
//! not copied: every name is a text (`007`, `null` and `NA` too), attributes may be JSON, empty or
//! missing, and what cannot be used is kept with file, line and reason instead of ending the run
//! (docs/differences.md).
//!
//! With `target_type`, only nodes of that type are nodes of the graph, and only relations between
//! them its relations, both numbered among themselves: the graph of GFM-RAG 1.0, and of its model
//! in 2.0 (`gfm_rag_v1`).

pub(crate) mod literal;
mod sheet;
mod split;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, StringArray, UInt32Array, UInt64Array};
use gfm_pipe_api::node_types::DOCUMENT;
use gfm_pipe_api::{
    Context, Field, InPort, InputFile, OpError, OpResult, Operator, OutPort, Schema, Type, kinds,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::layout::{EDGES, NODES, RELATIONS, SPLITS};
use crate::lines::strip;
use crate::names::Names;
use crate::node_texts::{attribute, describe};
use crate::reasons;
use crate::tables::{Piece, Places, Rejects, Table, write_counts, write_names, write_relations};
use literal::{Value, attributes};
use sheet::{Record, Sheet};
use split::Split;

/// The operator `ingest-graph`.
pub struct IngestGraph;

/// Parameters of [`IngestGraph`].
#[derive(Debug, Serialize, Deserialize)]
pub struct GraphParams {
    /// Folder of the data set.
    pub root: PathBuf,
    /// Name of the data set.
    pub dataset: String,
    /// Type of the nodes that are in the graph; `None` for all.
    pub target_type: Option<String>,
}

/// The attribute with the text of a document.
pub(crate) const CONTENT: &str = "content";

impl Operator for IngestGraph {
    type Params = GraphParams;
    const NAME: &'static str = "ingest-graph";
    const VERSION: u32 = 2;
    const ABOUT: &'static str =
        "reads a graph of GFM-RAG 2.0 (nodes.csv, relations.csv, edges.csv) and its questions";

    fn schema() -> Schema {
        Schema::new(vec![
            Field::required(
                "root",
                Type::Path,
                "folder of the data set, with processed/stage1/",
            ),
            Field::required(
                "dataset",
                Type::Text,
                "name of the data set in tables of results",
            ),
            Field::new(
                "target_type",
                Type::Text.or_null(),
                json!(null),
                "only nodes of this type are in the graph, with the edges between them and their relations; `links` says which of them have an edge to a document. `entity` gives the graph of a GNNRetriever, as GFM-RAG 2.0's key of this name does; null keeps all nodes, for a GraphReasoner",
            )
            .added_later(),
        ])
    }

    fn inputs() -> Vec<InPort> {
        Vec::new()
    }

    fn outputs() -> Vec<OutPort> {
        let port = |name, kind, about| OutPort { name, kind, about };
        vec![
            port(
                "entities",
                &kinds::ENTITIES,
                "nodes by row of nodes.csv: their `uid`, or else their name",
            ),
            port("labels", &kinds::LABELS, "the name of each node"),
            port(
                "nodes",
                &kinds::NODES,
                "types of nodes, and which are documents",
            ),
            port(
                "relations",
                &kinds::RELATIONS,
                "relations by row of relations.csv, then their inverses",
            ),
            port(
                "triples",
                &kinds::TRIPLES,
                "edges in file order, duplicates kept",
            ),
            port(
                "documents",
                &kinds::DOCUMENTS,
                "nodes of type `document`; their attribute `content` is the text",
            ),
            port(
                "links",
                &kinds::LINKS,
                "which other nodes have an edge to a document",
            ),
            port(
                "node_texts",
                &kinds::TEXTS,
                "texts of nodes to embed: name, type and attributes",
            ),
            port(
                "relation_texts",
                &kinds::TEXTS,
                "texts of relations to embed, inverses included",
            ),
            port(
                "train",
                &kinds::QUESTIONS,
                "training questions; empty without a train.json",
            ),
            port(
                "valid",
                &kinds::QUESTIONS,
                "validation questions; empty without a valid.json",
            ),
            port(
                "test",
                &kinds::QUESTIONS,
                "test questions; empty without a test.json",
            ),
            port(
                "train_starts",
                &kinds::STARTS,
                "where `train` starts: `start_nodes`, each with weight 1",
            ),
            port("valid_starts", &kinds::STARTS, "the same for `valid`"),
            port("test_starts", &kinds::STARTS, "the same for `test`"),
            port(
                "train_targets",
                &kinds::TARGETS,
                "what `train` asks for: `target_nodes`",
            ),
            port("valid_targets", &kinds::TARGETS, "the same for `valid`"),
            port("test_targets", &kinds::TARGETS, "the same for `test`"),
            port(
                "rejects",
                &kinds::REJECTS,
                "records, names and values that could not be used",
            ),
            port(
                "places",
                &kinds::PLACES,
                "the lines of nodes, relations, triples and questions",
            ),
            port(
                "counts",
                &kinds::COUNTS,
                "nodes, documents, relations, triples, rejected and, by split, questions",
            ),
        ]
    }

    fn files(params: &GraphParams, _: &Path) -> Vec<InputFile> {
        let needed = [NODES, RELATIONS, EDGES].map(|name| (name, true));
        let splits = SPLITS.map(|(_, name)| (name, false));
        let all = needed.into_iter().chain(splits);
        all.map(|(name, needed)| InputFile::new(params.root.join(name), needed))
            .collect()
    }

    fn run(params: GraphParams, ctx: &Context) -> OpResult<()> {
        let root = ctx.path(&params.root);
        if !root.is_dir() {
            return Err(OpError::new("there is no such folder").file(&params.root).hint(
                "check `root`; it is relative to the working directory of the run, which `-C DIR` changes",
            ));
        }
        let mut rejects = Rejects::create(ctx)?;
        let mut places = Places::create(ctx)?;
        let read = |source, needed: &[&str]| Sheet::read(&root, &params.root, source, needed);
        let (node_sheet, relation_sheet) = (read(NODES, &["type"])?, read(RELATIONS, &[])?);
        let edge_sheet = read(EDGES, &["source", "relation", "target"])?;
        let only = params.target_type.as_deref();
        let nodes = Items::read(&node_sheet, "nodes", u32::MAX, only, &mut rejects)?;
        let limit = u32::MAX / 2;
        let mut relations = Items::read(&relation_sheet, "relations", limit, None, &mut rejects)?;
        if let Some(kind) = only
            && nodes.rows.is_empty()
        {
            return Err(OpError::data(format!("no node has the type `{kind}`"))
                .file(params.root.join(NODES))
                .hint("correct `target_type`: it is compared with the column `type` exactly"));
        }
        ctx.check_cancelled()?;
        let documents = nodes.documents();
        let mut edges = Edges::read(&edge_sheet, &nodes, &relations, &documents, &mut rejects)?;
        if only.is_some() {
            edges.keep_relations(&mut relations);
        }
        let triples = &edges.triples;
        nodes.write_places(&mut places, "entities", node_sheet.source())?;
        relations.write_places(&mut places, "relations", relation_sheet.source())?;
        for (row, line) in (0..).zip(&edges.lines) {
            places.push("triples", row, edge_sheet.source(), *line)?;
        }
        ctx.check_cancelled()?;
        let mut counts = vec![
            ("nodes".to_owned(), nodes.rows.len() as u64),
            (
                "documents".to_owned(),
                documents.iter().flatten().count() as u64,
            ),
            ("relations".to_owned(), relations.rows.len() as u64),
            ("triples".to_owned(), triples.len() as u64),
        ];
        nodes.write_nodes(ctx, &documents)?;
        relations.write_relations(ctx, triples)?;
        write_triples(ctx, triples)?;
        write_links(ctx, &edges.links)?;
        for (name, source) in SPLITS {
            ctx.check_cancelled()?;
            let split = Split {
                dataset: &params.dataset,
                name,
                source,
                nodes: &nodes,
                documents: &documents,
            };
            let kept = split.write(ctx, &params.root, &mut rejects, &mut places)?;
            counts.push((format!("{name}_questions"), kept));
        }
        let rejected = rejects.total();
        counts.push(("rejected".to_owned(), rejected));
        rejects.finish()?;
        places.finish()?;
        if rejected > 0 {
            ctx.warn(format!(
                "{rejected} records, names and values could not be used: see `gfm-pipe show {}`",
                ctx.typed("rejects")
            ));
        }
        if triples.is_empty() {
            ctx.warn("the graph has no edge");
        }
        write_counts(ctx, &counts)
    }
}

/// A node or a relation.
struct Item {
    name: String,
    /// Type of a node.
    kind: String,
    attributes: Vec<(String, Value)>,
}

/// Nodes or relations by id.
struct Items {
    /// What edges and questions call them.
    keys: Names,
    all: Vec<Item>,
    /// The rows that have an id in the graph, by id.
    rows: Vec<u32>,
    /// The id in the graph of each row.
    ids: Vec<Option<u32>>,
    /// The line of each row's record.
    lines: Vec<u64>,
}

impl Items {
    /// Reads the records of a file, at most `limit` of these `things`. Those of the type `only`, or
    /// all, have an id in the graph.
    fn read(
        sheet: &Sheet,
        things: &str,
        limit: u32,
        only: Option<&str>,
        rejects: &mut Rejects,
    ) -> OpResult<Items> {
        let key = if sheet.has("uid") { "uid" } else { "name" };
        sheet.need(&[key])?;
        let mut items = Items {
            keys: Names::new(limit),
            all: Vec::new(),
            rows: Vec::new(),
            ids: Vec::new(),
            lines: Vec::new(),
        };
        sheet.records(rejects, |rejects, record| {
            let id = record.cell(key);
            if items.keys.find(id).is_some() {
                return record.reject(
                    rejects,
                    &format!("another record has this {key}: the first is kept"),
                );
            }
            if items.keys.intern(id).is_none() {
                return Err(
                    OpError::data(format!("more than {limit} {things}: ids have 32 bits"))
                        .line(record.line),
                );
            }
            let kind = record.cell("type");
            let id = only
                .is_none_or(|only| only == kind)
                .then_some(items.rows.len() as u32);
            if id.is_some() {
                items.rows.push(items.all.len() as u32);
            }
            items.ids.push(id);
            items.lines.push(record.line);
            items.all.push(Item {
                name: record
                    .cell(if sheet.has("name") { "name" } else { key })
                    .to_owned(),
                kind: kind.to_owned(),
                attributes: attributes_of(record, rejects)?,
            });
            Ok(())
        })?;
        Ok(items)
    }

    /// Writes where those in the graph were written, as rows of a table.
    fn write_places(&self, places: &mut Places, table: &str, source: &str) -> OpResult<()> {
        for (id, row) in (0..).zip(&self.rows) {
            places.push(table, id, source, self.lines[*row as usize])?;
        }
        Ok(())
    }

    /// Those in the graph, by id.
    fn of_graph(&self) -> impl Iterator<Item = &Item> {
        self.rows.iter().map(|row| &self.all[*row as usize])
    }

    /// What edges and questions call those in the graph, by id.
    fn keys_of_graph(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(|row| self.keys.get(*row))
    }

    /// For each row the document that it is, if it is one.
    fn documents(&self) -> Vec<Option<u32>> {
        let mut next = 0;
        let document = |item: &Item| {
            (item.kind == DOCUMENT).then(|| {
                next += 1;
                next - 1
            })
        };
        self.all.iter().map(document).collect()
    }

    fn write_nodes(&self, ctx: &Context, documents: &[Option<u32>]) -> OpResult<()> {
        let mut table = Table::create(ctx, "entities", &kinds::ENTITIES, "entities")?;
        write_names(&mut table, self.keys_of_graph(), |_| Vec::new())?;
        table.finish()?;

        let mut table = Table::create(ctx, "labels", &kinds::LABELS, "labels")?;
        write_names(
            &mut table,
            self.of_graph().map(|n| n.name.as_str()),
            |ids| {
                let once = ids.map(|_| 1u64);
                vec![Arc::new(UInt64Array::from_iter_values(once)) as ArrayRef]
            },
        )?;
        table.finish()?;

        let mut table = Table::create(ctx, "nodes", &kinds::NODES, "nodes")?;
        write_names(
            &mut table,
            self.of_graph().map(|n| n.kind.as_str()),
            |ids| {
                let of = ids.map(|id| documents[self.rows[id as usize] as usize]);
                vec![Arc::new(UInt32Array::from_iter(of)) as ArrayRef]
            },
        )?;
        table.finish()?;

        let texts = self.of_graph().map(|item| {
            let mut text = describe(&item.name, &item.kind);
            item.describe(&mut text);
            strip(&text).to_owned()
        });
        write_texts(ctx, "node_texts", texts)?;

        self.write_documents(ctx)
    }

    fn write_documents(&self, ctx: &Context) -> OpResult<()> {
        let mut table = Table::create(ctx, "documents", &kinds::DOCUMENTS, "documents")?;
        let mut piece = Piece::default();
        let (mut first, mut titles, mut texts) = (0, Vec::new(), Vec::new());
        let documents = self.all.iter().filter(|item| item.kind == DOCUMENT);
        let mut documents = documents.peekable();
        while let Some(item) = documents.next() {
            let text = item.content();
            let full = piece.add(item.name.len() + text.as_ref().map_or(0, String::len));
            titles.push(item.name.as_str());
            texts.push(text);
            if full || documents.peek().is_none() {
                let behind = first + piece.take() as u32;
                table.append(vec![
                    Arc::new(UInt32Array::from_iter_values(first..behind)),
                    Arc::new(StringArray::from(std::mem::take(&mut titles))),
                    Arc::new(StringArray::from_iter_values(
                        texts.iter().map(|t| t.as_deref().unwrap_or("")),
                    )),
                    Arc::new(
                        texts
                            .iter()
                            .map(|t| Some(t.is_some()))
                            .collect::<BooleanArray>(),
                    ),
                ])?;
                texts.clear();
                first = behind;
            }
        }
        table.finish()
    }

    fn write_relations(&self, ctx: &Context, triples: &[[u32; 3]]) -> OpResult<()> {
        let mut counts = vec![0; self.rows.len()];
        for [_, relation, _] in triples {
            counts[*relation as usize] += 1;
        }
        let mut keys = Names::new(u32::MAX);
        for key in self.keys_of_graph() {
            keys.intern(key);
        }
        write_relations(ctx, &keys, &counts)?;
        let text = |inverse: &str, item: &Item| {
            let mut text = format!("name: {inverse}{}", item.name);
            item.describe(&mut text);
            strip(&text).to_owned()
        };
        let direct = self.of_graph().map(|item| text("", item));
        let inverse = self.of_graph().map(|item| text("inverse_", item));
        write_texts(ctx, "relation_texts", direct.chain(inverse))
    }
}

impl Item {
    /// Appends the attributes to a text for an encoder, as GFM-RAG 2.0 writes them.
    fn describe(&self, text: &mut String) {
        for (name, value) in &self.attributes {
            if *value != Value::None {
                attribute(text, name, &value.shown());
            }
        }
    }

    /// The text of a document.
    fn content(&self) -> Option<String> {
        let mut attributes = self.attributes.iter();
        let (_, value) = attributes.find(|(name, _)| name == CONTENT)?;
        (*value != Value::None).then(|| value.shown())
    }
}

/// The attributes of a record; those that cannot be read are rejected, and the record is kept.
fn attributes_of(record: &Record<'_>, rejects: &mut Rejects) -> OpResult<Vec<(String, Value)>> {
    match attributes(record.cell("attributes")) {
        Ok(attributes) => Ok(attributes),
        Err(why) => {
            record.reject(rejects, &reasons::attributes(&why))?;
            Ok(Vec::new())
        }
    }
}

/// What the edges say.
struct Edges {
    /// Edges between nodes of the graph, in file order: head, relation, tail.
    triples: Vec<[u32; 3]>,
    /// Their lines.
    lines: Vec<u64>,
    /// Documents with nodes of the graph that have an edge to them and are no documents.
    links: Vec<(u32, u32)>,
}

impl Edges {
    /// Reads the edges whose ends and relation are known.
    fn read(
        sheet: &Sheet,
        nodes: &Items,
        relations: &Items,
        documents: &[Option<u32>],
        rejects: &mut Rejects,
    ) -> OpResult<Edges> {
        let (mut triples, mut lines, mut links) = (Vec::new(), Vec::new(), Vec::new());
        sheet.records(rejects, |rejects, record| {
            let ends = ["source", "target"].map(|column| nodes.keys.find(record.cell(column)));
            let relation = relations.keys.find(record.cell("relation"));
            let ([Some(source), Some(target)], Some(relation)) = (ends, relation) else {
                let unknown = [
                    ("source", ends[0]),
                    ("relation", relation),
                    ("target", ends[1]),
                ];
                let unknown = unknown.into_iter().find(|(_, id)| id.is_none());
                let column = unknown.map_or("source", |(column, _)| column);
                return record.reject(rejects, &reasons::unknown_end(column));
            };
            let (source, target) = (source as usize, target as usize);
            if let (Some(head), Some(tail)) = (nodes.ids[source], nodes.ids[target]) {
                triples.push([head, relation, tail]);
                lines.push(record.line);
            }
            if let (Some(head), None, Some(document)) =
                (nodes.ids[source], documents[source], documents[target])
            {
                links.push((document, head));
            }
            Ok(())
        })?;
        Ok(Edges {
            triples,
            lines,
            links,
        })
    }

    /// Keeps in the graph only those relations, of all, that a triple has.
    fn keep_relations(&mut self, relations: &mut Items) {
        let mut used = vec![false; relations.rows.len()];
        for [_, relation, _] in &self.triples {
            used[*relation as usize] = true;
        }
        relations.rows.retain(|row| used[*row as usize]);
        relations.ids.fill(None);
        for (id, row) in (0..).zip(&relations.rows) {
            relations.ids[*row as usize] = Some(id);
        }
        for [_, relation, _] in &mut self.triples {
            *relation = relations.ids[*relation as usize].unwrap_or_default();
        }
    }
}

fn write_triples(ctx: &Context, triples: &[[u32; 3]]) -> OpResult<()> {
    let mut table = Table::create(ctx, "triples", &kinds::TRIPLES, "triples")?;
    for part in triples.chunks(crate::tables::ROWS) {
        let column = |at: usize| -> ArrayRef {
            Arc::new(UInt32Array::from_iter_values(part.iter().map(|t| t[at])))
        };
        table.append(vec![column(0), column(1), column(2)])?;
    }
    table.finish()
}

/// Writes each pair of a document and a node once.
fn write_links(ctx: &Context, links: &[(u32, u32)]) -> OpResult<()> {
    let mut seen = ahash::AHashSet::new();
    let pairs = links.iter().copied();
    let mut pairs: Vec<(u32, u32)> = pairs.filter(|pair| seen.insert(*pair)).collect();
    // A stable sort: a document's entities stay in file order.
    pairs.sort_by_key(|pair| pair.0);
    let mut table = Table::create(ctx, "links", &kinds::LINKS, "links")?;
    for part in pairs.chunks(crate::tables::ROWS) {
        table.append(vec![
            Arc::new(UInt32Array::from_iter_values(part.iter().map(|p| p.0))),
            Arc::new(UInt32Array::from_iter_values(part.iter().map(|p| p.1))),
        ])?;
    }
    table.finish()
}

fn write_texts(ctx: &Context, port: &str, texts: impl Iterator<Item = String>) -> OpResult<()> {
    let texts: Vec<String> = texts.collect();
    let mut table = Table::create(ctx, port, &kinds::TEXTS, "texts")?;
    write_names(&mut table, texts.iter().map(String::as_str), |_| Vec::new())?;
    table.finish()
}
