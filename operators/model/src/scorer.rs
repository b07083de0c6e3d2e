//! The interface to scores of all nodes, for the CPU, divided graphs and GPUs; and the scorer for
//! the CPU.

use std::cell::OnceCell;

use candle_core::Tensor;
use gfm_pipe_api::ranks::gather;
use gfm_pipe_api::{Context, OpError, OpResult};

use crate::graph::{Graph, TailQuery};
use crate::model::{Params, QueryGnn, Question, Retriever, Texts};
use crate::sampling::Triple;
use crate::tensor::to_f64;
use crate::tensor_error;

/// A model on a graph that scores all nodes.
pub trait Scorer {
    /// Scores for questions, `[B, N]`.
    ///
    /// # Errors
    /// When scores cannot be computed.
    fn questions(&self, batch: &[Question<'_>]) -> OpResult<Vec<f64>>;

    /// Scores for tail queries, `[B, N]`, on the graph without the triples in `gone` and their
    /// inverses.
    ///
    /// # Errors
    /// When scores cannot be computed.
    fn links(&self, gone: &[Triple], queries: &[TailQuery]) -> OpResult<Vec<f64>>;

    /// Whether all ranks compute every score together. Then each rank must ask for all scores, in
    /// the same order. Otherwise each rank may ask for different scores.
    fn together(&self) -> bool {
        false
    }
}

/// Stops if the user asked to stop. Ranks that score together agree on it, so that none waits for a
/// rank that has stopped.
///
/// # Errors
/// [`OpError::Cancelled`] if the user asked to stop; another error when the connection to a rank
/// fails.
pub fn check_cancelled(ctx: &Context, scorer: &dyn Scorer) -> OpResult<()> {
    if !scorer.together() {
        return ctx.check_cancelled();
    }
    if gather(&*ctx.ranks, &ctx.cancel.is_cancelled())?.contains(&true) {
        Err(OpError::Cancelled)
    } else {
        Ok(())
    }
}

/// Checks that all scores are finite numbers; NaN would be ranked without notice. Each row has
/// `nodes` scores, and `of` names a row.
///
/// # Errors
/// When a score is NaN or infinite.
pub fn check_scores(scores: &[f64], nodes: usize, of: impl Fn(usize) -> String) -> OpResult<()> {
    let Some(at) = scores.iter().position(|s| !s.is_finite()) else {
        return Ok(());
    };
    let (row, entity, score) = (at / nodes.max(1), at % nodes.max(1), scores[at]);
    Err(OpError::data(format!(
        "the model gives entity {entity} the score {score} for {}",
        of(row)
    ))
    .hint("its weights are too large to compute with: train it again with a lower `optimizer.lr`, or with `train.clip_norm`"))
}

/// A model on a graph on the CPU.
pub struct OnCpu<'a> {
    params: &'a Params,
    graph: &'a Graph,
    texts: Texts<'a>,
    /// The retriever with its background. The first question prepares it, unless the background was
    /// computed before.
    ready: OnceCell<Retriever<'a>>,
}

impl<'a> OnCpu<'a> {
    /// A model on a graph.
    pub fn new(params: &'a Params, graph: &'a Graph, texts: impl Into<Texts<'a>>) -> Self {
        OnCpu {
            params,
            graph,
            texts: texts.into(),
            ready: OnceCell::new(),
        }
    }

    /// Like [`OnCpu::new`], and prepares the model for questions at once. `background`: its states,
    /// if they were computed before.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn with_background(
        params: &'a Params,
        graph: &'a Graph,
        texts: impl Into<Texts<'a>>,
        background: Option<Vec<Tensor>>,
    ) -> OpResult<Self> {
        let out = OnCpu::new(params, graph, texts);
        out.prepared(background)?;
        Ok(out)
    }

    fn prepared(&self, background: Option<Vec<Tensor>>) -> OpResult<&Retriever<'a>> {
        if self.ready.get().is_none() {
            let model = Retriever::new(self.params, self.graph, self.texts);
            let made = model.prepared(background)?;
            let _ = self.ready.set(made);
        }
        match self.ready.get() {
            Some(ready) => Ok(ready),
            None => unreachable!("the cell was set above"),
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
        let model = QueryGnn::new(self.params, &pruned, self.texts);
        to_f64(&model.score_all(queries)?).map_err(tensor_error)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_score_that_is_not_finite_is_an_error_with_its_question() {
        let of = |row| format!("question `q{row}`");
        check_scores(&[0.0, -1.0, f64::MAX, 3.0], 2, of).unwrap();
        check_scores(&[], 0, of).unwrap();
        for (bad, shown) in [(f64::NAN, "NaN"), (f64::NEG_INFINITY, "-inf")] {
            let e = check_scores(&[0.0, 1.0, 2.0, bad], 2, of).unwrap_err();
            assert_eq!(
                e.to_string(),
                format!("the model gives entity 1 the score {shown} for question `q1`")
            );
        }
    }
}
