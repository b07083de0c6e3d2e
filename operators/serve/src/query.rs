//! What stands behind the question mark of an address, and escapes in addresses. Nothing is
//! guessed: an unknown or repeated name and a broken escape are errors.

use gfm_pipe_api::answer::MAX_DOCUMENTS;
use percent_encoding::percent_decode_str;

use crate::error::ApiError;

/// The values of an address, by name.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the text behind the question mark.
    pub fn parse(text: Option<&str>, known: &[&str]) -> Result<Self, ApiError> {
        let mut values: Vec<(String, String)> = Vec::new();
        for part in text
            .unwrap_or_default()
            .split('&')
            .filter(|part| !part.is_empty())
        {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (
                decode(&name.replace('+', " "))?,
                decode(&value.replace('+', " "))?,
            );
            if !known.contains(&name.as_str()) {
                let name: String = name.chars().take(100).collect();
                let hint = format!("known are: {}", known.join(", "));
                return Err(ApiError::bad(format!("unknown parameter {name}")).hint(hint));
            }
            if values.iter().any(|(other, _)| *other == name) {
                let hint = "write each parameter once";
                return Err(ApiError::bad(format!("{name} stands twice")).hint(hint));
            }
            values.push((name, value));
        }
        Ok(Query(values))
    }

    /// A value; empty where it is not there.
    pub fn text(&self, name: &str, most_chars: usize) -> Result<&str, ApiError> {
        let value = self.find(name).unwrap_or_default();
        if value.chars().count() > most_chars {
            let hint = format!("at most {most_chars} characters are allowed");
            return Err(ApiError::bad(format!("{name} is too long")).hint(hint));
        }
        Ok(value)
    }

    /// The number `limit`, from 1 to [`MAX_DOCUMENTS`].
    pub fn limit(&self, default: usize) -> Result<usize, ApiError> {
        let Some(value) = self.find("limit") else {
            return Ok(default);
        };
        let number = digits(value).and_then(|value| value.parse().ok());
        number
            .filter(|limit| (1..=MAX_DOCUMENTS).contains(limit))
            .ok_or_else(|| {
                ApiError::bad("limit is not a number in range")
                    .hint(format!("write a whole number from 1 to {MAX_DOCUMENTS}"))
            })
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The number of a document or node.
pub(crate) fn number(text: &str) -> Result<u32, ApiError> {
    digits(text)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            ApiError::bad("the address does not end with a number in range")
                .hint(format!("write a whole number from 0 to {}", u32::MAX))
        })
}

/// The text where it is digits alone: parsers of numbers also take a sign.
fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}

/// Replaces escapes such as `%20`.
pub(crate) fn decode(text: &str) -> Result<String, ApiError> {
    let bytes = text.as_bytes();
    let whole = |at: usize| {
        let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
        hex(at + 1) && hex(at + 2)
    };
    let broken = (0..bytes.len()).any(|at| bytes[at] == b'%' && !whole(at));
    let decoded = percent_decode_str(text).decode_utf8();
    match decoded {
        Ok(decoded) if !broken => Ok(decoded.into_owned()),
        _ => Err(
            ApiError::bad("the address has an escape that is not valid UTF-8")
                .hint("escape each byte of UTF-8 as % and two hexadecimal digits"),
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_decoded_and_nothing_is_guessed() {
        let parse = |text: &str| Query::parse(Some(text), &["title", "limit"]);
        let query = parse("title=caf%C3%A9+noir&limit=3").unwrap();
        assert_eq!(query.text("title", 20).unwrap(), "café noir");
        assert_eq!(query.limit(10).unwrap(), 3);
        assert!(query.text("title", 3).is_err());
        assert_eq!(Query::parse(None, &[]).unwrap().limit(10).unwrap(), 10);
        for wrong in [
            "titel=x",
            "title=a&title=b",
            "title=%",
            "title=%4",
            "title=%zz",
            "title=%ff",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for wrong in [
            "0",
            "-1",
            "+1",
            "1001",
            "99999999999999999999",
            "",
            "1.5",
            "١",
        ] {
            let query = parse(&format!("limit={wrong}")).unwrap();
            assert!(query.limit(10).is_err(), "{wrong}");
            assert!(
                wrong == "0" || wrong == "1001" || number(wrong).is_err(),
                "{wrong}"
            );
        }
        assert_eq!(number("4294967295").unwrap(), u32::MAX);
    }
}
