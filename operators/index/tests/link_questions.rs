//! Tests of `link-questions` on a small corpus: what each source finds, and which inputs are
//! refused because they do not belong together.
#![cfg(feature = "english")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, UInt32Array, UInt64Array};
use common::{counts, rows};
use gfm_pipe_api::artifact::texts_digest;
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{Artifact, OpResult, columns, kinds};
use gfm_pipe_index::{BuildKg, Extract, IngestDocuments, IngestQuestions, LinkQuestions};
use serde_json::{Value, json};

type Inputs = BTreeMap<String, Vec<Artifact>>;

/// Length of a vector.
const WIDTH: usize = 64;

/// Makes embeddings from the words of texts: vectors are similar when texts share words.
fn embed(dir: &Path, of: &Artifact) -> Artifact {
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

fn folder() -> PathBuf {
    tempfile::tempdir().unwrap().keep()
}

/// A corpus with its graph and questions: everything that can be connected.
fn all(split: &str, questions: &Value) -> Inputs {
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

fn without(mut inputs: Inputs, ports: &[&str]) -> Inputs {
    inputs.retain(|port, _| !ports.contains(&port.as_str()));
    inputs
}

fn link(inputs: &Inputs, params: &Value) -> OpResult<Local> {
    local::run::<LinkQuestions>(&folder(), params, inputs.clone())
}

/// Starts as texts (question, source, name of the node, text), and their weights.
fn starts(linked: &Local, inputs: &Inputs) -> (Vec<String>, Vec<f64>) {
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

fn questions() -> Value {
    json!([
        {"id": "a", "question": "Which money is used where Hosea Kutako Airport stands?",
         "supporting_facts": ["Hosea Kutako Airport", "Namibia"], "hops": 2},
        {"id": "b", "question": "what lies in northern europe",
         "supporting_facts": ["Norway"], "hops": 1},
        {"id": "c", "question": "Wozu dient das?"},
    ])
}

#[test]
fn questions_start_at_what_they_name() {
    let inputs = all("none", &questions());
    let texts_only = without(
        inputs.clone(),
        &[
            "train_embeddings",
            "corpus_embeddings",
            "fact_embeddings",
            "sentence_embeddings",
            "train_mentions",
            "train_mention_embeddings",
            "entity_embeddings",
        ],
    );
    let linked = link(&texts_only, &json!({"weights": {"word": 0}})).unwrap();
    let (rows_of, weights) = starts(&linked, &inputs);
    assert_eq!(
        rows_of,
        [
            "0 | title | Hosea Kutako Airport | Hosea Kutako Airport",
            "0 | entity | hosea kutako airport | Hosea Kutako Airport",
            "1 | entity | northern europe | northern europe",
        ]
    );
    assert_eq!(weights, [1.0; 3]);
    let questions = rows(
        &linked,
        "train",
        "questions",
        &["id", "supporting_documents", "askable", "hops"],
    );
    assert_eq!(
        questions,
        [
            "a | [0, 1] | true | 2",
            "b | [3] | true | 1",
            "c | [] | false | "
        ]
    );
    assert_eq!(
        rows(&linked, "train", "info", &["questions", "not_askable"]),
        ["3 | 1"]
    );
    // The entities of gold documents are the nodes that they are linked to, including their own
    // nodes.
    let table = linked.port("train").read("questions").unwrap();
    let supporting = columns::list_u32(&table, "supporting_entities").unwrap();
    let links = inputs["links"][0].read("links").unwrap();
    let (d, e) = (
        columns::u32s(&links, "document").unwrap(),
        columns::u32s(&links, "entity").unwrap(),
    );
    let pairs = d.values().iter().zip(e.values());
    let mut want: Vec<u32> = pairs.filter(|(d, _)| **d < 2).map(|(_, e)| *e).collect();
    want.sort_unstable();
    want.dedup();
    assert_eq!(supporting[0], want);
    assert!(supporting[2].is_empty());
    let counts = counts(&linked);
    for count in [
        "questions | 3",
        "questions_without_start | 1",
        "starts_by_title | 1",
        "questions_without_entity | 1",
        "gold_documents | 3",
        "gold_documents_without_start | 1",
    ] {
        assert!(counts.contains(&count.to_owned()), "{count}: {counts:?}");
    }
    // The other splits are written, but empty.
    assert!(rows(&linked, "test", "questions", &["id"]).is_empty());
    assert_eq!(rows(&linked, "test_starts", "info", &["questions"]), ["0"]);
}

#[test]
fn every_source_gives_its_weight_and_says_why() {
    let inputs = all("none", &questions());
    let params = json!({"weights": {"fact": 0.25, "document": 2}, "documents": 2});
    let linked = link(&inputs, &params).unwrap();
    let (rows_of, weights) = starts(&linked, &inputs);
    let sum = |source: &str| -> f64 {
        let prefix = format!("0 | {source} | ");
        let rows = rows_of.iter().zip(&weights);
        rows.filter(|(row, _)| row.starts_with(&prefix))
            .map(|(_, weight)| weight)
            .sum()
    };
    for (source, weight) in [
        ("title", 1.0),
        ("entity", 1.0),
        ("fact", 0.25),
        ("sentence", 0.6),
        ("document", 2.0),
        ("word", 0.1),
    ] {
        assert!(
            (sum(source) - weight).abs() < 1e-9,
            "{source} {}",
            sum(source)
        );
    }
    let has = |row: &str| assert!(rows_of.contains(&row.to_owned()), "{row}: {rows_of:?}");
    has("0 | fact | windhoek | Hosea Kutako Airport serves Windhoek");
    has("0 | sentence | namibia | Hosea Kutako Airport: It stands in Namibia.");
    has("0 | word | Hosea Kutako Airport | Hosea Kutako Airport");
    has("0 | document | Hosea Kutako Airport | Hosea Kutako Airport");
    // Running again returns the same.
    let again = link(&inputs, &params).unwrap();
    for port in ["train", "train_starts", "counts"] {
        assert_eq!(linked.port(port).digest(), again.port(port).digest());
    }
    // A source whose weight is 0 finds nothing.
    let none = json!({"weights": {"title": 0, "entity": 0, "fact": 0, "document": 0, "word": 0}});
    let (rows_of, _) = starts(&link(&inputs, &none).unwrap(), &inputs);
    assert!(!rows_of.is_empty() && rows_of.iter().all(|row| row.contains("| sentence |")));
}

#[test]
fn names_in_other_words_are_found_by_embedding() {
    let asked = json!([
        {"id": "a", "question": "Which money does the Kutako Hosea Airport take?"},
        {"id": "b", "question": "What happened in 1994 with the money of Zimbabwe?"},
    ]);
    let inputs = all("none", &asked);
    let by = |similarity: f64| {
        let weights = json!({"title": 0, "fact": 0, "sentence": 0, "document": 0, "word": 0});
        let params = json!({"similarity": similarity, "weights": weights});
        starts(&link(&inputs, &params).unwrap(), &inputs).0
    };
    let found = by(0.8);
    assert!(
        found
            .iter()
            .any(|row| row.starts_with("0 | entity | hosea kutako airport | ")),
        "{found:?}"
    );
    // 1993 is never taken for 1994, however similar the vectors are, and Zimbabwe is similar to
    // nothing here.
    assert!(by(-1.0).iter().all(|row| !row.contains("| 1993 |")));
    assert!(found.iter().all(|row| row.starts_with('0')), "{found:?}");
}

#[test]
fn documents_without_nodes_start_at_their_entities_and_pieces_are_one() {
    let mut inputs = all("paragraphs", &questions());
    let nodes = inputs.remove("nodes").unwrap();
    let only =
        json!({"weights": {"entity": 0, "fact": 0, "sentence": 0, "document": 0, "word": 0}});
    let (rows_of, weights) = starts(&link(&inputs, &only).unwrap(), &inputs);
    // The first piece stands for the document; its own node is one of its links.
    assert!(rows_of.contains(&"0 | title | windhoek | Hosea Kutako Airport".to_owned()));
    assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    inputs.insert("nodes".to_owned(), nodes);
    let linked = link(&inputs, &only).unwrap();
    assert_eq!(
        starts(&linked, &inputs).0,
        ["0 | title | Hosea Kutako Airport | Hosea Kutako Airport"]
    );
    // Gold entities are those of all pieces.
    let table = linked.port("train").read("questions").unwrap();
    let supporting = columns::list_u32(&table, "supporting_entities").unwrap();
    let names = inputs["entities"][0].read("entities").unwrap();
    let names = columns::text(&names, "name").unwrap();
    let supporting: Vec<&str> = supporting[0]
        .iter()
        .map(|e| names.value(*e as usize))
        .collect();
    for name in ["windhoek", "namibia", "southern africa"] {
        assert!(supporting.contains(&name), "{supporting:?}");
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let inputs = all("none", &questions());
    let swapped = |port: &str, other: &str| {
        let mut inputs = inputs.clone();
        let other = inputs[other].clone();
        inputs.insert(port.to_owned(), other);
        link(&inputs, &json!({})).err().unwrap().to_string()
    };
    let error = swapped("fact_embeddings", "sentence_embeddings");
    assert!(
        error.contains("were not made from `extract.facts`"),
        "{error}"
    );
    let error = swapped("train_embeddings", "corpus_embeddings");
    assert!(
        error.contains("were not made from `ingest-questions.train`"),
        "{error}"
    );
    // Missing ports are reported before anything runs.
    let entry = gfm_pipe_index::operators();
    let entry = entry.iter().find(|o| o.name == "link-questions").unwrap();
    let params = json!({
        "weights": {
            "title": 1, "entity": 1, "partial": 0, "fact": 1, "sentence": 1, "document": 1, "word": 1,
        },
        "facts": 5, "sentences": 5, "documents": 20, "similarity": 0.8,
    });
    for (left_out, want) in [
        (&["train_embeddings"][..], "embeddings of the questions"),
        (&["evidence"], "`evidence` as well"),
        (&["labels"], "`labels` as well"),
        (&["train_mentions"], "go together"),
        (
            &[
                "train",
                "train_embeddings",
                "train_mentions",
                "train_mention_embeddings",
            ],
            "no questions are connected",
        ),
    ] {
        let given = without(inputs.clone(), left_out);
        let connected = given
            .iter()
            .map(|(port, all)| (port.clone(), all.iter().map(|a| a.name.clone()).collect()))
            .collect();
        let problems = entry.check_inputs(&params, &connected);
        let reported: Vec<String> = problems.iter().map(|p| p.message.clone()).collect();
        assert!(
            reported.iter().any(|t| t.contains(want)),
            "{want}: {reported:?}"
        );
    }
}
