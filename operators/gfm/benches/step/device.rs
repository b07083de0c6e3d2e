//! Training steps on a device, run as in the training loop: the CPU prepares a step while the
//! device computes the previous one.

use std::time::Instant;

use candle_core::DType;
use gfm_pipe_api::OpResult;
use gfm_pipe_gfm::train::prefetch;
use gfm_pipe_kernels::gpu::Gpu;
use gfm_pipe_model::backend::{
    Backend, Batch, DeviceCache, LinkBatch, Pending, Prepared, Preparer, QuestionBatch, Source,
    StepSettings,
};
use gfm_pipe_model::gpu::{Sums, trainer};
use gfm_pipe_model::loaded::GraphTexts;
use gfm_pipe_model::model::Compute;
use gfm_pipe_model::sampling::{EasyEdges, Truth, batch};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::NEGATIVES;
use crate::common::median;
use crate::steps::{Case, start};
use crate::work::Work;

/// Number of first steps that are not timed.
const WARM_UP: usize = 3;

/// Opens a device by name (`cuda` or `cuda:N`).
pub fn open(name: &str) -> Gpu {
    let number = match name.strip_prefix("cuda") {
        Some("") => 0,
        Some(n) => n.trim_start_matches(':').parse().unwrap(),
        None => panic!("`{name}` is not a device: cuda, cuda:N"),
    };
    Gpu::open(number).unwrap_or_else(|e| panic!("{e}: {}", e.hint()))
}

/// Settings of steps with this `train.dtype`.
pub fn settings(dtype: &str, compute: Compute, recompute: bool) -> StepSettings {
    let (states, tf32) = match dtype {
        "f32" => (DType::F32, false),
        "tf32" => (DType::F32, true),
        "bf16" => (DType::BF16, false),
        other => panic!("unknown type {other}"),
    };
    StepSettings {
        states,
        tf32,
        compute,
        recompute,
        clip_norm: None,
    }
}

/// Medians in seconds.
pub struct Timed {
    /// Time per step as in the training loop, where steps overlap.
    pub step: f64,
    /// Time of a prepared step by itself, from queueing to its end.
    pub alone: f64,
    /// Time that the CPU needs to prepare a step.
    pub prepare: f64,
    /// Time to queue a prepared step.
    pub queue: f64,
    /// Share of layers x queries x nodes whose states were computed.
    pub share: f64,
    /// Loss of the first step.
    pub loss: f64,
    /// Peak of device memory, in bytes.
    pub peak: usize,
}

/// A model in training on a device.
struct Bench<'a> {
    work: &'a Work,
    texts: &'a GraphTexts,
    kept: DeviceCache,
    backend: Box<dyn Backend>,
}

/// Prepares batches.
struct Maker<'a> {
    work: &'a Work,
    truth: &'a Truth,
    case: &'a Case,
    texts: &'a GraphTexts,
    preparer: Preparer,
    kept: DeviceCache,
}

/// Times the steps of a case.
pub fn timed(
    gpu: &Gpu,
    work: &Work,
    truth: &Truth,
    (case, settings): (&Case, StepSettings),
    steps: usize,
) -> OpResult<Timed> {
    gpu.forget_peak();
    let (params, optimizer, texts) = start(work, case);
    let backend = trainer(gpu, &params, &optimizer, settings, Sums::Alone)?;
    let maker = Maker {
        work,
        truth,
        case,
        texts: &texts,
        preparer: backend.preparer(),
        kept: DeviceCache::default(),
    };
    let mut bench = Bench {
        backend,
        kept: DeviceCache::default(),
        work,
        texts: &texts,
    };
    let threads = maker.preparer.threads;
    let (mut alone, mut queue) = (Vec::new(), Vec::new());
    let mut loss = 0.0;
    let half = steps.div_ceil(2);
    for i in 0..WARM_UP + half {
        let ready = maker.prepare(i);
        gpu.wait().map_err(op)?;
        let start = Instant::now();
        let pending = bench.launch(ready)?;
        let queued = start.elapsed().as_secs_f64();
        let taken = pending.wait()?;
        gpu.wait().map_err(op)?;
        if i == 0 {
            loss = taken.loss;
        }
        if i >= WARM_UP {
            queue.push(queued);
            alone.push(start.elapsed().as_secs_f64());
        }
    }
    // As in the training loop, several threads prepare steps. The first steps have to wait for
    // them.
    let filling = 2 * threads;
    let mut prepare = Vec::new();
    let make = |i| {
        let before = Instant::now();
        (maker.prepare(i), before.elapsed().as_secs_f64())
    };
    let step = prefetch(threads, 0..filling + steps, make, |next| {
        let mut pending: Option<Pending> = None;
        let mut start = Instant::now();
        for i in 0..filling + steps {
            let Some((ready, seconds)) = next() else {
                break;
            };
            prepare.push(seconds);
            if let Some(pending) = pending.take() {
                pending.wait()?;
            }
            if i == filling {
                start = Instant::now();
            }
            pending = Some(bench.launch(ready)?);
        }
        if let Some(pending) = pending {
            pending.wait()?;
        }
        OpResult::Ok(start.elapsed().as_secs_f64() / steps as f64)
    })?;
    Ok(Timed {
        step,
        alone: median(alone),
        prepare: median(prepare),
        queue: median(queue),
        share: maker.prepare(0).reach.map_or(1.0, |r| r.share()),
        loss,
        peak: gpu.used().peak,
    })
}

fn op(e: gfm_pipe_kernels::gpu::Error) -> gfm_pipe_api::OpError {
    gfm_pipe_api::OpError::resource(e.to_string()).hint(e.hint())
}

impl Maker<'_> {
    /// Prepares a batch as the training loop does.
    fn prepare(&self, i: usize) -> Prepared<'_> {
        let on = Source::whole(&self.work.graph, self.texts.borrowed(), &self.kept);
        self.preparer.prepare(on, self.batch(i))
    }

    fn batch(&self, i: usize) -> Batch<'_> {
        let w = self.work;
        if self.case.task == "kg" {
            let mut rng = ChaCha8Rng::seed_from_u64(7 + i as u64);
            let positives = &w.positives[i % w.positives.len()];
            let batch = batch(self.truth, positives, NEGATIVES, true, || {
                rng.random::<f32>()
            });
            let queries = batch.queries.iter();
            return Batch::Links(LinkBatch {
                seeds: queries.map(|q| vec![(q.head, 1.0)]).collect(),
                asked: batch.asked().collect(),
                easy: EasyEdges::Relation,
                temperature: 1.0,
                rows: batch.queries.len(),
                batch,
            });
        }
        Batch::Questions(QuestionBatch {
            texts: w.questions.concat(),
            seeds: w.seeds.clone(),
            terms: w.terms(),
            targets: vec![w.target()],
            dropout: None,
        })
    }
}

impl Bench<'_> {
    fn launch(&mut self, batch: Prepared<'_>) -> OpResult<Pending> {
        let on = Source::whole(&self.work.graph, self.texts.borrowed(), &self.kept);
        self.backend.step(on, batch, 1.0)
    }
}
