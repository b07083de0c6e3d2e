//! A question as a client writes it.

use std::fmt;

use gfm_pipe_api::answer::{Ask, DEFAULT_DOCUMENTS, DEFAULT_PATHS, MAX_DOCUMENTS, MAX_PATHS};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};

use crate::config::Limits;
use crate::error::ApiError;

/// The body of `POST /ask`. Unknown and repeated keys are errors.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with a question")]
pub(crate) struct Wanted {
    pub question: String,
    pub k: Option<i64>,
    pub paths: Option<i64>,
    pub source: Option<String>,
    pub why_not: Option<Vec<String>>,
    pub answer: Option<bool>,
}

impl Wanted {
    /// The question, if its values are in range.
    pub fn check(self, limits: &Limits) -> Result<Ask, ApiError> {
        if self.question.trim().is_empty() {
            return Err(ApiError::bad("the question is empty").hint("write it in plain words"));
        }
        let why_not = self.why_not.unwrap_or_default();
        if why_not.len() > limits.why_not {
            let hint = format!("at most {} names are allowed", limits.why_not);
            return Err(ApiError::bad("why_not has too many names").hint(hint));
        }
        let texts = [("the question", &self.question)]
            .into_iter()
            .chain(self.source.iter().map(|source| ("source", source)))
            .chain(why_not.iter().map(|name| ("a name in why_not", name)));
        for (what, text) in texts {
            let most = limits.question_chars;
            // Bytes first: counting characters of a long text takes longer.
            if text.len() > most && text.chars().count() > most {
                let hint = format!("at most {most} characters are allowed");
                return Err(ApiError::bad(format!("{what} is too long")).hint(hint));
            }
        }
        Ok(Ask {
            k: number("k", self.k, DEFAULT_DOCUMENTS, 1, MAX_DOCUMENTS)?,
            paths: number("paths", self.paths, DEFAULT_PATHS, 0, MAX_PATHS)?,
            question: self.question,
            source: self.source,
            why_not,
            answer: self.answer.unwrap_or(false),
        })
    }
}

fn number(
    name: &str,
    value: Option<i64>,
    default: usize,
    least: usize,
    most: usize,
) -> Result<usize, ApiError> {
    let Some(value) = value else {
        return Ok(default);
    };
    let valid = usize::try_from(value)
        .ok()
        .filter(|value| (least..=most).contains(value));
    valid.ok_or_else(|| {
        let hint = format!("write a whole number from {least} to {most}");
        ApiError::bad(format!("{name} is {value}")).hint(hint)
    })
}

/// The body of `POST /ask/batch`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with questions")]
pub(crate) struct Several {
    pub questions: Vec<Item>,
}

/// A question of several: an object, or its text alone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Item(pub Wanted);

/// By hand, because an untagged enum reads objects into a map first and so loses what it says about
/// unknown and repeated keys.
impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a question as a text or an object")
            }

            fn visit_str<E>(self, text: &str) -> Result<Item, E> {
                let question = text.to_owned();
                Ok(Item(Wanted {
                    question,
                    k: None,
                    paths: None,
                    source: None,
                    why_not: None,
                    answer: None,
                }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Item, A::Error> {
                Wanted::deserialize(MapAccessDeserializer::new(map)).map(Item)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(json: &str) -> Result<Ask, String> {
        let wanted: Wanted = serde_json::from_str(json).map_err(|e| e.to_string())?;
        wanted.check(&Limits::default()).map_err(|e| e.message)
    }

    #[test]
    fn defaults_and_bounds() {
        assert_eq!(check(r#"{"question":"who?"}"#).unwrap(), Ask::new("who?"));
        let all = r#"{"question":"who?","k":1000,"paths":0,"source":"a/*","why_not":["b"],"answer":true}"#;
        let ask = check(all).unwrap();
        assert!(ask.answer);
        assert_eq!(
            (ask.k, ask.paths, ask.source.as_deref()),
            (1000, 0, Some("a/*"))
        );
        assert_eq!(check(r#"{"question":"a","k":0}"#).unwrap_err(), "k is 0");
        assert_eq!(check(r#"{"question":"a","k":-1}"#).unwrap_err(), "k is -1");
        assert_eq!(
            check(r#"{"question":"a","paths":11}"#).unwrap_err(),
            "paths is 11"
        );
        assert_eq!(
            check(r#"{"question":" \n"}"#).unwrap_err(),
            "the question is empty"
        );
        let long = format!(r#"{{"question":"{}"}}"#, "é".repeat(4000));
        assert!(check(&long).is_ok());
        let long = format!(r#"{{"question":"{}"}}"#, "é".repeat(4001));
        assert_eq!(check(&long).unwrap_err(), "the question is too long");
        let many = format!(
            r#"{{"question":"a","why_not":[{}""]}}"#,
            "\"\",".repeat(100)
        );
        assert_eq!(check(&many).unwrap_err(), "why_not has too many names");
    }

    #[test]
    fn keys_are_known_and_stand_once() {
        let e = check(r#"{"question":"a","top_k":3}"#).unwrap_err();
        assert!(e.contains("unknown field `top_k`"), "{e}");
        let e = check(r#"{"question":"a","question":"b"}"#).unwrap_err();
        assert!(e.contains("duplicate field `question`"), "{e}");
        let several = |json| serde_json::from_str::<Several>(json).map_err(|e| e.to_string());
        let both = several(r#"{"questions":["a",{"question":"b","k":2}]}"#).unwrap();
        let [first, second] = &both.questions[..] else {
            panic!("{both:?}")
        };
        assert_eq!((first.0.question.as_str(), first.0.k), ("a", None));
        assert_eq!((second.0.question.as_str(), second.0.k), ("b", Some(2)));
        let e = several(r#"{"questions":[{"question":"b","kk":2}]}"#).unwrap_err();
        assert!(e.contains("unknown field `kk`"), "{e}");
        let e = several(r#"{"questions":[3]}"#).unwrap_err();
        assert!(e.contains("a question as a text or an object"), "{e}");
    }
}
