//! Ids, edges and relation rows are those of the reference (tests/parity/kg_ingest, made with it).
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{counts, ids, ingest_file, rejects, texts, triples};
use gfm_pipe_api::local::Local;
use safetensors::SafeTensors;
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/kg_ingest")
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder().join(name)).unwrap()).unwrap()
}

fn integers(tensors: &SafeTensors<'_>, name: &str) -> Vec<u32> {
    let view = tensors.tensor(name).unwrap();
    assert_eq!(view.dtype(), safetensors::Dtype::I64);
    view.data()
        .chunks_exact(8)
        .map(|b| u32::try_from(i64::from_le_bytes(b.try_into().unwrap())).unwrap())
        .collect()
}

fn run(case: &str) -> (tempfile::TempDir, Local) {
    let dir = tempfile::tempdir().unwrap();
    let local = ingest_file(&folder().join(format!("{case}.kg.txt")), dir.path()).unwrap();
    (dir, local)
}

/// Entities and edges, which both cases share.
fn check_graph(case: &str, local: &Local) {
    let names = texts(local.port("entities"), "entities", "name");
    let want: BTreeMap<String, u32> =
        serde_json::from_value(json(&format!("{case}.ent2id.json"))).unwrap();
    assert_eq!(names.len(), want.len());
    for (id, name) in (0u32..).zip(&names) {
        assert_eq!(want.get(name), Some(&id), "{name:?}");
    }
    let rows: Vec<Option<u32>> = (0..names.len() as u32).map(Some).collect();
    assert_eq!(ids(local.port("entities"), "entities", "id"), rows);

    let bytes = fs::read(folder().join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let triples = triples(local);
    let column = |i: usize| triples.iter().map(move |t| t[i]);
    let direct: Vec<u32> = column(0).chain(column(2)).collect();
    assert_eq!(
        direct,
        integers(&tensors, &format!("{case}.target_edge_index"))
    );
    let types: Vec<u32> = column(1).collect();
    assert_eq!(
        types,
        integers(&tensors, &format!("{case}.target_edge_type"))
    );
    // The reference's edges are all direct ones, then all inverse ones with ids moved by R.
    let relations = ids(local.port("relations"), "relations", "id").len() as u32 / 2;
    let heads: Vec<u32> = column(0)
        .chain(column(2))
        .chain(column(2))
        .chain(column(0))
        .collect();
    assert_eq!(heads, integers(&tensors, &format!("{case}.edge_index")));
    let types: Vec<u32> = column(1).chain(column(1).map(|r| r + relations)).collect();
    assert_eq!(types, integers(&tensors, &format!("{case}.edge_type")));
}

#[test]
fn parity_kg_ingest_tricky() {
    let (_dir, local) = run("tricky");
    check_graph("tricky", &local);
    let case = json("case.json");
    let names = texts(local.port("relations"), "relations", "name");
    let want: Vec<&String> = case["tricky"]["rel2id_in_order"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(names.iter().collect::<Vec<_>>(), want);
    for (id, name) in names.iter().enumerate() {
        assert_eq!(case["tricky"]["rel2id_in_order"][name], id);
    }
    // The reference skips blank lines with a message; here they are counted apart.
    let skipped = case["tricky"]["skipped_messages"].as_array().unwrap().len() as u64;
    let counts = counts(&local);
    assert_eq!(counts["rejected"] + counts["blank_lines"], skipped);
    assert_eq!(counts["blank_lines"], 2);
    assert_eq!(counts["self_loops"], 2);
    assert_eq!(counts["lines"], counts["triples"] + skipped);
    assert_eq!(
        rejects(&local),
        [
            "6|-|expected 3 fields separated by commas, found 4|washington, d.c.,located in,usa",
            "7|-|expected 3 fields separated by commas, found 2|one,two",
            "24|-|expected 3 fields separated by commas, found 4|\"quoted,comma\",rel,x",
        ]
    );
}

#[test]
fn parity_kg_ingest_collision() {
    let (_dir, local) = run("collision");
    check_graph("collision", &local);
    let names = texts(local.port("relations"), "relations", "name");
    // `inverse_knows` is a relation of the file (1) and the inverse of `knows` (3): each has its
    // row.
    assert_eq!(
        names,
        [
            "knows",
            "inverse_knows",
            "likes",
            "inverse_knows",
            "inverse_inverse_knows",
            "inverse_likes"
        ]
    );
    assert_eq!(
        ids(local.port("relations"), "relations", "inverse_of"),
        [None, None, None, Some(0), Some(1), Some(2)]
    );
    // Wherever the reference kept a name, it has the same id.
    let case = json("case.json");
    let kept = case["collision"]["rel2id_in_order"].as_object().unwrap();
    for (name, id) in kept {
        assert_eq!(&names[id.as_u64().unwrap() as usize], name);
    }
}
