//! What is trained on: the reference's workloads, or graphs of their recipe.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use gfm_pipe_model::graph::Graph;
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

/// Writes a workload as the reference's benchmark has them: `workload.safetensors` and `info.json` in a folder.
pub fn write(work: &Work, folder: &Path) {
    let (nodes, relations, triples) = (work.graph.nodes(), work.relations, &work.triples);
    let column = |c: usize| triples.iter().map(move |t| i64::from(t[c]));
    let ints = |v: Vec<i64>, shape: &[usize]| Tensor::from_vec(v, shape, &Device::Cpu).unwrap();
    let floats = |v: Vec<f32>, shape: &[usize]| Tensor::from_vec(v, shape, &Device::Cpu).unwrap();
    let both = |a: usize, b: usize| column(a).chain(column(b));
    let mask = |marked: Vec<Vec<u32>>| {
        let mut out = vec![0f32; marked.len() * nodes];
        for (row, list) in out.chunks_exact_mut(nodes).zip(marked) {
            list.into_iter().for_each(|v| row[v as usize] = 1.0);
        }
        floats(out, &[work.questions.len(), nodes])
    };
    let ends = |s: &Vec<(u32, f64)>| s.iter().map(|(v, _)| *v).collect();
    let seeds = work.seeds.iter().map(ends).collect();
    let mut weight = vec![0.5f32; nodes];
    for (v, w) in work.seeds.iter().flatten() {
        weight[*v as usize] = *w as f32;
    }
    let inverse = column(1).map(|r| r + relations as i64);
    let positives = work.positives.iter().flatten();
    let positives = positives.flat_map(|[h, r, t]| [*h, *t, *r].map(i64::from));
    let n = triples.len();
    let tensors = HashMap::from([
        (
            "edge_index",
            ints(both(0, 2).chain(both(2, 0)).collect(), &[2, 2 * n]),
        ),
        (
            "edge_type",
            ints(column(1).chain(inverse).collect(), &[2 * n]),
        ),
        ("target_edge_index", ints(both(0, 2).collect(), &[2, n])),
        ("target_edge_type", ints(column(1).collect(), &[n])),
        (
            "rel_emb",
            floats(work.embeddings.clone(), &[2 * relations, TEXT]),
        ),
        (
            "positives",
            ints(positives.collect(), &[work.positives.len(), BATCH, 3]),
        ),
        (
            "question_embeddings",
            floats(work.questions.concat(), &[work.questions.len(), TEXT]),
        ),
        ("question_entities_masks", mask(seeds)),
        ("supporting_entities_masks", mask(work.gold.clone())),
        ("entities_weight", floats(weight, &[nodes])),
    ]);
    std::fs::create_dir_all(folder).unwrap();
    candle_core::safetensors::save(&tensors, folder.join("workload.safetensors")).unwrap();
    let info = format!("{{\"nodes\": {nodes}, \"triples\": {n}, \"relations\": {relations}}}\n");
    std::fs::write(folder.join("info.json"), info).unwrap();
}
