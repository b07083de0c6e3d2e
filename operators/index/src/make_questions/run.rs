//! Runs the operator: reads, makes, and writes.

use std::sync::Arc;

use arrow::array::{StringArray, UInt64Array};
use gfm_pipe_api::{Context, ErrorKind, OpError, OpResult, kinds};
use gfm_pipe_english::English;
use gfm_pipe_kg::questions::{self, Question};
use gfm_pipe_kg::tables::{Piece, Table, write_counts};

use super::candidate::id;
use super::corpus;
use super::make::{Made, make};
use super::params::{By, MakeParams};
use super::read;
use super::reword::reword;
use crate::rows::{Cell, Rows};

/// Makes the questions.
///
/// # Errors
/// When an input cannot be read, the user wants to stop, or writing fails.
pub fn run(params: &MakeParams, ctx: &Context) -> OpResult<()> {
    let documents = read::documents(ctx)?;
    let vectors = read::vectors(ctx)?;
    let excluded = read::excluded(ctx)?;
    let english = English::new().map_err(|e| {
        OpError::wrap("failed to load the compiled-in English pipeline", e)
            .with_kind(ErrorKind::Internal)
    })?;
    let total = documents.len() as u64;
    let corpus = corpus::read(&english, &documents, &mut |read| {
        ctx.progress(read as u64, total, "documents", "");
        ctx.check_cancelled()
    })?;
    let mut result = make(&corpus, vectors.as_ref(), &excluded, params, &mut |made| {
        ctx.progress(made as u64, params.questions as u64, "questions", "");
        ctx.check_cancelled()
    })?;
    if result.made.len() < params.questions {
        ctx.warn(format!(
            "{} of {} questions were made: the documents do not yield more; see `gfm-pipe show {}`",
            result.made.len(),
            params.questions,
            ctx.typed("counts")
        ));
    }
    let wordings = match params.by {
        By::Rules => Vec::new(),
        By::Llm => reword(params, ctx, &corpus, &excluded, &mut result.made)?,
    };
    write(ctx, &params.dataset, &result.made)?;
    let mut counts = vec![
        ("documents".to_owned(), total),
        ("statements".to_owned(), corpus.statements.len() as u64),
        ("questions".to_owned(), result.made.len() as u64),
    ];
    counts.extend(wordings);
    counts.extend(result.counts);
    write_counts(ctx, &counts)
}

fn write(ctx: &Context, dataset: &str, made: &[Made]) -> OpResult<()> {
    let mut table = Table::create(ctx, "questions", &kinds::QUESTIONS, "questions")?;
    let mut negatives = Rows::create(ctx, "negatives", &kinds::NEGATIVES, "negatives")?;
    let mut piece = Piece::default();
    let mut kept = Vec::new();
    for (row, one) in (0..).zip(made) {
        for negative in &one.negatives {
            negatives.push([
                Cell::Id(row),
                Cell::Id(negative.document),
                Cell::Text(negative.system),
                Cell::Id(negative.rank),
            ])?;
        }
        let question = question(one);
        let bytes = question.bytes();
        kept.push(question);
        if piece.add(bytes) {
            piece.take();
            questions::append(&mut table, std::mem::take(&mut kept))?;
        }
    }
    questions::append(&mut table, kept)?;
    table.finish()?;
    negatives.finish()?;
    let mut info = Table::create(ctx, "questions", &kinds::QUESTIONS, "info")?;
    // No entity is known here: `link-questions` finds where the questions start.
    let number = || Arc::new(UInt64Array::from(vec![made.len() as u64]));
    info.append(vec![
        Arc::new(StringArray::from(vec![dataset])),
        Arc::new(StringArray::from(vec!["train"])),
        number(),
        number(),
    ])?;
    info.finish()
}

fn question(made: &Made) -> Question {
    let candidate = &made.candidate;
    let mut documents = candidate.gold.clone();
    documents.sort_unstable();
    documents.dedup();
    Question {
        id: id(&candidate.text, &documents),
        text: candidate.text.clone(),
        answer: Some(candidate.answer.clone()),
        entities: Vec::new(),
        supporting_entities: Vec::new(),
        gold_titles: u32::try_from(documents.len()).unwrap_or(u32::MAX),
        documents,
        hops: Some(candidate.hops),
        groups: vec![format!("type={}", candidate.of.name())],
    }
}
