//! What computes a training: the CPU, ranks that divide graphs, or a GPU. The training loop draws batches and keeps
//! accounts; a [`Backend`] makes steps of batches, and scores.

mod batch;
mod cpu;
mod divided;
mod losses;

use std::sync::Arc;

use candle_core::{DType, Tensor};
use gfm_pipe_api::{Context, OpError, OpResult};

pub use self::batch::{Batch, Gold, LinkBatch, Prepared, Preparer, QuestionBatch, Term};
use self::cpu::Cpu;
use self::divided::Divided;
use crate::device;
use crate::divided::Divided as DividedGraph;
use crate::gpu::{OnDevice, QueuedStep, Sums, trainer};
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

/// A data set's graph, and what backends keep of it.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Embeddings of relation names, `[2R, text]`.
    pub embeddings: &'a Tensor,
    /// This rank's part of the graph, where ranks divide it; `graph` may be empty then.
    pub(crate) divided: Option<&'a DividedGraph>,
    /// The device's copy; filled by the first step.
    pub kept: &'a OnDevice,
}

impl<'a> Source<'a> {
    /// A whole graph.
    pub fn whole(graph: &'a Graph, embeddings: &'a Tensor, kept: &'a OnDevice) -> Self {
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
pub enum Pending {
    /// It is done.
    Done(StepResult),
    /// A device computes it.
    Queued(QueuedStep),
}

impl Pending {
    /// Waits until the step is done.
    ///
    /// # Errors
    /// When the device reports one.
    pub fn wait(self) -> OpResult<StepResult> {
        match self {
            Pending::Done(result) => Ok(result),
            Pending::Queued(step) => step.wait(),
        }
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

/// The backend of a stage, which continues from these weights and this optimizer state. They are the same on every rank.
/// `divided`: whether ranks divide graphs.
///
/// # Errors
/// When the device cannot run such steps, or has too little memory.
pub fn backend(
    ctx: &Context,
    params: &Params,
    optimizer: &Optimizer,
    settings: StepSettings,
    divided: bool,
) -> OpResult<Box<dyn Backend>> {
    if let Some(gpu) = device::gpu(ctx)? {
        let trainer = trainer(&gpu, params, optimizer, settings, Sums::of(ctx, &gpu)?)?;
        ctx.info(format!("training on {}", gpu.name()));
        return Ok(trainer);
    }
    settings.for_cpu()?;
    let cpu = Cpu::new(params, optimizer, settings, Arc::clone(&ctx.ranks));
    if divided {
        Ok(Box::new(Divided(cpu)))
    } else {
        Ok(Box::new(cpu))
    }
}

/// A backend on this process's CPU, without other ranks.
///
/// # Errors
/// When a CPU cannot run such steps.
pub fn on_cpu(
    params: &Params,
    optimizer: &Optimizer,
    settings: StepSettings,
) -> OpResult<Box<dyn Backend>> {
    settings.for_cpu()?;
    let alone = Arc::new(gfm_pipe_api::ranks::Single);
    Ok(Box::new(Cpu::new(params, optimizer, settings, alone)))
}
