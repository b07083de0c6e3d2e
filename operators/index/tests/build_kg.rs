//! Tests of `build-kg`: on small corpora, against the reference, and on arbitrary facts.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use common::{counts, rows, shared};
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{OpResult, columns};
use gfm_pipe_index::{BuildKg, Extract, IngestDocuments};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Documents, their extraction and their graph.
struct Made {
    documents: Local,
    extracted: Local,
}

fn port(local: &Local, name: &str) -> (String, Vec<gfm_pipe_api::Artifact>) {
    (name.to_owned(), vec![local.port(name).clone()])
}

impl Made {
    /// Ingests documents, and takes facts from `openie`, the output of a language model, or
    /// extracts by patterns where there is none.
    fn of(dir: &Path, documents: &Value, split: &str, openie: Option<&Value>) -> Made {
        fs::write(dir.join("corpus.json"), documents.to_string()).unwrap();
        let given = json!({"path": dir.join("corpus.json"), "split": split});
        let documents = local::run::<IngestDocuments>(&dir.join("d"), &given, [].into()).unwrap();
        let mut params = json!({"by": "patterns"});
        if let Some(openie) = openie {
            fs::write(dir.join("openie.json"), openie.to_string()).unwrap();
            params = json!({"by": "file", "path": dir.join("openie.json")});
        }
        let inputs = [port(&documents, "documents")].into();
        let extracted = local::run::<Extract>(&dir.join("x"), &params, inputs).unwrap();
        Made {
            documents,
            extracted,
        }
    }

    fn graph(&self, to: &Path, params: &Value) -> OpResult<Local> {
        let ports = ["facts", "mentions", "named"].map(|name| port(&self.extracted, name));
        let mut inputs: BTreeMap<_, _> = ports.into();
        inputs.extend(["documents", "sources"].map(|name| port(&self.documents, name)));
        local::run::<BuildKg>(to, params, inputs)
    }
}

fn folder() -> PathBuf {
    tempfile::tempdir().unwrap().keep()
}

/// Triples by name.
fn named(graph: &Local) -> Vec<String> {
    let entities = rows(graph, "entities", "entities", &["name"]);
    let relations = rows(graph, "relations", "relations", &["name"]);
    let batch = graph.port("triples").read("triples").unwrap();
    let column = |name| columns::u32s(&batch, name).unwrap();
    let (h, r, t) = (column("head"), column("relation"), column("tail"));
    (0..batch.num_rows())
        .map(|i| {
            let [h, r, t] = [h, r, t].map(|c| c.value(i) as usize);
            format!("{} | {} | {}", entities[h], relations[r], entities[t])
        })
        .collect()
}

fn towns() -> Made {
    let documents = json!({
        "Ada Alder": "Ada Alder was born in Quillmouth.\n\nShe baked bread in QUILLMOUTH.",
        "Quillmouth": "A town on the Zürisee, where Ada Alder lived.",
        "Empty": "",
    });
    let openie = json!([
        {"title": "Ada Alder", "extracted_entities": ["Ada Alder", "Bread"], "extracted_triples": [
            ["Ada Alder", "Born in", "Quillmouth"],
            ["ADA ALDER", "born in", "quillmouth"],
            ["—", "is", "?"],
        ]},
        {"title": "Quillmouth", "extracted_entities": ["Ada Alder", "…"], "extracted_triples": [
            ["Quillmouth", "lies on", "Zürisee"],
            ["Quillmouth", "is", "quillmouth"],
        ]},
    ]);
    Made::of(&folder(), &documents, "paragraphs", Some(&openie))
}

#[test]
fn documents_become_nodes_behind_entities() {
    let graph = towns().graph(&folder(), &json!({})).unwrap();
    assert_eq!(
        rows(&graph, "entities", "entities", &["id", "name"]),
        [
            "0 | ada alder",
            "1 | quillmouth",
            "2 | bread",
            "3 | zürisee",
            "4 | Ada Alder",
            "5 | Ada Alder (document)",
            "6 | Quillmouth",
            "7 | Empty"
        ]
    );
    assert_eq!(
        rows(&graph, "nodes", "nodes", &["entity", "type", "document"])[2..6],
        [
            "2 | entity | ",
            "3 | entity | ",
            "4 | document | 0",
            "5 | document | 1"
        ]
    );
    assert_eq!(
        named(&graph),
        [
            "ada alder | born in | quillmouth",
            "quillmouth | lies on | zürisee",
            "quillmouth | is | quillmouth",
            "ada alder | is mentioned in | Ada Alder",
            "quillmouth | is mentioned in | Ada Alder",
            "bread | is mentioned in | Ada Alder",
            "ada alder | is mentioned in | Quillmouth",
            "quillmouth | is mentioned in | Quillmouth",
            "zürisee | is mentioned in | Quillmouth",
            "ada alder | title of | Ada Alder",
            "quillmouth | title of | Quillmouth",
            "Ada Alder | mentions the title of | Quillmouth",
            "Quillmouth | mentions the title of | Ada Alder",
            "Ada Alder | next | Ada Alder (document)",
        ]
    );
    assert_eq!(
        rows(&graph, "edge_weights", "edge_weights", &["weight"])[2..6],
        ["1.0", "0.70710677", "0.70710677", "1.0"]
    );
    assert_eq!(
        rows(&graph, "evidence", "evidence", &["triple", "fact"]),
        ["0 | 0", "0 | 1", "1 | 3", "2 | 4"]
    );
    assert_eq!(
        rows(
            &graph,
            "places",
            "places",
            &["table", "row", "source", "line"]
        )[1..6],
        [
            "triples | 1 | facts | 4",
            "triples | 2 | facts | 5",
            "triples | 3 | facts | 1",
            "triples | 4 | facts | 1",
            "triples | 5 | mentions | 2"
        ]
    );
    assert_eq!(
        rows(&graph, "labels", "labels", &["entity", "label", "count"]),
        [
            "0 | Ada Alder | 3",
            "0 | ADA ALDER | 1",
            "1 | Quillmouth | 3",
            "1 | quillmouth | 2",
            "2 | Bread | 1",
            "3 | Zürisee | 1",
            "4 | Ada Alder | 1",
            "5 | Ada Alder | 1",
            "6 | Quillmouth | 1",
            "7 | Empty | 1"
        ]
    );
    assert_eq!(
        rows(
            &graph,
            "rejects",
            "rejects",
            &["source", "line", "item", "reason", "text"]
        ),
        [
            "facts | 3 | Ada Alder | no letter or digit is left of the subject and the object | —, is, ?",
            "mentions | 4 | Quillmouth | no letter or digit is left of the mention | …",
        ]
    );
    assert_eq!(
        rows(&graph, "links", "links", &["document", "entity"]),
        [
            "0 | 0", "0 | 1", "0 | 2", "0 | 4", "1 | 5", "2 | 0", "2 | 1", "2 | 3", "2 | 6",
            "3 | 7"
        ]
    );
    assert_eq!(
        counts(&graph),
        [
            "documents | 4",
            "facts | 5",
            "mentions | 4",
            "rejected | 2",
            "entities | 4",
            "document_nodes | 4",
            "labels | 6",
            "triples | 14",
            "triples_of_facts | 3",
            "duplicates | 1",
            "self_loops | 1",
            "mentioned_entities | 6",
            "documents_without_entity | 2",
            "edges_is_mentioned_in | 6",
            "edges_title_of | 2",
            "edges_mentions_the_title_of | 2",
            "edges_next | 1"
        ]
    );
}

#[test]
fn without_document_nodes_it_is_a_graph_of_entities() {
    let made = towns();
    let graph = made
        .graph(&folder(), &json!({"document_nodes": false}))
        .unwrap();
    assert_eq!(rows(&graph, "entities", "entities", &["name"]).len(), 4);
    assert_eq!(named(&graph).len(), 3);
    assert_eq!(
        rows(
            &graph,
            "relations",
            "relations",
            &["id", "name", "inverse_of", "triples"]
        )[2..4],
        ["2 | is |  | 1", "3 | inverse_born in | 0 | 1"]
    );
    assert_eq!(
        rows(&graph, "links", "links", &["document", "entity"]),
        ["0 | 0", "0 | 1", "0 | 2", "2 | 0", "2 | 1", "2 | 3"]
    );
    let labels = rows(&graph, "labels", "labels", &["entity"]);
    assert_eq!(labels.last().unwrap(), "3");
}

#[test]
fn titles_weigh_what_they_are_told_to() {
    let graph = towns()
        .graph(&folder(), &json!({"title_weight": 3}))
        .unwrap();
    let weights = rows(&graph, "edge_weights", "edge_weights", &["weight"]);
    assert_eq!(weights[9..], ["3.0", "3.0", "3.0", "3.0", "1.0"]);
}

#[test]
fn a_graph_without_edges_is_refused() {
    let dir = folder();
    let made = Made::of(&dir, &json!({"a": "nothing here"}), "none", None);
    for (params, hint) in [
        (json!({}), "connect `mentions`"),
        (
            json!({"document_nodes": false}),
            "leave `document_nodes` at yes",
        ),
        (json!({"normalize": "reference"}), "use `unicode`"),
    ] {
        let error = made.graph(&folder(), &params).err().unwrap();
        assert_eq!(error.to_string(), "the graph would have no edge");
        assert!(error.advice().unwrap().contains(hint), "{params}");
    }
}

#[test]
fn tables_of_other_documents_are_refused() {
    let made = towns();
    let other = Made::of(&folder(), &json!({"a": "b"}), "none", None);
    let inputs = [
        port(&other.documents, "documents"),
        port(&made.extracted, "facts"),
    ];
    let error = local::run::<BuildKg>(&folder(), &json!({}), inputs.into())
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "extract.facts row 3: a row is about a document that does not exist: there are 1"
    );
}

/// Texts of a list.
fn texts(value: &Value) -> Vec<String> {
    let all = value.as_array().unwrap().iter();
    all.map(|v| v.as_str().unwrap().to_owned()).collect()
}

/// Compares with the graph that GFM-RAG 2.0's constructor makes from the same documents and
/// answers. The test allows for the constructor's faults one by one: of several relations between
/// two entities it keeps only the last, it takes an entity named like a document for the document,
/// and it accepts numbers as names (`extract` rejects them, so here they are given as texts). This
/// operator does not make `equivalent` edges.
#[test]
fn with_the_references_rule_it_is_the_references_graph() {
    let Some(case) = shared("parity2/pipeline/case.json") else {
        return;
    };
    let case: Value = serde_json::from_slice(&fs::read(case).unwrap()).unwrap();
    let mut openie = Vec::new();
    for (title, answer) in case["openie answers by title"].as_object().unwrap() {
        let mut record = answer.clone();
        record["title"] = json!(title);
        for triple in record["extracted_triples"].as_array_mut().unwrap() {
            for part in triple.as_array_mut().unwrap() {
                if part.is_number() {
                    *part = json!(part.to_string());
                }
            }
        }
        openie.push(record);
    }
    let made = Made::of(
        &folder(),
        &case["documents.json"],
        "none",
        Some(&json!(openie)),
    );
    let graph = made
        .graph(&folder(), &json!({"normalize": "reference"}))
        .unwrap();
    let golden = &case["KGConstructor"];

    let titles: BTreeSet<&String> = case["documents.json"].as_object().unwrap().keys().collect();
    let types = rows(&graph, "nodes", "nodes", &["type"]);
    let names = rows(&graph, "entities", "entities", &["name"]);
    let entities: Vec<String> = names
        .iter()
        .zip(&types)
        .filter(|(name, kind)| *kind == "entity" && !titles.contains(name))
        .map(|(name, _)| name.clone())
        .collect();
    let nodes = golden["nodes"].as_array().unwrap();
    let want = nodes.iter().filter(|n| n[1] == "entity");
    let want: Vec<String> = want.map(|n| n[0].as_str().unwrap().to_owned()).collect();
    assert_eq!(entities, want);
    assert_eq!(
        types.len() - 1,
        nodes.len(),
        "the entity london is a node of its own"
    );

    let triples: Vec<Vec<String>> = named(&graph)
        .iter()
        .map(|t| {
            t.split(" | ")
                .map(|p| p.replace(" (document)", ""))
                .collect()
        })
        .collect();
    let mut pairs: Vec<Vec<String>> = Vec::new();
    let (mentioned, facts): (Vec<_>, Vec<_>) =
        triples.into_iter().partition(|t| t[1] == "is_mentioned_in");
    let (titled, facts): (Vec<_>, Vec<_>) = facts.into_iter().partition(|t| t[1] == "title of");
    let titled: Vec<String> = titled.iter().map(|t| t.join(" | ")).collect();
    assert_eq!(
        titled,
        [
            "ada lovelace | title of | Ada Lovelace",
            "london | title of | london"
        ]
    );
    for fact in facts {
        match pairs
            .iter_mut()
            .find(|p| p[0] == fact[0] && p[2] == fact[2])
        {
            Some(pair) => *pair = fact,
            None => pairs.push(fact),
        }
    }
    let want = golden["edges before the mentions, in order"]
        .as_array()
        .unwrap();
    let want: Vec<Vec<String>> = want
        .iter()
        .map(texts)
        .filter(|t| t[1] != "equivalent")
        .collect();
    assert_eq!(pairs, want);
    let ends = |t: &Vec<String>| vec![t[0].clone(), t[2].clone()];
    let mut mentioned: Vec<Vec<String>> = mentioned.iter().map(ends).collect();
    mentioned.sort();
    let want = golden
        .as_object()
        .unwrap()
        .iter()
        .find(|(k, _)| k.starts_with("mention edges"));
    let want: Vec<Vec<String>> = want
        .unwrap()
        .1
        .as_array()
        .unwrap()
        .iter()
        .map(texts)
        .collect();
    assert_eq!(mentioned, want);
}

/// Checks that every id in a table's column is below `limit`.
fn ids(graph: &Local, port: &str, table: &str, column: &str, limit: usize) {
    let batch = graph.port(port).read(table).unwrap();
    let column = columns::u32s(&batch, column).unwrap();
    assert!(
        column.values().iter().all(|id| (*id as usize) < limit),
        "{port}"
    );
}

/// Checks the invariants that every graph must satisfy, whatever it was made from.
fn sound(graph: &Local, documents: usize, facts: usize) {
    let count = |port: &str, table: &str| graph.port(port).rows(table).unwrap();
    let names = rows(graph, "entities", "entities", &["name"]);
    assert_eq!(
        names.iter().collect::<BTreeSet<_>>().len(),
        names.len(),
        "{names:?}"
    );
    let (entities, triples) = (names.len(), count("triples", "triples"));
    let relations = count("relations", "relations");
    for (column, limit) in [
        ("head", entities),
        ("relation", relations / 2),
        ("tail", entities),
    ] {
        ids(graph, "triples", "triples", column, limit);
    }
    ids(graph, "links", "links", "document", documents);
    ids(graph, "links", "links", "entity", entities);
    ids(graph, "labels", "labels", "entity", entities);
    assert_eq!(count("nodes", "nodes"), entities);
    assert_eq!(count("edge_weights", "edge_weights"), triples);
    assert_eq!(count("places", "places"), triples);
    let distinct: BTreeSet<String> = named(graph).into_iter().collect();
    assert_eq!(distinct.len(), triples, "a triple is there twice");
    // Every relation is used, as `build-graph` requires.
    let used = rows(graph, "triples", "triples", &["relation"]);
    assert_eq!(2 * used.iter().collect::<BTreeSet<_>>().len(), relations);
    // Every fact is evidence or rejected.
    let rejected = rows(graph, "rejects", "rejects", &["source"]);
    let rejected = rejected.iter().filter(|source| *source == "facts").count();
    assert_eq!(count("evidence", "evidence") + rejected, facts);
    let known: Vec<usize> = rows(graph, "evidence", "evidence", &["fact"])
        .iter()
        .map(|fact| fact.parse().unwrap())
        .collect();
    assert!(known.iter().all(|fact| *fact < facts));
    assert_eq!(known.iter().collect::<BTreeSet<_>>().len(), known.len());
    let weights = rows(graph, "edge_weights", "edge_weights", &["weight"]);
    assert!(weights.iter().all(|w| w.parse::<f32>().unwrap() > 0.0));
}

/// Bytes of all tables.
fn bytes(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    files
        .filter(|f| f.file_type().unwrap().is_file())
        .map(|f| {
            (
                f.file_name().to_string_lossy().into_owned(),
                fs::read(f.path()).unwrap(),
            )
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_facts_make_a_sound_graph_whatever_the_number_of_threads(
        documents in prop::collection::btree_map(
            "[A-C][a-b]{3}( \\(film\\))?|\\PC{1,6}",
            "([A-C][a-b]{3}|\\PC{1,4}|\n\n)( ([A-C][a-b]{3}|x|\\PC{1,4})){0,6}",
            1..5,
        ),
        said in prop::collection::vec(
            ("[A-C][a-b]{3}|\\PC{0,4}", "is|IS|next|title of|\\PC{0,3}", "[a-c][a-b]{3}|\\PC{0,4}"),
            0..12,
        ),
        reference in any::<bool>(),
        nodes in any::<bool>(),
    ) {
        let titles: Vec<&String> = documents.keys().collect();
        let records: Vec<Value> = titles
            .iter()
            .enumerate()
            .map(|(i, title)| {
                let of = said.iter().enumerate().filter(|(n, _)| n % titles.len() == i);
                let facts: Vec<Value> = of.map(|(_, (s, r, o))| json!([s, r, o])).collect();
                let names: Vec<&String> = said.iter().take(i).map(|(_, _, o)| o).collect();
                json!({"title": title, "extracted_entities": names, "extracted_triples": facts})
            })
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let made = Made::of(dir.path(), &json!(documents), "paragraphs", Some(&json!(records)));
        let normalize = if reference { "reference" } else { "unicode" };
        let params = json!({"normalize": normalize, "document_nodes": nodes});
        let run = |threads: usize| {
            let to = dir.path().join(format!("{threads}"));
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            (pool.install(|| made.graph(&to, &params)), to)
        };
        match (run(1), run(3)) {
            ((Ok(one), at), (Ok(_), other)) => {
                let documents = made.documents.port("documents").rows("documents").unwrap();
                sound(&one, documents, made.extracted.port("facts").rows("facts").unwrap());
                prop_assert_eq!(bytes(&at), bytes(&other));
            }
            ((Err(one), _), (Err(other), _)) => {
                prop_assert_eq!(one.to_string(), "the graph would have no edge");
                prop_assert_eq!(other.to_string(), one.to_string());
            }
            _ => prop_assert!(false, "the number of threads decides"),
        }
    }
}
