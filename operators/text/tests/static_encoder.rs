//! Compares the compiled-in encoder with vectors written by `scripts/distill-static/distill.py`,
//! and checks its invariants on many texts.
#![cfg(feature = "static-encoder")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::LazyLock;

use gfm_pipe_text::{EncoderError, StaticEncoder};
use proptest::prelude::*;

static ENCODER: LazyLock<StaticEncoder> = LazyLock::new(|| StaticEncoder::builtin().unwrap());

#[derive(serde::Deserialize)]
struct Case {
    text: String,
    vector: Vec<f32>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("static_vectors.json")).unwrap()
}

fn one(text: &str) -> Vec<f32> {
    ENCODER.encode(&[text]).unwrap().values
}

fn norm(row: &[f32]) -> f32 {
    row.iter().map(|value| value * value).sum::<f32>().sqrt()
}

fn cosine(a: &str, b: &str) -> f32 {
    one(a).iter().zip(one(b)).map(|(x, y)| x * y).sum()
}

#[test]
fn agrees_with_the_python_side() {
    let cases = cases();
    assert!(cases.len() >= 15);
    let texts: Vec<&str> = cases.iter().map(|case| case.text.as_str()).collect();
    let encoded = ENCODER.encode(&texts).unwrap();
    for (case, row) in cases.iter().zip(encoded.values.chunks(encoded.dim)) {
        assert_eq!(case.vector.len(), encoded.dim);
        for (at, (ours, theirs)) in row.iter().zip(&case.vector).enumerate() {
            assert!(
                (ours - theirs).abs() < 1e-5,
                "{:?} [{at}]: {ours} against {theirs}",
                case.text
            );
        }
    }
    // The stored vectors show independently which rows are zero.
    let zero: Vec<usize> = (0..cases.len())
        .filter(|&row| cases[row].vector.iter().all(|&value| value == 0.0))
        .collect();
    assert_eq!(encoded.zero_rows, zero);
    assert!(
        zero.len() >= 3,
        "empty, emoji only and an overlong word are among the cases"
    );
}

#[test]
fn texts_without_a_known_token_are_zero_and_counted() {
    let overlong = "x".repeat(101);
    let texts = [
        "capital of",
        "",
        " \t\n",
        "🍕😀",
        "born in",
        "\u{0}\u{fffd}",
        overlong.as_str(),
    ];
    let encoded = ENCODER.encode(&texts).unwrap();
    assert_eq!(encoded.zero_rows, [1, 2, 3, 5, 6]);
    for (row, values) in encoded.values.chunks(encoded.dim).enumerate() {
        if encoded.zero_rows.contains(&row) {
            assert!(values.iter().all(|&value| value == 0.0), "row {row}");
        } else {
            assert!((norm(values) - 1.0).abs() < 1e-5, "row {row}");
        }
    }
}

#[test]
fn an_unknown_word_adds_nothing_to_a_known_text() {
    assert_eq!(one("capital 🍕 of 😀"), one("capital of"));
    assert_eq!(one("Capital  OF\n"), one("capital of"));
}

#[test]
fn an_inverse_relation_differs_from_its_relation() {
    // The underscore separates words, so the prefix is read as a word of its own.
    assert_eq!(one("inverse_capital of"), one("inverse _ capital of"));
    let inverse = cosine("inverse_capital of", "capital of");
    assert!(inverse < 0.95, "{inverse}");
    assert!(inverse > cosine("inverse_capital of", "married to"));
}

#[test]
fn near_in_meaning_is_near_in_cosine() {
    assert!(cosine("is married to", "spouse") > cosine("is married to", "produced by"));
    assert!(cosine("birthplace", "was born in") > cosine("birthplace", "record label"));
}

#[test]
fn special_tokens_written_in_a_text_are_text() {
    assert_eq!(one("[CLS]"), one("[ cls ]"));
    assert_ne!(one("[UNK]"), vec![0.0; ENCODER.dim()]);
}

#[test]
fn a_very_long_text_is_read_to_its_end() {
    let long = "capital of ".repeat(20_000);
    let row = one(&long);
    assert!((norm(&row) - 1.0).abs() < 1e-5);
    let distance: f32 = row
        .iter()
        .zip(one("capital of"))
        .map(|(a, b)| (a - b).abs())
        .sum();
    assert!(
        distance < 1e-2,
        "repeating a text keeps its direction: {distance}"
    );
    let other = one(&format!("{long} {}", "born in ".repeat(20_000)));
    let moved: f32 = row.iter().zip(&other).map(|(a, b)| (a - b).abs()).sum();
    assert!(moved > 0.1, "the tail counts: {moved}");
}

#[test]
fn rows_do_not_depend_on_threads_or_neighbours() {
    let texts: Vec<String> = (0..500)
        .map(|at| format!("entity {} of group {}", at % 97, at / 3))
        .collect();
    let pool = |threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
    };
    let single = pool(1).install(|| ENCODER.encode(&texts).unwrap());
    for threads in [2, 5] {
        assert_eq!(
            pool(threads).install(|| ENCODER.encode(&texts).unwrap()),
            single
        );
    }
    for at in [0, 123, 499] {
        assert_eq!(
            one(&texts[at]),
            single.values[at * single.dim..(at + 1) * single.dim]
        );
    }
}

#[test]
fn no_texts_give_no_rows() {
    let encoded = ENCODER.encode::<&str>(&[]).unwrap();
    assert!(encoded.values.is_empty() && encoded.zero_rows.is_empty());
    assert_eq!(encoded.dim, ENCODER.dim());
}

fn model_dir() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/models/static-minilm")
}

#[test]
fn the_digest_names_the_model_however_it_was_loaded() {
    let loaded = StaticEncoder::from_dir(&model_dir()).unwrap();
    assert_eq!(loaded.digest(), ENCODER.digest());
    assert_eq!(StaticEncoder::builtin_digest(), ENCODER.digest());
    assert_eq!(loaded.digest().len(), 64);
    assert_eq!(
        (loaded.name(), loaded.dim()),
        ("static-minilm", ENCODER.dim())
    );

    let read = |name: &str| std::fs::read(model_dir().join(name)).unwrap();
    let (config, vocab, table) = (
        read("config.json"),
        read("vocab.txt"),
        read("model.safetensors"),
    );
    let mut changed = table.clone();
    // One bit of one weight.
    *changed.last_mut().unwrap() ^= 1;
    let changed = StaticEncoder::from_bytes(&config, &vocab, changed).unwrap();
    assert_ne!(changed.digest(), ENCODER.digest());
    let text = String::from_utf8(vocab)
        .unwrap()
        .replace("\ncapital\n", "\ncapitalx\n");
    let renamed = StaticEncoder::from_bytes(&config, text.as_bytes(), table).unwrap();
    assert_ne!(renamed.digest(), ENCODER.digest());
}

#[test]
fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(
        model_dir().join("config.json"),
        folder.path().join("config.json"),
    )
    .unwrap();
    let error = StaticEncoder::from_dir(folder.path()).unwrap_err();
    assert!(
        matches!(&error, EncoderError::Read { path, .. } if path.ends_with("vocab.txt")),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("config.json, vocab.txt and model.safetensors")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_text_has_norm_one_or_is_a_counted_zero(texts in prop::collection::vec(any::<String>(), 0..6)) {
        let encoded = ENCODER.encode(&texts).unwrap();
        prop_assert_eq!(encoded.values.len(), texts.len() * encoded.dim);
        for (row, values) in encoded.values.chunks(encoded.dim).enumerate() {
            prop_assert!(values.iter().all(|value| value.is_finite()));
            let expected = if encoded.zero_rows.contains(&row) { 0.0 } else { 1.0 };
            prop_assert!((norm(values) - expected).abs() < 1e-4);
        }
    }

}

proptest! {
    // Few cases, because each reads the whole model.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_cut_table_is_refused(keep in 0.0..1.0_f64) {
        let read = |name: &str| std::fs::read(model_dir().join(name)).unwrap();
        let mut table = read("model.safetensors");
        table.truncate((table.len() as f64 * keep) as usize);
        let refused = StaticEncoder::from_bytes(&read("config.json"), &read("vocab.txt"), table);
        let named = matches!(refused, Err(EncoderError::Invalid { file: "model.safetensors", .. }));
        prop_assert!(named);
    }
}
