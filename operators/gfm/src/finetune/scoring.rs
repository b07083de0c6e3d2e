//! Entity scores of many questions, a batch at a time.

use candle_core::Tensor;
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

/// Gives the entity scores of each question that has entities to `take`, in order, and keeps none of them. `background` is that of model
/// and graph, where it was computed before.
pub(crate) fn each_scored(
    ctx: &Context,
    (params, background): (&Params, Option<Vec<Tensor>>),
    input: &LoadedGraph,
    (questions, seeds): (&Questions, &[Vec<(u32, f64)>]),
    batch_size: usize,
    mut take: impl FnMut(usize, &[f64]),
) -> OpResult<()> {
    let askable: Vec<usize> = (0..questions.len())
        .filter(|i| !seeds[*i].is_empty())
        .collect();
    if askable.is_empty() {
        return Ok(());
    }
    let model = Retriever::new(params, &input.graph, &input.embeddings)
        .prepared(background)
        .map_err(tensor_error)?;
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
