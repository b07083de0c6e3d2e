//! What a task adds to the training loop.

use gfm_pipe_api::{Context, OpResult};
use rand_chacha::ChaCha8Rng;

use crate::model::{Grads, Params};

/// What one step on a batch gives.
pub struct Step {
    /// The loss.
    pub loss: f64,
    /// The values of its parts, in the order of [`Task::parts`].
    pub parts: Vec<f64>,
    /// Gradients by parameter.
    pub grads: Grads,
}

/// Pre-training or fine-tuning: how a batch becomes a loss, and what is measured after an epoch.
pub trait Task {
    /// A data set in memory.
    type Data: Send + Sync + 'static;

    /// Number of training samples of a data set.
    fn samples(&self, data: &Self::Data) -> usize;

    /// What to tell the user about a data set before training starts.
    fn describe(&self, data: &Self::Data) -> String;

    /// What the user should look at in a data set, if anything.
    fn warning(&self, data: &Self::Data) -> Option<String>;

    /// Names of the loss's parts, where it has several.
    fn parts(&self) -> Vec<String>;

    /// Loss and gradients of a batch of sample numbers.
    ///
    /// # Errors
    /// When something cannot be computed.
    fn step(
        &self,
        data: &Self::Data,
        params: &Params,
        batch: &[usize],
        rng: &mut ChaCha8Rng,
    ) -> OpResult<Step>;

    /// Whether a data set has something to validate on.
    fn validates(&self, data: &Self::Data) -> bool;

    /// Validation metrics of a data set that validates, the same names for each.
    ///
    /// # Errors
    /// When the user interrupts, or something cannot be computed.
    fn validate(
        &self,
        ctx: &Context,
        data: &Self::Data,
        params: &Params,
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
