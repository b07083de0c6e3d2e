//! Scores of all nodes by a model, whatever computes them.

use std::cell::OnceCell;

use candle_core::Tensor;
use gfm_pipe_api::{OpError, OpResult};

use crate::graph::Graph;
use crate::graph::TailQuery;
use crate::model::{Params, QueryGnn, Question, Retriever};
use crate::sampling::Triple;
use crate::tensor::to_f64;
use crate::tensor_error;

/// Computes scores of all nodes of a graph by a model.
pub trait Scorer {
    /// Of questions, `[B, N]`.
    ///
    /// # Errors
    /// When something cannot be computed (so for both).
    fn questions(&self, batch: &[Question<'_>]) -> OpResult<Vec<f64>>;

    /// Of tail queries, `[B, N]`, on the graph without some triples and their inverses.
    ///
    /// # Errors
    /// See above.
    fn links(&self, gone: &[Triple], queries: &[TailQuery]) -> OpResult<Vec<f64>>;

    /// Whether all ranks compute every score together: each of them must ask for all, in the same order. Else each rank may
    /// ask for different ones.
    fn together(&self) -> bool {
        false
    }
}

/// Checks that scores, rows of `nodes` of them, are numbers; `of` names a row. Ranked as they are,
/// others would only look bad.
///
/// # Errors
/// When one is NaN or infinite.
pub fn check_scores(scores: &[f64], nodes: usize, of: impl Fn(usize) -> String) -> OpResult<()> {
    let Some(at) = scores.iter().position(|s| !s.is_finite()) else {
        return Ok(());
    };
    let (row, entity, score) = (at / nodes.max(1), at % nodes.max(1), scores[at]);
    Err(OpError::new(format!(
        "the model gives entity {entity} the score {score} for {}",
        of(row)
    ))
    .hint("its weights are too large to compute with: train it again with a lower `optimizer.lr`, or with `train.clip_norm`"))
}

/// A model on a graph on the CPU.
pub struct OnCpu<'a> {
    params: &'a Params,
    graph: &'a Graph,
    /// Embeddings of relation names, `[2R, text]`.
    embeddings: &'a Tensor,
    /// What no question changes: computed when the first question comes, unless it was given.
    ready: OnceCell<Retriever<'a>>,
}

impl<'a> OnCpu<'a> {
    /// A model on a graph.
    pub fn new(params: &'a Params, graph: &'a Graph, embeddings: &'a Tensor) -> Self {
        OnCpu {
            params,
            graph,
            embeddings,
            ready: OnceCell::new(),
        }
    }

    /// The same with a background that was computed before.
    pub fn known(
        params: &'a Params,
        (graph, embeddings): (&'a Graph, &'a Tensor),
        background: Option<Vec<Tensor>>,
    ) -> OpResult<Self> {
        let out = OnCpu::new(params, graph, embeddings);
        out.prepared(background)?;
        Ok(out)
    }

    fn prepared(&self, background: Option<Vec<Tensor>>) -> OpResult<&Retriever<'a>> {
        if self.ready.get().is_none() {
            let model = Retriever::new(self.params, self.graph, self.embeddings);
            let made = model.prepared(background)?;
            let _ = self.ready.set(made);
        }
        match self.ready.get() {
            Some(ready) => Ok(ready),
            None => unreachable!("it was set above"),
        }
    }
}

impl Scorer for OnCpu<'_> {
    fn questions(&self, batch: &[Question<'_>]) -> OpResult<Vec<f64>> {
        let scores = self.prepared(None)?.score_all(batch)?;
        to_f64(&scores).map_err(tensor_error)
    }

    fn links(&self, gone: &[Triple], queries: &[TailQuery]) -> OpResult<Vec<f64>> {
        let pruned = self.graph.without(gone.iter().copied());
        let model = QueryGnn::new(self.params, &pruned, self.embeddings);
        to_f64(&model.score_all(queries)?).map_err(tensor_error)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_score_that_is_no_number_is_an_error_with_its_question() {
        let of = |row| format!("question `q{row}`");
        check_scores(&[0.0, -1.0, f64::MAX, 3.0], 2, of).unwrap();
        check_scores(&[], 0, of).unwrap();
        for (bad, said) in [(f64::NAN, "NaN"), (f64::NEG_INFINITY, "-inf")] {
            let e = check_scores(&[0.0, 1.0, 2.0, bad], 2, of).unwrap_err();
            assert_eq!(
                e.to_string(),
                format!("the model gives entity 1 the score {said} for question `q1`")
            );
        }
    }
}
