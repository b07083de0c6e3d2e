//! Training on a device. Weights, moments and data sets stay on the device; a step is queued, and
//! its loss is read later.

use candle_core::{DType, Tensor};
use gfm_pipe_api::{OpError, OpResult};
use gfm_pipe_kernels::Real;
use gfm_pipe_kernels::adamw::AdamW;
use gfm_pipe_kernels::gpu::optimizer::{Adam, Clip, sum_of_squares};
use gfm_pipe_kernels::gpu::{Gpu, State, Vector};
use half::bf16;

use super::error::{Result, device_error};
use super::graph::{DeviceGraph, DeviceTexts};
use super::model::{BatchInput, Model, QuerySource};
use super::objective::{LossParts, QuestionObjective, Value, link_loss};
use super::scoring::DeviceScorer;
use super::sums::Sums;
use super::weights::{Gradients, Places, Weights, upload};
use crate::backend::{
    Backend, Batch, LinkBatch, Pending, Prepared, Preparer, QuestionBatch, Source, StepResult,
    StepSettings,
};
use crate::graph::Graph;
use crate::model::{
    Class, FEATURE_GATE, FEATURE_WEIGHT, FeatureSums, FeatureWeights, ModelConfig, Params, Reach,
};
use crate::optimizer::{Moments, Optimizer};
use crate::sampling::Triple;
use crate::scorer::Scorer;
use crate::tensor_error;

/// A step that is queued.
pub(super) struct QueuedStep {
    loss: LossParts,
    /// The sum of the squares of all gradients, if they are clipped.
    squares: Option<Vector<f64>>,
}

impl QueuedStep {
    /// Waits until the step is done.
    fn wait(self) -> OpResult<StepResult> {
        let weights = &self.loss.weights;
        let values = self.loss.parts.read().map_err(device_error)?;
        let rows = values.len() / weights.len().max(1);
        let parts: Vec<f64> = values.chunks(rows.max(1)).map(|p| p.iter().sum()).collect();
        let norm = match self.squares {
            Some(s) => s.read().map_err(device_error)?.first().map(|s| s.sqrt()),
            None => None,
        };
        Ok(StepResult {
            whole: false,
            loss: parts.iter().zip(weights).map(|(p, w)| p * w).sum(),
            parts,
            norm,
        })
    }
}

/// Training with states of type `S`.
pub(super) struct DeviceTrainer<S: State> {
    class: Class,
    config: ModelConfig,
    pub(super) weights: Weights<S>,
    pub(super) grads: Gradients<S>,
    moments: DeviceMoments<S>,
    adamw: AdamW,
    steps: u64,
    settings: StepSettings,
    sums: Sums,
}

/// The optimizer's moments, laid out as the weights are.
struct DeviceMoments<S: State> {
    first: Vector<S::Acc>,
    second: Vector<S::Acc>,
}

/// A trainer that continues from these weights and this optimizer state, which are the same on
/// every rank.
pub fn trainer(
    gpu: &Gpu,
    params: &Params,
    optimizer: &Optimizer,
    settings: StepSettings,
    sums: Sums,
) -> OpResult<Box<dyn Backend>> {
    Ok(match settings.states {
        DType::F64 => Box::new(DeviceTrainer::<f64>::new(
            gpu, params, optimizer, settings, sums,
        )?),
        DType::BF16 => Box::new(DeviceTrainer::<bf16>::new(
            gpu, params, optimizer, settings, sums,
        )?),
        _ => Box::new(DeviceTrainer::<f32>::new(
            gpu, params, optimizer, settings, sums,
        )?),
    })
}

/// A data set's graph on the device, copied there by the first call.
fn graph_of<'a, S: State>(
    gpu: &Gpu,
    on: Source<'a>,
    config: &ModelConfig,
) -> OpResult<&'a DeviceGraph<S>> {
    if on.cache.graph.get().is_none() {
        let texts = DeviceTexts::new(gpu, on.texts, config)?;
        let made = DeviceGraph::<S>::new(on.graph, texts, config).map_err(device_error)?;
        // One thread trains, so no other call fills it in between.
        let _ = on.cache.graph.set(Box::new(made));
    }
    let kept = on.cache.graph.get().and_then(|g| g.downcast_ref());
    match kept {
        Some(graph) => Ok(graph),
        None => unreachable!("a data set is used by one trainer"),
    }
}

impl<S: State> DeviceTrainer<S> {
    pub(super) fn new(
        gpu: &Gpu,
        params: &Params,
        optimizer: &Optimizer,
        settings: StepSettings,
        sums: Sums,
    ) -> OpResult<Self> {
        // Another stage may train in f32 on the same device at the same time.
        let gpu = &gpu.with_tf32(settings.tf32);
        let weights = Weights::<S>::new(gpu, params).map_err(tensor_error)?;
        let moments = |of: fn(&Moments) -> &Tensor| -> OpResult<Vector<S::Acc>> {
            let packed = weights.places.pack(|n| optimizer.moments.get(n).map(of));
            upload(gpu, &packed.map_err(tensor_error)?).map_err(device_error)
        };
        Ok(DeviceTrainer {
            class: params.class,
            config: params.config.clone(),
            grads: Gradients::new(&weights).map_err(device_error)?,
            moments: DeviceMoments {
                first: moments(|m| &m.exp_avg)?,
                second: moments(|m| &m.exp_avg_sq)?,
            },
            weights,
            adamw: optimizer.settings,
            steps: optimizer.steps,
            settings,
            sums,
        })
    }

    /// A trainer whose weights and moments are allocated but not set: its steps compute nothing of
    /// use, and take the memory of any other trainer's.
    pub(super) fn without_values(
        gpu: &Gpu,
        (class, config): (Class, &ModelConfig),
        shapes: Vec<(String, Vec<usize>)>,
        settings: StepSettings,
    ) -> Result<Self> {
        let places = Places::new(shapes);
        let len = places.len();
        let weights = Weights::<S>::with(gpu.dirty(len)?, places)?;
        Ok(DeviceTrainer {
            class,
            config: config.clone(),
            grads: Gradients::new(&weights)?,
            moments: DeviceMoments {
                first: gpu.dirty(len)?,
                second: gpu.dirty(len)?,
            },
            weights,
            adamw: AdamW {
                lr: 0.0,
                betas: (0.0, 0.0),
                eps: 1.0,
                weight_decay: 0.0,
            },
            steps: 0,
            settings,
            sums: Sums::Alone,
        })
    }

    pub(super) fn model<'a>(&'a self, graph: &'a DeviceGraph<S>) -> Model<'a, S> {
        Model {
            class: self.class,
            config: &self.config,
            weights: &self.weights,
            graph,
            recompute: self.settings.recompute,
        }
    }

    /// Forward, loss, backward.
    fn gradients(
        &self,
        graph: &DeviceGraph<S>,
        input: BatchInput<'_, S>,
        value: impl FnOnce(&Vector<S::Acc>) -> Result<Value<S::Acc>>,
    ) -> Result<LossParts> {
        let model = self.model(graph);
        let (scores, tape) = model.forward(input)?;
        let value = value(&scores)?;
        drop(scores);
        model.backward(tape, value.grad.view(), &self.grads)?;
        if let Some(sums) = value.features {
            self.write_features(&sums)?;
        }
        Ok(value.loss)
    }

    /// The head of features, if the model has one.
    fn feature_head(&self) -> Result<Option<FeatureWeights>> {
        if self.config.features.is_empty() {
            return Ok(None);
        }
        let read = |name| -> Result<Vec<f64>> {
            let values = self.weights.part(name).read()?;
            Ok(values.into_iter().map(Real::f64).collect())
        };
        let (weight, gate) = (read(FEATURE_WEIGHT)?, read(FEATURE_GATE)?);
        let head = FeatureWeights::of_values(&self.config, &weight, &gate);
        Ok(Some(head))
    }

    /// Sets the gradients of the head of features, which no kernel computes.
    fn write_features(&self, sums: &FeatureSums) -> Result<()> {
        let (weight, gate) = sums.values(&self.config);
        for (name, values) in [(FEATURE_WEIGHT, weight), (FEATURE_GATE, gate)] {
            let values: Vec<S::Acc> = values.into_iter().map(Real::of).collect();
            self.grads.part(name).write(&values)?;
        }
        Ok(())
    }

    /// The optimizer's step.
    pub(super) fn optimizer_step(&mut self, loss: LossParts, factor: f64) -> Result<QueuedStep> {
        self.steps += 1;
        let clip = match self.settings.clip_norm {
            Some(norm) => Some(Clip {
                squares: sum_of_squares(self.grads.values.view())?,
                norm,
            }),
            None => None,
        };
        let adamw = AdamW {
            lr: self.adamw.lr * factor,
            ..self.adamw
        };
        let adam = Adam {
            param: self.weights.values.view(),
            grad: self.grads.values.view(),
            m: self.moments.first.view(),
            v: self.moments.second.view(),
        };
        adam.step(&adamw, self.steps, clip.as_ref())?;
        self.weights.lower()?;
        Ok(QueuedStep {
            loss,
            squares: clip.map(|clip| clip.squares),
        })
    }

    /// Zero gradients and a loss of zero, for a rank that has no query of a batch.
    fn no_queries(&self, weights: Vec<f64>) -> Result<LossParts> {
        self.grads.values.view().fill_bytes(0)?;
        Ok(LossParts {
            parts: self.weights.gpu().zeros(weights.len())?,
            weights,
        })
    }

    /// Computes the gradients of a pre-training batch, over these rows, without the edges of
    /// `gone`.
    pub(super) fn link_gradients(
        &self,
        host: &Graph,
        graph: &DeviceGraph<S>,
        links: &LinkBatch<'_>,
        (reach, gone): (Reach, Vec<Triple>),
    ) -> Result<LossParts> {
        if links.batch.queries.is_empty() {
            return self.no_queries(vec![1.0]);
        }
        let removed = graph.removal(host, gone)?;
        let queries = &links.batch.queries;
        let relations: Vec<u32> = queries.iter().map(|q| q.relation).collect();
        let input = BatchInput {
            query: QuerySource::Relations(&relations),
            seeds: &links.seeds,
            candidates: Some(&links.batch.candidates),
            reach: graph.rows(reach)?,
            removed: Some(&removed),
        };
        graph.flip(&removed)?;
        let loss = self.gradients(graph, input, |scores| {
            link_loss::<S>(queries.len(), links.rows, links.temperature, scores)
        });
        graph.flip(&removed)?;
        loss
    }

    /// Computes the gradients of a fine-tuning batch, over these rows, without the edges that the
    /// step lacks.
    pub(super) fn question_gradients(
        &self,
        objective: &QuestionObjective,
        (host, graph): (&Graph, &DeviceGraph<S>),
        questions: &QuestionBatch<'_>,
        reach: Reach,
    ) -> Result<LossParts> {
        if questions.seeds.is_empty() {
            return self.no_queries(objective.terms.iter().map(|t| t.weight).collect());
        }
        let dropout = questions.dropout.as_ref();
        let removed = dropout.map(|d| graph.dropped(host, d)).transpose()?;
        let input = BatchInput {
            query: QuerySource::Texts(&questions.texts),
            seeds: &questions.seeds,
            candidates: None,
            reach: graph.rows(reach)?,
            removed: removed.as_ref(),
        };
        // Only losses of documents with features read it, and reading waits for the device.
        let featured = questions.targets.iter().any(|t| !t.features.is_empty());
        let head = if featured { self.feature_head()? } else { None };
        let flip = || removed.as_ref().map_or(Ok(()), |r| graph.flip(r));
        flip()?;
        let loss = self.gradients(graph, input, |scores| {
            objective.loss::<S>(questions, scores, head.as_ref())
        });
        flip()?;
        loss
    }

    /// What fine-tuning minimises on a data set, copied to the device by the first call.
    fn objective_of<'a>(
        &self,
        on: Source<'a>,
        questions: &QuestionBatch<'_>,
    ) -> OpResult<&'a QuestionObjective> {
        if on.cache.objective.get().is_none() {
            let made = QuestionObjective::new(self.gpu(), questions);
            let _ = on
                .cache
                .objective
                .set(Box::new(made.map_err(device_error)?));
        }
        let kept = on.cache.objective.get().and_then(|o| o.downcast_ref());
        match kept {
            Some(objective) => Ok(objective),
            None => unreachable!("a data set is used by one trainer"),
        }
    }

    fn gpu(&self) -> &Gpu {
        self.weights.gpu()
    }

    /// The step of all ranks, from the gradients of each.
    fn finish(&mut self, loss: Result<LossParts>, factor: f64) -> OpResult<Pending> {
        let loss = loss.map_err(device_error)?;
        self.sums.add_up(&self.grads.values)?;
        let queued = self.optimizer_step(loss, factor).map_err(device_error)?;
        Ok(Pending::queued(move || queued.wait()))
    }
}

impl<S: State> Backend for DeviceTrainer<S> {
    fn preparer(&self) -> Preparer {
        Preparer {
            rows: Some((self.config.clone(), self.settings.compute)),
            threads: preparing_threads(),
        }
    }

    fn step(&mut self, on: Source<'_>, prepared: Prepared<'_>, factor: f64) -> OpResult<Pending> {
        let graph = graph_of::<S>(self.gpu(), on, &self.config)?;
        let Some(reach) = prepared.reach else {
            return Err(OpError::internal("a batch was not prepared for a device"));
        };
        let loss = match &prepared.batch {
            Batch::Links(links) => {
                self.link_gradients(on.graph, graph, links, (reach, prepared.gone))
            }
            Batch::Questions(questions) => {
                let objective = self.objective_of(on, questions)?;
                self.question_gradients(objective, (on.graph, graph), questions, reach)
            }
        };
        self.finish(loss, factor)
    }

    fn pull(&self, params: &mut Params, optimizer: &mut Optimizer) -> OpResult<()> {
        let places = &self.weights.places;
        let read = |v: &Vector<S::Acc>| -> OpResult<Vec<f64>> {
            let values = v.read().map_err(device_error)?;
            Ok(values.into_iter().map(Real::f64).collect())
        };
        let like = params.clone();
        let values = read(&self.weights.values)?;
        let set = |name: &str, t: Tensor| params.set(name, t);
        places.unpack(&values, &like, set).map_err(tensor_error)?;
        type Moment = fn(&mut Moments) -> &mut Tensor;
        let moments: [(_, Moment); 2] = [
            (&self.moments.first, |m| &mut m.exp_avg),
            (&self.moments.second, |m| &mut m.exp_avg_sq),
        ];
        for (values, of) in moments {
            let set = |name: &str, t: Tensor| match optimizer.moments.get_mut(name) {
                Some(m) => {
                    *of(m) = t;
                    Ok(())
                }
                None => candle_core::bail!("the optimizer has no state for parameter `{name}`"),
            };
            places
                .unpack(&read(values)?, &like, set)
                .map_err(tensor_error)?;
        }
        Ok(())
    }

    fn scorer<'a>(&'a self, on: Source<'a>) -> OpResult<Box<dyn Scorer + 'a>> {
        let graph = graph_of::<S>(self.gpu(), on, &self.config)?;
        Ok(Box::new(DeviceScorer::new(self.model(graph), on.graph)))
    }
}

/// Threads that prepare batches: on large graphs one alone takes longer than the device's step.
/// What each has prepared waits in memory.
fn preparing_threads() -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    (cpus / 3).clamp(1, 6)
}
