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

use gfm_pipe_text::{Compute, Round, Settings, Transformer};
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

/// Where the operations and batches of a GPU are tried: a GPU, if this build has CUDA and
/// `GFM_PIPE_LOCAL_DEVICE` names one, or its emulation.
fn gpu() -> Compute {
    match std::env::var("GFM_PIPE_LOCAL_DEVICE") {
        Ok(device) if cfg!(feature = "cuda") => Compute::of(&device).unwrap(),
        _ => Compute::emulated_gpu(),
    }
}

/// Vectors of texts that a GPU computes: as one batch, and one by one. Checks that the two are the
/// same but for rounding.
fn vectors_on_gpu(
    encoder: &Transformer,
    prompt: Option<&str>,
    texts: &[&str],
    rounding: f32,
) -> Vec<Vec<f32>> {
    assert!(encoder.compute().on_gpu());
    let prompt = encoder.prompt(prompt).unwrap();
    let tokens = encoder.tokenise(&prompt, texts).unwrap();
    let all: Vec<_> = tokens.iter().collect();
    let together = encoder.encode(&all, &prompt).unwrap();
    let together: Vec<Vec<f32>> = together
        .chunks(encoder.dim())
        .map(<[f32]>::to_vec)
        .collect();
    let of_one = |t| encoder.encode(&[t], &prompt).unwrap();
    let alone: Vec<Vec<f32>> = all.into_iter().map(of_one).collect();
    let far = farthest(&together, &alone);
    assert!(far <= rounding, "the batch matters: {far:e}");
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

/// Tiny models with random weights.
const TINY: [&str; 8] = [
    "bert",
    "mpnet",
    "roberta",
    "qwen3",
    "nomic_bert",
    "mistral",
    "qwen2",
    "nvembed",
];

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
    for model in TINY {
        for (way, settings, prompt) in [
            ("plain", &plain, None),
            ("prompt", &plain, Some(prompt)),
            ("normalized", &normalized, None),
            ("truncated", &truncated, None),
        ] {
            // Networks that PyTorch ran without sentence-transformers were run in two ways only.
            let Some(want) = expected[model].get(way) else {
                continue;
            };
            let want: Vec<Vec<f32>> = serde_json::from_value(want.clone()).unwrap();
            let encoder = Transformer::load(&fixtures().join(model), settings).unwrap();
            let far = farthest(&vectors(&encoder, prompt, &texts), &want);
            // Sums over many tokens are larger than 1.
            assert!(far < 2e-5, "{model} {way}: {far:e}");
            let encoder = Transformer::load_on(&fixtures().join(model), settings, gpu()).unwrap();
            let got = vectors_on_gpu(&encoder, prompt, &texts, 1e-4);
            let far = farthest(&got, &want);
            assert!(far < 1e-4, "{model} {way} on a GPU: {far:e}");
        }
    }
}

/// Vectors of norm 1 in half precision, next to those in single precision from weights that are
/// rounded alike.
#[test]
fn half_precision_on_a_gpu_is_near_single_precision() {
    let texts = [
        "born in",
        "the capital of a large country",
        "a",
        "two words",
    ];
    for model in TINY {
        for (round, within) in [(Round::Float16, 4e-3), (Round::BFloat16, 4e-2)] {
            let settings = Settings {
                normalize: true,
                round,
                ..Settings::default()
            };
            let folder = fixtures().join(model);
            let encoder = Transformer::load(&folder, &settings).unwrap();
            let want = vectors(&encoder, None, &texts);
            let encoder = Transformer::load_on(&folder, &settings, gpu()).unwrap();
            let far = farthest(&vectors_on_gpu(&encoder, None, &texts, within), &want);
            println!("{model} {round:?}: largest difference {far:e}");
            assert!(far > 0.0 && far < within, "{model} {round:?}: {far:e}");
        }
    }
}

#[test]
fn a_token_without_an_embedding_is_an_error_everywhere() {
    // A tokenizer of a larger vocabulary than the network's.
    let (_dir, folder) = changed("bert", "tokenizer.json", |text| {
        let mut tokenizer: Value = serde_json::from_str(text).unwrap();
        tokenizer["model"]["vocab"]["capital"] = 999.into();
        tokenizer.to_string()
    });
    for compute in [Compute::cpu(), gpu()] {
        let encoder = Transformer::load_on(&folder, &Settings::default(), compute).unwrap();
        let prompt = encoder.prompt(None).unwrap();
        let tokens = encoder.tokenise(&prompt, &["a", "capital"]).unwrap();
        let e = encoder.encode(&[&tokens[0], &tokens[1]], &prompt);
        let e = e.unwrap_err().to_string();
        assert!(
            e.contains("token 999 has no embedding, there are 201"),
            "{e}"
        );
        encoder.encode(&[&tokens[0]], &prompt).unwrap();
    }
}

/// The same model in files as other versions of transformers write them.
#[test]
fn decoders_are_read_in_all_their_forms() {
    let texts = ["capital of", "two words and more"];
    for (model, config) in [("mistral", "config.json"), ("qwen3", "config.json")] {
        let newer = |kind: &str| {
            changed(model, config, |text| {
                let mut config: Value = serde_json::from_str(text).unwrap();
                let theta = config.as_object_mut().unwrap().remove("rope_theta");
                config["rope_parameters"] =
                    serde_json::json!({"rope_type": kind, "rope_theta": theta.unwrap()});
                config.to_string()
            })
        };
        for compute in [Compute::cpu(), gpu()] {
            let of = |folder: &Path| {
                let settings = Settings::default();
                let encoder = Transformer::load_on(folder, &settings, compute.clone())?;
                let prompt = encoder.prompt(None)?;
                let tokens = encoder.tokenise(&prompt, &texts)?;
                encoder.encode(&tokens.iter().collect::<Vec<_>>(), &prompt)
            };
            let want = of(&fixtures().join(model)).unwrap();
            let (_dir, folder) = newer("default");
            assert_eq!(of(&folder).unwrap(), want, "{model}");
            let (_dir, folder) = newer("yarn");
            let e = of(&folder).unwrap_err().to_string();
            assert!(e.contains("`rope_parameters"), "{e}");
        }
    }
    // Qwen3 whose tokens see the whole text is the same on both, and another network.
    let (_dir, folder) = changed("qwen3", "config.json", |text| {
        text.replacen('{', "{\"is_causal\": false, ", 1)
    });
    let of = |folder: &Path, compute| {
        let encoder = Transformer::load_on(folder, &Settings::default(), compute).unwrap();
        let prompt = encoder.prompt(None).unwrap();
        let tokens = encoder.tokenise(&prompt, &texts[1..]).unwrap();
        vec![encoder.encode(&[&tokens[0]], &prompt).unwrap()]
    };
    let seen = of(&folder, Compute::cpu());
    assert!(farthest(&of(&folder, gpu()), &seen) < 1e-4);
    assert!(farthest(&of(&fixtures().join("qwen3"), Compute::cpu()), &seen) > 1e-2);
    // More positions than a text can have take no memory.
    let (_dir, folder) = changed("mistral", "config.json", |text| {
        let from = "\"max_position_embeddings\": 80";
        assert!(text.contains(from));
        text.replace(from, "\"max_position_embeddings\": 9223372036854775807")
    });
    let want = of(&fixtures().join("mistral"), Compute::cpu());
    assert_eq!(of(&folder, Compute::cpu()), want);
    // A file of a tokenizer that pads, with the token that ends texts.
    let (_dir, folder) = changed("mistral", "tokenizer.json", |text| {
        let mut tokenizer: Value = serde_json::from_str(text).unwrap();
        tokenizer["padding"] = serde_json::json!({
            "strategy": {"Fixed": 32}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 1, "pad_type_id": 0, "pad_token": "</s>",
        });
        tokenizer.to_string()
    });
    let encoder = Transformer::load(&folder, &Settings::default()).unwrap();
    let plain = Transformer::load(&fixtures().join("mistral"), &Settings::default()).unwrap();
    let prompt = plain.prompt(None).unwrap();
    let want = plain.tokenise(&prompt, &texts).unwrap();
    assert_eq!(encoder.tokenise(&prompt, &texts).unwrap(), want);
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
        let encoder = Transformer::load_on(&folder, &Settings::default(), gpu()).unwrap();
        let far = farthest(&vectors_on_gpu(&encoder, None, &texts, 1e-4), &want);
        println!("{model}: largest difference with the operations of a GPU {far:e}");
        assert!(far <= 1e-4, "{model} on a GPU: {far:e}");
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
    let from = fixtures().join(model);
    for sub in ["", "1_Pooling", "2_Dense"] {
        let Ok(entries) = std::fs::read_dir(from.join(sub)) else {
            continue;
        };
        std::fs::create_dir_all(to.join(sub)).unwrap();
        for entry in entries.flatten().filter(|e| e.path().is_file()) {
            std::fs::copy(entry.path(), to.join(sub).join(entry.file_name())).unwrap();
        }
    }
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
    for (model, file, from, to, reported) in [
        (
            "qwen2",
            "config.json",
            "modeling_qwen.Qwen2Model",
            "modeling_other.Model",
            "`auto_map`: the code \"modeling_other.Model\" is not implemented",
        ),
        (
            "qwen3",
            "config.json",
            "\"hidden_act\"",
            "\"auto_map\": {\"AutoModel\": \"modeling_other.Model\"}, \"hidden_act\"",
            "`auto_map`: the code \"modeling_other.Model\" is not implemented",
        ),
        (
            "nvembed",
            "config.json",
            "modeling_nvembed.NVEmbedModel",
            "modeling_other.Model",
            "`auto_map`: the code \"modeling_other.Model\" is not implemented",
        ),
        (
            "mistral",
            "config.json",
            "\"hidden_act\"",
            "\"attention_bias\": true, \"hidden_act\"",
            "q_proj.bias",
        ),
        (
            "mistral",
            "config.json",
            "\"hidden_act\"",
            "\"auto_map\": {\"AutoModel\": \"modeling_qwen.Qwen2Model\"}, \"hidden_act\"",
            "`auto_map`: the code \"modeling_qwen.Qwen2Model\" is not implemented",
        ),
        (
            "mistral",
            "config.json",
            "\"rope_theta\"",
            "\"rope_scaling\": {\"type\": \"linear\"}, \"rope_theta\"",
            "`rope_scaling",
        ),
        (
            "mistral",
            "config.json",
            "\"num_key_value_heads\": 1",
            "\"num_key_value_heads\": 2",
            "2 key-value heads do not divide 3 heads",
        ),
        (
            "mistral",
            "config.json",
            "\"num_attention_heads\": 3",
            "\"num_attention_heads\": 8",
            "heads are 3 wide, positions need pairs",
        ),
        (
            "mistral",
            "config.json",
            "\"num_attention_heads\": 3",
            "\"num_attention_heads\": 9223372036854775807",
            "num_attention_heads is 9223372036854775807, more than 65536",
        ),
        (
            "nvembed",
            "config.json",
            "\"cross_dim_head\": 10",
            "\"cross_dim_head\": 9223372036854775807",
            "cross_dim_head is 9223372036854775807, more than 65536",
        ),
        (
            "mistral",
            "config.json",
            "\"silu\"",
            "\"swish-like\"",
            "config.json",
        ),
        (
            "mistral",
            "tokenizer_config.json",
            "\"eos_token\"",
            "\"other_token\"",
            "texts end with the token `eos_token`, which is not there",
        ),
        (
            "qwen2",
            "tokenizer_config.json",
            "\"eos_token\": \"</s>\"",
            "\"eos_token\": \"<end>\"",
            "it has no token `<end>`, with which texts end",
        ),
        (
            "nvembed",
            "config.json",
            "\"cross_dim_head\": 10",
            "\"cross_dim_head\": 12",
            "to_kv",
        ),
        (
            "nvembed",
            "config.json",
            "\"latent_dim\": 24",
            "\"latent_dim\": 23",
            "latent_dim is 23, hidden_dim 24",
        ),
    ] {
        let (_dir, folder) = changed(model, file, |text| {
            assert!(text.contains(from), "{model}/{file} lacks {from}");
            text.replace(from, to)
        });
        let Err(e) = Transformer::load(&folder, &Settings::default()) else {
            panic!("{model}/{file}: {from} -> {to} is taken");
        };
        let e = e.to_string();
        assert!(e.contains(reported), "{model}/{file}: {e}");
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
