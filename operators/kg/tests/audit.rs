//! `audit` on the fixtures: every planted fault with its place, nothing in clean data, every
//! rejected row of dirty data.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use common::{ingest_bytes, ingest_file, ingest_questions, shared};
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{Artifact, ErrorKind, OpEntry, OpError, OpResult, columns};
use gfm_pipe_kg::audit::{
    Audit, CHECKS, DOCUMENT_NUMBERS, FindingRow, NUMBERS, QUESTION_NUMBERS, STRICT, SummaryRow,
    not_made, read_findings, read_summary,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../data/fixtures")
        .join(name)
}

/// Everything two ingests say of a data set, for the audit's ports.
fn inputs(root: &Path, out: &Path) -> BTreeMap<String, Vec<Artifact>> {
    let kg = root.join("processed/stage1/kg.txt");
    let kg = ingest_file(&kg, &out.join("kg")).unwrap();
    let qa = ingest_questions(root, kg.port("entities"), &out.join("qa")).unwrap();
    let of = |from: &[(&Local, &str)]| -> Vec<Artifact> {
        let all = from.iter().map(|(local, port)| local.port(port).clone());
        all.collect()
    };
    BTreeMap::from([
        ("entities".to_owned(), of(&[(&kg, "entities")])),
        ("triples".to_owned(), of(&[(&kg, "triples")])),
        ("relations".to_owned(), of(&[(&kg, "relations")])),
        ("documents".to_owned(), of(&[(&qa, "documents")])),
        ("links".to_owned(), of(&[(&qa, "links")])),
        (
            "questions".to_owned(),
            of(&[(&qa, "test"), (&qa, "train"), (&qa, "valid")]),
        ),
        (
            "rejects".to_owned(),
            of(&[(&kg, "rejects"), (&qa, "rejects")]),
        ),
        ("places".to_owned(), of(&[(&kg, "places"), (&qa, "places")])),
    ])
}

struct Audited {
    summary: Vec<SummaryRow>,
    findings: Vec<FindingRow>,
    statistics: BTreeMap<String, f64>,
    _dir: tempfile::TempDir,
}

fn run(inputs: BTreeMap<String, Vec<Artifact>>, params: &Value, dir: &Path) -> OpResult<Local> {
    local::run::<Audit>(dir, params, inputs)
}

fn audited(root: &Path) -> Audited {
    let dir = tempfile::tempdir().unwrap();
    let local = run(
        inputs(root, dir.path()),
        &json!({}),
        &dir.path().join("audit"),
    )
    .unwrap();
    let mut findings = Vec::new();
    read_findings(local.port("findings"), |row| {
        findings.push(row);
        true
    })
    .unwrap();
    let statistics = local.port("statistics").read("statistics").unwrap();
    let names = columns::text(&statistics, "name").unwrap();
    let values = columns::f64s(&statistics, "value").unwrap();
    Audited {
        summary: read_summary(local.port("summary")).unwrap(),
        findings,
        statistics: names
            .iter()
            .zip(values)
            .map(|(n, v)| (n.unwrap().to_owned(), v.unwrap()))
            .collect(),
        _dir: dir,
    }
}

/// Check, place and item.
type Fault = (String, String, Option<String>);

fn fault(row: &FindingRow) -> Fault {
    let line = row.line.map_or(String::new(), |l| l.to_string());
    let source = row.source.as_deref().unwrap_or("-");
    (
        row.check.clone(),
        format!("{source}:{line}"),
        row.item.clone(),
    )
}

/// The faults that the fixture's page lists.
fn planted() -> Vec<Fault> {
    let page = fs::read_to_string(fixture("faults/README.md")).unwrap();
    let rows = page.lines().skip_while(|l| !l.starts_with("| ---")).skip(1);
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let item = cells[2].trim_matches('`');
        let item = (!item.is_empty()).then(|| serde_json::from_str(item).unwrap());
        (cells[0].to_owned(), cells[1].to_owned(), item)
    })
    .collect()
}

#[test]
fn every_planted_fault_is_found_in_its_place_and_no_other() {
    let got = audited(&fixture("faults"));
    let planted = planted();
    // Faults of documents are planted in a folder of their own, which the tests of `build-kg`'s
    // crate read, as they do for facts that it rejects.
    let page = fs::read_to_string(fixture("faults-documents/README.md")).unwrap();
    let of_documents = page
        .lines()
        .filter_map(|row| row.strip_prefix("| ")?.split(" | ").next());
    let kinds = planted.iter().map(|f| f.0.as_str());
    let kinds = kinds.chain(of_documents).chain(["rejected-fact"]);
    let kinds: BTreeSet<&str> = kinds.collect();
    let all = CHECKS.iter().map(|c| c.name);
    let all: BTreeSet<&str> = all.chain(["check", "---"]).collect();
    assert_eq!(kinds, all, "every check has a planted fault");
    let found: Vec<Fault> = got.findings.iter().map(fault).collect();
    for fault in &planted {
        assert!(found.contains(fault), "not found: {fault:?}");
    }
    let others: Vec<&FindingRow> = got
        .findings
        .iter()
        .filter(|f| f.severity != "note" && !planted.contains(&fault(f)))
        .collect();
    assert!(others.is_empty(), "{others:#?}");
    let suggestions: BTreeMap<&str, &str> = got
        .findings
        .iter()
        .filter_map(|f| Some((f.check.as_str(), f.suggestion.as_deref()?)))
        .collect();
    for (check, suggestion) in [
        ("comma-in-name", "old mill the,lies on,river sel"),
        ("similar-entities", "ada alder"),
        ("mojibake", "café rouge"),
        ("unknown-document-entity", "`quillmouth`"),
        ("unknown-question-entity", "`ada alder`"),
        ("unknown-supporting-entity", "`round tower`"),
        ("unknown-gold-title", "`Quillmouth`"),
        ("not-nfc", "zoé quay"),
        ("quoted-name", "oak mill"),
    ] {
        let got = suggestions.get(check).copied().unwrap_or_default();
        assert!(got.starts_with(suggestion), "{check}: {got}");
    }
    for row in &got.summary {
        let found = got.findings.iter().filter(|f| f.check == row.check).count();
        assert_eq!(row.count, found as u64, "{}", row.check);
        assert!(row.count <= row.population, "{row:?}");
    }
}

#[test]
fn clean_data_has_neither_errors_nor_warnings() {
    let got = audited(&fixture("family"));
    let bad: Vec<&FindingRow> = got
        .findings
        .iter()
        .filter(|f| f.severity != "note")
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    // All checks but those on what was extracted, which nothing asks for here.
    assert_eq!(got.summary.len(), CHECKS.len() - 3);
    assert_eq!(not_made(&got.summary), 0);
    assert_eq!(not_made(&got.summary[1..]), 1);
    for (name, value) in [
        ("entities", 58.0),
        ("triples", 69.0),
        ("documents", 27.0),
        ("questions.train", 28.0),
        ("questions.valid", 6.0),
        ("questions.test", 8.0),
        ("components", 1.0),
    ] {
        assert_eq!(got.statistics.get(name), Some(&value), "{name}");
    }
    let splits = ["train", "valid", "test"];
    let of_splits = QUESTION_NUMBERS
        .iter()
        .flat_map(|(name, _)| splits.map(|s| format!("{name}.{s}")));
    let plain = NUMBERS.iter().chain(DOCUMENT_NUMBERS);
    let documented: BTreeSet<String> = plain
        .map(|(n, _)| (*n).to_owned())
        .chain(of_splits)
        .collect();
    let given: BTreeSet<String> = got.statistics.into_keys().collect();
    assert_eq!(given, documented);
}

#[test]
fn every_rejected_row_of_dirty_data_is_a_finding() {
    let dir = tempfile::tempdir().unwrap();
    let root = fixture("dirty");
    let connected = inputs(&root, dir.path());
    let rows: usize = connected["rejects"]
        .iter()
        .map(|a| a.rows("rejects").unwrap())
        .sum();
    let got = audited(&root);
    let of_rejects: BTreeSet<&str> = CHECKS
        .iter()
        .filter(|c| c.needs == ["rejects"])
        .map(|c| c.name)
        .collect();
    let found = got.findings.iter();
    let found: Vec<_> = found
        .filter(|f| of_rejects.contains(f.check.as_str()))
        .collect();
    assert_eq!(found.len(), rows);
    assert!(found.iter().all(|f| f.line.is_some()));
    // A byte order mark, a NUL and bytes that are not UTF-8 are reported, too.
    for (check, line) in [
        ("invisible-character", 1),
        ("control-character", 28),
        ("rejected-triple", 19),
        ("empty-name", 10),
    ] {
        let at = |f: &FindingRow| f.check == check && f.line == Some(line);
        assert!(got.findings.iter().any(at), "{check} in line {line}");
    }
}

/// Names as they come: known and unknown, damaged, empty, with commas.
fn name() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "B",
        "ada",
        "oak",
        " ",
        "",
        ",",
        "Ã©",
        "\u{e9}",
        "e\u{301}",
        "\u{200d}",
        "\u{feff}",
        "\u{fffd}",
        "\u{0}",
        "\u{85}",
        "â€",
        "İ",
        "１",
        ".",
        "\u{1f469}",
    ]);
    prop::collection::vec(piece, 0..4).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn whatever_the_data_the_audit_ends_and_leaves_no_rejected_row_out(
        triples in prop::collection::vec((name(), name(), name()), 1..12),
        documents in prop::collection::vec((name(), name(), prop::collection::vec(name(), 0..4)), 1..5),
        questions in prop::collection::vec(
            (name(), name(), prop::collection::vec(name(), 0..3), prop::collection::vec(name(), 0..3)), 0..6),
        layers in 0u32..4,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        fs::create_dir_all(root.join("raw")).unwrap();
        fs::create_dir_all(root.join("processed/stage1")).unwrap();
        let lines: String = triples.iter().map(|(h, r, t)| format!("{h},{r},{t}\n")).collect();
        let graph = format!("ada,r,oak\n{lines}");
        // Texts full of NULs are refused as a whole.
        prop_assume!(gfm_pipe_api::encoding::foreign(graph.as_bytes()).is_none());
        fs::write(root.join("processed/stage1/kg.txt"), graph).unwrap();
        let corpus: serde_json::Map<String, Value> =
            documents.iter().skip(1).map(|(title, text, _)| (title.clone(), json!(text))).collect();
        let mentions: serde_json::Map<String, Value> =
            documents.iter().map(|(title, _, names)| (title.clone(), json!(names))).collect();
        fs::write(root.join("raw/dataset_corpus.json"), json!(corpus).to_string()).unwrap();
        let file = root.join("processed/stage1/document2entities.json");
        fs::write(file, json!(mentions).to_string()).unwrap();
        for (split, skip) in [("train", 0), ("test", 2)] {
            let items: Vec<Value> = questions.iter().skip(skip).map(|(id, text, entities, gold)| json!({
                "id": id, "question": text, "question_entities": entities,
                "supporting_entities": entities, "supporting_facts": gold,
            })).collect();
            let file = root.join(format!("processed/stage1/{split}.json"));
            fs::write(file, serde_json::to_string_pretty(&items).unwrap()).unwrap();
        }
        let connected = inputs(&root, dir.path());
        let rejected: usize = connected["rejects"].iter().map(|a| a.rows("rejects").unwrap()).sum();
        let local = run(connected, &json!({"layers": layers}), &dir.path().join("audit")).unwrap();
        let summary = read_summary(local.port("summary")).unwrap();
        let of_rejects = CHECKS.iter().filter(|c| c.needs == ["rejects"]);
        let found: u64 = of_rejects
            .map(|c| summary.iter().find(|r| r.check == c.name).unwrap().count)
            .sum();
        prop_assert_eq!(found, rejected as u64);
        for row in &summary {
            prop_assert!(row.count <= row.population || row.unit == "names and texts", "{:?}", row);
        }
        let mut ended = true;
        read_findings(local.port("findings"), |row| {
            let line = row.line(str::to_owned);
            ended &= !line.is_empty() && !line.contains('\n');
            true
        }).unwrap();
        prop_assert!(ended);
    }
}

#[test]
fn a_graph_alone_is_audited() {
    let (_dir, kg) = ingest_bytes(b"a,r,b\nb,r,a,\nc,r,c\n").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let one = |port: &str| (port.to_owned(), vec![kg.port(port).clone()]);
    let graph = BTreeMap::from([one("entities"), one("triples"), one("relations")]);
    let local = run(graph.clone(), &json!({}), dir.path()).unwrap();
    let mut lines = Vec::new();
    read_findings(local.port("findings"), |row| {
        lines.push(row.line(str::to_owned));
        true
    })
    .unwrap();
    assert_eq!(
        lines,
        [
            "c: `c,r,c` leads from an entity to itself",
            "c: its triples lead nowhere else"
        ]
    );
    let summary = read_summary(local.port("summary")).unwrap();
    let made: Vec<&str> = summary.iter().map(|r| r.check.as_str()).collect();
    let possible: Vec<&str> = CHECKS
        .iter()
        .filter(|c| c.needs.is_empty())
        .map(|c| c.name)
        .collect();
    assert_eq!(made, possible);
    let all = graph.into_iter().chain([one("rejects"), one("places")]);
    let again = run(all.collect(), &json!({}), dir.path()).unwrap();
    let mut first = None;
    read_findings(again.port("findings"), |row| {
        first = Some(row.line(str::to_owned));
        false
    })
    .unwrap();
    assert_eq!(
        first.as_deref(),
        Some(
            "kg.txt:2: 4 fields in `b,r,a,`: probably head `b`, relation `r`, tail `a,` (perhaps: b,r,a)"
        )
    );
}

/// The message and the hint of an error, which must be of this kind.
fn failure(kind: ErrorKind, result: OpResult<Local>) -> (String, String) {
    match result {
        Err(e) if e.kind() != kind => panic!("{:?}, not {kind:?}: {e}", e.kind()),
        Err(OpError::Failed(f)) => (f.to_string(), f.hint.unwrap_or_default()),
        Err(OpError::Cancelled) => panic!("cancelled"),
        Ok(_) => panic!("no error"),
    }
}

#[test]
fn strict_fails_after_the_tables_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let connected = inputs(&fixture("faults"), dir.path());
    let strict = |words: &[&str]| {
        let out = dir.path().join("audit");
        let _ = fs::remove_dir_all(&out);
        let result = run(connected.clone(), &json!({"strict": words}), &out);
        assert!(out.join("findings.findings.parquet").is_file() || words == ["erors"]);
        result
    };
    let (message, hint) = failure(ErrorKind::Data, strict(&["leaked-question", "self-loop"]));
    assert_eq!(
        message,
        "the data has what `strict` forbids: leaked-question (1), self-loop (1)\n  \
         leaked-question: processed/stage1/test.json:202: leak: is asked by `nobody` of train (processed/stage1/train.json:676) too\n  \
         self-loop: kg.txt:37: lone rock: `lone rock,lies on,lone rock` leads from an entity to itself"
    );
    assert!(hint.contains("gfm-pipe show audit.findings"), "{hint}");
    let (message, _) = failure(ErrorKind::Data, strict(&["errors"]));
    assert!(
        message.contains("rejected-triple (1), comma-in-name (1)"),
        "{message}"
    );
    assert!(message.ends_with("… and 6 more"), "{message}");
    let (message, _) = failure(ErrorKind::User, strict(&["erors"]));
    assert!(message.starts_with("strict[0]: "), "{message}");
    assert!(strict(&[]).is_ok());

    let clean = inputs(&fixture("family"), &dir.path().join("clean"));
    let all: Vec<&str> = STRICT
        .iter()
        .copied()
        .filter(|word| {
            !CHECKS
                .iter()
                .any(|c| c.name == *word && c.severity.name() == "note")
        })
        .collect();
    run(clean, &json!({"strict": all}), &dir.path().join("all")).unwrap();
}

#[test]
fn an_unknown_check_is_refused_with_the_near_name_and_what_cannot_be_checked_is_said() {
    let op = OpEntry::of::<Audit>();
    let problems = op
        .validate(&json!({"strict": ["leaked-questions"]}))
        .unwrap_err();
    let hint = problems[0].hint.as_deref();
    assert_eq!(hint, Some("did you mean `leaked-question`?"));
    let full = op
        .validate(&json!({"strict": ["unreachable-gold", "self-loop", "errors"]}))
        .unwrap();
    let connected = |ports: &[&str]| {
        let ports = ports.iter();
        ports
            .map(|p| ((*p).to_owned(), vec!["x.y".to_owned()]))
            .collect()
    };
    let problems = op.check_inputs(&full, &connected(&["documents", "links"]));
    assert_eq!(problems.len(), 1);
    assert_eq!(
        problems[0].message,
        "`strict` names `unreachable-gold`, which looks at `questions`"
    );
    let problems = op.check_inputs(&full, &connected(&["links", "questions"]));
    let messages: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
    assert_eq!(messages[0], "`links` are of documents");
    assert_eq!(messages.len(), 2);
}

#[test]
fn ports_of_two_data_sets_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut connected = inputs(&fixture("faults"), dir.path());
    let (_kg, other) = ingest_bytes(b"a,r,b\n").unwrap();
    for port in ["entities", "relations", "triples"] {
        let mut mixed = connected.clone();
        mixed.insert(port.to_owned(), vec![other.port(port).clone()]);
        let (message, hint) = failure(
            ErrorKind::User,
            run(mixed, &json!({}), &dir.path().join("audit")),
        );
        assert!(message.contains("not of one data set"), "{port}: {message}");
        assert!(hint.contains("same ingest-kg"), "{hint}");
    }
    connected.insert("places".to_owned(), vec![other.port("places").clone()]);
    run(connected, &json!({}), &dir.path().join("audit")).unwrap();
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let connected = inputs(&fixture("faults"), dir.path());
    let digests = |name: &str| -> Vec<String> {
        let local = run(connected.clone(), &json!({}), &dir.path().join(name)).unwrap();
        local.outputs.values().map(Artifact::digest).collect()
    };
    assert_eq!(digests("one"), digests("two"));
}

#[test]
fn shared_sets_are_audited() {
    for (set, questions) in [("musique_train", 208.0), ("metaqa_movies", 3000.0)] {
        let Some(root) = shared(&format!("data/{set}")) else {
            return;
        };
        let got = audited(&root);
        assert_eq!(got.statistics["questions.train"], questions);
        let summary = |name: &str| got.summary.iter().find(|r| r.check == name).unwrap().count;
        // Counted by another program: repeated lines and self-loops.
        let loops = if set == "musique_train" { 20 } else { 119 };
        assert_eq!(
            (summary("duplicate-triple"), summary("self-loop")),
            (0, loops)
        );
        assert_eq!(summary("question-without-entity"), 0);
        assert_eq!(summary("unknown-gold-title"), 0);
        let lines = got.findings.iter().filter(|f| f.line.is_none());
        assert_eq!(lines.count(), 0, "every finding has a line");
    }
}
