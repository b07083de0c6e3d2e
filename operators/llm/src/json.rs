//! Reads JSON as language models write it.

use serde_json::{Map, Value};

/// Most brackets inside each other. Deeper ones are no answer.
const DEPTH: usize = 64;

/// The JSON of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Loose {
    /// The value.
    pub value: Value,
    /// Whether the text ended before the value did.
    pub cut: bool,
}

/// Finds the object of an answer: the whole text if it is JSON; else the first `{` from which an
/// object can be read, in a code fence or in other text. Commas before brackets are overlooked. Of
/// an object that was cut, what was complete is kept: a list loses its last item where that is not
/// whole.
pub fn object(text: &str) -> Option<Loose> {
    if let Ok(value @ Value::Object(_)) = serde_json::from_str(text.trim()) {
        return Some(Loose { value, cut: false });
    }
    let mut cut = None;
    // Each place is read once: what one reading passed over is not read again.
    let mut from = 0;
    while let Some(at) = text[from..].find('{') {
        let mut reader = Reader {
            bytes: text.as_bytes(),
            text,
            at: from + at,
        };
        let read = reader.value(0);
        match read {
            Read::Whole(value @ Value::Object(_)) => return Some(Loose { value, cut: false }),
            Read::Cut(Some(value @ Value::Object(_))) => {
                cut = Some(Loose { value, cut: true });
                break;
            }
            _ => {}
        }
        from = reader.at.max(from + at + 1);
    }
    cut
}

enum Read {
    Whole(Value),
    /// The text ended; what there was up to then, if that is of use.
    Cut(Option<Value>),
    Wrong,
}

struct Reader<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<u8> {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn value(&mut self, depth: usize) -> Read {
        if depth > DEPTH {
            return Read::Wrong;
        }
        match self.peek() {
            None => Read::Cut(None),
            Some(b'{') => self.fields(depth),
            Some(b'[') => self.items(depth),
            Some(b'"') => match self.string() {
                Some(Ok(text)) => Read::Whole(Value::String(text)),
                Some(Err(())) => Read::Wrong,
                None => Read::Cut(None),
            },
            Some(_) => self.word(),
        }
    }

    /// A number, true, false or null.
    fn word(&mut self) -> Read {
        let start = self.at;
        let inside = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        while self.bytes.get(self.at).is_some_and(inside) {
            self.at += 1;
        }
        let word = &self.text[start..self.at];
        // A number at the very end may have lost digits.
        if self.at == self.bytes.len() {
            return Read::Cut(None);
        }
        match serde_json::from_str(word) {
            Ok(value) => Read::Whole(value),
            Err(_) => match word {
                // As Python writes them.
                "True" => Read::Whole(Value::Bool(true)),
                "False" => Read::Whole(Value::Bool(false)),
                "None" => Read::Whole(Value::Null),
                _ => Read::Wrong,
            },
        }
    }

    /// A text in quotes; `None` where it does not end.
    fn string(&mut self) -> Option<Result<String, ()>> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        let quoted = self.text.get(start..self.at)?;
        if let Ok(text) = serde_json::from_str(quoted) {
            return Some(Ok(text));
        }
        // Line breaks inside a text, which JSON forbids.
        let mut escaped = String::with_capacity(quoted.len());
        for c in quoted.chars() {
            match c {
                '\n' => escaped.push_str("\\n"),
                '\r' => escaped.push_str("\\r"),
                '\t' => escaped.push_str("\\t"),
                c if c.is_control() => escaped.push(' '),
                c => escaped.push(c),
            }
        }
        Some(serde_json::from_str(&escaped).map_err(|_| ()))
    }

    fn items(&mut self, depth: usize) -> Read {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            match self.peek() {
                None => return Read::Cut(Some(Value::Array(out))),
                Some(b']') => {
                    self.at += 1;
                    return Read::Whole(Value::Array(out));
                }
                Some(b',') => self.at += 1,
                Some(_) => match self.value(depth + 1) {
                    Read::Whole(value) => out.push(value),
                    // Part of an item would look like a whole one.
                    Read::Cut(_) => return Read::Cut(Some(Value::Array(out))),
                    Read::Wrong => return Read::Wrong,
                },
            }
        }
    }

    fn fields(&mut self, depth: usize) -> Read {
        self.at += 1;
        let mut out = Map::new();
        loop {
            match self.peek() {
                None => return Read::Cut(Some(Value::Object(out))),
                Some(b'}') => {
                    self.at += 1;
                    return Read::Whole(Value::Object(out));
                }
                Some(b',') => self.at += 1,
                Some(b'"') => {
                    let key = match self.string() {
                        Some(Ok(key)) => key,
                        Some(Err(())) => return Read::Wrong,
                        None => return Read::Cut(Some(Value::Object(out))),
                    };
                    match self.peek() {
                        Some(b':') => self.at += 1,
                        None => return Read::Cut(Some(Value::Object(out))),
                        Some(_) => return Read::Wrong,
                    }
                    match self.value(depth + 1) {
                        Read::Whole(value) => {
                            out.insert(key, value);
                        }
                        Read::Cut(value) => {
                            out.extend(value.map(|value| (key, value)));
                            return Read::Cut(Some(Value::Object(out)));
                        }
                        Read::Wrong => return Read::Wrong,
                    }
                }
                Some(_) => return Read::Wrong,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn whole(text: &str) -> Value {
        let got = object(text).unwrap();
        assert!(!got.cut, "{text}");
        got.value
    }

    fn cut(text: &str) -> Value {
        let got = object(text).unwrap();
        assert!(got.cut, "{text}");
        got.value
    }

    #[test]
    fn objects_are_found_in_what_models_write() {
        let want = json!({"a": ["b", 1, null, true]});
        for text in [
            r#"{"a": ["b", 1, null, true]}"#,
            "```json\n{\"a\": [\"b\", 1, null, true]}\n```",
            "Sure! Here it is: {\"a\": [\"b\", 1, null, true,],} I hope this helps {x}.",
            "{x} {\"a\": [\"b\", 1, None, True]}",
            "The set {1, 2} is {\"a\": [\"b\", 1, null, true]}",
        ] {
            assert_eq!(whole(text), want, "{text}");
        }
        assert_eq!(whole("{\"a\": \"x\ny\"}"), json!({"a": "x\ny"}));
        assert_eq!(whole(r#"{"a": "é \u00e9 \" }"}"#), json!({"a": "é é \" }"}));
    }

    #[test]
    fn what_was_cut_keeps_what_is_complete() {
        assert_eq!(
            cut(r#"{"t": [["a", "b", "c"], ["d", "e"#),
            json!({"t": [["a", "b", "c"]]})
        );
        assert_eq!(
            cut(r#"{"t": [["a", "b", "c"], ["d", "e"],"#),
            json!({"t": [["a", "b", "c"], ["d", "e"]]})
        );
        assert_eq!(cut(r#"{"n": ["a", "b"#), json!({"n": ["a"]}));
        assert_eq!(cut(r#"{"n": 12"#), json!({}));
        assert_eq!(cut(r#"{"n": {"m": [1, 2"#), json!({"n": {"m": [1]}}));
        assert_eq!(cut("```json\n{"), json!({}));
    }

    #[test]
    fn what_is_no_object_is_none() {
        for text in [
            "",
            "no",
            "[1, 2]",
            "}{x",
            "{'a': 1}",
            "{\"a\" 1}",
            "{\"a\": maybe }",
        ] {
            assert_eq!(object(text), None, "{text}");
        }
        let deep = format!("{{\"a\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(object(&deep), None);
        let many = "{\"a\"".repeat(50_000);
        let start = std::time::Instant::now();
        object(&many);
        assert!(start.elapsed().as_secs() < 5);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[\\[\\]{}\",:a1 \\\\é\n]{0,60}") {
            object(&text);
        }

        /// Cut anywhere, an answer gives the items that were complete.
        #[test]
        fn complete_items_survive_any_cut(
            items in prop::collection::vec("[a-z\"\\\\é]{0,6}", 0..6),
            at in 0.0..1.0,
        ) {
            let text = json!({"items": items}).to_string();
            let mut end = (text.len() as f64 * at) as usize;
            while !text.is_char_boundary(end) {
                end += 1;
            }
            if let Some(Loose { value, .. }) = object(&text[..end]) {
                let got = value.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
                let got: Vec<&str> = got.iter().map(|v| v.as_str().unwrap()).collect();
                prop_assert!(items.iter().map(String::as_str).take(got.len()).eq(got));
            }
        }
    }
}
