//! Ranks that divide graphs compute the same as one rank with the whole graphs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Barrier};

use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{Artifact, Cancel, Context, Level, OpError, Reporter, columns};
use serde_json::{Value, json};

use crate::ranks::{on_ranks, same_history, same_training};
use crate::resume::stop_ranks;
use crate::toy::*;

fn graph() -> (&'static str, Value) {
    ("train.divide", json!("graph"))
}

/// Graphs can only be divided on the CPU, so these tests are skipped if the suite runs on a GPU.
pub fn on_cpu() -> bool {
    let device = local::context().device;
    if device != "cpu" {
        let reason = format!("ranks that divide graphs do not compute on {device}");
        gfm_pipe_testing::skip("divided-on-gpu", &reason);
    }
    device == "cpu"
}

fn f64s(params: Value) -> Value {
    with(params, &[("train.dtype", json!("f64"))])
}

/// Compares 2 and 3 ranks with one rank.
pub fn equal_divided(name: &str, params: &Value, given: &Inputs) -> Vec<Local> {
    let dir = tempfile::tempdir().unwrap();
    let one = run_in(dir.path(), "alone", name, params, given).unwrap();
    let alone = dir.path().join("alone");
    let params = with(params.clone(), &[graph()]);
    let still = run_in(dir.path(), "still alone", name, &params, given).unwrap();
    assert_eq!(digests(&one), digests(&still));
    let mut out = Vec::new();
    for size in [2, 3] {
        let folder = dir.path().join(format!("{size}"));
        let mut many = on_ranks(size, &folder, name, &params, given);
        same_history(&one, &many[0]);
        same_training(&alone, &folder, 1e-9);
        // Running it again gives the same bits.
        let again = dir.path().join(format!("{size} again"));
        let again = on_ranks(size, &again, name, &params, given);
        assert_eq!(digests(&many[0]), digests(&again[0]));
        out.push(many.swap_remove(0));
    }
    out
}

#[test]
fn pretraining_on_divided_graphs_equals_one_rank() {
    if !on_cpu() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let given = inputs(&[("graph", &d.graph)]);
    let params = with(f64s(pretrain_params(2)), &[("train.batch_size", json!(7))]);
    for out in equal_divided("pretrain", &params, &given) {
        assert!(said(&out, "divided over"), "{:?}", out.messages);
    }
    let more = [
        ("train.batch_size", json!(3)),
        ("train.clip_norm", json!(0.5)),
        ("train.eval_edges", json!("batch")),
        ("train.recompute", json!(true)),
        ("task.adversarial_temperature", json!(0)),
        ("model.entity_model.remove_one_hop", json!(true)),
        ("model.entity_model.aggregate_func", json!("mean")),
        ("model.entity_model.message_func", json!("rotate")),
    ];
    let uneven = |name, nodes| Toy {
        name,
        nodes,
        chords: &[
            [0, 0, 5],
            [1, 1, 7],
            [4, 0, 11],
            [6, 1, 13],
            [9, 1, 2],
            [12, 0, 6],
        ],
        ..TOY
    };
    let sets = [uneven("a", 21), uneven("b", 26)].map(|toy| toy.make(dir.path()));
    let given = inputs(&sets.each_ref().map(|d| ("graph", &d.graph)));
    // With one data set in memory, each is read and cut again and again.
    let few = [("train.max_datasets_in_memory", json!(1))];
    let params = with(with(params, &more), &few);
    equal_divided("pretrain", &params, &given);
    // A validation that removes the edges of each triple separately.
    let own = [
        ("train.valid_fraction", json!(0)),
        ("train.eval_edges", json!("triple")),
        ("train.fast_test", json!(9)),
    ];
    equal_divided("pretrain", &with(params, &own), &given);
}

#[test]
fn finetuning_on_divided_graphs_equals_one_rank() {
    if !on_cpu() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let other = Toy {
        name: "other",
        nodes: 17,
        ..TOY
    };
    let (d, e) = (data(dir.path()), other.make(dir.path()));
    let changes = [
        ("train.batch_size", json!(5)),
        ("train.clip_norm", json!(0.5)),
        (
            "task.losses",
            json!([
                {"name": "bce", "loss": {"_target_": "BCELoss", "adversarial_temperature": 0.2}, "cfg": {"weight": 0.3, "is_doc_loss": false}},
                {"name": "ce", "loss": {"_target_": "ListCELoss"}, "cfg": {"weight": 0.5, "is_doc_loss": true}},
            ]),
        ),
    ];
    let mut params = f64s(finetune_params(2));
    params["task"] = json!({});
    let params = with(params, &changes);
    equal_divided("finetune", &params, &finetune_inputs(&[&d]));
    let given = finetune_inputs(&[&d, &e]);
    let outputs = equal_divided("finetune", &params, &given);
    for (size, out) in [2, 3].into_iter().zip(outputs) {
        for set in ["toy", "other"] {
            let cut = format!("data set {set}: divided over {size} ranks: rank 0 has");
            assert!(said(&out, &cut), "{:?}", out.messages);
        }
        for what in ["training step", "batch that was scored"] {
            let sent = format!("for each {what} the ranks sent each other");
            assert!(said(&out, &sent), "{:?}", out.messages);
        }
        assert!(said(&out, " forward and "), "{:?}", out.messages);
    }
}

#[test]
fn ranks_without_nodes_take_part() {
    if !on_cpu() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Fewer nodes than ranks.
    let tiny = Toy {
        name: "tiny",
        nodes: 3,
        ..TOY
    };
    let d = tiny.make(dir.path());
    let given = inputs(&[("graph", &d.graph)]);
    let params = with(
        f64s(pretrain_params(1)),
        &[
            ("task.num_negative", json!(2)),
            ("task.strict_negative", json!(false)),
        ],
    );
    let alone = run_in(dir.path(), "alone", "pretrain", &params, &given).unwrap();
    let folder = dir.path().join("5");
    let params = with(params, &[graph()]);
    let many = on_ranks(5, &folder, "pretrain", &params, &given);
    same_training(&dir.path().join("alone"), &folder, 1e-9);
    same_history(&alone, &many[0]);
}

#[test]
fn a_training_continues_with_another_division() {
    if !on_cpu() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    for (name, params, given) in trainings(&d, 2) {
        let params = f64s(params);
        let divided = with(params.clone(), &[graph()]);
        let whole = dir.path().join(format!("{name} whole"));
        on_ranks(1, &whole, name, &params, &given);
        let folder = dir.path().join(format!("{name} stopped"));
        stop_ranks(2, &folder, name, &divided, &given, 2);
        stop_ranks(3, &folder, name, &params, &given, 4);
        stop_ranks(3, &folder, name, &divided, &given, 7);
        let out = on_ranks(2, &folder, name, &divided, &given);
        assert!(said(&out[0], "continuing from the checkpoint after step"));
        same_training(&whole, &folder, 1e-9);
    }
}

/// The values of a metrics table by the text of the columns that identify a row.
fn measured(metrics: &Artifact) -> BTreeMap<String, f64> {
    let table = metrics.read("metrics").unwrap();
    let names = ["system", "ranker", "target", "group", "metric"];
    let columns = names.map(|c| columns::text(&table, c).unwrap());
    let values = columns::f64s(&table, "value").unwrap();
    let row = |i: usize| columns.map(|c| c.value(i)).join(" ");
    (0..table.num_rows())
        .map(|i| (row(i), values.value(i)))
        .collect()
}

#[test]
fn an_evaluation_on_a_divided_graph_equals_one_rank() {
    if !on_cpu() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let finetune = finetune_inputs(&[&d]);
    let model = run_in(
        dir.path(),
        "model",
        "finetune",
        &finetune_params(2),
        &finetune,
    )
    .unwrap();
    // In the other model, messages run in the opposite direction.
    let rotate = with(
        pretrain_params(1),
        &[("model.entity_model.message_func", json!("rotate"))],
    );
    let pre = inputs(&[("graph", &d.graph)]);
    let pre = run_in(dir.path(), "pre", "pretrain", &rotate, &pre).unwrap();
    let both = inputs(&[("model", model.port("model")), ("graph", &d.graph)]);
    let known = run_in(dir.path(), "known", "build-background", &json!({}), &both).unwrap();
    let given = evaluate_inputs(
        &model,
        &d,
        &[
            ("pretrained", pre.port("model")),
            ("background", known.port("background")),
            ("corpus_embeddings", &d.corpus_embeddings),
        ],
    );
    let one = run_in(dir.path(), "one", "evaluate", &json!({}), &given).unwrap();
    let want = measured(one.port("metrics"));
    let params = json!({"divide": "graph", "batch_size": 5});
    let still = run_in(dir.path(), "still one", "evaluate", &params, &given).unwrap();
    assert_eq!(measured(still.port("metrics")), want);
    for size in [2, 3] {
        let folder = dir.path().join(format!("{size}"));
        let many = on_ranks(size, &folder, "evaluate", &params, &given);
        let got = measured(many[0].port("metrics"));
        assert_eq!(got.len(), want.len());
        for (name, value) in &want {
            assert!(
                (got[name] - value).abs() < 1e-9,
                "{name}: {value} {}",
                got[name]
            );
        }
        let messages = &many[0].messages;
        let cuts = messages.iter().filter(|m| m.1.contains("divided over"));
        // One cut per direction of messages. The untrained model shares that of the model.
        assert_eq!(cuts.count(), 2, "{messages:?}");
        assert!(said(&many[0], "is not used: each rank"), "{messages:?}");
        assert!(said(
            &many[0],
            "for each batch that was scored the ranks sent"
        ));
    }
}

/// The error with its hint, or the result, of each rank of a stage on this device.
fn results(size: usize, device: &str, name: &str, params: &Value, given: &Inputs) -> Vec<String> {
    let entry = op(name);
    let full = entry.validate(params).unwrap();
    let run = |ranks| {
        let dir = tempfile::tempdir().unwrap();
        let ctx = Context {
            inputs: given.clone(),
            workdir: dir.path().to_owned(),
            device: device.to_owned(),
            ranks,
            ..local::context()
        };
        match entry.run(full.clone(), &ctx) {
            Err(OpError::Failed(failure)) => {
                format!("{}: {}", failure.message, failure.hint.unwrap_or_default())
            }
            other => format!("{other:?}"),
        }
    };
    let run = &run;
    std::thread::scope(|scope| {
        let started = gfm_pipe_api::ranks::threads(size).into_iter();
        let started: Vec<_> = started.map(|r| scope.spawn(move || run(r))).collect();
        started.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

#[test]
fn divided_graphs_are_rejected_on_a_gpu() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let divided = |params| with(params, &[graph()]);
    for (name, params, given) in [
        (
            "pretrain",
            divided(pretrain_params(1)),
            inputs(&[("graph", &d.graph)]),
        ),
        (
            "finetune",
            divided(finetune_params(1)),
            finetune_inputs(&[&d]),
        ),
        ("evaluate", json!({"divide": "graph"}), Inputs::new()),
    ] {
        for error in results(2, "cuda:0", name, &params, &given) {
            assert!(error.contains("on the CPU, not on a GPU"), "{error}");
            assert!(error.contains("--device cpu"), "{error}");
        }
        // One rank has nothing to divide, so its error, if any, is a different one.
        let alone = &results(1, "cuda:0", name, &params, &given)[0];
        assert!(!alone.contains("divided graphs"), "{alone}");
    }
}

#[test]
fn aggregates_that_do_not_add_are_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let given = inputs(&[("graph", &d.graph)]);
    for aggregate in ["max", "min", "pna"] {
        let key = "model.entity_model.aggregate_func";
        let changes = [(key, json!(aggregate)), graph()];
        for (name, params) in [
            ("pretrain", pretrain_params(1)),
            ("finetune", finetune_params(1)),
        ] {
            let problems = op(name).validate(&with(params, &changes)).unwrap_err();
            assert_eq!(problems.len(), 1);
            assert!(problems[0].message.contains(aggregate), "{problems:?}");
            assert!(problems[0].hint.is_some());
        }
    }
    // These models are only known when the stage runs: one in a folder, and one that is evaluated.
    let max = [("model.entity_model.aggregate_func", json!("max"))];
    let params = with(pretrain_params(1), &max);
    let model = run_in(dir.path(), "max", "pretrain", &params, &given).unwrap();
    let folder = dir.path().join("exported");
    let export = json!({"path": folder.to_str().unwrap(), "formats": ["pth"]});
    let exported = inputs(&[("model", model.port("model"))]);
    run(dir.path(), "export", export, exported).unwrap();
    let asked = evaluate_inputs(&model, &d, &[]);
    let start = [
        ("train.checkpoint", json!(folder.to_str().unwrap())),
        graph(),
    ];
    let start = with(finetune_params(1), &start);
    for (name, params, given) in [
        ("finetune", start, finetune_inputs(&[&d])),
        ("evaluate", json!({"divide": "graph"}), asked),
    ] {
        for error in results(2, "cpu", name, &params, &given) {
            assert!(error.contains("aggregate_func is max"), "{error}");
            assert!(error.contains("leave `divide` out"), "{error}");
        }
        let alone = format!("{name} alone");
        run_in(dir.path(), &alone, name, &params, &given).unwrap();
    }
}

#[test]
fn the_batch_size_is_per_rank_unless_graphs_are_divided() {
    for (name, params) in [
        ("pretrain", pretrain_params(1)),
        ("finetune", finetune_params(1)),
    ] {
        let counted = |params| {
            let entry = op(name);
            entry.per_rank(&entry.validate(&params).unwrap()).unwrap()
        };
        assert_eq!(counted(params.clone()), ["train.batch_size"]);
        assert!(counted(with(params, &[graph()])).is_empty());
    }
}

/// Stops a rank at a message with this text.
struct StopAtMessage(Cancel, &'static str);

impl Reporter for StopAtMessage {
    fn progress(&self, _done: u64, _total: u64, _unit: &str, _note: &str) {}
    fn message(&self, _level: Level, text: &str) {
        if text.contains(self.1) {
            self.0.cancel();
        }
    }
    fn resumed_at(&self, _step: u64) {}
}

#[test]
fn ranks_that_score_together_stop_together() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let model = finetuned(dir.path(), &d, 1);
    let given = evaluate_inputs(&model, &d, &[]);
    let entry = op("evaluate");
    let full = entry.validate(&json!({"divide": "graph"})).unwrap();
    let stop = Barrier::new(3);
    std::thread::scope(|scope| {
        for ranks in gfm_pipe_api::ranks::threads(3) {
            let (entry, full, given, dir, stop) = (&entry, &full, &given, dir.path(), &stop);
            scope.spawn(move || {
                let cancel = Cancel::default();
                let reporter: Arc<dyn Reporter> = match ranks.rank() {
                    1 => Arc::new(StopAtMessage(cancel.clone(), "scoring")),
                    _ => Arc::new(local::Collected::default()),
                };
                let ctx = Context {
                    inputs: given.clone(),
                    reporter,
                    cancel,
                    workdir: Path::new(dir).to_owned(),
                    device: "cpu".to_owned(),
                    ranks,
                    ..local::context()
                };
                let ended = entry.run(full.clone(), &ctx);
                assert!(matches!(ended, Err(OpError::Cancelled)), "{ended:?}");
                // All ranks must end with `Cancelled` before any of them is gone.
                stop.wait();
            });
        }
    });
}
