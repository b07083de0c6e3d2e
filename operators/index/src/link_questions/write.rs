//! Writes the tables of linked questions.

use std::ops::Range;
use std::sync::Arc;

use ahash::AHashSet;
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt64Array};
use gfm_pipe_api::{Context, OpError, OpResult, artifact::texts_digest, columns, kinds};
use gfm_pipe_kg::questions::{self, SplitInfo};
use gfm_pipe_kg::tables::{Table, write_counts};

use super::Sources;
use super::graph::Graph;
use super::question_set::{ConnectedSplit, Split};
use crate::rows::{Cell, Rows};

/// The sources that find what the question names.
const NAMED: [&str; 3] = ["title", "entity", "partial"];

/// Writes the starts of a split, whose questions are a range of all questions.
///
/// # Errors
/// When writing fails.
pub fn starts(
    ctx: &Context,
    port: &str,
    sources: &Sources,
    questions: &[String],
    rows: Range<usize>,
    nodes: usize,
) -> OpResult<()> {
    let mut table = Rows::create(ctx, port, &kinds::STARTS, "starts")?;
    for (row, question) in (0..).zip(rows.clone()) {
        for (source, found) in sources {
            for start in &found[question] {
                table.push([
                    Cell::Id(row),
                    Cell::Id(start.node),
                    Cell::Text(source),
                    Cell::Score(start.weight),
                    Cell::Text(&start.text),
                ])?;
            }
        }
    }
    table.finish()?;
    let mut info = Rows::create(ctx, port, &kinds::STARTS, "info")?;
    info.push([
        Cell::Maybe(Some(rows.len() as u64)),
        Cell::Maybe(Some(nodes as u64)),
        Cell::Text(&texts_digest(&questions[rows])),
    ])?;
    info.finish()
}

/// Writes the questions of a split, with the entities that they name and those of their gold
/// documents.
///
/// # Errors
/// When a gold document does not exist, or writing fails.
pub fn questions(
    ctx: &Context,
    split: &ConnectedSplit<'_>,
    graph: &Graph,
    sources: &Sources,
    tally: &mut Tally,
) -> OpResult<()> {
    let port = split.ports.questions;
    let batch = split.questions.read("questions")?;
    let gold = columns::list_u32(&batch, "supporting_documents")?;
    let far = |documents: &Vec<u32>| documents.iter().any(|d| *d as usize >= graph.titles.len());
    if let Some(row) = gold.iter().position(far) {
        return Err(
            OpError::new("the question names a document that does not exist")
                .artifact(format!("{}.questions", split.questions.name))
                .row(row as u64)
                .hint("connect the `documents` that `ingest-questions` was given"),
        );
    }
    let named: Vec<Vec<u32>> = split
        .rows
        .clone()
        .map(|question| {
            let named = sources.iter().filter(|(source, _)| NAMED.contains(source));
            let mut seen = AHashSet::new();
            let nodes = named.flat_map(|(_, found)| found[question].iter().map(|s| s.node));
            nodes.filter(|node| seen.insert(*node)).collect()
        })
        .collect();
    let supporting: Vec<Vec<u32>> = gold.iter().map(|g| graph.supporting(g)).collect();
    let starts: Vec<AHashSet<u32>> = split
        .rows
        .clone()
        .map(|question| {
            let of_question = sources.iter().flat_map(|(_, found)| &found[question]);
            of_question.map(|s| s.node).collect()
        })
        .collect();
    let not_askable = tally.add(graph, &gold, &starts);
    let askable: Vec<bool> = starts.iter().map(|s| !s.is_empty()).collect();
    let mut replaced: Vec<(&str, ArrayRef)> = vec![
        ("question_entities", columns::build_list_u32(&named)),
        ("supporting_entities", columns::build_list_u32(&supporting)),
        ("askable", Arc::new(BooleanArray::from(askable))),
    ];
    copy(ctx, port, "questions", &batch, &mut replaced)?;
    let info = split.questions.read("info")?;
    let unasked = UInt64Array::from(vec![not_askable; info.num_rows()]);
    let mut replaced: Vec<(&str, ArrayRef)> = vec![("not_askable", Arc::new(unasked))];
    copy(ctx, port, "info", &info, &mut replaced)
}

/// Copies a table of questions, and replaces some columns.
fn copy(
    ctx: &Context,
    port: &str,
    table: &str,
    batch: &RecordBatch,
    replaced: &mut Vec<(&str, ArrayRef)>,
) -> OpResult<()> {
    let schema = batch.schema();
    let names = schema.fields().iter().map(|field| field.name());
    let columns = names.zip(batch.columns()).map(|(name, old)| {
        let new = replaced.iter().position(|(n, _)| n == name);
        new.map_or_else(|| Arc::clone(old), |at| replaced.swap_remove(at).1)
    });
    let columns = columns.collect();
    let mut out = Table::create(ctx, port, &kinds::QUESTIONS, table)?;
    out.append(columns)?;
    out.finish()
}

/// Writes empty tables for a split that is not connected.
///
/// # Errors
/// When writing fails.
pub fn nothing(ctx: &Context, split: &Split, nodes: usize) -> OpResult<()> {
    starts(ctx, split.starts, &Vec::new(), &[], 0..0, nodes)?;
    let mut table = Table::create(ctx, split.questions, &kinds::QUESTIONS, "questions")?;
    questions::append(&mut table, Vec::new())?;
    table.finish()?;
    let info = SplitInfo {
        dataset: "",
        split: split.questions,
        questions: 0,
        not_askable: 0,
    };
    info.write(ctx)
}

/// Counts over all splits.
#[derive(Default)]
pub struct Tally {
    questions: u64,
    not_askable: u64,
    gold: u64,
    missed: u64,
}

impl Tally {
    /// Counts the questions of a split. Returns the number of those without a start.
    fn add(&mut self, graph: &Graph, gold: &[Vec<u32>], starts: &[AHashSet<u32>]) -> u64 {
        let not_askable = starts.iter().filter(|s| s.is_empty()).count() as u64;
        self.questions += gold.len() as u64;
        self.not_askable += not_askable;
        for (documents, starts) in gold.iter().zip(starts) {
            let reached = |d: &&u32| graph.supporting(&[**d]).iter().any(|n| starts.contains(n));
            self.gold += documents.len() as u64;
            self.missed += documents.iter().filter(|d| !reached(d)).count() as u64;
        }
        not_askable
    }

    /// Writes the counts, with some more at the end.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write(self, ctx: &Context, sources: &Sources, more: Vec<(String, u64)>) -> OpResult<()> {
        let mut counts = vec![
            ("questions".to_owned(), self.questions),
            ("questions_without_start".to_owned(), self.not_askable),
        ];
        for (source, found) in sources {
            let starts: usize = found.iter().map(Vec::len).sum();
            let without = found.iter().filter(|starts| starts.is_empty()).count();
            counts.push((format!("starts_by_{source}"), starts as u64));
            counts.push((format!("questions_without_{source}"), without as u64));
        }
        counts.push(("gold_documents".to_owned(), self.gold));
        counts.push(("gold_documents_without_start".to_owned(), self.missed));
        counts.extend(more);
        write_counts(ctx, &counts)
    }
}
