//! `node-texts` on a few nodes.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, StringArray, UInt32Array, UInt64Array};
use common::texts;
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{Artifact, Kind, OpError, columns, kinds};
use gfm_pipe_kg::NodeTexts;

fn text(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn ids(values: std::ops::Range<u32>) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(values))
}

/// An artifact of a kind's first table.
fn made(dir: &std::path::Path, kind: &'static Kind, columns: Vec<ArrayRef>) -> Artifact {
    std::fs::create_dir_all(dir).unwrap();
    let batch = columns::batch(&kind.tables[0], columns).unwrap();
    local::artifact(dir, kind, kind.name, vec![batch]).unwrap()
}

#[test]
fn nodes_are_described_by_name_type_and_text() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("out")).unwrap();
    let entities = made(
        &at("entities"),
        &kinds::ENTITIES,
        vec![ids(0..3), text(&["namibia", "xx", "doc"])],
    );
    let nodes: ArrayRef = Arc::new(UInt32Array::from(vec![None, None, Some(0)]));
    let types = text(&["entity", "", "document"]);
    let nodes = made(&at("nodes"), &kinds::NODES, vec![ids(0..3), types, nodes]);
    let labels = made(
        &at("labels"),
        &kinds::LABELS,
        vec![
            Arc::new(UInt32Array::from(vec![0, 0, 0])),
            text(&["NAMIBIA", "Namibia", "namibia"]),
            Arc::new(UInt64Array::from(vec![1, 3, 3])),
        ],
    );
    let documents = made(
        &at("documents"),
        &kinds::DOCUMENTS,
        vec![
            ids(0..1),
            text(&["Hosea Kutako"]),
            text(&["An airport.\nIn Namibia. "]),
            Arc::new(BooleanArray::from(vec![true])),
        ],
    );
    let go = |inputs: &[(&str, &Artifact)]| -> Result<Local, OpError> {
        let inputs = inputs.iter();
        let inputs = inputs.map(|(port, of)| ((*port).to_owned(), vec![(*of).clone()]));
        local::run::<NodeTexts>(&at("out"), &serde_json::json!({}), inputs.collect())
    };
    let all = [
        ("entities", &entities),
        ("nodes", &nodes),
        ("labels", &labels),
        ("documents", &documents),
    ];
    let local = go(&all).unwrap();
    assert_eq!(
        texts(local.port("texts"), "texts", "text"),
        [
            "name: Namibia\ntype: entity",
            // The text is stripped, as in GFM-RAG 2.0.
            "name: xx\ntype:",
            "name: Hosea Kutako\ntype: document\ncontent: An airport.\nIn Namibia.",
        ]
    );
    // A graph without types has entities only.
    let local = go(&all[..1]).unwrap();
    assert_eq!(
        texts(local.port("texts"), "texts", "text")[2],
        "name: doc\ntype: entity"
    );
    let other = made(
        &at("other"),
        &kinds::ENTITIES,
        vec![ids(0..1), text(&["a"])],
    );
    let e = go(&[("entities", &other), ("nodes", &nodes)])
        .err()
        .unwrap();
    assert!(
        e.to_string()
            .contains("types for 3 nodes, but the graph has 1"),
        "{e}"
    );
}
