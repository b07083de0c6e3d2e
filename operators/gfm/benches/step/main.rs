//! Training steps and questions: `cargo bench -p gfm-pipe-gfm --bench step -- [--size S,M] [--dim 64] [--task kg,qa,ask]
//! [--compute auto,dense] [--steps 5] [--graphs DIR] [--recompute] [--scaling] [--device cuda[:N] [--dtype f32,tf32,bf16]] [--write DIR]`.
//!
//! Batch 8, six layers, 256 negatives. Workloads of the reference's benchmark are read from `--graphs DIR` where they are
//! (`DIR/M/workload.safetensors`); else graphs of their recipe are made here. `NODESxTRIPLESxRELATIONS` is a size, too. Medians. `ask` is one
//! question at a time. `states` is the share of layers x queries x nodes that is computed: what bounds how much faster than dense a step can be.
//! `--scaling` varies one size at a time. `--device` takes steps on a GPU (feature `cuda`; with `gpu-emulation` on its emulation), as the
//! training loop does. `--write` only writes the workloads, for the reference's benchmark.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "sizes of benchmarks"
)]

#[path = "../../../kernels/benches/common.rs"]
mod common;
mod device;
mod steps;
mod work;

use std::path::PathBuf;

use common::{copy_gbytes, median, product_gflops};
use gfm_pipe_model::model::Compute;
use gfm_pipe_model::sampling::Truth;
use steps::{Bench, Case, Step};
use work::{Work, made, read};

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
    scaling: bool,
    device: Option<String>,
    dtypes: Vec<String>,
    /// Where workloads are written to.
    write: Option<PathBuf>,
    /// Where workloads may be; given, they must be.
    graphs: PathBuf,
    given: bool,
}

fn args() -> Args {
    let mut out = Args {
        sizes: vec!["S".into(), "M".into()],
        dims: vec![64],
        tasks: vec!["kg".into(), "qa".into(), "ask".into()],
        computes: vec!["auto".into(), "dense".into()],
        steps: 5,
        recompute: false,
        json: false,
        scaling: false,
        device: None,
        dtypes: vec!["f32".into()],
        write: None,
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
            "--device" => out.device = Some(list().remove(0)),
            "--dtype" => out.dtypes = list(),
            "--write" => out.write = Some(PathBuf::from(list().remove(0))),
            "--recompute" => out.recompute = true,
            "--json" => out.json = true,
            "--scaling" => out.scaling = true,
            // What cargo adds.
            "--bench" => {}
            other => panic!("unknown flag {other}"),
        }
    }
    out
}

fn compute(name: &str) -> Compute {
    match name {
        "auto" => Compute::Auto,
        "dense" => Compute::Dense,
        "sparse" => Compute::Sparse,
        other => panic!("unknown way {other}"),
    }
}

fn peak_mb() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kb = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kb.unwrap_or(0.0) / 1024.0
}

/// Medians of a case's steps.
struct Timed {
    step: f64,
    phases: [f64; 4],
    share: f64,
    /// Of the first step.
    loss: f64,
}

fn timed(work: &Work, case: &Case, steps: usize) -> Timed {
    let mut bench = Bench::new(work, case);
    let all: Vec<Step> = (0..steps + 2).map(|i| bench.step(i)).collect();
    let warm = &all[2..];
    Timed {
        step: median(warm.iter().map(|s| s.phases.iter().sum()).collect()),
        phases: [0, 1, 2, 3].map(|k| median(warm.iter().map(|s| s.phases[k]).collect())),
        share: median(warm.iter().map(|s| s.share).collect()),
        loss: all[0].loss,
    }
}

/// One question at a time, without and with what no question changes.
fn ask(work: &Work, size: &str, case: &Case, name: &str) {
    let bench = Bench::new(work, case);
    let (cold, _) = bench.ask(false);
    let (known, before) = bench.ask(true);
    println!(
        "{size:9} {:4} ask  {name:7} {:.4} s a question; background known {:.4} s, computed once in {before:.4} s",
        case.dim,
        median(cold),
        median(known),
    );
}

fn table(args: &Args) {
    if !args.json {
        println!(
            "{:9} {:>4} {:4} {:7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>7} {:>9}  graph",
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
            "states",
            "peak MB"
        );
    }
    for size in &args.sizes {
        let work = read(&args.graphs, args.given, size);
        for dim in &args.dims {
            for task in &args.tasks {
                for name in &args.computes {
                    let case = Case {
                        task: task.clone(),
                        dim: *dim,
                        layers: LAYERS,
                        compute: compute(name),
                        recompute: args.recompute,
                    };
                    if task == "ask" {
                        ask(&work, size, &case, name);
                        continue;
                    }
                    let t = timed(&work, &case, args.steps);
                    let ([sample, forward, backward, adamw], step, share) =
                        (t.phases, t.step, t.share);
                    let (peak, from) = (peak_mb(), work.from);
                    if args.json {
                        println!(
                            "{{\"size\": \"{size}\", \"dim\": {dim}, \"task\": \"{task}\", \"path\": \"gfm-pipe {name}\", \
                             \"median_s\": {step:.4}, \"forward_s\": {forward:.4}, \"backward_s\": {backward:.4}, \
                             \"states\": {share:.4}, \"peak_rss_mb\": {peak:.0}, \"graph\": \"{from}\"}}"
                        );
                    } else {
                        println!(
                            "{size:9} {dim:4} {task:4} {name:7} {step:9.4} {sample:9.4} {forward:9.4} {backward:9.4} {adamw:9.4} {:10.6} {:6.1}% {peak:9.0}  {from}",
                            t.loss,
                            100.0 * share
                        );
                    }
                }
            }
        }
    }
}

/// The same on a device.
fn on_device(args: &Args, name: &str) {
    let gpu = device::open(name);
    if !args.json {
        println!(
            "{}\n{:9} {:>4} {:4} {:5} {:7} {:>9} {:>9} {:>9} {:>9} {:>10} {:>7} {:>9}  graph",
            gpu.name(),
            "size",
            "d",
            "task",
            "dtype",
            "compute",
            "step s",
            "alone",
            "prepare",
            "queue",
            "loss",
            "states",
            "peak MB"
        );
    }
    for size in &args.sizes {
        let work = read(&args.graphs, args.given, size);
        let truth = Truth::new(work.graph.nodes(), work.relations, &work.triples);
        let tasks = args.tasks.iter().filter(|t| *t != "ask");
        let (models, ways) = (
            cross(&args.dims, tasks),
            cross(&args.dtypes, &args.computes),
        );
        for ((dim, task), (dtype, name)) in cross(&models, &ways) {
            let case = Case {
                task: (*task).clone(),
                dim: **dim,
                layers: LAYERS,
                compute: compute(name),
                recompute: args.recompute,
            };
            let settings = device::settings(dtype, case.compute, args.recompute);
            let from = work.from;
            match device::timed(&gpu, &work, &truth, (&case, settings), args.steps) {
                Err(e) if args.json => println!(
                    "{{\"size\": \"{size}\", \"dim\": {dim}, \"task\": \"{task}\", \"path\": \"gfm-pipe {dtype}\", \
                     \"error\": {:?}}}",
                    e.to_string()
                ),
                Err(e) => println!("{size:9} {dim:4} {task:4} {dtype:5} {name:7} {e}"),
                Ok(t) if args.json => println!(
                    "{{\"size\": \"{size}\", \"dim\": {dim}, \"task\": \"{task}\", \"path\": \"gfm-pipe {dtype}\", \
                     \"compute\": \"{name}\", \"recompute\": {}, \"median_s\": {:.6}, \"alone_s\": {:.6}, \"prepare_s\": {:.6}, \
                     \"queue_s\": {:.6}, \"first_loss\": {:.6}, \"states\": {:.4}, \"peak_device_mb\": {:.0}, \"graph\": \"{from}\"}}",
                    args.recompute,
                    t.step,
                    t.alone,
                    t.prepare,
                    t.queue,
                    t.loss,
                    t.share,
                    t.peak as f64 / 1e6
                ),
                Ok(t) => println!(
                    "{size:9} {dim:4} {task:4} {dtype:5} {name:7} {:9.5} {:9.5} {:9.5} {:9.5} {:10.6} {:6.1}% {:9.0}  {from}",
                    t.step,
                    t.alone,
                    t.prepare,
                    t.queue,
                    t.loss,
                    100.0 * t.share,
                    t.peak as f64 / 1e6
                ),
            }
        }
    }
}

/// Each of these with each of those.
fn cross<'a, A, B>(
    these: impl IntoIterator<Item = &'a A>,
    those: impl IntoIterator<Item = &'a B> + Clone,
) -> Vec<(&'a A, &'a B)> {
    let each = |a| those.clone().into_iter().map(move |b| (a, b));
    these.into_iter().flat_map(each).collect()
}

/// One size varied at a time around one case.
fn scaling(args: &Args) {
    let base = (10_000, 50_000, 1_000, BATCH, 64, LAYERS);
    let mut cases = vec![base];
    cases.extend(
        [2_500, 5_000, 20_000, 40_000].map(|n| (n, base.1, base.2, base.3, base.4, base.5)),
    );
    cases.extend(
        [12_500, 25_000, 100_000, 200_000].map(|e| (base.0, e, base.2, base.3, base.4, base.5)),
    );
    cases.extend([1, 2, 4, 16].map(|b| (base.0, base.1, base.2, b, base.4, base.5)));
    cases.extend([16, 32, 128, 256].map(|d| (base.0, base.1, base.2, base.3, d, base.5)));
    cases.extend([1, 2, 4, 8].map(|k| (base.0, base.1, base.2, base.3, base.4, k)));
    println!(
        "{:>7} {:>8} {:>3} {:>4} {:>3}  {:>9} {:>9} {:>6} {:>7}  {:>9} {:>9} {:>6} {:>7}",
        "N",
        "triples",
        "B",
        "d",
        "k",
        "kg auto",
        "dense",
        "x",
        "states",
        "qa auto",
        "dense",
        "x",
        "states"
    );
    for (n, e, r, b, d, k) in cases {
        let work = made((n, e, r), b);
        let run = |task: &str, name: &str| {
            let case = Case {
                task: task.to_owned(),
                dim: d,
                layers: k,
                compute: compute(name),
                recompute: false,
            };
            timed(&work, &case, args.steps)
        };
        print!("{n:7} {e:8} {b:3} {d:4} {k:3} ");
        for task in ["kg", "qa"] {
            let (auto, dense) = (run(task, "auto"), run(task, "dense"));
            let ratio = dense.step / auto.step;
            let share = 100.0 * auto.share;
            print!(
                " {:9.4} {:9.4} {ratio:6.2} {share:6.1}% ",
                auto.step, dense.step
            );
        }
        println!();
    }
}

fn main() {
    let args = args();
    if let Some(to) = &args.write {
        for size in &args.sizes {
            work::write(&read(&args.graphs, args.given, size), &to.join(size));
        }
        return;
    }
    if let Some(name) = &args.device {
        on_device(&args, name);
        return;
    }
    // One case a process tells its own peak of memory: nothing else may take any then.
    if !args.json {
        println!(
            "machine: {} threads, product {:.0} GFLOP/s, copy {:.1} GB/s",
            rayon::current_num_threads(),
            product_gflops(),
            copy_gbytes(256 << 20)
        );
    }
    match args.scaling {
        true => scaling(&args),
        false => table(&args),
    }
}
