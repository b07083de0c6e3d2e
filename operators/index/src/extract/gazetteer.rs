//! A gazetteer of document titles: finds where texts name other documents.
//!
//! The aliases of a title are the title without a trailing "(…)", and the part before its first
//! comma if that has two words. Case matters, so that a film called "It" is not found in every
//! text. This is a separate pass over all texts, so a new title changes no document's extraction.

use std::ops::Range;

use ahash::AHashMap;
use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use gfm_pipe_api::{OpError, OpResult};
use unicode_segmentation::UnicodeSegmentation;

/// Most words in an alias.
const MAX_WORDS: usize = 8;
/// Fewest letters of an alias that is a single word.
const MIN_LETTERS: usize = 4;
/// An alias that more documents share names none of them.
pub const MAX_DOCUMENTS: usize = 4;
/// Separates words, and never occurs in a word.
const GAP: char = '\u{1f}';

/// A place where a text names documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Byte range in the text.
    pub range: Range<usize>,
    /// Documents with this alias.
    pub documents: Vec<u32>,
}

/// An automaton of the aliases of documents.
pub struct Gazetteer {
    automaton: AhoCorasick,
    /// The documents of each alias, in the automaton's order.
    documents: Vec<Vec<u32>>,
}

/// The words of a text, with a gap before each and after the last, and their positions.
struct Words {
    joined: String,
    /// For each word: the offset in `joined` of the gap before it, and its range in the text.
    places: Vec<(usize, Range<usize>)>,
}

fn words(text: &str) -> Words {
    let mut joined = String::with_capacity(text.len() + text.len() / 4);
    let mut places = Vec::new();
    for (at, word) in text.unicode_word_indices() {
        places.push((joined.len(), at..at + word.len()));
        joined.push(GAP);
        joined.push_str(word);
    }
    joined.push(GAP);
    Words { joined, places }
}

/// The key of an alias: its words, regardless of what separates them.
pub fn key(alias: &str) -> String {
    words(alias).joined
}

/// A title without a part in brackets at its end: "Paris" for "Paris (France)".
pub fn without_brackets(title: &str) -> &str {
    let title = title.trim();
    match title.strip_suffix(')').and_then(|t| t.rfind('(')) {
        Some(at) if !title[..at].trim().is_empty() => title[..at].trim(),
        _ => title,
    }
}

/// The names by which texts may refer to a document with this title.
pub fn aliases(title: &str) -> Vec<&str> {
    let bare = without_brackets(title);
    let mut out = vec![bare];
    if let Some((before, _)) = bare.split_once(',')
        && before.unicode_words().count() >= 2
    {
        out.push(before.trim());
    }
    out.retain(|alias| usable(alias));
    out
}

fn usable(alias: &str) -> bool {
    let words: Vec<&str> = alias.unicode_words().collect();
    let Some(first) = words.first().and_then(|w| w.chars().next()) else {
        return false;
    };
    // In scripts without capitals, any word may be a name.
    let starts = !first.is_lowercase();
    match words.len() {
        1 => {
            starts
                && alias.chars().filter(|c| c.is_alphabetic()).count() >= MIN_LETTERS
                && !words[0].chars().all(|c| c.is_numeric() || ".,".contains(c))
        }
        n => starts && n <= MAX_WORDS,
    }
}

impl Gazetteer {
    /// Builds the gazetteer from titles of documents. Of equal titles (the pieces of a document),
    /// only the first counts.
    ///
    /// # Errors
    /// When there are more titles than an automaton can hold.
    pub fn new<'a>(titles: impl IntoIterator<Item = (u32, &'a str)>) -> OpResult<Gazetteer> {
        let mut seen = ahash::AHashSet::new();
        let mut known: AHashMap<String, usize> = AHashMap::new();
        let mut patterns: Vec<String> = Vec::new();
        let mut documents: Vec<Vec<u32>> = Vec::new();
        for (id, title) in titles {
            if !seen.insert(title) {
                continue;
            }
            for alias in aliases(title) {
                let pattern = key(alias);
                let at = *known.entry(pattern).or_insert_with_key(|pattern| {
                    patterns.push(pattern.clone());
                    documents.push(Vec::new());
                    patterns.len() - 1
                });
                if documents[at].last() != Some(&id) {
                    documents[at].push(id);
                }
            }
        }
        let keep: Vec<bool> = documents.iter().map(|d| d.len() <= MAX_DOCUMENTS).collect();
        let mut kept = keep.iter();
        patterns.retain(|_| *kept.next().unwrap_or(&false));
        let mut kept = keep.iter();
        documents.retain(|_| *kept.next().unwrap_or(&false));
        // A contiguous automaton is compact, and fast enough to build for a hundred thousand
        // titles.
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&patterns)
            .map_err(|e| OpError::wrap("failed to make a gazetteer of the titles", e))?;
        Ok(Gazetteer {
            automaton,
            documents,
        })
    }

    /// Finds where a text names documents: from left to right, the longest alias each time. A
    /// single word at the very beginning does not count, because every sentence begins with a
    /// capital.
    pub fn find(&self, text: &str) -> Vec<Named> {
        let words = words(text);
        let mut out = Vec::new();
        let mut from = 0;
        while let Some(found) = self
            .automaton
            .find(Input::new(&words.joined).span(from..words.joined.len()))
        {
            // The gap after an alias is also the gap before the next word.
            from = found.end() - GAP.len_utf8();
            let first = words
                .places
                .partition_point(|(gap, _)| *gap < found.start());
            let behind = words.places.partition_point(|(gap, _)| *gap < from);
            let (Some((_, start)), Some((_, end))) = (
                words.places.get(first),
                words.places.get(behind.wrapping_sub(1)),
            ) else {
                continue;
            };
            if first == 0 && behind == 1 {
                continue;
            }
            out.push(Named {
                range: start.start..end.end,
                documents: self.documents[found.pattern().as_usize()].clone(),
            });
        }
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn found(titles: &[&str], text: &str) -> Vec<String> {
        let gazetteer = Gazetteer::new((0..).zip(titles.iter().copied())).unwrap();
        let named = gazetteer.find(text).into_iter();
        named
            .map(|n| format!("{} {:?}", &text[n.range], n.documents))
            .collect()
    }

    #[test]
    fn titles_have_aliases() {
        for (title, want) in [
            ("Paris (France)", &["Paris"][..]),
            ("New York, New York", &["New York, New York", "New York"]),
            ("Paris, Texas (film)", &["Paris, Texas"]),
            ("It", &[]),
            ("1984", &[]),
            ("1,234.5", &[]),
            ("Apollo 11", &["Apollo 11"]),
            ("iPhone", &[]),
            ("東京都庁", &["東京都庁"]),
            ("東", &[]),
            ("(500) Days of Summer", &["(500) Days of Summer"]),
            ("(x)", &[]),
            ("Αθήνα", &["Αθήνα"]),
            ("One two three four five six seven eight nine", &[]),
            ("", &[]),
        ] {
            assert_eq!(aliases(title), want, "{title}");
        }
    }

    #[test]
    fn texts_name_documents_by_the_longest_alias() {
        let titles = [
            "New York",
            "New York City",
            "Ann Arbor",
            "Paris (France)",
            "Paris (Texas)",
            "Sao Tome",
            "Tome Sao",
        ];
        for (text, want) in [
            (
                "In New York City and New  York.",
                &["New York City [1]", "New  York [0]"][..],
            ),
            ("from Ann Arbor, Paris", &["Ann Arbor [2]", "Paris [3, 4]"]),
            ("Paris is first", &[]),
            ("New York is first", &["New York [0]"]),
            ("in NEW YORK or New Yorkers or new york", &[]),
            ("x New Ann Arbor", &["Ann Arbor [2]"]),
            ("x Sao Tome Sao", &["Sao Tome [5]"]),
            ("x Sao Tome Tome Sao", &["Sao Tome [5]", "Tome Sao [6]"]),
            ("", &[]),
        ] {
            assert_eq!(found(&titles, text), want, "{text}");
        }
        assert_eq!(found(&[], "x Paris"), [""; 0]);
    }

    #[test]
    fn an_alias_of_many_documents_names_none_and_pieces_are_one_document() {
        let titles = ["Mercury (a)", "Mercury (b)", "Mercury (c)", "Mercury (d)"];
        assert_eq!(found(&titles, "on Mercury"), ["Mercury [0, 1, 2, 3]"]);
        let more = [&titles[..], &["Mercury (e)"]].concat();
        assert_eq!(found(&more, "on Mercury"), [""; 0]);
        assert_eq!(found(&["Venus", "Venus"], "on Venus"), ["Venus [0]"]);
    }

    proptest! {
        #[test]
        fn aliases_are_found_as_the_obvious_version_finds_them(
            titles in prop::collection::vec("[A-C][a-b]{3}( [A-C][a-b]{0,3}){0,2}", 1..6),
            text in prop::collection::vec("[A-C][a-b]{0,3}|x", 0..12),
        ) {
            let text = format!("x {}", text.join(" "));
            let mut distinct = titles.clone();
            distinct.sort();
            distinct.dedup();
            let all: Vec<&str> = distinct.iter().map(String::as_str).collect();
            let spoken: Vec<&str> = text.split(' ').collect();
            let (mut want, mut at) = (Vec::new(), 0);
            while at < spoken.len() {
                let longest = (1..=3).rev().find_map(|n| {
                    let part = spoken.get(at..at + n)?.join(" ");
                    let known = all.iter().position(|t| *t == part && usable(t))?;
                    Some((n, format!("{part} [{known}]")))
                });
                match longest {
                    Some((n, reported)) => {
                        want.push(reported);
                        at += n;
                    }
                    None => at += 1,
                }
            }
            prop_assert_eq!(found(&all, &text), want);
        }

        #[test]
        fn no_text_makes_it_panic(titles in prop::collection::vec(any::<String>(), 0..4), text in any::<String>()) {
            let all: Vec<&str> = titles.iter().map(String::as_str).collect();
            found(&all, &text);
            found(&all, &titles.concat());
        }
    }
}
