//! A small corpus with everything that `link-questions` can be connected to.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, UInt32Array, UInt64Array};
use gfm_pipe_api::artifact::texts_digest;
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{Artifact, OpResult, columns, kinds};
use gfm_pipe_index::{BuildKg, Extract, IngestDocuments, IngestQuestions, LinkQuestions};
use serde_json::{Value, json};

pub type Inputs = BTreeMap<String, Vec<Artifact>>;

/// Length of a vector.
pub const WIDTH: usize = 64;

/// Makes embeddings from the words of texts: vectors are similar when texts share words.
pub fn embed(dir: &Path, of: &Artifact) -> Artifact {
    let texts = of.texts().unwrap();
    let mut values = Vec::new();
    for text in &texts {
        let mut vector = vec![0f32; WIDTH];
        for word in text.split(|c: char| !c.is_alphanumeric()) {
            let digest = blake3::hash(word.to_lowercase().as_bytes());
            if word.len() > 3 {
                vector[digest.as_bytes()[0] as usize % WIDTH] += 1.0;
            }
        }
        values.extend(vector);
    }
    let one = |s: &str| -> ArrayRef { Arc::new(StringArray::from(vec![s.to_owned()])) };
    let count = |n: usize| -> ArrayRef { Arc::new(UInt64Array::from(vec![n as u64])) };
    let kind = &kinds::EMBEDDINGS;
    let vectors = vec![columns::build_vectors(WIDTH, values).unwrap()];
    let about = vec![
        one("words"),
        one("words-digest"),
        Arc::new(UInt32Array::from(vec![WIDTH as u32])) as ArrayRef,
        count(texts.len()),
        count(0),
        one(&texts_digest(&texts)),
    ];
    let tables = vec![
        columns::batch(&kind.tables[0], vectors).unwrap(),
        columns::batch(&kind.tables[1], about).unwrap(),
    ];
    let name = format!("embedded-{}", of.name);
    local::artifact(dir, kind, &name, tables).unwrap()
}

pub fn folder() -> PathBuf {
    tempfile::tempdir().unwrap().keep()
}

/// A corpus with its graph and questions: everything that can be connected.
pub fn all(split: &str, questions: &Value) -> Inputs {
    let dir = folder();
    let corpus = json!({
        "Hosea Kutako Airport": "Hosea Kutako Airport serves Windhoek.\n\nIt stands in Namibia.",
        "Namibia": "Namibia lies in Southern Africa. People pay with the Namibian dollar.",
        "Namibian dollar": "The Namibian dollar was introduced in 1993.",
        "Norway": "Norway lies in Northern Europe. Its capital is Oslo.",
    });
    fs::write(dir.join("corpus.json"), corpus.to_string()).unwrap();
    fs::write(dir.join("train.json"), questions.to_string()).unwrap();
    let given = json!({"path": dir.join("corpus.json"), "split": split});
    let documents = local::run::<IngestDocuments>(&dir.join("d"), &given, [].into()).unwrap();
    let of = |from: &Local, ports: &[&str]| -> Inputs {
        let ports = ports.iter();
        ports
            .map(|p| ((*p).to_owned(), vec![from.port(p).clone()]))
            .collect()
    };
    let corpus = of(&documents, &["documents", "sources"]);
    let given = json!({"dataset": "toy", "train": dir.join("train.json")});
    let asked = local::run::<IngestQuestions>(&dir.join("q"), &given, corpus.clone()).unwrap();
    let only = of(&documents, &["documents"]);
    let found = local::run::<Extract>(&dir.join("x"), &json!({}), only).unwrap();
    let mut inputs = corpus;
    inputs.extend(of(&found, &["facts", "mentions", "named"]));
    let graph = local::run::<BuildKg>(&dir.join("g"), &json!({}), inputs.clone()).unwrap();
    inputs.remove("named");
    inputs.extend(of(&found, &["sentences"]));
    let ports = [
        "entities", "links", "nodes", "labels", "triples", "evidence",
    ];
    inputs.extend(of(&graph, &ports));
    inputs.extend(of(&asked, &["train"]));
    let mentions = [("documents".to_owned(), vec![asked.port("train").clone()])];
    let mentions = local::run::<Extract>(&dir.join("m"), &json!({}), mentions.into()).unwrap();
    inputs.insert(
        "train_mentions".to_owned(),
        vec![mentions.port("mentions").clone()],
    );
    for (port, of) in [
        ("corpus_embeddings", "documents"),
        ("fact_embeddings", "facts"),
        ("sentence_embeddings", "sentences"),
        ("train_embeddings", "train"),
        ("train_mention_embeddings", "train_mentions"),
        ("entity_embeddings", "entities"),
    ] {
        // A folder for each port, because the mentions of documents and of questions have the same
        // name.
        let into = dir.join(port);
        fs::create_dir_all(&into).unwrap();
        let made = embed(&into, &inputs[of][0]);
        inputs.insert(port.to_owned(), vec![made]);
    }
    inputs
}

pub fn without(mut inputs: Inputs, ports: &[&str]) -> Inputs {
    inputs.retain(|port, _| !ports.contains(&port.as_str()));
    inputs
}

pub fn link(inputs: &Inputs, params: &Value) -> OpResult<Local> {
    local::run::<LinkQuestions>(&folder(), params, inputs.clone())
}

/// Starts as texts (question, source, name of the node, text), and their weights.
pub fn starts(linked: &Local, inputs: &Inputs) -> (Vec<String>, Vec<f64>) {
    let names = inputs["entities"][0].read("entities").unwrap();
    let names = columns::text(&names, "name").unwrap();
    let table = linked.port("train_starts").read("starts").unwrap();
    let (question, node) = (
        columns::u32s(&table, "question").unwrap(),
        columns::u32s(&table, "node").unwrap(),
    );
    let (source, text) = (
        columns::text(&table, "source").unwrap(),
        columns::text(&table, "text").unwrap(),
    );
    let shown = |i| {
        let name = names.value(node.value(i) as usize);
        let (question, source) = (question.value(i), source.value(i));
        format!("{question} | {source} | {name} | {}", text.value(i))
    };
    let weights = columns::f64s(&table, "weight").unwrap();
    (
        (0..table.num_rows()).map(shown).collect(),
        weights.values().to_vec(),
    )
}
