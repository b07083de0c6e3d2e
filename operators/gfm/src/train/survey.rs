//! Reads every data set once before training starts.

use gfm_pipe_api::{Context, OpError, OpResult};

use super::epoch_plan::EpochPlan;
use super::estimate::FirstBatch;
use super::loader::Loader;
use super::looping::LoopSettings;
use super::memory;
use super::task::Task;
use gfm_pipe_model::model::{Params, rng};
use gfm_pipe_model::sampling::permutation;

/// What is known after each data set was read once.
pub(super) struct Survey {
    pub plan: EpochPlan,
    /// Number of validation samples of each data set that has any.
    pub validated: Vec<usize>,
    /// Whether ranks divide the graphs.
    pub divided: bool,
}

/// Reads every data set once. The sizes decide the plan, and a data set that cannot be read or does
/// not fit into memory is found before hours of training. `cpu_weights` are the weights if they are
/// trained on the CPU.
pub(super) fn survey<T: Task>(
    ctx: &Context,
    settings: &LoopSettings,
    task: &T,
    loader: &Loader<T::Data>,
    cpu_weights: Option<&Params>,
) -> OpResult<Survey> {
    let (mut validated, mut divided, mut measured) = (Vec::new(), false, false);
    let mut plan = EpochPlan {
        seed: settings.seed,
        batch_size: settings.batch_size,
        cap: settings.batch_per_epoch,
        samples: Vec::new(),
        validated: Vec::new(),
    };
    for set in 0..loader.count() {
        let data = loader.get(ctx, set, set + 1..loader.count())?;
        let labelled = |text: String| match loader.labels() {
            [_] => text,
            labels => format!("data set {}: {text}", labels[set]),
        };
        ctx.info(labelled(task.describe(&data)));
        let part = task.source(&data).divided;
        divided |= part.is_some();
        if let Some(part) = part {
            ctx.info(labelled(part.describe()));
        }
        if let Some(warning) = task.warning(&data) {
            ctx.warn(labelled(warning));
        }
        if let Some(params) = cpu_weights.filter(|_| part.is_none()) {
            check_memory(ctx, settings, task, &data, params)?;
        }
        plan.samples.push(task.samples(&data));
        let samples = task.validated(&data);
        if samples > 0 {
            plan.validated.push(set);
            validated.push(samples);
            measured |= task.measures_best(&data);
        }
    }
    if !validated.is_empty() && !measured {
        let metric = task.best_by().metric;
        return Err(OpError::new(format!(
            "`train.best_by` is {metric}, but no validation question asks for what it measures"
        ))
        .hint("choose by a metric of what these questions ask for, entities (entity:mrr_filtered) or documents (document:mrr_filtered), or validate on other questions"));
    }
    Ok(Survey {
        plan,
        validated,
        divided,
    })
}

/// Checks by the first batch that a step on a data set fits into memory. Ranks divide the batch.
fn check_memory<T: Task>(
    ctx: &Context,
    settings: &LoopSettings,
    task: &T,
    data: &T::Data,
    params: &Params,
) -> OpResult<()> {
    let samples = task.samples(data);
    let order = permutation(samples, &mut rng(settings.seed, "order of epoch 1"));
    let queries = settings.batch_size.min(samples) / ctx.ranks.size();
    if queries == 0 {
        return Ok(());
    }
    let (config, compute) = (&params.config, settings.steps.compute);
    let first = || FirstBatch::of(task, data, config, compute, &order[..queries]);
    memory::check_step(params, &task.sizes(data), queries, first)
}
