//! Tests of `join-equivalent` on a small graph made from documents.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, UInt32Array, UInt64Array};
use common::{counts, rows};
use gfm_pipe_api::artifact::texts_digest;
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{Artifact, ErrorKind, OpResult, columns, kinds};
use gfm_pipe_index::{BuildKg, Extract, IngestDocuments, JoinEquivalent};
use serde_json::{Value, json};

/// The graph of two documents that write a town's name in different ways.
fn graph(dir: &Path) -> Local {
    let corpus = json!({
        "Quillmouth": "We saw Port Quillmouth and Lowmere in 1920.",
        "Lowmere": "We saw Quillmouth in 1921.",
    });
    fs::write(dir.join("corpus.json"), corpus.to_string()).unwrap();
    let given = json!({"path": dir.join("corpus.json")});
    let documents = local::run::<IngestDocuments>(&dir.join("d"), &given, [].into()).unwrap();
    let port = |local: &Local, name: &str| (name.to_owned(), vec![local.port(name).clone()]);
    let inputs = [port(&documents, "documents")].into();
    let found = local::run::<Extract>(&dir.join("x"), &json!({"by": "patterns"}), inputs).unwrap();
    let mut inputs: BTreeMap<_, _> = ["facts", "mentions", "named"]
        .map(|name| port(&found, name))
        .into();
    inputs.extend([port(&documents, "documents")]);
    local::run::<BuildKg>(&dir.join("g"), &json!({}), inputs).unwrap()
}

/// Embeddings that depend on which words a name contains.
fn embeddings(dir: &Path, names: &[String]) -> Artifact {
    let vector = |name: &String| match name.to_lowercase() {
        n if n.contains("quillmouth") => [1.0, 0.1],
        n if n.contains("19") => [0.0, -1.0],
        _ => [-1.0, 0.5],
    };
    let values: Vec<f32> = names.iter().flat_map(vector).collect();
    let [vectors, encoder] = kinds::EMBEDDINGS.tables else {
        panic!("two tables");
    };
    let text = |t: &str| -> ArrayRef { Arc::new(StringArray::from(vec![t])) };
    let row: Vec<ArrayRef> = vec![
        text("by hand"),
        text("digest"),
        Arc::new(UInt32Array::from(vec![2])),
        Arc::new(UInt64Array::from(vec![names.len() as u64])),
        Arc::new(UInt64Array::from(vec![0])),
        text(&texts_digest(names)),
    ];
    let tables = vec![
        columns::batch(vectors, vec![columns::build_vectors(2, values).unwrap()]).unwrap(),
        columns::batch(encoder, row).unwrap(),
    ];
    fs::create_dir_all(dir).unwrap();
    local::artifact(dir, &kinds::EMBEDDINGS, "vectors.embeddings", tables).unwrap()
}

/// Runs `join-equivalent` on the outputs of two stages. Where both have a port, the later stage's
/// is used. `but` replaces or removes inputs.
fn join(
    dir: &Path,
    params: &Value,
    of: [&Local; 2],
    but: &[(&str, Option<&Artifact>)],
) -> OpResult<Local> {
    let names = rows(of[0], "entities", "entities", &["name"]);
    let mut inputs = BTreeMap::new();
    for port in ["entities", "relations", "triples", "nodes", "edge_weights"] {
        let later = of[1].outputs.get(port);
        let artifact = later.unwrap_or_else(|| of[0].port(port));
        inputs.insert(port.to_owned(), vec![artifact.clone()]);
    }
    let vectors = embeddings(&dir.join("e"), &names);
    inputs.insert("embeddings".to_owned(), vec![vectors]);
    for (port, artifact) in but {
        match artifact {
            Some(artifact) => inputs.insert((*port).to_owned(), vec![(*artifact).clone()]),
            None => inputs.remove(*port),
        };
    }
    local::run::<JoinEquivalent>(&dir.join("j"), params, inputs)
}

fn relations(of: &Local) -> Vec<String> {
    let columns = ["id", "name", "inverse_of", "triples"];
    rows(of, "relations", "relations", &columns)
}

fn triples(of: &Local) -> Vec<String> {
    rows(of, "triples", "triples", &["head", "relation", "tail"])
}

fn weights(of: &Local) -> Vec<String> {
    rows(of, "edge_weights", "edge_weights", &["weight"])
}

#[test]
fn an_edge_is_added_and_everything_else_keeps_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let graph = graph(dir.path());
    assert_eq!(
        rows(&graph, "entities", "entities", &["id", "name"]),
        [
            "0 | port quillmouth",
            "1 | lowmere",
            "2 | 1920",
            "3 | quillmouth",
            "4 | 1921",
            "5 | Quillmouth",
            "6 | Lowmere",
        ]
    );
    let joined = join(dir.path(), &json!({"weight": 2}), [&graph; 2], &[]).unwrap();
    // Neither the years nor the documents are joined, although they have equal vectors.
    let old = triples(&graph);
    assert_eq!(triples(&joined)[..old.len()], old);
    assert_eq!(triples(&joined)[old.len()..], ["0 | 3 | 3"]);
    assert_eq!(weights(&joined)[..old.len()], weights(&graph));
    let weight: f32 = weights(&joined)[old.len()].parse().unwrap();
    assert!((weight - 2.0).abs() < 1e-6, "{weight}");
    let direct = relations(&graph)[..3].to_vec();
    assert_eq!(
        relations(&joined),
        [
            direct[0].as_str(),
            &direct[1],
            &direct[2],
            "3 | equivalent |  | 1",
            "4 | inverse_is mentioned in | 0 | 5",
            "5 | inverse_title of | 1 | 2",
            "6 | inverse_mentions the title of | 2 | 2",
            "7 | inverse_equivalent | 3 | 1",
        ]
    );
    assert_eq!(
        counts(&joined),
        [
            "entities | 5",
            "entities_without_vector | 0",
            "entities_in_lists | 0",
            "pairs | 1",
            "pairs_already_joined | 0",
            "edges_equivalent | 1",
        ]
    );
}

#[test]
fn a_graph_that_has_the_edge_already_does_not_get_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let graph = graph(dir.path());
    let params = json!({});
    let once = join(&dir.path().join("1"), &params, [&graph; 2], &[]).unwrap();
    let twice = join(&dir.path().join("2"), &params, [&graph, &once], &[]).unwrap();
    assert_eq!(triples(&twice), triples(&once));
    assert_eq!(relations(&twice), relations(&once));
    assert_eq!(weights(&twice), weights(&once));
    assert_eq!(
        counts(&twice)[3..],
        [
            "pairs | 1",
            "pairs_already_joined | 1",
            "edges_equivalent | 0"
        ]
    );
}

#[test]
fn without_nodes_and_weights_all_entities_are_alike_and_edges_weigh_one() {
    let dir = tempfile::tempdir().unwrap();
    let graph = graph(dir.path());
    let but = [("nodes", None), ("edge_weights", None)];
    let joined = join(dir.path(), &json!({}), [&graph; 2], &but).unwrap();
    let old = triples(&graph).len();
    assert_eq!(
        triples(&joined)[old..],
        ["0 | 3 | 3", "0 | 3 | 5", "1 | 3 | 6", "3 | 3 | 5"]
    );
    assert!(weights(&joined)[..old].iter().all(|w| w == "1.0"));
    let none = json!({"threshold": 0.9, "neighbours": 1, "exact": 0});
    let joined = join(dir.path(), &none, [&graph; 2], &but).unwrap();
    assert!(triples(&joined).len() > old);
    assert_eq!(counts(&joined)[2], "entities_in_lists | 5");
}

#[test]
fn tables_of_other_stages_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let graph = graph(dir.path());
    let refused = |port: &str, artifact: &Artifact| {
        let given = [(port, Some(artifact))];
        let e = join(dir.path(), &json!({}), [&graph; 2], &given).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::User, "{e}");
        format!("{e} ({})", e.advice().unwrap_or_default())
    };
    let vectors = embeddings(&dir.path().join("o"), &["another".to_owned()]);
    let said = refused("embeddings", &vectors);
    assert!(
        said.contains("these embeddings were not made from"),
        "{said}"
    );
    let few = columns::batch(
        &kinds::EDGE_WEIGHTS.tables[0],
        vec![Arc::new(arrow::array::Float32Array::from(vec![1.0]))],
    );
    let few = local::artifact(
        dir.path(),
        &kinds::EDGE_WEIGHTS,
        "few.edge_weights",
        vec![few.unwrap()],
    );
    let said = refused("edge_weights", &few.unwrap());
    assert!(said.contains("there are 1 weights of"), "{said}");
}
