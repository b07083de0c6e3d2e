//! The model on a device against the CPU's, in f64: scores and gradients of every kind of model.
//! The device is the emulation, or a CUDA device if `GFM_PIPE_LOCAL_DEVICE=cuda` asks for it.

use candle_core::{DType, Tensor};
use gfm_pipe_kernels::adamw::AdamW;
use gfm_pipe_kernels::gpu::{Gpu, State};
use proptest::prelude::*;

use super::graph::{DeviceGraph, DeviceTexts};
use super::model::{BatchInput, QuerySource};
use super::scoring::DeviceScorer;
use super::trainer::DeviceTrainer;
use crate::backend::StepSettings;
use crate::graph::Graph;
use crate::model::autograd::{fusions, with_fusion};
use crate::model::parity2::{self, Machine};
use crate::model::parity2_v1;
use crate::model::{
    Class, Compute, Grads, ModelConfig, Params, QueryGnn, Question, Reach, Retriever, TailQuery,
    Texts,
};
use crate::ops::{ActivationFunc, AggregateFunc, MessageFunc, Seeds};
use crate::optimizer::Optimizer;
use crate::scorer::Scorer;
use crate::tensor::{tensor, to_f64};

const NODES: usize = 11;
const RELATIONS: usize = 3;
const TEXT: usize = 5;

pub(super) const ADAMW: AdamW = AdamW {
    lr: 0.01,
    betas: (0.9, 0.999),
    eps: 1e-8,
    weight_decay: 0.01,
};

/// The device that tests run on: the emulation if it was built, else the first CUDA device if
/// `GFM_PIPE_LOCAL_DEVICE` is `cuda`.
pub(super) fn device() -> Option<Gpu> {
    let asked = std::env::var("GFM_PIPE_LOCAL_DEVICE").is_ok_and(|d| d == "cuda");
    if cfg!(feature = "gpu-emulation") || asked {
        return Some(crate::device::open(0).unwrap());
    }
    gfm_pipe_testing::skip("gpu", "GFM_PIPE_LOCAL_DEVICE=cuda runs it on a device");
    None
}

pub(super) fn some(n: usize, seed: u64) -> Vec<f64> {
    gfm_pipe_testing::Random::new(seed).signed(n)
}

fn config() -> impl Strategy<Value = ModelConfig> {
    use proptest::sample::select;
    (
        select(vec![
            MessageFunc::DistMult,
            MessageFunc::TransE,
            MessageFunc::RotatE,
        ]),
        select(vec![
            AggregateFunc::Sum,
            AggregateFunc::Mean,
            AggregateFunc::Max,
            AggregateFunc::Min,
            AggregateFunc::Pna,
        ]),
        select(vec![ActivationFunc::Relu, ActivationFunc::Silu]),
        (any::<bool>(), any::<bool>(), any::<bool>()),
        1usize..4,
        select(vec![4usize, 8]),
        (1usize..4, fusions()),
    )
        .prop_map(
            |(
                message,
                aggregate,
                activation,
                (norm, short, concat),
                layers,
                last,
                (maps, fusion),
            )| {
                let mut hidden = vec![8; layers];
                hidden[layers - 1] = last;
                let config = ModelConfig {
                    message_func: message,
                    aggregate_func: aggregate,
                    activation,
                    short_cut: short,
                    layer_norm: norm,
                    concat_hidden: concat,
                    num_mlp_layer: maps,
                    ..ModelConfig::new(8, hidden)
                };
                with_fusion(config, fusion)
            },
        )
}

#[derive(Debug)]
struct Setup {
    config: ModelConfig,
    triples: Vec<[u32; 3]>,
    compute: Compute,
    recompute: bool,
    seed: u64,
}

fn setups() -> impl Strategy<Value = Setup> {
    let node = 0..NODES as u32;
    let triple = (node.clone(), 0..RELATIONS as u32, node).prop_map(|(h, r, t)| [h, r, t]);
    let compute = proptest::sample::select(vec![Compute::Auto, Compute::Dense, Compute::Sparse]);
    (
        config(),
        proptest::collection::vec(triple, 1..14),
        compute,
        any::<bool>(),
        any::<u64>(),
    )
        .prop_map(|(config, triples, compute, recompute, seed)| Setup {
            config,
            triples,
            compute,
            recompute,
            seed,
        })
}

pub(super) fn close(what: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() < 1e-9 * scale, "{what}[{i}]: {g} {w}");
    }
}

impl Setup {
    fn graph(&self) -> (Graph, [Tensor; 2]) {
        let text = some(2 * RELATIONS * TEXT, self.seed ^ 1);
        let of_nodes = some(NODES * TEXT, self.seed ^ 2);
        let graph = Graph::from_triples(NODES, RELATIONS, &self.triples);
        let relations = tensor(text, (2 * RELATIONS, TEXT)).unwrap();
        (graph, [relations, tensor(of_nodes, (NODES, TEXT)).unwrap()])
    }

    /// Only one class reads the texts of nodes.
    fn params(&self, usual: Class) -> Params {
        let class = match self.config.use_ent_emb {
            Some(_) => Class::GraphReasoner,
            None => usual,
        };
        Params::init(class, &self.config, TEXT, self.seed, DType::F64).unwrap()
    }

    fn trainer(&self, gpu: &Gpu, params: &Params) -> DeviceTrainer<f64> {
        let optimizer = Optimizer::new(ADAMW, params).unwrap();
        let settings = StepSettings {
            states: DType::F64,
            tf32: false,
            compute: self.compute,
            recompute: self.recompute,
            clip_norm: None,
        };
        DeviceTrainer::new(gpu, params, &optimizer, settings, super::Sums::Alone).unwrap()
    }

    fn device(&self, gpu: &Gpu, graph: &Graph, texts: Texts<'_>) -> DeviceGraph<f64> {
        let texts = DeviceTexts::new(gpu, texts, &self.config).unwrap();
        DeviceGraph::new(graph, texts, &self.config).unwrap()
    }

    fn reach(&self, graph: &Graph, seeds: &Seeds, candidates: Option<&[Vec<u32>]>) -> Reach {
        Reach::chosen(
            &self.config,
            graph,
            self.compute,
            crate::model::QueryNodes { seeds, candidates },
            false,
        )
    }
}

fn test_texts([relations, nodes]: &[Tensor; 2]) -> Texts<'_> {
    Texts {
        relations,
        nodes: Some(nodes),
    }
}

pub(super) fn same_grads(trainer: &DeviceTrainer<f64>, params: &Params, want: &Grads) {
    let values = trainer.grads.values.read().unwrap();
    let mut seen = 0;
    let want = want.named();
    let check = |name: &str, t: Tensor| {
        close(name, &to_f64(&t)?, &to_f64(want[name])?);
        seen += 1;
        Ok(())
    };
    trainer
        .weights
        .places
        .unpack(&values, params, check)
        .unwrap();
    assert_eq!(seen, want.len());
}

/// Scores of some candidates, edges taken out of the graph, and all gradients.
fn check_links(s: &Setup) {
    let Some(gpu) = device() else { return };
    let (graph, embeddings) = s.graph();
    let texts = test_texts(&embeddings);
    let params = s.params(Class::QueryGNN);
    let (trainer, device) = (s.trainer(&gpu, &params), s.device(&gpu, &graph, texts));
    let queries: Vec<TailQuery> = s
        .triples
        .iter()
        .take(3)
        .map(|[h, r, _]| TailQuery {
            head: *h,
            relation: *r,
        })
        .collect();
    // The first candidate is the true one; the same node twice; others.
    let candidates: Vec<Vec<u32>> = s
        .triples
        .iter()
        .take(3)
        .map(|[h, _, t]| vec![*t, *h, 4, 4, 9])
        .collect();
    let gone: Vec<[u32; 3]> = s.triples.iter().take(2).copied().collect();
    let dscores = some(queries.len() * 5, s.seed ^ 7);

    let pruned = graph.without(gone.iter().copied());
    let cpu = QueryGnn::new(&params, &pruned, texts).compute(s.compute);
    let mut pass = cpu.forward(&queries, candidates.clone()).unwrap();
    let want = to_f64(&pass.scores).unwrap();
    let d = tensor(dscores.clone(), pass.scores.shape()).unwrap();
    let grads = cpu.backward(&mut pass, &d).unwrap();

    let relations: Vec<u32> = queries.iter().map(|q| q.relation).collect();
    let seeds: Seeds = queries.iter().map(|q| vec![(q.head, 1.0)]).collect();
    let removed = device.removal(&graph, gone.iter().copied()).unwrap();
    let input = BatchInput {
        query: QuerySource::Relations(&relations),
        seeds: &seeds,
        candidates: Some(&candidates),
        reach: device
            .rows(s.reach(&graph, &seeds, Some(&candidates)))
            .unwrap(),
        removed: Some(&removed),
    };
    device.flip(&removed).unwrap();
    let model = trainer.model(&device);
    let (scores, tape) = model.forward(input).unwrap();
    close("scores", &scores.read().unwrap(), &want);
    let d = gpu.vector(&dscores).unwrap();
    model.backward(tape, d.view(), &trainer.grads).unwrap();
    device.flip(&removed).unwrap();
    same_grads(&trainer, &params, &grads);

    // Scores of all nodes.
    let on = DeviceScorer::new(trainer.model(&device), &graph);
    let all = on.links(&gone, &queries).unwrap();
    let want = to_f64(&cpu.score_all(&queries).unwrap()).unwrap();
    close("scores of all nodes", &all, &want);
    let whole = QueryGnn::new(&params, &graph, texts);
    let want = to_f64(&whole.score_all(&queries).unwrap()).unwrap();
    close(
        "scores on the whole graph",
        &on.links(&[], &queries).unwrap(),
        &want,
    );
}

/// Scores of all nodes for questions, with and without a background, and all gradients.
fn check_questions(s: &Setup) {
    let Some(gpu) = device() else { return };
    let (graph, embeddings) = s.graph();
    let test_texts = test_texts(&embeddings);
    let params = s.params(Class::GNNRetriever);
    let (trainer, device) = (s.trainer(&gpu, &params), s.device(&gpu, &graph, test_texts));
    let texts: Vec<f32> = some(2 * TEXT, s.seed ^ 3)
        .iter()
        .map(|x| *x as f32)
        .collect();
    let [h, _, t] = s.triples[0];
    let first = if h == t {
        vec![(h, 0.5)]
    } else {
        vec![(h, 0.5), (t, 1.0)]
    };
    let seeds: Seeds = vec![first, vec![(8, 0.25)]];
    let questions: Vec<Question<'_>> = texts
        .chunks(TEXT)
        .zip(&seeds)
        .map(|(embedding, seeds)| Question { embedding, seeds })
        .collect();
    // Some scores have no gradient.
    let dscores: Vec<f64> = some(2 * NODES, s.seed ^ 9)
        .into_iter()
        .map(|x| if x < -0.5 { 0.0 } else { x })
        .collect();

    let cpu = Retriever::new(&params, &graph, test_texts).compute(s.compute);
    let mut pass = cpu.forward(&questions).unwrap();
    let want = to_f64(&pass.scores).unwrap();
    let d = tensor(dscores.clone(), pass.scores.shape()).unwrap();
    let grads = cpu.backward(&mut pass, &d).unwrap();

    let input = BatchInput {
        query: QuerySource::Texts(&texts),
        seeds: &seeds,
        candidates: None,
        reach: device.rows(s.reach(&graph, &seeds, None)).unwrap(),
        removed: None,
    };
    let model = trainer.model(&device);
    let (scores, tape) = model.forward(input).unwrap();
    close("scores", &scores.read().unwrap(), &want);
    let d = gpu.vector(&dscores).unwrap();
    model.backward(tape, d.view(), &trainer.grads).unwrap();
    same_grads(&trainer, &params, &grads);
    let on = DeviceScorer::new(trainer.model(&device), &graph);
    for _ in 0..2 {
        close(
            "scores over a background",
            &on.questions(&questions).unwrap(),
            &want,
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn links_equal_the_cpus(s in setups()) {
        check_links(&s);
    }

    #[test]
    fn questions_equal_the_cpus(s in setups()) {
        check_questions(&s);
    }
}

/// The device's code, for parity with GFM-RAG 2.0.
struct OnDevice(Gpu);

impl OnDevice {
    /// Scores and gradients of a batch.
    fn run<S: State>(
        &self,
        params: &Params,
        graph: &Graph,
        texts: Texts<'_>,
        (query, seeds, candidates): (QuerySource<'_>, &Seeds, Option<&[Vec<u32>]>),
        dscores: &dyn Fn(&Tensor) -> Tensor,
    ) -> (Tensor, Grads)
    where
        S::Acc: gfm_pipe_kernels::Real,
    {
        let optimizer = Optimizer::new(ADAMW, params).unwrap();
        let settings = StepSettings {
            states: params.dtype(),
            tf32: false,
            compute: Compute::Auto,
            recompute: false,
            clip_norm: None,
        };
        let gpu = &self.0;
        let sums = super::Sums::Alone;
        let trainer = DeviceTrainer::<S>::new(gpu, params, &optimizer, settings, sums).unwrap();
        let texts = DeviceTexts::new(gpu, texts, &params.config).unwrap();
        let device = DeviceGraph::<S>::new(graph, texts, &params.config).unwrap();
        let nodes = crate::model::QueryNodes { seeds, candidates };
        let reach = Reach::chosen(&params.config, graph, Compute::Auto, nodes, false);
        let input = BatchInput {
            query,
            seeds,
            candidates,
            reach: device.rows(reach).unwrap(),
            removed: None,
        };
        let model = trainer.model(&device);
        let (scores, tape) = model.forward(input).unwrap();
        let read = |values: Vec<S::Acc>| -> Vec<f64> {
            values
                .into_iter()
                .map(gfm_pipe_kernels::Real::f64)
                .collect()
        };
        let scores = read(scores.read().unwrap());
        let shape = (seeds.len(), scores.len() / seeds.len());
        let scores = tensor(scores, shape).unwrap();
        let scores = scores.to_dtype(params.dtype()).unwrap();
        let d = to_f64(&dscores(&scores)).unwrap();
        let d = super::weights::upload::<S::Acc>(gpu, &d).unwrap();
        model.backward(tape, d.view(), &trainer.grads).unwrap();
        let values = read(trainer.grads.values.read().unwrap());
        let mut grads = params.tensors.clone();
        let set = |name: &str, t: Tensor| {
            *grads.named_mut().remove(name).unwrap() = t;
            Ok(())
        };
        let places = &trainer.weights.places;
        places.unpack(&values, params, set).unwrap();
        (scores, grads)
    }

    fn by_type(
        &self,
        params: &Params,
        graph: &Graph,
        texts: Texts<'_>,
        batch: (QuerySource<'_>, &Seeds, Option<&[Vec<u32>]>),
        dscores: &dyn Fn(&Tensor) -> Tensor,
    ) -> (Tensor, Grads) {
        match params.dtype() {
            DType::F64 => self.run::<f64>(params, graph, texts, batch, dscores),
            _ => self.run::<f32>(params, graph, texts, batch, dscores),
        }
    }
}

impl Machine for OnDevice {
    fn questions(
        &self,
        params: &Params,
        graph: &Graph,
        texts: Texts<'_>,
        questions: &[Question<'_>],
        dscores: &dyn Fn(&Tensor) -> Tensor,
    ) -> (Tensor, Grads) {
        let asked: Vec<f32> = questions
            .iter()
            .flat_map(|q| q.embedding)
            .copied()
            .collect();
        let seeds: Seeds = questions.iter().map(|q| q.seeds.to_vec()).collect();
        let batch = (QuerySource::Texts(&asked), &seeds, None);
        self.by_type(params, graph, texts, batch, dscores)
    }

    fn links(
        &self,
        params: &Params,
        graph: &Graph,
        texts: Texts<'_>,
        batch: &crate::sampling::Batch,
        dscores: &dyn Fn(&Tensor) -> Tensor,
    ) -> (Tensor, Grads) {
        let queries = &batch.queries;
        let relations: Vec<u32> = queries.iter().map(|q| q.relation).collect();
        let seeds: Seeds = queries.iter().map(|q| vec![(q.head, 1.0)]).collect();
        let of = QuerySource::Relations(&relations);
        let batch = (of, &seeds, Some(batch.candidates.as_slice()));
        self.by_type(params, graph, texts, batch, dscores)
    }
}

#[test]
fn parity2_reasoner_small_on_a_device() {
    let Some(gpu) = device() else { return };
    parity2::small(&OnDevice(gpu.clone()), DType::F64);
    parity2::small(&OnDevice(gpu), DType::F32);
}

#[test]
fn parity2_reasoner_variants_on_a_device() {
    let Some(gpu) = device() else { return };
    parity2::variants(&OnDevice(gpu.clone()), DType::F64);
    parity2::variants(&OnDevice(gpu), DType::F32);
}

#[test]
fn parity2_reasoner_kgc_on_a_device() {
    let Some(gpu) = device() else { return };
    parity2::kgc(&OnDevice(gpu.clone()), DType::F64);
    parity2::kgc(&OnDevice(gpu), DType::F32);
}

#[test]
fn parity2_v1_in_v2_on_a_device() {
    let Some(gpu) = device() else { return };
    parity2_v1::v1_in_v2(&OnDevice(gpu.clone()), DType::F64);
    parity2_v1::v1_in_v2(&OnDevice(gpu), DType::F32);
}
