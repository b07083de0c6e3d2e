//! `build-graph`: turns triples and relation embeddings into a graph for message passing.

use std::sync::Arc;

use arrow::array::{StringArray, UInt32Array, UInt64Array};
use gfm_pipe_api::{
    Accepts, Arity, Artifact, Context, InPort, OpError, OpResult, Operator, OutPort, Schema,
    columns, kinds,
};
use serde::{Deserialize, Serialize};

use gfm_pipe_model::graph::Graph;
use gfm_pipe_model::loaded::{EncoderId, vectors};

/// The operator `build-graph`.
pub struct BuildGraph;

/// It has no parameters.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {}

impl Operator for BuildGraph {
    type Params = Params;
    const NAME: &'static str = "build-graph";
    const VERSION: u32 = 3;
    const ABOUT: &'static str =
        "adds inverse edges, sorts edges by head, attaches embeddings of relations and nodes";

    fn schema() -> Schema {
        Schema::default()
    }

    fn inputs() -> Vec<InPort> {
        vec![
            InPort {
                name: "triples",
                accepts: Accepts::Kinds(&[&kinds::TRIPLES]),
                arity: Arity::One,
                about: "direct triples",
            },
            InPort {
                name: "entities",
                accepts: Accepts::Kinds(&[&kinds::ENTITIES]),
                arity: Arity::One,
                about: "entities, which become nodes",
            },
            InPort {
                name: "relations",
                accepts: Accepts::Kinds(&[&kinds::EMBEDDINGS]),
                arity: Arity::One,
                about: "embeddings of relation names, including inverses",
            },
            InPort {
                name: "nodes",
                accepts: Accepts::Kinds(&[&kinds::EMBEDDINGS]),
                arity: Arity::Optional,
                about: "embeddings of the nodes' texts, for models that read them (GraphReasoner)",
            },
        ]
    }

    fn outputs() -> Vec<OutPort> {
        vec![OutPort {
            name: "graph",
            kind: &kinds::GRAPH,
            about: "the graph",
        }]
    }

    fn run(_params: Params, ctx: &Context) -> OpResult<()> {
        let nodes = ctx.input("entities")?.rows("entities")?;
        let embeddings = ctx.input("relations")?;
        let vectors = embeddings.read("vectors")?;
        let encoder = embeddings.read("encoder")?;
        if vectors.num_rows() % 2 != 0 {
            return Err(OpError::new(format!(
                "{} relation embeddings: an odd number cannot be R relations and R inverses",
                vectors.num_rows()
            ))
            .artifact(&embeddings.name)
            .hint("connect the embeddings of ingest-kg's `relations`"));
        }
        let relations = vectors.num_rows() / 2;

        let triples = ctx.input("triples")?;
        let batch = triples.read("triples")?;
        let (h, r, t) = (
            columns::u32s(&batch, "head")?,
            columns::u32s(&batch, "relation")?,
            columns::u32s(&batch, "tail")?,
        );
        let list: Vec<[u32; 3]> = (0..batch.num_rows())
            .map(|i| [h.value(i), r.value(i), t.value(i)])
            .collect();
        if let Some(row) = list.iter().position(|[h, r, t]| {
            *h as usize >= nodes || *t as usize >= nodes || *r as usize >= relations
        }) {
            return Err(OpError::new(format!(
                "a triple names an entity or relation outside {nodes} entities and {relations} relations"
            ))
            .artifact(format!("{}.triples", triples.name))
            .row(row as u64)
            .hint("connect triples, entities and relation embeddings of the same ingest-kg stage"));
        }
        let texts = ctx.input_opt("nodes");
        let texts = texts.map(|texts| node_embeddings(texts, embeddings, nodes));
        let texts = texts.transpose()?;
        // ingest-kg finds relations in triples only, so every relation has one. Any other number
        // means that the embeddings belong to something else. A relations.csv of ingest-graph,
        // which comes with texts of nodes, may list relations that no triple has.
        let used = list.iter().map(|t| t[1] as usize + 1).max().unwrap_or(0);
        if used != relations && texts.is_some() {
            ctx.warn(format!(
                "{relations} relations are embedded, and the triples use {used}: check that both were made from the same stage"
            ));
        }
        if used != relations && texts.is_none() {
            return Err(OpError::new(format!(
                "{} relation embeddings for triples of {used} relations: {} are expected, one for each and for its inverse",
                vectors.num_rows(),
                2 * used
            ))
            .artifact(&embeddings.name)
            .hint("connect the embeddings of the `relations` of the same ingest-kg stage"));
        }
        if list.len() > (u32::MAX / 2) as usize {
            return Err(OpError::data(
                "more than 2^31 triples do not fit into this graph format",
            ));
        }

        let spec = |name| {
            kinds::GRAPH
                .table(name)
                .ok_or_else(|| OpError::internal("unknown table"))
        };
        let write =
            |name, columns| ctx.write("graph", name, &columns::batch(spec(name)?, columns)?);
        let [edges, of_nodes] = Graph::tables(nodes, relations, &list);
        write("edges", edges)?;
        write("nodes", of_nodes)?;
        let (dim, values) = columns::vectors(&vectors, "vector")
            .map_err(|e| e.artifact(format!("{}.vectors", embeddings.name)))?;
        write(
            "relation_embeddings",
            vec![columns::build_vectors(dim, values)?],
        )?;
        let texts = columns::build_vectors(dim, texts.unwrap_or_default())?;
        write("node_embeddings", vec![texts])?;
        let text = |name| -> OpResult<Arc<StringArray>> {
            Ok(Arc::new(columns::text(&encoder, name)?.clone()))
        };
        let one = |x: usize| Arc::new(UInt64Array::from(vec![x as u64]));
        write(
            "info",
            vec![
                one(nodes),
                one(relations),
                one(list.len()),
                text("name")?,
                text("digest")?,
                Arc::new(UInt32Array::from(vec![dim as u32])),
            ],
        )
    }
}

/// Reads the embeddings of the texts of `nodes` nodes, and checks that they were made by the same
/// encoder as those of `relations`.
fn node_embeddings(texts: &Artifact, relations: &Artifact, nodes: usize) -> OpResult<Vec<f32>> {
    let (_, values) = vectors(texts, "vectors")?;
    let rows = texts.rows("vectors")?;
    if rows != nodes {
        return Err(
            OpError::new(format!("{rows} embeddings of texts for {nodes} nodes"))
                .artifact(&texts.name)
                .hint("embed the texts of the nodes in `entities`: `node_texts` of the same ingest-graph stage, or a node-texts stage that takes these entities"),
        );
    }
    let encoders = [relations, texts].map(EncoderId::of_embeddings);
    let encoders: Vec<EncoderId> = encoders.into_iter().collect::<OpResult<_>>()?;
    EncoderId::same(&encoders).map_err(|e| e.artifact(&texts.name))?;
    Ok(values)
}
