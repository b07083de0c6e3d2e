//! What computes a training: the CPU, ranks that divide graphs, or a GPU. The training loop draws batches and keeps
//! accounts; a [`Backend`] makes steps of batches, and scores.

mod batch;

use std::any::Any;
use std::sync::OnceLock;

use candle_core::{DType, Tensor};
use gfm_pipe_api::{OpError, OpResult};

pub use self::batch::{Batch, Gold, LinkBatch, Prepared, Preparer, QuestionBatch, Term};
use crate::divided::Divided;
use crate::graph::Graph;
use crate::model::{Compute, Params};
use crate::optimizer::Optimizer;
use crate::scorer::Scorer;

/// How steps are computed.
#[derive(Debug, Clone, Copy)]
pub struct StepSettings {
    /// Element type of states.
    pub states: DType,
    /// Whether products of f32 may round their factors to TF32.
    pub tf32: bool,
    /// Which states are computed.
    pub compute: Compute,
    /// Whether the backward pass computes layers again instead of keeping what it needs of them.
    pub recompute: bool,
    /// Largest norm of all gradients together.
    pub clip_norm: Option<f64>,
}

impl StepSettings {
    /// Checks that a CPU can run such steps.
    ///
    /// # Errors
    /// When it cannot.
    pub fn for_cpu(&self) -> OpResult<()> {
        let name = match (self.tf32, self.states) {
            (true, _) => "tf32",
            (false, DType::BF16) => "bf16",
            (false, _) => return Ok(()),
        };
        Err(OpError::new(format!(
            "`train.dtype: {name}` is for GPUs, and this stage runs on the CPU"
        ))
        .hint("run with `--device cuda`, or set `train.dtype: f32`"))
    }
}

/// What a device keeps of a data set for as long as the data set is in memory. Only the device's backend knows the types.
#[derive(Default)]
pub struct Kept {
    pub(crate) graph: OnceLock<Box<dyn Any + Send + Sync>>,
    pub(crate) objective: OnceLock<Box<dyn Any + Send + Sync>>,
}

/// A data set's graph, and what backends keep of it.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Embeddings of relation names, `[2R, text]`.
    pub embeddings: &'a Tensor,
    /// This rank's part of the graph, where ranks divide it; `graph` may be empty then.
    pub divided: Option<&'a Divided>,
    /// What a device keeps of it; filled by the first step.
    pub kept: &'a Kept,
}

impl<'a> Source<'a> {
    /// A whole graph.
    pub fn whole(graph: &'a Graph, embeddings: &'a Tensor, kept: &'a Kept) -> Self {
        Source {
            graph,
            embeddings,
            divided: None,
            kept,
        }
    }
}

/// The result of a step.
#[derive(Debug, Clone)]
pub struct StepResult {
    /// Whether the losses are the whole batch's; else they are this rank's share, and those of all ranks add up to it.
    pub whole: bool,
    /// The weighted sum of all terms.
    pub loss: f64,
    /// The value of each term.
    pub parts: Vec<f64>,
    /// Norm of the gradients of all ranks, if they are clipped.
    pub norm: Option<f64>,
}

/// A step that may not be done yet.
pub struct Pending(Box<dyn FnOnce() -> OpResult<StepResult>>);

impl Pending {
    /// A step that is done.
    pub(crate) fn done(result: StepResult) -> Self {
        Pending(Box::new(move || Ok(result)))
    }

    /// A step that `wait` waits for.
    pub(crate) fn queued(wait: impl FnOnce() -> OpResult<StepResult> + 'static) -> Self {
        Pending(Box::new(wait))
    }

    /// Waits until the step is done.
    ///
    /// # Errors
    /// When the device reports one.
    pub fn wait(self) -> OpResult<StepResult> {
        (self.0)()
    }
}

/// What computes a training. It holds the weights and the optimizer's state.
pub trait Backend: Send {
    /// What to find out about batches before their step; other threads do it.
    fn preparer(&self) -> Preparer;

    /// Computes or queues a step of all ranks. `factor` multiplies the learning rate.
    ///
    /// # Errors
    /// When something cannot be computed, or a rank is gone.
    fn step(&mut self, on: Source<'_>, batch: Prepared<'_>, factor: f64) -> OpResult<Pending>;

    /// Copies the weights and the optimizer's state here.
    ///
    /// # Errors
    /// When the device reports one.
    fn pull(&self, params: &mut Params, optimizer: &mut Optimizer) -> OpResult<()>;

    /// A scorer with the current weights.
    ///
    /// # Errors
    /// When the device reports one.
    fn scorer<'a>(&'a self, on: Source<'a>) -> OpResult<Box<dyn Scorer + 'a>>;
}
