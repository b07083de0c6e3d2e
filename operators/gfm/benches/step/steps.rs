//! Training steps of both tasks on the CPU, timed by phase, and questions.

use std::path::PathBuf;
use std::time::Instant;

use candle_core::{DType, Device};
use gfm_pipe_kernels::adamw::AdamW;
use gfm_pipe_model::loaded::GraphTexts;
use gfm_pipe_model::loss::link_prediction;
use gfm_pipe_model::model::{
    Class, Compute, Fusion, Grads, ModelConfig, Params, QueryGnn, QueryNodes, Question, Reach,
    Retriever,
};
use gfm_pipe_model::optimizer::Optimizer;
use gfm_pipe_model::sampling::{Batch, Truth, batch};
use gfm_pipe_model::tensor::{tensor, to_f64};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::work::Work;
use crate::{NEGATIVES, TEXT};

/// Seconds of sampling, forward, backward and optimizer.
pub type Phases = [f64; 4];

/// What a benchmark measures.
#[derive(Clone)]
pub struct Case {
    /// `kg`: pre-training; `qa`: fine-tuning.
    pub task: String,
    /// Width of states.
    pub dim: usize,
    /// Number of layers.
    pub layers: usize,
    /// Which states are computed; see `train.path`.
    pub compute: Compute,
    /// See `train.recompute`.
    pub recompute: bool,
    /// File of the initial weights, a state_dict; otherwise they are random.
    pub weights: Option<PathBuf>,
}

/// A timed step.
pub struct Step {
    pub phases: Phases,
    pub loss: f64,
    /// Share of layers x queries x nodes whose states were computed.
    pub share: f64,
}

/// A model in training, and its data.
pub struct Bench<'a> {
    work: &'a Work,
    truth: Truth,
    params: Params,
    optimizer: Optimizer,
    texts: GraphTexts,
    case: Case,
    rng: ChaCha8Rng,
}

/// The model and optimizer of a case before the first step, and the embeddings of texts.
pub fn start(work: &Work, case: &Case) -> (Params, Optimizer, GraphTexts) {
    let class = match case.task.as_str() {
        _ if work.documents.is_some() => Class::GraphReasoner,
        "kg" => Class::QueryGNN,
        _ => Class::GNNRetriever,
    };
    let config = ModelConfig {
        use_ent_emb: work.documents.as_ref().map(|_| Fusion::EarlyLate),
        ..ModelConfig::new(case.dim, vec![case.dim; case.layers])
    };
    let params = match &case.weights {
        None => Params::init(class, &config, TEXT, 1024, DType::F32),
        Some(file) => candle_core::safetensors::load(file, &Device::Cpu).and_then(|tensors| {
            Params::from_tensors(class, &config, TEXT, tensors.into_iter().collect())
        }),
    };
    let params = params.unwrap();
    let settings = AdamW {
        lr: 5e-4,
        betas: (0.9, 0.999),
        eps: 1e-8,
        weight_decay: 0.01,
    };
    let optimizer = Optimizer::new(settings, &params).unwrap();
    (params, optimizer, work.texts())
}

impl<'a> Bench<'a> {
    pub fn new(work: &'a Work, case: &Case) -> Self {
        let (params, optimizer, texts) = start(work, case);
        Bench {
            truth: Truth::new(work.graph.nodes(), work.relations, &work.triples),
            optimizer,
            params,
            texts,
            work,
            case: case.clone(),
            rng: ChaCha8Rng::seed_from_u64(7),
        }
    }

    /// Runs step `i`.
    pub fn step(&mut self, i: usize) -> Step {
        match self.case.task.as_str() {
            "kg" => self.kg(i),
            _ => self.qa(),
        }
    }

    fn questions(&self) -> Vec<Question<'a>> {
        let both = self.work.questions.iter().zip(&self.work.seeds);
        both.map(|(embedding, seeds)| Question { embedding, seeds })
            .collect()
    }

    /// Seconds to answer each question separately, and the seconds of preparation. With `prepared`,
    /// the preparation computes the background, which no question changes.
    pub fn ask(&self, prepared: bool) -> (Vec<f64>, f64) {
        let start = Instant::now();
        let mut model = Retriever::new(&self.params, &self.work.graph, self.texts.borrowed())
            .compute(self.case.compute);
        if prepared {
            model = model.prepared(None).unwrap();
        }
        let before = start.elapsed().as_secs_f64();
        let questions = self.questions();
        let each = questions.iter().cycle().take(2 * questions.len());
        let times = each.map(|q| {
            let start = Instant::now();
            std::hint::black_box(model.score_all(&[*q]).unwrap());
            start.elapsed().as_secs_f64()
        });
        (times.collect(), before)
    }

    /// Seconds to find the rows of step `i` of pre-training, and their share of all.
    pub fn rows(&mut self, i: usize) -> (f64, f64) {
        let b = self.sampled(i);
        let (graph, config) = (&self.work.graph, &self.params.config);
        let seeds = b.queries.iter().map(|q| vec![(q.head, 1.0)]).collect();
        let start = Instant::now();
        let queries = QueryNodes {
            seeds: &seeds,
            candidates: Some(&b.candidates),
        };
        let reach = Reach::chosen(config, graph, self.case.compute, queries, false);
        (start.elapsed().as_secs_f64(), reach.share())
    }

    fn sampled(&mut self, i: usize) -> Batch {
        let rng = &mut self.rng;
        let positives = &self.work.positives[i % self.work.positives.len()];
        batch(&self.truth, positives, NEGATIVES, true, || {
            rng.random::<f32>()
        })
    }

    fn kg(&mut self, i: usize) -> Step {
        let start = Instant::now();
        let b = self.sampled(i);
        let graph = self.work.graph.without(b.asked());
        let sampled = start.elapsed().as_secs_f64();
        let gnn = QueryGnn::new(&self.params, &graph, self.texts.borrowed())
            .compute(self.case.compute)
            .recompute(self.case.recompute);
        let mut pass = gnn.forward(&b.queries, b.candidates.clone()).unwrap();
        let value = link_prediction(
            &to_f64(&pass.scores).unwrap(),
            1 + NEGATIVES,
            1.0,
            b.queries.len(),
        );
        let forward = start.elapsed().as_secs_f64();
        let dscores = tensor(value.grad, pass.scores.shape()).unwrap();
        let dscores = dscores.to_dtype(DType::F32).unwrap();
        let grads = gnn.backward(&mut pass, &dscores).unwrap();
        let share = pass.share();
        drop(pass);
        self.finish(start, [sampled, forward], &grads, (value.loss, share))
    }

    /// Runs the optimizer and returns the timed step. `sampled` and `forward` are the seconds from
    /// `start` to the end of sampling and of the forward pass.
    fn finish(
        &mut self,
        start: Instant,
        [sampled, forward]: [f64; 2],
        grads: &Grads,
        (loss, share): (f64, f64),
    ) -> Step {
        let backward = start.elapsed().as_secs_f64();
        self.optimizer.step(&mut self.params, grads).unwrap();
        let end = start.elapsed().as_secs_f64();
        Step {
            phases: [
                sampled,
                forward - sampled,
                backward - forward,
                end - backward,
            ],
            loss,
            share,
        }
    }

    fn qa(&mut self) -> Step {
        let start = Instant::now();
        let w = self.work;
        let questions = self.questions();
        let model = Retriever::new(&self.params, &w.graph, self.texts.borrowed())
            .compute(self.case.compute)
            .recompute(self.case.recompute);
        let mut pass = model.forward(&questions).unwrap();
        let mut scores = to_f64(&pass.scores).unwrap();
        if let Some(documents) = &w.documents {
            scores = documents.of_nodes(&scores);
        }
        let target = w.target();
        let columns = scores.len() / questions.len();
        let (mut loss, mut grad) = (0.0, vec![0.0; scores.len()]);
        for term in w.terms() {
            let used = term.loss.used(&target.whole);
            let (gold, similar) = (&target.gold, &target.similar);
            let value = term.loss.value(&scores, columns, gold, similar, used);
            loss += term.weight * value.loss;
            for (sum, g) in grad.iter_mut().zip(value.grad) {
                *sum += term.weight * g;
            }
        }
        if let Some(documents) = &w.documents {
            grad = documents.to_nodes(&grad);
        }
        let forward = start.elapsed().as_secs_f64();
        let dscores = tensor(grad, pass.scores.shape()).unwrap();
        let dscores = dscores.to_dtype(DType::F32).unwrap();
        let grads = model.backward(&mut pass, &dscores).unwrap();
        let share = pass.share();
        drop(pass);
        self.finish(start, [0.0, forward], &grads, (loss, share))
    }
}
