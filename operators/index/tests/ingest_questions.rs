//! Tests of `ingest-questions` on files of every format.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{counts, rows};
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{OpEntry, OpResult};
use gfm_pipe_index::{IngestDocuments, IngestQuestions};
use proptest::prelude::*;
use serde_json::{Value, json};

const QUESTIONS: &[&str] = &[
    "id",
    "question",
    "answer",
    "supporting_documents",
    "gold_titles",
    "askable",
    "hops",
    "groups",
];
const REJECTS: &[&str] = &["source", "line", "item", "reason", "text"];

/// Ingests documents from a JSON file, then questions about them from some files.
fn ask(documents: &Value, files: &[(&str, &[u8])], params: Value) -> OpResult<Local> {
    let dir = tempfile::tempdir().unwrap().keep();
    fs::write(dir.join("corpus.json"), documents.to_string()).unwrap();
    let given = json!({"path": dir.join("corpus.json"), "split": "paragraphs"});
    let read = local::run::<IngestDocuments>(&dir.join("d"), &given, BTreeMap::new())?;
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).unwrap();
    }
    let mut full = json!({"dataset": "toy"});
    for (name, value) in params.as_object().unwrap() {
        full[name] = match (name.as_str(), value) {
            ("train" | "valid" | "test", Value::String(file)) => json!(dir.join(file)),
            (_, value) => value.clone(),
        };
    }
    let inputs =
        ["documents", "sources"].map(|port| (port.to_owned(), vec![read.port(port).clone()]));
    local::run::<IngestQuestions>(&dir.join("q"), &full, inputs.into())
}

fn towns() -> Value {
    json!([
        {"title": "Paris (France)", "text": "First.\n\nSecond."},
        {"title": "Sel", "text": "A river."},
        {"title": "Sel", "text": "Another."},
        {"title": "Orr", "text": "A third."},
    ])
}

#[test]
fn questions_are_tied_to_the_first_piece_of_their_documents() {
    let train = r#"[
      {"id": "a", "question": "Which?", "answer": "x", "answer_aliases": ["y", "x"], "supporting_facts": ["Orr", "paris_(france)", "Orr"],
       "hops": 2, "type": "bridge", "group": ["g", "g"]},
      {"_id": 7, "question": "And?", "supporting_facts": [["Orr", 0], ["Sel", 2]], "supporting_documents": [{"title": "Nil"}, 3]},
      {"id": "a", "question": "Again?"},
      {"id": "b", "question": " "},
      {"id": [1], "question": "x"},
      {"question": "No id?", "answer": ["p", 1984, null], "hops": "2.5", "type": 3, "question": "Last?"},
      "text"
    ]"#;
    let got = ask(
        &towns(),
        &[("train.json", train.as_bytes())],
        json!({"train": "train.json"}),
    )
    .unwrap();
    assert_eq!(
        rows(&got, "train", "questions", QUESTIONS),
        [
            "a | Which? | x | [4, 0] | 2 | false | 2 | [type=bridge, g]",
            "7 | And? |  | [4, 2] | 3 | false |  | []",
            "train-6 | Last? | p | [] | 0 | false |  | []",
        ]
    );
    assert_eq!(
        rows(
            &got,
            "train",
            "info",
            &["dataset", "split", "questions", "not_askable"]
        ),
        ["toy | train | 3 | 3"]
    );
    assert!(rows(&got, "test", "questions", QUESTIONS).is_empty());
    assert_eq!(
        rows(&got, "answers", "answers", &["split", "question", "answer"]),
        [
            "train | a | x",
            "train | a | y",
            "train | train-6 | p",
            "train | train-6 | 1984"
        ]
    );
    assert_eq!(
        rows(&got, "rejects", "rejects", REJECTS),
        [
            "train.json | 4 | 7 | `supporting_documents` has a number where a title belongs | 3",
            "train.json | 4 | 7 | other documents have this title in their files, too (Sel (2)): taken as the one that kept it | Sel",
            "train.json | 4 | 7 | gold title not in the corpus | Nil",
            "train.json | 5 | a | another question has this id: the first is kept | Again?",
            "train.json | 6 | b | no usable `question` text: skipped | {\"id\":\"b\",\"question\":\" \"}",
            "train.json | 7 |  | `id` is a list: skipped | {\"id\":[1],\"question\":\"x\"}",
            "train.json | 8 | train-6 | `question` is given twice: the last counts | No id?",
            "train.json | 8 | train-6 | `answer` has null where a text belongs | null",
            "train.json | 8 | train-6 | `hops` is not a whole number from 0 to 4294967295 | 2.5",
            "train.json | 8 | train-6 | `type` is a number, not a text | 3",
            "train.json | 9 |  | the record is a text, not an object | text",
        ]
    );
    assert_eq!(
        rows(
            &got,
            "places",
            "places",
            &["table", "row", "source", "line"]
        ),
        [
            "train | 0 | train.json | 2",
            "train | 1 | train.json | 4",
            "train | 2 | train.json | 8"
        ]
    );
    let counts = counts(&got);
    for count in [
        "train.questions | 3",
        "train.without_gold_document | 1",
        "train.unknown_gold_titles | 1",
        "test.questions | 0",
        "gold_titles_tied_by_spelling | 1",
        "ids_made | 1",
        "rejected | 11",
    ] {
        assert!(counts.contains(&count.to_owned()), "{count}: {counts:?}");
    }
}

#[test]
fn csv_and_json_lines_say_the_same() {
    let lines = "{\"id\": \"1\", \"question\": \"Q?\", \"answer\": \"a\", \"answer_aliases\": [\"b\", \"c\"], \"supporting_facts\": [\"Orr\", \"Paris (France)\"], \"hops\": 2}\n\
                 {\"id\": \"2\", \"question\": \"R?\", \"supporting_facts\": \"Orr\"}\n";
    let csv = "id;question;answer;answer_aliases;supporting_facts;hops\n1;Q?;a;b | c;\"[\"\"Orr\"\", \"\"Paris (France)\"\"]\";2\n2;R?;;;Orr;\n";
    let files = [("q.jsonl", lines.as_bytes()), ("q.csv", csv.as_bytes())];
    let got = ask(
        &towns(),
        &files,
        json!({"train": "q.jsonl", "test": "q.csv"}),
    )
    .unwrap();
    let train = rows(&got, "train", "questions", QUESTIONS);
    assert_eq!(
        train,
        [
            "1 | Q? | a | [4, 0] | 2 | false | 2 | []",
            "2 | R? |  | [4] | 1 | false |  | []"
        ]
    );
    assert_eq!(rows(&got, "test", "questions", QUESTIONS), train);
    let answers = rows(&got, "answers", "answers", &["question", "answer"]);
    assert_eq!(
        answers,
        ["1 | a", "1 | b", "1 | c", "1 | a", "1 | b", "1 | c"]
    );
    assert!(rows(&got, "rejects", "rejects", REJECTS).is_empty());
}

#[test]
fn folds_divide_all_questions_once() {
    let question = |id: String| json!({"id": id, "question": "Q?"});
    let train: Vec<Value> = (0..10)
        .flat_map(|i| [question(format!("q{i}")), question(format!("sub_q{i}_0"))])
        .collect();
    let test: Vec<Value> = (8..14).map(|i| question(format!("q{i}"))).collect();
    let (train, test) = (json!(train).to_string(), json!(test).to_string());
    let files = [
        ("train.json", train.as_bytes()),
        ("test.json", test.as_bytes()),
    ];
    let mut tested = Vec::new();
    for fold in 0..3 {
        let folds = json!({"k": 3, "fold": fold, "valid": true});
        let got = ask(
            &towns(),
            &files,
            json!({"train": "train.json", "test": "test.json", "folds": folds}),
        )
        .unwrap();
        let ids = |split| rows(&got, split, "questions", &["id"]);
        let (train, valid, test) = (ids("train"), ids("valid"), ids("test"));
        assert_eq!(train.len() + valid.len() + test.len(), 24);
        for part in test.iter().filter(|id| id.starts_with("sub_")) {
            assert!(test.contains(&part[4..part.len() - 2].to_owned()));
        }
        assert!(!valid.is_empty() && !train.is_empty());
        assert!(
            counts(&got).contains(&"rejected | 2".to_owned()),
            "ids that come twice are found in the pool"
        );
        tested.extend(test);
    }
    tested.sort();
    tested.dedup();
    assert_eq!(tested.len(), 24);
}

#[test]
fn parameters_that_cannot_be_are_refused() {
    let op = OpEntry::of::<IngestQuestions>();
    let of = |params: Value| -> Vec<String> {
        let problems = op.validate(&params).unwrap_err();
        problems.into_iter().map(|p| p.message).collect()
    };
    assert_eq!(of(json!({"dataset": "x"})), ["no questions are given"]);
    let folds = json!({"k": 2, "fold": 2, "valid": true});
    assert_eq!(
        of(json!({"dataset": "x", "test": "q.json", "folds": folds})),
        [
            "there are 2 folds, from 0 to 1",
            "with two folds nothing would be left for training"
        ]
    );
}

#[test]
fn a_key_knows_which_files_are_of_which_split() {
    let op = OpEntry::of::<IngestQuestions>();
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.json", "b.json", "c.json"] {
        fs::write(dir.path().join(name), "[]").unwrap();
    }
    let of = |train: &str, test: &str| {
        let params = op
            .validate(&json!({"dataset": "x", "train": train, "test": test}))
            .unwrap();
        assert_eq!(op.files(&params, dir.path()).unwrap().len(), 3);
        op.fingerprint(&params, dir.path()).unwrap().unwrap()
    };
    assert_ne!(of("[ab].json", "c.json"), of("a.json", "[bc].json"));
    let missing = op
        .validate(&json!({"dataset": "x", "test": "none.json"}))
        .unwrap();
    let files = op.files(&missing, Path::new("")).unwrap();
    assert_eq!(
        files[0].absent.as_ref().unwrap().why,
        "there is no such file or folder"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            "(\\[|\\{|\\}|\\]|,|:|\"id\"|\"question\"|\"supporting_facts\"|\"hops\"|\"a\"|1|null|\n){0,24}".prop_map(String::into_bytes),
            "id,question,supporting_facts\n([a,|\"\n\\[\\]]{0,30})".prop_map(String::into_bytes),
        ],
        name in prop::sample::select(vec!["q.json", "q.jsonl", "q.csv"]),
    ) {
        let got = ask(&towns(), &[(name, &bytes)], json!({"test": name})).unwrap();
        let questions = rows(&got, "test", "questions", QUESTIONS);
        let count = format!("test.questions | {}", questions.len());
        prop_assert!(counts(&got).contains(&count));
    }
}
