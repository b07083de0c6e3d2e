//! A split of questions with typed nodes: `start_nodes` and `target_nodes`.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, UInt32Array, UInt64Array};
use gfm_pipe_api::artifact::texts_digest;
use gfm_pipe_api::node_types::DOCUMENT;
use gfm_pipe_api::{Context, Kind, OpError, OpResult, kinds};

use super::Items;
use crate::json::{self, Document, Json};
use crate::names::Names;
use crate::questions::{self, Question, SplitInfo};
use crate::reasons;
use crate::tables::{Places, Rejects, Table};

/// What reads one split.
pub struct Split<'a> {
    /// Name of the data set.
    pub dataset: &'a str,
    /// `train`, `valid` or `test`.
    pub name: &'static str,
    /// File, relative to the data set.
    pub source: &'static str,
    pub nodes: &'a Items,
    /// For each row of nodes the document that it is.
    pub documents: &'a [Option<u32>],
}

/// The nodes that a question names.
#[derive(Default)]
struct Named {
    /// Rows of known nodes, ascending.
    rows: Vec<u32>,
    /// Distinct names of documents, known or not.
    titles: u32,
}

impl Split<'_> {
    /// Reads the split, which is empty if there is no file, and writes its ports. Returns the
    /// number of questions.
    ///
    /// # Errors
    /// When the file is not a list of questions, or the tables cannot be written.
    pub fn write(
        &self,
        ctx: &Context,
        root: &Path,
        rejects: &mut Rejects,
        places: &mut Places,
    ) -> OpResult<u64> {
        let shown = root.join(self.source);
        let path = ctx.path(&shown);
        let items = if path.is_file() {
            match json::read(&path, &shown)? {
                Document::List(items) | Document::Lines(items) => items,
                other => {
                    let found = format!("expected a list of questions, found {}", other.what());
                    return Err(OpError::data(found).file(&shown));
                }
            }
        } else {
            Vec::new()
        };
        let mut seen = Names::new(u32::MAX);
        let (mut kept, mut starts, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        let (mut not_askable, mut outside) = (0, 0u64);
        for (position, item) in items.into_iter().enumerate() {
            let record = questions::record(self.source, position, item, &mut seen, rejects)?;
            let Some(record) = record else {
                continue;
            };
            let mut fields = record.fields;
            let mut item = questions::Item {
                source: self.source,
                id: &record.id,
                line: record.line,
                rejects,
            };
            item.repeated(record.repeated)?;
            let start = self.named(&mut item, reasons::START, fields.take(reasons::START))?;
            let target = self.named(&mut item, reasons::TARGET, fields.take(reasons::TARGET))?;
            let ids = |named: &Named| -> Vec<u32> {
                let rows = named.rows.iter();
                rows.filter_map(|row| self.nodes.ids[*row as usize])
                    .collect()
            };
            let entities = |named: &Named| -> Vec<u32> {
                let rows = named.rows.iter().map(|row| *row as usize);
                let entities = rows.filter(|row| self.documents[*row].is_none());
                entities.filter_map(|row| self.nodes.ids[row]).collect()
            };
            let documents = target.rows.iter();
            let documents = documents.filter_map(|row| self.documents[*row as usize]);
            let question = Question {
                text: record.text,
                answer: item.text("answer", fields.take("answer"))?,
                entities: entities(&start),
                supporting_entities: entities(&target),
                documents: documents.collect(),
                gold_titles: target.titles,
                hops: item.number("hops", fields.take("hops"))?,
                groups: item.groups(&mut fields)?,
                id: record.id.clone(),
            };
            let row = kept.len() as u32;
            places.push(self.name, u64::from(row), self.source, record.line)?;
            let from = ids(&start);
            not_askable += u64::from(from.is_empty());
            outside += (start.rows.len() - from.len()) as u64;
            starts.extend(from.into_iter().map(|node| (row, node)));
            targets.extend(ids(&target).into_iter().map(|node| (row, node)));
            kept.push(question);
        }
        let count = kept.len() as u64;
        if not_askable > 0 {
            ctx.warn(format!(
                "{}: {not_askable} of {count} questions start from no node of the graph: they are kept and score 0",
                self.name
            ));
        }
        if outside > 0 {
            ctx.warn(format!(
                "{}: {outside} start nodes are left out: they have another type than `target_type`",
                self.name
            ));
        }
        let texts: Vec<String> = kept.iter().map(|q| q.text.clone()).collect();
        let digest = texts_digest(&texts);
        let of = (count, digest.as_str());
        let key = |node: &u32| self.nodes.keys.get(self.nodes.rows[*node as usize]);
        let names = starts.iter().map(|(_, node)| key(node));
        let reasons: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["given"; starts.len()])),
            Arc::new(Float64Array::from(vec![1.0; starts.len()])),
            Arc::new(StringArray::from_iter_values(names)),
        ];
        self.write_nodes(ctx, &kinds::STARTS, &starts, reasons, of)?;
        self.write_nodes(ctx, &kinds::TARGETS, &targets, Vec::new(), of)?;
        let mut table = Table::create(ctx, self.name, &kinds::QUESTIONS, "questions")?;
        questions::append(&mut table, kept)?;
        table.finish()?;
        let info = SplitInfo {
            dataset: self.dataset,
            split: self.name,
            questions: count,
            not_askable,
        };
        info.write(ctx)?;
        Ok(count)
    }

    /// The nodes of a field `{type: [name]}`. Types are not looked at: a name is a name.
    fn named(
        &self,
        item: &mut questions::Item<'_, '_>,
        field: &str,
        value: Option<Json>,
    ) -> OpResult<Named> {
        let pairs = match value {
            Some(Json::Object(pairs)) => pairs,
            None => {
                item.reject(&format!("missing `{field}`"), "")?;
                return Ok(Named::default());
            }
            Some(other) => {
                let reason = format!("`{field}` is {}, not names by type", other.what());
                item.reject(&reason, &other.shown())?;
                return Ok(Named::default());
            }
        };
        let mut named = Named::default();
        for (kind, names) in pairs {
            // A text is one name: GFM-RAG 2.0 writes one, and reads it letter by letter.
            let names = match names {
                Json::Text(one) => Json::List(vec![Json::Text(one)]),
                Json::Null => Json::List(Vec::new()),
                other => other,
            };
            let names = item.texts(&format!("{field}.{kind}"), Some(names))?;
            named.titles += if kind == DOCUMENT { names.len() } else { 0 };
            for name in names.iter() {
                match self.nodes.keys.find(name) {
                    Some(row) => named.rows.push(row),
                    None if kind == DOCUMENT && field == reasons::TARGET => {
                        item.reject(reasons::TARGET_DOCUMENT, name)?;
                    }
                    None => item.reject(&reasons::unknown_node(field), name)?,
                }
            }
        }
        named.rows.sort_unstable();
        named.rows.dedup();
        Ok(named)
    }

    /// Writes the nodes that the questions start from, or ask for: one row for each of `rows`, a
    /// question with a node, and `more` columns. Port, kind and table are named alike.
    fn write_nodes(
        &self,
        ctx: &Context,
        kind: &'static Kind,
        rows: &[(u32, u32)],
        more: Vec<ArrayRef>,
        (questions, digest): (u64, &str),
    ) -> OpResult<()> {
        let port = format!("{}_{}", self.name, kind.name);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|r| r.0))),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|r| r.1))),
        ];
        columns.extend(more);
        let mut table = Table::create(ctx, &port, kind, kind.name)?;
        table.append(columns)?;
        table.finish()?;
        let nodes = self.nodes.rows.len() as u64;
        let mut info = Table::create(ctx, &port, kind, "info")?;
        info.append(vec![
            Arc::new(UInt64Array::from_iter_values([questions])),
            Arc::new(UInt64Array::from_iter_values([nodes])),
            Arc::new(StringArray::from_iter_values([digest])),
        ])?;
        info.finish()
    }
}
