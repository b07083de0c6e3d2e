//! Each `tests/import/NAME.yaml` must be converted to exactly the `NAME.pipeline.yaml` beside it.
//! `UPDATE_GOLDEN=1` writes these files again.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
#![cfg(all(feature = "gfm", feature = "static-encoder"))]

use std::fs;

use super::*;
use crate::registry::builtin;
use crate::spec::{LoadOptions, load};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")
}

/// A configuration imported leniently: what is not understood is a note.
fn imported(name: &str, overrides: &[&str]) -> Imported {
    lenient(&folder().join(format!("{name}.yaml")), overrides)
}

fn lenient(file: &Path, overrides: &[&str]) -> Imported {
    let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
    import(file, &overrides, true, &builtin()).unwrap()
}

/// As the command line imports by default.
fn strict(file: &Path, overrides: &[&str]) -> Result<Imported, ImportError> {
    let overrides: Vec<String> = overrides.iter().map(|s| (*s).to_owned()).collect();
    import(file, &overrides, false, &builtin())
}

/// The problems of a configuration, each on one line.
fn problems(file: &Path, overrides: &[&str]) -> Vec<String> {
    match strict(file, overrides) {
        Err(ImportError::NotUnderstood(all)) => all.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other}"),
        Ok(_) => Vec::new(),
    }
}

/// Loads the text of a pipeline. The error is the report.
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
        let got = strict(&folder().join(format!("{name}.yaml")), &[]).unwrap();
        let p = loaded(&got.yaml).unwrap_or_else(|e| panic!("{name}: {e}"));
        let stage = p.stage(op).unwrap();
        // All values that the guide gives, under its own names.
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
    let bad = strict(&folder().join("custom.yaml"), &["x"]);
    assert!(matches!(bad, Err(ImportError::Override(_))));
}

#[test]
fn other_files_are_refused_with_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let error = |text: &str| {
        let file = dir.path().join("c.yaml");
        fs::write(&file, text).unwrap();
        strict(&file, &[]).unwrap_err().to_string()
    };
    assert!(error("kg_constructor: {}").contains("stage 1"));
    assert!(error("graph_retriever: {model_path: x}").contains("stage 3"));
    assert!(error("a: 1").contains("neither a pre-training nor a fine-tuning"));
    assert!(error("[1]").contains("a configuration is a mapping"));
    let torn = error("a: [");
    assert!(torn.contains("line 2 column 1"), "{torn}");
    assert!(error("defaults: 3").contains("`defaults` is a list"));
    let none = strict(Path::new("no/such.yaml"), &[]).unwrap_err();
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
    let p = loaded(&strict(&file, &[]).unwrap().yaml).unwrap();
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
        let e = strict(&file, &[bad]);
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
    let e = import(&file, &[], false, &builtin())
        .err()
        .unwrap()
        .to_string();
    assert!(
        e.ends_with("c.yaml: the file is UTF-16 (big-endian), not UTF-8: convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW"),
        "{e}"
    );
    fs::write(&file, b"model: \xe4\n").unwrap();
    let e = import(&file, &[], false, &builtin())
        .err()
        .unwrap()
        .to_string();
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
        lenient(&file, &[])
    };
    assert!(done("", "{}").yaml.contains("checkpoint: a.pth"));
    let got = done("{checkpoint: b.pth}", "{lr: 2}");
    assert!(got.yaml.contains("checkpoint: b.pth"));
    let unknown: Vec<&str> = got.unknown.iter().map(|u| u.0.as_str()).collect();
    assert_eq!(unknown, ["task.lr", "checkpoint"]);
    // Resolving a reference to itself ends.
    assert!(
        done("{num_epoch: '${train.num_epoch}${train.num_epoch}'}", "{}")
            .yaml
            .contains("${")
    );
}

/// Everything that would change the training and is not understood is refused, each with its key
/// and its place.
#[test]
fn what_is_not_understood_is_refused_with_its_place() {
    let got = problems(&folder().join("custom.yaml"), &[]);
    let file = folder().join("custom.yaml");
    let at = |line_column: &str| format!("{}:{line_column}: ", file.display());
    let want = [
        at("3:5") + "`defaults`: there is no text_emb_model/my_encoder.yaml",
        at("11:5")
            + "`datasets.cfgs.root` must be corrected: `${oc.env:DATA}/sets` needs a running Hydra",
        at("13:5") + "`datasets.cfgs.text_emb_model_cfgs` is not known (\"${text_emb_model}\")",
        at("14:5") + "`datasets.cfgs.sharded` is not known (true)",
        at("28:5") + "`model.entity_model.dropout` is not known (0.1)",
        at("32:3") + "`optimizer._target_` must be corrected: expected torch.optim.AdamW",
        at("34:3") + "`optimizer.momentum` is not known (0.9)",
        at("36:17") + "`task.metric[1]` must be corrected: `hits@zero` is not a metric",
        at("38:3") + "`train.num_epoch` must be corrected: expected a whole number",
        at("38:3") + "`train.num_epoch` must be corrected: `${..epochs}` needs a running Hydra",
        at("40:3") + "`train.gradient_accumulation` is not known (4)",
    ];
    for (got, want) in got.iter().zip(&want) {
        assert!(got.starts_with(want.as_str()), "{got}\n{want}");
    }
    assert_eq!(got.len(), want.len(), "{got:#?}");
}

/// Keys that no version knows, in the sections that all have.
const UNKNOWN: [&str; 7] = [
    "zebra",
    "datasets.zebra",
    "datasets.cfgs.zebra",
    "model.zebra",
    "model.entity_model.zebra",
    "optimizer.zebra",
    "text_emb_model.zebra",
];

#[test]
fn a_key_of_every_section_is_refused_and_what_cannot_matter_is_a_note() {
    let guide = folder().join("guide_finetune.yaml");
    let own = ["task.zebra", "train.zebra", "doc_ranker.zebra"];
    for key in UNKNOWN.into_iter().chain(own) {
        let set = format!("+{key}=1");
        let want = format!("{set}: `{key}` is not known (1)");
        // The encoder's keys are found through the reference to it.
        assert_eq!(problems(&guide, &[&set]), [want], "{key}");
    }
    for (set, told) in [
        (
            "doc_ranker._target_=my.SimpleRanker",
            "there is no ranker \"my.SimpleRanker\"",
        ),
        (
            "doc_ranker=my_ranker",
            "there is no doc_ranker/my_ranker.yaml",
        ),
        (
            "datasets._target_=gfmrag.datasets.KGDataset",
            "finetune reads a QADataset, found",
        ),
        (
            "datasets.cfgs.root=[1]",
            "`datasets.cfgs.root` is not known",
        ),
        (
            "datasets.train_names=[[a]]",
            "`datasets.train_names` is not known",
        ),
        (
            "datasets.cfgs.text_emb_model_cfgs=mpnet",
            "text_emb_model_cfgs` is not known",
        ),
        (
            "+text_emb_model._target_=my.Encoder",
            "`text_emb_model._target_` is not known",
        ),
        ("task.losses[0].cfg.gamma=2", "task.losses[0].cfg.gamma"),
        (
            "task.losses[0].loss._target_=Focal",
            "task.losses[0].loss._target_",
        ),
        (
            "model.entity_model.message_func=conve",
            "model.entity_model.message_func",
        ),
    ] {
        let got = problems(&guide, &[set]);
        assert!(got.len() == 1 && got[0].contains(told), "{set}: {got:?}");
        assert!(got[0].starts_with(&format!("{set}: ")), "{got:?}");
        // With --lenient it makes a pipeline.
        assert!(!lenient(&guide, &[set]).yaml.is_empty());
    }
    for (set, told) in [
        (
            "+wandb.project=x",
            "`wandb` ({\"project\":\"x\"}) cannot change the training",
        ),
        ("+hydra.verbose=true", "`hydra`"),
        ("+logging.level=debug", "`logging`"),
    ] {
        let notes = strict(&guide, &[set]).unwrap().notes.join("\n");
        assert!(notes.contains(told), "{set}: {notes}");
    }
    // A value that others refer to.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.yaml");
    let text = fs::read_to_string(&guide).unwrap();
    let text = text.replace("num_epoch: 20", "num_epoch: ${epochs}") + "epochs: 3\n";
    fs::write(&file, text).unwrap();
    let got = strict(&file, &[]).unwrap();
    let params = &loaded(&got.yaml).unwrap();
    assert_eq!(
        params.stage("finetune").unwrap().params["train"]["num_epoch"],
        3
    );
    assert!(
        got.notes.iter().any(|n| n.starts_with("`epochs` (3)")),
        "{:?}",
        got.notes
    );
    // Pre-training ranks no documents, whatever the groups say.
    let notes = strict(
        &folder().join("guide_pretrain.yaml"),
        &["+doc_ranker.top_k=3"],
    );
    let notes = notes.unwrap().notes.join("\n");
    assert!(notes.contains("pre-training ranks no documents"), "{notes}");
}

/// Read as configurations of 1.0, these would be trainings with default values.
#[test]
fn configurations_of_2_0_that_train_nothing_are_refused() {
    for (name, place, told) in [
        (
            "index_dataset",
            "3:1",
            "(indexing of documents; the group `graph_constructor` is",
        ),
        (
            "qa_inference",
            "10:3",
            "(answering with a language model; `test.n_sample` is",
        ),
        (
            "qa_ircot_inference",
            "14:3",
            "(retrieval in steps with a language model; `graph_retriever.target_type` is",
        ),
        (
            "visualize_path",
            "3:1",
            "(explaining answers by paths; `load_model_from_pretrained` is",
        ),
    ] {
        let file = folder().join(format!("version_2/{name}.yaml"));
        for lenient in [false, true] {
            let e = import(&file, &[], lenient, &builtin()).unwrap_err();
            let text = e.to_string();
            let start = format!(
                "{}:{place}: this is a configuration of GFM-RAG 2.0 ",
                file.display()
            );
            assert!(
                text.starts_with(&start) && text.contains(told),
                "{name}: {text}"
            );
            assert!(e.hint().is_some());
        }
    }
}

/// A single part of 2.0 is enough: the sections of 1.0 are then reported, wherever it is.
#[test]
fn the_two_versions_are_not_mixed() {
    let guide = folder().join("guide_finetune.yaml");
    for set in [
        "model._target_=gfmrag.models.gfm_rag_v1.GNNRetriever",
        "datasets._target_=gfmrag.graph_index_datasets.GraphIndexDataset",
        "+losses=[]",
    ] {
        let got = problems(&guide, &[set]);
        for key in ["train", "task"] {
            let told = format!("`{key}` (");
            let said = |p: &String| {
                p.contains(&told)
                    && p.contains("is a key of GFM-RAG 1.0, in a configuration of 2.0")
            };
            assert!(got.iter().any(said), "{set}: {got:#?}");
        }
    }
}

const SECOND: [&str; 5] = [
    "sft_training",
    "sft_reasoner",
    "kgc_training",
    "kgc_reasoner",
    "sft_w_answer",
];

fn second(name: &str) -> PathBuf {
    folder().join(format!("version_2/{name}.yaml"))
}

#[test]
fn trainings_of_2_0_give_the_pipelines_written_down() {
    for name in SECOND {
        let got = strict(&second(name), &[]).unwrap_or_else(|e| panic!("{name}: {e}"));
        loaded(&got.yaml).unwrap_or_else(|e| panic!("{name}: {e}"));
        let path = folder().join(format!("version_2/{name}.pipeline.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &got.yaml).unwrap();
            continue;
        }
        let want = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(got.yaml, want.replace("\r\n", "\n"), "{name}");
    }
}

#[test]
fn keys_of_2_0_mean_what_they_meant() {
    let params = |name: &str, sets: &[&str]| {
        let got = strict(&second(name), sets).unwrap_or_else(|e| panic!("{name} {sets:?}: {e}"));
        let pipeline = loaded(&got.yaml).unwrap();
        let op = if name.starts_with("kgc") {
            "pretrain"
        } else {
            "finetune"
        };
        pipeline.stage(op).unwrap().params.clone()
    };
    for (name, set, path, want) in [
        ("sft_training", "timeout=7", "/train/timeout", "7"),
        (
            "sft_training",
            "+load_model_from_pretrained=a/b",
            "/train/checkpoint",
            "\"a/b\"",
        ),
        (
            "sft_training",
            "+trainer.args.resume_from_checkpoint=a.pth",
            "/train/checkpoint",
            "\"a.pth\"",
        ),
        (
            "sft_training",
            "+trainer.args.train_batch_size=3",
            "/train/batch_size",
            "3",
        ),
        (
            "sft_training",
            "trainer.args.num_epoch=9",
            "/train/num_epoch",
            "9",
        ),
        (
            "sft_training",
            "+trainer.args.logging_steps=5",
            "/train/log_interval",
            "5",
        ),
        (
            "sft_training",
            "+trainer.args.max_steps_per_epoch=6",
            "/train/batch_per_epoch",
            "6",
        ),
        (
            "sft_training",
            "+trainer.args.split_graph_training=yes",
            "/train/divide",
            "\"graph\"",
        ),
        (
            "sft_training",
            "model.init_nodes_weight=False",
            "/train/init_entities_weight",
            "false",
        ),
        (
            "sft_training",
            "doc_ranker=topk_ranker",
            "/doc_ranker/name",
            "\"topk\"",
        ),
        (
            "sft_training",
            "trainer.args.metric_for_best_model=entity_mrr",
            "/train/best_by",
            "\"entity:mrr_filtered\"",
        ),
        (
            "sft_training",
            "~trainer.args.metric_for_best_model",
            "/train/best_by",
            "\"document:mrr_filtered\"",
        ),
        (
            "sft_reasoner",
            "+trainer.metrics=[recall@5]",
            "/task/metric/0",
            "\"recall@5\"",
        ),
        (
            "sft_reasoner",
            "model.use_ent_emb=null",
            "/model/use_ent_emb",
            "null",
        ),
        (
            "sft_reasoner",
            "losses[0].loss._target_=KLDivLoss",
            "/task/losses/0/loss/_target_",
            "\"KLDivLoss\"",
        ),
        (
            "kgc_training",
            "trainer.num_negative=5",
            "/task/num_negative",
            "5",
        ),
        (
            "kgc_training",
            "+trainer.fast_test=null",
            "/train/fast_test",
            "1000000000",
        ),
        (
            "kgc_training",
            "+trainer.adversarial_temperature=0.5",
            "/task/adversarial_temperature",
            "0.5",
        ),
    ] {
        let got = params(name, &[set]);
        assert_eq!(got.pointer(path).unwrap().to_string(), want, "{name} {set}");
    }
    // Equal names would share a line of the history.
    let losses = "losses=[{name: a, loss: {_target_: BCELoss}, weight: 1, target_node_type: entity}, {name: a, loss: {_target_: ListCELoss}, weight: 2, target_node_type: document}]";
    let got = params("sft_training", &[losses]);
    let names: Vec<&str> = (0..2)
        .filter_map(|i| got["task"]["losses"][i]["name"].as_str())
        .collect();
    assert_eq!(names, ["a", "a_2"]);
    assert_eq!(got["task"]["losses"][1]["cfg"]["weight"], 2.0);
    // The type of the graph's nodes is another one.
    let sets = [
        "datasets.cfgs.target_type=thing",
        "losses[0].target_node_type=thing",
        "trainer.args.metric_for_best_model=thing_mrr",
    ];
    let got = params("sft_training", &sets);
    assert_eq!(
        got["task"]["losses"][0]["cfg"]["target_node_type"],
        "entity"
    );
    assert_eq!(got["train"]["best_by"], "entity:mrr_filtered");
    let yaml = strict(&second("sft_training"), &sets).unwrap().yaml;
    assert!(yaml.contains("target_type: thing"), "{yaml}");
    let sets = [
        "trainer.args.metric_for_best_model=document_mape",
        "+trainer.args.greater_is_better=False",
        "trainer.metrics=[mape]",
    ];
    let got = params("sft_training", &sets);
    assert_eq!(got["train"]["best_by"], "document:mape");
    // What is exported names the width that the encoder's vectors are cut to.
    let got = strict(&second("sft_reasoner"), &["save_pretrained=yes"]).unwrap();
    let pipeline = loaded(&got.yaml).unwrap();
    let export = &pipeline.stage("export").unwrap().params;
    assert_eq!(export["text_emb_model"]["truncate_dim"], 1024);
    let yaml = strict(&second("sft_training"), &["+trainer.args.do_eval=no"])
        .unwrap()
        .yaml;
    assert!(!yaml.contains("op: evaluate"), "{yaml}");
}

#[test]
fn keys_of_2_0_whose_meaning_would_change_are_refused() {
    for (name, set) in [
        ("sft_reasoner", "+datasets.cfgs.use_node_feat=False"),
        ("sft_reasoner", "+datasets.cfgs.use_relation_feat=False"),
        (
            "sft_reasoner",
            "+datasets.cfgs.inverse_relation_feat=inverse",
        ),
        ("sft_reasoner", "+datasets.cfgs.skip_empty_target=False"),
        ("sft_training", "+model.init_nodes_type=summary"),
        ("sft_training", "+trainer.args.do_train=no"),
        ("sft_training", "+trainer.args.eval_strategy=step"),
        ("sft_training", "+trainer.args.load_best_model_at_end=no"),
        ("sft_training", "+trainer.args.greater_is_better=no"),
        ("sft_training", "+trainer.args.do_predict=3"),
        ("sft_training", "trainer._target_=my.SFTTrainer"),
        ("sft_training", "trainer.args._target_=my.Arguments"),
        ("sft_training", "losses[0].target_node_type=summary"),
        ("sft_training", "losses[0].name=7"),
        ("kgc_training", "+datasets.cfgs.target_type=document"),
        ("sft_training", "trainer.args.metric_for_best_model=mrr"),
        (
            "sft_training",
            "trainer.args.metric_for_best_model=summary_mrr",
        ),
        ("sft_reasoner", "trainer.args.dtype=float16"),
        ("sft_reasoner", "losses[0].is_distillation_loss=False"),
        ("sft_reasoner", "losses[0].loss._target_=Focal"),
        ("sft_reasoner", "model.use_ent_emb=middle-fusion"),
        (
            "kgc_training",
            "datasets._target_=gfmrag.graph_index_datasets.GraphIndexDataset",
        ),
    ] {
        let got = problems(&second(name), &[set]);
        assert!(
            got.len() == 1 && got[0].starts_with(&format!("{set}: ")),
            "{set}: {got:#?}"
        );
        assert!(!lenient(&second(name), &[set]).yaml.is_empty());
    }
    let own = ["trainer.zebra", "trainer.args.zebra"];
    for key in UNKNOWN.into_iter().chain(own) {
        for name in SECOND {
            let set = format!("+{key}=1");
            let want = format!("{set}: `{key}` is not known (1)");
            assert_eq!(problems(&second(name), &[&set]), [want], "{name} {key}");
        }
    }
    // What cannot change the training is a note.
    for (set, told) in [
        (
            "+trainer.args.eval_batch_size=4",
            "`trainer.args.eval_batch_size` (4)",
        ),
        ("+trainer.args.do_predict=yes", "`trainer.args.do_predict`"),
        (
            "+trainer.args.split_graph_partition=metis",
            "nodes are divided contiguously",
        ),
        (
            "+datasets.cfgs.use_edge_feat=True",
            "no model reads the attributes of edges",
        ),
        (
            "+datasets.cfgs.force_reload=True",
            "`datasets.cfgs.force_reload`: stages run again",
        ),
        ("+trainer.target_types=[summary]", "not \"summary\""),
        (
            "+text_emb_model.api_key=s3cret",
            "runs in gfm-pipe, not on a server",
        ),
    ] {
        let got = strict(&second("sft_training"), &[set]).unwrap_or_else(|e| panic!("{set}: {e}"));
        assert!(
            got.notes.join("\n").contains(told),
            "{set}: {:?}",
            got.notes
        );
        assert!(!got.yaml.contains("s3cret"));
    }
}

proptest::proptest! {
    #[test]
    fn no_key_is_lost(section in proptest::sample::select(vec![
        "", "datasets", "datasets.cfgs", "model", "model.entity_model", "task", "optimizer", "train", "doc_ranker",
        "text_emb_model", "trainer", "trainer.args",
    ]), nested: bool) {
        let value = if nested { "{inner: 20261125}" } else { "20261125" };
        let key = format!("{section}{}zebra", if section.is_empty() { "" } else { "." });
        let second = SECOND.map(|name| format!("version_2/{name}"));
        let first = ["guide_finetune", "guide_pretrain", "custom"];
        // `trainer` would make a file of 2.0 of those of 1.0.
        let first = first.into_iter().filter(|_| !section.starts_with("trainer"));
        for name in first.chain(second.iter().map(String::as_str)) {
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
        let _ = strict(&file, &[]);
        fs::write(&file, format!("model: {{_target_: QueryGNN}}\n{text}")).unwrap();
        let _ = strict(&file, &[]);
    }
}
