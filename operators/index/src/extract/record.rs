//! What another program or a language model says about a document: entities, and facts of three
//! texts. Their words are looked for in the document's text.
//!
//! A fact is a list of three texts; anything else is rejected, one by one.

use std::ops::Range;

use gfm_pipe_api::OpResult;
use gfm_pipe_kg::json::Json;

use super::sentences::sentences;
use super::{Extracted, Fact, Mention, Part};

/// The entities and facts that are given for a document.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct OpenIeRecord {
    /// Entities, as written.
    pub entities: Vec<String>,
    /// Facts of three parts, as written.
    pub facts: Vec<[String; 3]>,
}

/// Most characters of a text. Longer ones are rejected.
#[derive(Debug, Clone, Copy)]
pub struct Longest {
    /// Of an entity.
    pub entity: usize,
    /// Of the subject, the relation or the object of a fact.
    pub part: usize,
}

impl Longest {
    /// No limit.
    pub const ANY: Longest = Longest {
        entity: usize::MAX,
        part: usize::MAX,
    };
}

/// Receives what cannot be used: the reason and the value.
pub type Unusable<'a> = dyn FnMut(&str, &str) -> OpResult<()> + 'a;

/// Why a text is too long, if it is.
fn too_long(what: &str, text: &str, most: usize) -> Option<String> {
    let number = text.chars().count();
    (number > most).then(|| format!("{what} has {number} characters, more than {most}"))
}

/// A text that is not empty, or the kind of value that it is instead.
fn part(value: &Json) -> Result<String, &'static str> {
    match value {
        Json::Text(text) if text.trim().is_empty() => Err("empty"),
        Json::Text(text) => Ok(text.trim().to_owned()),
        other => Err(other.what()),
    }
}

fn entity(value: &Json, most: usize) -> Result<String, String> {
    let name = part(value).map_err(|what| format!("an entity is {what}, not a text"))?;
    too_long("an entity", &name, most).map_or(Ok(name), Err)
}

/// Reads a fact whose parts have at most this many characters.
///
/// # Errors
/// What is wrong with it.
pub fn fact(value: &Json, most: usize) -> Result<[String; 3], String> {
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
        let text =
            part(value).map_err(|what| format!("the {name} of the fact is {what}, not a text"))?;
        too_long(&format!("the {name} of the fact"), &text, most).map_or(Ok(text), Err)
    };
    Ok([
        named("subject", subject)?,
        named("relation", relation)?,
        named("object", object)?,
    ])
}

/// Reads the items of a list; null is an empty one.
fn read_all<T>(
    value: &Json,
    what: &str,
    read: impl Fn(&Json) -> Result<T, String>,
    into: &mut Vec<T>,
    unusable: &mut Unusable<'_>,
) -> OpResult<()> {
    let items = match value {
        Json::Null => return Ok(()),
        Json::List(items) => items,
        other => {
            let reason = format!("the {what} are {}, not a list", other.what());
            return unusable(&reason, &other.shown());
        }
    };
    for item in items {
        match read(item) {
            Ok(read) => into.push(read),
            Err(reason) => unusable(&reason, &item.shown())?,
        }
    }
    Ok(())
}

impl OpenIeRecord {
    /// Adds the entities of a list.
    ///
    /// # Errors
    /// The errors of `unusable`.
    pub fn add_entities(
        &mut self,
        list: &Json,
        longest: Longest,
        unusable: &mut Unusable<'_>,
    ) -> OpResult<()> {
        let read = |item: &Json| entity(item, longest.entity);
        read_all(list, "entities", read, &mut self.entities, unusable)
    }

    /// Adds the facts of a list.
    ///
    /// # Errors
    /// The errors of `unusable`.
    pub fn add_facts(
        &mut self,
        list: &Json,
        longest: Longest,
        unusable: &mut Unusable<'_>,
    ) -> OpResult<()> {
        let read = |item: &Json| fact(item, longest.part);
        read_all(list, "facts", read, &mut self.facts, unusable)
    }

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

    #[test]
    fn texts_that_are_too_long_are_rejected() {
        let longest = Longest { entity: 3, part: 4 };
        let text = |text: &str| Json::Text(text.to_owned());
        let list = |texts: &[&str]| Json::List(texts.iter().map(|t| text(t)).collect());
        let mut record = OpenIeRecord::default();
        let mut reasons = Vec::new();
        let mut unusable = |reason: &str, _: &str| {
            reasons.push(reason.to_owned());
            Ok(())
        };
        let entities = list(&[" Zoë ", "Zoës"]);
        record
            .add_entities(&entities, longest, &mut unusable)
            .unwrap();
        let facts = Json::List(vec![
            list(&["Zoës", "is", "in"]),
            list(&["Zoë", "liked", "it"]),
        ]);
        record.add_facts(&facts, longest, &mut unusable).unwrap();
        record
            .add_facts(&Json::Null, longest, &mut unusable)
            .unwrap();
        assert_eq!(record.entities, ["Zoë"]);
        assert_eq!(record.facts, [["Zoës", "is", "in"].map(str::to_owned)]);
        assert_eq!(
            reasons,
            [
                "an entity has 4 characters, more than 3",
                "the relation of the fact has 5 characters, more than 4",
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
