//! Tests of `link-questions` on a small corpus: what each source finds, and which inputs are
//! refused because they do not belong together.
#![cfg(feature = "english")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;
#[path = "common/linking.rs"]
mod linking;

use common::{counts, rows};
use gfm_pipe_api::columns;
use linking::{all, link, starts, without};
use serde_json::{Value, json};

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
    let params = entry.validate(&json!({})).unwrap();
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
