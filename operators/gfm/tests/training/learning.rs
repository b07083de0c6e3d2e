//! Training learns, and what it learns is evaluated.

use gfm_pipe_api::columns;
use serde_json::json;

use crate::evaluation::{comparing_gives_the_same_figures, tables_agree};
use crate::toy::*;

#[test]
fn pretraining_learns_the_ring() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let given = inputs(&[("graph", &d.graph)]);
    let out = run(dir.path(), "pretrain", pretrain_params(12), given).unwrap();
    let loss = history(out.port("history"), "mean_loss");
    // Negatives are drawn anew every step, so a single epoch's loss is noisy.
    let late = loss[8..].iter().sum::<f64>() / 4.0;
    assert!(late < 0.7 * loss[0], "{loss:?}");
    assert_eq!(history(out.port("history"), "valid:mrr").len(), 12);
    // 43 triples in batches of 4: 11 steps, ten values an epoch, whatever the log interval.
    assert_eq!(history(out.port("history"), "loss").len(), 120);
}

#[test]
fn finetuning_takes_over_a_pretrained_model_learns_and_is_evaluated() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let graph = inputs(&[("graph", &d.graph)]);
    let pre = run(dir.path(), "pretrain", pretrain_params(2), graph).unwrap();
    let mut with_init = finetune_inputs(&[&d]);
    with_init.insert("init".to_owned(), vec![pre.port("model").clone()]);
    let out = run(dir.path(), "finetune", finetune_params(25), with_init).unwrap();
    let kept = "stay as initialised: question_mlp.bias, question_mlp.weight";
    assert!(said(&out, kept), "{:?}", out.messages);
    let loss = history(out.port("history"), "mean_loss");
    assert!(loss[24] < 0.5 * loss[0], "{loss:?}");

    let given = evaluate_inputs(
        &out,
        &d,
        &[
            ("pretrained", pre.port("model")),
            ("corpus_embeddings", &d.corpus_embeddings),
        ],
    );
    let out = run(dir.path(), "evaluate", json!({"top_k": 2}), given).unwrap();
    let t = out.port("metrics").read("metrics").unwrap();
    let value = |system: &str, metric: &str| {
        let is = |row: usize, column: &str, wanted: &[&str]| {
            wanted.contains(&columns::text(&t, column).unwrap().value(row))
        };
        let row = (0..t.num_rows()).find(|i| {
            is(*i, "system", &[system])
                && is(*i, "metric", &[metric])
                && is(*i, "target", &["document"])
                && is(*i, "group", &["all"])
                && is(*i, "ranker", &["idf_topk", "-"])
        });
        let row = row.unwrap_or_else(|| panic!("no {metric} of {system}"));
        columns::f64s(&t, "value").unwrap().value(row)
    };
    assert!(
        value("model", "recall@5") > 0.8,
        "{}",
        value("model", "recall@5")
    );
    assert!(value("model", "recall@1") > value("pretrained", "recall@1"));
    for system in ["untrained", "dense", "bm25", "ppr", "rrf"] {
        let (first, five) = (value(system, "recall@1"), value(system, "recall@5"));
        assert!(first <= five && five > 0.0, "{system}: {first} {five}");
    }
    assert_eq!(value("ceiling", "recall@5"), 1.0);
    let rankings = out.port("rankings").read("rankings").unwrap();
    assert_eq!(rankings.num_rows(), 7 * 24 * 20);
    tables_agree(&out);
    comparing_gives_the_same_figures(dir.path(), &d, &out);
}

#[test]
fn f64_training_takes_the_same_course_as_f32() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    for (name, params, given) in trainings(&d, 2) {
        let loss = |dtype: &str| {
            let params = with(params.clone(), &[("train.dtype", json!(dtype))]);
            let folder = format!("{name}-{dtype}");
            let out = run_in(dir.path(), &folder, name, &params, &given).unwrap();
            (history(out.port("history"), "mean_loss"), digests(&out))
        };
        let (single, double) = (loss("f32"), loss("f64"));
        for (a, b) in single.0.iter().zip(&double.0) {
            assert!(
                (a - b).abs() < 1e-3,
                "{name}: {:?} {:?}",
                single.0,
                double.0
            );
        }
        assert_ne!(single.1, double.1, "{name} computed in f32 twice");
    }
}
