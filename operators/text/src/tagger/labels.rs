//! Labels of words, and how labelled words become spans.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use gfm_pipe_api::ErrorKind;
use serde_json::Value;

use super::words::Word;
use crate::error::EncoderError;

/// The label of a word outside of spans.
const OUTSIDE: &str = "O";

/// A label, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Label {
    /// The kind of span; `None` outside of spans.
    kind: Option<String>,
    /// Whether a span begins here, even after one of the same kind.
    begins: bool,
    /// Whether a span ends here.
    ends: bool,
}

/// The labels of a model, by number.
#[derive(Debug, Clone)]
pub(super) struct Labels(Vec<Label>);

/// A part of a text with a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Byte range in the text.
    pub range: Range<usize>,
    /// The label, without `B-` or `I-`.
    pub label: String,
}

/// Parses `B-` (begins), `I-` (inside), `E-` or `L-` (ends), and `S-` or `U-` (begins and ends).
/// Without them, adjacent words of one kind are one span.
fn label(text: &str) -> Label {
    let (scheme, kind) = match text.split_once('-') {
        Some((scheme @ ("B" | "I" | "E" | "L" | "S" | "U"), kind)) => (scheme, kind),
        _ => ("I", text),
    };
    Label {
        kind: (text != OUTSIDE).then(|| kind.to_owned()),
        begins: matches!(scheme, "B" | "S" | "U"),
        ends: matches!(scheme, "E" | "L" | "S" | "U"),
    }
}

fn wrong(config: &Path, problem: &str) -> EncoderError {
    EncoderError::Refused {
        path: config.to_owned(),
        problem: problem.to_owned(),
        hint: Some(
            "use a model for token classification, or write its labels into config.json: \
             `\"id2label\": {\"0\": \"O\", \"1\": \"B-PER\", \"2\": \"I-PER\", …}`"
                .to_owned(),
        ),
        kind: ErrorKind::Data,
    }
}

impl Labels {
    /// Reads the labels of a configuration; `path` is for messages.
    pub(super) fn read(config: &Value, path: &Path) -> Result<Labels, EncoderError> {
        let Some(all) = config.get("id2label").filter(|l| !l.is_null()) else {
            return Err(wrong(path, "`id2label` is missing: labels have no names"));
        };
        let all: BTreeMap<u32, String> = serde_json::from_value(all.clone()).map_err(|e| {
            wrong(
                path,
                &format!("`id2label` is no list of names by number: {e}"),
            )
        })?;
        if !all.keys().copied().eq(0..all.len() as u32) {
            let problem = format!("the numbers in `id2label` are not 0 to {}", all.len() - 1);
            return Err(wrong(path, &problem));
        }
        if !all.values().any(|name| name == OUTSIDE) {
            let problem = "`id2label` has no label `O`, which words outside of names have";
            return Err(wrong(path, problem));
        }
        Ok(Labels(all.values().map(|name| label(name)).collect()))
    }

    /// Number of labels.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Joins words with their label numbers into spans. No span goes beyond a sentence.
    pub(super) fn spans(
        &self,
        text: &str,
        words: &[(Word, usize)],
        sentences: &[Range<usize>],
    ) -> Vec<Span> {
        let mut out: Vec<Span> = Vec::new();
        // The sentence of the last word, if its span may continue.
        let mut open: Option<usize> = None;
        for (Word { range, .. }, number) in words {
            let Label { kind, begins, ends } = &self.0[*number];
            let Some(kind) = kind else {
                open = None;
                continue;
            };
            let sentence = sentences.partition_point(|s| s.end <= range.start);
            match out.last_mut() {
                Some(last) if open == Some(sentence) && !begins && last.label == *kind => {
                    last.range.end = range.end;
                }
                _ => out.push(Span {
                    range: range.clone(),
                    label: kind.clone(),
                }),
            }
            open = (!ends).then_some(sentence);
        }
        out.retain(|span| text[span.range.clone()].contains(char::is_alphanumeric));
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use super::*;
    use serde_json::json;

    /// Spans of blank-separated words, each `word/label`.
    fn spans(marked: &str, sentences: &[Range<usize>]) -> Vec<String> {
        let mut names: BTreeMap<String, usize> = [("O".to_owned(), 0)].into();
        let (mut text, mut words) = (String::new(), Vec::new());
        for (token, (word, label)) in marked
            .split(' ')
            .map(|w| w.split_once('/').unwrap())
            .enumerate()
        {
            let next = names.len();
            let number = *names.entry(label.to_owned()).or_insert(next);
            let range = text.len()..text.len() + word.len();
            words.push((Word { range, token }, number));
            text.push_str(word);
            text.push(' ');
        }
        let by_number: BTreeMap<String, String> =
            names.into_iter().map(|(l, n)| (n.to_string(), l)).collect();
        let labels =
            Labels::read(&json!({"id2label": by_number}), Path::new("config.json")).unwrap();
        let all = labels.spans(&text, &words, sentences).into_iter();
        all.map(|s| format!("{} {}", s.label, &text[s.range]))
            .collect()
    }

    #[test]
    fn words_of_one_span_are_put_together() {
        for (marked, want) in [
            (
                "Ada/B-PER Alder/I-PER saw/O Rome/B-LOC",
                &["PER Ada Alder", "LOC Rome"][..],
            ),
            // Two adjacent spans.
            ("Ada/B-PER Bea/B-PER", &["PER Ada", "PER Bea"]),
            // As in older models: B- only between two spans of a kind.
            (
                "Ada/I-PER Alder/I-PER Bea/B-PER",
                &["PER Ada Alder", "PER Bea"],
            ),
            // An `I-` of another kind than the span before it begins a new span.
            ("Ada/B-PER Rome/I-LOC", &["PER Ada", "LOC Rome"]),
            (
                "Ada/PER Alder/PER ,/O Bea/PER",
                &["PER Ada Alder", "PER Bea"],
            ),
            (
                "Ada/B-PER Alder/E-PER Bea/I-PER Rome/S-LOC Oslo/I-LOC",
                &["PER Ada Alder", "PER Bea", "LOC Rome", "LOC Oslo"],
            ),
            ("A/B-PER B/L-PER C/U-PER", &["PER A B", "PER C"]),
            ("x/B-work-of-art y/I-work-of-art", &["work-of-art x y"]),
            ("./B-PER a/O", &[]),
        ] {
            let all = std::slice::from_ref(&(0..99));
            assert_eq!(spans(marked, all), want, "{marked}");
        }
    }

    #[test]
    fn no_span_goes_beyond_a_sentence() {
        let marked = "Ada/PER Bea/PER Cid/PER";
        assert_eq!(spans(marked, &[0..3, 4..11]), ["PER Ada", "PER Bea Cid"]);
    }

    #[test]
    fn labels_that_say_nothing_are_refused() {
        for (config, want) in [
            (json!({}), "`id2label` is missing"),
            (json!({"id2label": null}), "`id2label` is missing"),
            (json!({"id2label": ["O"]}), "no list of names by number"),
            (
                json!({"id2label": {"0": "O", "2": "PER"}}),
                "are not 0 to 1",
            ),
            (
                json!({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}),
                "no label `O`",
            ),
        ] {
            let e = Labels::read(&config, Path::new("m/config.json")).unwrap_err();
            let said = e.to_string();
            assert!(
                said.starts_with("m/config.json: ") && said.contains(want),
                "{said}"
            );
            assert!(e.hint().unwrap().contains("token classification"));
        }
    }
}
