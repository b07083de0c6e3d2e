//! Cuts texts into pieces: paragraphs, or a number of words.

use std::ops::Range;

use gfm_pipe_api::{Field, Schema, Type};
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

/// The parameter `split`: how documents are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", untagged)]
pub enum Split {
    /// A way with a name.
    Word(Word),
    /// Pieces of a limited length.
    Tokens {
        /// Most words in a piece.
        tokens: usize,
        /// Most words that a piece repeats from the end of the one before.
        overlap: usize,
    },
}

/// How documents are cut, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Documents stay whole.
    None,
    /// Documents are cut at empty lines.
    Paragraphs,
}

/// Upper bound of `tokens`: more than any encoder reads at once.
const MAX_TOKENS: i64 = 1_000_000;

/// The schema of the parameter `split`.
pub fn field() -> Field {
    let tokens = Type::Int {
        min: 1,
        max: MAX_TOKENS,
    };
    let overlap = Type::Int {
        min: 0,
        max: MAX_TOKENS,
    };
    let schema = Schema::new(vec![
        Field::required(
            "tokens",
            tokens,
            "most words of a piece (words of Unicode: each ideograph is one); pieces end with a sentence where one ends in time",
        ),
        Field::new(
            "overlap",
            overlap,
            0,
            "most words that a piece repeats from the end of the one before, in whole sentences",
        ),
    ]);
    let ty = Type::WordsOr {
        words: &["none", "paragraphs"],
        schema,
    };
    Field::new(
        "split",
        ty,
        "none",
        "how documents are cut: not at all, where a line is empty, or by length",
    )
}

impl Split {
    /// Whether documents stay whole.
    pub fn is_none(self) -> bool {
        self == Split::Word(Word::None)
    }

    /// The pieces of a text, in order, without blanks at their ends. Every word is in a piece. A
    /// text without words is one piece.
    pub fn pieces(self, text: &str) -> Vec<Range<usize>> {
        let whole = trimmed(text, 0..text.len());
        let pieces = match self {
            Split::Word(Word::None) => Vec::new(),
            Split::Word(Word::Paragraphs) => paragraphs(text),
            Split::Tokens { tokens, overlap } => by_length(text, tokens, overlap),
        };
        if pieces.is_empty() {
            vec![whole]
        } else {
            pieces
        }
    }
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    start..start + part.trim().len()
}

fn has_words(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

/// The parts between empty lines. A part without a letter or digit (a rule of dashes) belongs to
/// the part before it, or to the one after it if it is the first.
fn paragraphs(text: &str) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut open: Option<Range<usize>> = None;
    let mut end = |part: Option<Range<usize>>| {
        let Some(part) = part else { return };
        match out.last_mut() {
            Some(last) if !has_words(&text[part.clone()]) || !has_words(&text[last.clone()]) => {
                last.end = part.end;
            }
            _ => out.push(part),
        }
    };
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let range = trimmed(text, at..at + line.len());
        at += line.len();
        if range.is_empty() {
            end(open.take());
        } else {
            let start = open.map_or(range.start, |o| o.start);
            open = Some(start..range.end);
        }
    }
    end(open);
    out
}

/// A sentence, or a part of one that is too long, with its number of words.
struct Unit {
    range: Range<usize>,
    words: usize,
}

fn units(text: &str, tokens: usize) -> Vec<Unit> {
    let mut out = Vec::new();
    for (at, sentence) in text.split_sentence_bound_indices() {
        let words: Vec<usize> = sentence
            .unicode_word_indices()
            .map(|(i, _)| at + i)
            .collect();
        let starts = words.iter().step_by(tokens).skip(1).copied();
        let mut from = at;
        for (i, to) in starts.chain([at + sentence.len()]).enumerate() {
            let words = (words.len() - i * tokens).min(tokens);
            out.push(Unit {
                range: from..to,
                words,
            });
            from = to;
        }
    }
    out
}

fn by_length(text: &str, tokens: usize, overlap: usize) -> Vec<Range<usize>> {
    let units = units(text, tokens);
    let mut out = Vec::new();
    let (mut first, mut next, mut words) = (0, 0, 0);
    while next < units.len() {
        // Every piece has at least one new unit, so the loop ends: no unit has more words than fit.
        while next < units.len() && words + units[next].words <= tokens {
            words += units[next].words;
            next += 1;
        }
        let piece = trimmed(text, units[first].range.start..units[next - 1].range.end);
        if !piece.is_empty() {
            out.push(piece);
        }
        // Repeated sentences must leave room for the next one.
        let room = units.get(next).map_or(0, |u| tokens - u.words).min(overlap);
        (words, first) = (0, next);
        while first > 0
            && words + units[first - 1].words <= room
            && out
                .last()
                .is_some_and(|p| units[first - 1].range.start > p.start)
        {
            first -= 1;
            words += units[first].words;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const PARAGRAPHS: Split = Split::Word(Word::Paragraphs);

    fn cut(split: Split, text: &str) -> Vec<&str> {
        split.pieces(text).into_iter().map(|r| &text[r]).collect()
    }

    #[test]
    fn parameters_are_words_or_a_mapping() {
        for (given, want) in [
            (json!("none"), Split::Word(Word::None)),
            (json!("paragraphs"), PARAGRAPHS),
            (
                json!({"tokens": 9, "overlap": 2}),
                Split::Tokens {
                    tokens: 9,
                    overlap: 2,
                },
            ),
        ] {
            assert_eq!(
                serde_json::from_value::<Split>(given.clone()).unwrap(),
                want
            );
            assert_eq!(serde_json::to_value(want).unwrap(), given);
        }
    }

    #[test]
    fn paragraphs_end_at_empty_lines() {
        let text = "\n One\ntwo \n \t\nthree\r\n\r\n***\n\nfour\n";
        assert_eq!(
            cut(PARAGRAPHS, text),
            ["One\ntwo", "three\r\n\r\n***", "four"]
        );
        assert_eq!(cut(PARAGRAPHS, "---\n\nOne\n\ntwo"), ["---\n\nOne", "two"]);
        assert_eq!(cut(PARAGRAPHS, " * \n"), ["*"]);
        assert_eq!(cut(PARAGRAPHS, " \n"), [""]);
        assert_eq!(cut(Split::Word(Word::None), " a\n\nb "), ["a\n\nb"]);
    }

    #[test]
    fn pieces_hold_whole_sentences_where_they_fit() {
        let text = "One two three. Four five. Six seven eight nine ten eleven. Twelve.";
        let of = |tokens, overlap| cut(Split::Tokens { tokens, overlap }, text);
        assert_eq!(of(100, 10), [text]);
        assert_eq!(
            of(6, 0),
            [
                "One two three. Four five.",
                "Six seven eight nine ten eleven.",
                "Twelve."
            ]
        );
        assert_eq!(
            of(5, 3),
            [
                "One two three. Four five.",
                "Six seven eight nine ten",
                "eleven. Twelve."
            ]
        );
        assert_eq!(
            of(8, 2),
            [
                "One two three. Four five.",
                "Four five. Six seven eight nine ten eleven.",
                "Twelve."
            ]
        );
        assert_eq!(
            of(2, 0),
            [
                "One two",
                "three.",
                "Four five.",
                "Six seven",
                "eight nine",
                "ten eleven.",
                "Twelve."
            ]
        );
    }

    #[test]
    fn each_ideograph_is_a_word() {
        let split = Split::Tokens {
            tokens: 3,
            overlap: 0,
        };
        assert_eq!(cut(split, "東京都庁舎。大阪"), ["東京都", "庁舎。", "大阪"]);
    }

    proptest! {
        #[test]
        fn every_word_is_in_a_piece_and_none_is_too_long(
            text in "([a-d]{1,3}[ .,!?\n]{1,3}|[東京é]|\n\n|  ){0,30}",
            tokens in 1usize..8,
            overlap in 0usize..6,
        ) {
            for split in [PARAGRAPHS, Split::Tokens { tokens, overlap }] {
                let pieces = split.pieces(&text);
                prop_assert!(!pieces.is_empty());
                let inside = |at: usize| pieces.iter().any(|p| p.contains(&at));
                for (at, _) in text.unicode_word_indices() {
                    prop_assert!(inside(at), "{:?}", pieces);
                }
                for pair in pieces.windows(2) {
                    prop_assert!(pair[0].start < pair[1].start && pair[0].end < pair[1].end);
                }
                for piece in &pieces {
                    let part = &text[piece.clone()];
                    prop_assert_eq!(part, part.trim());
                    if split != PARAGRAPHS {
                        prop_assert!(part.unicode_words().count() <= tokens, "{:?}", part);
                    }
                }
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), tokens in 1usize..5, overlap in 0usize..9) {
            PARAGRAPHS.pieces(&text);
            Split::Tokens { tokens, overlap }.pieces(&text);
        }
    }
}
