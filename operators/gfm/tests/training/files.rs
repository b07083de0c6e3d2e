//! Models as files: an exported model can be trained further as if it had stayed in the store.

use std::path::Path;

use gfm_pipe_api::columns;
use serde_json::{Value, json};

use crate::toy::*;

fn at(path: &Path) -> Value {
    path.to_str().unwrap().into()
}

/// Exports a model that was pre-trained on the toy graph. Returns the folder and the model.
fn exported(dir: &Path, d: &Data) -> (std::path::PathBuf, gfm_pipe_api::Artifact) {
    let graph = inputs(&[("graph", &d.graph)]);
    let pre = run(dir, "pretrain", pretrain_params(1), graph).unwrap();
    let model = pre.port("model").clone();
    let folder = dir.join("out/of/the/store");
    let params = json!({"path": at(&folder), "formats": ["pth", "safetensors", "parquet"]});
    let out = run(dir, "export", params, inputs(&[("model", &model)])).unwrap();
    let table = out.port("files").read("files").unwrap();
    let names = columns::text(&table, "name").unwrap();
    let names: Vec<&str> = names.iter().flatten().collect();
    assert_eq!(
        names,
        [
            "config.json",
            "model.pth",
            "model.safetensors",
            "weights.parquet"
        ]
    );
    (folder, model)
}

#[test]
fn starting_from_an_exported_model_equals_starting_from_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let (folder, model) = exported(dir.path(), &d);
    let mut given = finetune_inputs(&[&d]);
    given.insert("init".to_owned(), vec![model.clone()]);
    let want = run_in(dir.path(), "init", "finetune", &finetune_params(1), &given).unwrap();
    given.remove("init");
    for name in ["", "model.pth", "model.safetensors", "weights.parquet"] {
        let params = with(
            finetune_params(1),
            &[("train.checkpoint", at(&folder.join(name)))],
        );
        let out = run_in(
            dir.path(),
            &format!("from-{name}"),
            "finetune",
            &params,
            &given,
        )
        .unwrap();
        assert_eq!(digests(&out), digests(&want), "{name}");
        assert!(said(
            &out,
            "left as initialised: question_mlp.bias, question_mlp.weight"
        ));
        let files = op("finetune")
            .files(&op("finetune").validate(&params).unwrap(), Path::new(""))
            .unwrap();
        assert!(files.iter().any(|f| f.required));
    }
    // If the folder has only safetensors, these are read.
    std::fs::remove_file(folder.join("model.pth")).unwrap();
    let params = with(finetune_params(1), &[("train.checkpoint", at(&folder))]);
    let out = run_in(dir.path(), "safe", "finetune", &params, &given).unwrap();
    assert_eq!(digests(&out), digests(&want));
}

#[test]
fn a_folder_sets_the_dimensions_and_a_file_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let (folder, _) = exported(dir.path(), &d);
    let given = inputs(&[("graph", &d.graph)]);
    let other =
        json!({"entity_model": {"input_dim": 16, "hidden_dims": [16, 16], "layer_norm": false}});
    let params = |checkpoint: &Path| {
        with(
            pretrain_params(0),
            &[
                ("model", other.clone()),
                ("train.checkpoint", at(checkpoint)),
            ],
        )
    };
    let out = run_in(dir.path(), "folder", "pretrain", &params(&folder), &given).unwrap();
    assert!(
        said(&out, "input_dim 16, 3 layers, distmult, sum"),
        "{:?}",
        out.messages
    );
    let layers = |out: &gfm_pipe_api::local::Local| {
        let table = out.port("model").read("config").unwrap();
        let json = columns::text(&table, "json").unwrap().value(0).to_owned();
        let config: Value = serde_json::from_str(&json).unwrap();
        config["entity_model"]["hidden_dims"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(layers(&out), 3);
    let file = folder.join("model.pth");
    let out = run_in(dir.path(), "file", "pretrain", &params(&file), &given).unwrap();
    assert_eq!(layers(&out), 2);
    assert!(said(
        &out,
        "not used: entity_model.layers.0.layer_norm.bias"
    ));
}

#[test]
fn an_exported_model_can_be_imported_with_its_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let (folder, model) = exported(dir.path(), &d);
    let graph = inputs(&[("graph", &d.graph)]);
    let params = json!({"path": at(&folder)});
    let back = run(dir.path(), "import-model", params, graph.clone()).unwrap();
    let weights = |a: &gfm_pipe_api::Artifact| a.file("weights").unwrap().digest.clone();
    assert_eq!(weights(back.port("model")), weights(&model));

    let alone = dir.path().join("alone");
    std::fs::create_dir(&alone).unwrap();
    std::fs::copy(folder.join("model.pth"), alone.join("model.pth")).unwrap();
    let params = json!({"path": at(&alone.join("model.pth"))});
    let e = run(dir.path(), "import-model", params, graph)
        .err()
        .unwrap()
        .to_string();
    assert!(
        e.contains("there is no configuration for these weights"),
        "{e}"
    );
}

#[test]
fn a_start_model_that_does_not_fit_is_an_error_with_its_cause() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let (folder, model) = exported(dir.path(), &d);
    let error = |changes: &[(&str, Value)], init: bool| {
        let mut given = inputs(&[("graph", &d.graph)]);
        if init {
            given.insert("init".to_owned(), vec![model.clone()]);
        }
        let params = with(pretrain_params(1), changes);
        let out = run_in(dir.path(), "bad", "pretrain", &params, &given);
        out.err().unwrap().to_string()
    };
    let e = error(&[("train.checkpoint", at(&folder))], true);
    assert!(e.contains("there are two models to start from"), "{e}");
    // The parity model was made for embeddings of another width. Tests run in the folder of their
    // package, which may differ from the one they were built in.
    let here = std::env::current_dir().unwrap();
    let wide = here.join("../../tests/parity/wheel/query");
    let e = error(&[("train.checkpoint", at(&wide))], false);
    assert!(e.contains("all-mpnet-base-v2 (48 wide)"), "{e}");
    let narrow = json!({"entity_model": {"input_dim": 8, "hidden_dims": [8], "layer_norm": false}});
    let file = at(&folder.join("weights.parquet"));
    let e = error(&[("model", narrow), ("train.checkpoint", file)], false);
    assert!(e.contains("no parameter of the start model fits"), "{e}");
}

#[test]
fn a_damaged_delivered_file_is_written_again_and_others_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let (folder, model) = exported(dir.path(), &d);
    let (json, pth) = (folder.join("config.json"), folder.join("model.pth"));
    let before = std::fs::metadata(&json).unwrap().modified().unwrap();
    let good = std::fs::read(&pth).unwrap();
    std::fs::write(&pth, b"damaged").unwrap();
    std::fs::write(folder.join("mine.txt"), b"mine").unwrap();
    let params = json!({"path": at(&folder), "formats": ["pth"]});
    run(dir.path(), "export", params, inputs(&[("model", &model)])).unwrap();
    assert_eq!(std::fs::read(&pth).unwrap(), good);
    assert_eq!(
        std::fs::metadata(&json).unwrap().modified().unwrap(),
        before
    );
    let mut left: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(
        left,
        [
            "config.json",
            "mine.txt",
            "model.pth",
            "model.safetensors",
            "weights.parquet"
        ]
    );
}

#[test]
fn weights_of_another_function_are_rejected_even_if_all_shapes_fit() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let (folder, model) = exported(dir.path(), &d);
    let mut given = inputs(&[("graph", &d.graph)]);
    given.insert("init".to_owned(), vec![model]);
    for (key, value) in [
        ("message_func", json!("transe")),
        ("aggregate_func", json!("mean")),
        ("activation", json!("gelu")),
        ("short_cut", json!(false)),
    ] {
        let params = with(
            pretrain_params(1),
            &[(&format!("model.entity_model.{key}"), value)],
        );
        let out = run_in(dir.path(), "other", "pretrain", &params, &given);
        let e = out.err().unwrap().to_string();
        assert!(
            e.contains(&format!(
                "computes another function with its weights: {key}"
            )),
            "{e}"
        );
        // The same for a file with its configuration next to it.
        let params = with(
            params,
            &[("train.checkpoint", at(&folder.join("model.pth")))],
        );
        let alone = inputs(&[("graph", &d.graph)]);
        let out = run_in(dir.path(), "other", "pretrain", &params, &alone);
        assert!(out.err().unwrap().to_string().contains(key));
    }
}

#[test]
fn config_json_is_read_and_stale_weights_are_detected() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let (folder, model) = exported(dir.path(), &d);
    let graph = inputs(&[("graph", &d.graph)]);
    let import = |folder: &Path| {
        run_in(
            dir.path(),
            "import",
            "import-model",
            &json!({"path": at(folder)}),
            &graph,
        )
    };
    // Both files are of one export, so the digest in one of them is known for both.
    let out = import(&folder).unwrap();
    assert!(
        !out.messages
            .iter()
            .any(|m| m.1.contains("was trained with"))
    );
    let config = |out: &gfm_pipe_api::local::Local| {
        let table = out.port("model").read("config").unwrap();
        columns::text(&table, "json").unwrap().value(0).to_owned()
    };
    let json = folder.join("config.json");
    let text = std::fs::read_to_string(&json).unwrap();
    std::fs::remove_file(folder.join("model.pth")).unwrap();
    std::fs::write(&json, text.replace("distmult", "transe")).unwrap();
    assert!(config(&import(&folder).unwrap()).contains("transe"));
    std::fs::write(&json, &text).unwrap();

    let other = inputs(&[("graph", &d.graph), ("init", &model)]);
    let more = run_in(dir.path(), "more", "pretrain", &pretrain_params(2), &other).unwrap();
    let params = json!({"path": at(&folder), "formats": ["pth"]});
    let given = inputs(&[("model", more.port("model"))]);
    run_in(dir.path(), "again", "export", &params, &given).unwrap();
    let e = import(&folder).err().unwrap().to_string();
    assert!(
        e.contains("model.pth: model.safetensors beside it has other weights"),
        "{e}"
    );
}

#[test]
fn connections_are_checked_before_anything_runs() {
    let problem = |op_name: &str, params: Value, connected: &[(&str, &[&str])]| {
        let entry = op(op_name);
        let params = entry.validate(&params).unwrap();
        let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let connected = connected.iter().map(|(p, n)| ((*p).to_owned(), list(n)));
        let found = entry.check_inputs(&params, &connected.collect());
        found.into_iter().map(|p| p.message).collect::<Vec<_>>()
    };
    let both = json!({"train": {"checkpoint": "a.pth"}});
    let start: &[(&str, &[&str])] = &[("graph", &["g.graph"]), ("init", &["p.model"])];
    assert!(problem("pretrain", json!({}), start).is_empty());
    let found = problem("pretrain", both, start);
    assert!(
        found[0].contains("input `init` (p.model) and `train.checkpoint` (a.pth)"),
        "{found:?}"
    );

    let ports = |graph, documents, valid| -> Vec<(&'static str, &'static [&'static str])> {
        vec![
            ("graph", graph),
            ("documents", documents),
            ("train", &["q[a].train", "q[b].train"]),
            ("train_embeddings", &["e[a].embeddings", "e[b].embeddings"]),
            ("valid", valid),
        ]
    };
    let good: &[&str] = &["g[a].graph", "g[b].graph"];
    let ok = ports(good, &["one.documents", "d[b].documents"], &[]);
    assert!(problem("finetune", json!({}), &ok).is_empty());
    let fewer = ports(good, &["d[a].documents"], &[]);
    let found = problem("finetune", json!({}), &fewer);
    assert!(
        found[0].contains("`graph` has 2, `documents` has 1"),
        "{found:?}"
    );
    let crossed = ports(
        &["g[b].graph", "g[a].graph"],
        &["d[a].documents", "d[b].documents"],
        &[],
    );
    let found = problem("finetune", json!({}), &crossed);
    assert_eq!(found.len(), 1);
    assert!(
        found[0]
            .contains("number 1 is `g[b].graph` in `graph` and `d[a].documents` in `documents`"),
        "{found:?}"
    );
    let half = ports(
        good,
        &["d[a].documents", "d[b].documents"],
        &["q[a].valid", "q[b].valid"],
    );
    let found = problem("finetune", json!({}), &half);
    assert!(
        found[0].contains("`valid` has 2, `valid_embeddings` has 0"),
        "{found:?}"
    );
}
