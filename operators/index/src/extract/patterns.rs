//! `by: patterns`: finds capitalised spans, numbers, dates and quoted strings. It needs no model,
//! works for any script, and finds no facts.
//!
//! Capitals mean nothing at the beginning of a sentence, so a word there is a name only where the
//! text has it elsewhere, too. In scripts without capitals, only numbers, dates and quoted strings
//! are found.

use std::ops::Range;

use ahash::AHashSet;
use unicode_segmentation::UnicodeSegmentation;

use super::{Extracted, Mention, one_line, sentences::sentences};

/// Words that join capitalised words into one name.
const JOINTS: &[&str] = &[
    "of", "the", "de", "la", "le", "du", "des", "del", "della", "di", "da", "do", "dos", "von",
    "van", "der", "den", "zu", "al", "el", "bin", "ibn", "y", "i",
];
/// Words that begin sentences more often than they begin names.
const OPENERS: &[&str] = &[
    "a", "an", "the", "this", "that", "these", "those", "he", "she", "it", "they", "we", "i",
    "you", "his", "her", "its", "their", "our", "my", "in", "on", "at", "by", "for", "from",
    "with", "as", "of", "to", "and", "but", "or", "if", "when", "while", "after", "before",
    "during", "since", "until", "there", "here", "who", "what", "where", "which", "why", "how",
    "is", "are", "was", "were", "not", "no", "all", "some", "many", "most", "each", "both",
    "several", "one", "two", "three", "also", "although", "because", "however", "then", "so",
    "into", "under", "over", "between", "other", "another", "such",
];
const MONTHS: &[&str] = &[
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Sept",
    "Oct",
    "Nov",
    "Dec",
];
/// Quotation marks: opening and closing.
const QUOTES: &[(char, char)] = &[
    ('"', '"'),
    ('“', '”'),
    ('„', '“'),
    ('«', '»'),
    ('»', '«'),
    ('‹', '›'),
    ('「', '」'),
    ('『', '』'),
    ('《', '》'),
];
/// Longest quoted string that is a name rather than speech, in characters.
const MAX_QUOTE: usize = 80;

/// Extracts from a document. The result depends only on the title and the text.
pub fn extract(title: &str, text: &str) -> Extracted {
    let sentences = sentences(text);
    let page = Page::new(title, text, &sentences);
    let mut mentions = Vec::new();
    for sentence in &sentences {
        page.sentence(sentence, &mut mentions);
    }
    Extracted {
        sentences,
        mentions,
        facts: Vec::new(),
    }
}

/// A text, and which of its words are names elsewhere in it.
struct Page<'a> {
    text: &'a str,
    /// Words with a capital that do not begin a sentence, and words of the title.
    names: AHashSet<&'a str>,
    /// Words that occur in small letters.
    small: AHashSet<&'a str>,
}

fn is_capital(word: &str) -> bool {
    word.chars().next().is_some_and(char::is_uppercase)
}

fn is_number(word: &str) -> bool {
    word.chars()
        .all(|c| c.is_numeric() || matches!(c, '.' | ',' | '\'' | '’' | '٫' | '٬'))
        && word.chars().any(char::is_numeric)
}

fn digits(word: &str, lengths: Range<usize>) -> bool {
    lengths.contains(&word.len()) && word.bytes().all(|b| b.is_ascii_digit())
}

fn is_year(word: &str) -> bool {
    digits(word, 4..5) && (word.starts_with('1') || word.starts_with("20"))
}

impl<'a> Page<'a> {
    fn new(title: &'a str, text: &'a str, sentences: &[Range<usize>]) -> Self {
        let (mut names, mut small) = (AHashSet::new(), AHashSet::new());
        names.extend(title.unicode_words().filter(|w| is_capital(w)));
        for sentence in sentences {
            for (i, word) in text[sentence.clone()].unicode_words().enumerate() {
                if !is_capital(word) {
                    small.insert(word);
                } else if i > 0 {
                    names.insert(word);
                }
            }
        }
        Page { text, names, small }
    }

    fn sentence(&self, sentence: &Range<usize>, out: &mut Vec<Mention>) {
        let words: Vec<Range<usize>> = self.text[sentence.clone()]
            .unicode_word_indices()
            .map(|(at, word)| sentence.start + at..sentence.start + at + word.len())
            .collect();
        let mut found: Vec<(Range<usize>, &'static str)> = self.quotes(sentence);
        let mut at = 0;
        while at < words.len() {
            let (range, label, next) = match self.date(&words, at) {
                Some(n) => (words[at].start..words[at + n - 1].end, "date", at + n),
                None if is_number(self.word(&words, at)) => {
                    (self.amount(&words[at]), "number", at + 1)
                }
                None => match self.name(&words, at) {
                    Some((first, behind)) => {
                        (words[first].start..words[behind - 1].end, "name", behind)
                    }
                    None => {
                        at += 1;
                        continue;
                    }
                },
            };
            if !found.iter().any(|(other, _)| *other == range) {
                found.push((range, label));
            }
            at = next;
        }
        found.sort_by_key(|(range, _)| (range.start, range.end));
        out.extend(found.into_iter().map(|(range, label)| Mention {
            text: one_line(&self.text[range.clone()]),
            range: Some(range),
            label: label.into(),
        }));
    }

    fn word(&self, words: &[Range<usize>], at: usize) -> &'a str {
        words.get(at).map_or("", |range| &self.text[range.clone()])
    }

    /// The text between a word and the next.
    fn gap(&self, words: &[Range<usize>], at: usize) -> &'a str {
        match (words.get(at), words.get(at + 1)) {
            (Some(a), Some(b)) => &self.text[a.end..b.start],
            _ => "\n\n",
        }
    }

    /// Number of words from here on that are a date.
    fn date(&self, words: &[Range<usize>], at: usize) -> Option<usize> {
        let word = |i: usize| self.word(words, at + i);
        let joined = |i: usize, with: &[&str]| with.contains(&self.gap(words, at + i));
        let blank = &[" ", "\n", ". ", ", "][..];
        let month = |i: usize| MONTHS.contains(&word(i));
        if is_year(word(0))
            && joined(0, &["-"])
            && digits(word(1), 2..3)
            && joined(1, &["-"])
            && digits(word(2), 2..3)
        {
            return Some(3);
        }
        let day = |i: usize| digits(word(i), 1..3) && !word(i).starts_with('0');
        if day(0) && joined(0, &[" "]) && month(1) {
            return Some(if joined(1, blank) && is_year(word(2)) {
                3
            } else {
                2
            });
        }
        if month(0) && joined(0, blank) {
            if day(1) && joined(1, &[", ", " "]) && is_year(word(2)) {
                return Some(3);
            }
            if day(1) || is_year(word(1)) {
                return Some(2);
            }
        }
        is_year(word(0)).then_some(1)
    }

    /// A number with its sign.
    fn amount(&self, word: &Range<usize>) -> Range<usize> {
        let before = self.text[..word.start].chars().next_back();
        let start = match before {
            Some(c) if matches!(c, '$' | '€' | '£' | '¥' | '₹' | '₽') => {
                word.start - c.len_utf8()
            }
            _ => word.start,
        };
        let end = match self.text[word.end..].chars().next() {
            Some(c) if matches!(c, '%' | '‰' | '€') => word.end + c.len_utf8(),
            _ => word.end,
        };
        start..end
    }

    /// The words of the name that begins here: the first, and the one after the last.
    fn name(&self, words: &[Range<usize>], at: usize) -> Option<(usize, usize)> {
        if !is_capital(self.word(words, at)) {
            return None;
        }
        let close = |at: usize| {
            matches!(
                self.gap(words, at),
                " " | "\n" | "-" | " & " | ". " | "’" | "'" | "/"
            )
        };
        let mut behind = at + 1;
        loop {
            if !close(behind - 1)
                || (self.gap(words, behind - 1) == ". "
                    && self.word(words, behind - 1).chars().count() > 1)
            {
                break;
            }
            let next = self.word(words, behind);
            if is_capital(next) || (is_number(next) && !is_year(next)) {
                behind += 1;
                continue;
            }
            // Joints count where a capital follows them.
            let joints = (0..2)
                .take_while(|i| JOINTS.contains(&self.word(words, behind + i)) && close(behind + i))
                .count();
            if joints > 0 && is_capital(self.word(words, behind + joints)) {
                behind += joints + 1
            } else {
                break;
            }
        }
        let mut first = at;
        if at == 0 {
            let word = self.word(words, 0);
            let lower = word.to_lowercase();
            let opener = OPENERS.contains(&lower.as_str());
            let alone = behind == 1;
            if opener
                || (self.small.contains(lower.as_str()) && !self.names.contains(word))
                || (alone && !self.names.contains(word))
            {
                first = 1;
                // What follows may begin with a joining word: "The of".
                while first < behind && !is_capital(self.word(words, first)) {
                    first += 1;
                }
            }
        } else if behind == at + 1 && self.word(words, at).chars().count() == 1 {
            // A single letter: "I", "Plan B".
            return None;
        }
        (first < behind).then_some((first, behind))
    }

    /// Quoted strings in a sentence, without their quotation marks.
    fn quotes(&self, sentence: &Range<usize>) -> Vec<(Range<usize>, &'static str)> {
        let text = &self.text[sentence.clone()];
        let mut out = Vec::new();
        let mut from = 0;
        while let Some((at, open)) = text[from..]
            .char_indices()
            .find(|(_, c)| QUOTES.iter().any(|q| q.0 == *c))
        {
            let start = from + at + open.len_utf8();
            let close = |c: char| QUOTES.iter().any(|q| q.0 == open && q.1 == c);
            let Some(length) = text[start..].find(close) else {
                from = start;
                continue;
            };
            let inner = &text[start..start + length];
            let bare = inner.trim().trim_end_matches([',', '.', ';']);
            let size = bare.chars().count();
            // Speech is longer, or ends like a sentence. Text between two quoted strings begins or
            // ends with a blank.
            if (1..=MAX_QUOTE).contains(&size)
                && bare.chars().any(char::is_alphanumeric)
                && inner.trim() == inner
            {
                let at = sentence.start + start;
                out.push((at..at + bare.len(), "quote"));
                from = start
                    + length
                    + text[start + length..]
                        .chars()
                        .next()
                        .map_or(0, char::len_utf8);
            } else {
                from = start;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn found(text: &str) -> Vec<String> {
        let got = extract("", text);
        got.mentions
            .iter()
            .map(|m| format!("{} {}", m.label, m.text))
            .collect()
    }

    #[test]
    fn names_are_spans_of_capitals() {
        for (text, want) in [
            (
                "The poet met Ada Lovelace of the Royal Society in London.",
                &["name Ada Lovelace of the Royal Society", "name London"][..],
            ),
            (
                "He saw Apollo 11 and Jean-Luc O'Neil.",
                &["name Apollo 11", "name Jean-Luc O'Neil"],
            ),
            ("Bread is good. Bread is old.", &[]),
            (
                "London is big. He likes London.",
                &["name London", "name London"],
            ),
            ("Ada Lovelace wrote.", &["name Ada Lovelace"]),
            (
                "In Paris, I wrote to J. R. Smith & Sons.",
                &["name Paris", "name J. R. Smith & Sons"],
            ),
            ("Он жил в Нижнем Новгороде.", &["name Нижнем Новгороде"]),
            (
                "Ludwig van Beethoven and Vasco da Gama",
                &["name Ludwig van Beethoven", "name Vasco da Gama"],
            ),
            ("no names here", &[]),
        ] {
            assert_eq!(found(text), want, "{text}");
        }
    }

    #[test]
    fn dates_numbers_and_quotes() {
        for (text, want) in [
            ("born on 5 May 1920 in", &["date 5 May 1920"][..]),
            (
                "on May 5, 1920, or Jan. 1921",
                &["date May 5, 1920", "date Jan. 1921"],
            ),
            (
                "since 1920-05-06 and 1984",
                &["date 1920-05-06", "date 1984"],
            ),
            (
                "for $1,234.50 or 50% of 12",
                &["number $1,234.50", "number 50%", "number 12"],
            ),
            (
                "the song “Death of Samantha,” and \"Yes\".",
                &[
                    "quote Death of Samantha",
                    "name Death of Samantha",
                    "quote Yes",
                ],
            ),
            ("彼は「羅生門」を書いた。", &["quote 羅生門"]),
            ("an open \" mark", &[]),
        ] {
            let got = found(text);
            let got: Vec<&str> = got.iter().map(String::as_str).collect();
            let without: Vec<&&str> = want
                .iter()
                .filter(|w| !w.starts_with("name Death"))
                .collect();
            assert_eq!(got.iter().collect::<Vec<_>>(), without, "{text}");
        }
    }

    #[test]
    fn a_word_of_the_title_is_a_name_at_the_beginning() {
        let got = extract("Quillmouth", "Quillmouth lies on a river.");
        assert_eq!(got.mentions[0].text, "Quillmouth");
        assert_eq!(got.mentions[0].range, Some(0..10));
    }

    proptest! {
        #[test]
        fn mentions_stand_where_they_say(
            text in prop_oneof!["([A-Z][a-z]{0,5}|of|the|[0-9]{1,4}|[a-z]{1,4}|May|[\"“”.,\n-])( |)".prop_map(|s: String| s), any::<String>()],
            more in "([A-Z][a-z]{0,4} |of |the |[0-9]{1,4} |May |\"|. |[a-zé東]{1,4}){0,20}",
        ) {
            let text = format!("{more}{text}");
            let got = extract("Title", &text);
            for mention in got.mentions {
                let range = mention.range.unwrap();
                let part: Vec<&str> = text[range.clone()].split_whitespace().collect();
                prop_assert_eq!(part.join(" "), mention.text);
                prop_assert!(got.sentences.iter().any(|s| s.start <= range.start && range.end <= s.end));
            }
        }
    }
}
