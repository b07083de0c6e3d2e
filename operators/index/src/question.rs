//! Reads a record of a question file. Fields that cannot be used are rejected one by one, and the
//! question is kept.

use std::collections::HashSet;

use gfm_pipe_api::OpResult;
use gfm_pipe_kg::json::{self, Json};
use gfm_pipe_kg::questions::Question;
use gfm_pipe_kg::reasons;

use crate::formats::rows::Row;
use crate::gold_titles::{TitleMatch, Titles};

/// A question and its answers, as read from a record.
#[derive(Debug, Default)]
pub struct ReadQuestion {
    /// The row of the `questions` table.
    pub question: Question,
    /// The answer and its aliases, distinct.
    pub answers: Vec<String>,
    /// One-based line where it begins.
    pub line: u64,
    /// Number of gold titles without a document.
    pub unknown: u64,
    /// Number of gold titles that match only by normalised spelling.
    pub loose: u64,
    /// Whether the id was generated, because the record had none.
    pub made: bool,
}

/// Receives what cannot be used: the question's id, the reason and the value.
pub type Faults<'a> = dyn FnMut(Option<&str>, &str, &str) -> OpResult<()> + 'a;

/// The file of a record.
pub struct Place<'a> {
    /// Prefix of the generated id of a record without one.
    pub stem: &'a str,
    /// Whether it is CSV, where a cell can hold a list: as JSON, or with bars between the items.
    pub cells: bool,
}

/// Reads a record. `None` where it is not a question, which was rejected.
///
/// # Errors
/// The errors of `faults`.
pub fn read(
    row: Row,
    place: &Place<'_>,
    titles: &Titles,
    faults: &mut Faults<'_>,
) -> OpResult<Option<ReadQuestion>> {
    let Row {
        key,
        value,
        line,
        number,
        ..
    } = row;
    let shown = value.shown();
    let Json::Object(pairs) = value else {
        let reason = format!("the record is {}{}", value.what(), reasons::NO_OBJECT);
        faults(key.as_deref(), &reason, &shown)?;
        return Ok(None);
    };
    let mut repeated = Vec::new();
    let pairs = json::unique(pairs, |name, value| {
        repeated.push((name.to_owned(), value.shown()));
        Ok(())
    })?;
    let mut fields = Fields {
        pairs,
        cells: place.cells,
    };
    let given = match fields.take("id").or_else(|| fields.take("_id")) {
        Some(Json::Text(id)) if !id.trim().is_empty() => Some(id),
        Some(Json::Number(id)) => Some(id.to_string()),
        Some(Json::Text(_)) | None => key,
        Some(other) => {
            let reason = format!("`id` is {}{}", other.what(), reasons::SKIPPED);
            faults(None, &reason, &shown)?;
            return Ok(None);
        }
    };
    let made = given.is_none();
    let id = given.unwrap_or_else(|| format!("{}-{}", place.stem, number + 1));
    let text = match fields.take("question") {
        Some(Json::Text(text)) if !text.trim().is_empty() => text,
        _ => {
            let reason = format!("no usable `question` text{}", reasons::SKIPPED);
            faults(Some(&id), &reason, &shown)?;
            return Ok(None);
        }
    };
    let mut item = Item { id: &id, faults };
    for (name, value) in repeated {
        item.fault(&format!("`{name}` is given twice: the last counts"), &value)?;
    }
    let answers = item.answers(&mut fields)?;
    let mut read = ReadQuestion {
        line,
        made,
        ..ReadQuestion::default()
    };
    let golds = item.gold_titles(&mut fields)?;
    read.question.gold_titles = u32::try_from(golds.len()).unwrap_or(u32::MAX);
    for title in &golds {
        match item.tie(title, titles)? {
            Some((document, loose)) => {
                read.loose += u64::from(loose);
                if !read.question.documents.contains(&document) {
                    read.question.documents.push(document);
                }
            }
            None => read.unknown += 1,
        }
    }
    read.question.hops = item.hops(fields.take("hops"))?;
    read.question.groups = item.groups(&mut fields)?;
    read.question.answer = answers.first().cloned();
    read.answers = answers;
    read.question.text = text;
    read.question.id = id;
    Ok(Some(read))
}

/// The fields of a record, taken by name.
struct Fields {
    pairs: Vec<(String, Json)>,
    cells: bool,
}

impl Fields {
    /// Takes a field that has a value; an empty cell has none.
    fn take(&mut self, name: &str) -> Option<Json> {
        let at = self.pairs.iter().position(|(k, _)| k == name)?;
        let value = self.pairs.swap_remove(at).1;
        match &value {
            Json::Null => None,
            Json::Text(text) if self.cells && text.trim().is_empty() => None,
            _ => Some(value),
        }
    }

    /// Takes the items of a list; a single value is a list of one.
    fn list(&mut self, name: &str) -> Vec<Json> {
        match self.take(name) {
            None => Vec::new(),
            Some(Json::List(items)) => items,
            Some(Json::Text(cell)) if self.cells => match serde_json::from_str(&cell) {
                Ok(Json::List(items)) => items,
                _ => {
                    let items = cell.split('|').map(str::trim).filter(|i| !i.is_empty());
                    items.map(|i| Json::Text(i.to_owned())).collect()
                }
            },
            Some(other) => vec![other],
        }
    }
}

fn push_distinct(texts: &mut Vec<String>, seen: &mut HashSet<String>, text: String) {
    if seen.insert(text.clone()) {
        texts.push(text);
    }
}

/// The question being read, and the receiver of its faults.
struct Item<'a, 'b> {
    id: &'a str,
    faults: &'a mut Faults<'b>,
}

impl Item<'_, '_> {
    fn fault(&mut self, reason: &str, text: &str) -> OpResult<()> {
        (self.faults)(Some(self.id), reason, text)
    }

    /// The answer and its aliases, distinct.
    fn answers(&mut self, fields: &mut Fields) -> OpResult<Vec<String>> {
        let (mut out, mut seen) = (Vec::new(), HashSet::new());
        // In CSV, an answer is one text, whatever it contains.
        let answers = match fields.take("answer") {
            Some(Json::List(items)) => items,
            other => other.into_iter().collect(),
        };
        let aliases = fields.list("answer_aliases");
        for (name, values) in [("answer", answers), ("answer_aliases", aliases)] {
            for value in values {
                match value {
                    Json::Text(text) if text.trim().is_empty() => {}
                    Json::Text(text) => push_distinct(&mut out, &mut seen, text),
                    Json::Number(number) => push_distinct(&mut out, &mut seen, number.to_string()),
                    other => {
                        let reason = format!("`{name}` has {} where a text belongs", other.what());
                        self.fault(&reason, &other.shown())?;
                    }
                }
            }
        }
        Ok(out)
    }

    /// The distinct titles of the gold documents, given as texts, as `[title, sentence]`, or as
    /// objects with a title.
    fn gold_titles(&mut self, fields: &mut Fields) -> OpResult<Vec<String>> {
        let (mut out, mut seen) = (Vec::new(), HashSet::new());
        for name in ["supporting_facts", "supporting_documents"] {
            for value in fields.list(name) {
                let title = match &value {
                    Json::Text(title) => Some(title),
                    Json::List(pair) => match &pair[..] {
                        [Json::Text(title), Json::Number(_)] => Some(title),
                        _ => None,
                    },
                    Json::Object(fields) => {
                        fields
                            .iter()
                            .find(|f| f.0 == "title")
                            .and_then(|f| match &f.1 {
                                Json::Text(title) => Some(title),
                                _ => None,
                            })
                    }
                    _ => None,
                };
                match title {
                    Some(title) => push_distinct(&mut out, &mut seen, title.clone()),
                    None => {
                        let reason = format!("`{name}` has {} where a title belongs", value.what());
                        self.fault(&reason, &value.shown())?;
                    }
                }
            }
        }
        Ok(out)
    }

    /// The document of a title, and whether it matches only by normalised spelling.
    fn tie(&mut self, title: &str, titles: &Titles) -> OpResult<Option<(u32, bool)>> {
        Ok(match titles.find(title) {
            TitleMatch::Exact(id) => Some((id, false)),
            TitleMatch::Loose(id) => Some((id, true)),
            TitleMatch::First(id, others) => {
                let reason = format!(
                    "other documents have this title in their files, too ({}): taken as the one that kept it",
                    few(&others)
                );
                self.fault(&reason, title)?;
                Some((id, false))
            }
            TitleMatch::Several(names) => {
                let reason = format!(
                    "several documents have this title: name one of {}",
                    few(&names)
                );
                self.fault(&reason, title)?;
                None
            }
            TitleMatch::Unknown => {
                self.fault(reasons::GOLD_TITLE, title)?;
                None
            }
        })
    }

    fn hops(&mut self, value: Option<Json>) -> OpResult<Option<u32>> {
        let Some(value) = value else {
            return Ok(None);
        };
        let hops = match &value {
            Json::Number(n) => n.as_u64().and_then(|n| u32::try_from(n).ok()),
            Json::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        if hops.is_none() {
            let reason = format!("`hops` is not a whole number from 0 to {}", u32::MAX);
            self.fault(&reason, &value.shown())?;
        }
        Ok(hops)
    }

    /// Groups to report by: `type=…`, and the names of `group`.
    fn groups(&mut self, fields: &mut Fields) -> OpResult<Vec<String>> {
        let (mut out, mut seen) = (Vec::new(), HashSet::new());
        match fields.take("type") {
            None => {}
            Some(Json::Text(kind)) => push_distinct(&mut out, &mut seen, format!("type={kind}")),
            Some(other) => self.fault(
                &format!("`type` is {}, not a text", other.what()),
                &other.shown(),
            )?,
        }
        for value in fields.list("group") {
            match value {
                Json::Text(name) => push_distinct(&mut out, &mut seen, name),
                other => {
                    let reason = format!("`group` has {} where a text belongs", other.what());
                    self.fault(&reason, &other.shown())?;
                }
            }
        }
        Ok(out)
    }
}

/// The first few of some names, for a message.
fn few(names: &[String]) -> String {
    const MOST: usize = 3;
    let shown: Vec<&str> = names.iter().take(MOST).map(String::as_str).collect();
    if names.len() > MOST {
        format!("{}, … ({} in all)", shown.join(", "), names.len())
    } else {
        shown.join(", ")
    }
}
