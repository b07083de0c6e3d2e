//! Attributes as GFM-RAG 2.0 keeps them in a cell of a CSV file: a Python literal, as `str` writes
//! a dictionary, or JSON.
//!
//! One parser reads both: JSON's objects, lists, texts and numbers are Python literals, and `true`,
//! `false` and `null` are read as `True`, `False` and `None`. Nothing is evaluated.

use std::fmt::Write;

use ahash::AHashMap;
use unicode_normalization::char::is_combining_mark;

/// Deepest nesting of values.
const MAX_DEPTH: usize = 64;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `None`, `null`.
    None,
    /// `True`, `false`.
    Bool(bool),
    /// A whole number of any size, as Python writes it.
    Int(String),
    /// A floating-point number.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// A tuple.
    Tuple(Vec<Value>),
    /// A dictionary: each key once, with its last value, at its first place.
    Dict(Vec<(Value, Value)>),
}

/// Reads the attributes of a cell: names with values, in order. An empty cell has none, nor have
/// `None` and `[]`.
///
/// # Errors
/// Why the cell has no attributes that can be read: a message without the place.
pub fn attributes(cell: &str) -> Result<Vec<(String, Value)>, String> {
    let text = cell.trim();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0)?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.unexpected("the end"));
    }
    match value {
        Value::None => Ok(Vec::new()),
        Value::List(items) if items.is_empty() => Ok(Vec::new()),
        Value::Dict(pairs) => Ok(pairs.into_iter().map(|(k, v)| (k.shown(), v)).collect()),
        other => Err(format!("{} instead of names with values", other.what())),
    }
}

impl Value {
    fn what(&self) -> &'static str {
        match self {
            Value::None => "nothing",
            Value::Bool(_) => "a truth value",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Tuple(_) => "a tuple",
            Value::Dict(_) => "a dictionary",
        }
    }

    /// The value as Python's `str` writes it: a text without quotes.
    pub fn shown(&self) -> String {
        match self {
            Value::Text(text) => text.clone(),
            other => {
                let mut out = String::new();
                other.represent(&mut out);
                out
            }
        }
    }

    /// The value as Python's `repr` writes it.
    fn represent(&self, out: &mut String) {
        let list = |out: &mut String, items: &[Value]| {
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                item.represent(out);
            }
        };
        match self {
            Value::None => out.push_str("None"),
            Value::Bool(true) => out.push_str("True"),
            Value::Bool(false) => out.push_str("False"),
            Value::Int(digits) => out.push_str(digits),
            Value::Float(x) => float(out, *x),
            Value::Text(text) => quoted(out, text),
            Value::List(items) => {
                out.push('[');
                list(out, items);
                out.push(']');
            }
            Value::Tuple(items) => {
                out.push('(');
                list(out, items);
                out.push_str(if items.len() == 1 { ",)" } else { ")" });
            }
            Value::Dict(pairs) => {
                out.push('{');
                for (i, (key, value)) in pairs.iter().enumerate() {
                    if i > 0 {
                        out.push_str(", ");
                    }
                    key.represent(out);
                    out.push_str(": ");
                    value.represent(out);
                }
                out.push('}');
            }
        }
    }
}

/// A float as Python writes it: the shortest digits that give it back, with an exponent from 1e16
/// and below 1e-4.
fn float(out: &mut String, x: f64) {
    if !x.is_finite() {
        out.push_str(if x.is_nan() {
            "nan"
        } else if x > 0.0 {
            "inf"
        } else {
            "-inf"
        });
        return;
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Writing to a text does not fail.
    let _ = if (-4..16).contains(&exponent) {
        let point = if x == x.trunc() { ".0" } else { "" };
        write!(out, "{x}{point}")
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "{digits}e{sign}{:02}", exponent.abs())
    };
}

/// A text in quotes, with escapes, as Python writes it.
fn quoted(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in text.chars() {
        let _ = match c {
            '\\' => out.write_str("\\\\"),
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            c if c == quote => write!(out, "\\{c}"),
            c if printable(c) => out.write_char(c),
            c if (c as u32) < 0x100 => write!(out, "\\x{:02x}", c as u32),
            c if (c as u32) < 0x1_0000 => write!(out, "\\u{:04x}", c as u32),
            c => write!(out, "\\U{:08x}", c as u32),
        };
    }
    out.push(quote);
}

/// Whether Python shows a character as it is.
fn printable(c: char) -> bool {
    let escaped = c.escape_debug().len() > 1 && !"\\'\"".contains(c);
    let space = c.is_whitespace() && c != ' ';
    !space && (!escaped || is_combining_mark(c))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn take(&mut self, c: char) -> bool {
        let there = self.peek() == Some(c);
        if there {
            self.at += c.len_utf8();
        }
        there
    }

    fn unexpected(&self, expected: &str) -> String {
        let character = self.text[..self.at].chars().count() + 1;
        match self.peek() {
            Some(c) => format!("expected {expected} at character {character}, found {c:?}"),
            None => format!("expected {expected}, but the attributes end"),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err(format!("values are nested more than {MAX_DEPTH} deep"));
        }
        self.space();
        match self.peek() {
            Some('{') => self.dict(depth),
            Some('[') => Ok(Value::List(self.items('[', ']', depth)?.0)),
            Some('(') => {
                let (mut items, comma) = self.items('(', ')', depth)?;
                Ok(match items.pop() {
                    // Brackets around a value, not a tuple.
                    Some(one) if items.is_empty() && !comma => one,
                    last => {
                        items.extend(last);
                        Value::Tuple(items)
                    }
                })
            }
            Some('\'' | '"') => self.string().map(Value::Text),
            Some(c) if c == '-' || c == '+' || c == '.' || c.is_ascii_digit() => self.number(),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<Value, String> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        let word = &rest[..end.unwrap_or(rest.len())];
        let value = match word {
            "None" | "null" => Value::None,
            "True" | "true" => Value::Bool(true),
            "False" | "false" => Value::Bool(false),
            _ => return Err(self.unexpected("a value")),
        };
        self.at += word.len();
        Ok(value)
    }

    /// Items between brackets, and whether a comma follows the last one.
    fn items(
        &mut self,
        open: char,
        close: char,
        depth: usize,
    ) -> Result<(Vec<Value>, bool), String> {
        self.take(open);
        let (mut items, mut comma) = (Vec::new(), false);
        loop {
            self.space();
            if self.take(close) {
                return Ok((items, comma));
            }
            if !items.is_empty() && !comma {
                return Err(self.unexpected(&format!("`,` or `{close}`")));
            }
            items.push(self.value(depth + 1)?);
            self.space();
            comma = self.take(',');
        }
    }

    fn dict(&mut self, depth: usize) -> Result<Value, String> {
        self.take('{');
        let (mut pairs, mut comma) = (Vec::<(Value, Value)>::new(), true);
        let mut places: AHashMap<String, usize> = AHashMap::new();
        loop {
            self.space();
            if self.take('}') {
                return Ok(Value::Dict(pairs));
            }
            if !comma {
                return Err(self.unexpected("`,` or `}`"));
            }
            let key = self.value(depth + 1)?;
            if matches!(key, Value::List(_) | Value::Dict(_)) {
                return Err(format!("{} cannot be a name", key.what()));
            }
            self.space();
            if !self.take(':') {
                return Err(self.unexpected("`:`"));
            }
            let value = self.value(depth + 1)?;
            let mut written = String::new();
            key.represent(&mut written);
            match places.get(&written) {
                Some(place) => pairs[*place].1 = value,
                None => {
                    places.insert(written, pairs.len());
                    pairs.push((key, value));
                }
            }
            self.space();
            comma = self.take(',');
        }
    }

    fn number(&mut self) -> Result<Value, String> {
        let rest = self.rest();
        let more = |(i, c): (usize, char)| {
            let sign = matches!(c, '-' | '+') && (i == 0 || rest[..i].ends_with(['e', 'E']));
            !(c.is_ascii_alphanumeric() || c == '.' || c == '_' || sign)
        };
        let end = rest.char_indices().find(|at| more(*at));
        let written = &rest[..end.map_or(rest.len(), |(at, _)| at)];
        let wrong = || Err(self.unexpected("a number"));
        let plain = written.replace('_', "");
        let (sign, digits) = match plain.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", plain.strip_prefix('+').unwrap_or(&plain)),
        };
        let value = if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            let significant = digits.trim_start_matches('0');
            if significant.is_empty() {
                Value::Int("0".to_owned())
            } else if significant.len() == digits.len() {
                Value::Int(format!("{sign}{digits}"))
            } else {
                return wrong();
            }
        } else {
            let known = |c: char| c.is_ascii_digit() || ".eE+-".contains(c);
            match plain.parse::<f64>() {
                Ok(x) if plain.chars().all(known) => Value::Float(x),
                _ => return wrong(),
            }
        };
        self.at += written.len();
        Ok(value)
    }

    fn string(&mut self) -> Result<String, String> {
        let Some(quote) = self.peek() else {
            return Err(self.unexpected("a text"));
        };
        self.at += 1;
        let mut out = String::new();
        loop {
            let Some(c) = self.peek() else {
                return Err("a quote is not closed".to_owned());
            };
            self.at += c.len_utf8();
            match c {
                c if c == quote => return Ok(out),
                '\\' => self.escape(&mut out)?,
                c => out.push(c),
            }
        }
    }

    /// What follows a backslash. As in Python, unknown escapes keep it.
    fn escape(&mut self, out: &mut String) -> Result<(), String> {
        let Some(c) = self.peek() else {
            return Err("a quote is not closed".to_owned());
        };
        self.at += c.len_utf8();
        match c {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(c),
            'a' => out.push('\x07'),
            'b' => out.push('\x08'),
            'f' => out.push('\x0c'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\x0b'),
            'x' => {
                let code = self.hex(2)?;
                self.push(code, out)?;
            }
            'u' => {
                let mut code = self.hex(4)?;
                // JSON writes a character above U+FFFF as two.
                if (0xd800..0xdc00).contains(&code) && self.rest().starts_with("\\u") {
                    self.at += 2;
                    let low = self.hex(4)?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return Err("half of a surrogate pair is missing".to_owned());
                    }
                    code = 0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                }
                self.push(code, out)?;
            }
            'U' => {
                let code = self.hex(8)?;
                self.push(code, out)?;
            }
            '0'..='7' => {
                let start = self.at - 1;
                while self.at < start + 3 && matches!(self.peek(), Some('0'..='7')) {
                    self.at += 1;
                }
                let code = u32::from_str_radix(&self.text[start..self.at], 8);
                self.push(code.unwrap_or(0), out)?;
            }
            other => {
                out.push('\\');
                out.push(other);
            }
        }
        Ok(())
    }

    fn push(&self, code: u32, out: &mut String) -> Result<(), String> {
        let c = char::from_u32(code);
        out.push(c.ok_or_else(|| format!("U+{code:04X} is no character"))?);
        Ok(())
    }

    fn hex(&mut self, digits: usize) -> Result<u32, String> {
        let end = self.at + digits;
        let code = self.text.get(self.at..end);
        let code = code.filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = code.and_then(|text| u32::from_str_radix(text, 16).ok());
        let code = code.ok_or_else(|| format!("an escape needs {digits} hexadecimal digits"))?;
        self.at = end;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(cell: &str) -> Vec<String> {
        let pairs = attributes(cell).unwrap_or_else(|e| panic!("{cell}: {e}"));
        let lines = pairs.into_iter().map(|(k, v)| format!("{k}={}", v.shown()));
        lines.collect()
    }

    #[test]
    fn literals_of_python_and_json_are_read_and_written_as_python_does() {
        for (cell, want) in [
            ("", &[][..]),
            ("  ", &[]),
            ("{}", &[]),
            ("None", &[]),
            ("[]", &[]),
            (
                "{'a': True, 'b': 0.1, 'c': [1, 'two'], 'd': {'k': None}, 'e': 1e+20}",
                &[
                    "a=True",
                    "b=0.1",
                    "c=[1, 'two']",
                    "d={'k': None}",
                    "e=1e+20",
                ],
            ),
            (
                r#"{"a": true, "b": null, "c": [false, "x"], "d": "é\ud83d\ude00"}"#,
                &["a=True", "b=None", "c=[False, 'x']", "d=é😀"],
            ),
            ("{'a': 1, 'b': 2, 'a': 3,}", &["a=3", "b=2"]),
            (
                "{1: (1,), 'x': (), 'y': (2), 'z': ('a', 'b')}",
                &["1=(1,)", "x=()", "y=2", "z=('a', 'b')"],
            ),
            (r"{'a': 'it\'s \x41\n\101\q'}", &["a=it's A\nA\\q"]),
            (
                r#"{'a': ["it's", 'say "hi"', 'both \' "', 'tab\t', '\u200b\xa0é']}"#,
                &[r#"a=["it's", 'say "hi"', 'both \' "', 'tab\t', '\u200b\xa0é']"#],
            ),
            (
                "{'a': [1e15, 1e16, 1e-4, 1e-5, 1.5e300, -0.0, 12345678901234567890, -7, 1_000, 00]}",
                &[
                    "a=[1000000000000000.0, 1e+16, 0.0001, 1e-05, 1.5e+300, -0.0, \
                   12345678901234567890, -7, 1000, 0]",
                ],
            ),
        ] {
            assert_eq!(shown(cell), want, "{cell}");
        }
    }

    #[test]
    fn what_is_not_a_dictionary_is_refused_with_a_reason() {
        for (cell, want) in [
            ("[1]", "a list instead of names with values"),
            ("5", "a number instead"),
            ("{'a': 1", "`,` or `}`, but the attributes end"),
            ("{'a' 1}", "expected `:` at character 6, found '1'"),
            ("{'a': x}", "expected a value at character 7, found 'x'"),
            ("{'a': 007}", "expected a number"),
            ("{'a': 'b}", "a quote is not closed"),
            ("{[1]: 2}", "a list cannot be a name"),
            ("{'a': '\\ud800'}", "U+D800 is no character"),
            ("{'a': '\\xz1'}", "2 hexadecimal digits"),
            ("{'a': 1} x", "expected the end at character 10"),
            ("{'a': __import__('os')}", "expected a value"),
        ] {
            let error = attributes(cell).expect_err(cell);
            assert!(error.contains(want), "{cell}: {error}");
        }
        let many: Vec<String> = (0..200_000).map(|i| format!("'{i}': {i}")).collect();
        assert_eq!(shown(&format!("{{{}}}", many.join(", "))).len(), 200_000);
        let deep = "[".repeat(100_000);
        assert!(attributes(&deep).expect_err("deep").contains("deep"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}", broken in r#"[\[\]{}()'"\\,:xu0-9a-eE.+-]{0,30}"#) {
            let _ = (attributes(&text), attributes(&broken));
        }

        #[test]
        fn what_is_written_is_read_again(texts in proptest::collection::vec(any::<String>(), 0..5), x in any::<f64>()) {
            let x = if x.is_finite() { x } else { 0.5 };
            let mut items: Vec<Value> = texts.into_iter().map(Value::Text).collect();
            items.push(Value::Float(x));
            let value = Value::Dict(vec![(Value::Text("k".to_owned()), Value::List(items.clone()))]);
            let read = attributes(&value.shown());
            prop_assert_eq!(read, Ok(vec![("k".to_owned(), Value::List(items))]));
        }
    }
}
