//! Okapi BM25 over titles and texts.
//!
//! k1 = 1.2, b = 0.75, idf = ln(1 + (N - n + 0.5) / (n + 0.5)) with N documents of which n have the
//! token. A token is a run of alphanumeric characters, lower-cased; there is no stemming and no
//! stop list. A token that occurs several times in the question counts that many times.

use std::collections::HashMap;

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// An inverted index.
pub struct Bm25 {
    tokens: HashMap<String, usize>,
    /// For each token, the documents that contain it, ascending, with its number of occurrences.
    postings: Vec<Vec<(u32, u32)>>,
    lengths: Vec<f64>,
    mean_length: f64,
}

fn tokens(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|t| !t.is_empty())
        .map(str::to_lowercase)
}

impl Bm25 {
    /// An index of (title, text) pairs; a document's id is its position.
    pub fn new<'a>(documents: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut index = Bm25 {
            tokens: HashMap::new(),
            postings: Vec::new(),
            lengths: Vec::new(),
            mean_length: 0.0,
        };
        for (id, (title, text)) in (0..=u32::MAX).zip(documents) {
            let mut length = 0u64;
            for token in tokens(title).chain(tokens(text)) {
                length += 1;
                let next = index.postings.len();
                let at = *index.tokens.entry(token).or_insert(next);
                if at == next {
                    index.postings.push(Vec::new());
                }
                match index.postings[at].last_mut() {
                    Some((last, count)) if *last == id => *count += 1,
                    _ => index.postings[at].push((id, 1)),
                }
            }
            index.lengths.push(length as f64);
        }
        let total: f64 = index.lengths.iter().sum();
        index.mean_length = total / (index.lengths.len().max(1)) as f64;
        index
    }

    /// Number of documents.
    pub fn documents(&self) -> usize {
        self.lengths.len()
    }

    /// Number of documents that have a word, in any case; for several words, the word that fewest
    /// have.
    pub fn documents_with(&self, word: &str) -> usize {
        let with = tokens(word).map(|token| {
            let at = self.tokens.get(&token);
            at.map_or(0, |at| self.postings[*at].len())
        });
        with.min().unwrap_or(0)
    }

    /// The score of every document for a question, by document id.
    pub fn scores(&self, question: &str) -> Vec<f64> {
        let mut scores = vec![0.0; self.lengths.len()];
        let all = self.lengths.len() as f64;
        for token in tokens(question) {
            let Some(&at) = self.tokens.get(&token) else {
                continue;
            };
            let with = self.postings[at].len() as f64;
            let idf = ((all - with + 0.5) / (with + 0.5)).ln_1p();
            for &(document, count) in &self.postings[at] {
                // A token was seen, so the mean length is above zero.
                let length = self.lengths[document as usize] / self.mean_length;
                let count = f64::from(count);
                scores[document as usize] +=
                    idf * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length));
            }
        }
        scores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() < 1e-12, "{got:?} {want:?}");
        }
    }

    #[test]
    fn hand_computed_scores() {
        // Lengths 4, 2, 3; mean 3.
        let index = Bm25::new([
            ("Cat", "the cat sat"),
            ("DOG", "sat"),
            ("", "bird-song, über"),
        ]);
        // "cat" is in one of three documents: idf = ln(1 + 2.5 / 1.5) = 0.98082925301…; twice in a
        // document of length 4: 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 4 / 3)) = 4.4 / 3.5.
        let cat = 0.980_829_253_011_726_4 * 4.4 / 3.5;
        close(&index.scores("CAT?"), &[cat, 0.0, 0.0]);
        // "sat" is in two: idf = ln(1 + 1.5 / 2.5) = ln 1.6; once each: 2.2 / (1 + 1.2 * 1.25) =
        // 0.88 and 2.2 / (1 + 1.2 * (0.25 + 0.75 * 2 / 3)) = 2.2 / 1.9.
        let sat = 0.470_003_629_245_735_5;
        close(&index.scores("sat"), &[sat * 0.88, sat * 2.2 / 1.9, 0.0]);
        // Repeated tokens count twice, unknown ones nothing.
        let twice = index.scores("sat unknown cat SAT");
        close(
            &twice,
            &[cat + 2.0 * sat * 0.88, 2.0 * sat * 2.2 / 1.9, 0.0],
        );
        let with = |word| index.documents_with(word);
        assert_eq!(
            (with("SAT"), with("bird-song"), with("no"), with("")),
            (2, 1, 0, 0)
        );
        assert_eq!(index.documents(), 3);
        // Splitting at what is not alphanumeric, lower-casing beyond ASCII.
        assert!(index.scores("ÜBER")[2] > 0.0);
        assert!(index.scores("song")[2] > 0.0);
    }

    #[test]
    fn empty_questions_and_empty_documents_score_nothing() {
        close(&Bm25::new([("", ""), (" ", "--")]).scores("a"), &[0.0, 0.0]);
        close(&Bm25::new([("a", "")]).scores("?!"), &[0.0]);
        assert!(Bm25::new([]).scores("a").is_empty());
    }
}
