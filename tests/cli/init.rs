//! A first pipeline, from data to a run.
#![cfg(all(feature = "gfm", feature = "static-encoder"))]

use std::fs;
use std::path::Path;

use insta::assert_snapshot;

use crate::program::{copy, filters, folder, real, text, told};

#[test]
fn data_becomes_a_pipeline_that_runs() {
    let (_dir, path) = folder();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fixtures/family");
    copy(&fixture, &path.join("family"));
    filters().bind(|| {
        assert_snapshot!("init", told(&mut real(&path, &["init", "family"])));
        assert_snapshot!(
            "init_file",
            fs::read_to_string(path.join("pipeline.yaml")).unwrap()
        );
        assert_snapshot!("init_again", told(&mut real(&path, &["init", "family"])));
        assert_snapshot!(
            "init_nothing",
            told(&mut real(&path, &["init", "family/raw"]))
        );
    });
    let run = [
        "run",
        "pipeline.yaml",
        "-p",
        "pretrain_steps=2",
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
