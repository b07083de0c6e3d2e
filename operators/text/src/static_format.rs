//! The files of a static encoder: `config.json`, `vocab.txt` and `model.safetensors`.
//!
//! Three byte strings become checked parts, or an error that says which file is wrong and how.
//! Invariant: a [`Parts`] is consistent (one table row and one finite scale per vocabulary entry,
//! and an unknown token that exists), so that encoding needs no further checks.

use std::borrow::Cow;
use std::ops::Range;

use ahash::AHashMap;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::error::{EncoderError, STATIC_FORMAT};

/// File names inside a model folder.
pub(crate) const CONFIG_FILE: &str = "config.json";
pub(crate) const VOCAB_FILE: &str = "vocab.txt";
pub(crate) const TABLE_FILE: &str = "model.safetensors";

/// `config.json`: only what encoding needs. Its notes on origin and licence are for readers.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) dim: usize,
    pub(crate) tokenizer: TokenizerConfig,
}

/// Settings of BERT's tokenizer.
#[derive(Debug, Deserialize)]
pub(crate) struct TokenizerConfig {
    pub(crate) lowercase: bool,
    pub(crate) unk_token: String,
    pub(crate) continuing_subword_prefix: String,
    pub(crate) max_input_chars_per_word: usize,
}

/// A loaded and checked model. The table stays in its bytes: decoding 30,000 rows at start-up would
/// cost more than the few rows that a run needs.
pub(crate) struct Parts {
    pub(crate) config: Config,
    /// Ids of tokens, which are their lines, in the tokenizer's map type.
    pub(crate) vocab: AHashMap<String, u32>,
    pub(crate) unknown: u32,
    pub(crate) table: Cow<'static, [u8]>,
    /// The range of the int8 rows in `table`.
    pub(crate) rows: Range<usize>,
    pub(crate) scales: Vec<f32>,
}

fn invalid(file: &'static str, problem: impl Into<String>) -> EncoderError {
    EncoderError::Invalid {
        file,
        problem: problem.into(),
    }
}

pub(crate) fn parse(
    config: &[u8],
    vocab: &[u8],
    table: Cow<'static, [u8]>,
) -> Result<Parts, EncoderError> {
    let config = parse_config(config)?;
    let (vocab, unknown) = parse_vocab(vocab, &config.tokenizer.unk_token)?;
    let (rows, scales) = parse_table(&table, vocab.len(), config.dim)?;
    Ok(Parts {
        config,
        vocab,
        unknown,
        table,
        rows,
        scales,
    })
}

fn parse_config(bytes: &[u8]) -> Result<Config, EncoderError> {
    /// Read before the rest, because a later format may have other fields.
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let bad = |error: serde_json::Error| invalid(CONFIG_FILE, error.to_string());
    let Version { format } = serde_json::from_slice(bytes).map_err(bad)?;
    if format != STATIC_FORMAT {
        return Err(EncoderError::Format { found: format });
    }
    let config: Config = serde_json::from_slice(bytes).map_err(bad)?;
    if config.dim == 0 {
        return Err(invalid(CONFIG_FILE, "dim is 0"));
    }
    Ok(config)
}

fn parse_vocab(
    bytes: &[u8],
    unk_token: &str,
) -> Result<(AHashMap<String, u32>, u32), EncoderError> {
    let bad = |problem: String| invalid(VOCAB_FILE, problem);
    let text = std::str::from_utf8(bytes).map_err(|error| bad(error.to_string()))?;
    let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
    let mut vocab = AHashMap::with_capacity(lines);
    for (id, token) in (0_u32..).zip(text.lines()) {
        if token.is_empty() || vocab.insert(token.to_owned(), id).is_some() {
            return Err(bad(format!(
                "line {}: the token {token:?} is empty or a repetition",
                u64::from(id) + 1
            )));
        }
    }
    match vocab.get(unk_token) {
        Some(&unknown) => Ok((vocab, unknown)),
        None => Err(bad(format!(
            "the unknown token {unk_token:?} of config.json is missing"
        ))),
    }
}

fn parse_table(
    bytes: &[u8],
    vocab: usize,
    dim: usize,
) -> Result<(Range<usize>, Vec<f32>), EncoderError> {
    let bad = |problem: String| invalid(TABLE_FILE, problem);
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| bad(error.to_string()))?;
    let get = |name: &str, dtype: Dtype, shape: &[usize]| {
        let tensor = tensors
            .tensor(name)
            .map_err(|error| bad(error.to_string()))?;
        if tensor.dtype() != dtype || tensor.shape() != shape {
            return Err(bad(format!(
                "{name} is {:?} {:?}, expected {dtype:?} {shape:?} (vocab.txt lines, dim of config.json)",
                tensor.dtype(),
                tensor.shape()
            )));
        }
        Ok(tensor.data())
    };
    let rows = get("rows", Dtype::I8, &[vocab, dim])?;
    let scales: Vec<f32> = get("scales", Dtype::F32, &[vocab])?
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    // A row is its scale times int8 numbers.
    let finite = |scale: &f32| (scale * 128.0).is_finite();
    if let Some(row) = scales.iter().position(|scale| !finite(scale)) {
        return Err(bad(format!(
            "scales: row {row} is not a finite number, or so large that its row is not"
        )));
    }
    // `rows` is a slice of `bytes`, so the difference of their addresses is the offset.
    let start = rows.as_ptr().addr() - bytes.as_ptr().addr();
    Ok((start..start + rows.len(), scales))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const CONFIG: &str = r###"{"format": 1, "name": "tiny", "dim": 2, "tokenizer": {"lowercase": true,
        "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}}"###;

    fn table(scales: &[f32], rows: &[u8]) -> Cow<'static, [u8]> {
        use safetensors::tensor::{TensorView, serialize};
        let scale_bytes: Vec<u8> = scales
            .iter()
            .flat_map(|scale| scale.to_le_bytes())
            .collect();
        let count = scales.len();
        let views = [
            (
                "rows",
                TensorView::new(Dtype::I8, vec![count, rows.len() / count], rows).unwrap(),
            ),
            (
                "scales",
                TensorView::new(Dtype::F32, vec![count], &scale_bytes).unwrap(),
            ),
        ];
        Cow::Owned(serialize(views, None).unwrap())
    }

    fn message(config: &str, vocab: &str, table: Cow<'static, [u8]>) -> String {
        match parse(config.as_bytes(), vocab.as_bytes(), table) {
            Ok(_) => String::from("accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_consistent_model_is_read() {
        let parts = parse(
            CONFIG.as_bytes(),
            b"[UNK]\nab\n",
            table(&[0.0, 0.5], &[0, 0, 2, 0xFF]),
        )
        .unwrap();
        assert_eq!(
            (parts.unknown, parts.vocab["ab"], parts.vocab.len()),
            (0, 1, 2)
        );
        assert_eq!(parts.scales, [0.0, 0.5]);
        assert_eq!(&parts.table[parts.rows], [0, 0, 2, 0xFF]);
    }

    #[test]
    fn every_fault_names_its_file() {
        let good = || table(&[0.0, 0.5], &[0, 0, 2, 3]);
        assert_eq!(message(CONFIG, "[UNK]\nab\n", good()), "accepted");
        let newer = CONFIG.replace("\"format\": 1", "\"format\": 7");
        assert!(message(&newer, "[UNK]\nab\n", good()).contains("format 7 is not known"));
        let flat = CONFIG.replace("\"dim\": 2", "\"dim\": 0");
        assert!(message(&flat, "[UNK]\nab\n", good()).starts_with("config.json: dim is 0"));
        assert!(message("{", "[UNK]\nab\n", good()).starts_with("config.json:"));
        assert!(message(CONFIG, "[UNK]\n[UNK]\n", good()).starts_with("vocab.txt: line 2"));
        assert!(message(CONFIG, "x\nab\n", good()).contains("\"[UNK]\" of config.json is missing"));
        assert!(
            message(CONFIG, "[UNK]\nab\nc\n", good())
                .starts_with("model.safetensors: rows is I8 [2, 2]")
        );
        assert!(
            message(
                CONFIG,
                "[UNK]\nab\n",
                table(&[0.0, f32::NAN], &[0, 0, 2, 3])
            )
            .contains("row 1 is not a finite")
        );
        assert!(
            message(
                CONFIG,
                "[UNK]\nab\n",
                table(&[f32::MAX, 0.5], &[0, 0, 2, 3])
            )
            .contains("row 0 is not a finite")
        );
        assert!(
            message(CONFIG, "[UNK]\nab\n", Cow::Borrowed(b"nonsense"))
                .starts_with("model.safetensors:")
        );
    }
}
