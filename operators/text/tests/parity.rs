//! Compares vectors with those of sentence-transformers: always for tiny models with random
//! weights, and for all-MiniLM-L6-v2 and all-mpnet-base-v2 if `scripts/fetch-encoders` has
//! downloaded them.
#![cfg(feature = "transformers")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed unwrap fails the test, and a skipped one says so"
)]

use std::path::{Path, PathBuf};

use gfm_pipe_text::{Settings, Transformer};
use serde_json::Value;

/// Vectors of texts. Checks that encoding them as one batch, in two orders, and one by one agree to
/// the bit.
fn vectors(encoder: &Transformer, prompt: Option<&str>, texts: &[&str]) -> Vec<Vec<f32>> {
    let prompt = encoder.prompt(prompt).unwrap();
    let tokens = encoder.tokenise(&prompt, texts).unwrap();
    let all: Vec<_> = tokens.iter().collect();
    let rows =
        |v: Vec<f32>| -> Vec<Vec<f32>> { v.chunks(encoder.dim()).map(<[f32]>::to_vec).collect() };
    let together = rows(encoder.encode(&all, &prompt).unwrap());
    let back: Vec<_> = tokens.iter().rev().collect();
    let mut reversed = rows(encoder.encode(&back, &prompt).unwrap());
    reversed.reverse();
    assert_eq!(together, reversed, "the order in a batch matters");
    for (t, want) in all.iter().zip(&together) {
        assert_eq!(
            &encoder.encode(&[t], &prompt).unwrap(),
            want,
            "the batch matters: {} tokens",
            t.tokens()
        );
    }
    together
}

/// The largest difference between numbers of two lists of vectors.
fn farthest(got: &[Vec<f32>], want: &[Vec<f32>]) -> f32 {
    assert_eq!(got.len(), want.len());
    let pairs = got.iter().zip(want).flat_map(|(g, w)| {
        assert_eq!(g.len(), w.len());
        g.iter().zip(w)
    });
    pairs
        .map(|(g, w)| (g - w).abs())
        .fold(0.0, |a, b| if b.is_nan() { f32::NAN } else { a.max(b) })
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/fixtures/encoders")
}

#[test]
fn tiny_models_give_the_vectors_of_sentence_transformers() {
    let text = std::fs::read_to_string(fixtures().join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let texts: Vec<&str> = expected["texts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t.as_str().unwrap())
        .collect();
    let prompt = expected["prompt"].as_str().unwrap();
    let plain = Settings::default();
    let normalized = Settings {
        normalize: true,
        ..Settings::default()
    };
    let truncated = Settings {
        truncate_dim: Some(7),
        ..normalized.clone()
    };
    for model in ["bert", "mpnet", "roberta", "qwen3", "nomic_bert"] {
        for (way, settings, prompt) in [
            ("plain", &plain, None),
            ("prompt", &plain, Some(prompt)),
            ("normalized", &normalized, None),
            ("truncated", &truncated, None),
        ] {
            if model == "nomic_bert" && settings.normalize {
                // Its expected numbers are of the network alone, without the steps of
                // sentence-transformers after it.
                continue;
            }
            let want: Vec<Vec<f32>> = serde_json::from_value(expected[model][way].clone()).unwrap();
            let encoder = Transformer::load(&fixtures().join(model), settings).unwrap();
            let far = farthest(&vectors(&encoder, prompt, &texts), &want);
            // Sums over many tokens are larger than 1.
            assert!(far < 2e-5, "{model} {way}: {far:e}");
        }
    }
}

#[test]
fn real_models_give_the_golden_vectors() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/embeddings");
    let models = std::env::var_os("GFM_PIPE_ENCODERS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/encoders"),
        PathBuf::from,
    );
    let case: Value =
        serde_json::from_str(&std::fs::read_to_string(golden.join("case.json")).unwrap()).unwrap();
    let texts: Vec<&str> = case["strings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t.as_str().unwrap())
        .collect();
    let bytes = std::fs::read(golden.join("expected.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let real = [
        ("all-MiniLM-L6-v2", "encoder-minilm"),
        ("all-mpnet-base-v2", "encoder-mpnet"),
    ];
    for (model, name) in real {
        let folder = models.join(model);
        if !folder.is_dir() {
            let reason = format!("no {}: scripts/fetch-encoders gets it", folder.display());
            gfm_pipe_testing::skip(name, &reason);
            continue;
        }
        let want = tensors.tensor(&format!("{model}.embedding")).unwrap();
        let dim = want.shape()[1];
        let numbers: Vec<f32> = want
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        let want: Vec<Vec<f32>> = numbers.chunks(dim).map(<[f32]>::to_vec).collect();
        let encoder = Transformer::load(&folder, &Settings::default()).unwrap();
        let far = farthest(&vectors(&encoder, None, &texts), &want);
        println!("{model}: largest difference {far:e}");
        assert!(far <= 1e-5, "{model}: {far:e}");
    }
}

#[test]
fn a_list_of_modules_that_cannot_be_run_is_refused() {
    let module = |class: &str, name: &str, path: &str| {
        format!(
            "{{\"name\": \"{name}\", \"path\": \"{path}\", \"type\": \"sentence_transformers.models.{class}\"}}"
        )
    };
    let (network, pooling) = (
        module("Transformer", "0", ""),
        module("Pooling", "1", "1_Pooling"),
    );
    let (second, norm) = (module("Transformer", "9", ""), module("Normalize", "2", ""));
    let same = module("Normalize", "1", "");
    let list = |modules: &[&String]| {
        let modules: Vec<&str> = modules.iter().map(|m| m.as_str()).collect();
        format!("[{}]", modules.join(","))
    };
    let expected =
        "expected one Transformer, then one Pooling, then any number of Dense and Normalize";
    for (text, reported) in [
        ("[]".to_owned(), "it lists no module"),
        (list(&[&network]), "there is no Pooling"),
        (list(&[&pooling, &norm]), "module 1 is a Pooling"),
        (
            list(&[&norm, &network, &pooling]),
            "module 1 is a Normalize",
        ),
        (list(&[&pooling, &network]), "module 1 is a Pooling"),
        (
            list(&[&network, &second, &pooling]),
            "module 2 is a Transformer",
        ),
        (
            list(&[&network, &pooling, &second]),
            "module 3 is a Transformer",
        ),
        (
            list(&[&network, &norm, &pooling]),
            "module 2 is a Normalize",
        ),
    ] {
        let (_dir, folder) = changed("bert", "modules.json", |_| text.clone());
        let e = Transformer::load(&folder, &Settings::default()).err();
        let e = e.unwrap_or_else(|| panic!("{text} is taken")).to_string();
        let want = format!("modules.json: {reported}: {expected}");
        assert!(e.ends_with(&want), "{text}: {e}");
    }
    for (text, reported) in [
        (
            list(&[&network, &pooling, &same]),
            "two modules are called `1`",
        ),
        ("null".to_owned(), "invalid type: null"),
        ("{}".to_owned(), "invalid type: map"),
    ] {
        let (_dir, folder) = changed("bert", "modules.json", |_| text.clone());
        let e = Transformer::load(&folder, &Settings::default()).err();
        let e = e.unwrap_or_else(|| panic!("{text} is taken")).to_string();
        assert!(
            e.contains("modules.json") && e.contains(reported),
            "{text}: {e}"
        );
    }
    // The list as it is, then no list at all, then a folder in the file's place.
    let (_dir, folder) = changed("bert", "modules.json", |_| list(&[&network, &pooling]));
    assert!(Transformer::load(&folder, &Settings::default()).is_ok());
    std::fs::remove_file(folder.join("modules.json")).unwrap();
    assert!(Transformer::load(&folder, &Settings::default()).is_ok());
    std::fs::create_dir(folder.join("modules.json")).unwrap();
    let e = Transformer::load(&folder, &Settings::default())
        .err()
        .unwrap();
    assert!(
        e.to_string().ends_with("modules.json: not a regular file"),
        "{e}"
    );
}

/// A copy of a tiny model with one file changed.
fn changed(
    model: &str,
    file: &str,
    change: impl Fn(&str) -> String,
) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("model");
    std::fs::create_dir_all(to.join("1_Pooling")).unwrap();
    for entry in std::fs::read_dir(fixtures().join(model)).unwrap().flatten() {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    let pooling = Path::new("1_Pooling/config.json");
    std::fs::copy(fixtures().join(model).join(pooling), to.join(pooling)).unwrap();
    let text = std::fs::read_to_string(to.join(file)).unwrap();
    std::fs::write(to.join(file), change(&text)).unwrap();
    (dir, to)
}

#[test]
fn a_folder_that_is_wrong_says_where_and_never_panics() {
    let refused = |file: &str, from: &str, to: &str| {
        let (_dir, folder) = changed("bert", file, |text| {
            assert!(text.contains(from), "{file} lacks {from}");
            text.replace(from, to)
        });
        let Err(e) = Transformer::load(&folder, &Settings::default()) else {
            panic!("{file}: {from} -> {to} is taken");
        };
        e.to_string()
    };
    for (file, from, to, reported) in [
        ("config.json", "\"bert\"", "\"t5\"", "model_type `t5`"),
        ("config.json", "\"gelu\"", "\"swish\"", "hidden_act `swish`"),
        (
            "config.json",
            "\"hidden_size\": 24",
            "\"hidden_size\": 0",
            "hidden_size in the network's config.json 0",
        ),
        (
            "config.json",
            "\"hidden_size\": 24",
            "\"hidden_size\": 48",
            "hidden_size in the network's config.json 48",
        ),
        (
            "config.json",
            "\"num_attention_heads\": 3",
            "\"num_attention_heads\": 0",
            "heads",
        ),
        (
            "config.json",
            "\"num_attention_heads\": 3",
            "\"num_attention_heads\": 5",
            "heads",
        ),
        (
            "config.json",
            "\"num_hidden_layers\": 2",
            "\"num_hidden_layers\": 3",
            "encoder.layer.2",
        ),
        (
            "config.json",
            "\"max_position_embeddings\": 64",
            "\"max_position_embeddings\": 0",
            "position",
        ),
        ("config.json", "{", "", "config.json"),
        (
            "modules.json",
            "models.Normalize",
            "models.LSTM",
            "module `LSTM`",
        ),
        (
            "1_Pooling/config.json",
            "\"pooling_mode_mean_tokens\": true",
            "\"pooling_mode_mean_tokens\": false",
            "no pooling mode",
        ),
        (
            "tokenizer.json",
            "\"WordPiece\"",
            "\"Unheard\"",
            "tokenizer.json",
        ),
        (
            "sentence_bert_config.json",
            "48",
            "48, \"model_args\": {\"a\": 1}",
            "model_args",
        ),
        (
            "tokenizer_config.json",
            "\"do_lower_case\": true",
            "\"do_lower_case\": false",
            "make them agree",
        ),
        ("sentence_bert_config.json", "48", "2", "max_seq_length"),
        (
            "config.json",
            "BertModel",
            "JinaBertModel",
            "model_type \"bert\" and architectures \"JinaBertModel\" contradict each other: expected a class like BertModel",
        ),
        (
            "config.json",
            "\"bert\"",
            "\"roberta\"",
            "expected a class like RobertaModel",
        ),
        (
            "1_Pooling/config.json",
            "24",
            "32",
            "word_embedding_dimension is 32, hidden_size in the network's config.json 24",
        ),
        (
            "1_Pooling/config.json",
            "\"pooling_mode_mean_tokens\": true",
            "\"pooling_mode_mean_tokens\": \"yes\"",
            "`pooling_mode_mean_tokens`: expected true or false, found \"yes\"",
        ),
        (
            "1_Pooling/config.json",
            "\"include_prompt\": true",
            "\"pooling_mode_attention\": true",
            "`pooling_mode_attention`: true is not understood",
        ),
        (
            "1_Pooling/config.json",
            "\"include_prompt\": true",
            "\"pooling_mode\": [\"mean\", 3]",
            "pooling_mode 3 is not known (cls, max, mean",
        ),
        (
            "sentence_bert_config.json",
            "48",
            "48, \"transformer_task\": \"fill-mask\"",
            "transformer_task \"fill-mask\" is not implemented",
        ),
    ] {
        let message = refused(file, from, to);
        assert!(message.contains(reported), "{file}: {message}");
    }
    let bytes = std::fs::read(fixtures().join("bert/model.safetensors")).unwrap();
    for cut in [0, 7, 100, bytes.len() - 1] {
        let (_dir, folder) = changed("bert", "config.json", ToOwned::to_owned);
        std::fs::write(folder.join("model.safetensors"), &bytes[..cut]).unwrap();
        let Err(e) = Transformer::load(&folder, &Settings::default()) else {
            panic!("weights of {cut} bytes are taken");
        };
        assert!(e.to_string().contains("model.safetensors"), "{e}");
    }
}
