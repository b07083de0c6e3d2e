//! A stage `retriever` accepts what can be loaded, and refuses the rest, without loading it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, StringArray, UInt32Array, UInt64Array};
use gfm_pipe_api::{Artifact, Kind, columns, kinds, local};
use gfm_pipe_ask::Retriever;
use gfm_pipe_eval::features::Fuse;
use serde_json::json;

use common::{Inputs, family, folder, open};

fn ids(all: &[u32]) -> ArrayRef {
    Arc::new(UInt32Array::from(all.to_vec()))
}

fn numbers(all: &[u64]) -> ArrayRef {
    Arc::new(UInt64Array::from(all.to_vec()))
}

fn maybe(all: &[Option<u32>]) -> ArrayRef {
    Arc::new(UInt32Array::from(all.to_vec()))
}

fn texts(count: usize) -> ArrayRef {
    Arc::new(StringArray::from(vec!["entity"; count]))
}

fn weights(count: usize, of_first: f32) -> ArrayRef {
    let mut all = vec![1.0; count];
    all[0] = of_first;
    Arc::new(Float32Array::from(all))
}

fn made(kind: &'static Kind, columns: Vec<ArrayRef>) -> Artifact {
    let table = columns::batch(&kind.tables[0], columns).unwrap();
    local::artifact(&folder(), kind, kind.name, vec![table]).unwrap()
}

/// One fact of document 0.
fn facts() -> Artifact {
    let none = || numbers(&[0]);
    let columns = vec![
        ids(&[0]),
        ids(&[0]),
        texts(1),
        none(),
        none(),
        texts(1),
        none(),
        none(),
        texts(1),
        none(),
        none(),
        texts(1),
    ];
    made(&kinds::FACTS, columns)
}

/// The fixture with all tables that need no encoder.
fn whole() -> Inputs {
    let (mut inputs, test) = family();
    let rows = |inputs: &Inputs, port: &str| inputs[port][0].rows(port).unwrap();
    let (nodes, triples) = (rows(&inputs, "entities"), rows(&inputs, "triples"));
    let mut put = |port: &str, artifact| inputs.insert(port.to_owned(), vec![artifact]);
    let all: Vec<u32> = (0..nodes as u32).collect();
    let of = vec![ids(&all), texts(nodes), maybe(&vec![None; nodes])];
    put("nodes", made(&kinds::NODES, of));
    put(
        "labels",
        made(&kinds::LABELS, vec![ids(&[0]), texts(1), numbers(&[1])]),
    );
    put(
        "edge_weights",
        made(&kinds::EDGE_WEIGHTS, vec![weights(triples, 2.0)]),
    );
    put("facts", facts());
    put(
        "evidence",
        made(&kinds::EVIDENCE, vec![numbers(&[1]), numbers(&[0])]),
    );
    let fusion = local::run::<Fuse>(&folder(), &json!({}), Inputs::new()).unwrap();
    put("fusion", fusion.port("fusion").clone());
    put("examples", test);
    inputs
}

#[test]
fn what_can_be_loaded_is_described_as_it_is() {
    let whole = whole();
    let mut without_graph = whole.clone();
    without_graph.retain(|port, _| ["documents", "examples"].contains(&port.as_str()));
    let (graph_alone, _) = family();
    for (inputs, params, system) in [
        (&whole, json!({}), "fused"),
        (&whole, json!({"system": "bm25"}), "bm25"),
        (&graph_alone, json!({}), "ppr"),
        (&without_graph, json!({}), "bm25"),
    ] {
        let about = open(inputs, params.clone()).unwrap().about();
        let run = local::run::<Retriever>(&folder(), &params, inputs.clone()).unwrap();
        let row = run.port("retriever").read("retriever").unwrap();
        let count = |name| columns::u64s(&row, name).unwrap().value(0) as usize;
        assert_eq!(columns::text(&row, "system").unwrap().value(0), system);
        assert_eq!(about.system, system);
        assert_eq!(count("documents"), about.documents);
        assert_eq!(count("nodes"), about.nodes);
        assert_eq!(count("triples"), about.triples);
        assert_eq!(about.encoder, None);
    }
}

#[test]
fn what_cannot_be_loaded_is_refused() {
    let whole = whole();
    let rows = |port: &str| whole[port][0].rows(port).unwrap();
    let (nodes, triples) = (rows("entities"), rows("triples"));
    let all: Vec<u32> = (0..nodes as u32).collect();
    let document_of_first = |document| {
        let mut of = vec![None; nodes];
        of[0] = Some(document);
        made(&kinds::NODES, vec![ids(&all), texts(nodes), maybe(&of)])
    };
    let source = |row| {
        let none = || numbers(&[0]);
        let columns = vec![ids(&[row]), texts(1), none(), none(), none(), ids(&[row])];
        made(&kinds::SOURCES, [columns, vec![texts(1)]].concat())
    };
    let far = 1 << 20;
    let evidence = |triple, fact| {
        let of = vec![numbers(&[triple]), numbers(&[fact])];
        made(&kinds::EVIDENCE, of)
    };
    let triple = |of: [u32; 3]| made(&kinds::TRIPLES, of.map(|id| ids(&[id])).to_vec());
    let weights = |count, first| made(&kinds::EDGE_WEIGHTS, vec![weights(count, first)]);
    let mistakes = [
        ("triples", triple([0, 0, far])),
        ("triples", triple([0, far, 0])),
        ("links", made(&kinds::LINKS, vec![ids(&[0]), ids(&[far])])),
        ("links", made(&kinds::LINKS, vec![ids(&[far]), ids(&[0])])),
        (
            "labels",
            made(&kinds::LABELS, vec![ids(&[far]), texts(1), numbers(&[1])]),
        ),
        (
            "nodes",
            made(&kinds::NODES, vec![ids(&[0]), texts(1), maybe(&[None])]),
        ),
        ("nodes", document_of_first(far)),
        ("edge_weights", weights(triples + 1, 1.0)),
        ("edge_weights", weights(triples, -1.0)),
        ("edge_weights", weights(triples, f32::INFINITY)),
        ("evidence", evidence(u64::from(far), 0)),
        ("evidence", evidence(0, 1)),
        ("sources", source(0)),
        ("sources", source(far)),
    ];
    assert!(open(&whole, json!({})).is_ok());
    for (port, wrong) in mistakes {
        let mut inputs = whole.clone();
        inputs.insert(port.to_owned(), vec![wrong]);
        let loaded = open(&inputs, json!({})).err();
        let checked = local::run::<Retriever>(&folder(), &json!({}), inputs).err();
        let [loaded, checked] = [loaded, checked].map(|e| e.map(|e| e.to_string()));
        assert!(
            loaded.is_some() && checked.is_some(),
            "{port}: {loaded:?} {checked:?}"
        );
    }
}

#[test]
fn damaged_tables_are_refused() {
    for port in [
        "entities",
        "relations",
        "triples",
        "links",
        "labels",
        "nodes",
    ] {
        let inputs = whole();
        let path = &inputs[port][0].tables[0].objects[0].path;
        let mut bytes = fs::read(path).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
        let e = local::run::<Retriever>(&folder(), &json!({}), inputs).err();
        let e = e.map(|e| e.to_string()).unwrap_or_default();
        assert!(e.contains("is damaged"), "{port}: {e}");
    }
}
