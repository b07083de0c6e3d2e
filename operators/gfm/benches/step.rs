//! Training steps: `cargo bench -p gfm-pipe-gfm --bench step -- [--size S,M] [--dim 64] [--task kg,qa] [--compute auto,dense] [--steps 5]`.
//!
//! Batch 8, six layers, 256 negatives. Graphs of the recipe of the reference's benchmark (power-law nodes and relations), read from
//! `--graphs DIR` where its files are there (`DIR/M/workload.safetensors`), made here otherwise. Medians; in the same run what
//! the machine can do at most: a large matrix product and a copy.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "sizes of benchmarks"
)]

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use gfm_pipe_gfm::graph::Graph;
use gfm_pipe_gfm::loss::{ListLoss, link_prediction};
use gfm_pipe_gfm::model::{Class, Compute, ModelConfig, Params, QueryGnn, Question, Retriever};
use gfm_pipe_gfm::optimizer::Optimizer;
use gfm_pipe_gfm::sampling::{Truth, batch};
use gfm_pipe_gfm::tensor::{tensor, to_f64};
use gfm_pipe_kernels::adamw::AdamW;
use gfm_pipe_kernels::gemm::{Mat, gemm};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const BATCH: usize = 8;
const NEGATIVES: usize = 256;
const LAYERS: usize = 6;
const TEXT: usize = 768;

struct Args {
    sizes: Vec<String>,
    dims: Vec<usize>,
    tasks: Vec<String>,
    computes: Vec<String>,
    steps: usize,
    recompute: bool,
    json: bool,
    /// Where workloads may be; given, they must be.
    graphs: PathBuf,
    given: bool,
}

fn args() -> Args {
    let mut out = Args {
        sizes: vec!["S".into(), "M".into()],
        dims: vec![64],
        tasks: vec!["kg".into(), "qa".into()],
        computes: vec!["auto".into(), "dense".into()],
        steps: 5,
        recompute: false,
        json: false,
        graphs: PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../shared/bench"
        )),
        given: false,
    };
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let mut list = || -> Vec<String> {
            let value = given.next().unwrap_or_default();
            value.split(',').map(str::to_owned).collect()
        };
        match flag.as_str() {
            "--size" => out.sizes = list(),
            "--dim" => out.dims = list().iter().map(|d| d.parse().unwrap()).collect(),
            "--task" => out.tasks = list(),
            "--compute" => out.computes = list(),
            "--steps" => out.steps = list()[0].parse().unwrap(),
            "--graphs" => {
                out.graphs = PathBuf::from(&list()[0]);
                out.given = true;
            }
            "--recompute" => out.recompute = true,
            "--json" => out.json = true,
            // What cargo adds.
            "--bench" => {}
            other => panic!("unknown flag {other}"),
        }
    }
    out
}

/// A workload.
struct Work {
    graph: Graph,
    triples: Vec<[u32; 3]>,
    relations: usize,
    embeddings: Vec<f32>,
    positives: Vec<Vec<[u32; 3]>>,
    questions: Vec<Vec<f32>>,
    seeds: Vec<Vec<(u32, f64)>>,
    gold: Vec<Vec<u32>>,
    from: &'static str,
}

fn sizes(name: &str) -> (usize, usize, usize) {
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

/// Draws an index with weight (i + 1)^-power.
struct PowerLaw(Vec<f64>);

impl PowerLaw {
    fn new(n: usize, power: f64) -> Self {
        let mut sum = 0.0;
        let sums = (0..n).map(|i| {
            sum += (i as f64 + 1.0).powf(-power);
            sum
        });
        PowerLaw(sums.collect())
    }

    fn draw(&self, rng: &mut impl Rng) -> u32 {
        let at = rng.random::<f64>() * self.0.last().unwrap();
        self.0.partition_point(|s| *s <= at).min(self.0.len() - 1) as u32
    }
}

fn made(name: &str) -> Work {
    let (nodes, edges, relations) = sizes(name);
    let mut rng = ChaCha8Rng::seed_from_u64(100);
    let (of_node, of_relation) = (PowerLaw::new(nodes, 0.8), PowerLaw::new(relations, 1.0));
    let mut seen = HashSet::new();
    let mut triples = Vec::new();
    while triples.len() < edges {
        let i = triples.len();
        let h = if i < nodes {
            i as u32
        } else {
            of_node.draw(&mut rng)
        };
        let r = if i < relations {
            i as u32
        } else {
            of_relation.draw(&mut rng)
        };
        let t = of_node.draw(&mut rng);
        if h != t && seen.insert([h, r, t]) {
            triples.push([h, r, t]);
        }
    }
    let mut normal = |n: usize| -> Vec<f32> {
        let v: Vec<f32> = (0..n).map(|_| rng.random::<f32>() - 0.5).collect();
        let norm = v.iter().map(|x| x * x).sum::<f32>().sqrt();
        v.iter().map(|x| x / norm).collect()
    };
    let embeddings = (0..2 * relations).flat_map(|_| normal(TEXT)).collect();
    let questions = (0..BATCH).map(|_| normal(TEXT)).collect();
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
                (0..BATCH)
                    .map(|b| triples[(i * 8191 + b * 127) % edges])
                    .collect()
            })
            .collect(),
        questions,
        seeds: (0..BATCH)
            .map(|_| distinct(some(3)).into_iter().map(|v| (v, 0.5)).collect())
            .collect(),
        gold: (0..BATCH).map(|_| distinct(some(4))).collect(),
        triples,
        from: "made here",
    }
}

fn read(args: &Args, name: &str) -> Work {
    let path = args.graphs.join(name).join("workload.safetensors");
    if !path.exists() {
        assert!(!args.given, "{} is not there", path.display());
        return made(name);
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

/// Seconds of sampling, forward, backward and optimizer, and the loss.
type Phases = [f64; 4];

struct Bench<'a> {
    work: &'a Work,
    truth: Truth,
    params: Params,
    optimizer: Optimizer,
    embeddings: Tensor,
    compute: Compute,
    recompute: bool,
    rng: ChaCha8Rng,
}

impl<'a> Bench<'a> {
    fn new(work: &'a Work, task: &str, dim: usize, compute: Compute, recompute: bool) -> Self {
        let class = if task == "kg" {
            Class::QueryGNN
        } else {
            Class::GNNRetriever
        };
        let config = ModelConfig::new(dim, vec![dim; LAYERS]);
        let params = Params::init(class, &config, TEXT, 1024, DType::F32).unwrap();
        let settings = AdamW {
            lr: 5e-4,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.01,
        };
        Bench {
            truth: Truth::new(work.graph.nodes(), work.relations, &work.triples),
            optimizer: Optimizer::new(settings, &params).unwrap(),
            params,
            embeddings: tensor(work.embeddings.clone(), (2 * work.relations, TEXT)).unwrap(),
            work,
            compute,
            recompute,
            rng: ChaCha8Rng::seed_from_u64(7),
        }
    }

    fn kg(&mut self, i: usize) -> (Phases, f64) {
        let start = Instant::now();
        let rng = &mut self.rng;
        let positives = &self.work.positives[i % self.work.positives.len()];
        let b = batch(&self.truth, positives, NEGATIVES, true, || {
            rng.random::<f32>()
        });
        let graph = self.work.graph.without(b.asked());
        let sampled = start.elapsed().as_secs_f64();
        let gnn = QueryGnn::new(&self.params, &graph, &self.embeddings)
            .compute(self.compute)
            .recompute(self.recompute);
        let pass = gnn.forward(&b.queries, b.candidates.clone()).unwrap();
        let value = link_prediction(&to_f64(&pass.scores).unwrap(), 1 + NEGATIVES, 1.0);
        let forward = start.elapsed().as_secs_f64();
        let dscores = tensor(value.grad, pass.scores.shape()).unwrap();
        let dscores = dscores.to_dtype(DType::F32).unwrap();
        let grads = gnn.backward(&pass, &dscores).unwrap();
        drop(pass);
        let backward = start.elapsed().as_secs_f64();
        self.optimizer.step(&mut self.params, &grads).unwrap();
        let end = start.elapsed().as_secs_f64();
        (
            [
                sampled,
                forward - sampled,
                backward - forward,
                end - backward,
            ],
            value.loss,
        )
    }

    fn qa(&mut self) -> (Phases, f64) {
        let start = Instant::now();
        let w = self.work;
        let questions: Vec<Question<'_>> = w
            .questions
            .iter()
            .zip(&w.seeds)
            .map(|(embedding, seeds)| Question { embedding, seeds })
            .collect();
        let model = Retriever::new(&self.params, &w.graph, &self.embeddings)
            .compute(self.compute)
            .recompute(self.recompute);
        let pass = model.forward(&questions).unwrap();
        let scores = to_f64(&pass.scores).unwrap();
        let bce = ListLoss::Bce {
            adversarial_temperature: 0.2,
        };
        let nodes = w.graph.nodes();
        let (a, b) = (
            bce.value(&scores, nodes, &w.gold),
            ListLoss::ListCe.value(&scores, nodes, &w.gold),
        );
        let grad: Vec<f64> = a
            .grad
            .iter()
            .zip(&b.grad)
            .map(|(a, b)| 0.3 * a + 0.7 * b)
            .collect();
        let forward = start.elapsed().as_secs_f64();
        let dscores = tensor(grad, pass.scores.shape()).unwrap();
        let dscores = dscores.to_dtype(DType::F32).unwrap();
        let grads = model.backward(&pass, &dscores).unwrap();
        drop(pass);
        let backward = start.elapsed().as_secs_f64();
        self.optimizer.step(&mut self.params, &grads).unwrap();
        let end = start.elapsed().as_secs_f64();
        (
            [0.0, forward, backward - forward, end - backward],
            0.3 * a.loss + 0.7 * b.loss,
        )
    }
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

fn peak_mb() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kb = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kb.unwrap_or(0.0) / 1024.0
}

/// GFLOP/s of a large product in f32, GB/s of a copy (read and written), with all threads.
fn ceilings() -> (f64, f64) {
    let n = 2048;
    let (a, b) = (vec![0.5f32; n * n], vec![0.25f32; n * n]);
    let mut c = vec![0f32; n * n];
    let product = median(
        (0..5)
            .map(|_| {
                let start = Instant::now();
                gemm(&mut c, Mat::new(&a, n, n), Mat::new(&b, n, n), false);
                start.elapsed().as_secs_f64()
            })
            .collect(),
    );
    use rayon::prelude::*;
    let from = vec![1f32; 64 << 20];
    let mut to = vec![0f32; 64 << 20];
    let copy = median(
        (0..5)
            .map(|_| {
                let start = Instant::now();
                to.par_chunks_mut(1 << 20)
                    .zip(from.par_chunks(1 << 20))
                    .for_each(|(t, f)| t.copy_from_slice(f));
                start.elapsed().as_secs_f64()
            })
            .collect(),
    );
    (
        2.0 * (n as f64).powi(3) / product / 1e9,
        2.0 * 4.0 * from.len() as f64 / copy / 1e9,
    )
}

fn main() {
    let args = args();
    // One case a process tells its own peak of memory: nothing else may take any then.
    if !args.json {
        let (flops, bytes) = ceilings();
        println!(
            "machine: {} threads, product {flops:.0} GFLOP/s, copy {bytes:.1} GB/s",
            rayon::current_num_threads()
        );
        println!(
            "{:4} {:>4} {:4} {:7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>9}  graph",
            "size",
            "d",
            "task",
            "compute",
            "step s",
            "sample",
            "forward",
            "backward",
            "adamw",
            "loss",
            "peak MB"
        );
    }
    for size in &args.sizes {
        let work = read(&args, size);
        for dim in &args.dims {
            for task in &args.tasks {
                for name in &args.computes {
                    let compute = match name.as_str() {
                        "auto" => Compute::Auto,
                        "dense" => Compute::Dense,
                        "sparse" => Compute::Sparse,
                        "whole" => Compute::Whole,
                        other => panic!("unknown way {other}"),
                    };
                    let mut bench = Bench::new(&work, task, *dim, compute, args.recompute);
                    let mut rows = Vec::new();
                    let mut first = 0.0;
                    for i in 0..args.steps + 2 {
                        let (phases, loss) = if task == "kg" {
                            bench.kg(i)
                        } else {
                            bench.qa()
                        };
                        if i == 0 {
                            first = loss;
                        }
                        if i >= 2 {
                            rows.push(phases);
                        }
                    }
                    let phase = |k: usize| median(rows.iter().map(|r| r[k]).collect());
                    let step = median(rows.iter().map(|r| r.iter().sum()).collect());
                    let (sample, forward, backward, adamw) =
                        (phase(0), phase(1), phase(2), phase(3));
                    let (peak, from) = (peak_mb(), work.from);
                    if args.json {
                        println!(
                            "{{\"size\": \"{size}\", \"dim\": {dim}, \"task\": \"{task}\", \"path\": \"gfm-pipe {name}\", \
                             \"median_s\": {step:.4}, \"forward_s\": {forward:.4}, \"backward_s\": {backward:.4}, \
                             \"peak_rss_mb\": {peak:.0}, \"graph\": \"{from}\"}}"
                        );
                    } else {
                        println!(
                            "{size:4} {dim:4} {task:4} {name:7} {step:9.4} {sample:9.4} {forward:9.4} {backward:9.4} {adamw:9.4} {first:10.6} {peak:9.0}  {from}"
                        );
                    }
                }
            }
        }
    }
}
