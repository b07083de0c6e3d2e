//! Scores on divided graphs, computed by all ranks together.

use candle_core::Tensor;
use gfm_pipe_api::OpResult;

use super::{Divided, lock};
use crate::model::partition::{PartitionedGnn, PartitionedRetriever, Traffic};
use crate::model::{Params, Question, TailQuery, Texts};
use crate::sampling::{EasyEdges, Triple};
use crate::scorer::Scorer;
use crate::tensor::to_f64;
use crate::tensor_error;

/// A model on a divided graph. All ranks ask for the same scores in the same order, and each of
/// them gets all scores.
pub struct OverRanks<'a> {
    params: &'a Params,
    divided: &'a Divided,
    texts: Texts<'a>,
}

impl<'a> OverRanks<'a> {
    /// A model on a divided graph. The texts of nodes are those of this rank's part.
    pub fn new(params: &'a Params, divided: &'a Divided, texts: impl Into<Texts<'a>>) -> Self {
        OverRanks {
            params,
            divided,
            texts: texts.into(),
        }
    }

    /// Counts the traffic of a batch and returns its scores.
    fn counted(&self, scores: &Tensor, traffic: &Traffic) -> OpResult<Vec<f64>> {
        lock(&self.divided.sent).batches.add(traffic);
        to_f64(scores).map_err(tensor_error)
    }
}

impl Scorer for OverRanks<'_> {
    fn questions(&self, batch: &[Question<'_>]) -> OpResult<Vec<f64>> {
        let (part, ranks) = (&self.divided.part, &*self.divided.ranks);
        let model = PartitionedRetriever::new(self.params, part, self.texts, ranks)?;
        let scores = model.score_all(batch)?;
        self.counted(&scores, &model.traffic())
    }

    fn links(&self, gone: &[Triple], queries: &[TailQuery]) -> OpResult<Vec<f64>> {
        let (part, ranks) = (&self.divided.part, &*self.divided.ranks);
        let graph = part.without(EasyEdges::Relation, gone.iter().copied());
        let model = PartitionedGnn::new(self.params, part, self.texts, ranks)?.on(&graph);
        let scores = model.score_all(queries)?;
        self.counted(&scores, &model.traffic())
    }

    fn together(&self) -> bool {
        true
    }
}
