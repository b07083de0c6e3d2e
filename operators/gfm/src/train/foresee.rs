//! Estimates of the time and memory of a training from its first batches: on a GPU by its data
//! sheet, on the CPU by timing a small step.

use std::collections::BTreeMap;

use gfm_pipe_api::{Artifact, Estimate};

use super::memory::Sizes;
use super::speed::{Speed, cost};
use super::visits::Course;
use super::{Batched, LoopSettings, Task, memory};
use gfm_pipe_model::gpu::estimate::{BatchShape, StepCost, estimate};
use gfm_pipe_model::graph::Graph;
use gfm_pipe_model::model::{Class, Compute, ModelConfig, QueryNodes, Reach, rng};
use gfm_pipe_model::ops::Seeds;
use gfm_pipe_model::sampling::permutation;

/// Batches of each data set that are looked at.
const LOOKED_AT: usize = 2;

/// A batch of a data set, as far as memory and time depend on it besides sizes.
pub(crate) struct FirstBatch {
    pub reach: Reach,
    /// Seeds of all queries together.
    pub seeds: usize,
}

impl FirstBatch {
    /// The batch of these samples. What is drawn at random does not matter: only sizes do.
    pub fn of<T: Task>(
        task: &T,
        data: &T::Data,
        (config, compute): (&ModelConfig, Compute),
        samples: &[usize],
    ) -> Self {
        let batched = Batched {
            all: samples,
            mine: 0..samples.len(),
        };
        let batch = task.batch(data, &batched, &mut rng(0, "an estimate"));
        let seeds = batch.seeds();
        let graph = task.source(data).graph;
        FirstBatch {
            reach: Reach::chosen(config, graph, compute, batch.nodes(), false),
            seeds: seeds.iter().map(Vec::len).sum(),
        }
    }
}

/// What is foreseen of a training.
pub(crate) struct Foresight<'a> {
    pub class: Class,
    pub config: &'a ModelConfig,
    pub settings: &'a LoopSettings,
    /// Name of the device; [`CPU`] is the processor.
    pub device: &'a str,
    /// What a step on each batch that was looked at takes on a GPU.
    steps: Vec<StepCost>,
    /// Edges per node and number of queries of the first of these batches.
    degree: f64,
    queries: usize,
    samples: Vec<usize>,
    /// What the batches cost that were looked at, and all validations of an epoch, in the unit of
    /// [`Reach::cost`].
    costs: Vec<f64>,
    valid: f64,
    /// A data set's step does not fit into this machine's memory: the training will say so.
    too_large: bool,
}

/// The processor among the devices.
pub(crate) const CPU: &str = "cpu";

impl<'a> Foresight<'a> {
    pub fn new(
        class: Class,
        config: &'a ModelConfig,
        settings: &'a LoopSettings,
        device: &'a str,
    ) -> Self {
        Foresight {
            class,
            config,
            settings,
            device,
            steps: Vec::new(),
            degree: 0.0,
            queries: 0,
            samples: Vec::new(),
            costs: Vec::new(),
            valid: 0.0,
            too_large: false,
        }
    }

    /// Looks at the first batches of a data set with this many samples. A batch that cannot fit
    /// into memory is not made.
    pub fn look(
        &mut self,
        (graph, text): (&Graph, usize),
        (samples, sizes): (usize, &Sizes),
        batch: impl Fn(&[usize]) -> FirstBatch,
    ) {
        self.samples.push(samples);
        let settings = &self.settings.steps;
        let numbers = (text, settings.states.size_in_bytes());
        let queries = self.settings.batch_size.min(samples);
        let model = (self.class, self.config);
        if memory::check_sizes(model, numbers, sizes, queries).is_err() {
            self.too_large = true;
            return;
        }
        let order = permutation(samples, &mut rng(self.settings.seed, "order of epoch 1"));
        for numbers in order.chunks(self.settings.batch_size).take(LOOKED_AT) {
            let seen = batch(numbers);
            let scored = numbers.len() * sizes.candidates.unwrap_or(graph.nodes());
            self.costs
                .push(cost(self.config, graph, &seen.reach, scored));
            if self.steps.is_empty() {
                self.degree = graph.edges() as f64 / graph.nodes().max(1) as f64;
                self.queries = numbers.len();
            }
            let shape = BatchShape {
                class: self.class,
                config: self.config,
                settings: *settings,
                graph,
                text,
                queries: numbers.len(),
                seeds: seen.seeds,
                candidates: sizes.candidates,
                documents: sizes.documents,
                reach: seen.reach,
            };
            match shape.cost() {
                Ok(cost) => self.steps.push(cost),
                Err(_) => self.too_large = true,
            }
        }
    }

    /// Looks at a batch of a validation, of which an epoch has `batches`. `background`: whether it
    /// is computed once for all of them.
    pub fn look_at_validation(
        &mut self,
        graph: &Graph,
        (batches, seeds): (usize, &Seeds),
        background: bool,
    ) {
        let nodes = QueryNodes {
            seeds,
            candidates: None,
        };
        let reach = Reach::chosen(self.config, graph, Compute::Auto, nodes, background);
        let scored = seeds.len() * graph.nodes();
        self.valid += batches as f64 * cost(self.config, graph, &reach, scored);
    }

    /// The estimate; `None` where there was nothing to look at, or the training does not fit.
    pub fn estimate(self) -> Option<Estimate> {
        if self.too_large || self.steps.is_empty() {
            return None;
        }
        let course = Course {
            seed: self.settings.seed,
            batch_size: self.settings.batch_size,
            cap: self.settings.batch_per_epoch,
            samples: self.samples.clone(),
            validated: Vec::new(),
        };
        let steps = course.per_epoch() * u64::from(self.settings.num_epoch);
        if self.device == CPU {
            let a_step = self.costs.iter().sum::<f64>() / self.costs.len() as f64;
            let valid = self.valid * f64::from(self.settings.num_epoch);
            let dtype = self.settings.steps.states;
            let speed = Speed::measure(self.config, self.degree, self.queries, dtype).ok()?;
            return Some(Estimate {
                memory: self.steps.iter().map(|s| s.memory).max().unwrap_or(0) as u64,
                seconds: speed.step * a_step * steps as f64 + speed.forward * valid,
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

/// The artifacts of a port, where all that are connected to it are there.
pub(crate) fn port<'a>(inputs: &'a BTreeMap<String, Vec<Artifact>>, name: &str) -> &'a [Artifact] {
    inputs.get(name).map_or(&[], Vec::as_slice)
}
