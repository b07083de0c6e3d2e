//! Training on a device. Weights, moments and data sets stay on the device; a step is queued, and
//! its loss is read later.

use std::any::Any;
use std::sync::OnceLock;

use candle_core::{DType, Tensor};
use gfm_pipe_api::{OpError, OpResult};
use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_kernels::adamw::AdamW;
use gfm_pipe_kernels::gpu::optimizer::{Adam, Clip, sum_of_squares};
use gfm_pipe_kernels::gpu::{Gpu, State, Vector};
use half::bf16;

use super::error::{Result, device_error};
use super::graph::DeviceGraph;
use super::model::{BatchInput, Model, QuerySource};
use super::objective::{
    Gold, LinkBatch, LossParts, QuestionBatch, QuestionObjective, Term, Value, link_loss,
};
use super::scoring::{DeviceScorer, upload_tensor};
use super::sums::Sums;
use super::weights::{Gradients, Places, Weights, upload};
use crate::graph::Graph;
use crate::model::{ModelConfig, Params};
use crate::optimizer::{Moments, Optimizer};
use crate::scorer::Scorer;
use crate::tensor_error;

/// What the device keeps of a data set for as long as the data set is in memory.
#[derive(Default)]
pub struct OnDevice {
    graph: OnceLock<Box<dyn Any + Send + Sync>>,
    objective: OnceLock<QuestionObjective>,
}

/// A data set's graph, and the device's copy of it.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Embeddings of relation names, `[2R, text]`.
    pub embeddings: &'a Tensor,
    /// The device's copy; filled by the first step.
    pub kept: &'a OnDevice,
}

/// A step that is queued.
pub struct Pending {
    loss: LossParts,
    /// The sum of the squares of all gradients, if they are clipped.
    squares: Option<Vector<f64>>,
}

/// The result of a step. With several ranks, the losses are this rank's share: those of all ranks
/// add up to the batch's.
pub struct Taken {
    /// The weighted sum of all terms.
    pub loss: f64,
    /// The value of each term.
    pub parts: Vec<f64>,
    /// Norm of the gradients of all ranks, if they are clipped.
    pub norm: Option<f64>,
}

impl Pending {
    /// Waits until the step is done.
    pub fn wait(self) -> OpResult<Taken> {
        let weights = &self.loss.weights;
        let values = self.loss.parts.read().map_err(device_error)?;
        let rows = values.len() / weights.len().max(1);
        let parts: Vec<f64> = values.chunks(rows.max(1)).map(|p| p.iter().sum()).collect();
        let norm = match self.squares {
            Some(s) => s.read().map_err(device_error)?.first().map(|s| s.sqrt()),
            None => None,
        };
        Ok(Taken {
            loss: parts.iter().zip(weights).map(|(p, w)| p * w).sum(),
            parts,
            norm,
        })
    }
}

/// How steps are computed.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// Element type of states.
    pub states: DType,
    /// Whether products of f32 may round their factors to TF32.
    pub tf32: bool,
    /// Whether the backward pass computes layers again instead of keeping what it needs of them.
    pub recompute: bool,
    /// Largest norm of all gradients together.
    pub clip_norm: Option<f64>,
}

impl How {
    /// Checks that a CPU can run such steps.
    pub fn for_cpu(&self) -> OpResult<()> {
        let name = match (self.tf32, self.states) {
            (true, _) => "tf32",
            (_, DType::BF16) => "bf16",
            _ => return Ok(()),
        };
        Err(OpError::new(format!(
            "`train.dtype: {name}` is for GPUs, and this stage runs on the CPU"
        ))
        .hint("run with `--device cuda`, or set `train.dtype: f32`"))
    }
}

/// Training on a device, whatever the element type of states.
pub trait Trainer: Send {
    /// Queues a pre-training step. `factor` multiplies the learning rate.
    fn links(&mut self, on: Source<'_>, batch: LinkBatch, factor: f64) -> OpResult<Pending>;

    /// Queues a fine-tuning step. The first step on a data set asks for its loss terms.
    fn questions(
        &mut self,
        on: Source<'_>,
        documents: (&EntityDocuments, &dyn Fn() -> Vec<Term>),
        batch: QuestionBatch,
        factor: f64,
    ) -> OpResult<Pending>;

    /// Copies the weights, and the optimizer's state if one is given, from the device.
    fn pull(&self, params: &mut Params, optimizer: Option<&mut Optimizer>) -> OpResult<()>;

    /// A scorer with the current weights.
    fn scorer<'a>(&'a self, on: Source<'a>) -> OpResult<Box<dyn Scorer + 'a>>;

    /// The device.
    fn gpu(&self) -> &Gpu;
}

/// Training with states of type `S`.
pub(super) struct DeviceTrainer<S: State> {
    config: ModelConfig,
    pub(super) weights: Weights<S>,
    pub(super) grads: Gradients<S>,
    moments: DeviceMoments<S>,
    adamw: AdamW,
    steps: u64,
    how: How,
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
    how: How,
    sums: Sums,
) -> OpResult<Box<dyn Trainer>> {
    Ok(match how.states {
        DType::F64 => Box::new(DeviceTrainer::<f64>::new(
            gpu, params, optimizer, how, sums,
        )?),
        DType::BF16 => Box::new(DeviceTrainer::<bf16>::new(
            gpu, params, optimizer, how, sums,
        )?),
        _ => Box::new(DeviceTrainer::<f32>::new(
            gpu, params, optimizer, how, sums,
        )?),
    })
}

/// A data set's graph on the device, copied there by the first call.
fn graph_of<'a, S: State>(
    gpu: &Gpu,
    on: Source<'a>,
    config: &ModelConfig,
) -> OpResult<&'a DeviceGraph<S>> {
    if on.kept.graph.get().is_none() {
        let embeddings = upload_tensor(gpu, on.embeddings)?;
        let made = DeviceGraph::<S>::new(on.graph, embeddings, config).map_err(device_error)?;
        // One thread trains, so no other call fills it in between.
        let _ = on.kept.graph.set(Box::new(made));
    }
    let kept = on.kept.graph.get().and_then(|g| g.downcast_ref());
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
        how: How,
        sums: Sums,
    ) -> OpResult<Self> {
        // Another stage may train in f32 on the same device at the same time.
        let gpu = &gpu.with_tf32(how.tf32);
        let weights = Weights::<S>::new(gpu, params).map_err(tensor_error)?;
        let moments = |of: fn(&Moments) -> &Tensor| -> OpResult<Vector<S::Acc>> {
            let packed = weights.places.pack(|n| optimizer.moments.get(n).map(of));
            upload(gpu, &packed.map_err(tensor_error)?).map_err(device_error)
        };
        Ok(DeviceTrainer {
            config: params.config.clone(),
            grads: Gradients::new(&weights).map_err(device_error)?,
            moments: DeviceMoments {
                first: moments(|m| &m.exp_avg)?,
                second: moments(|m| &m.exp_avg_sq)?,
            },
            weights,
            adamw: optimizer.settings,
            steps: optimizer.steps,
            how,
            sums,
        })
    }

    /// A trainer whose weights and moments are allocated but not set: its steps compute nothing of
    /// use, and take the memory of any other trainer's.
    pub(super) fn without_values(
        gpu: &Gpu,
        config: &ModelConfig,
        shapes: Vec<(String, Vec<usize>)>,
        how: How,
    ) -> Result<Self> {
        let places = Places::new(shapes);
        let len = places.len();
        let weights = Weights::<S>::with(gpu.dirty(len)?, places)?;
        Ok(DeviceTrainer {
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
            how,
            sums: Sums::Alone,
        })
    }

    pub(super) fn model<'a>(&'a self, graph: &'a DeviceGraph<S>) -> Model<'a, S> {
        Model {
            config: &self.config,
            weights: &self.weights,
            graph,
            recompute: self.how.recompute,
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
        Ok(value.loss)
    }

    /// The optimizer's step.
    pub(super) fn step(&mut self, loss: LossParts, factor: f64) -> Result<Pending> {
        self.steps += 1;
        let clip = match self.how.clip_norm {
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
        Ok(Pending {
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

    /// Computes the gradients of a pre-training batch.
    pub(super) fn link_gradients(
        &self,
        host: &Graph,
        graph: &DeviceGraph<S>,
        links: LinkBatch,
    ) -> Result<LossParts> {
        if links.batch.queries.is_empty() {
            return self.no_queries(vec![1.0]);
        }
        let removed = graph.removal(host, links.gone)?;
        let queries = &links.batch.queries;
        let relations: Vec<u32> = queries.iter().map(|q| q.relation).collect();
        let input = BatchInput {
            query: QuerySource::Relations(&relations),
            seeds: &links.seeds,
            candidates: Some(&links.batch.candidates),
            reach: graph.rows(links.reach)?,
            removed: Some(&removed),
        };
        graph.flip(&removed)?;
        let loss = self.gradients(graph, input, |scores| {
            link_loss::<S>(queries.len(), links.rows, links.temperature, scores)
        });
        graph.flip(&removed)?;
        loss
    }

    /// Computes the gradients of a fine-tuning batch.
    pub(super) fn question_gradients(
        &self,
        objective: &QuestionObjective,
        graph: &DeviceGraph<S>,
        questions: QuestionBatch,
    ) -> Result<LossParts> {
        if questions.seeds.is_empty() {
            return self.no_queries(objective.terms.iter().map(|t| t.weight).collect());
        }
        let input = BatchInput {
            query: QuerySource::Texts(&questions.texts),
            seeds: &questions.seeds,
            candidates: None,
            reach: graph.rows(questions.reach)?,
            removed: None,
        };
        let gold = Gold {
            entities: &questions.entities,
            documents: &questions.documents,
            whole: &questions.whole,
        };
        self.gradients(graph, input, |scores| objective.loss::<S>(gold, scores))
    }

    /// The step of all ranks, from the gradients of each.
    fn finish(&mut self, loss: Result<LossParts>, factor: f64) -> OpResult<Pending> {
        let loss = loss.map_err(device_error)?;
        self.sums.add_up(&self.grads.values)?;
        self.step(loss, factor).map_err(device_error)
    }
}

impl<S: State> Trainer for DeviceTrainer<S> {
    fn links(&mut self, on: Source<'_>, batch: LinkBatch, factor: f64) -> OpResult<Pending> {
        let graph = graph_of::<S>(self.gpu(), on, &self.config)?;
        let loss = self.link_gradients(on.graph, graph, batch);
        self.finish(loss, factor)
    }

    fn questions(
        &mut self,
        on: Source<'_>,
        (documents, terms): (&EntityDocuments, &dyn Fn() -> Vec<Term>),
        batch: QuestionBatch,
        factor: f64,
    ) -> OpResult<Pending> {
        let graph = graph_of::<S>(self.gpu(), on, &self.config)?;
        if on.kept.objective.get().is_none() {
            let made = QuestionObjective::new(self.gpu(), terms(), documents);
            let _ = on.kept.objective.set(made.map_err(device_error)?);
        }
        let Some(objective) = on.kept.objective.get() else {
            unreachable!("it was made above")
        };
        let loss = self.question_gradients(objective, graph, batch);
        self.finish(loss, factor)
    }

    fn pull(&self, params: &mut Params, optimizer: Option<&mut Optimizer>) -> OpResult<()> {
        let places = &self.weights.places;
        let read = |v: &Vector<S::Acc>| -> OpResult<Vec<f64>> {
            let values = v.read().map_err(device_error)?;
            Ok(values
                .into_iter()
                .map(gfm_pipe_kernels::Real::f64)
                .collect())
        };
        let like = params.clone();
        let values = read(&self.weights.values)?;
        let set = |name: &str, t: Tensor| params.set(name, t);
        places.unpack(&values, &like, set).map_err(tensor_error)?;
        let Some(optimizer) = optimizer else {
            return Ok(());
        };
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

    fn gpu(&self) -> &Gpu {
        self.weights.gpu()
    }
}
