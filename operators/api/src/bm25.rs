//! Okapi BM25 over titles and texts.
//!
//! k1 = 1.2, b = 0.75, idf = ln(1 + (N - n + 0.5) / (n + 0.5)) with N documents of which n have the
//! token. A token is a run of alphanumeric characters, lower-cased; there is no stemming and no
//! stop list. A token that occurs several times in the question counts that many times.

use crate::artifact::Artifact;
use crate::columns;
use crate::error::OpResult;
use crate::names::Names;

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// An inverted index.
pub struct Bm25 {
    tokens: Names,
    /// For each token the number of documents that contain it, and where its bytes begin in
    /// `postings`.
    of_tokens: Vec<(u32, usize)>,
    /// For each token, the documents that contain it, ascending, with its number of occurrences, as
    /// [`Posting`] writes them.
    postings: Vec<u8>,
    /// Number of tokens of each document.
    lengths: Vec<u32>,
    mean_length: f64,
}

/// Makes an index of documents that come one after another.
pub struct Builder {
    tokens: Names,
    postings: Vec<Posting>,
    lengths: Vec<u32>,
    lowered: String,
}

/// The documents of one token, two bytes for most: the distance to the document before, doubled,
/// plus 1 if the token is there more than once, and then the number of occurrences in that case.
/// Numbers have seven bits in each byte, the lowest first; all bytes but the last have the high bit
/// set.
#[derive(Default)]
struct Posting {
    bytes: Vec<u8>,
    documents: u32,
    /// The last document of `bytes`; 0 if there is none.
    written: u32,
    /// The last document and the number of occurrences in it, which may still grow.
    last: (u32, u32),
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads the number at the beginning of some bytes, and moves them behind it.
fn read_number(bytes: &mut impl Iterator<Item = u8>) -> u64 {
    let (mut number, mut shift) = (0, 0);
    for byte in bytes {
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            break;
        }
    }
    number
}

impl Posting {
    fn add(&mut self, document: u32) {
        if self.documents > 0 && self.last.0 == document {
            self.last.1 += 1;
            return;
        }
        self.write_last();
        self.documents += 1;
        self.last = (document, 1);
    }

    fn write_last(&mut self) {
        let (document, count) = self.last;
        if count > 0 {
            let more = u64::from(count > 1);
            let step = u64::from(document - self.written);
            write_number(&mut self.bytes, step * 2 + more);
            if count > 1 {
                write_number(&mut self.bytes, u64::from(count));
            }
            self.written = document;
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|t| !t.is_empty())
}

fn tokens(text: &str) -> impl Iterator<Item = String> {
    words(text).map(str::to_lowercase)
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            tokens: Names::new(u32::MAX),
            postings: Vec::new(),
            lengths: Vec::new(),
            lowered: String::new(),
        }
    }
}

impl Builder {
    /// Adds a document; its id is its position.
    pub fn add(&mut self, title: &str, text: &str) {
        let Ok(id) = u32::try_from(self.lengths.len()) else {
            return;
        };
        let mut length = 0;
        for word in words(title).chain(words(text)) {
            self.lowered.clear();
            if word.is_ascii() {
                self.lowered.push_str(word);
                self.lowered.make_ascii_lowercase();
            } else {
                self.lowered.push_str(&word.to_lowercase());
            }
            // There are fewer tokens than a number of 32 bits can count: texts have at most 4 GB
            // of distinct ones.
            let Some(at) = self.tokens.intern(&self.lowered) else {
                continue;
            };
            length += 1;
            if at as usize == self.postings.len() {
                self.postings.push(Posting::default());
            }
            self.postings[at as usize].add(id);
        }
        self.lengths.push(length);
    }

    /// The index of all documents.
    pub fn finish(mut self) -> Bm25 {
        let mut postings = Vec::new();
        let mut of_tokens = Vec::with_capacity(self.postings.len());
        for mut posting in self.postings {
            posting.write_last();
            of_tokens.push((posting.documents, postings.len()));
            postings.extend_from_slice(&posting.bytes);
        }
        self.tokens.shrink();
        postings.shrink_to_fit();
        self.lengths.shrink_to_fit();
        let total: f64 = self.lengths.iter().map(|length| f64::from(*length)).sum();
        Bm25 {
            tokens: self.tokens,
            of_tokens,
            postings,
            mean_length: total / self.lengths.len().max(1) as f64,
            lengths: self.lengths,
        }
    }
}

/// The index of a `documents` artifact.
///
/// # Errors
/// When it cannot be read.
pub fn read(documents: &Artifact) -> OpResult<Bm25> {
    let mut index = Builder::default();
    for batch in documents.batches_of("documents", &["title", "text"])? {
        let batch = batch?;
        let titles = columns::text(&batch, "title")?.iter();
        for (title, text) in titles.zip(columns::text(&batch, "text")?) {
            index.add(title.unwrap_or_default(), text.unwrap_or_default());
        }
    }
    Ok(index.finish())
}

impl Bm25 {
    /// An index of (title, text) pairs; a document's id is its position.
    pub fn new<'a>(documents: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut index = Builder::default();
        for (title, text) in documents {
            index.add(title, text);
        }
        index.finish()
    }

    /// Number of documents.
    pub fn documents(&self) -> usize {
        self.lengths.len()
    }

    /// Number of documents that have a word, in any case; for several words, the word that fewest
    /// have.
    pub fn documents_with(&self, word: &str) -> usize {
        let with = tokens(word).map(|token| {
            let at = self.tokens.find(&token);
            at.map_or(0, |at| self.of_tokens[at as usize].0 as usize)
        });
        with.min().unwrap_or(0)
    }

    /// The documents that contain a token, ascending, with its number of occurrences.
    fn postings(&self, token: u32) -> impl Iterator<Item = (u32, u32)> {
        let (documents, from) = self.of_tokens[token as usize];
        let mut bytes = self.postings[from..].iter().copied();
        let mut document = 0;
        (0..documents).map(move |_| {
            let step = read_number(&mut bytes);
            document += (step >> 1) as u32;
            let count = match step & 1 {
                0 => 1,
                _ => read_number(&mut bytes) as u32,
            };
            (document, count)
        })
    }

    /// The score of every document for a question, by document id.
    pub fn scores(&self, question: &str) -> Vec<f64> {
        let mut scores = vec![0.0; self.lengths.len()];
        let all = self.lengths.len() as f64;
        for token in tokens(question) {
            let Some(at) = self.tokens.find(&token) else {
                continue;
            };
            let with = f64::from(self.of_tokens[at as usize].0);
            let idf = ((all - with + 0.5) / (with + 0.5)).ln_1p();
            for (document, count) in self.postings(at) {
                // A token was seen, so the mean length is above zero.
                let length = f64::from(self.lengths[document as usize]) / self.mean_length;
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
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn postings_are_the_documents_and_their_counts(
            documents in prop::collection::vec(prop::collection::vec(0u32..4, 0..9), 0..300),
            far in 0usize..40_000,
        ) {
            let text = |of: &Vec<u32>| of.iter().map(|t| format!("Tok{t} ")).collect::<String>();
            let empty = std::iter::repeat_n(String::new(), far);
            let texts: Vec<String> = empty.chain(documents.iter().map(text)).collect();
            let index = Bm25::new(texts.iter().map(|text| ("", text.as_str())));
            for token in 0..4 {
                let count = |of: &Vec<u32>| of.iter().filter(|t| **t == token).count() as u32;
                let counts = (far as u32..).zip(documents.iter().map(count));
                let want: Vec<(u32, u32)> = counts.filter(|(_, count)| *count > 0).collect();
                let token = format!("tok{token}");
                prop_assert_eq!(index.documents_with(&token), want.len());
                let at = index.tokens.find(&token);
                let got = at.map(|at| index.postings(at).collect::<Vec<_>>());
                prop_assert_eq!(got.unwrap_or_default(), want);
            }
        }
    }

    #[test]
    fn a_token_may_come_very_often() {
        let often = "word ".repeat(70_000);
        let index = Bm25::new([("", "other"), ("", often.as_str()), ("word", "")]);
        let at = index.tokens.find("word").unwrap_or_default();
        let found: Vec<(u32, u32)> = index.postings(at).collect();
        assert_eq!(found, [(1, 70_000), (2, 1)]);
    }

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
