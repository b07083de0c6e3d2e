//! Gradients of a batch of questions with ranking features, on a device against the CPU.

use std::borrow::Cow;

use candle_core::DType;
use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_eval::features::COUNT;
use gfm_pipe_eval::features::of_question::QuestionFeatures;

use super::graph::{DeviceGraph, DeviceTexts};
use super::objective::QuestionObjective;
use super::tests::{ADAMW, close, device, same_grads, some};
use super::trainer::DeviceTrainer;
use crate::backend::{Batch, DeviceCache, QuestionBatch, Source, StepSettings, Target, Term};
use crate::edge_dropout::EdgeDropout;
use crate::graph::Graph;
use crate::host::Cpu;
use crate::loss::{BCE, LIST_SOFTMAX};
use crate::model::{Class, Compute, ModelConfig, Params, Reach, Texts, all_features};
use crate::optimizer::Optimizer;
use crate::tensor::tensor;

const NODES: usize = 9;
const TEXT: usize = 5;

/// Every document mentions two nodes, and one mentions none.
fn documents() -> EntityDocuments {
    let pairs = (0..4).flat_map(|d| [(d, d), (d + 4, d)]);
    EntityDocuments::from_pairs(NODES, 5, pairs).unwrap()
}

fn features(seed: u64, known: &[u32]) -> QuestionFeatures {
    let values = some((known.len() + 1) * COUNT, seed);
    let values: Vec<f32> = values.into_iter().map(|x| x as f32).collect();
    let (others, values) = values.split_at(COUNT);
    QuestionFeatures {
        documents: known.to_vec(),
        values: values.to_vec(),
        others: std::array::from_fn(|f| others[f]),
    }
}

fn batch<'d>(documents: &'d EntityDocuments, of: &'d [QuestionFeatures]) -> QuestionBatch<'d> {
    let target = |columns, gold: Vec<Vec<u32>>, features| Target {
        columns,
        whole: gold.clone(),
        gold,
        similar: Vec::new(),
        features,
    };
    let known = of.iter().map(Cow::Borrowed).collect();
    let term = |loss, weight, target| Term {
        loss,
        weight,
        target,
    };
    QuestionBatch {
        texts: some(2 * TEXT, 3).iter().map(|x| *x as f32).collect(),
        seeds: vec![vec![(0, 0.5), (3, 1.0)], vec![(8, 0.25)]],
        terms: vec![
            term(BCE.at(0.2), 0.3, 0),
            term(LIST_SOFTMAX.at(0.0), 0.7, 1),
            term(BCE.at(0.0), 0.4, 1),
        ],
        targets: vec![
            target(None, vec![vec![1], vec![2, 5]], Vec::new()),
            target(Some(documents), vec![vec![0, 4], vec![2]], known),
        ],
        dropout: None,
    }
}

#[test]
fn gradients_with_features_equal_the_cpus() {
    let Some(gpu) = device() else { return };
    let config = ModelConfig {
        features: all_features(),
        ..ModelConfig::new(8, vec![8, 8])
    };
    let mut params = Params::init(Class::GNNRetriever, &config, TEXT, 4, DType::F64).unwrap();
    let start: [f64; COUNT] = std::array::from_fn(|f| (f as f64).sin());
    params.start_features(&start).unwrap();
    params
        .set("features.gate", tensor(vec![0.7], 1).unwrap())
        .unwrap();
    let triples: Vec<[u32; 3]> = (0..NODES as u32).map(|v| [v, v % 2, (v + 2) % 9]).collect();
    let graph = Graph::from_triples(NODES, 2, &triples);
    let relations = tensor(some(4 * TEXT, 1), (4, TEXT)).unwrap();
    let texts = Texts::from(&relations);
    let settings = StepSettings {
        states: DType::F64,
        tf32: false,
        compute: Compute::Auto,
        recompute: false,
        clip_norm: None,
    };
    let optimizer = Optimizer::new(ADAMW, &params).unwrap();
    let (docs, of) = (documents(), [features(5, &[0, 3]), features(6, &[1, 2, 4])]);
    let on_device = DeviceTexts::new(&gpu, texts, &config).unwrap();
    let on_device = DeviceGraph::<f64>::new(&graph, on_device, &config).unwrap();
    // The last batch has all edges again.
    for dropout in [None, Some(EdgeDropout::new(0.4, 3)), None] {
        let batch = QuestionBatch {
            dropout,
            ..batch(&docs, &of)
        };

        let ranks = gfm_pipe_api::ranks::single();
        let cpu = Cpu::new(&params, &optimizer, settings, ranks);
        let cache = DeviceCache::default();
        let want = cpu
            .questions(Source::whole(&graph, texts, &cache), &batch)
            .unwrap();
        let gate = &want.grads.features.as_ref().unwrap().gate;
        assert_ne!(crate::tensor::to_f64(gate).unwrap(), [0.0]);

        let trainer =
            DeviceTrainer::<f64>::new(&gpu, &params, &optimizer, settings, super::Sums::Alone)
                .unwrap();
        let objective = QuestionObjective::new(&gpu, &batch).unwrap();
        let batch = Batch::Questions(batch);
        let reach = Reach::chosen(&config, &graph, Compute::Auto, batch.nodes(), false);
        let Batch::Questions(batch) = &batch else {
            continue;
        };
        let loss = trainer
            .question_gradients(&objective, (&graph, &on_device), batch, reach)
            .unwrap();
        same_grads(&trainer, &params, &want.grads);
        let rows = batch.seeds.len();
        let parts = loss.parts.read().unwrap();
        let parts: Vec<f64> = parts.chunks(rows).map(|of| of.iter().sum()).collect();
        close("losses", &parts, &want.parts);
    }
}
