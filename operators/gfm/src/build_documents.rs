//! `build-documents`: which documents mention which entities, as CSR by entity, with entity
//! weights. Where documents are nodes of the graph, a document may have only its own node: a model
//! that scores all nodes then scores documents themselves.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, Float32Array, UInt32Array, UInt64Array};
use gfm_pipe_api::zip::problem_error;
use gfm_pipe_api::{
    Arity, Connected, Context, InPort, OpError, OpResult, Operator, OutPort, Problem, Schema,
    columns, is_connected, kinds,
};
use serde::{Deserialize, Serialize};

/// The operator `build-documents`.
pub struct BuildDocuments;

/// It has no parameters.
#[derive(Debug, Serialize, Deserialize)]
pub struct Params {}

/// The problem of connecting both `links` and `nodes`, or neither.
fn one_of_two() -> Problem {
    Problem::at_root("either `links` or `nodes` must be connected, not both".to_owned()).hint(
        "`links` rank documents by the entities that they mention, `nodes` by their own nodes",
    )
}

impl Operator for BuildDocuments {
    type Params = Params;
    const NAME: &'static str = "build-documents";
    const VERSION: u32 = 1;
    const ABOUT: &'static str =
        "entity-document matrix (CSR by entity) and entity weights 1 / frequency";

    fn schema() -> Schema {
        Schema::default()
    }

    fn inputs() -> Vec<InPort> {
        let port = |name, kind, about| InPort::of(name, kind, Arity::One, about);
        vec![
            port("entities", &[&kinds::ENTITIES], "entities"),
            port("documents", &[&kinds::DOCUMENTS], "documents"),
            InPort::of(
                "links",
                &[&kinds::LINKS],
                Arity::Optional,
                "which entities a document mentions",
            ),
            InPort::of(
                "nodes",
                &[&kinds::NODES],
                Arity::Optional,
                "instead of `links`: which nodes are documents; each document then has its own node alone",
            ),
        ]
    }

    fn check_inputs(_: &Params, inputs: &Connected) -> Vec<Problem> {
        let connected = is_connected(inputs);
        let wrong = connected("links") == connected("nodes");
        wrong.then(one_of_two).into_iter().collect()
    }

    fn outputs() -> Vec<OutPort> {
        vec![OutPort {
            name: "documents",
            kind: &kinds::ENTITY_DOCUMENTS,
            about: "the matrix and the weights",
        }]
    }

    fn run(_params: Params, ctx: &Context) -> OpResult<()> {
        let entities = ctx.input("entities")?.rows("entities")?;
        let documents = ctx.input("documents")?.rows("documents")?;
        let (from, table) = match (ctx.input_opt("nodes"), ctx.input_opt("links")) {
            (Some(nodes), None) => (nodes, "nodes"),
            (None, Some(links)) => (links, "links"),
            _ => return Err(problem_error(one_of_two())),
        };
        let batch = from.read(table)?;
        let (d, e) = (
            columns::u32s(&batch, "document")?,
            columns::u32s(&batch, "entity")?,
        );
        let rows = (0..batch.num_rows()).filter(|i| d.is_valid(*i));
        let mut pairs: Vec<(u32, u32)> = rows.map(|i| (e.value(i), d.value(i))).collect();
        if let Some(row) = pairs
            .iter()
            .position(|(e, d)| *e as usize >= entities || *d as usize >= documents)
        {
            return Err(OpError::data(format!(
                "{table} name an entity or document that does not exist"
            ))
            .artifact(format!("{}.{table}", from.name))
            .row(row as u64)
            .hint(format!(
                "connect entities, documents and {table} made from the same ingest stages"
            )));
        }
        pairs.sort_unstable();
        pairs.dedup();
        if table == "nodes" {
            let nodes: BTreeSet<u32> = pairs.iter().map(|(_, document)| *document).collect();
            let without = documents - nodes.len();
            if without > 0 {
                return Err(OpError::new(format!(
                    "{without} of {documents} documents are not nodes of the graph"
                ))
                .artifact(&from.name)
                .hint("connect `links` instead, or make a graph whose documents are nodes (`document_nodes: yes` of build-kg)"));
            }
        }
        let mut frequency = vec![0u32; entities];
        for (e, _) in &pairs {
            frequency[*e as usize] += 1;
        }
        let mut next = 0u64;
        let offset: Vec<u64> = frequency
            .iter()
            .map(|f| {
                let at = next;
                next += u64::from(*f);
                at
            })
            .collect();
        let weight = frequency
            .iter()
            .map(|f| if *f == 0 { 0.0 } else { 1.0 / *f as f32 });
        let weight = Float32Array::from_iter_values(weight);

        let [matrix, per_entity, info] = kinds::ENTITY_DOCUMENTS.tables else {
            return Err(OpError::internal("the kind's tables changed"));
        };
        let rows = columns::batch(
            matrix,
            vec![
                Arc::new(UInt32Array::from_iter_values(pairs.iter().map(|p| p.0))),
                Arc::new(UInt32Array::from_iter_values(pairs.iter().map(|p| p.1))),
            ],
        )?;
        ctx.write("documents", matrix.name, &rows)?;
        let rows = columns::batch(
            per_entity,
            vec![
                Arc::new(UInt64Array::from(offset)),
                Arc::new(UInt32Array::from(frequency)),
                Arc::new(weight),
            ],
        )?;
        ctx.write("documents", per_entity.name, &rows)?;
        let rows = columns::batch(
            info,
            vec![
                Arc::new(UInt64Array::from(vec![entities as u64])),
                Arc::new(UInt64Array::from(vec![documents as u64])),
            ],
        )?;
        ctx.write("documents", info.name, &rows)
    }
}
