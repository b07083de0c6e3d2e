//! Memory and time of a training on a GPU, before it runs.
//!
//! Memory comes from running a step on a device that only counts ([`Gpu::counting`]): the same code
//! allocates the same vectors in the same order, so nothing here repeats what a step allocates.
//! Time is a model: the products' operations and the bytes that kernels move, divided by assumed
//! shares of what a device's data sheet promises. It is not a measurement.

use candle_core::DType;
use gfm_pipe_api::{Estimate, OpError, OpResult};
use gfm_pipe_kernels::gpu::{Gpu, State};
use gfm_pipe_kernels::rows::Rows;
use half::bf16;

use super::error::{Result, device_error};
use super::graph::{DeviceGraph, DeviceTexts};
use super::objective::QuestionObjective;
use super::trainer::DeviceTrainer;
use crate::backend::{LinkBatch, QuestionBatch, StepSettings, Target, Term};
use crate::edge_dropout::EdgeDropout;
use crate::graph::Graph;
use crate::loss::LIST_CE;
use crate::model::{Class, ModelConfig, Reach, TailQuery, shapes, size};
use crate::ops::Seeds;
use crate::sampling::{Batch, EasyEdges};
use gfm_pipe_eval::EntityDocuments;

/// A batch, as far as memory and time of a step on it depend on it.
pub struct BatchShape<'a> {
    /// Which model.
    pub class: Class,
    /// Its dimensions.
    pub config: &'a ModelConfig,
    /// How the step is computed.
    pub settings: StepSettings,
    /// The graph of its data set.
    pub graph: &'a Graph,
    /// Width of text embeddings.
    pub text: usize,
    /// Number of queries.
    pub queries: usize,
    /// Number of seeds of all queries together.
    pub seeds: usize,
    /// Number of candidates of each query; `None` if all nodes are scored.
    pub candidates: Option<usize>,
    /// Number of documents; 0 if no loss ranks documents.
    pub documents: usize,
    /// The rows to compute.
    pub reach: Reach,
    /// The edges that the step lacks.
    pub dropout: Option<EdgeDropout>,
}

/// What a step takes.
#[derive(Debug, Clone, Copy)]
pub struct StepCost {
    /// Bytes on the device, of weights, moments and graph too.
    pub memory: usize,
    /// Floating-point operations of matrix products.
    flops: f64,
    /// Bytes that kernels read and write.
    moved: f64,
}

impl BatchShape<'_> {
    /// Memory and work of a step on this batch.
    ///
    /// # Errors
    /// When the sizes do not belong together.
    pub fn cost(self) -> OpResult<StepCost> {
        let (flops, moved) = self.work();
        let memory = match self.settings.states {
            DType::F64 => self.memory::<f64>(),
            DType::BF16 => self.memory::<bf16>(),
            _ => self.memory::<f32>(),
        };
        Ok(StepCost {
            memory: memory?,
            flops,
            moved,
        })
    }

    /// The most that a step has allocated on the device at any time.
    fn memory<S: State>(self) -> OpResult<usize> {
        let nodes = self.graph.nodes();
        let links = (0..nodes as u32).map(|e| (e, e % self.documents.max(1) as u32));
        let links = links.take(if self.documents > 0 { nodes } else { 0 });
        let documents = EntityDocuments::from_pairs(nodes, self.documents, links)
            .map_err(|e| OpError::new(e.to_string()))?;
        let gpu = Gpu::counting();
        self.run_step::<S>(&gpu, &documents).map_err(device_error)?;
        Ok(gpu.used().peak)
    }

    /// Runs a step whose numbers mean nothing.
    fn run_step<S: State>(self, gpu: &Gpu, documents: &EntityDocuments) -> Result<()> {
        let shapes = shapes(self.class, self.config, self.text);
        let mut trainer = DeviceTrainer::<S>::without_values(
            gpu,
            (self.class, self.config),
            shapes,
            self.settings,
        )?;
        let texts = DeviceTexts {
            relations: gpu.dirty(2 * self.graph.relations() * self.text)?,
            nodes: match self.config.use_ent_emb {
                Some(_) => Some(gpu.dirty(self.graph.nodes() * self.text)?),
                None => None,
            },
        };
        let graph = DeviceGraph::<S>::new(self.graph, texts, self.config)?;
        let loss = match self.candidates {
            Some(candidates) => {
                let host = self.graph;
                let links = self.link_batch(candidates);
                trainer.link_gradients(host, &graph, &links, (self.reach, Vec::new()))?
            }
            None => {
                let questions = self.question_batch(documents);
                let objective = QuestionObjective::new(gpu, &questions)?;
                trainer.question_gradients(
                    &objective,
                    (self.graph, &graph),
                    &questions,
                    self.reach,
                )?
            }
        };
        trainer.optimizer_step(loss, 1.0)?;
        Ok(())
    }

    /// Seeds of this number, as evenly over the queries as possible.
    fn seeds(&self) -> Seeds {
        let (nodes, queries) = (self.graph.nodes().max(1), self.queries.max(1));
        let mut seeds = vec![Vec::new(); self.queries];
        for i in 0..self.seeds {
            seeds[i % queries].push(((i / queries % nodes) as u32, 1.0));
        }
        seeds
    }

    fn link_batch(&self, candidates: usize) -> LinkBatch<'static> {
        let nodes = self.graph.nodes().max(1);
        let nodes = (0..candidates).map(|c| (c % nodes) as u32).collect();
        let query = TailQuery {
            head: 0,
            relation: 0,
        };
        LinkBatch {
            seeds: self.seeds(),
            batch: Batch {
                queries: vec![query; self.queries],
                candidates: vec![nodes; self.queries],
            },
            asked: Vec::new(),
            easy: EasyEdges::Relation,
            temperature: 1.0,
            rows: self.queries,
        }
    }

    fn question_batch<'d>(&self, documents: &'d EntityDocuments) -> QuestionBatch<'d> {
        let nothing = || vec![Vec::new(); self.queries];
        let target = |columns| Target {
            columns,
            gold: nothing(),
            whole: nothing(),
            similar: Vec::new(),
            features: Vec::new(),
        };
        let mut targets = vec![target(None)];
        if self.documents > 0 {
            targets.push(target(Some(documents)));
        }
        let terms = (0..targets.len()).map(|target| Term {
            loss: LIST_CE.at(0.0),
            weight: 1.0,
            target,
        });
        QuestionBatch {
            texts: vec![0.0; self.queries * self.text],
            seeds: self.seeds(),
            terms: terms.collect(),
            targets,
            dropout: self.dropout,
        }
    }

    /// Floating-point operations of products, and bytes that kernels read and write.
    fn work(&self) -> (f64, f64) {
        // Bytes of a state's value, and of a weight's.
        let (s, a) = match self.settings.states {
            DType::BF16 => (2.0, 4.0),
            DType::F64 => (8.0, 8.0),
            _ => (4.0, 4.0),
        };
        let d = self.config.input_dim as f64;
        let messages = self
            .reach
            .messages(self.graph, self.config.message_func.path());
        let rows: Vec<usize> = self.reach.rows.iter().map(Rows::len).collect();
        let (mut flops, mut moved) = (0.0, 0.0);
        for (i, messages) in messages.iter().enumerate() {
            let (m, out) = (rows[i + 1] as f64, self.config.hidden_dims[i] as f64);
            let wide = self.config.aggregate_func.width() as f64;
            // Forward, and backward to input and weights.
            let product = 2.0 * m * (1.0 + wide) * d * out;
            flops += product * if self.settings.recompute { 4.0 } else { 3.0 };
            // Per message, one state forward and one back to the states, two to the relations.
            moved += 4.0 * *messages as f64 * d * s;
            // Rows pass through gathers, products, norms and back.
            moved += 24.0 * m * d.max(out) * s;
        }
        let f = self.config.head_width() as f64;
        if self.config.use_ent_emb.is_some() {
            // Texts pass through their map, and through a share of two others.
            let texts = self.graph.nodes() as f64 * d;
            flops += 6.0 * texts * (self.text as f64 + 2.0 * d);
            moved += 12.0 * texts * a;
        }
        let by_rows = self.config.head_by_rows();
        let scored = match self.candidates {
            None if by_rows => rows.last().copied().unwrap_or(0),
            None => self.queries * self.graph.nodes(),
            Some(candidates) => self.queries * candidates,
        } as f64;
        flops += 3.0 * 2.0 * scored * self.config.output_dim() as f64 * f;
        moved += 6.0 * scored * f * s;
        moved += 8.0 * size(self.class, self.config, self.text) as f64 * a;
        (flops, moved)
    }
}

/// A device's data sheet: TFLOP/s of products in f32, TF32 and bf16, and TB/s of its memory.
struct Sheet {
    name: &'static str,
    f32: f64,
    tf32: f64,
    bf16: f64,
    memory: f64,
}

const SHEETS: [Sheet; 4] = [
    Sheet {
        name: "H100",
        f32: 67.0,
        tf32: 495.0,
        bf16: 989.0,
        memory: 3.35,
    },
    Sheet {
        name: "H200",
        f32: 67.0,
        tf32: 495.0,
        bf16: 989.0,
        memory: 4.8,
    },
    Sheet {
        name: "A100",
        f32: 19.5,
        tf32: 156.0,
        bf16: 312.0,
        memory: 2.0,
    },
    Sheet {
        name: "L4",
        f32: 30.0,
        tf32: 60.0,
        bf16: 121.0,
        memory: 0.3,
    },
];

/// The share of a data sheet's product speed that products are assumed to reach.
const PRODUCT_SHARE: f64 = 0.7;
/// The share of a data sheet's memory speed that kernels are assumed to reach.
const MEMORY_SHARE: f64 = 0.5;
/// Seconds per step that do not depend on its size: launches, and the download of the loss.
const PER_STEP: f64 = 1e-3;

/// The memory of the largest of some steps, and the time of `steps` average ones, on the device of
/// this name; on an H100 if its data sheet is not known.
pub fn estimate(costs: &[StepCost], steps: u64, settings: &StepSettings, device: &str) -> Estimate {
    let sheet = SHEETS.iter().find(|s| device.contains(s.name));
    let sheet = sheet.unwrap_or(&SHEETS[0]);
    let rate = match settings.states {
        DType::BF16 => sheet.bf16,
        DType::F64 => sheet.f32 / 2.0,
        _ if settings.tf32 => sheet.tf32,
        _ => sheet.f32,
    };
    let seconds = |cost: &StepCost| {
        let products = cost.flops / (rate * 1e12 * PRODUCT_SHARE);
        products + cost.moved / (sheet.memory * 1e12 * MEMORY_SHARE) + PER_STEP
    };
    let mean = costs.iter().map(seconds).sum::<f64>() / costs.len().max(1) as f64;
    Estimate {
        memory: costs.iter().map(|c| c.memory).max().unwrap_or(0) as u64,
        seconds: mean * steps as f64,
        device: sheet.name.to_owned(),
    }
}
