//! `write-dataset`: a graph, its documents and questions as files, in the layout of GFM-RAG 1.0 or
//! of 2.0.
//!
//! Invariant: what reads the layout (`ingest-kg` and `ingest-qa`, or `ingest-graph`) reads the same
//! triples, documents, links and questions from the folder, in the same order. Names that the files
//! cannot hold are written differently, what has no place in them is left out, and `rejects`
//! reports both. The files are outside the store, like those of `export` ([`delivery`]).
//!
//! `names.rs` gives every name a distinct written form, and `questions.rs` turns questions into
//! JSON. `layout1.rs` and `layout2/` write the files of a layout, with what is in `files.rs`.

mod files;
mod layout1;
mod layout2;
mod names;
mod questions;

use std::collections::BTreeMap;
use std::path::PathBuf;

use gfm_pipe_api::delivery::{self, Measure};
use gfm_pipe_api::{
    Arity, Artifact, Connected, Context, Field, InPort, OpError, OpResult, Operator, OutPort,
    Problem, Schema, Type, is_connected, kinds,
};
use serde::{Deserialize, Serialize};

use self::files::Layout;
use crate::tables::Rejects;

/// The operator `write-dataset`.
pub struct WriteDataset;

/// Parameters of [`WriteDataset`].
#[derive(Debug, Serialize, Deserialize)]
pub struct WriteParams {
    /// The folder to write to.
    pub path: PathBuf,
    /// The layout of the files.
    pub layout: LayoutName,
    /// The system whose rankings are written.
    pub system: String,
}

/// A layout of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayoutName {
    /// kg.txt, and documents apart from the graph.
    #[serde(rename = "gfm-rag-1")]
    One,
    /// nodes.csv, relations.csv, edges.csv, where documents are nodes.
    #[serde(rename = "gfm-rag-2")]
    Two,
}

/// The values of `layout`.
const LAYOUTS: &[&str] = &["gfm-rag-1", "gfm-rag-2"];

impl Operator for WriteDataset {
    type Params = WriteParams;
    const NAME: &'static str = "write-dataset";
    const VERSION: u32 = 1;
    const ABOUT: &'static str =
        "writes a graph, its documents and questions into a folder, in a layout of GFM-RAG";

    fn schema() -> Schema {
        Schema::new(vec![
            Field::required(
                "path",
                Type::Path,
                "folder for raw/ and processed/stage1/; created where it is missing. Other files in it are not touched",
            )
            .no_effect(),
            Field::new(
                "layout",
                Type::one_of(LAYOUTS),
                LAYOUTS[0],
                "`gfm-rag-1` has kg.txt and is read by `ingest-kg` and `ingest-qa`; `gfm-rag-2` has nodes.csv, relations.csv and edges.csv, with documents as nodes, and is read by `ingest-graph`",
            )
            .added_later(),
            Field::new(
                "system",
                Type::Text,
                "model",
                "the system in `rankings` whose documents are written",
            )
            .added_later(),
        ])
    }

    fn inputs() -> Vec<InPort> {
        let port = InPort::of;
        vec![
            port(
                "entities",
                &[&kinds::ENTITIES],
                Arity::One,
                "entities of the graph",
            ),
            port(
                "relations",
                &[&kinds::RELATIONS],
                Arity::One,
                "its relations",
            ),
            port(
                "triples",
                &[&kinds::TRIPLES],
                Arity::One,
                "its triples: kg.txt, or edges.csv",
            ),
            port(
                "documents",
                &[&kinds::DOCUMENTS],
                Arity::Optional,
                "documents: raw/dataset_corpus.json, or raw/documents.json and nodes",
            ),
            port(
                "links",
                &[&kinds::LINKS],
                Arity::Optional,
                "which entities they mention: document2entities.json, or edges to documents that are no nodes yet",
            ),
            port(
                "questions",
                &[&kinds::QUESTIONS],
                Arity::Any,
                "questions, one artifact per split: train.json, valid.json, test.json",
            ),
            port(
                "answers",
                &[&kinds::ANSWERS],
                Arity::Optional,
                "further answers of the questions: their `answer_aliases`",
            ),
            port(
                "nodes",
                &[&kinds::NODES],
                Arity::Optional,
                "types of the entities, and which are documents; otherwise none is. For `gfm-rag-2`",
            ),
            port(
                "labels",
                &[&kinds::LABELS],
                Arity::Optional,
                "how they are written: their `name`, where the entity's name becomes its `uid`. For `gfm-rag-2`",
            ),
            port(
                "starts",
                &[&kinds::STARTS],
                Arity::Any,
                "where the questions of a split start: `start_nodes`; otherwise at their entities. For `gfm-rag-2`",
            ),
            port(
                "targets",
                &[&kinds::TARGETS],
                Arity::Any,
                "what the questions of a split ask for: `target_nodes`; otherwise their gold documents and the entities of these. For `gfm-rag-2`",
            ),
            port(
                "rankings",
                &[&kinds::RANKINGS],
                Arity::Optional,
                "documents ranked for the questions: predictions_DATASET.json, which GFM-RAG 2.0's scripts for answers read. For `gfm-rag-2`",
            ),
        ]
    }

    fn outputs() -> Vec<OutPort> {
        vec![
            OutPort {
                name: "files",
                kind: &kinds::FILES,
                about: "what was written",
            },
            OutPort {
                name: "rejects",
                kind: &kinds::REJECTS,
                about: "names that are written differently, and what the files have no place for: `source` is the table, `line` its row, counted from one",
            },
        ]
    }

    fn check_inputs(params: &WriteParams, inputs: &Connected) -> Vec<Problem> {
        let connected = is_connected(inputs);
        let apart = [
            ("links", "documents"),
            ("questions", "documents"),
            ("answers", "questions"),
            ("starts", "questions"),
            ("targets", "questions"),
            ("rankings", "questions"),
        ];
        let apart = apart.into_iter();
        let apart = apart.filter(|(port, of)| connected(port) && !connected(of));
        let mut problems: Vec<Problem> = apart
            .map(|(port, of)| {
                Problem::at_root(format!("`{port}` are of {of}")).hint(format!("connect `{of}`"))
            })
            .collect();
        if params.layout == LayoutName::One {
            let typed = ["nodes", "labels", "starts", "targets", "rankings"];
            let typed = typed.into_iter().filter(|port| connected(port));
            problems.extend(typed.map(|port| {
                let problem = format!("`{port}` has no place in the layout of GFM-RAG 1.0");
                Problem::at_root(problem).hint("set `layout: gfm-rag-2`, or leave the input out")
            }));
        }
        problems
    }

    fn places(params: &WriteParams) -> Vec<PathBuf> {
        vec![params.path.clone()]
    }

    fn run(params: WriteParams, ctx: &Context) -> OpResult<()> {
        match params.layout {
            LayoutName::One => list_files::<layout1::Dataset>(&params, ctx),
            LayoutName::Two => list_files::<layout2::Dataset>(&params, ctx),
        }
    }

    fn deliver(
        params: &WriteParams,
        ctx: &Context,
        outputs: &BTreeMap<String, Artifact>,
    ) -> OpResult<()> {
        let folder = ctx.path(&params.path);
        let list = outputs
            .get("files")
            .ok_or_else(|| OpError::internal("the list of files is missing"))?;
        let outdated = delivery::outdated(&folder, list)?;
        if outdated.is_empty() {
            return Ok(());
        }
        match params.layout {
            LayoutName::One => write_files::<layout1::Dataset>(params, ctx, &outdated)?,
            LayoutName::Two => write_files::<layout2::Dataset>(params, ctx, &outdated)?,
        }
        ctx.info(format!(
            "{} written to {}",
            outdated.join(", "),
            params.path.display()
        ));
        Ok(())
    }
}

/// Lists the files with their digests, and reports what they cannot hold.
fn list_files<L: Layout>(params: &WriteParams, ctx: &Context) -> OpResult<()> {
    let mut rejects = Rejects::create(ctx)?;
    let dataset = L::read(ctx, params, &mut |reject| rejects.push(reject))?;
    let mut listed = Vec::new();
    let files = dataset.files();
    for (done, file) in files.iter().enumerate() {
        let name = dataset.name(*file);
        ctx.progress(done as u64, files.len() as u64, "files", &name);
        let mut measure = Measure::default();
        dataset.write(ctx, *file, &mut measure)?;
        listed.push(measure.listed(&name));
    }
    if rejects.total() > 0 {
        ctx.warn(format!(
            "{} remarks on what is written differently, left out, or read differently by GFM-RAG: see `gfm-pipe show {}`",
            rejects.total(),
            ctx.typed("rejects")
        ));
    }
    rejects.finish()?;
    delivery::list(ctx, "files", &listed)
}

/// Writes the files that are not as they should be.
fn write_files<L: Layout>(
    params: &WriteParams,
    ctx: &Context,
    outdated: &[String],
) -> OpResult<()> {
    let folder = ctx.path(&params.path);
    // Rejects were reported when the stage ran.
    let dataset = L::read(ctx, params, &mut |_| Ok(()))?;
    for file in dataset.files() {
        let name = dataset.name(file);
        if outdated.contains(&name) {
            delivery::write(&folder, &params.path, &name, |out| {
                dataset.write(ctx, file, out)
            })?;
        }
    }
    Ok(())
}
