//! Tables for people: names in place of ids, selected rows and columns, sorting.

use std::fs;
use std::path::{Path, PathBuf};

use insta::assert_snapshot;

use crate::program::{copy, filters, folder, real, stdout, told};

const YAML: &str = "
name: family
stages:
  kg: {op: ingest-kg, with: {path: family/processed/stage1/kg.txt}}
  qa:
    op: ingest-qa
    in: {entities: kg.entities}
    with: {root: family, dataset: family}
";
#[cfg(feature = "gfm")]
const DOCS: &str = "  docs: {op: build-documents, in: {links: qa.links, documents: qa.documents, entities: kg.entities}}\n";

fn family() -> (tempfile::TempDir, PathBuf) {
    let (dir, path) = folder();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fixtures/family");
    copy(&fixture, &path.join("family"));
    fs::write(path.join("p.yaml"), YAML).unwrap();
    let run = told(&mut real(&path, &["run", "p.yaml"]));
    assert!(run.ends_with("--- exit 0\n"), "{run}");
    (dir, path)
}

#[test]
fn ids_have_names_wherever_they_come_from() {
    let (_dir, path) = family();
    let show = |args: &[&str]| told(&mut real(&path, &[&["show"], args].concat()));
    filters().bind(|| {
        assert_snapshot!("names_triples", show(&["kg.triples", "--names", "-n", "4"]));
        assert_snapshot!("names_links", show(&["qa.links", "--names", "-n", "3"]));
        let questions = ["qa.test", "--names", "-n", "2", "--columns"];
        let columns = ["id,question_entities,supporting_documents"];
        assert_snapshot!(
            "names_questions",
            show(&[&questions[..], &columns].concat())
        );
        assert_snapshot!("names_none", show(&["kg.counts", "--names", "-n", "1"]));
    });
    #[cfg(feature = "gfm")]
    {
        fs::write(path.join("p.yaml"), format!("{YAML}{DOCS}")).unwrap();
        told(&mut real(&path, &["run", "p.yaml"]));
        // A stage that has neither entities nor titles itself.
        let matrix = show(&["docs", "--names", "-n", "1"]);
        assert!(
            matrix.starts_with("entity     document\nada alder  Ada Alder\n"),
            "{matrix}"
        );
    }
    // The names are the same when a pipeline file is given, and in JSON.
    let now = ["kg.triples", "--names", "-n", "4", "--pipeline", "p.yaml"];
    assert_eq!(show(&now), show(&["kg.triples", "--names", "-n", "4"]));
    let json = real(&path, &["show", "kg.triples", "--names", "--json"])
        .output()
        .unwrap();
    let rows: serde_json::Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert!(rows[0]["head"].is_string(), "{}", rows[0]);
}

#[test]
fn rows_are_chosen_and_sorted() {
    let (_dir, path) = family();
    let show = |args: &[&str]| told(&mut real(&path, &[&["show"], args].concat()));
    filters().bind(|| {
        let sorted = [
            "kg.relations",
            "--sort",
            "-triples,name",
            "--columns",
            "triples,name",
            "-n",
            "3",
        ];
        assert_snapshot!("sorted", show(&sorted));
        assert_snapshot!("no_column", show(&["kg.relations", "--sort", "tripels"]));
        assert_snapshot!("no_number", show(&["kg.triples", "--where", "head=ada"]));
    });
    let first = stdout(
        &real(
            &path,
            &["show", "kg.triples", "--names", "-n", "1", "--json"],
        )
        .output()
        .unwrap(),
    );
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    let head = first[0]["head"].as_str().unwrap();
    let filter = format!("head={head}");
    let of = [
        "show",
        "kg.triples",
        "--names",
        "--json",
        "--where",
        &filter,
    ];
    let rows = stdout(&real(&path, &of).output().unwrap());
    let rows: serde_json::Value = serde_json::from_str(&rows).unwrap();
    assert!(!rows.as_array().unwrap().is_empty());
    assert!(
        rows.as_array().unwrap().iter().all(|r| r["head"] == head),
        "{rows}"
    );
}
