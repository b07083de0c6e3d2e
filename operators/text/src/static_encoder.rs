//! The static encoder: a table of token vectors, averaged. No neural network runs.
//!
//! The table is distilled from all-MiniLM-L6-v2: int8 rows with one scale each, which includes the
//! token's weight. Encoding a text takes microseconds and needs no download. Invariant: a row
//! depends only on its own text (not on its neighbours, the batch or the number of threads). It has
//! norm 1, or is all zeros when no token of the text is known, and is never NaN. `static_format`
//! has the layout of the files.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use gfm_pipe_api::files;
use rayon::prelude::*;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{DecoderWrapper, Model as _, PostProcessorWrapper, TokenizerImpl};

use crate::error::EncoderError;
use crate::pooling::normalise;
use crate::static_format::{self, CONFIG_FILE, Parts, TABLE_FILE, VOCAB_FILE};

/// BERT's tokenizer without special tokens: `[CLS]` in a text is text.
type BertTokenizer = TokenizerImpl<
    WordPiece,
    BertNormalizer,
    BertPreTokenizer,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// The files of the compiled-in model.
#[cfg(feature = "static-encoder")]
mod builtin {
    pub(super) const CONFIG: &[u8] =
        include_bytes!("../../../data/models/static-minilm/config.json");
    pub(super) const VOCAB: &[u8] = include_bytes!("../../../data/models/static-minilm/vocab.txt");
    // A static, because a constant of this size could be copied wherever it is used.
    pub(super) static TABLE: &[u8] =
        include_bytes!("../../../data/models/static-minilm/model.safetensors");
}

/// Embeddings of a list of texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// Length of one row.
    pub dim: usize,
    /// Row-major, one row per text in the order given.
    pub values: Vec<f32>,
    /// Rows that are the zero vector, because their text is empty or has no known token, ascending.
    pub zero_rows: Vec<usize>,
}

/// A loaded static encoder. The table is read in place; a clone shares everything.
#[derive(Clone)]
pub struct StaticEncoder(Arc<Model>);

struct Model {
    name: String,
    dim: usize,
    tokenizer: BertTokenizer,
    /// Whether the tokenizer reads all letters as small ones.
    lowercase: bool,
    /// The id of unknown tokens, which are left out of the average.
    unknown: u32,
    table: Cow<'static, [u8]>,
    rows: Range<usize>,
    scales: Vec<f32>,
    /// Hash of the small files, computed at loading. The table is added when the digest is needed.
    small_files: blake3::Hasher,
    digest: OnceLock<String>,
}

impl std::fmt::Debug for StaticEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StaticEncoder")
            .field("name", &self.0.name)
            .field("dim", &self.0.dim)
            .field("tokens", &self.0.scales.len())
            .finish_non_exhaustive()
    }
}

impl StaticEncoder {
    /// The encoder that is compiled into the binary. It is loaded at the first call, then shared.
    ///
    /// # Errors
    /// When the model folder was damaged at build time, which the tests exclude.
    #[cfg(feature = "static-encoder")]
    pub fn builtin() -> Result<Self, EncoderError> {
        static LOADED: OnceLock<StaticEncoder> = OnceLock::new();
        if let Some(loaded) = LOADED.get() {
            return Ok(loaded.clone());
        }
        let loaded = Self::load(
            builtin::CONFIG,
            builtin::VOCAB,
            Cow::Borrowed(builtin::TABLE),
        )?;
        // If two threads loaded it at once, both have the same content.
        Ok(LOADED.get_or_init(|| loaded).clone())
    }

    /// The digest of the compiled-in encoder, without building its tokenizer, which a cached stage
    /// does not need.
    #[cfg(feature = "static-encoder")]
    #[must_use]
    pub fn builtin_digest() -> &'static str {
        static DIGEST: OnceLock<String> = OnceLock::new();
        DIGEST.get_or_init(|| {
            finish_digest(
                &hash_small_files(builtin::CONFIG, builtin::VOCAB),
                builtin::TABLE,
            )
        })
    }

    /// Loads an encoder from the contents of its three files.
    ///
    /// # Errors
    /// When a file is malformed, has an unknown format, or does not fit the others.
    pub fn from_bytes(config: &[u8], vocab: &[u8], table: Vec<u8>) -> Result<Self, EncoderError> {
        Self::load(config, vocab, Cow::Owned(table))
    }

    /// Loads an encoder from a folder with `config.json`, `vocab.txt` and `model.safetensors`.
    ///
    /// # Errors
    /// As [`StaticEncoder::from_bytes`], and when a file cannot be read.
    pub fn from_dir(folder: &Path) -> Result<Self, EncoderError> {
        let read = |name: &str| {
            let path = folder.join(name);
            match files::read(&path) {
                Err(source) => Err(EncoderError::Read { path, source }),
                Ok(bytes) => match EncoderError::of_pointer(&path, &bytes) {
                    Some(e) => Err(e),
                    None => Ok(bytes),
                },
            }
        };
        Self::from_bytes(&read(CONFIG_FILE)?, &read(VOCAB_FILE)?, read(TABLE_FILE)?)
    }

    fn load(config: &[u8], vocab: &[u8], table: Cow<'static, [u8]>) -> Result<Self, EncoderError> {
        let small_files = hash_small_files(config, vocab);
        let Parts {
            config,
            vocab,
            unknown,
            table,
            rows,
            scales,
        } = static_format::parse(config, vocab, table)?;
        let refused = |error: tokenizers::Error| EncoderError::Invalid {
            file: VOCAB_FILE,
            problem: error.to_string(),
        };
        let model = WordPiece::builder()
            .vocab(vocab)
            .unk_token(config.tokenizer.unk_token)
            .continuing_subword_prefix(config.tokenizer.continuing_subword_prefix)
            .max_input_chars_per_word(config.tokenizer.max_input_chars_per_word)
            .build()
            .map_err(&refused)?;
        let mut tokenizer = BertTokenizer::new(model);
        tokenizer
            .with_normalizer(Some(BertNormalizer::new(
                true,
                true,
                None,
                config.tokenizer.lowercase,
            )))
            .map_err(&refused)?
            .with_pre_tokenizer(Some(BertPreTokenizer));
        Ok(Self(Arc::new(Model {
            name: config.name,
            dim: config.dim,
            tokenizer,
            lowercase: config.tokenizer.lowercase,
            unknown,
            table,
            rows,
            scales,
            small_files,
            digest: OnceLock::new(),
        })))
    }

    /// The model's name in its `config.json`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Length of an embedding.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.0.dim
    }

    /// BLAKE3 of everything that determines an embedding (configuration, vocabulary, table), in
    /// hex. It is part of the key of a stage that embeds.
    pub fn digest(&self) -> &str {
        let model = &*self.0;
        model
            .digest
            .get_or_init(|| finish_digest(&model.small_files, &model.table))
    }

    /// Embeds texts, in parallel on the current rayon pool.
    ///
    /// # Errors
    /// When the tokenizer refuses a text, with its row. No text is known to cause this.
    pub fn encode<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Result<Encoded, EncoderError> {
        let mut values = vec![0.0_f32; texts.len() * self.0.dim];
        let known: Vec<bool> = values
            .par_chunks_mut(self.0.dim)
            .zip(texts)
            .enumerate()
            .map(|(row, (out, text))| {
                self.0
                    .encode_row(text.as_ref(), out)
                    .map_err(|reason| EncoderError::Tokenise {
                        row,
                        reason: reason.to_string(),
                    })
            })
            .collect::<Result<_, _>>()?;
        let zero_rows = (0..texts.len()).filter(|&row| !known[row]).collect();
        Ok(Encoded {
            dim: self.0.dim,
            values,
            zero_rows,
        })
    }
}

impl Model {
    /// Fills `out`, which must be zero. Returns false if it stays zero.
    fn encode_row(&self, text: &str, out: &mut [f32]) -> tokenizers::Result<bool> {
        let table = &self.table[self.rows.clone()];
        for id in self.tokens(text)? {
            if id == self.unknown {
                continue;
            }
            let id = id as usize;
            let scale = self.scales[id];
            let row = &table[id * self.dim..(id + 1) * self.dim];
            for (sum, &value) in out.iter_mut().zip(row) {
                *sum += scale * f32::from(value.cast_signed());
            }
        }
        Ok(normalise(out))
    }

    /// The ids of a text's tokens.
    fn tokens(&self, text: &str) -> tokenizers::Result<Vec<u32>> {
        if !text
            .bytes()
            .all(|b| matches!(b, b' '..=b'~' | b'\t' | b'\n' | b'\r'))
        {
            // Unlike `encode`, this computes no offsets.
            return Ok(self.tokenizer.encode_fast(text, false)?.get_ids().to_vec());
        }
        // `BertNormalizer` and `BertPreTokenizer` take most of the time. What they do with such a
        // text is simple: letters become small, blanks separate words, and a mark is a word.
        let mark = |c: char| c.is_ascii_punctuation();
        let mut ids = Vec::new();
        let mut text = Cow::Borrowed(text);
        if self.lowercase {
            text.to_mut().make_ascii_lowercase();
        }
        for part in text.split_ascii_whitespace() {
            for word in part.split_inclusive(mark) {
                let marks = usize::from(word.ends_with(mark));
                let (word, mark) = word.split_at(word.len() - marks);
                for word in [word, mark].into_iter().filter(|word| !word.is_empty()) {
                    let tokens = self.tokenizer.get_model().tokenize(word)?;
                    ids.extend(tokens.into_iter().map(|token| token.id));
                }
            }
        }
        Ok(ids)
    }
}

fn hash_small_files(config: &[u8], vocab: &[u8]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    for file in [config, vocab] {
        hash_file(&mut hasher, file);
    }
    hasher
}

fn finish_digest(small_files: &blake3::Hasher, table: &[u8]) -> String {
    let mut hasher = small_files.clone();
    hash_file(&mut hasher, table);
    hasher.finalize().to_hex().to_string()
}

/// Hashes a file after its length, so that another division of the same bytes has another hash.
fn hash_file(hasher: &mut blake3::Hasher, file: &[u8]) {
    hasher
        .update(&(file.len() as u64).to_le_bytes())
        .update(file);
}

#[cfg(all(test, feature = "static-encoder"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use super::*;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ -~\t\n\r]{0,40}",
            "([A-Z]?[a-z]{1,12}[ ,.'-]{0,2}){0,12}",
            "[a-z]{90,120}"
        ]
    }

    /// The compiled-in encoder, with letters of both sizes if it does not make them small.
    fn encoder(lowercase: bool) -> StaticEncoder {
        let config = std::str::from_utf8(builtin::CONFIG).unwrap();
        let other = config.replace("\"lowercase\": true", "\"lowercase\": false");
        assert_ne!(config, other);
        let config = if lowercase { config } else { &other };
        StaticEncoder::from_bytes(config.as_bytes(), builtin::VOCAB, builtin::TABLE.to_vec())
            .unwrap()
    }

    #[test]
    fn plain_english_has_the_tokens_that_the_library_finds() {
        for lowercase in [true, false] {
            let encoder = encoder(lowercase);
            let model = &*encoder.0;
            let cases = ProptestConfig::with_cases(512);
            let mut runner = proptest::test_runner::TestRunner::new(cases);
            let all = runner.run(&text(), |text| {
                let want = model.tokenizer.encode_fast(text.as_str(), false).unwrap();
                prop_assert_eq!(model.tokens(&text).unwrap(), want.get_ids(), "{:?}", text);
                Ok(())
            });
            all.unwrap();
        }
    }
}
