//! Tests of `audit` on documents, and on graphs that `build-kg` made from them.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::shared;
use gfm_pipe_api::Artifact;
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_index::{BuildKg, Extract, IngestDocuments};
use gfm_pipe_kg::Audit;
use gfm_pipe_kg::audit::{FindingRow, read_findings};
use serde_json::{Value, json};

/// Documents, what was extracted from them, and their graph.
struct Made {
    documents: Local,
    extracted: Local,
    graph: Local,
}

type Inputs = BTreeMap<String, Vec<Artifact>>;

fn of(local: &Local, ports: &[&str]) -> Inputs {
    let ports = ports.iter();
    ports
        .map(|port| ((*port).to_owned(), vec![local.port(port).clone()]))
        .collect()
}

impl Made {
    fn of(dir: &Path, documents: &Value, extract: &Value) -> Made {
        let run = |name: &str| dir.join(name);
        let documents = local::run::<IngestDocuments>(&run("d"), documents, [].into()).unwrap();
        let mut inputs = of(&documents, &["documents"]);
        let extracted = local::run::<Extract>(&run("x"), extract, inputs.clone()).unwrap();
        inputs.extend(of(&documents, &["sources"]));
        inputs.extend(of(&extracted, &["facts", "mentions", "named"]));
        let graph = local::run::<BuildKg>(&run("g"), &json!({}), inputs).unwrap();
        Made {
            documents,
            extracted,
            graph,
        }
    }

    fn inputs(&self) -> Inputs {
        let mut inputs = of(&self.documents, &["documents", "sources"]);
        inputs.extend(of(&self.extracted, &["mentions", "facts"]));
        inputs.extend(of(
            &self.graph,
            &[
                "entities",
                "relations",
                "triples",
                "links",
                "nodes",
                "places",
            ],
        ));
        let rejects = [&self.documents, &self.extracted, &self.graph];
        let rejects = rejects.map(|local| local.port("rejects").clone());
        inputs.insert("rejects".to_owned(), rejects.into());
        inputs
    }
}

fn findings(inputs: Inputs, dir: &Path) -> Vec<FindingRow> {
    let audit = local::run::<Audit>(dir, &json!({}), inputs).unwrap();
    let mut out = Vec::new();
    read_findings(audit.port("findings"), |row| {
        out.push(row);
        true
    })
    .unwrap();
    out
}

fn data(name: &str) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
    data.join(name)
}

/// Errors and warnings as `check source: message`.
fn reported(findings: &[FindingRow]) -> Vec<String> {
    let bad = findings.iter().filter(|f| f.severity != "note");
    bad.map(|f| format!("{} {}", f.check, f.line(str::to_owned)))
        .collect()
}

#[cfg(feature = "english")]
#[test]
fn every_planted_fault_of_documents_is_found_in_its_file_and_no_other() {
    let root = data("fixtures/faults-documents");
    let page = fs::read_to_string(root.join("README.md")).unwrap();
    let rows = page.lines().skip_while(|l| !l.starts_with("| ---")).skip(1);
    let planted = rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        (cells[0].to_owned(), cells[1].to_owned())
    });
    let mut planted: Vec<(String, String)> = planted.collect();
    planted.sort();
    let dir = tempfile::tempdir().unwrap();
    let documents = json!({"path": root.join("docs")});
    let made = Made::of(dir.path(), &documents, &json!({}));
    let found = findings(made.inputs(), &dir.path().join("a"));
    let wanted = |f: &&FindingRow| f.severity != "note" || f.check == "document-without-fact";
    let place = |f: &FindingRow| (f.check.clone(), f.source.clone().unwrap_or_default());
    let mut got: Vec<(String, String)> = found.iter().filter(wanted).map(place).collect();
    got.sort();
    assert_eq!(got, planted, "{:#?}", reported(&found));
}

/// Number of errors and warnings per check.
fn counted(findings: &[FindingRow]) -> BTreeMap<&str, usize> {
    let mut out = BTreeMap::new();
    for finding in findings.iter().filter(|f| f.severity != "note") {
        *out.entry(finding.check.as_str()).or_default() += 1;
    }
    out
}

#[test]
fn a_graph_of_clean_documents_has_hardly_a_finding() {
    let path = data("atlas/raw/dataset_corpus.json");
    let dir = tempfile::tempdir().unwrap();
    let (whole, pieces) = (dir.path().join("whole"), dir.path().join("pieces"));
    fs::create_dir(&whole).unwrap();
    fs::create_dir(&pieces).unwrap();
    let by = json!({"by": "patterns"});
    let made = Made::of(&whole, &json!({"path": path}), &by);
    let found = findings(made.inputs(), &whole.join("a"));
    assert_eq!(
        counted(&found),
        BTreeMap::from([("similar-entities", 3)]),
        "{:#?}",
        reported(&found)
    );
    // Without `nodes`, document nodes are not known as such, so every entity named like a document
    // is reported as similar to its node.
    let mut inputs = made.inputs();
    inputs.remove("nodes");
    let found = findings(inputs, &whole.join("b"));
    assert!(counted(&found)["similar-entities"] > 500);
    // Pieces have the same title and repeat each other's words.
    let split = json!({"path": path, "split": {"tokens": 40, "overlap": 15}});
    let made = Made::of(&pieces, &split, &by);
    let found = findings(made.inputs(), &pieces.join("a"));
    let checks: Vec<&str> = counted(&found).into_keys().collect();
    let expected = [
        "duplicate-document",
        "near-duplicate-document",
        "similar-entities",
    ];
    assert_eq!(checks, expected, "{:#?}", reported(&found));
    assert!(found.len() < 40, "{}", found.len());
}

#[cfg(feature = "english")]
#[test]
fn english_documents_are_not_taken_for_others() {
    // Some of these documents are tables and lists without an English sentence.
    let Some(root) = shared("data/musique_train") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let documents = json!({"path": root.join("raw/dataset_corpus.json")});
    let made = Made::of(dir.path(), &documents, &json!({}));
    let found = findings(made.inputs(), &dir.path().join("a"));
    let counts = counted(&found);
    let entities = made.graph.port("entities").rows("entities").unwrap();
    assert!(counts["similar-entities"] * 100 < entities, "{counts:?}");
    for check in [
        "other-language",
        "boilerplate",
        "similar-titles",
        "rejected-triple",
    ] {
        assert!(!counts.contains_key(check), "{:#?}", reported(&found));
    }
}

#[test]
fn what_build_kg_and_extract_reject_has_checks_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(
        at("docs.json"),
        json!({"A": "The mill.", "B": 7}).to_string(),
    )
    .unwrap();
    let openie = json!([
        {"title": "A", "extracted_entities": ["mill", "…"],
         "extracted_triples": [["A", "has", "mill"], ["—", "is", "?"], ["A", "is"]]},
        {"title": "Nowhere", "extracted_entities": [], "extracted_triples": []},
    ]);
    fs::write(at("openie.json"), openie.to_string()).unwrap();
    let documents = json!({"path": at("docs.json")});
    let extract = json!({"by": "file", "path": at("openie.json")});
    let made = Made::of(dir.path(), &documents, &extract);
    let rejected: Vec<String> = findings(made.inputs(), &at("a"))
        .iter()
        .filter(|f| f.check.starts_with("rejected"))
        .map(|f| {
            let (source, line) = (f.source.as_deref().unwrap(), f.line.unwrap());
            format!("{} {source}:{line}", f.check)
        })
        .collect();
    assert_eq!(
        rejected,
        [
            "rejected-document docs.json:1",
            "rejected-document openie.json:1",
            "rejected-document openie.json:1",
            "rejected-fact facts:2",
            "rejected-fact mentions:2",
        ]
    );
}
