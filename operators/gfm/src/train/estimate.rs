//! Estimates of a training's time and memory from the first batches of its data sets: on a GPU by
//! the device's data sheet, on the CPU by timing a small step.

use std::collections::BTreeMap;

use gfm_pipe_api::{Artifact, Estimate};

use super::epoch_plan::EpochPlan;
use super::memory::{ModelSize, Sizes};
use super::speed::{Speed, cost};
use super::{BatchSamples, LoopSettings, Task, memory};
use gfm_pipe_model::backend::Batch;
use gfm_pipe_model::edge_dropout::EdgeDropout;
use gfm_pipe_model::gpu::estimate::{BatchShape, StepCost, estimate};
use gfm_pipe_model::graph::Graph;
use gfm_pipe_model::model::{Class, Compute, ModelConfig, QueryNodes, Reach, rng, size};
use gfm_pipe_model::ops::Seeds;
use gfm_pipe_model::sampling::permutation;

/// Number of batches of each data set that the estimate is made from.
const SAMPLED_BATCHES: usize = 2;

/// The device name of the CPU.
pub(crate) const CPU: &str = "cpu";

/// What memory and time of a batch depend on, besides the sizes of its data set.
pub(crate) struct FirstBatch {
    pub reach: Reach,
    /// Number of seeds of all queries together.
    pub seeds: usize,
    /// The edges that its step lacks.
    pub dropout: Option<EdgeDropout>,
}

impl FirstBatch {
    /// The batch of these samples. Random draws matter little: only sizes are read, and the dropout
    /// that is drawn decides how many edges are left out.
    pub fn of<T: Task>(
        task: &T,
        data: &T::Data,
        config: &ModelConfig,
        compute: Compute,
        samples: &[usize],
    ) -> Self {
        let batch_samples = BatchSamples {
            all: samples,
            mine: 0..samples.len(),
        };
        let batch = task.batch(data, &batch_samples, &mut rng(0, "an estimate"));
        let seeds = batch.seeds();
        let graph = task.source(data).graph;
        FirstBatch {
            reach: Reach::chosen(config, graph, compute, batch.nodes(), false),
            seeds: seeds.iter().map(Vec::len).sum(),
            dropout: match &batch {
                Batch::Links(_) => None,
                Batch::Questions(questions) => questions.dropout,
            },
        }
    }
}

/// A data set as the estimate sees it.
pub(crate) struct DataSetShape<'a> {
    pub graph: &'a Graph,
    /// Width of text embeddings.
    pub text_dim: usize,
    /// Number of training samples.
    pub samples: usize,
    pub sizes: Sizes,
}

/// Collects what the data sets of a training cost.
pub(crate) struct TrainingEstimator<'a> {
    class: Class,
    config: &'a ModelConfig,
    settings: &'a LoopSettings,
    /// Name of the device, e.g. [`CPU`].
    device: &'a str,
    /// Cost of a step on a GPU, for each sampled batch.
    steps: Vec<StepCost>,
    /// Edges per node of the first sampled batch's graph.
    degree: f64,
    /// Number of queries of the first sampled batch.
    queries: usize,
    /// Number of training samples of each data set.
    samples: Vec<usize>,
    /// Cost of each sampled batch, in the unit of [`Reach::cost`].
    costs: Vec<f64>,
    /// Cost of all validations of an epoch, in the same unit.
    validation_cost: f64,
    /// Whether a step does not fit into this machine's memory. The training will report it.
    too_large: bool,
}

impl<'a> TrainingEstimator<'a> {
    pub fn new(
        class: Class,
        config: &'a ModelConfig,
        settings: &'a LoopSettings,
        device: &'a str,
    ) -> Self {
        TrainingEstimator {
            class,
            config,
            settings,
            device,
            steps: Vec::new(),
            degree: 0.0,
            queries: 0,
            samples: Vec::new(),
            costs: Vec::new(),
            validation_cost: 0.0,
            too_large: false,
        }
    }

    /// Adds a data set by its first batches, which `batch` makes from sample numbers. A batch that
    /// cannot fit into memory is not made.
    pub fn add(&mut self, set: &DataSetShape<'_>, batch: impl Fn(&[usize]) -> FirstBatch) {
        let (graph, samples) = (set.graph, set.samples);
        self.samples.push(samples);
        let settings = &self.settings.steps;
        let queries = self.settings.batch_size.min(samples);
        let model = ModelSize {
            config: self.config,
            weights: size(self.class, self.config, set.text_dim),
            bytes: settings.states.size_in_bytes(),
        };
        if memory::check_sizes(&model, &set.sizes, queries).is_err() {
            self.too_large = true;
            return;
        }
        let order = permutation(samples, &mut rng(self.settings.seed, "order of epoch 1"));
        let batches = order.chunks(self.settings.batch_size);
        for numbers in batches.take(SAMPLED_BATCHES) {
            let first = batch(numbers);
            let scored = numbers.len() * set.sizes.candidates.unwrap_or(graph.nodes());
            self.costs
                .push(cost(self.config, graph, &first.reach, scored));
            if self.steps.is_empty() {
                self.degree = graph.edges() as f64 / graph.nodes().max(1) as f64;
                self.queries = numbers.len();
            }
            let shape = BatchShape {
                class: self.class,
                config: self.config,
                settings: *settings,
                graph,
                text: set.text_dim,
                queries: numbers.len(),
                seeds: first.seeds,
                candidates: set.sizes.candidates,
                documents: set.sizes.documents,
                reach: first.reach,
                dropout: first.dropout,
            };
            match shape.cost() {
                Ok(cost) => self.steps.push(cost),
                Err(_) => self.too_large = true,
            }
        }
    }

    /// Adds a validation of `batches` batches like the one with these seeds. `background`: whether
    /// the background is computed once for all of them.
    pub fn add_validation(
        &mut self,
        graph: &Graph,
        batches: usize,
        seeds: &Seeds,
        background: bool,
    ) {
        let queries = QueryNodes {
            seeds,
            candidates: None,
        };
        let reach = Reach::chosen(self.config, graph, Compute::Auto, queries, background);
        let scored = seeds.len() * graph.nodes();
        self.validation_cost += batches as f64 * cost(self.config, graph, &reach, scored);
    }

    /// The estimate; `None` when no data set was added or the training does not fit.
    pub fn estimate(self) -> Option<Estimate> {
        if self.too_large || self.steps.is_empty() {
            return None;
        }
        let plan = EpochPlan {
            seed: self.settings.seed,
            batch_size: self.settings.batch_size,
            cap: self.settings.batch_per_epoch,
            samples: self.samples.clone(),
            validated: Vec::new(),
        };
        let steps = plan.per_epoch() * u64::from(self.settings.num_epoch);
        if self.device == CPU {
            let step_cost = self.costs.iter().sum::<f64>() / self.costs.len() as f64;
            let valid = self.validation_cost * f64::from(self.settings.num_epoch);
            let dtype = self.settings.steps.states;
            let speed = Speed::measure(self.config, self.degree, self.queries, dtype).ok()?;
            return Some(Estimate {
                memory: self.steps.iter().map(|s| s.memory).max().unwrap_or(0) as u64,
                seconds: speed.step * step_cost * steps as f64 + speed.forward * valid,
                device: CPU.to_owned(),
            });
        }
        Some(estimate(
            &self.steps,
            steps,
            &self.settings.steps,
            self.device,
        ))
    }
}

/// The artifacts of an input port; none where nothing is connected to it.
pub(crate) fn port<'a>(inputs: &'a BTreeMap<String, Vec<Artifact>>, name: &str) -> &'a [Artifact] {
    inputs.get(name).map_or(&[], Vec::as_slice)
}
