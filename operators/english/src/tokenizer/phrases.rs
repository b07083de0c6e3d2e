//! The second pass over a text: joins special cases that were cut apart in the first pass.
//!
//! Next to punctuation, a special case may be cut apart before it is recognised. This pass finds
//! the words into which it was cut, and replaces them by the special case's own words.

use super::{Affixes, Span, append};
use crate::Map;

/// The words into which a special case is cut when special cases are ignored.
type Words = Box<[Box<str>]>;

pub(super) struct Phrases {
    /// The sequences to find, by first word.
    by_first: Map<Box<str>, Vec<Words>>,
}

impl Phrases {
    pub(super) fn new(rules: &Affixes) -> Self {
        let mut by_first: Map<Box<str>, Vec<Words>> = Map::default();
        for text in rules.specials.keys() {
            let comes_apart = rules.prefixes.prefix(text) > 0
                || rules.suffixes.suffix(text) > 0
                || rules.infixes.infixes(text).next().is_some()
                || text.contains(' ');
            if !comes_apart {
                continue;
            }
            let mut tokens = Vec::new();
            rules.chunks(text, &mut tokens, |chunk, tokens, at| {
                let mut pieces = Vec::new();
                rules.cut(chunk, false, &mut pieces);
                append(&pieces, at, tokens);
            });
            let words: Words = tokens.iter().map(|t| text[t.start..t.end].into()).collect();
            if let Some(first) = words.first() {
                by_first.entry(first.clone()).or_default().push(words);
            }
        }
        Phrases { by_first }
    }

    /// Replaces the tokens of each special case that is found.
    pub(super) fn join(&self, text: &str, rules: &Affixes, tokens: &mut Vec<Span>) {
        let mut found = self.find(text, tokens);
        if found.is_empty() {
            return;
        }
        // The longest first, then from left to right.
        found.sort_unstable_by_key(|(start, length)| (std::cmp::Reverse(*length), *start));
        let mut taken = vec![false; tokens.len()];
        found.retain(|&(start, length)| {
            let free = !taken[start] && !taken[start + length - 1];
            // Even a refused sequence blocks its tokens for others.
            taken[start..start + length].fill(true);
            free
        });
        found.sort_unstable_by_key(|(start, _)| *start);
        let old = std::mem::take(tokens);
        let mut at = 0;
        for (start, length) in found {
            let (first, last) = (old[start], old[start + length - 1]);
            // With a space inside it, it is not a special case.
            let Some(pieces) = rules.special(&text[first.start..last.end]) else {
                continue;
            };
            tokens.extend(&old[at..start]);
            append(pieces, first.start, tokens);
            if let Some(end) = tokens.last_mut() {
                end.space = last.space;
            }
            at = start + length;
        }
        tokens.extend(&old[at..]);
    }

    /// All places where a sequence occurs, as (first token, number of tokens).
    fn find(&self, text: &str, tokens: &[Span]) -> Vec<(usize, usize)> {
        let word = |token: &Span| &text[token.start..token.end];
        let mut found = Vec::new();
        for start in 0..tokens.len() {
            let Some(sequences) = self.by_first.get(word(&tokens[start])) else {
                continue;
            };
            for words in sequences {
                let here = tokens.get(start..start + words.len());
                if here.is_some_and(|here| here.iter().zip(words).all(|(t, w)| word(t) == &**w)) {
                    found.push((start, words.len()));
                }
            }
        }
        found
    }
}
