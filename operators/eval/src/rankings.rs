//! The best documents of each system for each question: the table `rankings`.

use std::sync::Arc;

use arrow::array::{Float64Array, StringArray, UInt32Array};
use gfm_pipe_api::{Context, OpResult, columns, kinds};

use crate::rankers::NO_SCORE;
use crate::top;

/// The best documents for a question with their scores, best first.
pub type RankedList = Vec<(u32, f64)>;

/// The `depth` best documents, without those that are later pieces of others (score NaN). A
/// document with [`NO_SCORE`], whose sum is empty, gets the score 0.
pub fn first(scores: &[f64], depth: usize) -> RankedList {
    let shown = |score: f64| if score == NO_SCORE { 0.0 } else { score };
    let best = top(scores, depth).into_iter();
    let best = best.filter(|d| !scores[*d as usize].is_nan());
    best.map(|d| (d, shown(scores[d as usize]))).collect()
}

struct Row {
    question: usize,
    system: Arc<str>,
    rank: u32,
    document: u32,
    score: f64,
}

/// Collects the best documents of systems for questions.
#[derive(Default)]
pub struct Rankings {
    rows: Vec<Row>,
}

impl Rankings {
    /// Adds a system's list for a question.
    pub fn add(&mut self, system: &Arc<str>, question: usize, list: RankedList) {
        let rows = (1..).zip(list).map(|(rank, (document, score))| Row {
            question,
            system: Arc::clone(system),
            rank,
            document,
            score,
        });
        self.rows.extend(rows);
    }

    /// Writes the port `rankings`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, ctx: &Context, ids: &[String], titles: &StringArray) -> OpResult<()> {
        let rows = || self.rows.iter();
        let title = |row: &Row| titles.value(row.document as usize);
        let rankings = columns::batch(
            &kinds::RANKINGS.tables[0],
            vec![
                Arc::new(StringArray::from_iter_values(
                    rows().map(|row| &ids[row.question]),
                )),
                Arc::new(StringArray::from_iter_values(rows().map(|row| &row.system))),
                Arc::new(UInt32Array::from_iter_values(rows().map(|row| row.rank))),
                Arc::new(StringArray::from_iter_values(rows().map(title))),
                Arc::new(Float64Array::from_iter_values(rows().map(|row| row.score))),
            ],
        )?;
        ctx.write("rankings", "rankings", &rankings)
    }
}
