//! Several data sets: pre-training on three graphs, fine-tuning on two, and inputs that do not
//! match.

use gfm_pipe_api::Artifact;
use gfm_pipe_api::local::Local;
use serde_json::json;

use crate::toy::*;

const A: Toy = Toy {
    name: "a",
    nodes: 16,
    ..TOY
};
const B: Toy = Toy {
    name: "b",
    nodes: 20,
    ..TOY
};
const C: Toy = Toy {
    name: "c",
    nodes: 12,
    ..TOY
};

fn graphs(sets: &[&Data]) -> Inputs {
    let list: Vec<(&str, &Artifact)> = sets.iter().map(|d| ("graph", &d.graph)).collect();
    inputs(&list)
}

fn error(result: Result<Local, gfm_pipe_api::OpError>) -> String {
    result.err().unwrap().to_string()
}

#[test]
fn pretraining_on_three_graphs_and_finetuning_on_two() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b, c) = (A.make(dir.path()), B.make(dir.path()), C.make(dir.path()));
    let out = run(
        dir.path(),
        "pretrain",
        pretrain_params(8),
        graphs(&[&a, &b, &c]),
    )
    .unwrap();
    let h = out.port("history");
    let loss = history(h, "mean_loss");
    assert!(loss[6] + loss[7] < 1.4 * loss[0], "{loss:?}");
    // The history has every data set under its name, and the plain mean.
    let each: Vec<Vec<f64>> = ["1", "2", "3"]
        .map(|n| history(h, &format!("valid:{n}:mrr")))
        .into();
    for (epoch, mean) in history(h, "valid:mrr").iter().enumerate() {
        let want = each.iter().map(|v| v[epoch]).sum::<f64>() / 3.0;
        assert!((mean - want).abs() < 1e-12);
    }
    assert!(said(&out, "data set 2 is graph[b]"), "{:?}", out.messages);

    let mut given = finetune_inputs(&[&a, &b]);
    given.insert("init".to_owned(), vec![out.port("model").clone()]);
    let out = run(dir.path(), "finetune", finetune_params(15), given).unwrap();
    let h = out.port("history");
    let loss = history(h, "mean_loss");
    assert!(loss[14] < 0.6 * loss[0], "{loss:?}");
    let score = history(h, "valid:entity:mrr_filtered");
    for (epoch, mean) in score.iter().enumerate() {
        let of = |set: &str| history(h, &format!("valid:{set}:entity:mrr_filtered"))[epoch];
        assert!((mean - (of("a") + of("b")) / 2.0).abs() < 1e-12);
    }
    // The model has the weights of the epoch with the best mean.
    let best = score
        .iter()
        .enumerate()
        .fold(0, |best, (i, s)| if *s > score[best] { i } else { best });
    assert_eq!(epoch(out.port("model")), best as u64 + 1);
}

#[test]
fn memory_limits_and_loaders_do_not_change_results() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b, c) = (A.make(dir.path()), B.make(dir.path()), C.make(dir.path()));
    let given = graphs(&[&a, &b, &c]);
    let digests: Vec<Vec<String>> = [(10, 4), (1, 4), (2, 1), (2, 0)]
        .iter()
        .map(|(most, workers)| {
            let params = with(
                pretrain_params(3),
                &[
                    ("train.max_datasets_in_memory", json!(most)),
                    ("train.data_loading_workers", json!(workers)),
                ],
            );
            let folder = format!("{most}-{workers}");
            digests(&run_in(dir.path(), &folder, "pretrain", &params, &given).unwrap())
        })
        .collect();
    assert!(digests.iter().all(|d| *d == digests[0]));
}

#[test]
fn the_cap_of_steps_applies_to_each_data_set() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b, c) = (A.make(dir.path()), B.make(dir.path()), C.make(dir.path()));
    // Without a cap the data sets have 8, 9 and 6 steps, in any order.
    for (cap, want) in [(json!(null), 23), (json!(7), 7 + 7 + 6), (json!(2), 6)] {
        let params = with(pretrain_params(1), &[("train.batch_per_epoch", cap)]);
        let folder = format!("cap{want}");
        let given = graphs(&[&c, &a, &b]);
        let out = run_in(dir.path(), &folder, "pretrain", &params, &given).unwrap();
        let h = out.port("history").read("history").unwrap();
        let steps = gfm_pipe_api::columns::u64s(&h, "step").unwrap();
        assert_eq!(steps.values().iter().max(), Some(&want));
    }
}

#[test]
fn a_single_data_set_has_no_label_in_the_history() {
    let dir = tempfile::tempdir().unwrap();
    let a = A.make(dir.path());
    let out = run(
        dir.path(),
        "finetune",
        finetune_params(1),
        finetune_inputs(&[&a]),
    )
    .unwrap();
    let names = metrics(out.port("history"));
    assert_eq!(names[0], "loss");
    assert_eq!(
        names[1..5],
        [
            "mean_loss",
            "mean_loss:ent_bce_loss",
            "mean_loss:ent_pcr_loss",
            "valid:entity:mrr"
        ]
    );
    assert!(names.iter().all(|n| !n.contains("valid:a:")));
}

#[test]
fn ports_with_different_counts_are_rejected_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (A.make(dir.path()), B.make(dir.path()));
    let mut given = finetune_inputs(&[&a, &b]);
    given.get_mut("train").unwrap().pop();
    let e = error(run(dir.path(), "finetune", finetune_params(1), given));
    let want = "data sets are matched by position, but `graph` has 2, `documents` has 2, `train` has 1, `train_embeddings` has 2";
    assert_eq!(e, want);

    let mut given = finetune_inputs(&[&a, &b]);
    given.insert(
        "valid".to_owned(),
        vec![a.questions.clone(), b.questions.clone()],
    );
    let e = error(run(dir.path(), "finetune", finetune_params(1), given));
    assert!(
        e.ends_with("`valid` has 2, `valid_embeddings` has 0"),
        "{e}"
    );

    let mut given = graphs(&[&a, &b]);
    given.insert("valid".to_owned(), vec![a.triples.clone()]);
    let e = error(run(dir.path(), "pretrain", pretrain_params(1), given));
    assert!(e.ends_with("`graph` has 2, `valid` has 1"), "{e}");
}

#[test]
fn two_encoders_are_rejected_and_both_data_sets_named() {
    let dir = tempfile::tempdir().unwrap();
    let a = A.make(dir.path());
    let other = Toy {
        encoder: ("other", 7),
        ..B
    };
    let b = other.make(dir.path());
    let want = "`graph[a]` is embedded with toy-encoder (6 wide), `graph[b]` with other (7 wide): one model needs one encoder";
    let e = error(run(
        dir.path(),
        "pretrain",
        pretrain_params(1),
        graphs(&[&a, &b]),
    ));
    assert_eq!(e, want);
    let given = finetune_inputs(&[&a, &b]);
    let e = error(run(dir.path(), "finetune", finetune_params(1), given));
    assert_eq!(e, want);

    // Questions embedded with another encoder than their graph.
    let plain = B.make(&dir.path().join("plain"));
    let mut given = finetune_inputs(&[&a, &plain]);
    given.get_mut("train_embeddings").unwrap()[1] = b.question_embeddings.clone();
    let e = error(run(dir.path(), "finetune", finetune_params(1), given));
    assert!(
        e.contains("`graph[a]`") && e.contains("`question_embeddings[b]` with other"),
        "{e}"
    );
}

#[test]
fn a_data_set_that_cannot_be_read_is_an_error_with_its_cause() {
    let dir = tempfile::tempdir().unwrap();
    let (a, mut b, c) = (A.make(dir.path()), B.make(dir.path()), C.make(dir.path()));
    for t in &mut b.graph.tables {
        if t.name == "edges" {
            t.objects[0].path = dir.path().join("gone.parquet");
        }
    }
    for workers in [0, 4] {
        let params = with(
            pretrain_params(1),
            &[("train.data_loading_workers", json!(workers))],
        );
        let given = graphs(&[&a, &b, &c]);
        let e = error(run_in(dir.path(), "gone", "pretrain", &params, &given));
        assert!(e.starts_with("graph[b].edges: failed to read"), "{e}");
        assert!(
            e.contains("No such file") || e.contains("gone.parquet"),
            "{e}"
        );
    }
}

#[test]
fn validation_questions_can_have_their_own_graphs() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b, c) = (A.make(dir.path()), B.make(dir.path()), C.make(dir.path()));
    let mut given = finetune_inputs(&[&a]);
    given.extend(inputs(&[
        ("valid_graph", &b.graph),
        ("valid_documents", &b.documents),
        ("valid", &b.questions),
        ("valid_embeddings", &b.question_embeddings),
        ("valid_graph", &c.graph),
        ("valid_documents", &c.documents),
        ("valid", &c.questions),
        ("valid_embeddings", &c.question_embeddings),
    ]));
    let out = run(dir.path(), "finetune", finetune_params(2), given).unwrap();
    let names = metrics(out.port("history"));
    let has = |n: &str| names.iter().any(|x| x == n);
    assert!(
        has("valid:b:entity:mrr") && has("valid:c:document:hits@1"),
        "{names:?}"
    );
    assert!(
        !names.iter().any(|n| n.starts_with("valid:a:")),
        "{names:?}"
    );
    // All 16 questions are trained on: nothing is held out, since validation has its own graphs.
    assert!(said(
        &out,
        "data set a: 16 nodes, 16 documents, 16 training questions, 0 validation"
    ));
}
