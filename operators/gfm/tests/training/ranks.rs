//! Several ranks compute the same as one rank with the whole batch.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{Artifact, columns};
use serde_json::{Value, json};

use crate::resume::stop_ranks;
use crate::toy::*;

/// Weights, moments and the best weights after the last step, in the type of the training.
fn trained(folder: &Path) -> HashMap<String, Tensor> {
    let file = folder.join("work/checkpoint.safetensors");
    candle_core::safetensors::load(file, &Device::Cpu).unwrap()
}

fn numbers(t: &Tensor) -> Vec<f64> {
    let flat = t.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
    flat.to_vec1().unwrap()
}

pub fn same_training(a: &Path, b: &Path, within: f64) {
    let (a, b) = (trained(a), trained(b));
    assert_eq!(a.len(), b.len());
    for (name, t) in &a {
        assert_eq!(t.dtype(), DType::F64, "{name}");
        for (x, y) in numbers(t).into_iter().zip(numbers(&b[name])) {
            assert!((x - y).abs() <= within * (1.0 + x.abs()), "{name}: {x} {y}");
        }
    }
}

fn values(history: &Artifact) -> Vec<(String, f64)> {
    let t = history.read("history").unwrap();
    let (m, v) = (
        columns::text(&t, "metric").unwrap(),
        columns::f64s(&t, "value").unwrap(),
    );
    (0..t.num_rows())
        .map(|i| (m.value(i).to_owned(), v.value(i)))
        .collect()
}

pub fn same_history(a: &Local, b: &Local) {
    let (a, b) = (values(a.port("history")), values(b.port("history")));
    assert_eq!(a.len(), b.len());
    for ((name, x), (of, y)) in a.iter().zip(&b) {
        assert_eq!(name, of);
        assert!((x - y).abs() < 1e-9, "{name}: {x} {y}");
    }
}

pub fn on_ranks(
    size: usize,
    folder: &Path,
    name: &str,
    params: &Value,
    given: &Inputs,
) -> Vec<Local> {
    std::fs::create_dir_all(folder).unwrap();
    local::run_on_ranks(size, &op(name), folder, params, given).unwrap()
}

/// Compares 2 to 4 ranks with one. Shares of a batch differ, and the last batch has fewer rows than
/// there are ranks.
pub fn equal_on_any_number(name: &str, params: &Value, given: &Inputs) {
    let dir = tempfile::tempdir().unwrap();
    let alone = dir.path().join("alone");
    std::fs::create_dir_all(&alone).unwrap();
    let one = local::run_entry(&op(name), &alone, params, given.clone()).unwrap();
    for size in 2..=4 {
        let folder = dir.path().join(format!("{size}"));
        let many = on_ranks(size, &folder, name, params, given);
        same_training(&alone, &folder, 1e-9);
        same_history(&one, &many[0]);
        // Running it again gives the same bits.
        let again = dir.path().join(format!("{size} again"));
        let again = on_ranks(size, &again, name, params, given);
        assert_eq!(digests(&many[0]), digests(&again[0]));
    }
}

#[test]
fn pretraining_does_not_depend_on_ranks() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let given = inputs(&[("graph", &d.graph)]);
    let f64s = [("train.dtype", json!("f64"))];
    let params = with(pretrain_params(2), &f64s);
    // 43 triples: the last batch of 7 has one row.
    let params = with(params, &[("train.batch_size", json!(7))]);
    equal_on_any_number("pretrain", &params, &given);
    let more = [
        ("train.clip_norm", json!(0.5)),
        ("train.eval_edges", json!("batch")),
        ("task.adversarial_temperature", json!(0)),
        ("model.entity_model.remove_one_hop", json!(true)),
    ];
    equal_on_any_number("pretrain", &with(params, &more), &given);
}

#[test]
fn finetuning_does_not_depend_on_ranks() {
    let dir = tempfile::tempdir().unwrap();
    let other = Toy {
        name: "other",
        nodes: 17,
        ..TOY
    };
    let (d, e) = (data(dir.path()), other.make(dir.path()));
    let changes = [
        ("train.dtype", json!("f64")),
        ("train.batch_size", json!(5)),
        (
            "task.losses",
            json!([
                {"name": "bce", "loss": {"_target_": "BCELoss", "adversarial_temperature": 0.2}, "cfg": {"weight": 0.3, "is_doc_loss": false}},
                {"name": "ce", "loss": {"_target_": "ListCELoss"}, "cfg": {"weight": 0.5, "is_doc_loss": true}},
            ]),
        ),
    ];
    let mut params = finetune_params(2);
    params["task"] = json!({});
    let params = with(params, &changes);
    equal_on_any_number("finetune", &params, &finetune_inputs(&[&d]));
    equal_on_any_number("finetune", &params, &finetune_inputs(&[&d, &e]));
}

#[test]
fn a_training_continues_with_another_number_of_ranks() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    for (name, params, given) in trainings(&d, 2) {
        let params = with(params, &[("train.dtype", json!("f64"))]);
        let whole = dir.path().join(format!("{name} whole"));
        on_ranks(1, &whole, name, &params, &given);
        let folder = dir.path().join(format!("{name} stopped"));
        stop_ranks(2, &folder, name, &params, &given, 3);
        stop_ranks(3, &folder, name, &params, &given, 5);
        let out = on_ranks(1, &folder, name, &params, &given);
        assert!(said(&out[0], "continuing from the checkpoint after step"));
        same_training(&whole, &folder, 1e-9);
    }
}

#[test]
fn evaluation_counts_every_question_once_on_any_number_of_ranks() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let model = finetuned(dir.path(), &d, 2);
    let given = evaluate_inputs(&model, &d, &[("corpus_embeddings", &d.corpus_embeddings)]);
    let one = run_in(dir.path(), "one", "evaluate", &json!({}), &given).unwrap();
    for size in [2, 3, 5] {
        let folder = dir.path().join(format!("{size}"));
        let many = on_ranks(size, &folder, "evaluate", &json!({}), &given);
        assert_eq!(digests(&many[0]), digests(&one), "{size} ranks");
    }
}
