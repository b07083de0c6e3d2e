//! The interface to what computes a training: the CPU, ranks that divide graphs, or a GPU. The
//! training loop draws batches and records results; a [`Backend`] runs training steps and computes
//! scores.

mod batch;

use std::any::Any;
use std::sync::OnceLock;

use candle_core::DType;
use gfm_pipe_api::{OpError, OpResult};

pub use self::batch::{Batch, LinkBatch, Prepared, Preparer, QuestionBatch, Target, Term};
use crate::divided::Divided;
use crate::graph::Graph;
use crate::model::{Compute, Params, Texts};
use crate::optimizer::Optimizer;
use crate::scorer::Scorer;

/// How training steps are computed.
#[derive(Debug, Clone, Copy)]
pub struct StepSettings {
    /// Element type of states.
    pub states: DType,
    /// Whether matrix products of f32 may round their factors to TF32.
    pub tf32: bool,
    /// Which states are computed.
    pub compute: Compute,
    /// Whether the backward pass computes layers again instead of keeping their intermediate
    /// values.
    pub recompute: bool,
    /// Largest norm of all gradients together; `None` does not clip them.
    pub clip_norm: Option<f64>,
}

impl StepSettings {
    /// Checks that a CPU can run such steps.
    ///
    /// # Errors
    /// When the element type needs a GPU.
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

/// Device memory of a data set, kept for as long as the data set is in memory. Only the device's
/// backend knows the types.
#[derive(Default)]
pub struct DeviceCache {
    pub(crate) graph: OnceLock<Box<dyn Any + Send + Sync>>,
    pub(crate) objective: OnceLock<Box<dyn Any + Send + Sync>>,
}

/// The graph of a data set, and what a device keeps of it.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// The embeddings of its texts; those of nodes belong to this rank's part, if ranks divide the
    /// graph.
    pub texts: Texts<'a>,
    /// This rank's part of the graph, if ranks divide it. `graph` may then be empty.
    pub divided: Option<&'a Divided>,
    /// What a device keeps of the data set; the first step fills it.
    pub cache: &'a DeviceCache,
}

impl<'a> Source<'a> {
    /// A whole graph.
    pub fn whole(graph: &'a Graph, texts: impl Into<Texts<'a>>, cache: &'a DeviceCache) -> Self {
        Source {
            graph,
            texts: texts.into(),
            divided: None,
            cache,
        }
    }
}

/// The result of a step.
#[derive(Debug, Clone)]
pub struct StepResult {
    /// Whether the losses are those of the whole batch. Otherwise they are this rank's share, to be
    /// added up over ranks.
    pub whole: bool,
    /// The weighted sum of all terms.
    pub loss: f64,
    /// The value of each term.
    pub parts: Vec<f64>,
    /// Norm of the gradients, before they are clipped; `None` if they are not clipped.
    pub norm: Option<f64>,
}

/// A step that may still be running.
pub struct Pending(Box<dyn FnOnce() -> OpResult<StepResult>>);

impl Pending {
    /// A step that has finished.
    pub(crate) fn done(result: StepResult) -> Self {
        Pending(Box::new(move || Ok(result)))
    }

    /// A step on a device; `wait` waits for its result.
    pub(crate) fn queued(wait: impl FnOnce() -> OpResult<StepResult> + 'static) -> Self {
        Pending(Box::new(wait))
    }

    /// Waits until the step has finished.
    ///
    /// # Errors
    /// When the device reports an error.
    pub fn wait(self) -> OpResult<StepResult> {
        (self.0)()
    }
}

/// Computes a training. It has the weights and the state of the optimizer.
pub trait Backend: Send {
    /// How to prepare batches before their step; other threads do this.
    fn preparer(&self) -> Preparer;

    /// Computes or queues a step of all ranks. `factor` multiplies the learning rate.
    ///
    /// # Errors
    /// When the step cannot be computed, or when the connection to a rank fails.
    fn step(&mut self, on: Source<'_>, batch: Prepared<'_>, factor: f64) -> OpResult<Pending>;

    /// Copies the current weights and the state of the optimizer to `params` and `optimizer`.
    ///
    /// # Errors
    /// When the device reports an error.
    fn pull(&self, params: &mut Params, optimizer: &mut Optimizer) -> OpResult<()>;

    /// A scorer with the current weights.
    ///
    /// # Errors
    /// When the device reports an error.
    fn scorer<'a>(&'a self, on: Source<'a>) -> OpResult<Box<dyn Scorer + 'a>>;
}
