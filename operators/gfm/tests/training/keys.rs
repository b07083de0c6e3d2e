//! Every parameter does what its documentation says, and those without an effect have none.

use serde_json::{Value, json};

use crate::toy::*;
use gfm_pipe_api::{Effect, ErrorKind, OpEntry, Type};

/// Another value for every parameter that is declared to have no effect. Add new ones here.
fn other(op: &str, path: &str) -> Value {
    match path {
        "model.entity_model._target_" => json!("gfmrag.ultra.models.QueryNBFNet"),
        "model.entity_model.num_beam" => json!(3),
        "model.entity_model.return_hidden" => json!(true),
        "model.feat_dim" => json!(TOY.encoder.1),
        "model.entity_model.path_topk" => json!(4),
        "optimizer._target_" => json!("torch.optim.AdamW"),
        "task.strict_negative" => json!(false),
        "train.log_interval" => json!(1),
        "train.save_best_only" => json!(op == "pretrain"),
        "train.save_pretrained" => json!(op == "pretrain"),
        "train.recompute" => json!(true),
        "train.timeout" => json!(1),
        "train.max_datasets_in_memory" => json!(1),
        "train.data_loading_workers" => json!(0),
        "train.checkpoint_steps" => json!(2),
        "train.checkpoint_minutes" => json!(7.5),
        "batch_size" if op == "evaluate" => json!(5),
        "train.divide" | "divide" => json!("graph"),
        _ => panic!("{op}: `{path}` has no effect: give it another value here"),
    }
}

fn without_effect(op: &OpEntry) -> Vec<String> {
    op.schema
        .leaves()
        .into_iter()
        .filter(|(_, f)| f.effect == Effect::None && !f.fixed && f.refused.is_none())
        .map(|(path, _)| path)
        .collect()
}

/// The value inside the nested mappings of its path.
fn nested(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |v, key| json!({ key: v }))
}

fn merge(a: &mut Value, b: Value) {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            for (k, v) in b {
                merge(a.entry(k).or_insert(Value::Null), v);
            }
        }
        (a, b) => *a = b,
    }
}

#[test]
fn parameters_without_effect_have_none() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let pre = inputs(&[("graph", &d.graph)]);
    let model = run(dir.path(), "pretrain", pretrain_params(1), pre.clone()).unwrap();
    let evaluate = evaluate_inputs(&model, &d, &[]);
    for (name, params, given) in [
        ("pretrain", pretrain_params(2), pre),
        ("finetune", finetune_params(2), finetune_inputs(&[&d])),
        ("evaluate", json!({}), evaluate),
    ] {
        let entry = op(name);
        let key = |p: &Value| entry.schema.effective(&entry.validate(p).unwrap());
        let plain = run_in(dir.path(), &format!("{name}-plain"), name, &params, &given).unwrap();
        let paths = without_effect(&entry);
        assert!(!paths.is_empty());
        for path in paths {
            let mut changed = params.clone();
            merge(&mut changed, nested(&path, other(name, &path)));
            let (before, after) = (entry.validate(&params), entry.validate(&changed));
            assert_ne!(
                before.unwrap(),
                after.unwrap(),
                "{name}: {path} was not changed"
            );
            assert_eq!(key(&params), key(&changed), "{name}: {path} is in the key");
            let folder = format!("{name}-{path}");
            let out = run_in(dir.path(), &folder, name, &changed, &given).unwrap();
            assert_eq!(
                digests(&out),
                digests(&plain),
                "{name}: {path} has an effect"
            );
        }
    }
}

#[test]
fn parameters_with_an_effect_are_in_the_key_and_change_the_result() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let both = [
        ("optimizer.betas", json!([0.8, 0.99])),
        ("optimizer.eps", json!(1e-2)),
        ("optimizer.weight_decay", json!(0.5)),
        ("train.clip_norm", json!(0.01)),
        ("train.warmup_steps", json!(6)),
        ("train.decay", json!("cosine")),
        ("train.decay", json!("linear")),
        ("train.dtype", json!("f64")),
        ("train.batch_per_epoch", json!(2)),
        ("train.valid_fraction", json!(0.3)),
        ("model.entity_model.short_cut", json!(false)),
        ("seed", json!(7)),
    ];
    let pretrain = [
        ("task.num_negative", json!(5)),
        ("task.strict_negative", json!(false)),
        ("task.adversarial_temperature", json!(0)),
        ("task.metric", json!(["hits@2_9", "mrr-tail"])),
        ("train.fast_test", json!(2)),
        ("train.valid_fraction", json!(0)),
    ];
    let finetune = [
        ("train.do_eval", json!(false)),
        ("train.init_entities_weight", json!(false)),
        ("task.metric", json!(["mape"])),
        ("doc_ranker.name", json!("simple")),
        (
            "task.losses",
            json!([{"name": "docs", "loss": {"_target_": "ListCELoss"}, "cfg": {"is_doc_loss": true}}]),
        ),
        (
            "task.losses",
            json!([{"name": "bce", "loss": {"_target_": "BCELoss", "adversarial_temperature": 0}}]),
        ),
    ];
    for (name, params, given, own) in [
        (
            "pretrain",
            pretrain_params(1),
            inputs(&[("graph", &d.graph)]),
            &pretrain[..],
        ),
        (
            "finetune",
            finetune_params(1),
            finetune_inputs(&[&d]),
            &finetune[..],
        ),
    ] {
        let entry = op(name);
        let key = |p: &Value| entry.schema.effective(&entry.validate(p).unwrap());
        let plain = run_in(dir.path(), &format!("{name}-plain"), name, &params, &given).unwrap();
        for (i, (path, value)) in both.iter().chain(own).enumerate() {
            let mut changed = params.clone();
            merge(&mut changed, nested(path, value.clone()));
            assert_ne!(
                key(&params),
                key(&changed),
                "{name}: {path} is not in the key"
            );
            let folder = format!("{name}-{i}");
            let out = run_in(dir.path(), &folder, name, &changed, &given).unwrap();
            assert_ne!(
                digests(&out),
                digests(&plain),
                "{name}: {path} has no effect"
            );
        }
    }
}

#[test]
fn words_that_are_not_implemented_are_rejected_by_name() {
    for name in ["pretrain", "finetune"] {
        let entry = op(name);
        for (path, field) in entry.schema.leaves() {
            let Type::OneOf { planned, .. } = &field.ty else {
                continue;
            };
            for word in *planned {
                let problems = entry.validate(&nested(&path, json!(word))).unwrap_err();
                let want = format!("`{word}` is not implemented yet");
                assert!(problems.iter().any(|p| p.message == want), "{problems:?}");
            }
        }
        let problems = entry
            .validate(&json!({"model": {"entity_model": {"dependent": true}}}))
            .unwrap_err();
        assert_eq!(
            problems[0].message,
            "`dependent: yes` is not implemented yet"
        );
    }
}

#[test]
fn the_best_epoch_is_chosen_by_the_metric_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let finetune = |best_by: &str| {
        with(
            finetune_params(6),
            &[
                ("optimizer.lr", json!(0.03)),
                ("train.best_by", json!(best_by)),
                ("train.valid_fraction", json!(0.4)),
                ("task", json!({"metric": ["mape", "recall@1", "hits@2"]})),
            ],
        )
    };
    let pretrain = |best_by: &str| {
        with(
            pretrain_params(6),
            &[
                ("train.best_by", json!(best_by)),
                ("train.valid_fraction", json!(0.4)),
                ("task.metric", json!(["mr", "hits@1", "mrr-tail"])),
            ],
        )
    };
    let questions = finetune_inputs(&[&d]);
    let graph = inputs(&[("graph", &d.graph)]);
    for (name, params, given, by, smaller) in [
        (
            "finetune",
            finetune("entity:mape"),
            &questions,
            "entity:mape",
            true,
        ),
        (
            "finetune",
            finetune("document:recall@1"),
            &questions,
            "document:recall@1",
            false,
        ),
        ("pretrain", pretrain("mr"), &graph, "mr", true),
        ("pretrain", pretrain("mrr-tail"), &graph, "mrr-tail", false),
    ] {
        let folder = format!("{name}-{by}");
        let out = run_in(dir.path(), &folder, name, &params, given).unwrap();
        let values = history(out.port("history"), &format!("valid:{by}"));
        assert_eq!(values.len(), 6);
        // The first of the best epochs.
        let better = |a: f64, b: f64| if smaller { a < b } else { a > b };
        let best = (0..6).fold(0, |best, i| {
            if better(values[i], values[best]) {
                i
            } else {
                best
            }
        });
        assert_eq!(
            epoch(out.port("model")),
            best as u64 + 1,
            "{by}: {values:?}"
        );
    }

    let problems = op("finetune")
        .validate(&finetune("document:recall@5"))
        .unwrap_err();
    assert_eq!(
        problems[0].message,
        "`document:recall@5` is not a metric of this validation"
    );
    let allowed = "one of entity:mape, entity:recall@1, entity:hits@2, entity:mrr_filtered, document:mape, document:recall@1, document:hits@2, document:mrr_filtered (more in `task.metric`)";
    assert_eq!(problems[0].hint.as_deref(), Some(allowed));
    let problems = op("pretrain").validate(&pretrain("hits@3")).unwrap_err();
    let allowed = "one of mr, hits@1, mrr-tail, mrr (more in `task.metric`)";
    assert_eq!(problems[0].hint.as_deref(), Some(allowed));
}

#[test]
fn edges_removed_per_triple_or_per_batch_while_validating() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let given = inputs(&[("graph", &d.graph)]);
    // Validates on training triples, whose edges are in the graph. One step with a learning rate of
    // 0 is needed, because 0 epochs have no validation.
    let score = |edges: &str, batch_size: u32| {
        let params = with(
            pretrain_params(1),
            &[
                ("train.valid_fraction", json!(0)),
                ("train.eval_edges", json!(edges)),
                ("train.batch_size", json!(batch_size)),
                ("train.batch_per_epoch", json!(1)),
                ("optimizer.lr", json!(0)),
                ("optimizer.weight_decay", json!(0)),
            ],
        );
        let folder = format!("{edges}-{batch_size}");
        let out = run_in(dir.path(), &folder, "pretrain", &params, &given).unwrap();
        history(out.port("history"), "valid:mrr")[0]
    };
    assert_eq!(score("triple", 3), score("triple", 8));
    // As in GFM-RAG, the metric depends on the batch size.
    assert_ne!(score("batch", 3), score("batch", 8));
    assert_ne!(score("batch", 3), score("triple", 3));
}

#[test]
fn without_validation_the_last_epoch_is_kept_and_every_question_is_trained_on() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let params = with(finetune_params(3), &[("train.do_eval", json!("no"))]);
    let out = run(dir.path(), "finetune", params, finetune_inputs(&[&d])).unwrap();
    assert_eq!(epoch(out.port("model")), 3);
    assert!(
        metrics(out.port("history"))
            .iter()
            .all(|n| !n.starts_with("valid:"))
    );
    assert!(
        said(&out, "24 training questions, 0 validation questions (none)"),
        "{:?}",
        out.messages
    );
}

#[test]
fn given_validation_triples_leave_the_graph() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    // Every fourth triple, and one that is not in the graph.
    let mut held: Vec<[u32; 3]> = TOY.ring().into_iter().step_by(4).collect();
    held.push([0, 0, 5]);
    let valid = TOY.triples(dir.path(), "valid", &held);
    let given = inputs(&[("graph", &d.graph), ("valid", &valid)]);
    let out = run(dir.path(), "pretrain", pretrain_params(1), given).unwrap();
    let want = "24 nodes, 36 training triples, 13 validation triples (given)";
    assert!(said(&out, want), "{:?}", out.messages);

    let valid = TOY.triples(dir.path(), "outside", &[[0, 0, 1], [0, 2, 1]]);
    let given = inputs(&[("graph", &d.graph), ("valid", &valid)]);
    let e = run(dir.path(), "pretrain", pretrain_params(1), given);
    let e = e.err().unwrap();
    assert_eq!(e.kind(), ErrorKind::Data);
    let place = e.to_string();
    assert!(place.starts_with("outside[toy].triples row 1: "), "{place}");
}

#[test]
fn inputs_and_parameters_that_do_not_fit_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let mut wrong = finetune_inputs(&[&d]);
    wrong.insert(
        "train_embeddings".to_owned(),
        vec![d.corpus_embeddings.clone()],
    );
    let err = run(dir.path(), "finetune", finetune_params(1), wrong)
        .err()
        .unwrap()
        .to_string();
    assert!(
        err.contains("these embeddings were not made from `questions[toy]`"),
        "{err}"
    );

    let problems = op("pretrain")
        .validate(&json!({
            "model": {"entity_model": {"hidden_dims": [8, 512]}},
            "optimizer": {"betas": [0.9]},
            "train": {"clip_norm": 0},
        }))
        .unwrap_err();
    let text: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
    assert_eq!(
        text[1..],
        [
            "expected two numbers",
            "a norm of 0 would stop all training"
        ]
    );
    assert!(text[0].starts_with("hidden_dims[0] is 8"), "{text:?}");

    let losses = json!([
        {"name": "a", "loss": {"_target_": "BCELoss"}},
        {"name": "a", "loss": {"_target_": "ListCELoss", "adversarial_temperature": 1}},
    ]);
    let problems = op("finetune")
        .validate(&json!({"task": {"losses": losses}}))
        .unwrap_err();
    let text: Vec<&str> = problems.iter().map(|p| p.message.as_str()).collect();
    let want = [
        "only BCELoss has an adversarial_temperature",
        "two losses are named `a`",
    ];
    assert_eq!(text, want);
}
