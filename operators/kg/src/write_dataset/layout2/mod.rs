//! A data set in the layout of GFM-RAG 2.0: nodes.csv, relations.csv and edges.csv, with documents
//! as nodes, and questions with the nodes that they start from and ask for.
//!
//! Invariant: `ingest-graph` reads back the same nodes, types, relations, triples, documents,
//! starts and targets. Documents that are no nodes yet come behind the nodes, and edges
//! `is_mentioned_in` to them behind the triples, as in the package's graphs. Attributes are not
//! kept, but for the text of a document: no table has them.
//!
//! The Python package guesses types of columns (`pandas.rs`). Files are written as they are, and
//! what it would misread is reported. `graph.rs` makes nodes, relations and edges, and `asked.rs`
//! finds the nodes of questions. `predictions.rs` reads what a system ranked for them.

mod asked;
mod graph;
mod pandas;
mod predictions;

use std::io::Write;

use gfm_pipe_api::{Context, OpResult, delivery};

use self::asked::Asked;
use self::graph::{Graph, Node};
use self::predictions::Predictions;
use super::WriteParams;
use super::files::{Layout, Report, json, member, members, row};
use super::names::distinct;
use super::questions::{self, Split, WrittenQuestion};
use crate::ingest_graph::CONTENT;
use crate::ingest_graph::literal::Value;
use crate::json::Json;
use crate::layout::{DOCUMENTS, EDGES, NODES, RELATIONS, raw_split};
use crate::names::Names;
use crate::read::{Documents, documents};
use crate::tables::ROWS;

/// A file of the data set.
#[derive(Debug, Clone, Copy)]
pub enum File {
    /// Nodes with their types and attributes.
    Nodes,
    /// Relations.
    Relations,
    /// Edges.
    Edges,
    /// Titles and texts of documents.
    Documents,
    /// Questions of a split, with their nodes.
    Split(&'static str, &'static str),
    /// Questions of a split, without nodes.
    Raw(&'static str),
    /// What a system ranked for questions.
    Predictions,
}

/// A data set with names as they are written.
pub struct Dataset {
    graph: Graph,
    documents: Documents,
    /// What raw/documents.json calls each document.
    titles: Vec<String>,
    splits: Vec<Split>,
    /// The nodes of each question.
    asked: Vec<Vec<Asked>>,
    predictions: Option<Predictions>,
}

impl Layout for Dataset {
    type File = File;

    fn read(ctx: &Context, params: &WriteParams, report: Report<'_>) -> OpResult<Dataset> {
        let connected = ctx.input_opt("documents").map(documents).transpose()?;
        let graph = Graph::read(ctx, connected.as_ref(), report)?;
        ctx.check_cancelled()?;
        let documents = connected.unwrap_or_default();
        let mut titles = documents.titles.clone();
        for change in distinct(&mut titles, |_, _| None) {
            let written = &titles[change.row];
            let reason =
                format!("another document has this title: raw/documents.json calls it `{written}`");
            report(&row("documents", change.row, &reason, &change.name))?;
        }
        let mut known = Names::new(u32::MAX);
        for name in graph.nodes.iter().map(|n| &n.key).chain(&titles) {
            known.intern(name);
        }
        let taken = |name: &str| known.find(name).is_some();
        let splits = questions::read(ctx, graph.given as u32, titles.len(), &taken, report)?;
        let asked = asked::read(ctx, &splits, &graph, report)?;
        if graph.edges.is_empty() {
            ctx.warn("the graph has no edge: GFM-RAG 2.0 loads it, but trains no model on it");
        }
        let predictions =
            Predictions::read(ctx, &params.system, &documents.titles, &splits, report)?;
        Ok(Dataset {
            graph,
            documents,
            titles,
            splits,
            asked,
            predictions,
        })
    }

    /// If all splits are empty, no question files are written: the package refuses to load a data
    /// set whose question files are all empty.
    fn files(&self) -> Vec<File> {
        let mut files = vec![File::Nodes, File::Relations, File::Edges, File::Documents];
        let asked = self.splits.iter().any(|s| !s.questions.is_empty());
        for split in self.splits.iter().filter(|_| asked) {
            files.extend([File::Split(split.name, split.file), File::Raw(split.name)]);
        }
        files.extend(self.predictions.as_ref().map(|_| File::Predictions));
        files
    }

    fn name(&self, file: File) -> String {
        match file {
            File::Nodes => NODES.to_owned(),
            File::Relations => RELATIONS.to_owned(),
            File::Edges => EDGES.to_owned(),
            File::Documents => DOCUMENTS.to_owned(),
            File::Split(_, name) => name.to_owned(),
            File::Raw(split) => raw_split(split),
            File::Predictions => {
                let predictions = self.predictions.as_ref();
                predictions.map(|p| p.file.clone()).unwrap_or_default()
            }
        }
    }

    fn write(&self, ctx: &Context, file: File, out: &mut dyn Write) -> OpResult<()> {
        match file {
            File::Nodes => self.nodes(ctx, out),
            File::Relations => {
                record(out, &["name", "attributes"])?;
                records(ctx, out, &self.graph.relations, |name| {
                    [name.as_str(), NONE].map(str::to_owned).into()
                })
            }
            File::Edges => {
                record(out, &["source", "relation", "target", "attributes"])?;
                records(ctx, out, &self.graph.edges, |[source, relation, target]| {
                    let key = |id: &u32| self.graph.nodes[*id as usize].key.clone();
                    let relation = self.graph.relations[*relation as usize].clone();
                    vec![key(source), relation, key(target), NONE.to_owned()]
                })
            }
            File::Documents => {
                let of = &self.documents;
                let all = self.titles.iter().zip(&of.texts).zip(&of.in_corpus);
                let there = all.filter(|(_, there)| **there);
                let texts = there.map(|((title, text), _)| member(title, text));
                members(ctx, out, ["{", "}"], texts)
            }
            File::Split(name, _) => {
                let items = self.questions(name);
                let items = items.map(|(q, asked)| json(&q.json(self.fields(q, asked))));
                members(ctx, out, ["[", "]"], items)
            }
            File::Raw(name) => {
                let items = self.questions(name).map(|(question, _)| {
                    let gold = question.gold(&self.titles);
                    json(&question.json(vec![("supporting_documents", gold)]))
                });
                members(ctx, out, ["[", "]"], items)
            }
            File::Predictions => {
                let predictions = self.predictions.as_ref();
                let ranked = |split: &&Split| predictions.is_some_and(|p| p.has(split));
                let splits = self.splits.iter().filter(ranked);
                let items = splits.flat_map(|split| self.questions(split.name));
                let items = items.filter_map(|(q, asked)| {
                    let found = predictions?.of(q, &self.graph)?;
                    let mut fields = self.fields(q, asked);
                    if q.row.answer.is_none() {
                        // The package's script stops at a question without the key.
                        fields.push(("answer", Json::Text(String::new())));
                    }
                    fields.push(("predictions", found));
                    Some(json(&q.json(fields)))
                });
                members(ctx, out, ["[", "]"], items)
            }
        }
    }
}

impl Dataset {
    fn nodes(&self, ctx: &Context, out: &mut dyn Write) -> OpResult<()> {
        let all = ["uid", "name", "type", "attributes"];
        let first = usize::from(!self.graph.uids);
        record(out, &all[first..])?;
        records(ctx, out, &self.graph.nodes, |node| {
            let Node {
                key, name, kind, ..
            } = node;
            let mut cells = vec![key.clone()];
            if self.graph.uids {
                cells.push(name.clone());
            }
            cells.extend([kind.clone(), self.attributes(node)]);
            cells
        })
    }

    /// The attributes of a node: the text of a document.
    fn attributes(&self, node: &Node) -> String {
        let document = node.document.map(|document| document as usize);
        let text = document.and_then(|document| {
            let there = self.documents.in_corpus.get(document) == Some(&true);
            self.documents.texts.get(document).filter(|_| there)
        });
        let text = text.map(|text| {
            let [name, text] = [CONTENT, text].map(|text| Value::Text(text.to_owned()));
            Value::Dict(vec![(name, text)]).shown()
        });
        text.unwrap_or_else(|| NONE.to_owned())
    }

    fn questions(&self, split: &str) -> impl Iterator<Item = (&WrittenQuestion, &Asked)> {
        let splits = self.splits.iter().zip(&self.asked);
        let splits = splits.filter(move |(s, _)| s.name == split);
        splits.flat_map(|(s, asked)| s.questions.iter().zip(asked))
    }

    /// The fields of a question that this layout has.
    fn fields(&self, question: &WrittenQuestion, asked: &Asked) -> Vec<(&'static str, Json)> {
        let targets = self.by_type(&asked.targets, &question.missing);
        vec![
            ("supporting_documents", question.gold(&self.titles)),
            ("start_nodes", self.by_type(&asked.starts, &[])),
            ("target_nodes", targets),
        ]
    }

    /// Nodes as names by type, in the order in which types appear, and titles that stand for
    /// documents which do not exist.
    fn by_type(&self, nodes: &[u32], missing: &[String]) -> Json {
        let mut types: Vec<(&str, Vec<String>)> = Vec::new();
        let mut put = |kind, name| match types.iter().position(|(of, _)| *of == kind) {
            Some(at) => types[at].1.push(name),
            None => types.push((kind, vec![name])),
        };
        for node in nodes.iter().map(|id| &self.graph.nodes[*id as usize]) {
            put(&node.kind, node.key.clone());
        }
        for title in missing {
            put(gfm_pipe_api::node_types::DOCUMENT, title.clone());
        }
        let types = types.into_iter();
        Json::Object(
            types
                .map(|(kind, names)| (kind.to_owned(), questions::list(names)))
                .collect(),
        )
    }
}

/// No attributes.
const NONE: &str = "{}";

/// Writes a record for each of `all`.
fn records<T>(
    ctx: &Context,
    out: &mut dyn Write,
    all: &[T],
    cells: impl Fn(&T) -> Vec<String>,
) -> OpResult<()> {
    for (row, one) in all.iter().enumerate() {
        if row % ROWS == 0 {
            ctx.check_cancelled()?;
        }
        record(out, &cells(one))?;
    }
    Ok(())
}

/// Writes a record of CSV.
fn record<S: AsRef<str>>(out: &mut dyn Write, cells: &[S]) -> OpResult<()> {
    let mut line = String::new();
    for (i, cell) in cells.iter().enumerate() {
        let cell = cell.as_ref();
        if i > 0 {
            line.push(',');
        }
        // Blanks at an end do not need quotes, but get lost easily without.
        let blank = |c: char| c.is_whitespace();
        if cell.contains(['"', ',', '\n', '\r']) || cell.starts_with(blank) || cell.ends_with(blank)
        {
            line.push('"');
            line.push_str(&cell.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(cell);
        }
    }
    line.push('\n');
    delivery::put(out, line.as_bytes())
}
