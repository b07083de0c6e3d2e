//! What a task adds to the training loop.

use std::ops::Range;

use gfm_pipe_api::OpResult;
use rand_chacha::ChaCha8Rng;

use super::memory::Sizes;
use gfm_pipe_model::backend::{Batch, Source};
use gfm_pipe_model::progress::Pass;
use gfm_pipe_model::scorer::Scorer;

/// Sample numbers of a batch, which ranks share.
#[derive(Debug, Clone)]
pub(crate) struct Batched<'a> {
    /// Of the whole batch: whatever is drawn at random or decides on other rows is drawn and decided for all of them, on every rank.
    pub all: &'a [usize],
    /// The rows that this rank computes; there may be none. All of them where ranks divide graphs.
    pub mine: Range<usize>,
}

impl Batched<'_> {
    /// Sample numbers of the rows that this rank computes.
    pub fn mine(&self) -> &[usize] {
        &self.all[self.mine.clone()]
    }
}

/// Pre-training or fine-tuning: how a batch becomes a loss, and what is measured after an epoch.
pub(crate) trait Task: Sync {
    /// A data set in memory.
    type Data: Send + Sync + 'static;

    /// Number of training samples of a data set.
    fn samples(&self, data: &Self::Data) -> usize;

    /// Sizes of a data set that memory depends on.
    fn sizes(&self, data: &Self::Data) -> Sizes;

    /// What to tell the user about a data set before training starts.
    fn describe(&self, data: &Self::Data) -> String;

    /// A data set's graph.
    fn source<'d>(&self, data: &'d Self::Data) -> Source<'d>;

    /// What the user should look at in a data set, if anything.
    fn warning(&self, data: &Self::Data) -> Option<String>;

    /// Names of the loss's parts, where it has several.
    fn parts(&self) -> Vec<String>;

    /// This rank's rows of a batch. Whatever is drawn at random is drawn for the whole batch.
    fn batch<'d>(
        &'d self,
        data: &'d Self::Data,
        batched: &Batched<'_>,
        rng: &mut ChaCha8Rng,
    ) -> Batch<'d>;

    /// Number of samples a data set is validated on; 0: it is not.
    fn validated(&self, data: &Self::Data) -> usize;

    /// Validation metrics of a data set that is validated on, the same names for each; all ranks of
    /// the context take part. The pass reports its progress.
    ///
    /// # Errors
    /// When the user interrupts, or something cannot be computed.
    fn validate(
        &self,
        pass: Pass<'_>,
        data: &Self::Data,
        scorer: &dyn Scorer,
    ) -> OpResult<Vec<(String, f64)>>;

    /// The metric the best epoch is chosen by.
    fn best_by(&self) -> BestBy;
}

/// Which metric chooses the best epoch, and which way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BestBy {
    /// Name, as [`Task::validate`] gives it.
    pub metric: String,
    /// Whether less is better.
    pub smaller: bool,
}
