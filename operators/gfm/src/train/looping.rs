//! The training loop: epochs, data sets, steps, validation, the best epoch, checkpoints.
//!
//! Invariant: what happens in step s on a data set in epoch e depends on seed, e, the data set and s alone (every step draws
//! from a stream of its own), so a run that was killed and continued from a checkpoint ends in the same weights, history and
//! optimizer as one that was not. Nothing here that reaches an output depends on clocks, log intervals or loaders.

use std::time::{Duration, Instant};

use gfm_pipe_api::ranks::part;
use gfm_pipe_api::{Context, Metric, OpError, OpResult};
use serde::{Deserialize, Serialize};

use super::ahead::ahead;
use super::checkpoint::{self, Checkpoint};
use super::foresee::FirstBatch;
use super::loader::Loader;
use super::memory;
use super::meter::Meter;
use super::schedule::Schedule;
use super::task::{Batched, BestBy, Task};
use super::together;
use super::visits::Course;
use gfm_pipe_model::backend::{Backend, Pending, Prepared, Source, StepSettings};
use gfm_pipe_model::buffers::Lease;
use gfm_pipe_model::device::{self, backend};
use gfm_pipe_model::model::{Params, rng};
use gfm_pipe_model::optimizer::Optimizer;
use gfm_pipe_model::progress::Pass;
use gfm_pipe_model::sampling::permutation;

/// Values of the loss in the history per epoch (fewer where an epoch has fewer steps).
const LOSSES_PER_EPOCH: u64 = 10;

/// What to do when numbers become NaN or infinite.
const ASTRAY: &str = "lower `optimizer.lr`, or set `train.clip_norm`";

/// The loop's own settings.
#[derive(Debug, Clone)]
pub struct LoopSettings {
    /// Seed of everything random.
    pub seed: u64,
    /// Samples a step.
    pub batch_size: usize,
    /// Epochs.
    pub num_epoch: u32,
    /// Steps between log lines.
    pub log_interval: u64,
    /// At most this many steps a data set and epoch.
    pub batch_per_epoch: Option<usize>,
    /// How steps are computed.
    pub steps: StepSettings,
    /// The learning rate's course.
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
    /// Steps taken.
    pub step: u64,
    /// Name.
    pub metric: String,
    /// Value.
    pub value: f64,
}

/// What training gives.
pub struct Outcome {
    /// Weights of the best epoch (of the last one where nothing is validated).
    pub params: Params,
    /// Which epoch that is; 0 when no epoch was better than the start.
    pub epoch: u32,
    /// Steps taken in all.
    pub steps: u64,
    /// Losses and metrics.
    pub history: Vec<History>,
    /// The optimizer after the last step.
    pub optimizer: Optimizer,
}

/// Trains.
///
/// # Errors
/// When the user interrupts (a checkpoint is written first), the loss is no number, or something cannot be computed.
pub(crate) fn run<T: Task>(
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
        course,
        validated,
        divided,
    } = survey(ctx, settings, task, loader, on_cpu.then_some(&params))?;
    if course.per_epoch() == 0 {
        return Err(OpError::new("there is nothing to train on")
            .hint("there is no training sample (is there a train.json?), or every one was held out or unusable: see the messages before"));
    }
    let sums = 1 + task.parts().len();
    let ranks = &*ctx.ranks;
    ranks.be_patient(Some(settings.patience));
    // Of several ranks the first one keeps the checkpoints; the others continue from the same.
    let found = if ranks.rank() == 0 {
        checkpoint::load(ctx, &params, &optimizer, &course, sums)?
    } else {
        None
    };
    let read = |text: &[u8]| checkpoint::read(text, &params, &optimizer);
    let found = together::checkpoint(ranks, found, read)?;
    let state = match found {
        Some(found) => {
            ctx.reporter.resumed_at(found.optimizer.steps);
            ctx.info(format!(
                "going on from the checkpoint after step {}",
                found.optimizer.steps
            ));
            found
        }
        None => Checkpoint::start(params, optimizer, course.start(1), sums),
    };
    let total = course.per_epoch() * u64::from(settings.num_epoch);
    let (start, optimizer) = (&state.params, &state.optimizer);
    let backend = backend(ctx, start, optimizer, settings.steps, divided)?;
    let mut training = Training {
        backend,
        queued: None,
        ctx,
        settings,
        task,
        loader,
        course,
        validated,
        total,
        state,
        last_saved: Instant::now(),
        torn: false,
        meter: Meter::new(sums - 1),
    };
    let result = training.all_epochs();
    if matches!(result, Err(OpError::Cancelled)) {
        match training.settle() {
            Ok(()) | Err(OpError::Cancelled) => {}
            Err(e) => return Err(e),
        }
        // A backend that made a step which does not count has no weights worth saving.
        if !training.torn {
            training.save()?;
        }
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

/// What a look at every data set found.
struct Survey {
    course: Course,
    /// How many samples of each data set are validated on after every epoch.
    validated: Vec<usize>,
    /// Whether ranks divide the graphs.
    divided: bool,
}

/// Looks at every data set once: sizes decide the course, and what cannot be read, or does not fit
/// into memory, is found before hours of training. `on_cpu` are the weights, where the CPU trains
/// them.
fn survey<T: Task>(
    ctx: &Context,
    settings: &LoopSettings,
    task: &T,
    loader: &Loader<T::Data>,
    on_cpu: Option<&Params>,
) -> OpResult<Survey> {
    let (mut validated, mut divided) = (Vec::new(), false);
    let mut course = Course {
        seed: settings.seed,
        batch_size: settings.batch_size,
        cap: settings.batch_per_epoch,
        samples: Vec::new(),
        validated: Vec::new(),
    };
    for set in 0..loader.count() {
        let data = loader.get(ctx, set, set + 1..loader.count())?;
        let named = |text: String| match loader.labels() {
            [_] => text,
            labels => format!("data set {}: {text}", labels[set]),
        };
        ctx.info(named(task.describe(&data)));
        let part = task.source(&data).divided;
        divided |= part.is_some();
        if let Some(part) = part {
            ctx.info(named(part.describe()));
        }
        if let Some(warning) = task.warning(&data) {
            ctx.warn(named(warning));
        }
        if let Some(params) = on_cpu.filter(|_| part.is_none()) {
            fits(ctx, settings, task, &data, params)?;
        }
        course.samples.push(task.samples(&data));
        let samples = task.validated(&data);
        if samples > 0 {
            course.validated.push(set);
            validated.push(samples);
        }
    }
    Ok(Survey {
        course,
        validated,
        divided,
    })
}

/// Checks that a step on a data set fits into memory, by its first batch. Ranks share a batch.
fn fits<T: Task>(
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
    let model = (&params.config, settings.steps.compute);
    let first = || FirstBatch::of(task, data, model, &order[..queries]);
    memory::check_step(params, &task.sizes(data), queries, first)
}

/// A step that the backend may still be computing.
struct Queued {
    step: Pending,
    /// Number of its data set.
    set: usize,
    /// Samples of its batch.
    samples: usize,
}

struct Training<'a, T: Task> {
    /// Makes the steps. The weights in `state` are as old as the last [`Training::pull`].
    backend: Box<dyn Backend>,
    queued: Option<Queued>,
    ctx: &'a Context,
    settings: &'a LoopSettings,
    task: &'a T,
    loader: &'a Loader<T::Data>,
    course: Course,
    /// Samples of the data sets that are validated on, in the order of the course.
    validated: Vec<usize>,
    total: u64,
    state: Checkpoint,
    last_saved: Instant,
    /// Whether the backend made a step that does not count.
    torn: bool,
    meter: Meter,
}

impl<T: Task> Training<'_, T> {
    fn all_epochs(&mut self) -> OpResult<()> {
        // All totals are reported before the first step, so that the time left includes
        // validations.
        self.pass(0).at(0, 1);
        let taken = self.state.optimizer.steps;
        self.ctx.progress(taken, self.total, "steps", "");
        while self.state.progress.place.epoch <= self.settings.num_epoch {
            let order = self.course.order(self.state.progress.place.epoch);
            while let Some(set) = order.get(self.state.progress.place.visit) {
                self.visit(*set)?;
                let place = self.state.progress.place;
                self.state.progress.place = self.course.next_set(place);
            }
            self.finish_epoch()?;
            let next = self.state.progress.place.epoch + 1;
            self.state.progress.place = self.course.start(next);
            self.save()?;
        }
        Ok(())
    }

    /// The rest of an epoch's steps on one data set.
    fn visit(&mut self, set: usize) -> OpResult<()> {
        let place = self.state.progress.place;
        let data = self
            .loader
            .get(self.ctx, set, self.course.upcoming(place))?;
        let (seed, epoch, of_set) = (self.settings.seed, place.epoch, self.course.suffix(set));
        let order = permutation(
            self.course.samples[set],
            &mut rng(seed, &format!("order of epoch {epoch}{of_set}")),
        );
        let batches: Vec<&[usize]> = order
            .chunks(self.settings.batch_size)
            .take(self.course.steps(set))
            .collect();
        let ctx = self.ctx;
        let (task, preparer) = (self.task, self.backend.preparer());
        let source = task.source(&data);
        let batched = |i: usize| Batched {
            all: batches[i],
            mine: if source.divided.is_some() {
                0..batches[i].len()
            } else {
                part(batches[i].len(), ctx.ranks.rank(), ctx.ranks.size())
            },
        };
        // Batches are prepared while those before are computed.
        let make = |i: usize| {
            let mut numbers = rng(seed, &format!("step {i} of epoch {epoch}{of_set}"));
            preparer.prepare(source, task.batch(&data, &batched(i), &mut numbers))
        };
        let steps = place.step..batches.len();
        ahead(preparer.threads, steps.clone(), make, |next| {
            for i in steps {
                self.check_cancelled()?;
                let Some(batch) = next() else { break };
                self.settle()?;
                // A checkpoint has the step that was just settled.
                self.check_cancelled()?;
                self.launch(source, batch, (set, batches[i].len()))?;
            }
            self.settle()
        })
    }

    /// Stops a process that is alone; several ranks agree on where they stop when they add up a step.
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
        (set, samples): (usize, usize),
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

    /// Waits for the step that was started, if there is one, and writes down what it gave.
    fn settle(&mut self) -> OpResult<()> {
        let Some(Queued { step, set, samples }) = self.queued.take() else {
            return Ok(());
        };
        let mut result = step.wait()?;
        let agreed = together::step(self.ctx, &mut result);
        self.torn |= agreed.is_err();
        let stop = agreed?;
        self.finite("loss", result.loss, set)?;
        if let Some(norm) = result.norm {
            self.finite("norm of the gradients", norm, set)?;
        }
        self.state.optimizer.steps += 1;
        self.account((result.loss, &result.parts), result.norm, samples)?;
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

    /// Checks that the loss of a step, or another figure of it, is a number.
    fn finite(&self, what: &str, value: f64, set: usize) -> OpResult<()> {
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
            .hint(ASTRAY));
        }
        Ok(())
    }

    /// Checks that the weights are numbers: the last step's loss says nothing about what that step
    /// made of them.
    fn sound(&self) -> OpResult<()> {
        self.state.params.check_finite().map_err(|e| {
            let steps = self.state.optimizer.steps;
            OpError::new(format!(
                "the weights went astray by step {steps}: {}",
                e.problem
            ))
            .hint(ASTRAY)
        })
    }

    /// What is written down about a step; and a checkpoint where one is due.
    fn account(
        &mut self,
        (loss, parts): (f64, &[f64]),
        norm: Option<f64>,
        samples: usize,
    ) -> OpResult<()> {
        let settings = self.settings;
        let state = &mut self.state;
        let epoch = state.progress.place.epoch;
        let progress = &mut state.progress;
        progress.place.step += 1;
        let values = || std::iter::once(loss).chain(parts.iter().copied());
        for (sum, value) in progress.sums.iter_mut().zip(values()) {
            *sum += value;
        }
        self.meter.end(samples, values(), norm);
        progress.recent = (progress.recent.0 + loss, progress.recent.1 + 1);
        let (taken, per_epoch) = (state.optimizer.steps, self.course.per_epoch());
        let part = |step: u64| step * LOSSES_PER_EPOCH / per_epoch;
        if part(taken) > part(taken - 1) {
            let mean = progress.recent.0 / progress.recent.1 as f64;
            progress.recent = (0.0, 0);
            state.note("loss", mean);
        }
        let total = self.total;
        let note = format!("epoch {epoch} loss {loss:.4}");
        self.ctx.progress(taken, total, "steps", &note);
        if taken.is_multiple_of(settings.log_interval) {
            self.ctx
                .info(format!("epoch {epoch} step {taken}/{total} loss {loss:.4}"));
            self.report();
        }
        if self.due() {
            self.save()?;
        }
        Ok(())
    }

    /// Reports the means of the steps since it last did.
    fn report(&mut self) {
        let (epoch, step) = (self.state.progress.place.epoch, self.state.optimizer.steps);
        let factor = self.settings.schedule.factor(step, self.total);
        let rate = self.state.optimizer.settings.lr * factor;
        self.meter
            .report(self.ctx, (epoch, step), &self.task.parts(), rate);
    }

    /// One value of the history, which is reported as well.
    fn note(&mut self, metric: impl AsRef<str>, value: f64) {
        let name = metric.as_ref();
        self.state.note(name, value);
        self.ctx.metric(Metric {
            epoch: self.state.progress.place.epoch,
            step: self.state.optimizer.steps,
            name,
            value,
        });
    }

    /// Mean losses, validation, and whether this epoch is the best one. All or nothing: a stop in between repeats it.
    fn finish_epoch(&mut self) -> OpResult<()> {
        // The steps since the last report: else an epoch shorter than the interval would report nothing.
        self.report();
        self.pull()?;
        self.sound()?;
        together::same(&*self.ctx.ranks, &self.state.params)?;
        let measured = self.validate()?;
        let epoch = self.state.progress.place.epoch;
        let sums = std::mem::replace(
            &mut self.state.progress.sums,
            vec![0.0; 1 + self.task.parts().len()],
        );
        let steps = self.course.per_epoch() as f64;
        let mean = sums[0] / steps;
        self.note("mean_loss", mean);
        for (part, sum) in self.task.parts().iter().zip(&sums[1..]) {
            self.note(format!("mean_loss:{part}"), sum / steps);
        }
        let Some(measured) = measured else {
            self.ctx.info(format!("epoch {epoch} loss {mean:.4}"));
            self.state.keep(None);
            return Ok(());
        };
        let shown: Vec<String> = measured
            .mean
            .iter()
            .take(6)
            .map(|(n, x)| format!("{n} {x:.4}"))
            .collect();
        self.ctx.info(format!(
            "epoch {epoch} loss {mean:.4} valid {}",
            shown.join(" ")
        ));
        let by = self.task.best_by();
        let score = measured
            .mean
            .iter()
            .find(|(n, _)| *n == by.metric)
            .map(|(_, v)| if by.smaller { -v } else { *v });
        for (name, value) in measured.each.into_iter().chain(measured.mean) {
            self.note(format!("valid:{name}"), value);
        }
        // Strictly better wins: of equal epochs the first one stays.
        let best = self.state.progress.best_score;
        if let Some(score) = score.filter(|s| s.is_finite() && best.is_none_or(|b| *s > b)) {
            self.state.keep(Some(score));
        }
        let progress = &self.state.progress;
        let message = chosen(
            &by,
            (epoch, score),
            progress.best_epoch,
            progress.best_score,
        );
        self.ctx.info(message);
        Ok(())
    }

    /// The validation on a data set after this epoch, among those of all epochs.
    fn pass(&self, at: usize) -> Pass<'_> {
        let each: usize = self.validated.iter().sum();
        let epochs = self.state.progress.place.epoch.saturating_sub(1) as usize;
        Pass {
            ctx: self.ctx,
            unit: "validation samples",
            note: "",
            before: epochs * each + self.validated[..at].iter().sum::<usize>(),
            units: self.validated.get(at).copied().unwrap_or(0),
            total: self.settings.num_epoch as usize * each,
        }
    }

    fn validate(&self) -> OpResult<Option<Measured>> {
        let epoch = self.state.progress.place.epoch;
        let mut out = Measured::default();
        let several = self.course.validated.len() > 1;
        for (at, set) in self.course.validated.iter().enumerate() {
            let upcoming = self.course.upcoming_in_validation(epoch, at);
            let data = self.loader.get(self.ctx, *set, upcoming)?;
            let scorer = self.backend.scorer(self.task.source(&data))?;
            let metrics = self.task.validate(self.pass(at), &data, &*scorer)?;
            let label = &self.loader.labels()[*set];
            for (i, (name, value)) in metrics.into_iter().enumerate() {
                if several {
                    out.each.push((format!("{label}:{name}"), value));
                }
                match out.mean.get_mut(i) {
                    Some((_, sum)) => *sum += value,
                    None => out.mean.push((name, value)),
                }
            }
        }
        for (_, sum) in &mut out.mean {
            *sum /= self.course.validated.len() as f64;
        }
        Ok(Some(out).filter(|m| !m.mean.is_empty()))
    }

    fn due(&self) -> bool {
        let steps = self.settings.checkpoint_steps;
        steps.is_some_and(|n| self.state.optimizer.steps.is_multiple_of(n))
            || self.last_saved.elapsed().as_secs_f64() >= self.settings.checkpoint_seconds
    }

    fn save(&mut self) -> OpResult<()> {
        if self.ctx.ranks.rank() > 0 {
            self.last_saved = Instant::now();
            return Ok(());
        }
        self.pull()?;
        // What is saved can be gone on from.
        self.sound()?;
        checkpoint::save(self.ctx, &self.state)?;
        self.last_saved = Instant::now();
        Ok(())
    }
}

/// What an epoch has of the metric that chooses the best one, and which epoch is kept so far.
/// Higher scores are better.
fn chosen(by: &BestBy, (epoch, score): (u32, Option<f64>), best: u32, kept: Option<f64>) -> String {
    let shown = |score: Option<f64>| {
        let value = score.map(|s| if by.smaller { -s } else { s });
        value.map_or("not measured".to_owned(), |v| format!("{v:.4}"))
    };
    let this = format!("epoch {epoch} {} {}", by.metric, shown(score));
    match kept {
        None => format!("{this}: no epoch is better than the start so far"),
        Some(_) if best == epoch => format!("{this}: the best so far, this epoch is kept"),
        Some(_) => format!("{this}: epoch {best} stays the best, with {}", shown(kept)),
    }
}

/// A validation: each data set's metrics under its name where there are several, and the plain means over data sets.
#[derive(Default)]
struct Measured {
    each: Vec<(String, f64)>,
    mean: Vec<(String, f64)>,
}
