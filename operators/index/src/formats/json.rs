//! Reads records of JSON and JSON Lines, one at a time.
//!
//! A JSON text is first checked as a whole and then read member by member, so that a file of many
//! documents is never in memory as a tree. The parser limits how deeply a member may be nested.

use std::ops::Range;

use ahash::AHashMap;
use gfm_pipe_api::OpResult;
use gfm_pipe_kg::json::Json;
use gfm_pipe_kg::reasons;
use serde::de::IgnoredAny;

use super::Fault;
use super::rows::{Each, Row};

/// Finds the one-based lines of ascending offsets in a text.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Lines {
            text,
            at: 0,
            line: 1,
        }
    }

    fn line(&mut self, at: usize) -> u64 {
        let between = &self.text.as_bytes()[self.at..at];
        self.line += between.iter().filter(|b| **b == b'\n').count() as u64;
        self.at = at;
        self.line
    }
}

/// A message of the parser, without the place at its end.
fn message(e: &serde_json::Error) -> String {
    let text = e.to_string();
    let place = format!(" at line {} column {}", e.line(), e.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

/// Reads a JSON file: a list of records, an object of records by key, or one record, which
/// `is_record` recognises by its keys. If a value of an object of records is a list, its items are
/// records.
///
/// # Errors
/// The errors of `each`.
pub fn read(text: &str, is_record: &dyn Fn(&[&str]) -> bool, each: &mut Each<'_>) -> OpResult<()> {
    if let Err(e) = serde_json::from_str::<IgnoredAny>(text) {
        if let Some(text) = without_nan(text)
            && is_json(&text)
        {
            return read(&text, is_record, each);
        }
        // JSON Lines in a file with another ending.
        let goes_on = e.to_string().starts_with("trailing characters");
        if goes_on && text.trim_start().starts_with('{') {
            return lines(text, each);
        }
        let mut fault = Fault::file(format!("the file is not valid JSON: {}", message(&e)));
        fault.line = Some(e.line() as u64);
        return each(Err(fault));
    }
    let start = text.len() - text.trim_start().len();
    let mut reader = Members {
        lines: Lines::new(text),
        number: 0,
        text,
    };
    match text.as_bytes().get(start) {
        Some(b'[') => reader.list(start, each),
        Some(b'{') => reader.object(start, is_record, each),
        _ => each(Err(Fault::file(
            "the file holds a single value: a list or an object of records is expected",
        ))),
    }
}

/// Reads a file with one JSON value per line. A file with a single list is read as a list.
///
/// # Errors
/// The errors of `each`.
pub fn read_lines(
    text: &str,
    is_record: &dyn Fn(&[&str]) -> bool,
    each: &mut Each<'_>,
) -> OpResult<()> {
    let first = text
        .lines()
        .find(|l| !l.trim().is_empty())
        .unwrap_or_default();
    let several_lines = !is_json(first) || first.trim_start().starts_with('[');
    if several_lines && is_json(text) {
        read(text, is_record, each)
    } else {
        lines(text, each)
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Replaces `NaN` and `Infinity` by blank texts of the same length. Python writes them for missing
/// values, but they are not JSON. `None` where there are none.
fn without_nan(text: &str) -> Option<String> {
    const WORDS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
    let mut bytes = text.as_bytes().to_vec();
    let (mut at, mut quoted, mut found) = (0, false, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            _ => {
                let word = WORDS.iter().find(|w| bytes[at..].starts_with(w));
                if let Some(word) = word {
                    let last = at + word.len() - 1;
                    bytes[at..last].fill(b' ');
                    bytes[at] = b'"';
                    bytes[last] = b'"';
                    at = last;
                    found = true;
                }
            }
        }
        at += 1;
    }
    String::from_utf8(bytes).ok().filter(|_| found)
}

fn lines(text: &str, each: &mut Each<'_>) -> OpResult<()> {
    let (mut at, mut number) = (0, 0);
    for (line, whole) in (1..).zip(text.split_inclusive('\n')) {
        let bare = whole.trim();
        let start = at + (whole.len() - whole.trim_start().len());
        at += whole.len();
        if bare.is_empty() {
            continue;
        }
        let read = serde_json::from_str::<Json>(bare).or_else(|e| match without_nan(bare) {
            Some(bare) => serde_json::from_str(&bare),
            None => Err(e),
        });
        each(match read {
            Ok(value) => Ok(Row {
                key: None,
                value,
                span: start..start + bare.len(),
                line,
                number,
            }),
            Err(e) => Err(Fault {
                line: Some(line),
                item: None,
                reason: format!("the line is not valid JSON: {}", message(&e)),
                text: bare.to_owned(),
            }),
        })?;
        number += 1;
    }
    Ok(())
}

/// Iterates over the members of lists and objects in valid JSON.
struct Members<'a> {
    text: &'a str,
    lines: Lines<'a>,
    number: u64,
}

impl Members<'_> {
    fn list(&mut self, start: usize, each: &mut Each<'_>) -> OpResult<()> {
        for span in members(self.text, start) {
            self.row(None, span.clone(), span, each)?;
        }
        Ok(())
    }

    fn object(
        &mut self,
        start: usize,
        is_record: &dyn Fn(&[&str]) -> bool,
        each: &mut Each<'_>,
    ) -> OpResult<()> {
        let mut pairs = Vec::new();
        for span in members(self.text, start) {
            let member = &self.text[span.clone()];
            let mut values = serde_json::Deserializer::from_str(member).into_iter::<String>();
            let Some(Ok(key)) = values.next() else {
                // The whole text was checked, so the only possible cause is a lone surrogate in a
                // key.
                let line = self.lines.line(span.start);
                each(Err(Fault {
                    line: Some(line),
                    item: None,
                    reason: "the key is not a text".to_owned(),
                    text: member.to_owned(),
                }))?;
                continue;
            };
            let colon = member[values.byte_offset()..].find(':').unwrap_or_default();
            let value = span.start + values.byte_offset() + colon + 1;
            let value = value
                + (self.text[value..span.end].len()
                    - self.text[value..span.end].trim_start().len());
            pairs.push((key, span.clone(), value..span.end));
        }
        let keys: Vec<&str> = pairs.iter().map(|p| p.0.as_str()).collect();
        if is_record(&keys) {
            let end = self.text.trim_end().len();
            return self.row(None, start..end, start..end, each);
        }
        let last: AHashMap<&str, usize> =
            (0..).zip(&pairs).map(|(i, p)| (p.0.as_str(), i)).collect();
        for (i, (key, span, value)) in pairs.iter().enumerate() {
            if last[key.as_str()] != i {
                let line = self.lines.line(span.start);
                each(Err(Fault {
                    line: Some(line),
                    item: Some(key.clone()),
                    reason: reasons::TITLE_TWICE.to_owned(),
                    text: self.text[value.clone()].to_owned(),
                }))?;
                continue;
            }
            let items = match self.text.as_bytes().get(value.start) {
                Some(b'[') => members(self.text, value.start),
                _ => Vec::new(),
            };
            if items
                .first()
                .is_some_and(|s| self.text[s.clone()].starts_with('{'))
            {
                for span in items {
                    self.row(None, span.clone(), span, each)?;
                }
            } else {
                self.row(Some(key.clone()), value.clone(), span.clone(), each)?;
            }
        }
        Ok(())
    }

    fn row(
        &mut self,
        key: Option<String>,
        value: Range<usize>,
        span: Range<usize>,
        each: &mut Each<'_>,
    ) -> OpResult<()> {
        let line = self.lines.line(span.start);
        let number = self.number;
        self.number += 1;
        each(match serde_json::from_str(&self.text[value.clone()]) {
            Ok(value) => Ok(Row {
                key,
                value,
                span,
                line,
                number,
            }),
            Err(e) => Err(Fault {
                line: Some(line),
                item: key,
                reason: format!("the value cannot be read: {}", message(&e)),
                text: self.text[value].to_owned(),
            }),
        })
    }
}

/// The ranges of the members of a list or an object. The text must be valid JSON from `start` on.
fn members(text: &str, start: usize) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    let mut from = start + 1;
    let mut push = |from: usize, to: usize| {
        let part = &text[from..to];
        let bare = part.trim();
        if !bare.is_empty() {
            let from = from + (part.len() - part.trim_start().len());
            out.push(from..from + bare.len());
        }
    };
    for (at, b) in text.bytes().enumerate().skip(start) {
        if quoted {
            match b {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match b {
            b'"' => quoted = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    push(from, at);
                    break;
                }
            }
            b',' if depth == 1 => {
                push(from, at);
                from = at + 1;
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::formats::Format;
    use crate::formats::rows::testing::lines;
    use proptest::prelude::*;

    #[test]
    fn json_files_are_lists_objects_or_one_record() {
        for (text, want) in [
            (
                "[ {\"a\": 1} ,\n\"x,]\\\"\", 3]",
                &[
                    "1 0 {\"a\":1} <{\"a\": 1}>",
                    "2 1 x,]\" <\"x,]\\\"\">",
                    "2 2 3 <3>",
                ][..],
            ),
            (
                "{\"A\": \"x\",\n \"B\" : [\"y\"]}",
                &["1 0 A=x <\"A\": \"x\">", "2 1 B=[\"y\"] <\"B\" : [\"y\"]>"],
            ),
            (
                "\n{\"text\": \"x\", \"n\": 1} ",
                &["2 0 {\"text\":\"x\",\"n\":1} <{\"text\": \"x\", \"n\": 1}>"],
            ),
            (
                "{\"n\": 2, \"docs\": [{\"a\": 1},\n{\"b\": 2}]}",
                &[
                    "1 0 n=2 <\"n\": 2>",
                    "1 1 {\"a\":1} <{\"a\": 1}>",
                    "2 2 {\"b\":2} <{\"b\": 2}>",
                ],
            ),
            (
                "{\"A\": \"x\", \"A\": \"y\"}",
                &[
                    "1 A: the title is given twice: the last counts",
                    "1 0 A=y <\"A\": \"y\">",
                ],
            ),
            ("[]", &[]),
            ("{}", &[]),
            (
                "7",
                &[" : the file holds a single value: a list or an object of records is expected"],
            ),
            (
                "",
                &["1 : the file is not valid JSON: EOF while parsing a value"],
            ),
            (
                "[1,\n2",
                &["2 : the file is not valid JSON: EOF while parsing a list"],
            ),
            (
                "{\"a\": 1}\n{\"b\": 2}",
                &["1 0 {\"a\":1} <{\"a\": 1}>", "2 1 {\"b\":2} <{\"b\": 2}>"],
            ),
            (
                "{\"a\": NaN, \"b\": -Infinity, \"c\": [NaN]}",
                &[
                    "1 0 a=  <\"a\": NaN>",
                    "1 1 b=        <\"b\": -Infinity>",
                    "1 2 c=[\" \"] <\"c\": [NaN]>",
                ],
            ),
            (
                "[\"\\ud800\", 1]",
                &[
                    "1 : the value cannot be read: unexpected end of hex escape",
                    "1 1 1 <1>",
                ],
            ),
        ] {
            assert_eq!(lines(Format::Json, text), want, "{text}");
        }
    }

    #[test]
    fn lines_that_are_not_json_are_faults_of_their_own() {
        for (text, want) in [
            (
                "{\"a\": 1}\r\n\n nonsense\n\"x\"",
                &[
                    "1 0 {\"a\":1} <{\"a\": 1}>",
                    "3 : the line is not valid JSON: expected ident",
                    "4 2 x <\"x\">",
                ][..],
            ),
            ("[\n{\"a\": 1}\n]", &["2 0 {\"a\":1} <{\"a\": 1}>"]),
            ("[{\"a\": 1}]", &["1 0 {\"a\":1} <{\"a\": 1}>"]),
            (
                "{\n\"text\": \"x\"\n}",
                &["1 0 {\"text\":\"x\"} <{\n\"text\": \"x\"\n}>"],
            ),
            ("", &[]),
        ] {
            assert_eq!(lines(Format::JsonLines, text), want, "{text}");
        }
    }

    #[test]
    fn deep_values_are_faults_and_the_next_is_read() {
        let deep = format!("[{}{}, 1]", "[".repeat(100_000), "]".repeat(100_000));
        let got = lines(Format::Json, &deep);
        assert_eq!(
            got[0],
            "1 : the value cannot be read: recursion limit exceeded"
        );
        assert_eq!(got[1], "1 1 1 <1>");
        let got = lines(Format::JsonLines, &format!("{}\n1", "[".repeat(100_000)));
        assert_eq!(
            got,
            [
                "1 : the line is not valid JSON: recursion limit exceeded",
                "2 1 1 <1>"
            ]
        );
    }

    proptest! {
        /// The ranges of members equal those found by a slow reader of the same values.
        #[test]
        fn members_are_the_values_that_were_written(
            values in prop::collection::vec(prop_oneof![
                any::<i32>().prop_map(serde_json::Value::from),
                any::<String>().prop_map(serde_json::Value::from),
                prop::collection::vec(any::<String>(), 0..3).prop_map(serde_json::Value::from),
            ], 0..6),
            space in "[ \n\t]{0,3}",
        ) {
            let parts: Vec<String> = values.iter().map(|v| format!("{space}{v}{space}")).collect();
            let text = format!("{space}[{}]{space}", parts.join(","));
            let start = text.find('[').unwrap();
            let got: Vec<serde_json::Value> =
                members(&text, start).into_iter().map(|s| serde_json::from_str(&text[s]).unwrap()).collect();
            prop_assert_eq!(got, values);
        }
    }
}
