//! Values that are not numbers, documents without entities, and models that are too large for
//! memory: stages reject them or handle them.

use std::path::Path;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use gfm_pipe_api::{Artifact, ErrorKind, columns, local};
use serde_json::json;

use crate::toy::*;

/// The same artifact with one table changed.
fn with_table(
    dir: &Path,
    a: &Artifact,
    table: &str,
    change: impl Fn(RecordBatch) -> RecordBatch,
) -> Artifact {
    let tables = a.kind.tables.iter().map(|t| {
        let batch = a.read(t.name).unwrap();
        if t.name == table {
            change(batch)
        } else {
            batch
        }
    });
    let dir = dir.join("changed");
    std::fs::create_dir_all(&dir).unwrap();
    local::artifact(&dir, a.kind, &a.name, tables.collect()).unwrap()
}

/// The same embeddings with one vector filled with this number.
fn with_vector(dir: &Path, a: &Artifact, row: usize, value: f32) -> Artifact {
    with_table(dir, a, "vectors", |batch| {
        let (dim, mut values) = columns::vectors(&batch, "vector").unwrap();
        values[row * dim..][..dim].fill(value);
        let vectors: ArrayRef = columns::build_vectors(dim, values).unwrap();
        RecordBatch::try_new(batch.schema(), vec![vectors]).unwrap()
    })
}

#[test]
fn weights_and_vectors_that_are_not_finite_are_rejected_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let model = finetuned(dir.path(), &d, 1);
    let broken = with_table(dir.path(), model.port("model"), "weights", |batch| {
        let mut values = columns::large_list_f32(&batch, "values").unwrap();
        values[2][1] = f32::NAN;
        let mut all = batch.columns().to_vec();
        all[2] = columns::build_large_list_f32(&values);
        RecordBatch::try_new(batch.schema(), all).unwrap()
    });
    let mut given = evaluate_inputs(&model, &d, &[]);
    given.insert("model".to_owned(), vec![broken]);
    let e = run(dir.path(), "evaluate", json!({}), given)
        .err()
        .unwrap()
        .to_string();
    assert!(
        e.contains("parameter `entity_model.layers.0.") && e.contains(" holds NaN at ["),
        "{e}"
    );

    let asked = with_vector(dir.path(), &d.question_embeddings, 2, f32::INFINITY);
    let mut given = finetune_inputs(&[&d]);
    given.insert("train_embeddings".to_owned(), vec![asked]);
    let e = run(dir.path(), "finetune", finetune_params(1), given);
    let e = e.err().unwrap().to_string();
    assert!(
        e.contains("question_embeddings[toy].vectors row 2: column `vector` holds inf"),
        "{e}"
    );
}

#[test]
fn scores_and_losses_that_are_not_finite_stop_the_stage() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let model = finetuned(dir.path(), &d, 1);
    // A finite vector whose projection is not finite.
    let asked = with_vector(dir.path(), &d.question_embeddings, 3, f32::MAX);
    let mut given = evaluate_inputs(&model, &d, &[]);
    given.insert("question_embeddings".to_owned(), vec![asked.clone()]);
    for op in ["evaluate", "retrieve"] {
        let e = run(dir.path(), op, json!({}), given.clone()).err().unwrap();
        let said = e.to_string();
        assert!(said.contains("the model gives entity "), "{said}");
        assert!(
            said.contains(" for question `q3` of `questions[toy]`"),
            "{said}"
        );
        assert!(e.advice().unwrap().contains("optimizer.lr"));
    }
    let mut given = finetune_inputs(&[&d]);
    given.insert("train_embeddings".to_owned(), vec![asked]);
    let params = with(finetune_params(1), &[("train.do_eval", json!(false))]);
    let e = run(dir.path(), "finetune", params, given)
        .err()
        .unwrap()
        .to_string();
    assert!(
        e.contains("the loss became ") && e.contains("of epoch 1"),
        "{e}"
    );
}

#[test]
fn documents_without_entities_are_ranked_last() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let model = finetuned(dir.path(), &d, 1);
    // Document 5 mentions nothing.
    let documents = with_table(dir.path(), &d.documents, "entity_documents", |batch| {
        let of = columns::u32s(&batch, "document").unwrap();
        let keep: BooleanArray = of.values().iter().map(|d| Some(*d != 5)).collect();
        filter_record_batch(&batch, &keep).unwrap()
    });
    let mut given = evaluate_inputs(&model, &d, &[]);
    given.insert("documents".to_owned(), vec![documents]);
    for ranker in ["simple", "idf", "topk", "idf_topk"] {
        let params = json!({"ranker": ranker, "documents": NODES});
        let out = run(dir.path(), "retrieve", params, given.clone()).unwrap();
        let t = out.port("rankings").read("rankings").unwrap();
        let ranks = columns::u32s(&t, "rank").unwrap();
        let titles = columns::text(&t, "document").unwrap();
        let scores = columns::f64s(&t, "score").unwrap();
        assert_eq!(t.num_rows(), (NODES * NODES) as usize);
        for i in (0..t.num_rows()).filter(|i| ranks.value(*i) == NODES) {
            assert_eq!(
                (titles.value(i), scores.value(i)),
                ("doc 5", 0.0),
                "{ranker}"
            );
        }
    }
    // Systems that rank by entities do not list it among the first 20 of 24 documents.
    let params = json!({"rankers": ["simple"], "baselines": ["ppr", "untrained"], "resamples": 0});
    let out = run(dir.path(), "evaluate", params, given).unwrap();
    let t = out.port("rankings").read("rankings").unwrap();
    assert_eq!(
        columns::text(&t, "document")
            .unwrap()
            .iter()
            .flatten()
            .filter(|t| *t == "doc 5")
            .count(),
        0
    );
}

#[test]
fn models_too_large_for_memory_are_rejected_before_allocation() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let wide = json!({"input_dim": 65_536, "hidden_dims": vec![65_536; 100]});
    for (op, params, given) in trainings(&d, 1) {
        let params = with(params, &[("model.entity_model", wide.clone())]);
        let e = run(dir.path(), op, params, given).err().unwrap();
        assert_eq!(e.kind(), ErrorKind::Resource, "{op}: {e}");
        assert!(e.advice().unwrap().contains("input_dim"), "{op}");
    }
}

/// `plan` estimates a training before it runs, and must not allocate what the training would
/// reject.
#[test]
fn models_too_large_for_memory_are_not_allocated_for_an_estimate() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let wide = (
        "model.entity_model",
        json!({"input_dim": 65_536, "hidden_dims": vec![65_536; 100]}),
    );
    for (name, params, given) in trainings(&d, 1) {
        let entry = op(name);
        let full = entry
            .validate(&with(params, std::slice::from_ref(&wide)))
            .unwrap();
        assert!(
            entry.estimate(full, &given, "cpu").unwrap().is_none(),
            "{name}"
        );
    }
}
