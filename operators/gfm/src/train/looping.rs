//! The training loop: epochs, data sets, steps, validation, the best epoch, checkpoints.
//!
//! Invariant: step s on a data set in epoch e depends only on the seed, e, the data set and s,
//! since every step draws from its own random stream. A run that was stopped and continued from a
//! checkpoint therefore ends in the same weights, history and optimizer as one that was not. No
//! output depends on clocks, log intervals or loaders.

use std::time::{Duration, Instant};

use gfm_pipe_api::ranks::part;
use gfm_pipe_api::{Context, Metric, OpError, OpResult};
use serde::{Deserialize, Serialize};

use super::checkpoint::{self, Checkpoint, Progress};
use super::epoch_plan::EpochPlan;
use super::loader::Loader;
use super::meter::Meter;
use super::prefetch::prefetch;
use super::rank_sync;
use super::schedule::Schedule;
use super::survey::{Survey, survey};
use super::task::{BatchSamples, BestBy, Task};
use gfm_pipe_model::backend::{Backend, Pending, Prepared, Source, StepResult, StepSettings};
use gfm_pipe_model::buffers::Lease;
use gfm_pipe_model::device::{self, backend};
use gfm_pipe_model::model::{Params, rng};
use gfm_pipe_model::optimizer::Optimizer;
use gfm_pipe_model::progress::Pass;
use gfm_pipe_model::sampling::permutation;

/// Number of `loss` values per epoch in the history, or fewer if an epoch has fewer steps.
const LOSSES_PER_EPOCH: u64 = 10;

/// Hint for numbers that became NaN or infinite.
const NOT_FINITE_HINT: &str = "lower `optimizer.lr`, or set `train.clip_norm`";

/// Settings of the loop.
#[derive(Debug, Clone)]
pub struct LoopSettings {
    /// Seed of all random streams.
    pub seed: u64,
    /// Samples per step.
    pub batch_size: usize,
    /// Epochs.
    pub num_epoch: u32,
    /// Steps between log lines.
    pub log_interval: u64,
    /// Maximum number of steps per data set and epoch.
    pub batch_per_epoch: Option<usize>,
    /// How steps are computed.
    pub steps: StepSettings,
    /// Schedule of the learning rate.
    pub schedule: Schedule,
    /// Steps between checkpoints.
    pub checkpoint_steps: Option<u64>,
    /// Seconds between checkpoints.
    pub checkpoint_seconds: f64,
    /// How long ranks wait for each other.
    pub patience: Duration,
}

/// One value of the training history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// One-based epoch; 0 before training.
    pub epoch: u32,
    /// Steps done so far.
    pub step: u64,
    /// Name of the metric.
    pub metric: String,
    /// Value of the metric.
    pub value: f64,
}

/// The result of a training.
pub struct Outcome {
    /// Weights of the best epoch, or of the last epoch without validation.
    pub params: Params,
    /// That epoch, or 0 if no epoch was better than the start.
    pub epoch: u32,
    /// Total number of steps.
    pub steps: u64,
    /// Losses and metrics.
    pub history: Vec<History>,
    /// The optimizer after the last step.
    pub optimizer: Optimizer,
}

/// Trains.
///
/// # Errors
/// When the user interrupts (a checkpoint is written first), the loss is not a number, or something
/// cannot be computed.
pub(super) fn run<T: Task>(
    ctx: &Context,
    settings: &LoopSettings,
    task: &T,
    loader: &Loader<T::Data>,
    params: Params,
    optimizer: Optimizer,
) -> OpResult<Outcome> {
    let _lease = Lease;
    let on_cpu = device::gpu(ctx)?.is_none();
    if on_cpu {
        settings.steps.for_cpu()?;
    }
    let Survey {
        plan,
        validated,
        divided,
    } = survey(ctx, settings, task, loader, on_cpu.then_some(&params))?;
    if plan.per_epoch() == 0 {
        return Err(OpError::data("there is nothing to train on")
            .hint("there is no training sample (is there a train.json?), or every one was held out or unusable: see the messages before"));
    }
    let losses = 1 + task.parts().len();
    ctx.ranks.be_patient(Some(settings.patience));
    let state = first_state(ctx, &plan, params, optimizer, losses)?;
    let total = plan.per_epoch() * u64::from(settings.num_epoch);
    let (start, optimizer) = (&state.params, &state.optimizer);
    let backend = backend(ctx, start, optimizer, settings.steps, divided)?;
    let mut training = Training {
        backend,
        queued: None,
        ctx,
        settings,
        task,
        loader,
        plan,
        validated,
        total,
        state,
        last_saved: Instant::now(),
        has_uncounted_step: false,
        meter: Meter::new(losses - 1),
    };
    let result = training.all_epochs();
    if matches!(result, Err(OpError::Cancelled)) {
        training.save_after_interrupt()?;
    }
    result?;
    training.pull()?;
    let state = training.state;
    Ok(Outcome {
        params: state.best,
        epoch: state.progress.best_epoch,
        steps: state.optimizer.steps,
        history: state.progress.history,
        optimizer: state.optimizer,
    })
}

/// The state that training starts in: that of the checkpoint if there is one, else the beginning.
/// Rank 0 keeps the checkpoints; the other ranks receive its state.
fn first_state(
    ctx: &Context,
    plan: &EpochPlan,
    params: Params,
    optimizer: Optimizer,
    losses: usize,
) -> OpResult<Checkpoint> {
    let ranks = &*ctx.ranks;
    let found = if ranks.rank() == 0 {
        checkpoint::load(ctx, &params, &optimizer, plan, losses)?
    } else {
        None
    };
    let read = |text: &[u8]| checkpoint::read(text, &params, &optimizer);
    let Some(found) = rank_sync::share_checkpoint(ranks, found, read)? else {
        return Ok(Checkpoint::start(params, optimizer, plan.start(1), losses));
    };
    ctx.reporter.resumed_at(found.optimizer.steps);
    ctx.info(format!(
        "continuing from the checkpoint after step {}",
        found.optimizer.steps
    ));
    Ok(found)
}

/// A step that the backend may still be computing.
struct Queued {
    step: Pending,
    /// Index of the data set.
    set: usize,
    /// Number of samples in the batch.
    samples: usize,
}

struct Training<'a, T: Task> {
    /// Computes the steps. The weights in `state` are as old as the last [`Training::pull`].
    backend: Box<dyn Backend>,
    queued: Option<Queued>,
    ctx: &'a Context,
    settings: &'a LoopSettings,
    task: &'a T,
    loader: &'a Loader<T::Data>,
    plan: EpochPlan,
    /// Number of validation samples of each data set in [`EpochPlan::validated`].
    validated: Vec<usize>,
    /// Number of steps of all epochs.
    total: u64,
    state: Checkpoint,
    last_saved: Instant,
    /// Whether the backend computed a step that does not count. Its weights must not be saved.
    has_uncounted_step: bool,
    meter: Meter,
}

impl<T: Task> Training<'_, T> {
    fn all_epochs(&mut self) -> OpResult<()> {
        // All totals are reported before the first step, so that the time left includes
        // validations.
        let first = if self.start_is_due() {
            0
        } else {
            self.state.progress.place.epoch
        };
        self.validation_pass(first, 0).at(0, 1);
        let done = self.state.optimizer.steps;
        self.ctx.progress(done, self.total, "steps", "");
        self.validate_start()?;
        while self.state.progress.place.epoch <= self.settings.num_epoch {
            let order = self.plan.order(self.state.progress.place.epoch);
            while let Some(set) = order.get(self.state.progress.place.visit) {
                self.train_on(*set)?;
                let place = self.state.progress.place;
                self.state.progress.place = self.plan.next_set(place);
            }
            self.finish_epoch()?;
            let next = self.state.progress.place.epoch + 1;
            self.state.progress.place = self.plan.start(next);
            self.save()?;
        }
        Ok(())
    }

    /// Whether the weights that training starts from are to be validated. A training that continues
    /// has done so before.
    fn start_is_due(&self) -> bool {
        let state = &self.state;
        let begun = state.optimizer.steps > 0 || !state.progress.history.is_empty();
        !begun && self.task.validates_start()
    }

    /// Validates the weights that training starts from, if that is due.
    fn validate_start(&mut self) -> OpResult<()> {
        if !self.start_is_due() {
            return Ok(());
        }
        let Some(metrics) = self.validate(0)? else {
            return Ok(());
        };
        self.ctx.info(format!("start valid {}", metrics.shown()));
        self.record_metrics(0, &metrics);
        self.choose_best(0, &metrics.mean)
    }

    /// Runs the remaining steps of an epoch on one data set.
    fn train_on(&mut self, set: usize) -> OpResult<()> {
        let place = self.state.progress.place;
        let data = self.loader.get(self.ctx, set, self.plan.upcoming(place))?;
        let (seed, epoch, of_set) = (self.settings.seed, place.epoch, self.plan.suffix(set));
        let order = permutation(
            self.plan.samples[set],
            &mut rng(seed, &format!("order of epoch {epoch}{of_set}")),
        );
        let batches: Vec<&[usize]> = order
            .chunks(self.settings.batch_size)
            .take(self.plan.steps(set))
            .collect();
        let ctx = self.ctx;
        let (task, preparer) = (self.task, self.backend.preparer());
        let source = task.source(&data);
        let samples = |i: usize| BatchSamples {
            all: batches[i],
            mine: if source.divided.is_some() {
                0..batches[i].len()
            } else {
                part(batches[i].len(), ctx.ranks.rank(), ctx.ranks.size())
            },
        };
        // Batches are prepared while earlier ones are computed.
        let make = |i: usize| {
            let mut numbers = rng(seed, &format!("step {i} of epoch {epoch}{of_set}"));
            preparer.prepare(source, task.batch(&data, &samples(i), &mut numbers))
        };
        let steps = place.step..batches.len();
        prefetch(preparer.threads, steps.clone(), make, |next| {
            for i in steps {
                self.check_cancelled()?;
                let Some(batch) = next() else { break };
                self.settle()?;
                // A checkpoint written now contains the step that was just settled.
                self.check_cancelled()?;
                self.launch(source, batch, set, batches[i].len())?;
            }
            self.settle()
        })
    }

    /// Stops if this is the only process. Several ranks agree on where to stop when they add up
    /// losses.
    fn check_cancelled(&self) -> OpResult<()> {
        if self.ctx.ranks.size() == 1 {
            self.ctx.check_cancelled()
        } else {
            Ok(())
        }
    }

    /// Starts a step.
    fn launch(
        &mut self,
        on: Source<'_>,
        batch: Prepared<'_>,
        set: usize,
        samples: usize,
    ) -> OpResult<()> {
        let step = self.state.optimizer.steps + 1;
        let factor = self.settings.schedule.factor(step, self.total);
        self.meter.begin();
        self.queued = Some(Queued {
            step: self.backend.step(on, batch, factor)?,
            set,
            samples,
        });
        Ok(())
    }

    /// Waits for the step that was started, if there is one, and records its result.
    fn settle(&mut self) -> OpResult<()> {
        let Some(Queued { step, set, samples }) = self.queued.take() else {
            return Ok(());
        };
        let mut result = step.wait()?;
        let agreed = rank_sync::sum_losses(self.ctx, &mut result);
        self.has_uncounted_step |= agreed.is_err();
        let stop = agreed?;
        self.check_finite("loss", result.loss, set)?;
        if let Some(norm) = result.norm {
            self.check_finite("norm of the gradients", norm, set)?;
        }
        self.state.optimizer.steps += 1;
        self.record_step(&result, samples)?;
        if stop {
            Err(OpError::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Copies weights and the optimizer's state from the backend.
    fn pull(&mut self) -> OpResult<()> {
        let state = &mut self.state;
        self.backend.pull(&mut state.params, &mut state.optimizer)
    }

    /// Checks that a value of the last step is a number.
    fn check_finite(&self, what: &str, value: f64, set: usize) -> OpResult<()> {
        let epoch = self.state.progress.place.epoch;
        if !value.is_finite() {
            let on = match self.loader.labels() {
                [_] => String::new(),
                labels => format!(" on data set {}", labels[set]),
            };
            return Err(OpError::new(format!(
                "the {what} became {value} in step {}{on} of epoch {epoch}",
                self.state.progress.place.step + 1
            ))
            .hint(NOT_FINITE_HINT));
        }
        Ok(())
    }

    /// Checks that the weights are numbers. The last step's loss does not show what that step did
    /// to them.
    fn check_weights(&self) -> OpResult<()> {
        self.state.params.check_finite().map_err(|e| {
            let steps = self.state.optimizer.steps;
            OpError::new(format!(
                "the weights are not finite after step {steps}: {}",
                e.problem
            ))
            .hint(NOT_FINITE_HINT)
        })
    }

    /// Records a finished step in the progress and the history, and writes a checkpoint if it is
    /// time for one.
    fn record_step(&mut self, result: &StepResult, samples: usize) -> OpResult<()> {
        let settings = self.settings;
        let loss = result.loss;
        let state = &mut self.state;
        let epoch = state.progress.place.epoch;
        let progress = &mut state.progress;
        progress.place.step += 1;
        let values = || std::iter::once(loss).chain(result.parts.iter().copied());
        for (sum, value) in progress.sums.iter_mut().zip(values()) {
            *sum += value;
        }
        self.meter.end(samples, values(), result.norm);
        progress.recent = (progress.recent.0 + loss, progress.recent.1 + 1);
        let (done, per_epoch) = (state.optimizer.steps, self.plan.per_epoch());
        let part = |step: u64| step * LOSSES_PER_EPOCH / per_epoch;
        if part(done) > part(done - 1) {
            let mean = progress.recent.0 / progress.recent.1 as f64;
            progress.recent = (0.0, 0);
            state.record(epoch, "loss", mean);
        }
        let total = self.total;
        let note = format!("epoch {epoch} loss {loss:.4}");
        self.ctx.progress(done, total, "steps", &note);
        if done.is_multiple_of(settings.log_interval) {
            self.ctx
                .info(format!("epoch {epoch} step {done}/{total} loss {loss:.4}"));
            self.report();
        }
        if self.checkpoint_due() {
            self.save()?;
        }
        Ok(())
    }

    /// Reports means over the steps since the last report.
    fn report(&mut self) {
        let (epoch, step) = (self.state.progress.place.epoch, self.state.optimizer.steps);
        let factor = self.settings.schedule.factor(step, self.total);
        let rate = self.state.optimizer.settings.lr * factor;
        self.meter
            .report(self.ctx, epoch, step, &self.task.parts(), rate);
    }

    /// Adds a value of an epoch to the history and reports it.
    fn record(&mut self, epoch: u32, metric: impl AsRef<str>, value: f64) {
        let name = metric.as_ref();
        self.state.record(epoch, name, value);
        self.ctx.metric(Metric {
            epoch,
            step: self.state.optimizer.steps,
            name,
            value,
        });
    }

    /// Validates, records the mean losses, and decides whether this epoch is the best. If it is
    /// interrupted, nothing of it counts and it is repeated.
    fn finish_epoch(&mut self) -> OpResult<()> {
        // An epoch shorter than the log interval would otherwise report nothing.
        self.report();
        self.pull()?;
        self.check_weights()?;
        rank_sync::check_same_weights(&*self.ctx.ranks, &self.state.params)?;
        let epoch = self.state.progress.place.epoch;
        let metrics = self.validate(epoch)?;
        let loss = self.record_mean_losses(epoch);
        let Some(metrics) = metrics else {
            self.ctx.info(format!("epoch {epoch} loss {loss:.4}"));
            self.state.keep_as_best(epoch, None);
            return Ok(());
        };
        self.ctx.info(format!(
            "epoch {epoch} loss {loss:.4} valid {}",
            metrics.shown()
        ));
        self.record_metrics(epoch, &metrics);
        self.choose_best(epoch, &metrics.mean)
    }

    /// Records the metrics of a validation.
    fn record_metrics(&mut self, epoch: u32, metrics: &Metrics) {
        for (name, value) in metrics.each.iter().chain(&metrics.mean) {
            self.record(epoch, format!("valid:{name}"), *value);
        }
    }

    /// Records the epoch's mean loss and the means of its parts. Returns the mean loss.
    fn record_mean_losses(&mut self, epoch: u32) -> f64 {
        let parts = self.task.parts();
        let zero = vec![0.0; 1 + parts.len()];
        let sums = std::mem::replace(&mut self.state.progress.sums, zero);
        let steps = self.plan.per_epoch() as f64;
        let mean = sums[0] / steps;
        self.record(epoch, "mean_loss", mean);
        for (part, sum) in parts.iter().zip(&sums[1..]) {
            self.record(epoch, format!("mean_loss:{part}"), sum / steps);
        }
        mean
    }

    /// Keeps the weights if this epoch is better than all before. Of equal epochs the first is
    /// kept.
    ///
    /// # Errors
    /// When the metric that chooses is not among them, which the survey excludes.
    fn choose_best(&mut self, epoch: u32, metrics: &[(String, f64)]) -> OpResult<()> {
        let by = self.task.best_by();
        let chosen = metrics.iter().find(|(name, _)| *name == by.metric);
        let (_, value) =
            chosen.ok_or_else(|| OpError::internal(format!("no value of {}", by.metric)))?;
        let score = if by.smaller { -value } else { *value };
        let best = self.state.progress.best_score;
        if score.is_finite() && best.is_none_or(|best| score > best) {
            self.state.keep_as_best(epoch, Some(score));
        }
        let message = best_epoch_message(&by, (epoch, score), &self.state.progress);
        self.ctx.info(message);
        Ok(())
    }

    /// Progress of the validation on data set `at` in an epoch, as a part of all validations.
    fn validation_pass(&self, epoch: u32, at: usize) -> Pass<'_> {
        let each: usize = self.validated.iter().sum();
        // The validation of the start, if there is one, comes before that of epoch 1.
        let start = u32::from(self.task.validates_start());
        let epochs = (epoch + start).saturating_sub(1) as usize;
        Pass {
            ctx: self.ctx,
            unit: "validation samples",
            note: "",
            before: epochs * each + self.validated[..at].iter().sum::<usize>(),
            units: self.validated.get(at).copied().unwrap_or(0),
            total: (self.settings.num_epoch + start) as usize * each,
        }
    }

    /// Validates on every data set that has validation samples; `None` without any. Epoch 0 is the
    /// start. The weights in `state` are those of the backend.
    fn validate(&self, epoch: u32) -> OpResult<Option<Metrics>> {
        if self.plan.validated.is_empty() {
            return Ok(None);
        }
        let mut out = Metrics::default();
        let mut counts: Vec<usize> = Vec::new();
        let several = self.plan.validated.len() > 1;
        for (at, set) in self.plan.validated.iter().enumerate() {
            let upcoming = self.plan.upcoming_in_validation(epoch, at);
            let data = self.loader.get(self.ctx, *set, upcoming)?;
            let scorer = self.backend.scorer(self.task.source(&data))?;
            let (pass, params) = (self.validation_pass(epoch, at), &self.state.params);
            let metrics = self.task.validate(pass, &data, &*scorer, params)?;
            let label = &self.loader.labels()[*set];
            for (name, value) in metrics {
                if several {
                    out.each.push((format!("{label}:{name}"), value));
                }
                match out.mean.iter().position(|(known, _)| *known == name) {
                    Some(at) => {
                        out.mean[at].1 += value;
                        counts[at] += 1;
                    }
                    None => {
                        out.mean.push((name, value));
                        counts.push(1);
                    }
                }
            }
        }
        for ((_, sum), count) in out.mean.iter_mut().zip(counts) {
            *sum /= count as f64;
        }
        Ok(Some(out))
    }

    fn checkpoint_due(&self) -> bool {
        let steps = self.settings.checkpoint_steps;
        steps.is_some_and(|n| self.state.optimizer.steps.is_multiple_of(n))
            || self.last_saved.elapsed().as_secs_f64() >= self.settings.checkpoint_seconds
    }

    /// Counts the step that is still running, then writes a checkpoint.
    fn save_after_interrupt(&mut self) -> OpResult<()> {
        match self.settle() {
            Ok(()) | Err(OpError::Cancelled) => {}
            Err(e) => return Err(e),
        }
        if self.has_uncounted_step {
            return Ok(());
        }
        self.save()
    }

    fn save(&mut self) -> OpResult<()> {
        if self.ctx.ranks.rank() > 0 {
            self.last_saved = Instant::now();
            return Ok(());
        }
        self.pull()?;
        // Training must be able to continue from what is saved.
        self.check_weights()?;
        checkpoint::save(self.ctx, &self.state)?;
        self.last_saved = Instant::now();
        Ok(())
    }
}

/// The log line about this epoch's score and the best epoch so far. Higher scores are better.
fn best_epoch_message(by: &BestBy, (epoch, score): (u32, f64), progress: &Progress) -> String {
    let shown = |score: f64| format!("{:.4}", if by.smaller { -score } else { score });
    let named = |epoch: u32| match epoch {
        0 => "the start".to_owned(),
        _ => format!("epoch {epoch}"),
    };
    let (this, best) = (named(epoch), progress.best_epoch);
    let this = format!("{this} {} {}", by.metric, shown(score));
    match progress.best_score {
        None => format!("{this}: no epoch is better than the start so far"),
        Some(_) if epoch == 0 => format!("{this}: kept unless an epoch is better"),
        Some(_) if best == epoch => format!("{this}: the best so far, this epoch is kept"),
        Some(kept) => format!(
            "{this}: {} stays the best, with {}",
            named(best),
            shown(kept)
        ),
    }
}

/// Metrics of a validation: with several data sets, those of each one under its name, and always
/// their plain means over the data sets that have a value.
#[derive(Default)]
struct Metrics {
    each: Vec<(String, f64)>,
    mean: Vec<(String, f64)>,
}

impl Metrics {
    /// The first few, for the log.
    fn shown(&self) -> String {
        let shown = self.mean.iter().take(6);
        let shown: Vec<String> = shown.map(|(n, x)| format!("{n} {x:.4}")).collect();
        shown.join(" ")
    }
}
