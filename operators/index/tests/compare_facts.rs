//! Tests of `compare-facts`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::fs;

use common::{counts, rows};
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_index::{CompareFacts, Extract, IngestDocuments};
use serde_json::{Value, json};

/// Compares what two programs extracted. Facts are given by title.
fn compare(first: &Value, second: &Value) -> Local {
    let dir = tempfile::tempdir().unwrap().keep();
    let corpus = json!({"A": "One.", "B": "Two.", "C": "Three.", "D": "Four."});
    fs::write(dir.join("corpus.json"), corpus.to_string()).unwrap();
    let given = json!({"path": dir.join("corpus.json")});
    let read = local::run::<IngestDocuments>(&dir.join("d"), &given, [].into()).unwrap();
    let documents = vec![read.port("documents").clone()];
    let mut inputs = vec![("documents".to_owned(), documents.clone())];
    for (port, facts) in [("first", first), ("second", second)] {
        let facts = facts.as_object().unwrap().iter();
        let records =
            facts.map(|(title, facts)| json!({"title": title, "extracted_triples": facts}));
        let path = dir.join(format!("{port}.json"));
        fs::write(&path, Value::from_iter(records).to_string()).unwrap();
        let params = json!({"by": "file", "path": path});
        let documents = [("documents".to_owned(), documents.clone())];
        let got = local::run::<Extract>(&dir.join(port), &params, documents.into()).unwrap();
        inputs.push((port.to_owned(), vec![got.port("facts").clone()]));
    }
    local::run::<CompareFacts>(&dir.join("c"), &json!({}), inputs.into_iter().collect()).unwrap()
}

const COLUMNS: [&str; 6] = [
    "document", "title", "system", "subject", "relation", "object",
];

#[test]
fn facts_are_the_same_if_they_relate_the_same_things() {
    let first = json!({
        "A": [["Ada  Alder", "was born in", "Lowmere"], ["Ada Alder", "has", "Bo"],
              ["…", "is", "Bo"]],
        "B": [["Orr", "is", "river"], ["Orr", "passes", "Lowmere"], ["Orr", "runs by", "Lowmere"]],
    });
    let second = json!({
        "A": [["lowmere", "is the birthplace of", "ADA ALDER"], ["…", "are", "bo"]],
        // In another document, the same pair is another statement.
        "B": [["Ada Alder", "has", "Bo"], ["Orr", "was", "River"]],
        "C": [["Ada Alder", "likes", "Bo"]],
    });
    let got = compare(&first, &second);
    assert_eq!(
        rows(&got, "differences", "fact_differences", &COLUMNS),
        [
            "0 | A | first | Ada Alder | has | Bo",
            "1 | B | first | Orr | passes | Lowmere",
            "1 | B | first | Orr | runs by | Lowmere",
            "1 | B | second | Ada Alder | has | Bo",
            "2 | C | second | Ada Alder | likes | Bo",
        ]
    );
    assert_eq!(
        counts(&got),
        [
            "documents | 4",
            "facts_of_first | 6",
            "facts_of_second | 5",
            "pairs_in_both | 3",
            "pairs_only_in_first | 2",
            "pairs_only_in_second | 2",
            "documents_in_both | 2",
            "documents_only_in_first | 0",
            "documents_only_in_second | 1",
        ]
    );
    assert!(
        got.messages
            .iter()
            .any(|(_, text)| text.starts_with("3 pairs of things"))
    );
    // The other way round, the numbers change places.
    let turned = compare(&second, &first);
    let count = |name: &str| counts(&turned).iter().any(|count| count == name);
    assert!(count("pairs_only_in_first | 2") && count("documents_only_in_first | 1"));
}

#[test]
fn two_equal_extractions_have_no_difference() {
    let facts = json!({"A": [["a", "b", "c"], ["a", "b", "c"]], "D": [["x", "y", "x"]]});
    let got = compare(&facts, &facts);
    assert!(rows(&got, "differences", "fact_differences", &COLUMNS).is_empty());
    let counts = counts(&got);
    assert!(
        counts.contains(&"pairs_in_both | 2".to_owned()),
        "{counts:?}"
    );
    let none = compare(&json!({}), &facts);
    assert_eq!(
        rows(&none, "differences", "fact_differences", &COLUMNS).len(),
        3
    );
}
