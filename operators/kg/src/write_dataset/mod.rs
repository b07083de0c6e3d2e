//! `write-dataset`: a graph, its documents and questions as files in the layout of GFM-RAG 1.0.
//!
//! Invariant: `ingest-kg` and `ingest-qa` read the same triples, documents, links and questions
//! from the folder, in the same order. Names that the files cannot hold are written differently,
//! what has no place in them is left out, and `rejects` reports both. The files are outside the
//! store, like those of `export` ([`delivery`]).
//!
//! `names.rs` gives every name a distinct written form, `dataset.rs` writes the files, and
//! `questions.rs` turns questions into JSON.

mod dataset;
mod names;
mod questions;

use std::collections::BTreeMap;
use std::path::PathBuf;

use gfm_pipe_api::delivery::{self, Measure};
use gfm_pipe_api::{
    Arity, Artifact, Connected, Context, Field, InPort, OpError, OpResult, Operator, OutPort,
    Problem, Schema, Type, kinds,
};
use serde::{Deserialize, Serialize};

use self::dataset::Dataset;
use crate::tables::Rejects;

/// The operator `write-dataset`.
pub struct WriteDataset;

/// Parameters of [`WriteDataset`].
#[derive(Debug, Serialize, Deserialize)]
pub struct WriteParams {
    /// The folder to write to.
    pub path: PathBuf,
}

impl Operator for WriteDataset {
    type Params = WriteParams;
    const NAME: &'static str = "write-dataset";
    const VERSION: u32 = 1;
    const ABOUT: &'static str =
        "writes a graph, its documents and questions into a folder, in the layout of GFM-RAG 1.0";

    fn schema() -> Schema {
        Schema::new(vec![
            Field::required(
                "path",
                Type::Path,
                "folder for raw/ and processed/stage1/; created where it is missing. Other files in it are not touched",
            )
            .no_effect(),
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
                "its triples: kg.txt",
            ),
            port(
                "documents",
                &[&kinds::DOCUMENTS],
                Arity::Optional,
                "documents: raw/dataset_corpus.json",
            ),
            port(
                "links",
                &[&kinds::LINKS],
                Arity::Optional,
                "which entities they mention: document2entities.json",
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

    fn check_inputs(_: &WriteParams, inputs: &Connected) -> Vec<Problem> {
        let connected = |port: &str| inputs.get(port).is_some_and(|from| !from.is_empty());
        [
            ("links", "documents"),
            ("questions", "documents"),
            ("answers", "questions"),
        ]
        .into_iter()
        .filter(|(port, of)| connected(port) && !connected(of))
        .map(|(port, of)| {
            Problem::at_root(format!("`{port}` are of {of}")).hint(format!("connect `{of}`"))
        })
        .collect()
    }

    fn places(params: &WriteParams) -> Vec<PathBuf> {
        vec![params.path.clone()]
    }

    fn run(_: WriteParams, ctx: &Context) -> OpResult<()> {
        let mut rejects = Rejects::create(ctx)?;
        let dataset = Dataset::read(ctx, &mut |reject| rejects.push(reject))?;
        let mut listed = Vec::new();
        let files = dataset.files();
        for (done, file) in files.iter().enumerate() {
            let name = file.name();
            ctx.progress(done as u64, files.len() as u64, "files", &name);
            let mut measure = Measure::default();
            dataset.write(ctx, *file, &mut measure)?;
            listed.push(measure.listed(&name));
        }
        if rejects.total() > 0 {
            ctx.warn(format!(
                "{} names, questions or titles written differently or left out: see `gfm-pipe show {}`",
                rejects.total(),
                ctx.typed("rejects")
            ));
        }
        rejects.finish()?;
        delivery::list(ctx, "files", &listed)
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
        // Rejects were reported when the stage ran.
        let dataset = Dataset::read(ctx, &mut |_| Ok(()))?;
        for file in dataset.files() {
            let name = file.name();
            if outdated.contains(&name) {
                delivery::write(&folder, &params.path, &name, |out| {
                    dataset.write(ctx, file, out)
                })?;
            }
        }
        ctx.info(format!(
            "{} written to {}",
            outdated.join(", "),
            params.path.display()
        ));
        Ok(())
    }
}
