//! Entity scores of many questions, a batch at a time.

use gfm_pipe_api::{Context, OpResult};

use crate::documents::Questions;
use crate::eval::EntityDocuments;
use crate::inputs::LoadedGraph;
use crate::model::{Params, Question, Retriever};
use crate::tensor::to_f64;
use crate::tensor_error;

/// Weighted question entities: 1 / number of documents, or 1.
pub(crate) fn seeds(
    entities: &[u32],
    documents: &EntityDocuments,
    weighted: bool,
) -> Vec<(u32, f64)> {
    entities
        .iter()
        .map(|e| {
            let w = if weighted { documents.weight(*e) } else { 1.0 };
            (*e, w)
        })
        .collect()
}

/// Entity scores of every question, `[questions][N]`; a question without entities scores 0 everywhere.
pub(crate) fn score_questions(
    ctx: &Context,
    params: &Params,
    input: &LoadedGraph,
    questions: &Questions,
    seeds: &[Vec<(u32, f64)>],
    batch_size: usize,
) -> OpResult<Vec<Vec<f64>>> {
    let mut out = vec![vec![0.0; input.graph.nodes()]; questions.len()];
    each_scored(
        ctx,
        params,
        input,
        (questions, seeds),
        batch_size,
        |i, scores| {
            out[i] = scores.to_vec();
        },
    )?;
    Ok(out)
}

/// Gives the entity scores of each question that has entities to `take`, in order, and keeps none of them.
pub(super) fn each_scored(
    ctx: &Context,
    params: &Params,
    input: &LoadedGraph,
    (questions, seeds): (&Questions, &[Vec<(u32, f64)>]),
    batch_size: usize,
    mut take: impl FnMut(usize, &[f64]),
) -> OpResult<()> {
    let model = Retriever::new(params, &input.graph, &input.embeddings);
    let askable: Vec<usize> = (0..questions.len())
        .filter(|i| !seeds[*i].is_empty())
        .collect();
    for rows in askable.chunks(batch_size.max(1)) {
        ctx.check_cancelled()?;
        let batch: Vec<Question<'_>> = rows
            .iter()
            .map(|i| Question {
                embedding: questions.embedding(*i),
                seeds: &seeds[*i],
            })
            .collect();
        let scores = model
            .score_all(&batch)
            .and_then(|s| to_f64(&s))
            .map_err(tensor_error)?;
        for (i, scores) in rows.iter().zip(scores.chunks_exact(input.graph.nodes())) {
            take(*i, scores);
        }
    }
    Ok(())
}
