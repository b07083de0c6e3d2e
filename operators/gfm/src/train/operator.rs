//! What a training operator does when it runs: initial weights, data sets, the loop, the outputs.

use std::sync::Arc;

use gfm_pipe_api::{Context, OpResult};
use gfm_pipe_eval::features::fit::Weights;
use gfm_pipe_model::divided::Dividing;
use gfm_pipe_model::model::Class;
use gfm_pipe_model::optimizer::Optimizer;
use gfm_pipe_model::tensor_error;

use super::initial_weights::{RandomStart, initial_weights};
use super::looping::run as run_loop;
use super::outputs::write_outcome;
use super::settings::{Common, Model, OptimizerSettings};
use super::{Loader, Task};
use crate::inputs::EncoderId;

/// Parameters of a training operator, as far as all of them have the same.
pub(crate) trait TrainingParams: Send + Sync + 'static {
    fn shared(&mut self) -> Shared<'_>;
}

/// The parameters that both training operators have.
pub(crate) struct Shared<'a> {
    pub seed: u64,
    pub model: &'a mut Model,
    pub optimizer: &'a OptimizerSettings,
    pub common: &'a Common,
}

/// Which model a training operator trains, and on what.
pub(crate) struct Job<'a> {
    /// The operator's name, for the model's origin.
    pub operator: &'static str,
    pub class: Class,
    /// The encoder of all texts.
    pub encoder: &'a EncoderId,
    /// One label for each data set.
    pub labels: Vec<String>,
    /// The weights that ranking features start with, for a model that has them.
    pub features: Option<Weights>,
}

/// Trains a model and writes the operator's outputs. `read` loads data set `i`; a rank reads only
/// its part where ranks divide graphs.
///
/// # Errors
/// When the user interrupts, the loss is not a number, or something cannot be read or computed.
pub(crate) fn train<P: TrainingParams, T: Task>(
    ctx: &Context,
    mut params: P,
    job: Job<'_>,
    read: impl Fn(usize, &P, Option<&Dividing>) -> OpResult<T::Data> + Send + Sync + 'static,
    task: impl FnOnce(Arc<P>) -> T,
) -> OpResult<()> {
    let Shared {
        seed,
        model,
        optimizer,
        common,
    } = params.shared();
    let weights = initial_weights(
        ctx,
        job.class,
        model,
        common.checkpoint.as_deref(),
        job.encoder,
        RandomStart {
            seed,
            dtype: common.dtype(),
            features: job.features.as_ref(),
        },
    )?;
    let dividing = Dividing::new(ctx, common.divides_graphs())?;
    if let Some(dividing) = &dividing {
        dividing.check(&model.config())?;
    }
    let optimizer = Optimizer::new(optimizer.adamw(), &weights).map_err(tensor_error)?;
    let settings = common.settings(seed);
    let (in_memory, workers) = (common.max_datasets_in_memory, common.data_loading_workers);
    let params = Arc::new(params);
    let loader = Loader::new(job.labels, in_memory, workers, {
        let (params, dividing) = (Arc::clone(&params), dividing.clone());
        Box::new(move |i| read(i, &params, dividing.as_deref()))
    });
    let task = task(Arc::clone(&params));
    let outcome = run_loop(ctx, &settings, &task, &loader, weights, optimizer)?;
    if let Some(dividing) = &dividing {
        dividing.report(ctx)?;
    }
    write_outcome(ctx, job.operator, job.encoder, &outcome)
}
