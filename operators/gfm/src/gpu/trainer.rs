//! Training on a device: weights, moments and data sets stay there; a step is queued and its loss read later.

use std::any::Any;
use std::sync::OnceLock;

use candle_core::{DType, Tensor};
use gfm_pipe_api::{OpError, OpResult};
use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_kernels::adamw::AdamW;
use gfm_pipe_kernels::gpu::optimizer::{Adam, sum_of_squares};
use gfm_pipe_kernels::gpu::{Gpu, State, Vector};
use half::bf16;

use super::backward::Gradients;
use super::forward::{Ask, Model, Query};
use super::graph::DeviceGraph;
use super::objective::{LinkBatch, QuestionBatch, QuestionObjective, Term, Value, link_loss};
use super::scoring::OnGraph;
use super::sums::Sums;
use super::weights::{Weights, upload};
use super::{Result, device_error};
use crate::graph::Graph;
use crate::model::{ModelConfig, Params};
use crate::optimizer::{Moments, Optimizer};
use crate::scorer::Scorer;
use crate::tensor_error;

/// What is kept on the device of a data set, as long as the data set is in memory.
#[derive(Default)]
pub struct OnDevice {
    graph: OnceLock<Box<dyn Any + Send + Sync>>,
    objective: OnceLock<QuestionObjective>,
}

/// A data set's graph, and where it is kept on the device.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Embeddings of relation names, `[2R, text]`.
    pub embeddings: &'a Tensor,
    /// What the device has of it.
    pub kept: &'a OnDevice,
}

/// A step that is queued.
pub struct Pending {
    parts: Vector<f64>,
    weights: Vec<f64>,
    squares: Option<Vector<f64>>,
}

/// What a step gave: of several ranks, a part that adds up to the whole with the others', but for the norm.
pub struct Taken {
    /// The loss.
    pub loss: f64,
    /// The values of its parts.
    pub parts: Vec<f64>,
    /// Norm of all gradients, where they are clipped.
    pub norm: Option<f64>,
}

impl Pending {
    /// Waits for it.
    pub fn wait(self) -> OpResult<Taken> {
        let values = self.parts.read().map_err(device_error)?;
        let rows = values.len() / self.weights.len().max(1);
        let parts: Vec<f64> = values.chunks(rows.max(1)).map(|p| p.iter().sum()).collect();
        let norm = match self.squares {
            Some(s) => s.read().map_err(device_error)?.first().map(|s| s.sqrt()),
            None => None,
        };
        Ok(Taken {
            loss: parts.iter().zip(&self.weights).map(|(p, w)| p * w).sum(),
            parts,
            norm,
        })
    }
}

/// How steps are taken.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// Element type of states.
    pub states: DType,
    /// Whether products of f32 may be made in TF32.
    pub tf32: bool,
    /// Whether layers are computed again in the backward pass instead of kept.
    pub recompute: bool,
    /// Largest norm of all gradients together.
    pub clip_norm: Option<f64>,
}

impl How {
    /// Holds that a CPU can take such steps.
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

/// Training in one element type of states.
pub trait Trainer: Send {
    /// Queues a pre-training step with a learning rate times `factor`.
    fn links(&mut self, on: Source<'_>, batch: LinkBatch, factor: f64) -> OpResult<Pending>;

    /// Queues a fine-tuning step.
    fn questions(
        &mut self,
        on: Source<'_>,
        documents: (&EntityDocuments, &dyn Fn() -> Vec<Term>),
        batch: QuestionBatch,
        factor: f64,
    ) -> OpResult<Pending>;

    /// Copies weights, and the optimizer's state where it is given, from the device.
    fn pull(&self, params: &mut Params, optimizer: Option<&mut Optimizer>) -> OpResult<()>;

    /// Scores by the weights as they are.
    fn scorer<'a>(&'a self, on: Source<'a>) -> OpResult<Box<dyn Scorer + 'a>>;

    /// The device.
    fn gpu(&self) -> &Gpu;
}

pub(super) struct Typed<S: State> {
    config: ModelConfig,
    pub(super) weights: Weights<S>,
    pub(super) grads: Gradients<S>,
    m: Vector<S::Acc>,
    v: Vector<S::Acc>,
    adamw: AdamW,
    steps: u64,
    how: How,
    sums: Sums,
}

/// A trainer that goes on from these weights and this optimizer; the same on every rank.
pub fn trainer(
    gpu: &Gpu,
    params: &Params,
    optimizer: &Optimizer,
    how: How,
    sums: Sums,
) -> OpResult<Box<dyn Trainer>> {
    Ok(match how.states {
        DType::F64 => Box::new(Typed::<f64>::new(gpu, params, optimizer, (how, sums))?),
        DType::BF16 => Box::new(Typed::<bf16>::new(gpu, params, optimizer, (how, sums))?),
        _ => Box::new(Typed::<f32>::new(gpu, params, optimizer, (how, sums))?),
    })
}

/// A data set's graph on the device, copied there when it is first asked for.
pub(super) fn graph_of<'a, S: State>(
    gpu: &Gpu,
    on: Source<'a>,
    config: &ModelConfig,
) -> OpResult<&'a DeviceGraph<S>> {
    if on.kept.graph.get().is_none() {
        let made = DeviceGraph::<S>::new(gpu, on.graph, on.embeddings, config);
        // Nobody else fills it meanwhile: one thread trains.
        let _ = on.kept.graph.set(Box::new(made.map_err(tensor_error)?));
    }
    let kept = on.kept.graph.get().and_then(|g| g.downcast_ref());
    match kept {
        Some(graph) => Ok(graph),
        None => unreachable!("a data set is used by one trainer"),
    }
}

impl<S: State> Typed<S> {
    pub(super) fn new(
        gpu: &Gpu,
        params: &Params,
        optimizer: &Optimizer,
        (how, sums): (How, Sums),
    ) -> OpResult<Self> {
        // Another stage may train in f32 on the same device at the same time.
        let gpu = &gpu.with_tf32(how.tf32);
        let weights = Weights::<S>::new(gpu, params).map_err(tensor_error)?;
        let moments = |of: fn(&Moments) -> &Tensor| -> OpResult<Vector<S::Acc>> {
            let packed = weights.places.pack(|n| optimizer.moments.get(n).map(of));
            upload(gpu, &packed.map_err(tensor_error)?).map_err(device_error)
        };
        Ok(Typed {
            config: params.config.clone(),
            grads: Gradients::new(&weights).map_err(device_error)?,
            m: moments(|m| &m.exp_avg)?,
            v: moments(|m| &m.exp_avg_sq)?,
            weights,
            adamw: optimizer.settings,
            steps: optimizer.steps,
            how,
            sums,
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
        ask: Ask<'_, S>,
        value: impl FnOnce(&Vector<S::Acc>) -> Result<Value<S::Acc>>,
    ) -> Result<(Vector<f64>, Vec<f64>)> {
        let model = self.model(graph);
        let (scores, tape) = model.forward(ask)?;
        let value = value(&scores)?;
        drop(scores);
        model.backward(tape, value.grad.view(), &self.grads)?;
        Ok((value.parts, value.weights))
    }

    /// The optimizer's step.
    fn step(&mut self, parts: Vector<f64>, weights: Vec<f64>, factor: f64) -> Result<Pending> {
        self.steps += 1;
        let squares = match self.how.clip_norm {
            Some(_) => Some(sum_of_squares(self.grads.values.view())?),
            None => None,
        };
        let adamw = AdamW {
            lr: self.adamw.lr * factor,
            ..self.adamw
        };
        let adam = Adam {
            param: self.weights.values.view(),
            grad: self.grads.values.view(),
            m: self.m.view(),
            v: self.v.view(),
        };
        let clip = squares.as_ref().zip(self.how.clip_norm);
        adam.step(&adamw, self.steps, clip)?;
        self.weights.lower()?;
        Ok(Pending {
            parts,
            weights,
            squares,
        })
    }

    /// Of a rank that has no row of a batch.
    fn nothing(&self, weights: Vec<f64>) -> Result<(Vector<f64>, Vec<f64>)> {
        self.grads.values.view().fill_bytes(0)?;
        Ok((self.gpu().zeros(weights.len())?, weights))
    }

    fn link_gradients(
        &self,
        on: Source<'_>,
        graph: &DeviceGraph<S>,
        links: LinkBatch,
    ) -> Result<(Vector<f64>, Vec<f64>)> {
        if links.batch.queries.is_empty() {
            return self.nothing(vec![1.0]);
        }
        let removed = graph.removal(on.graph, links.gone)?;
        let queries = &links.batch.queries;
        let relations: Vec<u32> = queries.iter().map(|q| q.relation).collect();
        let ask = Ask {
            query: Query::Relations(&relations),
            seeds: &links.seeds,
            candidates: Some(&links.batch.candidates),
            reach: graph.rows(links.reach)?,
            removed: Some(&removed),
        };
        let (rows, temperature) = ((queries.len(), links.rows), links.temperature);
        graph.flip(&removed)?;
        let done = self.gradients(graph, ask, |s| link_loss::<S>(rows, temperature, s));
        graph.flip(&removed)?;
        done
    }

    fn question_gradients(
        &self,
        objective: &QuestionObjective,
        graph: &DeviceGraph<S>,
        questions: QuestionBatch,
    ) -> Result<(Vector<f64>, Vec<f64>)> {
        if questions.seeds.is_empty() {
            return self.nothing(objective.terms.iter().map(|t| t.weight).collect());
        }
        let ask = Ask {
            query: Query::Texts(&questions.texts),
            seeds: &questions.seeds,
            candidates: None,
            reach: graph.rows(questions.reach)?,
            removed: None,
        };
        let gold = (&questions.entities[..], &questions.documents[..]);
        let loss = |scores: &Vector<S::Acc>| objective.loss::<S>(gold, &questions.whole, scores);
        self.gradients(graph, ask, loss)
    }

    /// The step of all ranks, from the gradients of each.
    fn finish(&mut self, found: Result<(Vector<f64>, Vec<f64>)>, factor: f64) -> OpResult<Pending> {
        let (parts, weights) = found.map_err(device_error)?;
        self.sums.add_up(&self.grads.values)?;
        self.step(parts, weights, factor).map_err(device_error)
    }
}

impl<S: State> Trainer for Typed<S> {
    fn links(&mut self, on: Source<'_>, batch: LinkBatch, factor: f64) -> OpResult<Pending> {
        let graph = graph_of::<S>(self.gpu(), on, &self.config)?;
        let found = self.link_gradients(on, graph, batch);
        self.finish(found, factor)
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
        let found = self.question_gradients(objective, graph, batch);
        self.finish(found, factor)
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
        for (values, of) in [
            (
                &self.m,
                (|m| &mut m.exp_avg) as fn(&mut Moments) -> &mut Tensor,
            ),
            (&self.v, |m| &mut m.exp_avg_sq),
        ] {
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
        Ok(Box::new(OnGraph::new(self.model(graph), on.graph)))
    }

    fn gpu(&self) -> &Gpu {
        self.weights.gpu()
    }
}
