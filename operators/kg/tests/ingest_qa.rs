//! `ingest-qa` on a small data set with every kind of dirt.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;

use common::{counts, ids, ingest_bytes, ingest_questions, places, rejects, texts};
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{ErrorKind, Level, OpError, columns};
use gfm_pipe_kg::IngestQa;

const KG: &[u8] = b"a,r,b\nb,s,c\nc,r,d\n";

/// Writes files under a root and ingests them.
fn run(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Local, OpError>) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    for (name, text) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let (_kg, graph) = ingest_bytes(KG).unwrap();
    let local = ingest_questions(&root, graph.port("entities"), &dir.path().join("out"));
    (dir, local)
}

const CORPUS: (&str, &str) = (
    "raw/dataset_corpus.json",
    r#"{"T3": "three",
 "T1": "one", "T2": 7,
 "T1": "one again",

 "Ω": ""}"#,
);
const MENTIONS: (&str, &str) = (
    "processed/stage1/document2entities.json",
    r#"{"T1": ["b", "zzz", "a", "b", 5, "zzz"],
 "Lost": ["c"],
 "T2": "a",
 "T1": ["b", "zzz", "a",
  "b", 5, "zzz"]}"#,
);
const TRAIN: (&str, &str) = (
    "processed/stage1/train.json",
    r#"[
 {"id": "q1", "question": "Who?", "answer": "A", "hops": 2, "type": "x_to_y", "group": ["paraphrase", "g"],
  "question_entities": ["d", "a", "d", "nobody", "nobody"], "supporting_entities": ["c", "ghost"],
  "supporting_facts": ["T3", "T1", "T3", "Nowhere"]},
 {"id": 17, "question": "What?", "hops": "2", "type": 3, "group": "paraphrase", "answer": null,
  "question_entities": ["nobody"], "supporting_entities": [], "supporting_facts": ["Lost", ["T1", 0]]},
 {"id": "q1", "question": "Again?"},
 {"question": "No id"},
 {"id": "q3", "question": "  "},
 "stray",
 {"id": "q4", "question": "Bare", "question": "Bare?", "hops": -1, "question_entities": "a"}
]"#,
);

#[test]
fn documents_come_in_order_with_every_title() {
    let (_dir, local) = run(&[CORPUS, MENTIONS, TRAIN]);
    let local = local.unwrap();
    let documents = local.port("documents");
    assert_eq!(
        texts(documents, "documents", "title"),
        ["T1", "Lost", "T2", "T3", "Ω"]
    );
    assert_eq!(
        texts(documents, "documents", "text"),
        ["one again", "", "", "three", ""]
    );
    let batch = documents.read("documents").unwrap();
    let there: Vec<bool> = columns::bools(&batch, "in_corpus")
        .unwrap()
        .iter()
        .flatten()
        .collect();
    assert_eq!(there, [true, false, true, true, true]);
    assert_eq!(
        ids(documents, "documents", "id"),
        (0..5).map(Some).collect::<Vec<_>>()
    );
    let links = local.port("links");
    assert_eq!(ids(links, "links", "document"), [Some(0), Some(0), Some(1)]);
    // Ids of b, a, c in the graph.
    assert_eq!(ids(links, "links", "entity"), [Some(1), Some(0), Some(2)]);
}

#[test]
fn every_document_and_question_has_its_places() {
    let (_dir, local) = run(&[CORPUS, MENTIONS, TRAIN]);
    let local = local.unwrap();
    let (mentions, corpus, train) = (MENTIONS.0, CORPUS.0, TRAIN.0);
    let want = [
        ("documents", 0, mentions, 4),
        ("documents", 1, mentions, 2),
        ("documents", 2, mentions, 3),
        ("documents", 3, corpus, 1),
        ("documents", 0, corpus, 3),
        ("documents", 2, corpus, 2),
        ("documents", 4, corpus, 5),
        ("train", 0, train, 2),
        ("train", 1, train, 5),
        ("train", 2, train, 11),
    ];
    let want: Vec<String> = want
        .iter()
        .map(|(table, row, source, line)| format!("{table}[{row}] {source}:{line}"))
        .collect();
    assert_eq!(places(&local), want);
}

#[test]
fn questions_are_kept_with_what_is_known() {
    let (_dir, local) = run(&[CORPUS, MENTIONS, TRAIN]);
    let local = local.unwrap();
    let train = local.port("train");
    assert_eq!(texts(train, "questions", "id"), ["q1", "17", "q4"]);
    assert_eq!(
        texts(train, "questions", "question"),
        ["Who?", "What?", "Bare?"]
    );
    assert_eq!(texts(train, "questions", "answer"), ["A", "-", "-"]);
    let batch = train.read("questions").unwrap();
    let list = |name| columns::list_u32(&batch, name).unwrap();
    assert_eq!(list("question_entities"), [vec![3, 0], vec![], vec![]]);
    assert_eq!(list("supporting_entities"), [vec![2], vec![], vec![]]);
    assert_eq!(list("supporting_documents"), [vec![3, 0], vec![1], vec![]]);
    let numbers = |name| {
        columns::u32s(&batch, name)
            .unwrap()
            .iter()
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers("gold_titles"), [Some(3), Some(1), Some(0)]);
    assert_eq!(numbers("hops"), [Some(2), None, None]);
    let askable = columns::bools(&batch, "askable").unwrap();
    assert_eq!(
        askable.iter().flatten().collect::<Vec<_>>(),
        [true, false, false]
    );
    assert_eq!(
        columns::list_text(&batch, "groups").unwrap(),
        [
            vec![
                "type=x_to_y".to_owned(),
                "paraphrase".to_owned(),
                "g".to_owned()
            ],
            vec!["paraphrase".to_owned()],
            vec![]
        ]
    );
    assert_eq!(texts(train, "info", "dataset"), ["toy"]);
    assert_eq!(texts(train, "info", "split"), ["train"]);
    let info = train.read("info").unwrap();
    assert_eq!(columns::u64s(&info, "questions").unwrap().value(0), 3);
    assert_eq!(columns::u64s(&info, "not_askable").unwrap().value(0), 2);
    for empty in ["valid", "test"] {
        assert_eq!(local.port(empty).rows("questions").unwrap(), 0);
        assert_eq!(texts(local.port(empty), "info", "split"), [empty]);
    }
}

#[test]
fn everything_unusable_is_rejected_with_its_reason() {
    let (_dir, local) = run(&[CORPUS, MENTIONS, TRAIN]);
    let local = local.unwrap();
    assert_eq!(
        rejects(&local),
        [
            r#"1|T1|the title is given twice: the last counts|["b","zzz","a","b",5,"zzz"]"#,
            "2|T1|the title is given twice: the last counts|one",
            "2|T2|the document is a number, not a text: kept with an empty text|7",
            "2|Lost|the title is not in dataset_corpus.json: kept with an empty text|Lost",
            "4|T1|entity not in the graph|zzz",
            "4|T1|the list has a number where an entity belongs|5",
            "3|T2|the entities are a text, not a list of texts|a",
            "2|q1|question entity not in the graph|nobody",
            "2|q1|supporting entity not in the graph|ghost",
            "2|q1|gold title not in the corpus|Nowhere",
            r#"5|17|`supporting_facts` has a list where a text belongs|["T1",0]"#,
            "5|17|question entity not in the graph|nobody",
            "5|17|`hops` is no whole number from 0 to 4294967295|2",
            "5|17|`type` is a number, not a text|3",
            r#"7|q1|another question has this id: the first is kept|{"id":"q1","question":"Again?"}"#,
            r#"8|-|item 3 of the list has no usable `id`: skipped|{"question":"No id"}"#,
            r#"9|q3|no usable `question` text: skipped|{"id":"q3","question":"  "}"#,
            "10|-|item 5 of the list is a text, not an object|stray",
            "11|q4|`question` is given twice: the last counts|Bare",
            "11|q4|`question_entities` is a text, not a list of texts|a",
            "11|q4|missing `supporting_entities`|",
            "11|q4|missing `supporting_facts`|",
            "11|q4|`hops` is no whole number from 0 to 4294967295|-1",
        ]
    );
    let counts = counts(&local);
    let got: Vec<u64> = [
        "documents",
        "documents_not_in_corpus",
        "documents_not_in_document2entities",
        "documents_without_entity",
        "links",
        "unknown_document_entities",
        "train.questions",
        "train.not_askable",
        "train.without_gold_document",
        "train.unknown_question_entities",
        "train.unknown_supporting_entities",
        "train.unknown_gold_titles",
        "test.questions",
        "rejected",
    ]
    .iter()
    .map(|n| counts[*n])
    .collect();
    assert_eq!(got, [5, 1, 2, 3, 3, 1, 3, 2, 1, 2, 1, 1, 0, 23]);
    assert_eq!(
        local.messages,
        [
            (
                Level::Warn,
                "train: 2 of 3 questions name no entity of the graph: they are kept and score 0"
                    .to_owned()
            ),
            (
                Level::Warn,
                "23 names or values rejected: see `gfm-pipe show ingest-qa.rejects`".to_owned()
            )
        ]
    );
}

/// The message and the hint of an error, which must be of this kind.
fn failure(kind: ErrorKind, result: Result<Local, OpError>) -> (String, String) {
    match result {
        Err(e) if e.kind() != kind => panic!("{:?}, not {kind:?}: {e}", e.kind()),
        Err(OpError::Failed(f)) => (f.to_string(), f.hint.unwrap_or_default()),
        Err(OpError::Cancelled) => panic!("cancelled"),
        Ok(_) => panic!("no error"),
    }
}

/// Files of a broken data set, how the message ends, what the hint names.
type Broken<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);

#[test]
fn errors_say_where_and_what_to_do() {
    let cases: [Broken<'_>; 5] = [
        (
            &[MENTIONS, TRAIN],
            "data/raw/dataset_corpus.json: there is no such file",
            "dataset_corpus",
        ),
        (
            &[
                CORPUS,
                MENTIONS,
                ("processed/stage1/test.json", "[{\"id\": \"ä\",]"),
            ],
            "processed/stage1/test.json:1:13: not valid JSON: key must be a string",
            "",
        ),
        (
            &[CORPUS, MENTIONS, ("processed/stage1/test.json", "{}")],
            "processed/stage1/test.json: this is an object, not a list",
            "one list of questions",
        ),
        (
            &[("raw/dataset_corpus.json", "[]"), MENTIONS, TRAIN],
            "dataset_corpus.json: this is a list, not an object",
            "{\"title\": \"text\", …}",
        ),
        (
            &[
                ("raw/dataset_corpus.json", "{}"),
                ("processed/stage1/document2entities.json", "{}"),
                TRAIN,
            ],
            "dataset_corpus.json: the corpus has no document",
            "one object",
        ),
    ];
    for (files, message, hint) in cases {
        let (_dir, result) = run(files);
        let missing = message.ends_with("no such file");
        let kind = if missing {
            ErrorKind::User
        } else {
            ErrorKind::Data
        };
        let (got, got_hint) = failure(kind, result);
        assert!(got.ends_with(message), "{got}\nexpected {message}");
        assert!(got_hint.contains(hint), "{got_hint}\nexpected {hint}");
    }
    let (_dir, graph) = ingest_bytes(KG).unwrap();
    let out = tempfile::tempdir().unwrap();
    let result = ingest_questions(Path::new("no/data"), graph.port("entities"), out.path());
    let (message, hint) = failure(ErrorKind::User, result);
    assert_eq!(message, "no/data: there is no such folder");
    assert!(hint.contains("`root`"), "{hint}");
}

#[test]
fn files_in_another_form_say_how_they_become_right() {
    let cases: [Broken<'_>; 3] = [
        (
            &[
                (
                    "raw/dataset_corpus.json",
                    "{\"title\": \"T\", \"text\": \"t\"}\n{\"title\": \"U\"}",
                ),
                MENTIONS,
                TRAIN,
            ],
            "dataset_corpus.json: this is several values one after another (JSON Lines), not an object",
            "jq -s 'map({(.title): .text}) | add' OLD > NEW",
        ),
        (
            &[
                CORPUS,
                (
                    "processed/stage1/document2entities.json",
                    "[{\"title\": \"T\"}]",
                ),
                TRAIN,
            ],
            "document2entities.json: this is a list, not an object",
            "jq 'map({(.title): .entities}) | add' OLD > NEW",
        ),
        (
            &[
                CORPUS,
                MENTIONS,
                ("processed/stage1/test.json", "{\"id\": 1}\n{\"id\": 2,}"),
            ],
            "processed/stage1/test.json:2:10: not valid JSON: trailing comma",
            "",
        ),
    ];
    for (files, message, hint) in cases {
        let (_dir, result) = run(files);
        let (got, got_hint) = failure(ErrorKind::Data, result);
        assert!(got.ends_with(message), "{got}\nexpected {message}");
        assert!(got_hint.contains(hint), "{got_hint}\nexpected {hint}");
    }
}

#[test]
fn questions_may_be_one_a_line() {
    let lines = "{\"id\": \"a\", \"question\": \"A?\", \"question_entities\": [\"a\"]}\r\n\n\
                 {\"id\": \"b\", \"question\": \"B?\"}\nnull\n";
    let one = "\n{\"id\": \"c\", \"question\": \"C?\"}\n";
    let (_dir, local) = run(&[
        CORPUS,
        MENTIONS,
        ("processed/stage1/train.json", lines),
        ("processed/stage1/test.json", one),
    ]);
    let local = local.unwrap();
    assert_eq!(texts(local.port("train"), "questions", "id"), ["a", "b"]);
    assert_eq!(texts(local.port("test"), "questions", "id"), ["c"]);
    let of_questions = |place: &&String| !place.starts_with("documents");
    let places = places(&local);
    assert_eq!(
        places.iter().filter(of_questions).collect::<Vec<_>>(),
        [
            "train[0] processed/stage1/train.json:1",
            "train[1] processed/stage1/train.json:3",
            "test[0] processed/stage1/test.json:2",
        ]
    );
    let rejected = rejects(&local);
    let want = "4|-|item 2 of the list is null, not an object|null";
    assert!(rejected.iter().any(|r| r == want), "{rejected:#?}");
}

#[test]
fn a_graph_of_another_data_set_is_noticed() {
    let mentions = (
        "processed/stage1/document2entities.json",
        r#"{"T": ["elsewhere"]}"#,
    );
    let corpus = ("raw/dataset_corpus.json", r#"{"T": "t"}"#);
    let test = ("processed/stage1/test.json", "[]");
    let (_dir, local) = run(&[corpus, mentions, test]);
    let local = local.unwrap();
    assert!(
        local.messages[0].1.contains("of the same data set?"),
        "{:?}",
        local.messages
    );
    assert_eq!(local.port("links").rows("links").unwrap(), 0);
}

fn said(local: &Local, level: Level, part: &str) -> bool {
    let all = local.messages.iter();
    all.filter(|m| m.0 == level).any(|m| m.1.contains(part))
}

fn rows(local: &Local, port: &str) -> usize {
    local
        .port(port)
        .rows(local.port(port).kind.tables[0].name)
        .unwrap()
}

#[test]
fn a_set_without_questions_has_its_documents_and_links() {
    let (_dir, local) = run(&[CORPUS, MENTIONS]);
    let local = local.unwrap();
    assert_eq!(rows(&local, "documents"), 5);
    assert_eq!(rows(&local, "links"), 3);
    for split in ["train", "valid", "test"] {
        assert_eq!(rows(&local, split), 0);
        assert_eq!(texts(local.port(split), "info", "dataset"), ["toy"]);
    }
    assert!(said(&local, Level::Info, "the data set has no questions"));
}

#[test]
fn a_graph_without_links_of_documents_is_noticed() {
    let (_dir, local) = run(&[CORPUS, TRAIN]);
    let local = local.unwrap();
    assert_eq!(
        texts(local.port("documents"), "documents", "title"),
        ["T3", "T1", "T2", "Ω"]
    );
    assert_eq!(rows(&local, "links"), 0);
    assert!(said(
        &local,
        Level::Warn,
        "there is no processed/stage1/document2entities.json"
    ));
    assert!(!said(&local, Level::Warn, "of the same data set?"));
    let counts = counts(&local);
    assert_eq!(counts["documents_without_entity"], 4);
    assert_eq!(counts["documents_not_in_document2entities"], 4);
}

#[test]
fn without_a_graph_no_name_of_an_entity_is_looked_at() {
    let plain = (
        "processed/stage1/test.json",
        r#"[{"id": "q", "question": "Three?", "supporting_facts": ["T3"]}]"#,
    );
    // A corpus alone, and all files with a graph that is not connected.
    for files in [&[CORPUS, plain][..], &[CORPUS, MENTIONS, TRAIN, plain]] {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join("data").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let params = serde_json::json!({"root": dir.path().join("data"), "dataset": "toy"});
        let out = dir.path().join("out");
        let local = local::run::<IngestQa>(&out, &params, Default::default()).unwrap();
        let mentions = files.contains(&MENTIONS);
        assert_eq!(rows(&local, "documents"), if mentions { 5 } else { 4 });
        assert_eq!(rows(&local, "links"), 0);
        let test = local.port("test").read("questions").unwrap();
        let list = |name| columns::list_u32(&test, name).unwrap();
        // T3 is the first of the corpus, and the fourth behind the three titles of
        // document2entities.
        assert_eq!(
            list("supporting_documents"),
            [vec![if mentions { 3 } else { 0 }]]
        );
        assert_eq!(list("question_entities"), [Vec::<u32>::new()]);
        let rejected = rejects(&local);
        let of_entities = rejected.iter().any(|r| r.contains("entit"));
        assert!(!of_entities, "{rejected:?}");
        assert!(!said(&local, Level::Warn, "entity of the graph"));
        assert_eq!(
            said(&local, Level::Info, "nothing is connected to `entities`"),
            mentions
        );
    }
}
