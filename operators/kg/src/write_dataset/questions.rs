//! Reads questions from their tables, and turns them into JSON.

use std::collections::HashMap;

use arrow::array::Array;
use gfm_pipe_api::artifact::texts_digest;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns};

use super::files::Report;
use crate::json::Json;
use crate::layout::SPLITS;
use crate::names::Names;
use crate::questions::Question;
use crate::read::stray;
use crate::reasons;
use crate::tables::Reject;

/// A question as it is written: its row, and what the row does not hold.
pub struct WrittenQuestion {
    /// The row of the table, with the ids that are written.
    pub row: Question,
    /// Its number in the table, where questions that are left out count too.
    pub at: usize,
    /// Answers besides the first.
    pub aliases: Vec<String>,
    /// Titles that stand for gold documents that do not exist.
    pub missing: Vec<String>,
}

/// Questions of a split.
pub struct Split {
    /// train, valid or test.
    pub name: &'static str,
    /// Path of the file in the folder.
    pub file: &'static str,
    /// Name of the data set.
    pub dataset: String,
    /// Questions in file order.
    pub questions: Vec<WrittenQuestion>,
    /// The number of rows of the table.
    pub rows: usize,
    /// The digest of their texts.
    pub digest: String,
}

/// Answers by split and question id.
type Answers = HashMap<(String, String), Vec<String>>;

/// Reads all connected splits, in the order of [`SPLITS`]. `entities` and `documents` are their
/// numbers; `taken` says whether something has a title already, so that it cannot be made up.
///
/// # Errors
/// When a table cannot be read, an id is not a document or entity, or a split is connected twice.
pub fn read(
    ctx: &Context,
    entities: u32,
    documents: usize,
    taken: &dyn Fn(&str) -> bool,
    report: Report<'_>,
) -> OpResult<Vec<Split>> {
    let mut answers = match ctx.input_opt("answers") {
        Some(artifact) => answers(artifact)?,
        None => Answers::new(),
    };
    let mut splits: Vec<Split> = Vec::new();
    for artifact in ctx.inputs("questions") {
        ctx.check_cancelled()?;
        let info = artifact.read("info")?;
        let name = columns::text(&info, "split")?.iter().flatten().next();
        let name = name.unwrap_or_default();
        let Some((name, file)) = SPLITS.iter().find(|(split, _)| *split == name) else {
            let names = SPLITS.map(|(name, _)| name).join(", ");
            return Err(
                OpError::new(format!("the layout has no file for split `{name}`"))
                    .artifact(&artifact.name)
                    .hint(format!("the layout has files for {names}")),
            );
        };
        if splits.iter().any(|s| s.name == *name) {
            return Err(
                OpError::new(format!("two of the connected splits are `{name}`"))
                    .artifact(&artifact.name)
                    .hint("connect each split once, and use a stage for each data set"),
            );
        }
        let mut split = Split {
            name,
            file,
            dataset: columns::text(&info, "dataset")?.value(0).to_owned(),
            questions: Vec::new(),
            rows: 0,
            digest: String::new(),
        };
        let (mut texts, mut seen) = (Vec::new(), Names::new(u32::MAX));
        rows(artifact, entities, documents, &mut |question| {
            texts.push(question.text.clone());
            let mut reject = |reason: &str| {
                report(&Reject {
                    source: name,
                    line: Some(texts.len() as u64),
                    item: Some(&question.id),
                    reason,
                    text: &question.text,
                })
            };
            if let Some(reason) = refused(&question, &seen) {
                return reject(&reason);
            }
            seen.intern(&question.id);
            let missing = stand_ins(&question, taken);
            if !missing.is_empty() {
                let n = missing.len();
                reject(&format!(
                    "gold titles that are not documents: {n} made-up titles stand for them, so that recall still counts them"
                ))?;
            }
            let known = answers.remove(&((*name).to_owned(), question.id.clone()));
            let mut aliases = known.unwrap_or_default();
            aliases.retain(|a| question.answer.as_ref() != Some(a));
            split.questions.push(WrittenQuestion {
                row: question,
                at: texts.len() - 1,
                aliases,
                missing,
            });
            Ok(())
        })?;
        split.rows = texts.len();
        split.digest = texts_digest(&texts);
        splits.push(split);
    }
    let order = |s: &Split| SPLITS.iter().position(|(name, _)| *name == s.name);
    splits.sort_by_key(order);
    Ok(splits)
}

/// The reason why a reader would leave a question out, if any.
fn refused(question: &Question, seen: &Names) -> Option<String> {
    let why = match question {
        q if q.id.is_empty() => "no usable `id`",
        q if q.text.trim().is_empty() => "no usable `question` text",
        q => return seen.find(&q.id).map(|_| reasons::ID_TWICE.to_owned()),
    };
    Some(format!("{why}{}", reasons::SKIPPED))
}

/// Titles that are not documents, in place of a question's unknown gold titles.
fn stand_ins(question: &Question, taken: &dyn Fn(&str) -> bool) -> Vec<String> {
    let known = question.documents.len();
    let missing = (question.gold_titles as usize).saturating_sub(known);
    let all = (1..).map(|n| format!("missing gold document {n} of {}", question.id));
    all.filter(|title| !taken(title)).take(missing).collect()
}

fn answers(artifact: &Artifact) -> OpResult<Answers> {
    let mut out = Answers::new();
    for batch in artifact.batches("answers")? {
        let batch = batch?;
        let text = |name| columns::text(&batch, name);
        let (split, question, answer) = (text("split")?, text("question")?, text("answer")?);
        for i in 0..batch.num_rows() {
            let key = (split.value(i).to_owned(), question.value(i).to_owned());
            out.entry(key).or_default().push(answer.value(i).to_owned());
        }
    }
    Ok(out)
}

/// Calls `each` with the rows of a split, one after another.
fn rows(
    artifact: &Artifact,
    entities: u32,
    documents: usize,
    each: &mut dyn FnMut(Question) -> OpResult<()>,
) -> OpResult<()> {
    let mut at = 0;
    for batch in artifact.batches("questions")? {
        let batch = batch?;
        let text = |name| columns::text(&batch, name);
        let (ids, texts, answers) = (text("id")?, text("question")?, text("answer")?);
        let [from, supporting, gold] = [
            "question_entities",
            "supporting_entities",
            "supporting_documents",
        ]
        .map(|name| columns::list_u32(&batch, name));
        let lists = from?.into_iter().zip(supporting?).zip(gold?);
        let titles = columns::u32s(&batch, "gold_titles")?;
        let hops = columns::u32s(&batch, "hops")?;
        let groups = columns::list_text(&batch, "groups")?;
        for (i, (((from, supporting), gold), groups)) in lists.zip(groups).enumerate() {
            if from.iter().chain(&supporting).any(|e| *e >= entities) {
                return Err(stray(artifact, at, "entity"));
            }
            if gold.iter().any(|d| *d as usize >= documents) {
                return Err(stray(artifact, at, "document"));
            }
            at += 1;
            each(Question {
                id: ids.value(i).to_owned(),
                text: texts.value(i).to_owned(),
                answer: answers.is_valid(i).then(|| answers.value(i).to_owned()),
                entities: from,
                supporting_entities: supporting,
                documents: gold,
                gold_titles: titles.value(i),
                hops: hops.is_valid(i).then(|| hops.value(i)),
                groups,
            })?;
        }
    }
    Ok(())
}

/// Texts as a JSON list.
pub fn list(texts: impl IntoIterator<Item = String>) -> Json {
    Json::List(texts.into_iter().map(Json::Text).collect())
}

impl WrittenQuestion {
    /// The titles of the gold documents, also of those that do not exist.
    pub fn gold(&self, titles: &[String]) -> Json {
        let known = self.row.documents.iter();
        let known = known.map(|d| titles[*d as usize].clone());
        list(known.chain(self.missing.iter().cloned()))
    }

    /// The question as readers expect it, with the fields that a layout has for documents and
    /// nodes.
    pub fn json(&self, of_layout: Vec<(&'static str, Json)>) -> Json {
        let q = &self.row;
        let mut fields = vec![
            ("id", Json::Text(q.id.clone())),
            ("question", Json::Text(q.text.clone())),
        ];
        if let Some(answer) = &q.answer {
            fields.push(("answer", Json::Text(answer.clone())));
        }
        if !self.aliases.is_empty() {
            fields.push(("answer_aliases", list(self.aliases.clone())));
        }
        fields.extend(of_layout);
        if let Some(hops) = q.hops {
            fields.push(("hops", Json::Number(hops.into())));
        }
        // Readers put `type` before the names of `group`, which may be anything.
        let (kind, groups) = match q.groups.split_first() {
            Some((first, rest)) if first.starts_with(TYPE) => (Some(&first[TYPE.len()..]), rest),
            _ => (None, q.groups.as_slice()),
        };
        if let Some(kind) = kind {
            fields.push(("type", Json::Text(kind.to_owned())));
        }
        if !groups.is_empty() {
            fields.push(("group", list(groups.to_vec())));
        }
        let fields = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        Json::Object(fields.collect())
    }
}

/// Prefix of the group for a question's `type`.
const TYPE: &str = "type=";
