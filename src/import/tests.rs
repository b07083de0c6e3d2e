//! Each `tests/import/NAME.yaml` must give exactly `NAME.pipeline.yaml` beside it. `UPDATE_GOLDEN=1` writes these anew.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
#![cfg(all(feature = "gfm", feature = "static-encoder"))]

use std::fs;

use super::*;
use crate::registry::builtin;
use crate::spec::{LoadOptions, load};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")
}

fn imported(name: &str, overrides: &[&str]) -> Imported {
    let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
    import(
        &folder().join(format!("{name}.yaml")),
        &overrides,
        &builtin(),
    )
    .unwrap()
}

/// The pipeline's text loaded, or the report on it.
fn loaded(yaml: &str) -> Result<crate::spec::Pipeline, String> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("p.yaml"), yaml).unwrap();
    let opts = LoadOptions {
        base: dir.path().to_owned(),
        ..LoadOptions::default()
    };
    load(Path::new("p.yaml"), &opts, &builtin()).map_err(|e| e.to_string())
}

#[test]
fn configurations_give_the_pipelines_written_down() {
    for name in ["guide_pretrain", "guide_finetune", "custom"] {
        let got = imported(name, &[]);
        let path = folder().join(format!("{name}.pipeline.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &got.yaml).unwrap();
            continue;
        }
        let want = fs::read_to_string(&path)
            .unwrap_or_default()
            .replace("\r\n", "\n");
        assert_eq!(got.yaml, want, "{name}");
    }
}

#[test]
fn the_guides_examples_are_right_pipelines_with_nothing_unknown() {
    for (name, op) in [
        ("guide_pretrain", "pretrain"),
        ("guide_finetune", "finetune"),
    ] {
        let got = imported(name, &[]);
        assert!(got.unknown.is_empty(), "{:?}", got.unknown);
        assert!(
            !got.notes.iter().any(|n| n.contains("mended")),
            "{:?}",
            got.notes
        );
        let p = loaded(&got.yaml).unwrap_or_else(|e| panic!("{name}: {e}"));
        let stage = p.stage(op).unwrap();
        // All that the guide says, under its own names.
        for (path, want) in [
            ("/seed", "1024"),
            ("/model/entity_model/hidden_dims/5", "512"),
            ("/model/entity_model/message_func", "\"distmult\""),
            ("/model/entity_model/short_cut", "true"),
            ("/optimizer/lr", "0.0005"),
            ("/train/batch_size", "8"),
            ("/train/batch_per_epoch", "null"),
            ("/train/checkpoint", "null"),
        ] {
            assert_eq!(
                stage.params.pointer(path).unwrap().to_string(),
                want,
                "{name} {path}"
            );
        }
    }
}

/// The shipped pipelines named after the guide's two examples are those examples.
#[test]
fn the_shipped_pipelines_say_what_the_guide_says() {
    for (guide, shipped, op) in [
        ("guide_pretrain", "kg_pretrain", "pretrain"),
        ("guide_finetune", "qa_finetune", "finetune"),
    ] {
        let opts = LoadOptions {
            base: Path::new(env!("CARGO_MANIFEST_DIR")).to_owned(),
            ..LoadOptions::default()
        };
        let file = format!("pipelines/{shipped}.yaml");
        let ours = load(Path::new(&file), &opts, &builtin()).unwrap_or_else(|e| panic!("{e}"));
        let theirs = loaded(&imported(guide, &[]).yaml).unwrap();
        let (ours, theirs) = (ours.stage(op).unwrap(), theirs.stage(op).unwrap());
        assert_eq!(ours.params, theirs.params, "{shipped}");
        assert_eq!(
            ours.inputs.keys().collect::<Vec<_>>(),
            theirs.inputs.keys().collect::<Vec<_>>()
        );
    }
}

#[test]
fn slips_are_said() {
    let notes = imported("guide_pretrain", &[]).notes.join("\n");
    assert!(
        notes.contains("`task._target_` and `task.lr` moved to `optimizer`"),
        "{notes}"
    );
    assert!(
        notes.contains("`checkpoint` moved to `train.checkpoint`"),
        "{notes}"
    );
    let notes = imported("guide_finetune", &[]).notes.join("\n");
    assert!(notes.contains("`defaults` stands under `hydra`"), "{notes}");
}

#[test]
fn overrides_of_the_command_line_count() {
    let got = imported(
        "guide_finetune",
        &[
            "train.batch_size=4",
            "datasets.train_names=[x,y]",
            "doc_ranker=simple_ranker",
            "+task.zebra=1",
        ],
    );
    let p = loaded(&got.yaml).unwrap();
    let stage = p.stage("finetune").unwrap();
    assert_eq!(stage.params["train"]["batch_size"], 4);
    assert_eq!(stage.params["doc_ranker"]["name"], "simple");
    assert!(p.stage("graph[y]").is_some());
    assert_eq!(got.unknown, [("task.zebra".to_owned(), "1".to_owned())]);
    let bad = import(&folder().join("custom.yaml"), &["x".to_owned()], &builtin());
    assert!(matches!(bad, Err(ImportError::Override(_))));
}

#[test]
fn other_files_are_refused_with_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let error = |text: &str| {
        let file = dir.path().join("c.yaml");
        fs::write(&file, text).unwrap();
        import(&file, &[], &builtin()).unwrap_err().to_string()
    };
    assert!(error("kg_constructor: {}").contains("stage 1"));
    assert!(error("graph_retriever: {model_path: x}").contains("stage 3"));
    assert!(error("a: 1").contains("neither a pre-training nor a fine-tuning"));
    assert!(error("[1]").contains("a configuration is a mapping"));
    let torn = error("a: [");
    assert!(torn.contains("line 2 column 1"), "{torn}");
    assert!(error("defaults: 3").contains("`defaults` is a list"));
    let none = import(Path::new("no/such.yaml"), &[], &builtin()).unwrap_err();
    assert!(none.to_string().starts_with("cannot read no/such.yaml"));
}

#[test]
fn group_files_beside_the_configuration_win_over_known_ones() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("doc_ranker")).unwrap();
    let ranker = "_target_: gfmrag.doc_rankers.TopKRanker\ntop_k: 3\n";
    fs::write(dir.path().join("doc_ranker/idf_topk_ranker.yaml"), ranker).unwrap();
    let file = dir.path().join("c.yaml");
    fs::copy(folder().join("guide_finetune.yaml"), &file).unwrap();
    let p = loaded(&import(&file, &[], &builtin()).unwrap().yaml).unwrap();
    let params = &p.stage("finetune").unwrap().params;
    assert_eq!(
        params["doc_ranker"].to_string(),
        r#"{"name":"topk","top_k":3}"#
    );
}

#[test]
fn overrides_reach_into_lists_and_take_away() {
    let got = imported(
        "guide_finetune",
        &[
            "task.losses[0].cfg.weight=0.5",
            "task.losses.1.cfg.weight=0.5",
            "~train.timeout",
        ],
    );
    let p = loaded(&got.yaml).unwrap();
    let params = &p.stage("finetune").unwrap().params;
    for i in 0..2 {
        assert_eq!(params["task"]["losses"][i]["cfg"]["weight"], 0.5);
    }
    assert!(!got.yaml.contains("timeout"));
    for bad in [
        "task.losses.7.cfg.weight=1",
        "seed.x=1",
        "datasets.cfgs.text_emb_model_cfgs.batch_size=4",
        "a..b=1",
    ] {
        let file = folder().join("guide_finetune.yaml");
        let e = import(&file, &[bad.to_owned()], &builtin());
        assert!(matches!(e, Err(ImportError::Override(_))), "{bad}");
    }
}

#[test]
fn a_configuration_in_another_encoding_is_named_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.yaml");
    let text = "\u{feff}model: {_target_: QueryGNN}\n".encode_utf16();
    let bytes: Vec<u8> = text.flat_map(u16::to_be_bytes).collect();
    fs::write(&file, bytes).unwrap();
    let e = import(&file, &[], &builtin()).err().unwrap().to_string();
    assert!(
        e.ends_with("c.yaml: the file is UTF-16 (big-endian), not UTF-8: convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW"),
        "{e}"
    );
    fs::write(&file, b"model: \xe4\n").unwrap();
    let e = import(&file, &[], &builtin()).err().unwrap().to_string();
    assert!(e.contains("cannot read"), "{e}");
}

#[test]
fn evaluation_starts_questions_as_training_did() {
    let got = imported("guide_finetune", &["train.init_entities_weight=False"]);
    let p = loaded(&got.yaml).unwrap();
    let stage = p.stage("evaluate[musique_test]").unwrap();
    assert_eq!(stage.params["init_entities_weight"], false);
    assert!(
        got.notes
            .iter()
            .any(|n| n.contains("reports on the same questions"))
    );
}

#[test]
fn a_moved_key_fills_an_empty_place_and_is_listed_where_it_loses() {
    let text = |train: &str, task: &str| {
        format!(
            "model: {{_target_: QueryGNN}}\ncheckpoint: a.pth\ntrain: {train}\noptimizer: {{lr: 1}}\ntask: {task}\n"
        )
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.yaml");
    let done = |train: &str, task: &str| {
        fs::write(&file, text(train, task)).unwrap();
        import(&file, &[], &builtin()).unwrap()
    };
    assert!(done("", "{}").yaml.contains("checkpoint: a.pth"));
    let got = done("{checkpoint: b.pth}", "{lr: 2}");
    assert!(got.yaml.contains("checkpoint: b.pth"));
    let unknown: Vec<&str> = got.unknown.iter().map(|u| u.0.as_str()).collect();
    assert_eq!(unknown, ["lr", "checkpoint"]);
    // A reference to itself ends.
    assert!(
        done("{num_epoch: '${train.num_epoch}${train.num_epoch}'}", "{}")
            .yaml
            .contains("${")
    );
}

proptest::proptest! {
    #[test]
    fn no_key_is_lost(section in proptest::sample::select(vec![
        "", "datasets", "datasets.cfgs", "model", "model.entity_model", "task", "optimizer", "train", "doc_ranker",
        "text_emb_model",
    ]), nested: bool) {
        let value = if nested { "{inner: 20261125}" } else { "20261125" };
        let key = format!("{section}{}zebra", if section.is_empty() { "" } else { "." });
        for name in ["guide_finetune", "guide_pretrain", "custom"] {
            let got = imported(name, &[&format!("+{key}={value}")]);
            let said = got.notes.join(" ") + &got.unknown.iter().map(|u| u.1.as_str()).collect::<String>();
            let body: String = got.yaml.lines().filter(|l| !l.starts_with('#')).collect();
            proptest::prop_assert!(
                said.contains("20261125") || body.contains("20261125"),
                "{name} {key}: {said}"
            );
        }
    }

    #[test]
    fn no_text_panics(text in "(model|task|hydra|datasets|defaults|train|_target_|QueryGNN|losses|\\$\\{[a-z.]{0,6}\\}?|[-:,{}\\[\\] \n]|[a-z0-9]){0,40}") {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.yaml");
        fs::write(&file, &text).unwrap();
        let _ = import(&file, &[], &builtin());
        fs::write(&file, format!("model: {{_target_: QueryGNN}}\n{text}")).unwrap();
        let _ = import(&file, &[], &builtin());
    }
}
