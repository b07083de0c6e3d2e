//! Joins tokens into words, each of which has a label.
//!
//! A model is trained to label the first token of a word; its labels for the others mean nothing.
//! Tokenizers that split only at blanks join a comma with the word before it. Here, punctuation
//! marks are words of their own, and so is every token of a script without blanks.

use std::ops::Range;

/// A word of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// Byte range in the text.
    pub(super) range: Range<usize>,
    /// Index of its first token.
    pub(super) token: usize,
}

/// A token as the tokenizer reports it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    /// Byte range in the text, which may begin or end inside a character.
    pub(super) bytes: (usize, usize),
    /// Index of the word, by the tokenizer's rules.
    pub(super) word: Option<u32>,
}

/// Joins a text's tokens into words.
pub(super) fn words(text: &str, tokens: impl IntoIterator<Item = Token>) -> Vec<Word> {
    let mut out: Vec<Word> = Vec::new();
    let mut number = None;
    for (token, Token { bytes, word }) in tokens.into_iter().enumerate() {
        let range = whole(text, bytes);
        let Some(first) = text[range.clone()].chars().next() else {
            continue;
        };
        match out.last_mut() {
            Some(last) if word == number && goes_on(text, &last.range, range.start, first) => {
                last.range.end = range.end.max(last.range.end);
            }
            _ => out.push(Word { range, token }),
        }
        number = word;
    }
    out
}

/// The whole characters of a token, without blanks at its ends.
fn whole(text: &str, (start, end): (usize, usize)) -> Range<usize> {
    let start = text.floor_char_boundary(start);
    let end = text.ceil_char_boundary(end).max(start);
    let part = &text[start..end];
    let start = start + (part.len() - part.trim_start().len());
    start..start + part.trim().len()
}

/// Whether the token at `start` belongs to the word before it.
fn goes_on(text: &str, last: &Range<usize>, start: usize, first: char) -> bool {
    // The bytes of one character may be divided over several tokens.
    if start < last.end {
        return true;
    }
    let before = text[last.clone()].chars().next_back();
    let joins = |c: char| !is_mark(c) && !is_without_blanks(c);
    start == last.end && joins(first) && before.is_some_and(joins)
}

fn is_mark(c: char) -> bool {
    c.is_ascii_punctuation()
        || matches!(c, '¡' | '§' | '«' | '·' | '»' | '¿' | '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}')
}

/// Whether a character is of a script without blanks: Thai, Lao, Burmese, Khmer, Chinese or
/// Japanese.
fn is_without_blanks(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{2e80}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ff9f}'
        | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words and their first tokens, for tokens given as (start, end, word).
    fn cut<'a>(text: &'a str, tokens: &[(usize, usize, u32)]) -> Vec<(&'a str, usize)> {
        let tokens = tokens.iter().map(|(start, end, word)| Token {
            bytes: (*start, *end),
            word: Some(*word),
        });
        let all = words(text, tokens).into_iter();
        all.map(|w| (&text[w.range], w.token)).collect()
    }

    #[test]
    fn pieces_of_a_word_are_put_together() {
        let text = "Quillmouth fell";
        let tokens = [(0, 5, 0), (5, 10, 0), (10, 15, 1)];
        assert_eq!(cut(text, &tokens), [("Quillmouth", 0), ("fell", 2)]);
    }

    #[test]
    fn marks_are_words_even_where_the_tokenizer_knows_blanks_alone() {
        let text = "in Paris, (U.S.)";
        let tokens = [
            (0, 2, 0),
            (2, 8, 1),
            (8, 9, 1),
            (9, 11, 2),
            (11, 12, 2),
            (12, 13, 2),
            (13, 14, 2),
            (14, 16, 2),
        ];
        let want = [
            ("in", 0),
            ("Paris", 1),
            (",", 2),
            ("(", 3),
            ("U", 4),
            (".", 5),
            ("S", 6),
            (".)", 7),
        ];
        assert_eq!(cut(text, &tokens), want);
    }

    #[test]
    fn scripts_without_blanks_have_a_word_per_token() {
        let text = "東京は首都";
        let tokens = [(0, 6, 0), (6, 9, 0), (9, 15, 0)];
        assert_eq!(cut(text, &tokens), [("東京", 0), ("は", 1), ("首都", 2)]);
    }

    #[test]
    fn tokens_inside_of_a_character_are_that_character() {
        // A rare character as four tokens, and the bytes of "é" as two.
        let text = "né 🜚 x";
        let tokens = [
            (0, 1, 0),
            (1, 2, 0),
            (2, 3, 0),
            (3, 5, 1),
            (5, 6, 1),
            (6, 7, 1),
            (7, 8, 1),
            (8, 10, 2),
        ];
        assert_eq!(cut(text, &tokens), [("né", 0), ("🜚", 3), ("x", 7)]);
        // Blank tokens, and an end beyond the text.
        assert_eq!(cut(" a", &[(0, 1, 0), (1, 9, 0)]), [("a", 1)]);
    }
}
