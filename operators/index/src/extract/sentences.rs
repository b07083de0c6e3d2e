//! Finds the sentences of a text in any script, by the rules of Unicode (UAX 29).
//!
//! These rules end a sentence at every line break and after every "Dr.". Wrapped lines and
//! sentences cut at well-known abbreviations are joined again.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// A line of at least this many bytes is taken to be wrapped, so that it continues in the next.
const WRAPPED: usize = 50;
/// Abbreviations that stand before a name or a number.
const ABBREVIATIONS: &[&str] = &[
    "Mr", "Mrs", "Ms", "Dr", "Prof", "St", "Sir", "Rev", "Hon", "Gen", "Col", "Capt", "Lt", "Sgt",
    "Sen", "Rep", "Gov", "Pres", "Mt", "Ft", "No", "Nos", "vs", "ca", "cf", "approx", "Bros", "Op",
    "Vol", "pp", "Jan", "Feb", "Mar", "Apr", "Jun", "Jul", "Aug", "Sep", "Sept", "Oct", "Nov",
    "Dec",
];

/// The sentences of a text, without blanks at their ends.
pub fn sentences(text: &str) -> Vec<Range<usize>> {
    let flat = unwrapped(text);
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut open: Option<Range<usize>> = None;
    for (at, part) in flat.split_sentence_bound_indices() {
        let range = match open.take() {
            Some(open) => open.start..at + part.len(),
            None => at..at + part.len(),
        };
        if goes_on(&flat[range.clone()]) {
            open = Some(range)
        } else {
            push(&mut out, text, range)
        }
    }
    if let Some(range) = open {
        push(&mut out, text, range);
    }
    out
}

fn push(out: &mut Vec<Range<usize>>, text: &str, range: Range<usize>) {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    let range = start..start + part.trim().len();
    if !range.is_empty() {
        out.push(range);
    }
}

/// The text with blanks for the line breaks of wrapped lines. The length stays the same.
fn unwrapped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let bare = line.trim_end();
        let next = lines.peek().is_some_and(|l| {
            let first = l.trim_start().chars().next();
            first.is_some_and(char::is_alphanumeric)
        });
        out.push_str(bare);
        if bare.len() >= WRAPPED && next {
            out.extend(std::iter::repeat_n(' ', line.len() - bare.len()))
        } else {
            out.push_str(&line[bare.len()..])
        }
    }
    // A blank at the end of a line may have several bytes. Then the lengths differ, and the text
    // stays as it is.
    if out.len() == text.len() {
        out
    } else {
        text.to_owned()
    }
}

/// Whether a part ends with the dot of an abbreviation or an initial ("World War I." does not).
fn goes_on(part: &str) -> bool {
    let Some(before) = part.trim_end().strip_suffix('.') else {
        return false;
    };
    // A line break ends the sentence all the same.
    if part.ends_with(['\n', '\r', '\u{2029}']) {
        return false;
    }
    let word = before
        .rsplit(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or_default();
    let mut letters = word.chars();
    let initial = letters.next().is_some_and(char::is_uppercase) && letters.next().is_none();
    let ahead = before[..before.len() - word.len()]
        .split_whitespace()
        .next_back();
    let numeral = word == "I" && ahead.is_some_and(|w| w.starts_with(char::is_uppercase));
    (initial && !numeral) || ABBREVIATIONS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(text: &str) -> Vec<&str> {
        sentences(text).into_iter().map(|r| &text[r]).collect()
    }

    #[test]
    fn sentences_end_with_their_marks() {
        for (text, want) in [
            (
                "One. Two! Three? four",
                &["One.", "Two!", "Three?", "four"][..],
            ),
            (
                "Dr. Smith met J. R. R. Tolkien. He left.",
                &["Dr. Smith met J. R. R. Tolkien.", "He left."],
            ),
            (
                "After World War I. He met George W. Bush in Jan. 1921.",
                &["After World War I.", "He met George W. Bush in Jan. 1921."],
            ),
            (
                "It cost 1.5 million. More.",
                &["It cost 1.5 million.", "More."],
            ),
            (
                "Head\n\nText here.\n- item\n",
                &["Head", "Text here.", "- item"],
            ),
            (
                "He wrote \"Yes.\" She read.",
                &["He wrote \"Yes.\"", "She read."],
            ),
            (
                "東京は首都。大阪は違う。",
                &["東京は首都。", "大阪は違う。"],
            ),
            ("Москва. Это город.", &["Москва.", "Это город."]),
            (" \n ", &[]),
            ("", &[]),
        ] {
            assert_eq!(cut(text), want, "{text}");
        }
    }

    #[test]
    fn wrapped_lines_go_on() {
        let text = "This line is long enough that somebody or something wrapped\nit here. And the end\nof it.";
        assert_eq!(cut(text)[0], &text[..text.find(" And").unwrap_or_default()]);
        assert_eq!(cut("A heading\nText."), ["A heading", "Text."]);
    }

    proptest! {
        #[test]
        fn sentences_hold_every_character_once(text in "([A-Za-zé東]{1,9}[ .!?\n\r\u{a0}]{1,3}){0,20}|.{0,40}") {
            let all = sentences(&text);
            for pair in all.windows(2) {
                prop_assert!(pair[0].end <= pair[1].start);
            }
            for (at, c) in text.char_indices().filter(|(_, c)| !c.is_whitespace()) {
                let holding = all.iter().filter(|s| s.start <= at && at + c.len_utf8() <= s.end);
                prop_assert_eq!(holding.count(), 1, "{:?} {:?}", &all, c);
            }
        }
    }
}
