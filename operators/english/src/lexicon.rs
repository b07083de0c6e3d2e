//! Turns words into the features that the networks use.

use std::sync::Arc;

use crate::Map;
use crate::characters::CharSet;
use crate::error::EnglishError;
use crate::hash::murmur64a;
use crate::tables::Tables;

/// Longest run of the same symbol in a shape.
const SHAPE_RUN: usize = 4;
/// Words of this many characters or more share one shape.
const LONG_WORD: usize = 100;
const SUFFIX_CHARACTERS: usize = 3;
const STRING_SEED: u64 = 1;

/// The features of a word that do not depend on its context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Features {
    pub(crate) norm: u64,
    pub(crate) prefix: u64,
    pub(crate) suffix: u64,
    pub(crate) shape: u64,
    /// Whether the word is only white space.
    pub(crate) white: bool,
}

/// Ids of strings and features of words.
pub(crate) struct Lexicon {
    symbols: Map<String, u64>,
    norms: Map<u64, String>,
    base_norms: Map<String, String>,
    pub(crate) space: Arc<CharSet>,
    digit: Arc<CharSet>,
    alpha: Arc<CharSet>,
    upper: Arc<CharSet>,
}

impl Lexicon {
    pub(crate) fn new(tables: &mut Tables) -> Result<Self, EnglishError> {
        Ok(Lexicon {
            space: tables.class("space")?,
            digit: tables.class("digit")?,
            alpha: tables.class("alpha")?,
            upper: tables.class("upper")?,
            symbols: std::mem::take(&mut tables.symbols),
            norms: std::mem::take(&mut tables.norms),
            base_norms: std::mem::take(&mut tables.base_norms),
        })
    }

    /// The id of a string.
    pub(crate) fn id(&self, text: &str) -> u64 {
        if text.is_empty() {
            return 0;
        }
        match self.symbols.get(text) {
            Some(id) => *id,
            None => murmur64a(text.as_bytes(), STRING_SEED),
        }
    }

    /// The features of a word.
    pub(crate) fn features(&self, word: &str) -> Features {
        let prefix = word.chars().next().map_or(0, char::len_utf8);
        let suffix = word
            .char_indices()
            .rev()
            .take(SUFFIX_CHARACTERS)
            .last()
            .map_or(0, |(at, _)| at);
        Features {
            norm: self.norm(word),
            prefix: self.id(&word[..prefix]),
            suffix: self.id(&word[suffix..]),
            shape: self.id(&self.shape(word)),
            white: !word.is_empty() && word.chars().all(|c| self.space.contains(c)),
        }
    }

    /// The id of a word's norm, looked up for the word as it is written.
    fn norm(&self, word: &str) -> u64 {
        if let Some(norm) = self.norms.get(&self.id(word)) {
            return self.id(norm);
        }
        match self.base_norms.get(word) {
            Some(norm) => self.id(norm),
            None => self.id(&self.lower_case(word)),
        }
    }

    /// A word in lower case, by the Unicode version of the tables: newer letters stay unchanged.
    fn lower_case(&self, word: &str) -> String {
        let newer = |c: char| c.is_uppercase() && !self.upper.contains(c);
        if word.is_ascii() || !word.contains(newer) {
            return word.to_lowercase();
        }
        let mut lower = String::with_capacity(word.len());
        for part in word.split_inclusive(newer) {
            let known = part.trim_end_matches(newer);
            lower.push_str(&known.to_lowercase());
            lower.push_str(&part[known.len()..]);
        }
        lower
    }

    /// "Xxxxx" for "London": the kinds of the characters, with long runs cut.
    fn shape(&self, word: &str) -> String {
        if word.chars().nth(LONG_WORD - 1).is_some() {
            return "LONG".to_owned();
        }
        let mut shape = String::with_capacity(word.len());
        let (mut last, mut run) = (None, 0);
        for c in word.chars() {
            let kind = if self.alpha.contains(c) {
                if self.upper.contains(c) { 'X' } else { 'x' }
            } else if self.digit.contains(c) {
                'd'
            } else {
                c
            };
            run = if last == Some(kind) { run + 1 } else { 1 };
            last = Some(kind);
            if run <= SHAPE_RUN {
                shape.push(kind);
            }
        }
        shape
    }
}

#[cfg(all(test, feature = "builtin"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lexicon() -> Lexicon {
        Lexicon::new(&mut Tables::read(crate::builtin::TABLES).unwrap()).unwrap()
    }

    #[test]
    fn reserved_symbols_have_small_ids() {
        let lexicon = lexicon();
        for (text, id) in [("", 0), ("X", 101), ("_", 456), ("det", 415), ("prep", 443)] {
            assert_eq!(lexicon.id(text), id, "{text}");
        }
        assert_eq!(lexicon.features("A").shape, 101);
        assert_eq!(lexicon.id("hello"), 5_983_625_672_228_268_878);
    }

    #[test]
    fn shapes_keep_four_of_a_run() {
        let lexicon = lexicon();
        for (word, shape) in [
            ("London", "Xxxxx"),
            ("C3PO's", "XdXX'x"),
            ("1234567", "dddd"),
            ("²½", "d½"),
            ("北京", "xx"),
            ("ǅ", "x"),
            ("......", "...."),
        ] {
            assert_eq!(lexicon.shape(word), shape);
        }
        assert_eq!(lexicon.shape(&"é".repeat(99)), "xxxx");
        assert_eq!(lexicon.shape(&"é".repeat(100)), "LONG");
    }

    #[test]
    fn norms_come_from_the_tables_then_from_lower_case() {
        let lexicon = lexicon();
        let norm = |word: &str| lexicon.features(word).norm;
        assert_eq!(norm("“"), lexicon.id("\""));
        assert_eq!(norm("€"), lexicon.id("$"));
        assert_eq!(norm("London"), lexicon.id("london"));
        assert_eq!(norm("ΟΔΥΣΣΕΥΣ"), lexicon.id("οδυσσευς"));
        assert_eq!(norm("İ"), lexicon.id("i̇"));
        // A capital letter of Unicode 16.
        assert_eq!(norm("A\u{10d52}B"), lexicon.id("a\u{10d52}b"));
    }

    #[test]
    fn prefix_and_suffix_count_characters() {
        let lexicon = lexicon();
        let word = lexicon.features("éclair");
        assert_eq!(word.prefix, lexicon.id("é"));
        assert_eq!(word.suffix, lexicon.id("air"));
        assert_eq!(lexicon.features("日本").suffix, lexicon.id("日本"));
        assert!(lexicon.features("\u{a0}\u{1c}").white);
        assert!(!lexicon.features("\u{200b}").white);
    }
}
