//! Writes a graph made from documents in GFM-RAG's layout, and reads it again.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use common::rows;
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_index::{BuildKg, Extract, IngestDocuments, IngestQuestions};
use gfm_pipe_kg::{IngestKg, IngestQa, WriteDataset};
use serde_json::json;

/// Output ports of several operators as inputs, with the operators' names.
fn inputs(from: &[(&str, &Local, &[&str])]) -> BTreeMap<String, Vec<gfm_pipe_api::Artifact>> {
    let all = from.iter().map(|(name, local, ports)| {
        let ports = ports.iter().map(|port| local.port(port).clone());
        ((*name).to_owned(), ports.collect())
    });
    all.collect()
}

/// Triples by name.
fn triples(graph: &Local) -> Vec<String> {
    let entities = rows(graph, "entities", "entities", &["name"]);
    let relations = rows(graph, "relations", "relations", &["name"]);
    let all = rows(graph, "triples", "triples", &["head", "relation", "tail"]);
    all.iter()
        .map(|row| {
            let ids: Vec<usize> = row.split(" | ").map(|id| id.parse().unwrap()).collect();
            format!(
                "{} | {} | {}",
                entities[ids[0]], relations[ids[1]], entities[ids[2]]
            )
        })
        .collect()
}

/// Links by name: title, entity.
fn links(documents: &Local, graph: &Local, links: &Local) -> BTreeSet<(usize, String)> {
    let names = rows(graph, "entities", "entities", &["name"]);
    let titles = rows(documents, "documents", "documents", &["title"]);
    let all = rows(links, "links", "links", &["document", "entity"]);
    all.iter()
        .map(|row| {
            let (document, entity) = row.split_once(" | ").unwrap();
            let document: usize = document.parse().unwrap();
            assert!(document < titles.len());
            (document, names[entity.parse::<usize>().unwrap()].clone())
        })
        .collect()
}

#[test]
fn a_graph_of_documents_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let corpus = json!({
        "Ada Alder": "Ada Alder was born in Quillmouth, Sussex.\n\nShe baked \"Bread, plain\" in Oak Town.",
        "Quillmouth, Sussex": "A town where Ada Alder lived in 1820.",
        "Oak Town": "Oak Town lies near Quillmouth.",
    });
    fs::write(at("corpus.json"), corpus.to_string()).unwrap();
    let asked = json!([{"id": "q", "question": "Where was Ada born?", "answer": "Quillmouth, Sussex",
        "answer_aliases": ["Quillmouth"], "supporting_facts": ["Ada Alder", "Oak Town", "Nowhere"]}]);
    fs::write(at("test.json"), asked.to_string()).unwrap();
    let params = json!({"path": at("corpus.json"), "split": "paragraphs"});
    let documents = local::run::<IngestDocuments>(&at("d"), &params, [].into()).unwrap();
    let of = ("documents", &documents, &["documents"][..]);
    let params = json!({"dataset": "toy", "test": at("test.json")});
    let sources = ("sources", &documents, &["sources"][..]);
    let questions =
        local::run::<IngestQuestions>(&at("q"), &params, inputs(&[of, sources])).unwrap();
    let extracted =
        local::run::<Extract>(&at("x"), &json!({"by": "patterns"}), inputs(&[of])).unwrap();
    let mut from = inputs(&[of, sources]);
    for port in ["facts", "mentions", "named"] {
        from.extend(inputs(&[(port, &extracted, &[port])]));
    }
    let graph = local::run::<BuildKg>(&at("g"), &json!({}), from).unwrap();
    let copy = at("copy");
    let given = inputs(&[
        ("entities", &graph, &["entities"]),
        ("relations", &graph, &["relations"]),
        ("triples", &graph, &["triples"]),
        ("links", &graph, &["links"]),
        of,
        ("questions", &questions, &["test"]),
        ("answers", &questions, &["answers"]),
    ]);
    let written = local::run::<WriteDataset>(&at("w"), &json!({"path": copy}), given).unwrap();

    let path = json!({"path": copy.join("processed/stage1/kg.txt")});
    let kg = local::run::<IngestKg>(&at("kg"), &path, [].into()).unwrap();
    let entities = ("entities", &kg, &["entities"][..]);
    let params = json!({"root": copy, "dataset": "toy"});
    let qa = local::run::<IngestQa>(&at("qa"), &params, inputs(&[entities])).unwrap();
    assert_eq!(rows(&kg, "rejects", "rejects", &["text"]), [""; 0]);

    // Names are written without their commas; everything else comes back unchanged.
    let plain = |text: String| text.replace(", ", " ");
    let before: Vec<String> = triples(&graph).into_iter().map(plain).collect();
    assert_eq!(triples(&kg), before);
    assert!(before.contains(&"Quillmouth Sussex | mentions the title of | Ada Alder".to_owned()));
    let before = links(&documents, &graph, &graph);
    let before: BTreeSet<_> = before.into_iter().map(|(d, e)| (d, plain(e))).collect();
    assert_eq!(links(&qa, &kg, &qa), before);
    assert_eq!(
        rows(&qa, "documents", "documents", &["title"]),
        [
            "Ada Alder",
            "Ada Alder (2)",
            "Quillmouth, Sussex",
            "Oak Town"
        ]
    );
    let text = ["id", "text", "in_corpus"];
    assert_eq!(
        rows(&qa, "documents", "documents", &text),
        rows(&documents, "documents", "documents", &text)
    );
    let columns = [
        "id",
        "question",
        "answer",
        "supporting_documents",
        "gold_titles",
        "askable",
    ];
    assert_eq!(
        rows(&qa, "test", "questions", &columns),
        rows(&questions, "test", "questions", &columns)
    );
    let renamed: Vec<String> = rows(&written, "rejects", "rejects", &["source", "text"])
        .into_iter()
        .filter(|row| !row.starts_with("test"))
        .collect();
    assert_eq!(
        renamed,
        [
            "entities | bread, plain",
            "entities | Quillmouth, Sussex",
            "documents | Ada Alder"
        ]
    );

    // The raw documents and questions, from before the graph, are written as well and can be
    // ingested again.
    let raw = |name: &str| Path::new(&copy).join("raw").join(name);
    let params = json!({"path": raw("dataset_corpus.json")});
    let again = local::run::<IngestDocuments>(&at("d2"), &params, [].into()).unwrap();
    let params = json!({"dataset": "toy", "test": raw("test.json")});
    let of = ("documents", &again, &["documents"][..]);
    let asked = local::run::<IngestQuestions>(&at("q2"), &params, inputs(&[of])).unwrap();
    assert_eq!(
        rows(&asked, "answers", "answers", &["question", "answer"]),
        ["q | Quillmouth, Sussex", "q | Quillmouth"]
    );
}
