//! Estimated memory against the memory that a real step takes on an emulated device.

use candle_core::DType;
use gfm_pipe_kernels::adamw::AdamW;
use gfm_pipe_kernels::gpu::Gpu;

use super::estimate::BatchShape;
use super::tests::some;
use crate::backend::{
    Batch, DeviceCache, LinkBatch, QuestionBatch, Source, StepSettings, Target, Term,
};
use crate::edge_dropout::EdgeDropout;
use crate::graph::Graph;
use crate::model::{Class, Compute, ModelConfig, Params, Reach, TailQuery};
use crate::ops::{AggregateFunc, Seeds};
use crate::optimizer::Optimizer;
use crate::tensor::tensor;

/// What a step on a graph of some size takes at most.
struct Memory {
    estimated: usize,
    counted: usize,
}

fn memory(config: &ModelConfig, links: bool, compute: Compute, recompute: bool) -> Memory {
    let (nodes, relations, batch, text) = (240usize, 4usize, 3usize, 24usize);
    let numbers = some(3 * 900, 5);
    let pick = |i: usize, n: usize| ((numbers[i] + 1.0) / 2.0 * n as f64) as u32 % n as u32;
    // A long chain too, so that some nodes are far from where queries start.
    let chain = (0..nodes as u32 - 1).map(|v| [v, 0, v + 1]);
    let random = (0..250).map(|i| {
        [
            pick(3 * i, nodes / 4),
            pick(3 * i + 1, relations),
            pick(3 * i + 2, nodes / 4),
        ]
    });
    let triples: Vec<[u32; 3]> = chain.chain(random).collect();
    let graph = Graph::from_triples(nodes, relations, &triples);
    let embeddings = tensor(some(2 * relations * text, 2), (2 * relations, text)).unwrap();
    let class = if links {
        Class::QueryGNN
    } else {
        Class::GNNRetriever
    };
    let params = Params::init(class, config, text, 1, DType::F32).unwrap();
    let settings = StepSettings {
        states: DType::F32,
        tf32: false,
        compute,
        recompute,
        clip_norm: None,
    };
    let adamw = AdamW {
        lr: 0.01,
        betas: (0.9, 0.999),
        eps: 1e-8,
        weight_decay: 0.0,
    };
    let gpu = Gpu::emulated();
    let optimizer = Optimizer::new(adamw, &params).unwrap();
    let mut trainer =
        super::trainer(&gpu, &params, &optimizer, settings, super::Sums::Alone).unwrap();
    let kept = DeviceCache::default();
    let on = Source::whole(&graph, &embeddings, &kept);
    let seeds: Seeds = (0..batch as u32)
        .map(|q| vec![(5 * q, 1.0), (5 * q + 1, 1.0)])
        .collect();
    let candidates: Vec<Vec<u32>> = (0..batch as u32)
        .map(|q| (0..17).map(|i| 7 * i + q).collect())
        .collect();
    let asked = links.then_some(&candidates[..]);
    let query_nodes = crate::model::QueryNodes {
        seeds: &seeds,
        candidates: asked,
    };
    let reach = Reach::chosen(config, &graph, compute, query_nodes, false);
    let dropout = (!links).then(|| EdgeDropout::new(0.3, 1));
    let shape = BatchShape {
        class,
        config,
        settings,
        graph: &graph,
        text,
        queries: batch,
        seeds: 2 * batch,
        candidates: links.then_some(17),
        documents: 0,
        reach,
        dropout,
    };
    let estimated = shape.cost().unwrap().memory;
    let batch = if links {
        let queries = seeds.iter().map(|s| TailQuery {
            head: s[0].0,
            relation: 1,
        });
        Batch::Links(LinkBatch {
            batch: crate::sampling::Batch {
                queries: queries.collect(),
                candidates: candidates.clone(),
            },
            seeds: seeds.clone(),
            asked: vec![triples[0]],
            easy: crate::sampling::EasyEdges::Relation,
            temperature: 0.5,
            rows: batch,
        })
    } else {
        let gold = || vec![vec![3u32, 9]; batch];
        Batch::Questions(QuestionBatch {
            texts: vec![0.5; batch * text],
            seeds: seeds.clone(),
            targets: vec![Target {
                columns: None,
                gold: gold(),
                whole: gold(),
                similar: Vec::new(),
                features: Vec::new(),
            }],
            terms: vec![Term {
                loss: crate::loss::LIST_CE.at(0.0),
                weight: 1.0,
                target: 0,
            }],
            dropout,
        })
    };
    let prepared = trainer.preparer().prepare(on, batch);
    let pending = trainer.step(on, prepared, 1.0);
    assert!(pending.unwrap().wait().unwrap().loss.is_finite());
    Memory {
        estimated,
        counted: gpu.used().peak,
    }
}

#[test]
fn memory_is_estimated() {
    let base = || ModelConfig::new(32, vec![32; 3]);
    let pna = ModelConfig {
        aggregate_func: AggregateFunc::Pna,
        ..base()
    };
    let concat = ModelConfig {
        concat_hidden: true,
        ..base()
    };
    for (name, config) in [("sum", base()), ("pna", pna), ("concat", concat)] {
        for links in [true, false] {
            for compute in [Compute::Dense, Compute::Sparse] {
                for recompute in [false, true] {
                    let memory = memory(&config, links, compute, recompute);
                    let off = memory.estimated as f64 / memory.counted as f64 - 1.0;
                    assert!(
                        off.abs() < 0.005,
                        "{name} {links} {compute:?} {recompute}: {} {}",
                        memory.estimated,
                        memory.counted
                    );
                }
            }
        }
    }
}
