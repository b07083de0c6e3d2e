//! What a task adds to the training loop.

use std::ops::Range;

use gfm_pipe_api::OpResult;
use rand_chacha::ChaCha8Rng;

use super::foresee::Foreseen;
use super::memory::Sizes;
use crate::divided::Divided;
use crate::gpu::{Pending, Trainer};
use crate::model::{Grads, ModelConfig, Params};
use crate::progress::Pass;
use crate::tensor_error;

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

/// What one step on a batch gives: of several ranks, a part that adds up to the whole with the others'.
pub(crate) struct Step {
    /// Whether loss and parts are those of the whole batch, on every rank: only gradients are added up then.
    pub whole: bool,
    /// The loss.
    pub loss: f64,
    /// The values of its parts, in the order of [`Task::parts`].
    pub parts: Vec<f64>,
    /// Gradients by parameter.
    pub grads: Grads,
}

impl Step {
    /// The part of a rank that has no row of a batch.
    pub fn nothing(params: &Params, parts: usize) -> OpResult<Self> {
        Ok(Step {
            whole: false,
            loss: 0.0,
            parts: vec![0.0; parts],
            grads: params.tensors.zeros_like().map_err(tensor_error)?,
        })
    }
}

/// Pre-training or fine-tuning: how a batch becomes a loss, and what is measured after an epoch.
pub(crate) trait Task: Sync {
    /// A data set in memory.
    type Data: Send + Sync + 'static;

    /// What the CPU finds out about a batch before a GPU computes it.
    type Ready: Send;

    /// Number of training samples of a data set.
    fn samples(&self, data: &Self::Data) -> usize;

    /// Sizes of a data set that memory depends on.
    fn sizes(&self, data: &Self::Data) -> Sizes;

    /// What memory and time of a batch of these samples depend on.
    fn foreseen(&self, data: &Self::Data, config: &ModelConfig, numbers: &[usize]) -> Foreseen;

    /// What to tell the user about a data set before training starts.
    fn describe(&self, data: &Self::Data) -> String;

    /// The part of a data set's graph that this rank has, where ranks divide graphs.
    fn divided<'d>(&self, data: &'d Self::Data) -> Option<&'d Divided>;

    /// What the user should look at in a data set, if anything.
    fn warning(&self, data: &Self::Data) -> Option<String>;

    /// Names of the loss's parts, where it has several.
    fn parts(&self) -> Vec<String>;

    /// Loss and gradients of this rank's rows of a batch.
    ///
    /// # Errors
    /// When something cannot be computed.
    fn step(
        &self,
        data: &Self::Data,
        params: &Params,
        batch: &Batched<'_>,
        rng: &mut ChaCha8Rng,
    ) -> OpResult<Step>;

    /// A batch for a GPU; `params` are there for their dimensions only.
    ///
    /// # Errors
    /// When something cannot be computed.
    fn prepare(
        &self,
        data: &Self::Data,
        params: &Params,
        batch: &Batched<'_>,
        rng: &mut ChaCha8Rng,
    ) -> OpResult<Self::Ready>;

    /// Queues a step on it, with a learning rate times `factor`.
    ///
    /// # Errors
    /// When the device reports one, or has too little memory.
    fn launch(
        &self,
        data: &Self::Data,
        trainer: &mut dyn Trainer,
        ready: Self::Ready,
        factor: f64,
    ) -> OpResult<Pending>;

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
        by: By<'_>,
    ) -> OpResult<Vec<(String, f64)>>;

    /// The metric the best epoch is chosen by.
    fn best_by(&self) -> BestBy;
}

/// Whose weights are validated.
#[derive(Clone, Copy)]
pub(crate) enum By<'a> {
    /// These, on the CPU.
    Cpu(&'a Params),
    /// Those on a GPU.
    Gpu(&'a dyn Trainer),
}

/// Which metric chooses the best epoch, and which way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BestBy {
    /// Name, as [`Task::validate`] gives it.
    pub metric: String,
    /// Whether less is better.
    pub smaller: bool,
}
