//! The generated pages of docs/ match what the operators declare now.
//! `UPDATE_GOLDEN=1 cargo test --test docs` rewrites them.

#![cfg(all(feature = "gfm", feature = "static-encoder"))]
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::fs;
use std::path::Path;

use gfm_pipe::cli::{reference, schema};
use gfm_pipe::init::EXAMPLE;
use gfm_pipe::registry::builtin;

fn schema_text() -> String {
    let schema = schema::json_schema(&builtin());
    serde_json::to_string_pretty(&schema).unwrap() + "\n"
}

/// A pipeline as an editor sees it: its YAML as plain data.
fn as_data(path: &Path) -> serde_json::Value {
    let text = fs::read_to_string(path).unwrap();
    serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn the_schema_takes_every_pipeline_of_the_project_and_refuses_mistakes() {
    let schema = schema::json_schema(&builtin());
    let validator = jsonschema::validator_for(&schema).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let mut seen = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let errors: Vec<String> = validator
            .iter_errors(&as_data(&path))
            .map(|e| format!("{} at {}", e, e.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
        seen += 1;
    }
    assert!(seen >= 6, "{seen} pipelines");
    for bad in [
        "stages: {kg: {op: ingest-kgs}}",
        "stages: {kg: {op: ingest-kg, with: {pth: x}}}",
        "stages: {kg: {op: ingest-kg, wiht: {path: x}}}",
        "stages: {e: {op: embed, in: {text: kg.relations}}}",
        "stages: {e: {op: embed, with: {is_query: 3}}}",
        "stages: {p: {op: pretrain, with: {train: {batch_size: 0}}}}",
        "stages: {p: {op: pretrain, with: {train: {batch_size: eight}}}}",
        "stages: {p: {op: pretrain, with: {model: {entity_model: {message_func: dismult}}}}}",
        "stages: {kg: {op: ingest-kg, retries: -1}}",
        "stages: []",
        "include: 3",
        "version: 2\nstages: {}",
    ] {
        let data: serde_json::Value = serde_yaml::from_str(bad).unwrap();
        assert!(!validator.is_valid(&data), "{bad}");
    }
}

/// The page in which every code block that names a file of the example (after the language)
/// contains that file, and the files named.
fn with_example(page: &str) -> (String, Vec<String>) {
    let (mut out, mut named) = (String::new(), Vec::new());
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        let Some((_, file)) = line.strip_prefix("```").and_then(|l| l.split_once(' ')) else {
            continue;
        };
        let text = EXAMPLE.iter().find(|(name, _)| *name == file);
        let (name, text) = text.unwrap_or_else(|| panic!("{file} is not part of the example"));
        named.push((*name).to_owned());
        out.push_str(text);
        out.push_str("```\n");
        let end = lines.position(|l| l == "```");
        assert!(end.is_some(), "the block of {file} does not end");
    }
    (out, named)
}

#[test]
fn the_page_on_data_shows_the_example_that_init_writes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/data.md");
    let written = fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    let (text, mut named) = with_example(&written);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    } else {
        assert!(
            written == text,
            "docs/data.md is stale: UPDATE_GOLDEN=1 cargo test --test docs"
        );
    }
    named.sort();
    let mut all = EXAMPLE.map(|(name, _)| name);
    all.sort_unstable();
    assert_eq!(named, all, "every file is shown once");
}

/// The page in which each marked table (`<!-- table: NAME -->`, up to the next empty line) is
/// replaced by the one that the evaluation crate generates.
fn with_tables(page: &str) -> String {
    let mut out = String::new();
    let mut lines = page.lines();
    let mut tables = gfm_pipe_eval::pages::tables().into_iter();
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        if line.starts_with("<!-- table: ") {
            let (name, table) = tables
                .next()
                .unwrap_or_else(|| panic!("{line} is not a table"));
            assert_eq!(line, format!("<!-- table: {name} -->"));
            out.push_str(&table);
            out.push_str("\n\n");
            // Skip the old table.
            lines.find(|l| l.is_empty()).unwrap();
        }
    }
    assert_eq!(tables.next(), None, "every table has its place");
    out
}

#[test]
fn the_page_on_metrics_shows_every_metric_and_ranker() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let written = fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    let text = with_tables(&written);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    } else {
        assert!(
            written == text,
            "docs/metrics.md is stale: UPDATE_GOLDEN=1 cargo test --test docs"
        );
    }
}

#[test]
fn generated_pages_are_up_to_date() {
    let ops = builtin();
    for (page, text) in [
        ("configuration.md", reference::configuration(&ops)),
        ("artifacts.md", reference::artifacts(&ops)),
        ("audit.md", reference::audit()),
        ("pipeline.schema.json", schema_text()),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("docs")
            .join(page);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, text).unwrap();
            continue;
        }
        let written = fs::read_to_string(&path)
            .unwrap_or_default()
            .replace("\r\n", "\n");
        assert!(
            written == text,
            "docs/{page} is stale: UPDATE_GOLDEN=1 cargo test --test docs"
        );
    }
}
