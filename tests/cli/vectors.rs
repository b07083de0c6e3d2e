//! Vectors of a large table: a change of one text costs the part of the table around it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::program::{folder, real};

const YAML: &str = "
stages:
  documents: {op: ingest-documents, with: {path: texts.jsonl, split: none}}
  vectors: {op: embed, in: {texts: documents.documents}}
";

/// Their vectors take 133 MB, and are in three objects.
const TEXTS: usize = 130_000;

fn write(dir: &Path, other: impl Fn(usize) -> Option<&'static str>) {
    let mut lines = String::new();
    for i in 0..TEXTS {
        let text = other(i).unwrap_or("was there");
        writeln!(lines, r#"{{"title": "row {i}", "text": "{text}"}}"#).unwrap();
    }
    fs::write(dir.join("texts.jsonl"), lines).unwrap();
}

/// Runs the pipeline, and returns the files of the vectors.
fn run(dir: &Path, args: &[&str]) -> Vec<String> {
    let run = real(dir, &[&["run", "p.yaml"], args].concat()).output();
    let run = run.unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let mut show = vec!["show", "vectors.embeddings", "--path"];
    if let ["--store", store] = args {
        show.extend(["--store", store]);
    }
    let files = real(dir, &show).output().unwrap().stdout;
    let files = String::from_utf8(files).unwrap();
    let names = files.lines().map(|path| path.rsplit('/').next().unwrap());
    names.map(str::to_owned).collect()
}

#[test]
fn only_parts_with_other_texts_are_embedded_again() {
    let (_dir, path) = folder();
    fs::write(path.join("p.yaml"), YAML).unwrap();
    write(&path, |_| None);
    let first = run(&path, &[]);
    assert!(first.len() > 2, "{first:?}");
    write(&path, |i| (i == 90_000).then_some("has changed"));
    let second = run(&path, &[]);
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (first.iter().collect(), second.iter().collect());
    let other = new.difference(&old).count();
    // The object with the text, and the next one if its first row moved.
    assert!((1..=2).contains(&other), "{first:?} {second:?}");
    // As in a store that knows nothing.
    assert_eq!(run(&path, &["--store", "fresh"]), second);
    // And what was taken over is whole.
    let verify = real(&path, &["verify"]).output().unwrap();
    assert!(
        verify.status.success(),
        "{}",
        String::from_utf8_lossy(&verify.stdout)
    );
}
