//! Finds documents that share rare words with a question: codes, numbers and names that no other
//! source finds.

use std::cmp::Ordering;

use gfm_pipe_api::bm25::{self, Bm25};
use gfm_pipe_api::{Context, OpResult};
use rayon::prelude::*;

use super::Found;
use super::graph::Graph;
use super::nearest::Near;
use super::similar::{between_0_and_1, of_documents};

/// The index of the documents.
///
/// # Errors
/// When the documents cannot be read.
pub fn index(ctx: &Context) -> OpResult<Bm25> {
    let index = bm25::read(ctx.input("documents")?)?;
    ctx.check_cancelled()?;
    Ok(index)
}

/// Finds the documents with the highest BM25 score for each question.
pub fn documents(index: &Bm25, graph: &Graph, questions: &[String], top: usize) -> Found {
    let found = questions.par_iter().map(|question| {
        let scores = (0..).zip(index.scores(question));
        let mut near: Vec<Near> = scores.filter(|(_, score)| *score > 0.0).collect();
        let order = |a: &Near, b: &Near| -> Ordering { b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)) };
        if near.len() > top {
            near.select_nth_unstable_by(top - 1, order);
            near.truncate(top);
        }
        near.sort_by(order);
        of_documents(graph, &between_0_and_1(&near, top))
    });
    found.collect()
}
