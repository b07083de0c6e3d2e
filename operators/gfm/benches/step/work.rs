//! What is trained on: the reference's workloads, or graphs of their recipe.

use std::path::Path;

use candle_core::Device;
use gfm_pipe_gfm::graph::Graph;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::triples;
use crate::{BATCH, TEXT};

/// A workload.
pub struct Work {
    pub graph: Graph,
    pub triples: Vec<[u32; 3]>,
    pub relations: usize,
    pub embeddings: Vec<f32>,
    pub positives: Vec<Vec<[u32; 3]>>,
    pub questions: Vec<Vec<f32>>,
    pub seeds: Vec<Vec<(u32, f64)>>,
    pub gold: Vec<Vec<u32>>,
    pub from: &'static str,
}

pub fn sizes(name: &str) -> (usize, usize, usize) {
    match name {
        "S" => (2_000, 10_000, 200),
        "M" => (20_000, 100_000, 2_000),
        "L" => (10_000, 50_000, 1_000),
        // nodes,triples,relations
        other => {
            let n: Vec<usize> = other.split('x').map(|x| x.parse().unwrap()).collect();
            (n[0], n[1], n[2])
        }
    }
}

/// A workload of (nodes, triples, relations) and so many queries.
pub fn made(size: (usize, usize, usize), batch: usize) -> Work {
    let (nodes, edges, relations) = size;
    let triples = triples(nodes, edges, relations);
    let mut rng = ChaCha8Rng::seed_from_u64(101);
    let mut normal = |n: usize| -> Vec<f32> {
        let v: Vec<f32> = (0..n).map(|_| rng.random::<f32>() - 0.5).collect();
        let norm = v.iter().map(|x| x * x).sum::<f32>().sqrt();
        v.iter().map(|x| x / norm).collect()
    };
    let embeddings = (0..2 * relations).flat_map(|_| normal(TEXT)).collect();
    let questions = (0..batch).map(|_| normal(TEXT)).collect();
    let mut some =
        |n: usize| -> Vec<u32> { (0..n).map(|_| rng.random_range(0..nodes as u32)).collect() };
    let distinct = |v: Vec<u32>| -> Vec<u32> {
        let set: std::collections::BTreeSet<u32> = v.into_iter().collect();
        set.into_iter().collect()
    };
    Work {
        graph: Graph::from_triples(nodes, relations, &triples),
        relations,
        embeddings,
        positives: (0..64)
            .map(|i| {
                (0..batch)
                    .map(|b| triples[(i * 8191 + b * 127) % edges])
                    .collect()
            })
            .collect(),
        questions,
        seeds: (0..batch)
            .map(|_| distinct(some(3)).into_iter().map(|v| (v, 0.5)).collect())
            .collect(),
        gold: (0..batch).map(|_| distinct(some(4))).collect(),
        triples,
        from: "made here",
    }
}

/// The workload of that name in a folder; made here where there is none and it need not be.
pub fn read(graphs: &Path, given: bool, name: &str) -> Work {
    let path = graphs.join(name).join("workload.safetensors");
    if !path.exists() {
        assert!(!given, "{} is not there", path.display());
        return made(sizes(name), BATCH);
    }
    let t = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    let ints = |name: &str| -> Vec<i64> { t[name].flatten_all().unwrap().to_vec1().unwrap() };
    let floats = |name: &str| -> Vec<Vec<f32>> { t[name].to_vec2().unwrap() };
    let (index, kinds) = (ints("target_edge_index"), ints("target_edge_type"));
    let n = kinds.len();
    let triples: Vec<[u32; 3]> = (0..n)
        .map(|i| [index[i] as u32, kinds[i] as u32, index[n + i] as u32])
        .collect();
    let relations = t["rel_emb"].dims()[0] / 2;
    let nodes = t["entities_weight"].elem_count();
    let weight: Vec<f32> = t["entities_weight"].to_vec1().unwrap();
    let marked = |mask: &[f32]| -> Vec<u32> {
        (0..nodes as u32)
            .filter(|v| mask[*v as usize] > 0.5)
            .collect()
    };
    Work {
        graph: Graph::from_triples(nodes, relations, &triples),
        relations,
        embeddings: t["rel_emb"].flatten_all().unwrap().to_vec1().unwrap(),
        positives: ints("positives")
            .chunks(3 * BATCH)
            .map(|b| {
                b.chunks(3)
                    .map(|p| [p[0] as u32, p[2] as u32, p[1] as u32])
                    .collect()
            })
            .collect(),
        questions: floats("question_embeddings"),
        seeds: floats("question_entities_masks")
            .iter()
            .map(|m| {
                marked(m)
                    .into_iter()
                    .map(|v| (v, f64::from(weight[v as usize])))
                    .collect()
            })
            .collect(),
        gold: floats("supporting_entities_masks")
            .iter()
            .map(|m| marked(m))
            .collect(),
        triples,
        from: "read",
    }
}
