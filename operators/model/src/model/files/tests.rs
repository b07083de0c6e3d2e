//! GFM-RAG 1.0.0 saved `tests/parity/wheel`, with the weights of two parity cases
//! (scripts/check-export).
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use candle_core::Device;

use super::*;
use crate::model::{Fusion, Origin};
use crate::ops::{AggregateFunc, MessageFunc};

fn parity() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity")
}

fn safetensors_of(case: &str) -> Tensors {
    let file = parity().join(case).join("weights.safetensors");
    candle_core::safetensors::load(file, &Device::Cpu)
        .unwrap()
        .into_iter()
        .collect()
}

fn bits(t: &Tensor) -> (Vec<usize>, Vec<u32>) {
    let values: Vec<f32> = t.flatten_all().unwrap().to_vec1().unwrap();
    (
        t.dims().to_vec(),
        values.iter().map(|v| v.to_bits()).collect(),
    )
}

fn assert_same(a: &Tensors, b: &Tensors) {
    assert!(a.keys().eq(b.keys()), "{:?} {:?}", a.keys(), b.keys());
    for (name, t) in a {
        assert_eq!(bits(t), bits(&b[name]), "{name}");
    }
}

fn read(path: &str) -> OpResult<GivenModel> {
    read_checkpoint(&parity(), Path::new(path))
}

fn retriever() -> Params {
    let given = read("wheel/retriever").unwrap();
    let c = given.config.unwrap();
    Params::from_tensors(c.class, &c.entity_model, c.text_dim, given.tensors).unwrap()
}

fn origin() -> Origin {
    Origin {
        operator: "finetune".to_owned(),
        encoder: "static-minilm".to_owned(),
        encoder_digest: "abc".to_owned(),
        steps: 7,
        epoch: 1,
    }
}

/// GFM-RAG 2.0 saved this folder (../shared/parity2/pipeline): its configuration, with the weights
/// of tests/parity2/paths.
#[test]
fn parity2_pipeline_folders_are_read_and_written() {
    let wheel = r#"{
        "text_emb_model_config": {"_target_": "__main__.HashedTextEmb", "dim": 24},
        "dataset_config": {"class_name": "GraphIndexDataset", "use_node_feat": true},
        "model_config": {
            "_target_": "gfmrag.models.gfm_reasoner.GraphReasoner",
            "use_ent_emb": "early-late-fusion",
            "dtype": "bfloat16",
            "entity_model": {
                "_target_": "gfmrag.models.ultra.models.QueryNBFNet",
                "input_dim": 16, "hidden_dims": [16, 16, 16],
                "message_func": "distmult", "aggregate_func": "sum",
                "short_cut": true, "layer_norm": true, "return_hidden": true
            },
            "feat_dim": 24
        }
    }"#;
    let dir = tempfile::tempdir().unwrap();
    let weights = parity().join("../parity2/paths/weights.safetensors");
    std::fs::write(dir.path().join("config.json"), wheel).unwrap();
    std::fs::copy(weights, dir.path().join("model.safetensors")).unwrap();
    let read = || read_checkpoint(dir.path(), Path::new("")).unwrap();
    let given = read();
    let c = given.config.unwrap();
    assert_eq!((c.class, c.text_dim), (Class::GraphReasoner, 24));
    assert_eq!(c.entity_model.use_ent_emb, Some(Fusion::EarlyLate));
    assert!(c.ignored.is_empty(), "{:?}", c.ignored);
    let params = Params::from_tensors(c.class, &c.entity_model, 24, given.tensors).unwrap();

    // What is written is read the same, and has the keys that 2.0 needs.
    let encoder = Encoder {
        name: "some/encoder".to_owned(),
        settings: Default::default(),
    };
    let text = config_json(params.class, &params.config, 24, &encoder);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["dataset_config"]["use_node_feat"], true);
    assert_eq!(json["model_config"]["feat_dim"], 24);
    assert_eq!(json["model_config"]["entity_model"]["return_hidden"], true);
    std::fs::write(dir.path().join("config.json"), text).unwrap();
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    std::fs::write(dir.path().join("model.pth"), write_pth(&params).unwrap()).unwrap();
    let again = read();
    assert_same(&again.tensors, &params.to_map());
    let c = again.config.unwrap();
    assert_eq!(c.entity_model, params.config);
    assert_eq!(c.encoder.as_deref(), Some("some/encoder"));
    // An unknown fusion is not taken for none, as 2.0 does.
    let middle = wheel.replace("early-late-fusion", "middle-fusion");
    let e = super::reference::parse_config(&middle).unwrap_err();
    assert!(e.contains("use_ent_emb"), "{e}");
}

#[test]
fn parity_wheel_folders_are_read() {
    for (folder, case, class) in [
        ("wheel/retriever", "qa_small", Class::GNNRetriever),
        ("wheel/query", "kgc_small", Class::QueryGNN),
    ] {
        let given = read(folder).unwrap();
        assert_same(&given.tensors, &safetensors_of(case));
        assert_eq!(given.file, Path::new(folder).join("model.pth"));
        let c = given.config.unwrap();
        assert_eq!((c.class, c.text_dim), (class, 48));
        assert_eq!(c.entity_model, ModelConfig::new(32, vec![32; 3]));
        assert_eq!(
            c.encoder.as_deref(),
            Some("sentence-transformers/all-mpnet-base-v2")
        );
        assert!(c.ignored.is_empty());
    }
}

#[test]
fn parity_wheel_training_checkpoints_are_read_without_their_optimizer() {
    let given = read("wheel/query/model_best.pth").unwrap();
    assert_same(&given.tensors, &safetensors_of("kgc_small"));
    assert!(given.config.is_some(), "config.json is beside it");
}

#[test]
fn written_weights_are_read_back_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let params = retriever();
    let config = StoredConfig::new(&params, &origin());
    let files = [
        ("model.pth", write_pth(&params).unwrap()),
        (
            "model.safetensors",
            safetensors_bytes(&params, &config).unwrap(),
        ),
        ("weights.parquet", parquet_bytes(&params).unwrap()),
    ];
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).unwrap();
        let given = read_checkpoint(dir.path(), Path::new(name)).unwrap();
        assert_same(&given.tensors, &params.to_map());
        assert_eq!(given.config.is_some(), name == "model.safetensors");
        if let Some(c) = given.config {
            assert_eq!(
                (c.class, c.entity_model),
                (params.class, params.config.clone())
            );
            assert_eq!(c.encoder_digest.as_deref(), Some("abc"));
        }
    }
}

#[test]
fn the_archive_is_the_one_pytorch_loaded() {
    // The digest of an archive that `torch.load(weights_only=True)` and the package could read. If
    // the bytes change, run scripts/check-export again.
    let bytes = write_pth(&retriever()).unwrap();
    assert_eq!(bytes, write_pth(&retriever()).unwrap());
    let digest = blake3::hash(&bytes).to_hex();
    assert_eq!(&digest[..16], PYTORCH_LOADED);
}

/// The first digits of the digest.
const PYTORCH_LOADED: &str = "d1f6b21f31500967";

#[test]
fn configurations_are_written_as_they_are_read() {
    let all = ModelConfig {
        message_func: MessageFunc::RotatE,
        aggregate_func: AggregateFunc::Pna,
        activation: crate::ops::ActivationFunc::LeakyRelu,
        short_cut: false,
        concat_hidden: true,
        num_mlp_layer: 3,
        remove_one_hop: true,
        ..ModelConfig::new(8, vec![8, 6])
    };
    let encoder = Encoder {
        name: "some/encoder".to_owned(),
        settings: serde_json::Map::new(),
    };
    for class in [Class::QueryGNN, Class::GNNRetriever] {
        let text = config_json(class, &all, 48, &encoder);
        let read = reference::parse_config(&text).unwrap();
        assert_eq!(
            (read.class, &read.entity_model, read.text_dim),
            (class, &all, 48)
        );
        assert_eq!(read.encoder.as_deref(), Some("some/encoder"));
    }
}

#[test]
fn keys_left_out_have_the_defaults_of_the_classes() {
    let text = r#"{"model_config": {"_target_": "gfmrag.models.QueryGNN", "rel_emb_dim": 4,
        "entity_model": {"input_dim": 4, "hidden_dims": [4], "layer_norm": "yes", "dependent": false, "zebra": 1}}}"#;
    let c = reference::parse_config(text).unwrap();
    assert!(!c.entity_model.short_cut && c.entity_model.layer_norm);
    assert_eq!(c.ignored, ["entity_model.zebra"]);
}

#[test]
fn a_folder_without_a_model_says_what_to_put_there() {
    let dir = tempfile::tempdir().unwrap();
    let error = |path: &str| {
        let e = read_checkpoint(dir.path(), Path::new(path)).unwrap_err();
        e.to_string()
    };
    assert!(
        error("some/hub-name")
            .contains("some/hub-name: there is neither model.pth nor model.safetensors")
    );
    assert!(
        error("a.pth").starts_with("a.pth: no usable weights: "),
        "{}",
        error("a.pth")
    );
    std::fs::write(dir.path().join("a.safetensors"), b"no").unwrap();
    assert!(error("a.safetensors").starts_with("a.safetensors: no usable weights: "));
    let deep = "{\"a\":".repeat(200_000);
    for (text, message) in [
        ("{", "EOF"),
        ("{}", "it has no model_config"),
        (deep.as_str(), "recursion limit"),
        (
            r#"{"model_config": {"_target_": "x.Y", "entity_model": {}}}"#,
            "`x.Y`, not QueryGNN",
        ),
        (
            r#"{"model_config": {"_target_": "QueryGNN", "rel_emb_dim": 4, "entity_model": {"input_dim": 4, "hidden_dims": [3, 4]}}}"#,
            "only the last hidden dimension",
        ),
    ] {
        let why = reference::parse_config(text).unwrap_err();
        assert!(why.contains(message), "{why}");
    }
}

#[test]
fn damaged_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let params = retriever();
    let config = StoredConfig::new(&params, &origin());
    let good = [
        ("a.pth", write_pth(&params).unwrap()),
        (
            "a.safetensors",
            safetensors_bytes(&params, &config).unwrap(),
        ),
        ("a.parquet", parquet_bytes(&params).unwrap()),
        (
            "b.pth",
            std::fs::read(parity().join("wheel/query/model_best.pth")).unwrap(),
        ),
    ];
    let mut rng = crate::model::rng(3, "damage");
    for (name, bytes) in good {
        for round in 0..60 {
            let mut bad = bytes.clone();
            let at = (crate::model::uniform(&mut rng) * bad.len() as f32) as usize;
            match round % 3 {
                0 => bad.truncate(at),
                1 => bad[at] ^= 0xff,
                // The directory and the pickle are near the two ends.
                _ => {
                    let near = at % 2000;
                    let n = bad.len();
                    bad[if round % 2 == 0 { near } else { n - 1 - near }] ^= 1 << (round % 8);
                }
            }
            std::fs::write(dir.path().join(name), &bad).unwrap();
            // Damage to the values of a tensor cannot be detected. No damage may cause a panic.
            if let Err(e) = read_checkpoint(dir.path(), Path::new(name)) {
                assert!(e.to_string().starts_with(name), "{e}");
            }
        }
    }
}

#[test]
fn weights_that_are_not_finite_are_refused_by_name_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let mut params = retriever();
    let name = "entity_model.layers.1.linear.bias";
    let mut values: Vec<f32> = crate::tensor::to_f32(params.get(name).unwrap()).unwrap();
    values[3] = f32::NAN;
    let shape = params.get(name).unwrap().shape().clone();
    params
        .set(name, crate::tensor::tensor(values, shape).unwrap())
        .unwrap();
    let config = StoredConfig::new(&params, &origin());
    for (file, bytes) in [
        ("a.pth", write_pth(&params).unwrap()),
        (
            "a.safetensors",
            safetensors_bytes(&params, &config).unwrap(),
        ),
        ("a.parquet", parquet_bytes(&params).unwrap()),
    ] {
        std::fs::write(dir.path().join(file), bytes).unwrap();
        let e = read_checkpoint(dir.path(), Path::new(file)).unwrap_err();
        assert_eq!(
            e.to_string(),
            format!("{file}: no usable weights: `{name}` holds NaN at [3]")
        );
    }
    // So are those of a stage's model, and of anything else that becomes parameters.
    let tensors = params.to_map();
    let e = Params::from_tensors(params.class, &params.config, params.text_dim, tensors);
    let e = e.unwrap_err().to_string();
    assert!(
        e.contains(&format!("parameter `{name}` holds NaN at [3]")),
        "{e}"
    );
}

#[test]
fn names_of_wrapped_modules_are_unwrapped_with_a_note() {
    let dir = tempfile::tempdir().unwrap();
    let params = retriever();
    let wrapped: Vec<(String, &Tensor)> = params
        .iter()
        .map(|(name, t)| (format!("module._orig_mod.{name}"), t))
        .collect();
    let bytes = safetensors::serialize(wrapped, None).unwrap();
    std::fs::write(dir.path().join("a.safetensors"), bytes).unwrap();
    let given = read_checkpoint(dir.path(), Path::new("a.safetensors")).unwrap();
    assert_same(&given.tensors, &params.to_map());
    assert!(given.note.unwrap().contains("`_orig_mod.` and `module.`"));
}

#[test]
fn git_lfs_pointers_are_errors_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 7\n";
    for file in ["a.pth", "a.safetensors", "a.parquet"] {
        std::fs::write(dir.path().join(file), pointer).unwrap();
        let e = read_checkpoint(dir.path(), Path::new(file)).unwrap_err();
        let message = format!("{file}: no usable weights: it is a Git LFS pointer");
        assert!(e.to_string().starts_with(&message), "{e}");
        assert!(e.advice().unwrap().contains("git lfs pull"));
    }
    // A pointer instead of the configuration beside weights.
    std::fs::write(dir.path().join("config.json"), pointer).unwrap();
    let bytes = write_pth(&retriever()).unwrap();
    std::fs::write(dir.path().join("model.pth"), bytes).unwrap();
    let e = read_checkpoint(dir.path(), Path::new("")).unwrap_err();
    assert!(e.to_string().contains("it is a Git LFS pointer"), "{e}");
}
