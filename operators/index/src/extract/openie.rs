//! `by: file`: facts that another program extracted, in the files of GFM-RAG and HippoRAG.
//!
//! A record is matched with a document by its title, else by its passage ("title\ntext", or the
//! text alone). A fact is a list of three texts; anything else is rejected, one by one.

use std::ops::Range;

use ahash::AHashMap;
use gfm_pipe_api::{Artifact, OpResult, columns};
use gfm_pipe_kg::json::Json;

use super::{Extracted, Fact, Mention, Part, sentences::sentences};
use crate::formats::rows::Row;

/// The entities and facts that a file has for a document.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct OpenIeRecord {
    /// Entities, as written.
    pub entities: Vec<String>,
    /// Facts of three parts, as written.
    pub facts: Vec<[String; 3]>,
}

/// Finds the document of a record.
#[derive(Default)]
pub struct Corpus {
    /// Documents by title: several, where they are pieces of one.
    titles: AHashMap<String, Vec<u32>>,
    /// Documents by the digest of the words of their text, which does not depend on line breaks.
    /// `None` where several documents have the same digest.
    texts: AHashMap<blake3::Hash, Option<u32>>,
    /// The digest of each document.
    digests: Vec<blake3::Hash>,
}

/// A digest of a text's words.
fn digest(text: &str) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for word in text.split_whitespace() {
        hasher.update(word.as_bytes());
        hasher.update(b" ");
    }
    hasher.finalize()
}

impl Corpus {
    /// Reads the corpus.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn read(documents: &Artifact) -> OpResult<Corpus> {
        let mut corpus = Corpus::default();
        for batch in documents.batches("documents")? {
            let batch = batch?;
            let titles = columns::text(&batch, "title")?;
            let texts = columns::text(&batch, "text")?;
            for (title, text) in titles.iter().zip(texts) {
                corpus.add(title.unwrap_or_default(), text.unwrap_or_default());
            }
        }
        Ok(corpus)
    }

    fn add(&mut self, title: &str, text: &str) {
        let id = u32::try_from(self.digests.len()).unwrap_or(u32::MAX);
        self.titles.entry(title.to_owned()).or_default().push(id);
        let whole = digest(&format!("{title}\n{text}"));
        for known in [digest(text), whole] {
            self.texts
                .entry(known)
                .and_modify(|other| *other = other.filter(|o| *o == id))
                .or_insert(Some(id));
        }
        self.digests.push(whole);
    }

    /// The document that a record is about.
    fn find(&self, title: Option<&str>, passage: Option<&str>) -> Result<u32, String> {
        let known = title.and_then(|t| self.titles.get(t));
        if let Some(ids) = known {
            let passage = passage.map(digest);
            let piece = ids
                .iter()
                .find(|id| Some(self.digests[**id as usize]) == passage);
            return Ok(piece.copied().unwrap_or(ids[0]));
        }
        let Some(passage) = passage else {
            return Err(match title {
                Some(_) => "no document has this title".to_owned(),
                None => "the record has neither a title nor a passage".to_owned(),
            });
        };
        match self.texts.get(&digest(passage)) {
            Some(Some(id)) => Ok(*id),
            Some(None) => Err("several documents have this passage".to_owned()),
            None => Err(match title {
                Some(_) => "no document has this title or this passage".to_owned(),
                None => "no document has this passage".to_owned(),
            }),
        }
    }
}

/// Receives what cannot be used: the item, the reason and the value.
pub type Faults<'a> = dyn FnMut(Option<&str>, &str, &str) -> OpResult<()> + 'a;

/// Reads a record, and finds its document. `None` where there is no document; the record was
/// rejected, unless it is a total.
///
/// # Errors
/// The errors of `faults`.
pub fn read(
    row: Row,
    corpus: &Corpus,
    faults: &mut Faults<'_>,
) -> OpResult<Option<(u32, OpenIeRecord)>> {
    let Row { key, value, .. } = row;
    let fields = match value {
        Json::Object(fields) => fields,
        // HippoRAG writes totals next to its documents.
        Json::Number(_) | Json::Null if key.is_some() => return Ok(None),
        Json::Text(text) if key.is_some() && text.trim().is_empty() => return Ok(None),
        other => {
            let reason = format!("the record is {}, not an object", other.what());
            faults(key.as_deref(), &reason, &other.shown())?;
            return Ok(None);
        }
    };
    let find = |name: &str| fields.iter().rev().find(|f| f.0 == name).map(|f| &f.1);
    let text = |name: &str| match find(name) {
        Some(Json::Text(text)) if !text.trim().is_empty() => Some(text.as_str()),
        _ => None,
    };
    let (title, passage) = (text("title"), text("passage").or_else(|| text("text")));
    let item = title.or_else(|| text("idx")).map(str::to_owned);
    let document = match corpus.find(title, passage) {
        Ok(document) => document,
        Err(reason) => {
            faults(item.as_deref(), &reason, passage.unwrap_or_default())?;
            return Ok(None);
        }
    };
    let mut given = OpenIeRecord::default();
    let mut fault = |reason: &str, text: &str| faults(item.as_deref(), reason, text);
    match find("extracted_entities") {
        None | Some(Json::Null) => {}
        Some(Json::List(items)) => {
            for item in items {
                match part(item) {
                    Ok(name) => given.entities.push(name),
                    Err(what) => fault(&format!("an entity is {what}, not a text"), &item.shown())?,
                }
            }
        }
        Some(other) => fault(
            &format!("the entities are {}, not a list", other.what()),
            &other.shown(),
        )?,
    }
    match find("extracted_triples") {
        None | Some(Json::Null) => {}
        Some(Json::List(items)) => {
            for item in items {
                match fact(item) {
                    Ok(parts) => given.facts.push(parts),
                    Err(reason) => fault(&reason, &item.shown())?,
                }
            }
        }
        Some(other) => fault(
            &format!("the facts are {}, not a list", other.what()),
            &other.shown(),
        )?,
    }
    Ok(Some((document, given)))
}

/// A text that is not empty, or the kind of value that it is instead.
fn part(value: &Json) -> Result<String, &'static str> {
    match value {
        Json::Text(text) if text.trim().is_empty() => Err("empty"),
        Json::Text(text) => Ok(text.trim().to_owned()),
        other => Err(other.what()),
    }
}

fn fact(value: &Json) -> Result<[String; 3], String> {
    let Json::List(parts) = value else {
        return Err(format!(
            "the fact is {}, not a list of three texts",
            value.what()
        ));
    };
    let [subject, relation, object] = &parts[..] else {
        return Err(format!("the fact has {} parts, not three", parts.len()));
    };
    let named = |name: &str, value: &Json| {
        part(value).map_err(|what| format!("the {name} of the fact is {what}, not a text"))
    };
    Ok([
        named("subject", subject)?,
        named("relation", relation)?,
        named("object", object)?,
    ])
}

impl OpenIeRecord {
    /// Turns the record into an extraction: finds its words in the text, where they occur.
    pub fn extracted(&self, text: &str) -> Extracted {
        let sentences = sentences(text);
        let lower = Lower::new(text);
        let mentions = self.entities.iter().map(|name| Mention {
            text: name.clone(),
            range: lower.find(name, 0..text.len()),
            label: "entity".into(),
        });
        let facts = self.facts.iter().map(|parts| lower.fact(parts, &sentences));
        Extracted {
            mentions: mentions.collect(),
            facts: facts.collect(),
            sentences,
        }
    }
}

/// A text for case-insensitive search.
struct Lower<'a> {
    text: &'a str,
    lower: String,
}

impl<'a> Lower<'a> {
    /// Only ASCII letters are lowered, so that offsets do not change.
    fn new(text: &'a str) -> Self {
        Lower {
            text,
            lower: text.to_ascii_lowercase(),
        }
    }

    /// Finds whole words: in their own case, else in any case.
    fn find(&self, words: &str, within: Range<usize>) -> Option<Range<usize>> {
        let whole = |text: &str, words: &str| {
            let edge = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
            let part = text.get(within.clone())?;
            part.match_indices(words)
                .map(|(at, _)| within.start + at..within.start + at + words.len())
                .find(|r| {
                    edge(text[..r.start].chars().next_back()) && edge(text[r.end..].chars().next())
                })
        };
        whole(self.text, words).or_else(|| whole(&self.lower, &words.to_ascii_lowercase()))
    }

    /// Finds the parts of a fact in the sentence that has most of them.
    fn fact(&self, parts: &[String; 3], sentences: &[Range<usize>]) -> Fact {
        let places = |within: &Range<usize>| parts.each_ref().map(|p| self.find(p, within.clone()));
        // The subject and the object count more than the relation.
        let weight = |places: &[Option<Range<usize>>; 3]| {
            2 * u32::from(places[0].is_some())
                + u32::from(places[1].is_some())
                + 2 * u32::from(places[2].is_some())
        };
        let mut best: [Option<Range<usize>>; 3] = Default::default();
        for sentence in sentences {
            let found = places(sentence);
            if weight(&found) > weight(&best) {
                best = found;
            }
        }
        let [subject, relation, object] = best;
        let part = |i: usize, range| Part {
            text: parts[i].clone(),
            range,
        };
        Fact {
            subject: part(0, subject),
            relation: part(1, relation),
            object: part(2, object),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn corpus() -> Corpus {
        let mut corpus = Corpus::default();
        corpus.add("Paris", "Capital of  France.\nOn the Seine.");
        corpus.add("Orr", "First piece.");
        corpus.add("Orr", "Second piece.");
        corpus.add("A", "Twice.");
        corpus.add("B", "Twice.");
        corpus
    }

    fn read_record(json: &str) -> (Option<(u32, OpenIeRecord)>, Vec<String>) {
        let row = Row {
            key: None,
            value: serde_json::from_str(json).unwrap(),
            span: 0..0,
            line: 1,
            number: 0,
        };
        let mut faults = Vec::new();
        let got = read(row, &corpus(), &mut |item, reason, text| {
            faults.push(format!("{}: {reason}: {text}", item.unwrap_or_default()));
            Ok(())
        });
        (got.unwrap(), faults)
    }

    #[test]
    fn records_find_their_document() {
        for (json, want) in [
            (r#"{"title": "Paris"}"#, Ok(0)),
            (
                r#"{"passage": "Paris\nCapital of France. On the Seine."}"#,
                Ok(0),
            ),
            (
                r#"{"idx": "chunk-1", "passage": "Capital of France. On the Seine."}"#,
                Ok(0),
            ),
            (
                r#"{"title": "Orr", "passage": "Orr\nSecond piece."}"#,
                Ok(2),
            ),
            (r#"{"title": "Orr", "text": "Other."}"#, Ok(1)),
            (r#"{"title": "Nil", "passage": "Orr\nFirst piece."}"#, Ok(1)),
            (
                r#"{"passage": "Twice."}"#,
                Err(": several documents have this passage: Twice."),
            ),
            (
                r#"{"idx": "chunk-1", "passage": "x"}"#,
                Err("chunk-1: no document has this passage: x"),
            ),
            (
                r#"{"title": "Nil"}"#,
                Err("Nil: no document has this title: "),
            ),
            (
                r#"{}"#,
                Err(": the record has neither a title nor a passage: "),
            ),
            ("[]", Err(": the record is a list, not an object: []")),
        ] {
            let (got, faults) = read_record(json);
            match want {
                Ok(id) => assert_eq!((got.unwrap().0, faults), (id, vec![]), "{json}"),
                Err(fault) => assert_eq!(
                    (got, &faults[..]),
                    (None, &[fault.to_owned()][..]),
                    "{json}"
                ),
            }
        }
    }

    #[test]
    fn facts_are_three_texts() {
        let (got, faults) = read_record(
            r#"{"title": "Paris", "extracted_entities": ["Paris", " ", 3], "extracted_triples":
               [[" Paris ", "is", "x"], ["a", "b"], ["a", "b", "c", "d"], ["a", "", "c"], ["a", ["b"], "c"], ["a", "b", null], "a", 7]}"#,
        );
        let given = got.unwrap().1;
        assert_eq!(given.entities, ["Paris"]);
        assert_eq!(given.facts, [["Paris", "is", "x"].map(str::to_owned)]);
        assert_eq!(
            faults,
            [
                "Paris: an entity is empty, not a text:  ",
                "Paris: an entity is a number, not a text: 3",
                "Paris: the fact has 2 parts, not three: [\"a\",\"b\"]",
                "Paris: the fact has 4 parts, not three: [\"a\",\"b\",\"c\",\"d\"]",
                "Paris: the relation of the fact is empty, not a text: [\"a\",\"\",\"c\"]",
                "Paris: the relation of the fact is a list, not a text: [\"a\",[\"b\"],\"c\"]",
                "Paris: the object of the fact is null, not a text: [\"a\",\"b\",null]",
                "Paris: the fact is a text, not a list of three texts: a",
                "Paris: the fact is a number, not a list of three texts: 7",
            ]
        );
    }

    #[test]
    fn parts_are_found_in_the_sentence_that_has_most_of_them() {
        let text = "Ada met Bo. Ada Alder LIKES bo, not Bob.";
        let given = OpenIeRecord {
            entities: vec!["Bob".to_owned(), "Nil".to_owned()],
            facts: vec![["ada".to_owned(), "likes".to_owned(), "Bo".to_owned()]],
        };
        let got = given.extracted(text);
        assert_eq!(got.mentions[0].range, Some(36..39));
        assert_eq!(got.mentions[1].range, None);
        let ranges: Vec<_> = got.facts[0]
            .parts()
            .map(|p| p.range.clone().unwrap())
            .to_vec();
        assert_eq!(ranges, [12..15, 22..27, 28..30]);
        assert_eq!(given.extracted("").facts[0].subject.range, None);
    }
}
