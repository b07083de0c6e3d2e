//! Creating a first pipeline, from data to a run.
#![cfg(all(feature = "gfm", feature = "static-encoder"))]

use std::fs;
use std::path::Path;

use gfm_pipe::init::{Data, EXAMPLE, look_at};
use gfm_pipe::registry::builtin;
use gfm_pipe::spec::{LoadOptions, Pipeline, load, load_text};
use insta::assert_snapshot;
use serde_json::Value;

use crate::program::{copy, filters, folder, real, stdout, text, told};

#[test]
fn data_becomes_a_pipeline_that_runs() {
    let (_dir, path) = folder();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fixtures/family");
    copy(&fixture, &path.join("family"));
    fs::create_dir(path.join("empty")).unwrap();
    filters().bind(|| {
        assert_snapshot!("init", told(&mut real(&path, &["init", "family"])));
        assert_snapshot!(
            "init_file",
            fs::read_to_string(path.join("pipeline.yaml")).unwrap()
        );
        assert_snapshot!("init_again", told(&mut real(&path, &["init", "family"])));
        assert_snapshot!("init_nothing", told(&mut real(&path, &["init", "empty"])));
    });
    let run = [
        "run",
        "pipeline.yaml",
        "-p",
        "pretrain_epochs=1",
        "-p",
        "finetune_epochs=1",
        "-p",
        "dim=8",
    ];
    let output = real(&path, &run).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    fs::remove_file(path.join("family/processed/stage1/test.json")).unwrap();
    fs::remove_file(path.join("family/raw/dataset_corpus.json")).unwrap();
    filters().bind(|| {
        let again = ["init", "family", "--force", "-o", "pipeline.yaml"];
        assert_snapshot!("init_graph_alone", told(&mut real(&path, &again)));
    });
    let output = real(&path, &run[..4]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

/// A data set of GFM-RAG 2.0 becomes a pipeline that trains a GraphReasoner, and its audit uses
/// what the run has read.
#[test]
fn a_graph_of_gfm_rag_2_becomes_a_pipeline_that_runs() {
    let (_dir, path) = folder();
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity2/reasoner_small/dataset");
    copy(&fixture, &path.join("typed"));
    filters().bind(|| {
        assert_snapshot!("init_typed", told(&mut real(&path, &["init", "typed"])));
        assert_snapshot!(
            "init_typed_file",
            fs::read_to_string(path.join("pipeline.yaml")).unwrap()
        );
    });
    let run = [
        "run",
        "pipeline.yaml",
        "-p",
        "pretrain_epochs=1",
        "-p",
        "finetune_epochs=1",
        "-p",
        "dim=8",
    ];
    let output = real(&path, &run).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let output = real(&path, &["audit", "typed"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.matches(" cached ").count(), 2, "{said}");

    // Several sets are trained on together, but not with one of another layout.
    copy(&path.join("typed"), &path.join("all/a"));
    copy(&path.join("typed"), &path.join("all/b"));
    let questions = path.join("all/b/processed/stage1/train.json");
    let asked = fs::read_to_string(&questions).unwrap();
    fs::write(&questions, asked.replace('?', "??")).unwrap();
    let said = told(&mut real(&path, &["init", "all", "--force"]));
    assert!(said.contains("pipeline.yaml written"), "{said}");
    let output = real(&path, &run).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let family = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fixtures/family");
    copy(&family, &path.join("all/family"));
    let before = fs::read_to_string(path.join("pipeline.yaml")).unwrap();
    filters().bind(|| {
        let mixed = told(&mut real(&path, &["init", "all", "--force"]));
        assert_snapshot!("init_mixed", mixed);
    });
    assert_eq!(
        fs::read_to_string(path.join("pipeline.yaml")).unwrap(),
        before
    );
    // An audit looks at each as it is.
    let output = real(&path, &["audit", "all", "--json"]).output().unwrap();
    let told: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(told["sets"].as_array().unwrap().len(), 3);
}

#[test]
fn the_example_is_written_fit_and_learned() {
    let (_dir, path) = folder();
    let run = |args: &[&str]| {
        let output = real(&path, args).output().unwrap();
        (output.status.code().unwrap(), text(&output))
    };
    let (code, said) = run(&["init", "--example", "example"]);
    assert_eq!(code, 0, "{said}");
    for (name, content) in EXAMPLE {
        let file = path.join("example").join(name);
        assert_eq!(fs::read_to_string(file).unwrap(), content, "{name}");
    }
    assert!(said.contains("next: gfm-pipe run pipeline.yaml"), "{said}");
    // No existing file is replaced unless asked; in that case nothing is written at all.
    fs::remove_file(path.join("example").join(EXAMPLE[1].0)).unwrap();
    let (code, said) = run(&["init", "--example", "example"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("is there already") && said.contains("--force"),
        "{said}"
    );
    assert!(!path.join("example").join(EXAMPLE[1].0).exists());
    let (code, said) = run(&["init", "--example", "example", "--force"]);
    assert_eq!(code, 0, "{said}");

    let (code, said) = run(&["audit", "example", "--strict=warnings"]);
    assert_eq!(code, 0, "{said}");
    let run_it = [
        "run",
        "pipeline.yaml",
        "-p",
        "dim=16",
        "-p",
        "pretrain_epochs=1",
    ];
    let (code, said) = run(&run_it);
    assert_eq!(code, 0, "{said}");
    let show = ["show", "finetune.history", "--json"];
    let history = stdout(&real(&path, &show).output().unwrap());
    let history: Value = serde_json::from_str(&history).unwrap();
    let rows = history.as_array().unwrap().iter();
    let loss: Vec<f64> = rows
        .filter(|row| row["metric"] == "mean_loss")
        .filter_map(|row| row["value"].as_f64())
        .collect();
    let (first, last) = (loss[0], loss[loss.len() - 1]);
    assert!(last < 0.75 * first, "the loss went from {first} to {last}");
}

#[test]
fn a_data_set_and_ways_to_it_are_used_once() {
    let (_dir, path) = folder();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fixtures/family");
    copy(&fixture, &path.join("data/family"));
    copy(&fixture, &path.join("data/family-copy"));
    let said = told(&mut real(&path, &["init", "data"]));
    let line = "data/family-copy: left out: has no file that is not in data/family";
    assert!(said.contains(line), "{said}");
    let pipeline = fs::read_to_string(path.join("pipeline.yaml")).unwrap();
    assert!(!pipeline.contains("family-copy"), "{pipeline}");
    let said = told(&mut real(&path, &["audit", "data", "--json"]));
    assert!(said.contains(line), "{said}");
    assert_eq!(said.matches("\"verdict\"").count(), 1, "{said}");
}

#[test]
fn documents_without_a_graph_are_searched() {
    let (_dir, path) = folder();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fixtures/mixed");
    copy(&fixture, &path.join("mixed"));
    filters().bind(|| {
        assert_snapshot!("init_documents", told(&mut real(&path, &["init", "mixed"])));
        assert_snapshot!(
            "init_documents_file",
            fs::read_to_string(path.join("pipeline.yaml")).unwrap()
        );
    });
    let run = || {
        let output = real(&path, &["run", "pipeline.yaml"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        text(&output)
    };
    let rows = |table: &str| -> Vec<Value> {
        let output = real(&path, &["show", table, "--json"]).output().unwrap();
        let rows: Value = serde_json::from_str(&stdout(&output)).unwrap();
        rows.as_array().unwrap().clone()
    };
    // The title of the document that a system ranks first for the question about a smith.
    let first = |table: &str, system: &str| -> String {
        let rows = rows(table);
        let best = rows.iter().find(|row| {
            let question = row["question"].as_str().unwrap();
            row["system"] == system && row["rank"] == 1 && question.ends_with("-2")
        });
        best.unwrap()["document"].to_string()
    };
    let said = run();
    assert!(said.contains("gfm-pipe show documents.rejects"), "{said}");
    assert_eq!(first("evaluate.rankings", "bm25"), "\"Smith\"");
    let systems: Vec<String> = rows("evaluate.metrics")
        .iter()
        .map(|row| row["system"].to_string())
        .collect();
    for system in ["model", "bm25", "dense", "ppr", "rrf", "fused"] {
        assert!(systems.contains(&format!("\"{system}\"")), "{systems:?}");
    }

    // Without gold documents nothing can be evaluated, but the same documents are found.
    fs::remove_file(path.join("mixed/questions/train.jsonl")).unwrap();
    let plain = "question\n\"What has Tarnwick, and how many?\"\nWhat does a smith work with?\n";
    fs::write(path.join("mixed/questions/test.csv"), plain).unwrap();
    let init = ["init", "mixed", "--force"];
    filters().bind(|| assert_snapshot!("init_documents_plain", told(&mut real(&path, &init))));
    run();
    assert_eq!(first("retrieve.rankings", "fused"), "\"Smith\"");

    fs::remove_dir_all(path.join("mixed/questions")).unwrap();
    filters().bind(|| assert_snapshot!("init_documents_alone", told(&mut real(&path, &init))));
    run();
}

/// `pipelines/documents.yaml` is what `init` writes for the same files.
#[test]
fn documents_alone_have_the_pipeline_that_init_writes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ops = builtin();
    let shipped = load(
        &root.join("pipelines/documents.yaml"),
        &LoadOptions::default(),
        &ops,
    );
    let shipped = shipped.unwrap_or_else(|e| panic!("{e}"));
    let Data::Documents(found) = look_at(Path::new("data/atlas/raw")).unwrap() else {
        panic!("data/atlas/raw has no graph");
    };
    let text = found.pipeline();
    let made = load_text(Path::new("p.yaml"), &text, &LoadOptions::default(), &ops);
    let made = made.unwrap_or_else(|e| panic!("{e}"));
    let told = |pipeline: &Pipeline| -> Vec<String> {
        let stages = pipeline
            .stages
            .iter()
            .map(|s| format!("{} {} {:?} {}", s.name, s.op.name, s.inputs, s.params));
        stages.collect()
    };
    assert_eq!(told(&shipped), told(&made));
    assert_eq!(shipped.stages.len(), 21);
}
