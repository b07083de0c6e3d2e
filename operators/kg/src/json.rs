//! JSON with the order of its keys and with every repeated key, and errors that say where.
//!
//! `serde_json::Value` forgets that a key came twice; data sets made by scripts do contain that, and a title that silently
//! overwrites another is a lost document. [`unique`] gives Python's reading (first place, last value) and hands over what it
//! loses. Nothing here knows questions or documents.

use std::fs;
use std::path::Path;

use gfm_pipe_api::{OpError, OpResult};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::Number;

use crate::names::Names;

/// Longest single text, in bytes: far above any document, and it keeps text columns within their 32-bit offsets.
const MAX_TEXT: usize = 1 << 30;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// null
    Null,
    /// true, false
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object: every pair as written.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// What kind of value this is, for messages.
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

    /// A text as it is, anything else as compact JSON.
    pub fn shown(&self) -> String {
        match self {
            Json::Text(s) => s.clone(),
            // Values that were read can be written: no map has keys other than texts.
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

/// Reads a JSON file; `shown` is its path as the user wrote it.
///
/// # Errors
/// When it cannot be read or is no JSON, with line and column.
pub fn read(path: &Path, shown: &Path) -> OpResult<Json> {
    let bytes = fs::read(path).map_err(|e| {
        if e.kind() == std::io::ErrorKind::NotFound {
            OpError::new("there is no such file").file(shown)
        } else {
            OpError::wrap("failed to read", e).file(shown)
        }
    })?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    serde_json::from_slice(bytes).map_err(|e| syntax(&e, bytes).file(shown))
}

fn syntax(e: &serde_json::Error, bytes: &[u8]) -> OpError {
    let text = e.to_string();
    let place = format!(" at line {} column {}", e.line(), e.column());
    let message = text.strip_suffix(&place).unwrap_or(&text);
    // serde_json counts bytes; people and editors count characters.
    let line = bytes.split(|&b| b == b'\n').nth(e.line().saturating_sub(1));
    let before = line.map_or(&[][..], |l| &l[..e.column().min(l.len())]);
    let column = before.iter().filter(|&&b| b & 0xc0 != 0x80).count().max(1);
    OpError::new(format!("not valid JSON: {message}"))
        .line(e.line() as u64)
        .column(column as u64)
}

/// Pairs by distinct key, as Python reads an object: the place of the first, the value of the last. Values that are
/// overwritten go to `overwritten`.
///
/// # Errors
/// Whatever `overwritten` gives.
pub fn unique(
    pairs: Vec<(String, Json)>,
    mut overwritten: impl FnMut(&str, &Json) -> OpResult<()>,
) -> OpResult<Vec<(String, Json)>> {
    let mut seen = Names::new(u32::MAX);
    let mut out: Vec<(String, Json)> = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        let at = seen
            .intern(&key)
            .ok_or_else(|| OpError::new("more than 4294967295 distinct keys"))?
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
    use std::io::Write;

    fn read_text(text: &[u8]) -> OpResult<Json> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        read(file.path(), Path::new("raw/x.json"))
    }

    #[test]
    fn order_and_repeated_keys_survive() {
        let json = read_text(br#"{"b": 1, "a": [true, null, -2, 0.5], "b": {"c": "x"}}"#).unwrap();
        assert_eq!(
            json.shown(),
            r#"{"b":1,"a":[true,null,-2,0.5],"b":{"c":"x"}}"#
        );
        let Json::Object(pairs) = json else {
            panic!("an object was read as {}", json.what())
        };
        let mut lost = Vec::new();
        let pairs = unique(pairs, |k, v| {
            lost.push((k.to_owned(), v.shown()));
            Ok(())
        })
        .unwrap();
        assert_eq!(lost, [("b".to_owned(), "1".to_owned())]);
        let keys: Vec<&str> = pairs.iter().map(|p| p.0.as_str()).collect();
        assert_eq!(keys, ["b", "a"]);
        assert_eq!(pairs[0].1.shown(), r#"{"c":"x"}"#);
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
    fn a_byte_order_mark_is_no_error() {
        assert_eq!(read_text(b"\xef\xbb\xbf[]").unwrap(), Json::List(vec![]));
    }
}
