//! `node-texts`: a text for each node of a graph, for encoders, in the form of GFM-RAG 2.0: name,
//! type and attributes, one a line.
//!
//! `ingest-graph` writes such texts itself. This operator does so for graphs that were made from
//! documents or triples: an entity has its name, and a document its title and its text.

use arrow::array::{Array, StringArray};
use gfm_pipe_api::node_types::{ENTITY, NodeTypes};
use gfm_pipe_api::{
    Accepts, Arity, Artifact, Connected, Context, InPort, OpError, OpResult, Operator, OutPort,
    Problem, Schema, columns, is_connected, kinds,
};
use serde::{Deserialize, Serialize};

use crate::lines::strip;
use crate::tables::{Table, write_names};

/// The operator `node-texts`.
pub struct NodeTexts;

/// It has no parameters.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {}

/// The text of a node, without its attributes.
pub(crate) fn describe(name: &str, kind: &str) -> String {
    format!("name: {name}\ntype: {kind}")
}

/// Appends an attribute to the text of a node or relation.
pub(crate) fn attribute(text: &mut String, name: &str, value: &str) {
    text.push_str(&format!("\n{name}: {value}"));
}

impl Operator for NodeTexts {
    type Params = Params;
    const NAME: &'static str = "node-texts";
    const VERSION: u32 = 1;
    const ABOUT: &'static str =
        "texts of a graph's nodes for encoders: name, type and, of documents, the text";

    fn schema() -> Schema {
        Schema::default()
    }

    fn inputs() -> Vec<InPort> {
        let port = |name, kinds, arity, about| InPort {
            name,
            accepts: Accepts::Kinds(kinds),
            arity,
            about,
        };
        vec![
            port(
                "entities",
                &[&kinds::ENTITIES],
                Arity::One,
                "the nodes with their names",
            ),
            port(
                "nodes",
                &[&kinds::NODES],
                Arity::Optional,
                "their types, and which of them are documents; otherwise all are entities",
            ),
            port(
                "labels",
                &[&kinds::LABELS],
                Arity::Optional,
                "how they are written: the most frequent form of a node is its name",
            ),
            port(
                "documents",
                &[&kinds::DOCUMENTS],
                Arity::Optional,
                "titles and texts of nodes that are documents",
            ),
        ]
    }

    fn check_inputs(_: &Params, inputs: &Connected) -> Vec<Problem> {
        let connected = is_connected(inputs);
        let unread = connected("documents") && !connected("nodes");
        let why = "`documents` is not read without `nodes`, which says which nodes are documents";
        unread
            .then(|| Problem::at("in.documents", why.to_owned()).hint("connect `nodes` too"))
            .into_iter()
            .collect()
    }

    fn outputs() -> Vec<OutPort> {
        vec![OutPort {
            name: "texts",
            kind: &kinds::TEXTS,
            about: "a text for each node",
        }]
    }

    fn run(_: Params, ctx: &Context) -> OpResult<()> {
        let mut names = names(ctx.input("entities")?)?;
        if let Some(labels) = ctx.input_opt("labels") {
            write_as_labelled(labels, &mut names)?;
        }
        let nodes = ctx.input_opt("nodes");
        let types = nodes.map(|nodes| NodeTypes::read(nodes, names.len()));
        let types = types.transpose()?;
        let kinds: Vec<&str> = match &types {
            Some(types) => types.types().collect(),
            None => vec![ENTITY; names.len()],
        };
        let documents = ctx
            .input_opt("documents")
            .map(Documents::read)
            .transpose()?;
        let rows = names.iter().zip(kinds).enumerate();
        let texts = rows.map(|(row, (name, kind))| {
            let document = types.as_ref().and_then(|types| types.document(row));
            let of = document.zip(documents.as_ref());
            let Some((document, documents)) = of else {
                return Ok(strip(&describe(name, kind)).to_owned());
            };
            let (title, content) = documents.get(document).ok_or_else(|| {
                OpError::new(format!(
                    "a node stands for document {document}, which is not there"
                ))
                .artifact(nodes.map_or("nodes", |nodes| &nodes.name))
                .row(row as u64)
                .hint("connect `nodes` and `documents` that belong together")
            })?;
            let mut text = describe(title, kind);
            attribute(&mut text, "content", content);
            Ok(strip(&text).to_owned())
        });
        let texts = texts.collect::<OpResult<Vec<String>>>()?;
        let mut table = Table::create(ctx, "texts", &kinds::TEXTS, "texts")?;
        write_names(&mut table, texts.iter().map(String::as_str), |_| Vec::new())?;
        table.finish()
    }
}

fn names(entities: &Artifact) -> OpResult<Vec<String>> {
    let table = entities.read("entities")?;
    let names = columns::text(&table, "name")?;
    Ok(names
        .iter()
        .map(|n| n.unwrap_or_default().to_owned())
        .collect())
}

/// Replaces names by the most frequent written form of each node; of equally frequent ones by the
/// first.
pub(crate) fn write_as_labelled(labels: &Artifact, names: &mut [String]) -> OpResult<()> {
    let table = labels.read("labels")?;
    let (nodes, texts, counts) = (
        columns::u32s(&table, "entity")?,
        columns::text(&table, "label")?,
        columns::u64s(&table, "count")?,
    );
    let mut best = vec![0; names.len()];
    for row in 0..table.num_rows() {
        let node = nodes.value(row) as usize;
        let (Some(name), Some(best)) = (names.get_mut(node), best.get_mut(node)) else {
            return Err(OpError::new(format!(
                "a label belongs to node {node}, which is not there"
            ))
            .artifact(&labels.name)
            .row(row as u64)
            .hint("connect `labels` and `entities` of the same stage"));
        };
        if counts.value(row) > *best {
            *best = counts.value(row);
            texts.value(row).clone_into(name);
        }
    }
    Ok(())
}

/// Titles and texts.
struct Documents {
    titles: StringArray,
    texts: StringArray,
}

impl Documents {
    fn read(documents: &Artifact) -> OpResult<Self> {
        let table = documents.read("documents")?;
        let column = |name| columns::text(&table, name).cloned();
        Ok(Documents {
            titles: column("title")?,
            texts: column("text")?,
        })
    }

    fn get(&self, document: u32) -> Option<(&str, &str)> {
        let row = document as usize;
        (row < self.titles.len()).then(|| (self.titles.value(row), self.texts.value(row)))
    }
}
