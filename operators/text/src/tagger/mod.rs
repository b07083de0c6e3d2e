//! Token classification: finds names in a text with a transformer.
//!
//! `classifier.rs` runs the network, `windows.rs` cuts texts that are longer than it reads,
//! `words.rs` joins tokens into words, and `labels.rs` joins labelled words into spans.
//!
//! Invariant: on the CPU, a text's spans depend only on the text, its sentences and the model, not
//! on other texts. On a GPU, rounding may decide between labels that are almost equally likely.

mod classifier;
mod labels;
#[cfg(test)]
mod tests;
mod windows;
mod words;

use std::ops::Range;
use std::path::Path;

use gfm_pipe_api::{Context, OpError, OpResult};
use rayon::prelude::*;
use tokenizers::Tokenizer;

use crate::embedding::batches;
use crate::error::EncoderError;
use crate::folder::{CONFIG, Recipe, TOKENIZER};
use crate::model::{self, Model, explained};
use crate::transformer::compute::Compute;
use crate::transformer::{Tokenised, broken, tokenizer};
use classifier::{Classifier, checked};
use labels::Labels;
pub use labels::Span;
use windows::{Window, windows};
use words::{Token, Word, words};

/// Most tokens in a window. Models for token classification were not trained with more, and the
/// time of attention grows with the square.
const LONGEST: usize = 512;
/// Most windows in a batch on the CPU.
const BATCH: usize = 32;
/// Characters of a text that an error shows.
const SHOWN: usize = 60;

/// A model for token classification.
pub struct Tagger {
    tokenizer: Tokenizer,
    /// Special tokens before and after a window.
    around: [Vec<u32>; 2],
    network: Classifier,
    labels: Labels,
    /// Tokens of a window, without the special ones.
    room: usize,
}

/// A text with its sentences.
#[derive(Debug, Clone)]
pub struct Text<'a> {
    /// The text.
    pub text: &'a str,
    /// Byte ranges of its sentences, ascending.
    pub sentences: Vec<Range<usize>>,
}

/// A text as tokens and as words.
struct Tokens {
    ids: Vec<u32>,
    words: Vec<Word>,
}

impl Tagger {
    /// Loads a model. Returns it with the digest of its files.
    ///
    /// # Errors
    /// When the model or a file is missing, or a file is broken or needs something that is not
    /// implemented.
    pub fn from_model(model: &Model, ctx: &Context) -> OpResult<(Self, String)> {
        let folder = model.folder(ctx)?;
        model::load("model", &model.name(), &folder, || {
            Tagger::load_on(&folder, Compute::of(&ctx.device)?)
        })
    }

    /// Loads a model from a folder, to compute on the CPU.
    ///
    /// # Errors
    /// See [`Tagger::from_model`].
    pub fn load(folder: &Path) -> Result<Self, EncoderError> {
        Tagger::load_on(folder, Compute::cpu())
    }

    /// Loads a model from a folder.
    ///
    /// # Errors
    /// See [`Tagger::from_model`].
    pub fn load_on(folder: &Path, compute: Compute) -> Result<Self, EncoderError> {
        let recipe = Recipe::read(folder)?;
        let config = folder.join(CONFIG);
        checked(&recipe.network, &config)?;
        let labels = Labels::read(&recipe.network, &config)?;
        let network = Classifier::load(&recipe, &config, labels.len(), compute)?;
        let longest = network.longest().min(LONGEST);
        let longest = recipe.max_tokens.map_or(longest, |n| n.min(longest));
        let mut tokenizer = tokenizer(folder, longest, None)?;
        let path = folder.join(TOKENIZER);
        tokenizer
            .with_truncation(None)
            .map_err(|e| broken(&path, e))?;
        let around = around(&tokenizer).map_err(|e| broken(&path, e))?;
        let special: usize = around.iter().map(Vec::len).sum();
        let Some(room) = longest.checked_sub(special).filter(|room| *room > 0) else {
            let problem = format!("{longest} tokens leave no room beside {special} special ones");
            return Err(broken(&path, problem));
        };
        Ok(Tagger {
            tokenizer,
            around,
            network,
            labels,
            room,
        })
    }

    /// Whether the model runs on a GPU, which many texts occupy better than few.
    pub fn on_gpu(&self) -> bool {
        self.network.compute().on_gpu()
    }

    /// Finds the spans of each text.
    ///
    /// # Errors
    /// When the tokenizer refuses a text or belongs to another model, or the user stops.
    pub fn tag(&self, ctx: &Context, texts: &[Text<'_>]) -> OpResult<Vec<Vec<Span>>> {
        let tokens: OpResult<Vec<Tokens>> = texts.par_iter().map(|t| self.tokens(t.text)).collect();
        let tokens = tokens?;
        let of_text = |(text, tokens): (usize, &Tokens)| {
            let all = windows(tokens.ids.len(), self.room).into_iter();
            all.map(move |window| (text, window)).collect::<Vec<_>>()
        };
        let pieces: Vec<(usize, Window)> = tokens.iter().enumerate().flat_map(of_text).collect();
        let inputs: Vec<Tokenised> = pieces
            .iter()
            .map(|(text, window)| self.input(&tokens[*text].ids[window.seen.clone()]))
            .collect();
        let compute = self.network.compute();
        let batches = batches(&inputs, &compute.batch_limits(BATCH));
        let decided = compute.each(&batches, |batch| {
            ctx.check_cancelled()?;
            self.decided(batch, &pieces, &inputs)
        });
        let decided: OpResult<Vec<Vec<Vec<usize>>>> = decided.into_iter().collect();
        let mut labels: Vec<Vec<usize>> = tokens.iter().map(|t| vec![0; t.ids.len()]).collect();
        for (batch, decided) in batches.iter().zip(decided?) {
            for (piece, decided) in batch.iter().zip(decided) {
                let (text, window) = &pieces[*piece];
                labels[*text][window.decided.clone()].copy_from_slice(&decided);
            }
        }
        let all = texts.iter().zip(tokens).zip(labels);
        let spans = all.map(|((text, tokens), labels)| {
            let label = |word: Word| {
                let label = labels[word.token];
                (word, label)
            };
            let words: Vec<(Word, usize)> = tokens.words.into_iter().map(label).collect();
            self.labels.spans(text.text, &words, &text.sentences)
        });
        Ok(spans.collect())
    }

    fn tokens(&self, text: &str) -> OpResult<Tokens> {
        let encoding = self.tokenizer.encode(text, false).map_err(|e| {
            let start: String = text.chars().take(SHOWN).collect();
            OpError::data(format!("the text {start:?}… cannot be tokenised: {e}"))
        })?;
        let tokens = encoding.get_offsets().iter().zip(encoding.get_word_ids());
        let tokens = tokens.map(|(bytes, word)| Token {
            bytes: *bytes,
            word: *word,
        });
        Ok(Tokens {
            words: words(text, tokens),
            ids: encoding.get_ids().to_vec(),
        })
    }

    fn input(&self, ids: &[u32]) -> Tokenised {
        let [before, behind] = &self.around;
        Tokenised::new([before, ids, behind].concat())
    }

    /// The labels of the tokens that each window of a batch decides.
    fn decided(
        &self,
        batch: &[usize],
        pieces: &[(usize, Window)],
        inputs: &[Tokenised],
    ) -> OpResult<Vec<Vec<usize>>> {
        let of: Vec<&Tokenised> = batch.iter().map(|piece| &inputs[*piece]).collect();
        let failed = |e| explained("failed to classify tokens".to_owned(), e);
        let scores = self.network.scores(&of).map_err(failed)?;
        if scores.iter().flatten().any(|x| !x.is_finite()) {
            let problem = "the model gave a score that is not finite";
            return Err(OpError::data(problem).hint("its weights are damaged"));
        }
        let labels = batch.iter().zip(scores).map(|(piece, scores)| {
            let Window { seen, decided } = &pieces[*piece].1;
            let first = self.around[0].len() + decided.start - seen.start;
            let rows = scores.chunks_exact(self.labels.len());
            rows.skip(first).take(decided.len()).map(highest).collect()
        });
        Ok(labels.collect())
    }
}

/// The index of the highest score; the first of equal ones.
fn highest(scores: &[f32]) -> usize {
    let mut best = 0;
    for (i, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = i;
        }
    }
    best
}

/// The special tokens that the tokenizer puts before and after a text.
fn around(tokenizer: &Tokenizer) -> tokenizers::Result<[Vec<u32>; 2]> {
    let encoding = tokenizer.encode("a", true)?;
    let special = encoding.get_special_tokens_mask();
    let ids = encoding.get_ids();
    let before = special.iter().take_while(|s| **s == 1).count();
    let behind = special[before..].iter().rev().take_while(|s| **s == 1);
    let behind = ids.len() - behind.count();
    Ok([ids[..before].to_vec(), ids[behind..].to_vec()])
}
