//! Graphs of GFM-RAG 2.0 are read as its package reads them: ids, edges, texts to embed, starts and
//! targets (tests/parity2/graph_files, made with the package); where it has faults, as they were
//! mended.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use common::{rejects, texts};
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{OpResult, columns};
use gfm_pipe_kg::IngestGraph;
use serde_json::{Value, json};

/// A question of `tricky` with a text in place of a list.
const LETTERS: &str = "q4";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity2/graph_files")
}

fn case() -> Value {
    serde_json::from_slice(&fs::read(folder().join("case.json")).unwrap()).unwrap()
}

fn ingest(root: &Path) -> OpResult<Local> {
    ingest_only(root, None)
}

/// Only the nodes of a type.
fn ingest_only(root: &Path, target_type: Option<&str>) -> OpResult<Local> {
    let dir = tempfile::tempdir().unwrap().keep();
    let params = json!({"root": root, "dataset": "toy", "target_type": target_type});
    local::run::<IngestGraph>(&dir, &params, BTreeMap::new())
}

fn of(case: &Value, name: &str) -> (Local, Value) {
    let local = ingest(&folder().join("datasets").join(name)).unwrap();
    (local, case["expected"][name]["GraphIndexDataset"].clone())
}

/// Names with their ids, in order, as the goldens have them.
fn ids(local: &Local, port: &str) -> Vec<(String, usize)> {
    texts(local.port(port), port, "name")
        .into_iter()
        .zip(0..)
        .collect()
}

fn expected_ids(of: &Value) -> Vec<(String, usize)> {
    serde_json::from_value(of.clone()).unwrap()
}

/// Direct edges, then their inverses.
fn edges(local: &Local) -> Vec<[usize; 3]> {
    let relations = texts(local.port("relations"), "relations", "name").len() / 2;
    let table = local.port("triples").read("triples").unwrap();
    let column = |name| columns::u32s(&table, name).unwrap().values().to_vec();
    let (heads, of, tails) = (column("head"), column("relation"), column("tail"));
    let direct = (0..heads.len()).map(|i| [heads[i], of[i], tails[i]].map(|id| id as usize));
    let direct: Vec<[usize; 3]> = direct.collect();
    let inverse = direct.iter().map(|[h, r, t]| [*t, r + relations, *h]);
    direct.iter().copied().chain(inverse).collect()
}

fn list(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

/// What every sound data set must give.
fn check_graph(local: &Local, want: &Value) {
    assert_eq!(
        ids(local, "entities"),
        expected_ids(&want["node2id_in_order"])
    );
    let relations = texts(local.port("relations"), "relations", "name");
    assert_eq!(
        relations.len() as u64,
        want["num_relations_with_inverse"].as_u64().unwrap()
    );
    let got: Value = json!(edges(local));
    assert_eq!(got, want["edges_head_relation_tail"]);
    let types = texts(local.port("nodes"), "nodes", "type");
    let names = list(&want["node_type_names"]);
    let numbers: Vec<usize> = serde_json::from_value(want["node_type"].clone()).unwrap();
    let wanted: Vec<&String> = numbers.iter().map(|n| &names[*n]).collect();
    assert_eq!(types.iter().collect::<Vec<_>>(), wanted);
}

fn check_texts(local: &Local, want: &Value) {
    assert_eq!(
        texts(local.port("node_texts"), "texts", "text"),
        list(&want["node_texts"])
    );
    let both = [&want["relation_texts"], &want["inverse_relation_texts"]];
    let both: Vec<String> = both.iter().flat_map(|all| list(all)).collect();
    assert_eq!(texts(local.port("relation_texts"), "texts", "text"), both);
}

/// Questions with the nodes that a port gives them.
fn nodes_of(local: &Local, split: &str, what: &str, table: &str) -> BTreeMap<String, Vec<u32>> {
    let ids = texts(local.port(split), "questions", "id");
    let table = local.port(&format!("{split}_{what}")).read(table).unwrap();
    let questions = columns::u32s(&table, "question").unwrap();
    let nodes = columns::u32s(&table, "node").unwrap();
    let mut out: BTreeMap<String, Vec<u32>> = ids.iter().map(|id| (id.clone(), vec![])).collect();
    for (question, node) in questions.values().iter().zip(nodes.values()) {
        out.get_mut(&ids[*question as usize]).unwrap().push(*node);
    }
    out
}

/// The questions that the package keeps have its starts and targets; the others are kept as well.
fn check_questions(local: &Local, split: &str, want: &Value) {
    let starts = nodes_of(local, split, "starts", "starts");
    let targets = nodes_of(local, split, "targets", "targets");
    for question in want.as_array().unwrap() {
        let id = match &question["id"] {
            Value::String(id) => id.clone(),
            other => other.to_string(),
        };
        assert_eq!(json!(starts[&id]), question["start"], "{id}");
        // The package reads a text in place of a list letter by letter.
        if id != LETTERS {
            assert_eq!(json!(targets[&id]), question["target"], "{id}");
        }
    }
}

#[test]
fn parity2_graph_files() {
    let case = case();
    for name in ["tricky", "bom", "crlf"] {
        let (local, want) = of(&case, name);
        check_graph(&local, &want);
        check_texts(&local, &want);
        for split in ["train", "test"] {
            if want.get(split).is_some() {
                check_questions(&local, split, &want[split]);
            }
        }
    }
    let (local, want) = of(&case, "tricky");
    // What the package warns of is in the rejects.
    let skipped = list(&want["skipped"]);
    let skipped = skipped.iter().filter(|s| s.contains("edge")).count();
    let all = rejects(&local);
    let edges = all
        .iter()
        .filter(|r| r.contains("of the edge is not"))
        .count();
    assert_eq!(edges, skipped, "{all:#?}");
    let asked = texts(local.port("train"), "questions", "question");
    let asked_test = texts(local.port("test"), "questions", "question");
    for text in list(&want["question_texts"]) {
        assert!(
            asked.contains(&text) || asked_test.contains(&text),
            "{text:?}"
        );
    }
}

#[test]
fn parity2_graph_files_mended() {
    let case = case();
    // A node is called by its `uid`, but embedded with its name.
    let (local, want) = of(&case, "uid");
    check_graph(&local, &want);
    check_questions(&local, "train", &want["train"]);
    assert_eq!(
        texts(local.port("labels"), "labels", "label"),
        ["Mercury", "Mercury", "Doc A", "Doc A"]
    );
    let node_texts = texts(local.port("node_texts"), "texts", "text");
    assert_eq!(node_texts[0], "name: Mercury\ntype: entity\nkind: planet");
    assert_eq!(node_texts[3], "name: Doc A\ntype: document\ncontent: c");
    let relation_texts = texts(local.port("relation_texts"), "texts", "text");
    assert_eq!(
        relation_texts,
        [
            "name: orbits",
            "name: mentioned\nd: 1",
            "name: inverse_orbits",
            "name: inverse_mentioned\nd: 1",
        ]
    );
    // Every name is a text, and stays as it is written.
    for (name, names, edges_want) in [
        (
            "numeric_names",
            &["1.0", "2.50", "1e3"][..],
            json!([[0, 0, 1], [0, 0, 2], [1, 1, 0], [2, 1, 0]]),
        ),
        (
            "boolean_names",
            &["True", "False"],
            json!([[0, 0, 1], [1, 1, 0]]),
        ),
        // `7` is not the node `007`.
        (
            "uid_integers",
            &["007", "10", "2"],
            json!([[0, 0, 1], [1, 1, 0]]),
        ),
    ] {
        let (local, _) = of(&case, name);
        assert_eq!(
            texts(local.port("entities"), "entities", "name"),
            names,
            "{name}"
        );
        assert_eq!(json!(edges(&local)), edges_want, "{name}");
    }
}

/// With a target type, only its nodes are in the graph, as in the package's `GraphIndexDatasetV1`,
/// which however keeps the ids of the other nodes.
#[test]
fn parity2_graph_files_of_one_type() {
    let case = case();
    let root = folder().join("datasets/tricky");
    let local = ingest_only(&root, Some("entity")).unwrap();
    let class = "GraphIndexDatasetV1, target_type=entity, use_node_feat=False";
    let want = &case["expected"]["tricky"][class];
    let all: Vec<String> = expected_ids(&want["node2id_in_order"])
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let rows: Vec<usize> = serde_json::from_value(want["nodes_by_type"]["entity"].clone()).unwrap();
    let names = texts(local.port("entities"), "entities", "name");
    let of_type: Vec<&String> = rows.iter().map(|row| &all[*row]).collect();
    assert_eq!(names.iter().collect::<Vec<_>>(), of_type);
    let id = |row: usize| rows.iter().position(|r| *r == row);
    let between = |edges: &Value| -> Vec<[usize; 3]> {
        let edges: Vec<[usize; 3]> = serde_json::from_value(edges.clone()).unwrap();
        let edges = edges.into_iter();
        edges
            .filter_map(|[h, r, t]| Some([id(h)?, r, id(t)?]))
            .collect()
    };
    // Only relations between such nodes are in the graph.
    let all_relations = list(&want["relation_texts"]).len();
    let typed = &case["expected"]["tricky"]["GraphIndexDataset"];
    let edges_of_type = between(&typed["edges_head_relation_tail"]);
    let used = edges_of_type.iter().map(|edge| edge[1] % all_relations);
    let used: Vec<usize> = BTreeSet::from_iter(used).into_iter().collect();
    assert!(used.len() < all_relations);
    let renumbered = |[h, r, t]: [usize; 3]| {
        let at = used.iter().position(|u| *u == r % all_relations).unwrap();
        let inverse = if r < all_relations { 0 } else { used.len() };
        [h, at + inverse, t]
    };
    let to_ids =
        |edges: &Value| -> Vec<[usize; 3]> { between(edges).into_iter().map(renumbered).collect() };
    // Its own edges lack those of nodes that are called `null` or `NA`.
    let got = edges(&local);
    assert_eq!(got, to_ids(&typed["edges_head_relation_tail"]));
    let published = to_ids(&want["edges_head_relation_tail"]);
    assert!(!published.is_empty() && published.len() < got.len());
    assert!(published.iter().all(|edge| got.contains(edge)));
    // Relations are embedded by their names alone.
    let both = [&want["relation_texts"], &want["inverse_relation_texts"]];
    let used = |all: &Value| -> Vec<String> {
        let all = list(all);
        used.iter().map(|r| all[*r].clone()).collect()
    };
    let both: Vec<String> = both.iter().flat_map(|all| used(all)).collect();
    assert_eq!(texts(local.port("relations"), "relations", "name"), both);
    // `plain` twice, which is a link once, and `null`.
    let links = local.port("links").read("links").unwrap();
    let column = |name| columns::u32s(&links, name).unwrap().values().to_vec();
    assert_eq!(column("document"), [0, 0]);
    assert_eq!(column("entity"), [0, 5]);
    let titles = texts(local.port("documents"), "documents", "title");
    assert_eq!(titles, ["Doc A", "Doc B", "Doc C"]);
    for split in ["train", "test"] {
        let starts = nodes_of(&local, split, "starts", "starts");
        for question in want[split].as_array().unwrap() {
            let nodes: Vec<usize> = serde_json::from_value(question["start"].clone()).unwrap();
            let nodes: Vec<u32> = nodes.into_iter().filter_map(id).map(|n| n as u32).collect();
            assert_eq!(starts[question["id"].as_str().unwrap()], nodes);
        }
    }
    let none = ingest_only(&root, Some("Entity"))
        .err()
        .unwrap()
        .to_string();
    assert!(none.contains("no node has the type `Entity`"), "{none}");
}

/// Writes the files of one of the golden's variants. `None` where it cannot be written like this.
fn write(variant: &Value, root: &Path) {
    let stage1 = root.join("processed/stage1");
    fs::create_dir_all(&stage1).unwrap();
    for name in ["nodes", "relations", "edges"] {
        if let Some(text) = variant["files"][name].as_str() {
            let latin1 = variant["note"]
                .as_str()
                .is_some_and(|n| n.contains("latin-1"))
                && name == "nodes";
            let bytes = if latin1 {
                text.chars().map(|c| c as u8).collect()
            } else {
                text.as_bytes().to_vec()
            };
            fs::write(stage1.join(format!("{name}.csv")), bytes).unwrap();
        }
    }
    for split in ["train", "test"] {
        if !variant["files"][split].is_null() {
            let text = variant["files"][split].to_string();
            fs::write(stage1.join(format!("{split}.json")), text).unwrap();
        }
    }
}

/// One change each to a small sound data set. Only what leaves no graph at all is an error, which
/// names the file; everything else is kept, with what could not be used in the rejects.
#[test]
fn parity2_graph_files_errors() {
    let case = case();
    let mut seen = 0;
    for (name, variant) in case["errors"].as_object().unwrap() {
        if variant.get("files").is_none() {
            continue;
        }
        seen += 1;
        let dir = tempfile::tempdir().unwrap();
        write(variant, dir.path());
        let result = ingest(dir.path());
        let error = result
            .as_ref()
            .err()
            .map(ToString::to_string)
            .unwrap_or_default();
        let fails = match name.as_str() {
            "no nodes.csv" | "no edges.csv" | "no relations.csv" => "there is no such file",
            "neither uid nor name" => "there is no column `name`",
            "nodes without type column" => "there is no column `type`",
            "not UTF-8" => "the file is not UTF-8",
            _ => "",
        };
        assert_eq!(error.is_empty(), fails.is_empty(), "{name}: {error}");
        assert!(error.contains(fails), "{name}: {error}");
        let Ok(local) = result else {
            continue;
        };
        let all = rejects(&local);
        let wanted = match name.as_str() {
            "duplicate node name" | "duplicate relation name" | "duplicate uid" => {
                "the first is kept"
            }
            "attributes a non-empty list" => "a list instead of names",
            "attributes a number" => "a number instead of names",
            "attributes not Python" => "expected a value",
            "row with a field too many" => "the record has 4 cells, the header 3",
            "every row with a field too many" => "the record has 4 cells, the header 3",
            "unclosed quote" => "a quote is not closed",
            "question without start_nodes" => "missing `start_nodes`",
            "question without target_nodes" => "missing `target_nodes`",
            "question without id" => "no usable `id`",
            "start_nodes a list" => "`start_nodes` is a list, not names by type",
            "duplicate question ids" => "another question has this id",
            _ => "",
        };
        assert!(
            all.iter().any(|r| r.contains(wanted)) || wanted.is_empty(),
            "{name}: {all:#?}"
        );
        // What is not a change for the worse leaves nothing behind.
        let sound = [
            "sound",
            "blank line in nodes",
            "attributes None",
            "empty attributes field in nodes",
            "attributes with JSON null",
            "attributes with JSON true",
            "nodes without attributes column",
            "integer relation names",
            "no train.json and test.json",
        ];
        if sound.contains(&name.as_str()) {
            assert!(all.is_empty(), "{name}: {all:#?}");
        }
    }
    assert!(seen > 30, "{seen}");
}
