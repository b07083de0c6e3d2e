//! Finds known names in a question: the longest at each place, in any case.

use std::ops::Range;

use gfm_pipe_api::lists::{self, Lists};
use gfm_pipe_api::names::Names;
use unicode_segmentation::UnicodeSegmentation;

/// Most words of a name that can be found.
const MAX_WORDS: usize = 10;
/// Separates words, and never occurs in a word.
const GAP: char = '\u{1f}';

/// Known names, with the ids of what they name.
pub struct Phrases {
    /// The names as [`key`] makes them.
    keys: Names,
    /// The ids of each key, ascending; none where it was dropped.
    ids: Lists,
    longest: usize,
}

/// Collects known names.
pub struct Builder {
    keys: Names,
    /// Pairs of a key and an id.
    named: Vec<(u32, u32)>,
    longest: usize,
    key: String,
}

/// A known name in a question.
#[derive(Debug, PartialEq, Eq)]
pub struct Phrase<'a> {
    /// Byte range in the question.
    pub range: Range<usize>,
    /// Ids of what it names, ascending.
    pub ids: &'a [u32],
}

/// Writes words in lower case, each behind a gap.
fn key<'a>(words: impl Iterator<Item = &'a str>, out: &mut String) {
    out.clear();
    for word in words {
        out.push(GAP);
        out.extend(word.chars().flat_map(char::to_lowercase));
    }
}

/// Whether words are written like a name: with a capital or a digit, or in a script without
/// capitals.
pub fn is_name(words: &str) -> bool {
    words
        .chars()
        .any(|c| c.is_numeric() || (c.is_alphabetic() && (!c.is_lowercase() || c.is_uppercase())))
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            keys: Names::new(u32::MAX),
            named: Vec::new(),
            longest: 0,
            key: String::new(),
        }
    }
}

impl Builder {
    /// Adds a name for an id.
    pub fn add(&mut self, name: &str, id: u32) {
        let words = name.unicode_words().count();
        if words == 0 || words > MAX_WORDS {
            return;
        }
        self.longest = self.longest.max(words);
        key(name.unicode_words(), &mut self.key);
        if let Some(key) = self.keys.intern(&self.key) {
            self.named.push((key, id));
        }
    }

    /// The names, without those of more than `most` things.
    pub fn finish(mut self, most: usize) -> Phrases {
        self.keys.shrink();
        let mut ids = Lists::grouped(self.keys.len() as usize, self.named.into_iter());
        ids.retain(|ids| match lists::sorted(ids) {
            count if count > most => 0,
            count => count,
        });
        Phrases {
            keys: self.keys,
            ids,
            longest: self.longest,
        }
    }
}

impl Phrases {
    /// Finds names in a question, from left to right, the longest each time.
    ///
    /// A name counts only where the question writes it like one, because most words are also the
    /// name of something. A single word at the beginning does not count, because every sentence
    /// begins with a capital. If no name is written like one, the question was typed without
    /// capitals: then all names count.
    pub fn find(&self, question: &str) -> Vec<Phrase<'_>> {
        let words: Vec<(usize, &str)> = question.unicode_word_indices().collect();
        let typed = words.iter().skip(1).any(|(_, word)| is_name(word));
        let mut out = Vec::new();
        let (mut at, mut written) = (0, String::new());
        while at < words.len() {
            let longest = self.longest.min(words.len() - at);
            let found = (1..=longest).rev().find_map(|n| {
                let phrase = &words[at..at + n];
                let (last, word) = phrase[n - 1];
                let range = phrase[0].0..last + word.len();
                key(phrase.iter().map(|w| w.1), &mut written);
                let ids = self.ids.of(self.keys.find(&written)? as usize);
                if ids.is_empty() {
                    return None;
                }
                let counts = !typed || (is_name(&question[range.clone()]) && (at > 0 || n > 1));
                Some((n, counts.then_some(Phrase { range, ids })))
            });
            match found {
                Some((n, phrase)) => {
                    out.extend(phrase);
                    at += n;
                }
                None => at += 1,
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(names: &[&str], question: &str) -> Vec<String> {
        let mut phrases = Builder::default();
        for (id, name) in (0..).zip(names) {
            phrases.add(name, id);
        }
        let phrases = phrases.finish(usize::MAX);
        let all = phrases.find(question).into_iter();
        all.map(|p| format!("{} {:?}", &question[p.range], p.ids))
            .collect()
    }

    #[test]
    fn the_longest_name_is_found_whatever_the_case() {
        let names = [
            "Hosea Kutako",
            "Hosea Kutako airport",
            "Namibia",
            "film",
            "NAMIBIA",
        ];
        for (question, want) in [
            (
                "In which country is Hosea Kutako Airport?",
                &["Hosea Kutako Airport [1]"][..],
            ),
            ("Is Hosea-Kutako in namibia?", &["Hosea-Kutako [0]"]),
            ("Which film is of Namibia?", &["Namibia [2, 4]"]),
            ("Namibia lies where in Africa?", &[]),
            ("Hosea Kutako flew to Rome", &["Hosea Kutako [0]"]),
            // Names without capitals, and names of one word.
            (
                "which film is set in namibia",
                &["film [3]", "namibia [2, 4]"],
            ),
            ("Namibia", &["Namibia [2, 4]"]),
            ("", &[]),
        ] {
            assert_eq!(found(&names, question), want, "{question}");
        }
        // Scripts without capitals.
        assert_eq!(found(&["東京"], "Where is 東京?"), ["東京 [0]"]);
        assert!(found(&[], "Where is Rome?").is_empty());
    }

    #[test]
    fn names_of_many_things_are_forgotten() {
        let found = |most| {
            let mut phrases = Builder::default();
            for id in [2, 0, 1, 2] {
                phrases.add("Mercury", id);
            }
            phrases.add("Mercury Bay", 3);
            let phrases = phrases.finish(most);
            let found = phrases.find("On Mercury and Mercury Bay").into_iter();
            found.map(|p| p.ids.to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(found(3), [vec![0, 1, 2], vec![3]]);
        assert_eq!(found(2), [[3]]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(name in any::<String>(), question in any::<String>()) {
            found(&[&name], &question);
            found(&[&name], &format!("x {name}"));
        }
    }
}
