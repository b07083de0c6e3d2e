//! What the training loop asks of a task.

use std::ops::Range;

use gfm_pipe_api::OpResult;
use rand_chacha::ChaCha8Rng;

use super::memory::Sizes;
use gfm_pipe_model::backend::{Batch, Source};
use gfm_pipe_model::model::Params;
use gfm_pipe_model::progress::Pass;
use gfm_pipe_model::scorer::Scorer;

/// Sample numbers of a batch that ranks compute together.
#[derive(Debug, Clone)]
pub(crate) struct BatchSamples<'a> {
    /// All rows of the batch. Every rank draws random numbers for all of them, so that all ranks
    /// draw the same.
    pub all: &'a [usize],
    /// The rows that this rank computes, possibly none. Where ranks divide graphs, all rows.
    pub mine: Range<usize>,
}

impl BatchSamples<'_> {
    /// Sample numbers of the rows that this rank computes.
    pub fn mine(&self) -> &[usize] {
        &self.all[self.mine.clone()]
    }
}

/// Pre-training or fine-tuning: how a batch becomes a loss, and what validation measures.
pub(crate) trait Task: Sync {
    /// A data set, loaded into memory.
    type Data: Send + Sync + 'static;

    /// Number of training samples of a data set.
    fn samples(&self, data: &Self::Data) -> usize;

    /// Sizes of a data set, to estimate the memory of a step.
    fn sizes(&self, data: &Self::Data) -> Sizes;

    /// One line about a data set for the log, before training starts.
    fn describe(&self, data: &Self::Data) -> String;

    /// A data set's graph and embeddings, as backends need them.
    fn source<'d>(&self, data: &'d Self::Data) -> Source<'d>;

    /// A warning about a data set, if it looks wrong.
    fn warning(&self, data: &Self::Data) -> Option<String>;

    /// Names of the loss's parts; empty if the loss has only one.
    fn parts(&self) -> Vec<String>;

    /// This rank's rows of a batch. Random numbers are drawn for the whole batch.
    fn batch<'d>(
        &'d self,
        data: &'d Self::Data,
        samples: &BatchSamples<'_>,
        rng: &mut ChaCha8Rng,
    ) -> Batch<'d>;

    /// Number of validation samples of a data set.
    fn validated(&self, data: &Self::Data) -> usize;

    /// Whether the weights that training starts from are validated too. They are then kept if no
    /// epoch is better.
    fn validates_start(&self) -> bool {
        false
    }

    /// Validation metrics of a data set that has validation samples. One that no sample has a value
    /// of is left out. All ranks take part, and `pass` reports the progress. `params` are the
    /// weights that `scorer` scores with.
    ///
    /// # Errors
    /// When the user interrupts, or something cannot be computed.
    fn validate(
        &self,
        pass: Pass<'_>,
        data: &Self::Data,
        scorer: &dyn Scorer,
        params: &Params,
    ) -> OpResult<Vec<(String, f64)>>;

    /// The metric that the best epoch is chosen by.
    fn best_by(&self) -> BestBy;

    /// Whether the validation of a data set has a value of that metric.
    fn measures_best(&self, data: &Self::Data) -> bool {
        self.validated(data) > 0
    }
}

/// The metric that chooses the best epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BestBy {
    /// Name, as [`Task::validate`] returns it.
    pub metric: String,
    /// Whether smaller values are better.
    pub smaller: bool,
}
