//! The sentence of a document that matters most for a question.

use std::ops::Range;

use ahash::AHashSet;
use gfm_pipe_api::OpResult;
use gfm_pipe_index::sentences_of;

use crate::corpus::Corpus;
use crate::scoring::{Scored, Scoring, id};

/// Most sentences of a document that are compared where they were not embedded before.
const MOST: usize = 200;

/// A sentence of a document: the piece that it is in, and its range in the text of the piece.
pub struct Sentence {
    pub piece: u32,
    pub range: Range<usize>,
}

/// Finds the sentence that is most similar to the question, among all pieces of the document. By
/// embeddings where there is an encoder, otherwise by common words. `None` where the document has
/// no text, or the question shares nothing with it.
///
/// # Errors
/// When vectors on disk cannot be read.
pub fn best(
    scoring: &Scoring,
    corpus: &Corpus,
    question: &str,
    scored: &Scored,
    document: u32,
) -> OpResult<Option<Sentence>> {
    let pieces = corpus.pieces_of(document);
    if let (Some(encoder), Some(linker)) = (scoring.encoder(), scoring.linker())
        && linker.has_sentences()
    {
        let found = linker.best_sentence(pieces, (id(encoder), &scored.embedding))?;
        return Ok(found.map(|(piece, range)| Sentence { piece, range }));
    }
    let all = pieces.flat_map(|piece| {
        let ranges = sentences_of(&corpus.texts[piece as usize]).into_iter();
        ranges.map(move |range| Sentence { piece, range })
    });
    let mut all: Vec<Sentence> = all.take(MOST).collect();
    let texts: Vec<String> = all.iter().map(|s| text(corpus, s).to_owned()).collect();
    let likeness = match scoring.encoder().map(|e| e.passages(&texts)) {
        Some(Ok(vectors)) => by_vectors(&vectors, &scored.embedding),
        _ => by_words(&texts, question),
    };
    let best = (0..all.len()).max_by(|a, b| likeness[*a].total_cmp(&likeness[*b]).then(b.cmp(a)));
    Ok(best
        .filter(|best| likeness[*best] > 0.0)
        .map(|best| all.swap_remove(best)))
}

fn text<'a>(corpus: &'a Corpus, sentence: &Sentence) -> &'a str {
    let text = &corpus.texts[sentence.piece as usize];
    text.get(sentence.range.clone()).unwrap_or_default()
}

/// Cosines of row-major vectors with the question's.
fn by_vectors(vectors: &[f32], question: &[f32]) -> Vec<f64> {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y));
        products.sum()
    };
    let cosine = |row: &[f32]| {
        let norm = (dot(row, row) * dot(question, question)).sqrt();
        if norm > 0.0 {
            dot(row, question) / norm
        } else {
            0.0
        }
    };
    vectors
        .chunks_exact(question.len().max(1))
        .map(cosine)
        .collect()
}

/// Number of the question's words that each text has.
fn by_words(texts: &[String], question: &str) -> Vec<f64> {
    let words = |text: &str| -> AHashSet<String> {
        let words = text.split(|c: char| !c.is_alphanumeric());
        words
            .filter(|w| !w.is_empty())
            .map(str::to_lowercase)
            .collect()
    };
    let asked = words(question);
    let common = |text: &String| words(text).intersection(&asked).count() as f64;
    texts.iter().map(common).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_encoder_common_words_decide() {
        let texts = ["The cat sat.", "A dog ran, the dog!", ""].map(str::to_owned);
        assert_eq!(by_words(&texts, "Which DOG ran the race?"), [1.0, 3.0, 0.0]);
    }

    #[test]
    fn a_zero_vector_is_like_nothing() {
        let got = by_vectors(&[0.0, 0.0, 3.0, 4.0], &[4.0, 3.0]);
        assert!(got[0] == 0.0 && (got[1] - 0.96).abs() < 1e-9);
    }
}
