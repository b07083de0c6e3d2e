//! JSON with the order of its keys and with every repeated key, and errors with a place.
//!
//! `serde_json::Value` forgets that a key occurred twice. Data sets made by scripts do contain
//! that, and a title that silently overwrites another is a lost document. [`unique`] reads an
//! object as Python does (first place, last value) and reports the values it drops. The parser does
//! not report the lines where the items of a list, or the keys of an object, begin; they are found
//! in the text.

use std::path::Path;

use gfm_pipe_api::{OpError, OpResult, encoding, files};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::Number;

use crate::names::Names;

/// Longest single text, in bytes: far above any document, and it keeps text columns within their
/// 32-bit offsets.
const MAX_TEXT: usize = 1 << 30;

/// A JSON value, with every pair of an object in file order.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// null
    Null,
    /// true, false
    Bool(bool),
    /// A number, as written.
    Number(Number),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object: every pair as written.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The kind of value, for messages.
    pub fn what(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::Text(_) => "a text",
            Json::List(_) => "a list",
            Json::Object(_) => "an object",
        }
    }

    /// A text without quotes, or anything else as compact JSON.
    pub fn shown(&self) -> String {
        match self {
            Json::Text(s) => s.clone(),
            // Values that were read can be written, because all keys are texts.
            other => serde_json::to_string(other).unwrap_or_default(),
        }
    }
}

struct JsonVisitor;

fn text<E: serde::de::Error>(s: String) -> Result<String, E> {
    if s.len() > MAX_TEXT {
        return Err(E::custom(format!(
            "a text of {} bytes is longer than the {MAX_TEXT} that are supported",
            s.len()
        )));
    }
    Ok(s)
}

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Json, E> {
        Ok(Json::Bool(v))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Json, E> {
        Ok(Json::Number(v.into()))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Json, E> {
        Ok(Json::Number(v.into()))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Json, E> {
        Ok(Number::from_f64(v).map_or(Json::Null, Json::Number))
    }
    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Json, E> {
        self.visit_string(v.to_owned())
    }
    fn visit_string<E: serde::de::Error>(self, v: String) -> Result<Json, E> {
        Ok(Json::Text(text(v)?))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut pairs = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            pairs.push((text::<A::Error>(key)?, map.next_value()?));
        }
        Ok(Json::Object(pairs))
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(v) => serializer.serialize_bool(*v),
            Json::Number(v) => v.serialize(serializer),
            Json::Text(v) => serializer.serialize_str(v),
            Json::List(v) => serializer.collect_seq(v),
            Json::Object(v) => serializer.collect_map(v.iter().map(|(k, v)| (k, v))),
        }
    }
}

/// A value with the line where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// The value.
    pub json: Json,
    /// One-based line where the item begins: in an object, its key.
    pub line: u64,
}

/// The content of a JSON file.
#[derive(Debug, PartialEq)]
pub enum Document {
    /// A list.
    List(Vec<Placed>),
    /// An object: every pair as written.
    Object(Vec<(String, Placed)>),
    /// Several values one after another, the first of them an object: JSON Lines.
    Lines(Vec<Placed>),
    /// Anything else.
    Other(Json),
}

impl Document {
    /// The kind of document, for messages.
    pub fn what(&self) -> &'static str {
        match self {
            Document::List(_) => "a list",
            Document::Object(_) => "an object",
            Document::Lines(_) => "several values one after another (JSON Lines)",
            Document::Other(json) => json.what(),
        }
    }
}

/// Reads a JSON file; `shown` is its path as the user wrote it.
///
/// # Errors
/// When it cannot be read or is not JSON, with line and column.
pub fn read(path: &Path, shown: &Path) -> OpResult<Document> {
    let bytes = files::read(path).map_err(|e| {
        if e.kind() == std::io::ErrorKind::NotFound {
            OpError::new("there is no such file").file(shown)
        } else {
            OpError::wrap("failed to read", e).file(shown)
        }
    })?;
    if let Some(error) = encoding::check(&bytes) {
        return Err(error.file(shown));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let read = match serde_json::from_slice(bytes) {
        Ok(json) => Ok(placed(json, &starts(bytes))),
        Err(e) if goes_on(&e) && bytes.trim_ascii_start().starts_with(b"{") => sequence(bytes),
        Err(e) => Err(e),
    };
    read.map_err(|e| syntax(&e, bytes).file(shown))
}

/// Whether a value was read to its end and more text follows. The parser reports this only in its
/// message.
fn goes_on(e: &serde_json::Error) -> bool {
    e.to_string().starts_with("trailing characters")
}

/// Values one after another, each with the line where it begins.
fn sequence(bytes: &[u8]) -> serde_json::Result<Document> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<Json>();
    let mut items = Vec::new();
    let (mut line, mut counted) = (1, 0);
    loop {
        let rest = &bytes[values.byte_offset()..];
        let start = bytes.len() - rest.trim_ascii_start().len();
        line += bytes[counted..start]
            .iter()
            .filter(|b| **b == b'\n')
            .count() as u64;
        counted = start;
        match values.next() {
            Some(json) => items.push(Placed { json: json?, line }),
            None => return Ok(Document::Lines(items)),
        }
    }
}

fn placed(json: Json, starts: &[u64]) -> Document {
    let lines = starts.iter().copied();
    match json {
        Json::List(items) => Document::List(
            items
                .into_iter()
                .zip(lines)
                .map(|(json, line)| Placed { json, line })
                .collect(),
        ),
        Json::Object(pairs) => Document::Object(
            pairs
                .into_iter()
                .zip(lines)
                .map(|((key, json), line)| (key, Placed { json, line }))
                .collect(),
        ),
        other => Document::Other(other),
    }
}

/// One-based lines where the members of the outermost list or object begin, in valid JSON. A line
/// ends with LF, as in the parser's errors.
fn starts(bytes: &[u8]) -> Vec<u64> {
    let mut lines = Vec::new();
    let mut line = 1;
    let (mut depth, mut quoted, mut escaped) = (0u32, false, false);
    // Whether the next token at depth 1 begins a member.
    let mut fresh = false;
    for &b in bytes {
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
            b'\n' => line += 1,
            b' ' | b'\t' | b'\r' => {}
            b',' => fresh = depth == 1,
            b']' | b'}' => {
                depth -= 1;
                fresh = false;
            }
            _ => {
                if fresh {
                    lines.push(line);
                    fresh = false;
                }
                match b {
                    b'[' | b'{' => {
                        depth += 1;
                        fresh = depth == 1;
                    }
                    b'"' => quoted = true,
                    _ => {}
                }
            }
        }
    }
    lines
}

fn syntax(e: &serde_json::Error, bytes: &[u8]) -> OpError {
    let text = e.to_string();
    let place = format!(" at line {} column {}", e.line(), e.column());
    let message = text.strip_suffix(&place).unwrap_or(&text);
    // serde_json counts bytes; people and editors count characters.
    let line = bytes.split(|&b| b == b'\n').nth(e.line().saturating_sub(1));
    let before = line.map_or(&[][..], |l| &l[..e.column().min(l.len())]);
    let column = before.iter().filter(|&&b| b & 0xc0 != 0x80).count().max(1);
    OpError::data(format!("not valid JSON: {message}"))
        .line(e.line() as u64)
        .column(column as u64)
}

/// Pairs by distinct key, as Python reads an object: the place of the first, the value of the last.
/// Calls `overwritten` with every value that is dropped.
///
/// # Errors
/// The errors of `overwritten`.
pub fn unique<V>(
    pairs: Vec<(String, V)>,
    mut overwritten: impl FnMut(&str, &V) -> OpResult<()>,
) -> OpResult<Vec<(String, V)>> {
    let mut seen = Names::new(u32::MAX);
    let mut out: Vec<(String, V)> = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        let at = seen
            .intern(&key)
            .ok_or_else(|| OpError::data("more than 4294967295 distinct keys"))?
            as usize;
        match out.get_mut(at) {
            Some((_, earlier)) => {
                overwritten(&key, earlier)?;
                *earlier = value;
            }
            None => out.push((key, value)),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn read_text(text: &[u8]) -> OpResult<Document> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        read(file.path(), Path::new("raw/x.json"))
    }

    #[test]
    fn order_and_repeated_keys_survive() {
        let text = r#"{"b":1,"a":[true,null,-2,0.5],"b":{"c":"x"}}"#;
        let json: Json = serde_json::from_str(text).unwrap();
        assert_eq!(json.shown(), text);
        let Document::Object(pairs) =
            read_text(b"{\"b\": 1,\n\"a\": [true, null, -2, 0.5], \"b\":\n{\"c\": \"x\"}}")
                .unwrap()
        else {
            panic!("an object was not read as one")
        };
        let mut lost = Vec::new();
        let pairs = unique(pairs, |k, v| {
            lost.push((k.to_owned(), v.json.shown(), v.line));
            Ok(())
        })
        .unwrap();
        assert_eq!(lost, [("b".to_owned(), "1".to_owned(), 1)]);
        let keys: Vec<(&str, u64)> = pairs.iter().map(|p| (p.0.as_str(), p.1.line)).collect();
        assert_eq!(keys, [("b", 2), ("a", 2)]);
        assert_eq!(pairs[0].1.json.shown(), r#"{"c":"x"}"#);
    }

    #[test]
    fn other_documents_have_no_members() {
        for (text, what) in [("7", "a number"), ("\"[1,\"", "a text"), ("null", "null")] {
            let read = read_text(text.as_bytes()).unwrap();
            assert_eq!(read.what(), what);
            assert!(matches!(read, Document::Other(_)));
            assert_eq!(starts(text.as_bytes()), [0u64; 0], "{text}");
        }
        assert_eq!(read_text(b" [ ]").unwrap(), Document::List(vec![]));
        assert_eq!(read_text(b"{\n}").unwrap(), Document::Object(vec![]));
    }

    /// A value as text that may hold whatever the scanner looks at, over several lines.
    fn value() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("-1.5e3".to_owned()),
            r#"([a,:{}\[\]é]|\\\\|\\"|\\n){0,6}"#.prop_map(|s| format!("\"{s}\"")),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            let space = prop::sample::select(vec!["", " ", "\n", "\r\n \n"]);
            let many = prop::collection::vec((inner, space), 0..3);
            (many, any::<bool>()).prop_map(|(many, list)| {
                let members = many.iter().map(|(value, space)| {
                    let key = if list { "" } else { "\"k,\"\n:" };
                    format!("{space}{key}{space}{value}{space}")
                });
                let members: Vec<String> = members.collect();
                if list {
                    format!("[{}]", members.join(","))
                } else {
                    format!("{{{}}}", members.join(","))
                }
            })
        })
    }

    proptest! {
        #[test]
        fn members_begin_where_they_were_put(
            members in prop::collection::vec((value(), prop::sample::select(vec!["", "\n", " \n\n\t"])), 0..6),
            list in any::<bool>(),
        ) {
            let mut text = String::from("\n");
            let mut lines = Vec::new();
            text.push(if list { '[' } else { '{' });
            for (i, (value, space)) in members.iter().enumerate() {
                text.push_str(if i > 0 { "," } else { "" });
                text.push_str(space);
                lines.push(1 + text.matches('\n').count() as u64);
                text.push_str(if list { "" } else { "\"a\\\"b\"\n :" });
                text.push_str(value);
                text.push_str(space);
            }
            text.push(if list { ']' } else { '}' });
            prop_assert_eq!(&starts(text.as_bytes()), &lines, "{}", text);
            let got: Vec<u64> = match read_text(text.as_bytes()).unwrap() {
                Document::List(items) => items.iter().map(|i| i.line).collect(),
                Document::Object(pairs) => pairs.iter().map(|p| p.1.line).collect(),
                other => panic!("read as {}", other.what()),
            };
            prop_assert_eq!(got, lines);
        }
    }

    #[test]
    fn errors_say_where_in_characters() {
        let e = read_text("{\"a\": \"é\",\n \"é\" 1}".as_bytes()).unwrap_err();
        assert_eq!(
            e.to_string(),
            "raw/x.json:2:6: not valid JSON: expected `:`"
        );
        let e = read_text(b"").unwrap_err();
        assert_eq!(
            e.to_string(),
            "raw/x.json:1:1: not valid JSON: EOF while parsing a value"
        );
        let e = read_text(b"[\"\xff\"]").unwrap_err().to_string();
        assert!(e.starts_with("raw/x.json:1:"), "{e}");
        let e = read_text(&b"[".repeat(100_000)).unwrap_err().to_string();
        assert!(e.contains("recursion limit"), "{e}");
    }

    #[test]
    fn objects_one_after_another_are_read_with_their_lines() {
        let read =
            read_text(b"\xef\xbb\xbf\n{\"a\": 1}\r\n\n {\"b\":\n 2} {\"c\": 3}\n7\n\n").unwrap();
        let Document::Lines(items) = read else {
            panic!("read as {}", read.what())
        };
        let got: Vec<(String, u64)> = items.iter().map(|i| (i.json.shown(), i.line)).collect();
        let want = [
            ("{\"a\":1}", 2),
            ("{\"b\":2}", 4),
            ("{\"c\":3}", 5),
            ("7", 6),
        ];
        assert_eq!(got, want.map(|(text, line)| (text.to_owned(), line)));
        for (text, message) in [
            (
                "{\"a\": 1}\n{\"b\" 2}\n",
                "raw/x.json:2:6: not valid JSON: expected `:`",
            ),
            (
                "{\"a\": 1}\n{\"b\":",
                "raw/x.json:2:5: not valid JSON: EOF while parsing a value",
            ),
            // Only objects make JSON Lines: a list with something behind it is a mistake.
            (
                "[1]\n[2]",
                "raw/x.json:2:1: not valid JSON: trailing characters",
            ),
            (
                "{\"a\": 1},\n{}",
                "raw/x.json:1:9: not valid JSON: expected value",
            ),
        ] {
            assert_eq!(read_text(text.as_bytes()).unwrap_err().to_string(), message);
        }
        let deep = [b"{}\n".to_vec(), b"[".repeat(100_000)].concat();
        let e = read_text(&deep).unwrap_err().to_string();
        assert!(e.contains("recursion limit"), "{e}");
    }

    #[test]
    fn another_encoding_is_named() {
        let text: Vec<u8> = "[{\"id\": 1}]"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let e = read_text(&text).unwrap_err();
        assert_eq!(
            e.to_string(),
            "raw/x.json: the file is UTF-16 (little-endian), not UTF-8"
        );
        assert!(e.advice().unwrap().contains("iconv -f UTF-16LE"), "{e:?}");
    }

    #[test]
    fn a_byte_order_mark_is_no_error() {
        assert_eq!(
            read_text(b"\xef\xbb\xbf[]").unwrap(),
            Document::List(vec![])
        );
    }
}
