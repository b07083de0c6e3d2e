//! Tests of taggers with tiny models, which the tests write.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use gfm_pipe_api::local;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

type Tensors = HashMap<String, Tensor>;

const LABELS: [&str; 5] = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"];
const WIDTH: usize = 12;
const INNER: usize = 20;
const LAYERS: usize = 2;
const BERT: [&str; 4] = [
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
];
const DEBERTA: [&str; 4] = [
    "attention.self.query_proj",
    "attention.self.key_proj",
    "attention.self.value_proj",
    "attention.output.dense",
];

/// Numbers around 0, derived from a name.
fn numbers(name: &str, count: usize) -> Vec<f32> {
    let mut bytes = vec![0; 2 * count];
    blake3::Hasher::new()
        .update(name.as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    let number = |b: &[u8; 2]| f32::from(u16::from_le_bytes(*b)) / 32768.0 - 1.0;
    bytes.as_chunks().0.iter().map(number).collect()
}

fn random(all: &mut Tensors, name: &str, shape: &[usize]) {
    let values = numbers(name, shape.iter().product());
    all.insert(
        name.to_owned(),
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap(),
    );
}

/// Size of the vocabulary of a fixture's tokenizer.
fn vocabulary(fixture: &str) -> usize {
    let tokenizer = fixture_file(fixture);
    Tokenizer::from_bytes(tokenizer)
        .unwrap()
        .get_vocab_size(true)
}

fn fixture_file(fixture: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/fixtures/encoders");
    std::fs::read(path.join(fixture).join(TOKENIZER)).unwrap()
}

fn config(kind: &str, layers: usize, positions: usize) -> Value {
    let labels: serde_json::Map<String, Value> = LABELS
        .iter()
        .enumerate()
        .map(|(i, l)| (i.to_string(), json!(l)))
        .collect();
    json!({
        "model_type": kind, "id2label": labels, "hidden_size": WIDTH, "num_hidden_layers": layers,
        "num_attention_heads": 3, "intermediate_size": INNER, "hidden_act": "gelu",
        "max_position_embeddings": positions, "layer_norm_eps": 1e-12, "pad_token_id": 1,
        "vocab_size": vocabulary("bert"), "type_vocab_size": 0, "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1, "initializer_range": 0.02, "relative_attention": true,
        "max_relative_positions": -1, "position_buckets": 4, "position_biased_input": false,
        "pos_att_type": ["p2c", "c2p"], "share_att_key": true, "norm_rel_ebd": "layer_norm",
    })
}

/// Random weights of a network with a head.
fn weights(root: &str, parts: [&str; 4], layers: usize, words: usize, positions: usize) -> Tensors {
    let mut all = Tensors::new();
    let mut norms = vec![format!("{root}.embeddings.LayerNorm")];
    let mut linear = |name: String, rows: usize, columns: usize| {
        random(&mut all, &format!("{name}.weight"), &[rows, columns]);
        random(&mut all, &format!("{name}.bias"), &[rows]);
    };
    for layer in 0..layers {
        let layer = format!("{root}.encoder.layer.{layer}");
        for part in parts {
            linear(format!("{layer}.{part}"), WIDTH, WIDTH);
        }
        linear(format!("{layer}.intermediate.dense"), INNER, WIDTH);
        linear(format!("{layer}.output.dense"), WIDTH, INNER);
        norms.extend(["attention.output", "output"].map(|n| format!("{layer}.{n}.LayerNorm")));
    }
    linear("classifier".to_owned(), LABELS.len(), WIDTH);
    random(
        &mut all,
        &format!("{root}.embeddings.word_embeddings.weight"),
        &[words, WIDTH],
    );
    match root {
        "deberta" => {
            random(
                &mut all,
                "deberta.encoder.rel_embeddings.weight",
                &[8, WIDTH],
            );
            norms.push("deberta.encoder.LayerNorm".to_owned());
        }
        _ => random(
            &mut all,
            &format!("{root}.embeddings.position_embeddings.weight"),
            &[positions, WIDTH],
        ),
    }
    for norm in norms {
        random(&mut all, &format!("{norm}.weight"), &[WIDTH]);
        random(&mut all, &format!("{norm}.bias"), &[WIDTH]);
    }
    all
}

fn folder(config: &Value, weights: &Tensors, tokenizer: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(CONFIG), config.to_string()).unwrap();
    std::fs::write(dir.path().join(TOKENIZER), fixture_file(tokenizer)).unwrap();
    let bytes = safetensors::serialize(weights, None).unwrap();
    std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
    dir
}

fn load(config: &Value, weights: &Tensors, tokenizer: &str) -> Tagger {
    Tagger::load(folder(config, weights, tokenizer).path()).unwrap()
}

fn random_tagger(kind: &str, positions: usize, compute: Compute) -> Tagger {
    let (root, parts, tokenizer) = match kind {
        "deberta-v2" => ("deberta", DEBERTA, "bert"),
        "bert" => ("bert", BERT, "bert"),
        _ => ("roberta", BERT, "roberta"),
    };
    let weights = weights(root, parts, LAYERS, vocabulary(tokenizer), positions);
    let folder = folder(&config(kind, LAYERS, positions), &weights, tokenizer);
    Tagger::load_on(folder.path(), compute).unwrap()
}

/// A network without layers and positions that labels the `known` words.
fn knowing(positions: usize, known: &[(&str, usize)]) -> Tagger {
    let words = vocabulary("bert");
    let mut all = weights("bert", BERT, 0, words, positions);
    let tokenizer = Tokenizer::from_bytes(fixture_file("bert")).unwrap();
    let mut one_hot = vec![0.0_f32; words * WIDTH];
    for id in 0..words {
        let of_word = known
            .iter()
            .find(|(w, _)| tokenizer.token_to_id(w) == Some(id as u32));
        one_hot[id * WIDTH + of_word.map_or(0, |(_, label)| *label)] = 1.0;
    }
    let identity: Vec<f32> = (0..LABELS.len() * WIDTH)
        .map(|i| if i / WIDTH == i % WIDTH { 1.0 } else { 0.0 })
        .collect();
    let ones = Tensor::ones(WIDTH, candle_core::DType::F32, &Device::Cpu).unwrap();
    let mut set = |name: &str, tensor: Tensor| all.insert(name.to_owned(), tensor).unwrap();
    set(
        "bert.embeddings.word_embeddings.weight",
        Tensor::from_vec(one_hot, (words, WIDTH), &Device::Cpu).unwrap(),
    );
    set(
        "bert.embeddings.position_embeddings.weight",
        ones.zeros_like()
            .unwrap()
            .broadcast_as((positions, WIDTH))
            .unwrap()
            .contiguous()
            .unwrap(),
    );
    set("bert.embeddings.LayerNorm.weight", ones.clone());
    set("bert.embeddings.LayerNorm.bias", ones.zeros_like().unwrap());
    set(
        "classifier.weight",
        Tensor::from_vec(identity, (LABELS.len(), WIDTH), &Device::Cpu).unwrap(),
    );
    set(
        "classifier.bias",
        Tensor::zeros(LABELS.len(), candle_core::DType::F32, &Device::Cpu).unwrap(),
    );
    load(&config("bert", 0, positions), &all, "bert")
}

const KNOWN: [(&str, usize); 5] = [
    ("arthur", 1),
    ("brown", 2),
    ("sao", 3),
    ("paulo", 4),
    ("brasil", 3),
];

/// A text whose sentences end with a full stop.
fn text(text: &str) -> Text<'_> {
    let mut start = 0;
    let sentences = text.split_inclusive('.').map(|s| {
        let range = start..start + s.len();
        start = range.end;
        range
    });
    let sentences = sentences.collect();
    Text { text, sentences }
}

fn tagged(tagger: &Tagger, of: &str) -> Vec<String> {
    let spans = tagger
        .tag(&local::context(), &[text(of)])
        .unwrap()
        .remove(0);
    spans
        .into_iter()
        .map(|s| format!("{} {}", s.label, &of[s.range]))
        .collect()
}

#[test]
fn names_stand_where_the_spans_say() {
    let tagger = knowing(64, &KNOWN);
    for (text, want) in [
        (
            "The ARTHUR Brown jumps in São  Paulo, Brasil.",
            &["PER ARTHUR Brown", "LOC São  Paulo", "LOC Brasil"][..],
        ),
        // The first piece of a word decides. Punctuation marks are words.
        (
            "Arthurs dog: \u{1f600} Brasil?Arthur",
            &["PER Arthurs", "LOC Brasil", "PER Arthur"],
        ),
        // No span goes beyond a sentence.
        ("Arthur. Brown", &["PER Arthur", "PER Brown"]),
        ("", &[]),
        (" \n", &[]),
    ] {
        assert_eq!(tagged(&tagger, text), want, "{text}");
    }
}

#[test]
fn long_texts_are_as_the_same_text_in_one_window() {
    let words = [
        "the", "Arthur", "Brown", "jumps", "over", "Sao", "Paulo", "dozen", "Brasil",
    ];
    for length in [1, 13, 14, 15, 16, 40, 200] {
        let long: Vec<&str> = (0..length)
            .map(|i| words[(i * i + i / 7) % words.len()])
            .collect();
        let long = long.join(" ");
        let whole = tagged(&knowing(512, &KNOWN), &long);
        assert_eq!(tagged(&knowing(16, &KNOWN), &long), whole, "{length} words");
        assert!(length < 3 || !whole.is_empty());
    }
}

fn texts_of_many_lengths() -> Vec<String> {
    let text = |i: usize| {
        let (places, letters) = ("Sao Paulo ".repeat(i % 9), "é東 ".repeat(i % 5));
        format!("Arthur Brown {places} the quick box. {letters}")
    };
    (0..40).map(text).collect()
}

/// Texts as the network sees them, cut at the length of a window.
fn inputs(tagger: &Tagger, texts: &[String]) -> Vec<Tokenised> {
    let input = |t: &String| {
        let ids = tagger.tokens(t).unwrap().ids;
        tagger.input(&ids[..ids.len().min(tagger.room)])
    };
    texts.iter().map(input).collect()
}

/// The GPU that `GFM_PIPE_LOCAL_DEVICE` names, in a build that can use it, or an emulation.
fn gpu() -> Compute {
    match std::env::var("GFM_PIPE_LOCAL_DEVICE") {
        Ok(device) if cfg!(feature = "cuda") => Compute::of(&device).unwrap(),
        _ => Compute::emulated_gpu(),
    }
}

#[test]
fn a_gpu_gives_the_scores_of_the_cpu() {
    for kind in ["bert", "roberta", "deberta-v2"] {
        let cpu = random_tagger(kind, 24, Compute::cpu());
        let gpu = random_tagger(kind, 24, gpu());
        assert!(gpu.on_gpu() && !cpu.on_gpu());
        let texts = texts_of_many_lengths();
        let inputs = inputs(&cpu, &texts);
        let inputs: Vec<&Tokenised> = inputs.iter().collect();
        let want = cpu.network.scores(&inputs).unwrap().concat();
        let got = gpu.network.scores(&inputs).unwrap().concat();
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() < 1e-4, "{kind}: {got} {want}");
        }
        let texts: Vec<Text<'_>> = texts.iter().map(|t| text(t)).collect();
        let spans = |tagger: &Tagger| tagger.tag(&local::context(), &texts).unwrap();
        assert_eq!(spans(&gpu), spans(&cpu), "{kind}");
    }
}

#[test]
fn a_text_does_not_depend_on_those_beside_it() {
    for kind in ["bert", "roberta", "deberta-v2"] {
        let tagger = random_tagger(kind, 24, Compute::cpu());
        let texts = texts_of_many_lengths();
        let together: Vec<Text<'_>> = texts.iter().map(|t| text(t)).collect();
        let all = tagger.tag(&local::context(), &together).unwrap();
        for (one, want) in together.iter().zip(&all) {
            let alone = tagger
                .tag(&local::context(), std::slice::from_ref(one))
                .unwrap();
            assert_eq!(&alone[0], want, "{kind}: {}", one.text);
        }
        let found = all.iter().flatten().count();
        assert!(found > 20, "{kind}: {found} spans of random weights");
        let inputs = inputs(&tagger, &texts);
        let inputs: Vec<&Tokenised> = inputs.iter().collect();
        let scores = tagger.network.scores(&inputs).unwrap();
        for (input, want) in inputs.iter().zip(scores) {
            assert_eq!(tagger.network.scores(&[input]).unwrap(), [want], "{kind}");
        }
    }
}

#[test]
fn a_cancelled_stage_stops() {
    let ctx = local::context();
    ctx.cancel.cancel();
    let stopped = knowing(16, &KNOWN).tag(&ctx, &[text("Arthur")]);
    assert!(matches!(stopped, Err(OpError::Cancelled)));
}

/// The error message and hint for a folder.
fn refused(config: &Value, weights: &Tensors) -> String {
    let Err(e) = Tagger::load(folder(config, weights, "bert").path()) else {
        panic!("it was loaded");
    };
    format!("{e} ({})", e.hint().unwrap_or_default())
}

#[test]
fn folders_of_other_models_are_refused() {
    let all = weights("bert", BERT, 1, vocabulary("bert"), 64);
    let good = config("bert", 1, 64);
    Tagger::load(folder(&good, &all, "bert").path()).unwrap();
    let with = |key: &str, value: Value| {
        let mut config = good.clone();
        config[key] = value;
        config
    };
    let mut headless = all.clone();
    headless.remove("classifier.weight");
    let mut broken = all.clone();
    broken.remove("bert.encoder.layer.0.output.dense.weight");
    for (config, weights, file, want, hint) in [
        (
            with("id2label", Value::Null),
            &all,
            "config.json",
            "`id2label` is missing",
            "token classification",
        ),
        (
            with("model_type", json!("gpt2")),
            &all,
            "config.json",
            "model_type `gpt2` is not implemented",
            "DeBERTa",
        ),
        (
            with("architectures", json!(["RobertaForTokenClassification"])),
            &all,
            "config.json",
            "contradict each other",
            "",
        ),
        (
            with("id2label", json!({"0": "O", "1": "B-X"})),
            &all,
            "config.json",
            "has 2 labels and `classifier.weight` 5",
            "",
        ),
        (
            good.clone(),
            &headless,
            "model.safetensors",
            "no `classifier.weight`",
            "fine-tuned",
        ),
        (
            good.clone(),
            &broken,
            "model.safetensors",
            "output.dense.weight",
            "",
        ),
        (
            with("max_position_embeddings", json!(2)),
            &all,
            "model.safetensors",
            "position_embeddings",
            "",
        ),
    ] {
        let said = refused(&config, weights);
        assert!(
            said.contains(file) && said.contains(want) && said.contains(hint),
            "{said}"
        );
    }
    let mut convolved = self::config("deberta-v2", 1, 64);
    convolved["conv_kernel_size"] = json!(3);
    let said = refused(
        &convolved,
        &weights("deberta", DEBERTA, 1, vocabulary("bert"), 64),
    );
    assert!(
        said.contains("`conv_kernel_size` is not implemented"),
        "{said}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn spans_are_of_whole_characters_in_one_sentence(of in "((Arthur|São|the|東京|né|🜚|😀|,|\\.|\\(|1990|x)[ \n]{0,2}){0,40}|.{0,60}") {
        for kind in ["bert", "roberta"] {
            let tagger = random_tagger(kind, 24, Compute::cpu());
            let text = text(&of);
            let spans = tagger.tag(&local::context(), std::slice::from_ref(&text)).unwrap().remove(0);
            let mut end = 0;
            for Span { range, label } in spans {
                prop_assert!(range.start >= end && ["PER", "LOC"].contains(&label.as_str()));
                end = range.end;
                // Panics if a range ends inside a character.
                let said = &of[range.clone()];
                prop_assert!(said == said.trim() && said.contains(char::is_alphanumeric));
                prop_assert!(text.sentences.iter().any(|s| s.start <= range.start && range.end <= s.end));
            }
        }
    }
}

/// DeBERTa, implemented directly from its definition (He et al., 2021), in double precision.
struct Slow<'a>(&'a Tensors);

impl Slow<'_> {
    fn get(&self, name: &str) -> Vec<f64> {
        let values: Vec<f32> = self.0[name].flatten_all().unwrap().to_vec1().unwrap();
        values.into_iter().map(f64::from).collect()
    }

    fn linear(&self, name: &str, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let (weight, bias) = (
            self.get(&format!("{name}.weight")),
            self.get(&format!("{name}.bias")),
        );
        let of = |x: &Vec<f64>| {
            let rows = weight.chunks(x.len()).zip(&bias);
            rows.map(|(w, b)| dot(w, x) + b).collect()
        };
        x.iter().map(of).collect()
    }

    fn norm(&self, name: &str, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let (gain, shift) = (
            self.get(&format!("{name}.weight")),
            self.get(&format!("{name}.bias")),
        );
        let of = |x: &Vec<f64>| {
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
            let scale = 1.0 / (variance + 1e-12).sqrt();
            x.iter()
                .zip(&gain)
                .zip(&shift)
                .map(|((x, g), s)| (x - mean) * scale * g + s)
                .collect()
        };
        x.iter().map(of).collect()
    }

    fn scores(&self, ids: &[u32], positions: f64) -> Vec<Vec<f64>> {
        let words = self.get("deberta.embeddings.word_embeddings.weight");
        let mut x: Vec<Vec<f64>> = ids
            .iter()
            .map(|i| words[*i as usize * WIDTH..][..WIDTH].to_vec())
            .collect();
        x = self.norm("deberta.embeddings.LayerNorm", &x);
        let table = self.get("deberta.encoder.rel_embeddings.weight");
        let table: Vec<Vec<f64>> = table.chunks(WIDTH).map(<[f64]>::to_vec).collect();
        let table = self.norm("deberta.encoder.LayerNorm", &table);
        for layer in 0..LAYERS {
            let layer = format!("deberta.encoder.layer.{layer}");
            let part = |name: &str, x: &[Vec<f64>]| {
                self.linear(&format!("{layer}.attention.self.{name}"), x)
            };
            let (q, k, v) = (
                part("query_proj", &x),
                part("key_proj", &x),
                part("value_proj", &x),
            );
            let (of_query, of_key) = (part("query_proj", &table), part("key_proj", &table));
            let mut seen = vec![vec![0.0; WIDTH]; x.len()];
            for head in 0..3 {
                let size = WIDTH / 3;
                let cut = |x: &Vec<f64>| x[head * size..][..size].to_vec();
                for (i, seen) in seen.iter_mut().enumerate() {
                    let score = |j: usize| {
                        let at =
                            (bucket(i as f64 - j as f64, positions) + 4.0).clamp(0.0, 7.0) as usize;
                        let content = dot(&cut(&q[i]), &cut(&k[j]));
                        let to_position = dot(&cut(&q[i]), &cut(&of_key[at]));
                        let from_position = dot(&cut(&k[j]), &cut(&of_query[at]));
                        ((content + to_position + from_position) / (3.0 * size as f64).sqrt()).exp()
                    };
                    let all: Vec<f64> = (0..x.len()).map(score).collect();
                    let sum: f64 = all.iter().sum();
                    for (v, share) in v.iter().zip(all) {
                        for (out, v) in seen[head * size..].iter_mut().zip(cut(v)) {
                            *out += share / sum * v;
                        }
                    }
                }
            }
            let mixed = self.linear(&format!("{layer}.attention.output.dense"), &seen);
            x = self.norm(
                &format!("{layer}.attention.output.LayerNorm"),
                &added(&mixed, &x),
            );
            let mut inner = self.linear(&format!("{layer}.intermediate.dense"), &x);
            inner.iter_mut().flatten().for_each(|x| *x = gelu(*x));
            let outer = self.linear(&format!("{layer}.output.dense"), &inner);
            x = self.norm(&format!("{layer}.output.LayerNorm"), &added(&outer, &x));
        }
        self.linear("classifier", &x)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn added(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let rows = a.iter().zip(b);
    rows.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect())
        .collect()
}

/// GELU, with the error function as a sum (Abramowitz and Stegun, 7.1.6).
fn gelu(x: f64) -> f64 {
    let z = x / 2.0_f64.sqrt();
    let (mut term, mut sum) = (z, z);
    for n in 1..200 {
        term *= 2.0 * z * z / (2.0 * f64::from(n) + 1.0);
        sum += term;
    }
    0.5 * x * (1.0 + (-z * z).exp() * 2.0 / std::f64::consts::PI.sqrt() * sum)
}

/// Four buckets: one for each distance up to two, then by logarithm.
fn bucket(distance: f64, positions: f64) -> f64 {
    if distance.abs() <= 2.0 {
        return distance;
    }
    let log = (distance.abs() / 2.0).ln() / ((positions - 1.0) / 2.0).ln();
    distance.signum() * (log.ceil() + 2.0)
}

#[test]
fn deberta_gives_the_scores_of_its_definition() {
    let weights = weights("deberta", DEBERTA, LAYERS, vocabulary("bert"), 24);
    let tagger = load(&config("deberta-v2", LAYERS, 24), &weights, "bert");
    let ids: Vec<u32> = (0..17).map(|i| (i * 31 + 7) % 200).collect();
    let got = tagger
        .network
        .scores(&[&Tokenised::new(ids.clone())])
        .unwrap()
        .remove(0);
    let want = Slow(&weights).scores(&ids, 24.0);
    for (got, want) in got.iter().zip(want.iter().flatten()) {
        assert!((f64::from(*got) - want).abs() < 1e-4, "{got} {want}");
    }
    assert_eq!(got.len(), want.len() * LABELS.len());
}
