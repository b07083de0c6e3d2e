//! Entity scores of many questions, computed in batches.

use gfm_pipe_api::OpResult;
use gfm_pipe_api::ranks::part;

use gfm_pipe_eval::starts::Starts;
use gfm_pipe_model::model::Question;
use gfm_pipe_model::progress::Pass;
use gfm_pipe_model::questions::Questions;
use gfm_pipe_model::scorer::{Scorer, check_cancelled, check_scores};

/// Questions and the nodes that each starts from.
#[derive(Clone, Copy)]
pub(crate) struct SeededQuestions<'a> {
    pub questions: &'a Questions,
    pub seeds: &'a [Starts],
}

/// Calls `take` with the entity scores of each question that has a node to start from, in order.
/// Each rank does so only for its own share of the questions, even if all ranks scored all
/// questions together.
pub(crate) fn score_each(
    pass: Pass<'_>,
    by: &dyn Scorer,
    nodes: usize,
    SeededQuestions { questions, seeds }: SeededQuestions<'_>,
    batch_size: usize,
    mut take: impl FnMut(usize, &[f64]),
) -> OpResult<()> {
    let ctx = pass.ctx;
    let askable: Vec<usize> = (0..questions.len())
        .filter(|i| !seeds[*i].is_empty())
        .collect();
    let mine = part(askable.len(), ctx.ranks.rank(), ctx.ranks.size());
    let scored = if by.together() {
        0..askable.len()
    } else {
        mine.clone()
    };
    let mut places = scored.clone();
    let (mut done, all) = (0, scored.len());
    pass.at(done, all);
    for rows in askable[scored].chunks(batch_size.max(1)) {
        check_cancelled(ctx, by)?;
        let batch: Vec<Question<'_>> = rows
            .iter()
            .map(|i| Question {
                embedding: questions.embedding(*i),
                seeds: &seeds[*i],
            })
            .collect();
        let scores = by.questions(&batch)?;
        check_scores(&scores, nodes, |row| {
            let id = &questions.ids[rows[row]];
            format!("question `{id}` of `{}`", questions.name)
        })?;
        let rows = rows.iter().zip(scores.chunks_exact(nodes));
        for ((i, scores), at) in rows.zip(&mut places) {
            if mine.contains(&at) {
                take(*i, scores);
            }
        }
        done += batch.len();
        pass.at(done, all);
    }
    Ok(())
}
