//! `by: file`: facts that another program extracted, in the files of GFM-RAG and HippoRAG.
//!
//! A record is matched with a document by its title, else by its passage ("title\ntext", or the
//! text alone).

use ahash::AHashMap;
use gfm_pipe_api::{Artifact, OpResult, columns};
use gfm_pipe_kg::json::Json;

use super::record::{Longest, OpenIeRecord};
use crate::formats::rows::Row;

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
    let list = |name: &str| find(name).unwrap_or(&Json::Null);
    given.add_entities(list("extracted_entities"), Longest::ANY, &mut fault)?;
    given.add_facts(list("extracted_triples"), Longest::ANY, &mut fault)?;
    Ok(Some((document, given)))
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
}
