//! `by: llm`: a language model names the entities of a document, and then its facts.
//!
//! A document takes two requests, as in HippoRAG and GFM-RAG: what does the passage name, and,
//! given these names, what does it say? Of a question only the names are asked for, because
//! `link-questions` takes nothing else of it. All requests go through one [`Chat`], which keeps the
//! answers.
//!
//! What the model writes is data: texts of limited length, which become names and facts. What has
//! another form is rejected, part by part.

use std::collections::HashSet;

use gfm_pipe_api::{Artifact, Context, OpResult, kinds};
use gfm_pipe_kg::json::Json;
use gfm_pipe_kg::tables::{Reject, Rejects};
use gfm_pipe_llm::{Answered, Asker, Chat, NoAnswer, Parsed, Prompt, Shape, prompt_of};
use rayon::prelude::*;
use serde_json::json;

use super::params::ExtractParams;
use super::record::{Longest, OpenIeRecord, Unusable};
use super::writer::{Writer, all_columns};
use super::{Document, Extracted, one_line};
use crate::language_model::{fact_schema, list, shape};

/// The built-in prompt for entities.
pub const ENTITIES: &str = include_str!("prompts/entities.txt");
/// The built-in prompt for facts.
pub const FACTS: &str = include_str!("prompts/facts.txt");

/// The key of the entities in an answer, as in HippoRAG and GFM-RAG.
const ENTITIES_KEY: &str = "named_entities";
/// The key of the facts.
const FACTS_KEY: &str = "triples";

/// A name or a part of a fact is short. A longer text is a model that went astray.
const LONGEST: Longest = Longest {
    entity: 200,
    part: 500,
};

/// What is asked, of every document alike.
struct Questions {
    entities: (Prompt, Shape),
    facts: (Prompt, Shape),
    /// Whether only names are asked for.
    names_only: bool,
}

/// What the model says about a document.
#[derive(Default)]
struct Said {
    record: OpenIeRecord,
    /// What cannot be used: the reason and the value.
    rejected: Vec<(String, String)>,
}

/// Extracts from all documents, or from all questions.
///
/// # Errors
/// When an answer is missing, a prompt is wrong, documents cannot be read, or writing fails.
pub fn extract(
    params: &ExtractParams,
    ctx: &Context,
    artifact: &Artifact,
    out: &mut Writer,
) -> OpResult<()> {
    let own = &params.prompts;
    let text = json!({"type": "string"});
    let questions = Questions {
        entities: (
            prompt_of(own.entities.as_deref(), ENTITIES, &ctx.base)?,
            shape("entities", ENTITIES_KEY, &text),
        ),
        facts: (
            prompt_of(own.facts.as_deref(), FACTS, &ctx.base)?,
            shape("facts", FACTS_KEY, &fact_schema()),
        ),
        names_only: *artifact.kind == kinds::QUESTIONS,
    };
    let records = {
        // All texts are in memory, so that no request waits until others are answered.
        let columns = all_columns(artifact)?;
        let documents: Vec<Document<'_>> = columns.iter().flat_map(|c| c.documents()).collect();
        let chat = Chat::open(ctx, &params.llm)?;
        let table = artifact.kind.tables[0].name;
        let said = chat.each(documents.len(), table, |i, asker| {
            questions.ask(asker, &documents[i])
        })?;
        chat.report();
        rejected(table, &documents, &said, &mut out.rejects)?;
        let records = said.into_iter().map(|said| said.record);
        records.collect::<Vec<OpenIeRecord>>()
    };
    let mut rest = &records[..];
    out.pass(ctx, artifact, &mut |documents| {
        let (some, behind) = rest.split_at(documents.len().min(rest.len()));
        rest = behind;
        let found = documents.par_iter().zip(some);
        Ok(found.map(|(d, record)| placed(record, d.text)).collect())
    })
}

/// Finds the words of a record in the text, and puts the mentions into the text's order.
fn placed(record: &OpenIeRecord, text: &str) -> Extracted {
    let mut found = record.extracted(text);
    let start = |range: &std::ops::Range<usize>| range.start;
    found
        .mentions
        .sort_by_key(|m| m.range.as_ref().map_or(usize::MAX, start));
    found
}

/// Writes what cannot be used. Its place is the row of the document.
fn rejected(
    table: &str,
    documents: &[Document<'_>],
    said: &[Said],
    rejects: &mut Rejects,
) -> OpResult<()> {
    for ((row, document), said) in (1..).zip(documents).zip(said) {
        for (reason, text) in &said.rejected {
            rejects.push(&Reject {
                source: table,
                line: Some(row),
                item: Some(called(document)),
                reason,
                text,
            })?;
        }
    }
    Ok(())
}

/// The title of a document, or the text of a question.
fn called<'a>(document: &Document<'a>) -> &'a str {
    match document.title {
        "" => document.text,
        title => title,
    }
}

impl Questions {
    fn ask(&self, asker: &Asker<'_>, document: &Document<'_>) -> OpResult<Said> {
        let mut said = Said::default();
        let Document { title, text, .. } = *document;
        if text.trim().is_empty() {
            return Ok(said);
        }
        let called = called(document);
        let (prompt, shape) = &self.entities;
        let messages = prompt.messages(json!({"title": title, "text": text}))?;
        let answer = asker.json(&format!("entities of {called}"), messages, shape, |value| {
            list(value, ENTITIES_KEY)
        })?;
        let is_missing = answer.is_none();
        if let Some(answer) = answer {
            said.take(answer, "entities", OpenIeRecord::add_entities, |record| {
                tidy(&mut record.entities, |name| one_line(name));
                record.entities.sort_unstable();
                record.entities.len()
            })?;
        }
        if self.names_only {
            return Ok(said);
        }
        let entities = &said.record.entities;
        let (prompt, shape) = &self.facts;
        let messages =
            prompt.messages(json!({"title": title, "text": text, "entities": entities}))?;
        if is_missing {
            asker.expect(&messages);
            return Ok(said);
        }
        let answer = asker.json(&format!("facts of {called}"), messages, shape, |value| {
            list(value, FACTS_KEY)
        })?;
        if let Some(answer) = answer {
            said.take(answer, "facts", OpenIeRecord::add_facts, |record| {
                tidy(&mut record.facts, |parts| {
                    parts.each_ref().map(|p| one_line(p))
                });
                record.facts.len()
            })?;
        }
        Ok(said)
    }
}

/// Adds the items of a list to a record.
type Add = fn(&mut OpenIeRecord, &Json, Longest, &mut Unusable<'_>) -> OpResult<()>;

impl Said {
    /// Takes from an answer what is of use. `tidy` puts it in order and returns how much there is.
    fn take(
        &mut self,
        answer: Parsed<Answered<Json>>,
        what: &str,
        add: Add,
        tidy: impl Fn(&mut OpenIeRecord) -> usize,
    ) -> OpResult<()> {
        let Said { record, rejected } = self;
        match answer {
            Ok(Answered { value, cut }) => {
                let mut unusable = |reason: &str, text: &str| {
                    rejected.push((reason.to_owned(), text.to_owned()));
                    Ok(())
                };
                add(record, &value, LONGEST, &mut unusable)?;
                let kept = tidy(record);
                if cut {
                    let reason = format!("the answer was cut: {kept} {what} before that are kept");
                    rejected.push((reason, String::new()));
                }
            }
            Err(NoAnswer { reason, content }) => {
                rejected.push((format!("no {what}: {reason}"), content));
            }
        }
        Ok(())
    }
}

/// Keeps the first of equal items, written in one line.
fn tidy<T: std::hash::Hash + Eq + Clone>(items: &mut Vec<T>, one_line: impl Fn(&T) -> T) {
    let mut seen = HashSet::new();
    let written = items.iter().map(one_line);
    *items = written.filter(|item| seen.insert(item.clone())).collect();
}
