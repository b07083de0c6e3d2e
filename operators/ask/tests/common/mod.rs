//! The fixture `family`, and retrievers on it.
#![allow(dead_code, reason = "not all tests need all of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gfm_pipe_api::answer::{Answer, Answers, Ask};
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{Artifact, OpResult};
use gfm_pipe_ask::Retriever;
use gfm_pipe_kg::{IngestKg, IngestQa};
use serde_json::{Value, json};

/// Artifacts by input port.
pub type Inputs = BTreeMap<String, Vec<Artifact>>;

pub fn folder() -> PathBuf {
    tempfile::tempdir().unwrap().keep()
}

/// The inputs of a retriever on the graph, and the test questions.
pub fn family() -> (Inputs, Artifact) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/fixtures/family");
    let kg = json!({"path": root.join("processed/stage1/kg.txt")});
    let kg = local::run::<IngestKg>(&folder(), &kg, Inputs::new()).unwrap();
    let entities = [("entities".to_owned(), vec![kg.port("entities").clone()])];
    let qa = json!({"root": root, "dataset": "family"});
    let qa = local::run::<IngestQa>(&folder(), &qa, entities.into()).unwrap();
    let of = |from: &Local, ports: &[&str]| -> Inputs {
        let ports = ports.iter().map(|p| (*p).to_owned());
        ports
            .map(|p| (p.clone(), vec![from.port(&p).clone()]))
            .collect()
    };
    let mut inputs = of(&kg, &["entities", "relations", "triples"]);
    inputs.extend(of(&qa, &["documents", "links"]));
    (inputs, qa.port("test").clone())
}

pub fn open(inputs: &Inputs, params: Value) -> OpResult<Arc<dyn Answers>> {
    let entry = gfm_pipe_api::OpEntry::of::<Retriever>();
    let params = entry.validate(&params).unwrap();
    let mut ctx = local::context();
    ctx.inputs = inputs.clone();
    entry.answers(params, &ctx)
}

pub fn answer(by: &dyn Answers, ask: Ask) -> OpResult<Answer> {
    by.ask(&[ask]).pop().unwrap()
}
