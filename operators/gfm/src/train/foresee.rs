//! What a training takes on a GPU, foreseen from its first batches.

use std::collections::BTreeMap;

use candle_core::DType;
use gfm_pipe_api::{Artifact, Estimate};

use super::LoopSettings;
use super::visits::Course;
use crate::gpu::estimate::{Shape, estimate};
use crate::graph::Graph;
use crate::model::{Class, ModelConfig, Reach, rng, size};
use crate::sampling::permutation;

/// Batches of each data set that are looked at.
const LOOKED_AT: usize = 2;

/// A batch of a data set, as far as memory and time depend on it.
pub(crate) struct Foreseen {
    pub reach: Reach,
    /// Seeds of all queries together.
    pub seeds: usize,
    /// Candidates of each query.
    pub candidates: Option<usize>,
    /// Documents, where losses are over them.
    pub documents: usize,
}

/// What is foreseen of a training.
pub(crate) struct Foresight<'a> {
    pub class: Class,
    pub config: &'a ModelConfig,
    pub settings: &'a LoopSettings,
    /// Name of the device.
    pub device: &'a str,
    shapes: Vec<Shape<'a>>,
    samples: Vec<usize>,
}

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
            shapes: Vec::new(),
            samples: Vec::new(),
        }
    }

    /// Looks at the first batches of a data set with this many samples.
    pub fn look(
        &mut self,
        (graph, text): (&Graph, usize),
        samples: usize,
        batch: impl Fn(&[usize]) -> Foreseen,
    ) {
        self.samples.push(samples);
        let how = &self.settings.how;
        let order = permutation(samples, &mut rng(self.settings.seed, "order of epoch 1"));
        for numbers in order.chunks(self.settings.batch_size).take(LOOKED_AT) {
            let seen = batch(numbers);
            let mut shape = Shape {
                config: self.config,
                bytes: match how.states {
                    DType::BF16 => (2, 4),
                    DType::F64 => (8, 8),
                    _ => (4, 4),
                },
                params: size(self.class, self.config, text),
                text,
                nodes: graph.nodes(),
                edges: graph.edges(),
                relations: 2 * graph.relations(),
                batch: numbers.len(),
                seeds: seen.seeds,
                candidates: seen.candidates,
                documents: seen.documents,
                recompute: how.recompute,
                rows: Vec::new(),
                whole: false,
                messages: Vec::new(),
            };
            let path = self.config.message_func.path();
            let messages = seen.reach.messages(graph, path);
            shape.of_reach(&seen.reach, messages);
            self.shapes.push(shape);
        }
    }

    /// What was foreseen; `None` where there was nothing to look at.
    pub fn estimate(self) -> Option<Estimate> {
        if self.shapes.is_empty() {
            return None;
        }
        let course = Course {
            seed: self.settings.seed,
            batch_size: self.settings.batch_size,
            cap: self.settings.batch_per_epoch,
            samples: self.samples,
            validated: Vec::new(),
        };
        let steps = course.per_epoch() * u64::from(self.settings.num_epoch);
        Some(estimate(
            &self.shapes,
            steps,
            self.settings.how.tf32,
            self.device,
        ))
    }
}

/// The artifacts of a port, where all that are connected to it are there.
pub(crate) fn port<'a>(inputs: &'a BTreeMap<String, Vec<Artifact>>, name: &str) -> &'a [Artifact] {
    inputs.get(name).map_or(&[], Vec::as_slice)
}
