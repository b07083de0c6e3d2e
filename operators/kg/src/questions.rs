//! One split of questions: JSON items to ids.
//!
//! Invariant: a question with an id and a text is kept whatever else is missing; names that are not
//! in the graph or the corpus are rejected one by one and never change how many gold titles a
//! question has.

use std::sync::Arc;

use arrow::array::{BooleanArray, StringArray, UInt32Array, UInt64Array};
use gfm_pipe_api::{Context, OpResult, columns, kinds};

use crate::json::{self, Json, Placed};
use crate::names::Names;
use crate::reasons;
use crate::tables::{Piece, Places, Reject, Rejects, Table};

/// The names that a split's names are looked up in.
pub struct Known<'a> {
    /// Entities of the graph. Without a graph, names of entities are ignored.
    pub entities: Option<&'a Names>,
    /// Titles of the documents.
    pub titles: &'a Names,
}

/// A question, as a row of the `questions` table.
#[derive(Debug, Default)]
pub struct Question {
    /// Id, unique in the split.
    pub id: String,
    /// The question itself.
    pub text: String,
    /// The answer, where given.
    pub answer: Option<String>,
    /// Entities it asks from.
    pub entities: Vec<u32>,
    /// Entities of its gold documents.
    pub supporting_entities: Vec<u32>,
    /// Ids of its gold documents.
    pub documents: Vec<u32>,
    /// Distinct gold titles, known or not.
    pub gold_titles: u32,
    /// Number of hops, where given.
    pub hops: Option<u32>,
    /// Groups to report by.
    pub groups: Vec<String>,
}

impl Question {
    /// Approximate bytes of its texts and lists.
    pub fn bytes(&self) -> usize {
        self.id.len()
            + self.text.len()
            + self.answer.as_ref().map_or(0, String::len)
            + self.groups.iter().map(String::len).sum::<usize>()
            + 4 * (self.entities.len() + self.supporting_entities.len())
    }
}

/// Counts of a split.
#[derive(Debug, Default)]
pub struct Tally {
    /// Questions that were kept.
    pub questions: u64,
    /// Kept questions without a known entity.
    pub not_askable: u64,
    /// Kept questions without a gold title that is a document.
    pub without_gold: u64,
    /// Question entities that the graph does not have, distinct per question.
    pub unknown_entities: u64,
    /// Supporting entities that the graph does not have, distinct per question.
    pub unknown_supporting: u64,
    /// Gold titles without a document, distinct per question.
    pub unknown_titles: u64,
}

/// Converts one split from JSON to the `questions` and `info` tables.
pub struct Split<'a> {
    /// Name of the data set, for the `info` table.
    pub dataset: &'a str,
    /// `train`, `valid` or `test`: also the name of the output port.
    pub name: &'a str,
    /// File, relative to the data set.
    pub source: &'a str,
    /// The names to look up.
    pub known: Known<'a>,
}

/// The item being read, and the table for what is rejected of it.
pub(crate) struct Item<'a, 'b> {
    pub source: &'a str,
    pub id: &'a str,
    pub line: u64,
    pub rejects: &'b mut Rejects,
}

impl Item<'_, '_> {
    pub fn reject(&mut self, reason: &str, text: &str) -> OpResult<()> {
        self.rejects.push(&Reject {
            source: self.source,
            line: Some(self.line),
            item: Some(self.id),
            reason,
            text,
        })
    }

    /// The distinct texts of a list. Everything that is not a text is rejected.
    pub fn texts(&mut self, name: &str, value: Option<Json>) -> OpResult<Names> {
        let mut texts = Names::new(u32::MAX);
        match value {
            None => self.reject(&format!("missing `{name}`"), "")?,
            Some(Json::List(items)) => {
                for item in items {
                    match item {
                        Json::Text(s) => {
                            texts.intern(&s);
                        }
                        other => self.reject(
                            &format!("`{name}` has {} where a text belongs", other.what()),
                            &other.shown(),
                        )?,
                    }
                }
            }
            Some(other) => self.reject(
                &format!("`{name}` is {}, not a list of texts", other.what()),
                &other.shown(),
            )?,
        }
        Ok(texts)
    }

    /// Ids of the names that are known; the others are rejected and counted.
    fn ids(&mut self, names: &Names, known: &Names, reason: &str) -> OpResult<(Vec<u32>, u64)> {
        let mut ids = Vec::new();
        let mut unknown = 0;
        for name in names.iter() {
            match known.find(name) {
                Some(id) => ids.push(id),
                None => {
                    unknown += 1;
                    self.reject(reason, name)?;
                }
            }
        }
        Ok((ids, unknown))
    }

    /// Reports keys that were given twice.
    pub fn repeated(&mut self, repeated: Vec<(String, String)>) -> OpResult<()> {
        for (key, value) in repeated {
            self.reject(&format!("`{key}` is given twice: the last counts"), &value)?;
        }
        Ok(())
    }

    /// An optional text; null means none.
    pub fn text(&mut self, name: &str, value: Option<Json>) -> OpResult<Option<String>> {
        match value {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Text(s)) => Ok(Some(s)),
            Some(other) => {
                self.reject(
                    &format!("`{name}` is {}, not a text", other.what()),
                    &other.shown(),
                )?;
                Ok(None)
            }
        }
    }

    /// The distinct groups of a question: its `type`, then the names of `group`.
    pub fn groups(&mut self, fields: &mut Fields) -> OpResult<Vec<String>> {
        let mut groups = Names::new(u32::MAX);
        if let Some(kind) = self.text("type", fields.take("type"))? {
            groups.intern(&format!("type={kind}"));
        }
        match fields.take("group") {
            None | Some(Json::Null) => {}
            Some(Json::Text(s)) => {
                groups.intern(&s);
            }
            several => {
                for name in self.texts("group", several)?.iter() {
                    groups.intern(name);
                }
            }
        }
        Ok(groups.iter().map(str::to_owned).collect())
    }

    /// An optional small whole number; null means none.
    pub fn number(&mut self, name: &str, value: Option<Json>) -> OpResult<Option<u32>> {
        let value = match value {
            None | Some(Json::Null) => return Ok(None),
            Some(value) => value,
        };
        if let Json::Number(n) = &value
            && let Some(n) = n.as_u64().and_then(|n| u32::try_from(n).ok())
        {
            return Ok(Some(n));
        }
        self.reject(
            &format!("`{name}` is no whole number from 0 to {}", u32::MAX),
            &value.shown(),
        )?;
        Ok(None)
    }
}

/// An item with a usable id and text, and its other fields.
pub(crate) struct Record {
    pub id: String,
    pub text: String,
    pub line: u64,
    pub fields: Fields,
    /// Keys that occur twice, each with the value that does not count.
    pub repeated: Vec<(String, String)>,
}

/// Fields of an item, taken by name.
pub(crate) struct Fields(Vec<(String, Json)>);

impl Fields {
    pub fn take(&mut self, name: &str) -> Option<Json> {
        let at = self.0.iter().position(|(k, _)| k == name)?;
        Some(self.0.swap_remove(at).1)
    }
}

fn id_of(value: Option<&Json>) -> Option<String> {
    match value? {
        Json::Text(s) if !s.is_empty() => Some(s.clone()),
        Json::Number(n) if !n.is_f64() => Some(n.to_string()),
        _ => None,
    }
}

impl Split<'_> {
    /// Reads the items (an absent split has none) and writes both tables.
    ///
    /// # Errors
    /// When the user wants to stop or the disk refuses.
    pub fn write(
        &self,
        ctx: &Context,
        items: Vec<Placed>,
        rejects: &mut Rejects,
        places: &mut Places,
    ) -> OpResult<Tally> {
        let mut tally = Tally::default();
        let mut table = Table::create(ctx, self.name, &kinds::QUESTIONS, "questions")?;
        let mut seen = Names::new(u32::MAX);
        let mut piece = Piece::default();
        let mut kept: Vec<Question> = Vec::new();
        for (position, item) in items.into_iter().enumerate() {
            if position % 1024 == 0 {
                ctx.check_cancelled()?;
            }
            let line = item.line;
            let Some(question) = self.question(position, item, &mut seen, &mut tally, rejects)?
            else {
                continue;
            };
            places.push(self.name, tally.questions, self.source, line)?;
            tally.questions += 1;
            tally.not_askable += u64::from(question.entities.is_empty());
            tally.without_gold += u64::from(question.documents.is_empty());
            let bytes = question.bytes();
            kept.push(question);
            if piece.add(bytes) {
                piece.take();
                append(&mut table, std::mem::take(&mut kept))?;
            }
        }
        // An empty split is still a table with its columns.
        append(&mut table, kept)?;
        table.finish()?;
        let info = SplitInfo {
            dataset: self.dataset,
            split: self.name,
            questions: tally.questions,
            not_askable: tally.not_askable,
        };
        info.write(ctx)?;
        Ok(tally)
    }

    /// Reads an item. Returns `None` where it is left out, with the reason in `rejects`.
    fn question(
        &self,
        position: usize,
        item: Placed,
        seen: &mut Names,
        tally: &mut Tally,
        rejects: &mut Rejects,
    ) -> OpResult<Option<Question>> {
        let Some(record) = record(self.source, position, item, seen, rejects)? else {
            return Ok(None);
        };
        let Record {
            id,
            text,
            line,
            mut fields,
            repeated,
        } = record;
        let mut item = Item {
            source: self.source,
            id: &id,
            line,
            rejects,
        };
        item.repeated(repeated)?;
        let no_names = Names::new(0);
        let known = self.known.entities.unwrap_or(&no_names);
        let mut names = |item: &mut Item<'_, '_>, field| match self.known.entities {
            Some(_) => item.texts(field, fields.take(field)),
            None => Ok(Names::new(0)),
        };
        let named = names(&mut item, "question_entities")?;
        let supporting = names(&mut item, "supporting_entities")?;
        let gold = item.texts("supporting_facts", fields.take("supporting_facts"))?;
        let (entities, unknown) = item.ids(&named, known, reasons::QUESTION_ENTITY)?;
        tally.unknown_entities += unknown;
        let (supporting_entities, unknown) =
            item.ids(&supporting, known, reasons::SUPPORTING_ENTITY)?;
        tally.unknown_supporting += unknown;
        let (documents, unknown) = item.ids(&gold, self.known.titles, reasons::GOLD_TITLE)?;
        tally.unknown_titles += unknown;
        let answer = item.text("answer", fields.take("answer"))?;
        let hops = item.number("hops", fields.take("hops"))?;
        let groups = item.groups(&mut fields)?;
        Ok(Some(Question {
            text,
            answer,
            entities,
            supporting_entities,
            documents,
            gold_titles: gold.len(),
            hops,
            groups,
            id,
        }))
    }
}

/// The fields of an item that has a new id and a text. Anything else is rejected as a whole.
pub(crate) fn record(
    source: &str,
    position: usize,
    item: Placed,
    seen: &mut Names,
    rejects: &mut Rejects,
) -> OpResult<Option<Record>> {
    let Placed { json: item, line } = item;
    let shown = item.shown();
    let mut reject = |id: Option<&str>, reason: String| {
        rejects.push(&Reject {
            source,
            line: Some(line),
            item: id,
            reason: &reason,
            text: &shown,
        })
    };
    let Json::Object(pairs) = item else {
        let (what, end) = (item.what(), reasons::NO_OBJECT);
        reject(None, format!("item {position} of the list is {what}{end}"))?;
        return Ok(None);
    };
    let mut repeated = Vec::new();
    let mut fields = Fields(json::unique(pairs, |key, value| {
        repeated.push((key.to_owned(), value.shown()));
        Ok(())
    })?);
    let skipped = reasons::SKIPPED;
    let Some(id) = id_of(fields.take("id").as_ref()) else {
        let reason = format!("item {position} of the list has no usable `id`{skipped}");
        reject(None, reason)?;
        return Ok(None);
    };
    let text = match fields.take("question") {
        Some(Json::Text(s)) if !s.trim().is_empty() => s,
        _ => {
            reject(Some(&id), format!("no usable `question` text{skipped}"))?;
            return Ok(None);
        }
    };
    if seen.find(&id).is_some() {
        reject(Some(&id), reasons::ID_TWICE.to_owned())?;
        return Ok(None);
    }
    seen.intern(&id);
    Ok(Some(Record {
        id,
        text,
        line,
        fields,
        repeated,
    }))
}

/// The row of a split's `info` table.
pub struct SplitInfo<'a> {
    /// Name of the data set.
    pub dataset: &'a str,
    /// `train`, `valid` or `test`: also the name of the output port.
    pub split: &'a str,
    /// Number of questions.
    pub questions: u64,
    /// Number of questions without a known entity.
    pub not_askable: u64,
}

impl SplitInfo<'_> {
    /// Writes the table.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, ctx: &Context) -> OpResult<()> {
        let mut info = Table::create(ctx, self.split, &kinds::QUESTIONS, "info")?;
        info.append(vec![
            Arc::new(StringArray::from_iter_values([self.dataset])),
            Arc::new(StringArray::from_iter_values([self.split])),
            Arc::new(UInt64Array::from_iter_values([self.questions])),
            Arc::new(UInt64Array::from_iter_values([self.not_askable])),
        ])?;
        info.finish()
    }
}

/// Appends questions to the `questions` table of a split.
///
/// # Errors
/// When the disk refuses.
pub fn append(table: &mut Table, kept: Vec<Question>) -> OpResult<()> {
    let mut ids = Vec::new();
    let mut texts = Vec::new();
    let mut answers = Vec::new();
    let mut lists: [Vec<Vec<u32>>; 3] = Default::default();
    let (mut gold, mut askable, mut hops, mut groups) = (vec![], vec![], vec![], vec![]);
    for q in kept {
        askable.push(!q.entities.is_empty());
        ids.push(q.id);
        texts.push(q.text);
        answers.push(q.answer);
        lists[0].push(q.entities);
        lists[1].push(q.supporting_entities);
        lists[2].push(q.documents);
        gold.push(q.gold_titles);
        hops.push(q.hops);
        groups.push(q.groups);
    }
    table.append(vec![
        Arc::new(StringArray::from(ids)),
        Arc::new(StringArray::from(texts)),
        Arc::new(StringArray::from(answers)),
        columns::build_list_u32(&lists[0]),
        columns::build_list_u32(&lists[1]),
        columns::build_list_u32(&lists[2]),
        Arc::new(UInt32Array::from(gold)),
        Arc::new(BooleanArray::from(askable)),
        Arc::new(UInt32Array::from(hops)),
        columns::build_list_text(&groups),
    ])
}
