//! A training that was stopped goes on and ends in the same bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{Cancel, Context, Level, OpError, Reporter};
use gfm_pipe_testing::Random;
use serde_json::{Value, json};
use std::path::Path;

use crate::toy::*;

/// Stops the training after some steps, as a user with Ctrl-C does.
struct StopAfter {
    steps: u64,
    cancel: Cancel,
    seen: AtomicU64,
}

impl Reporter for StopAfter {
    fn progress(&self, done: u64, _total: u64, unit: &str, _note: &str) {
        if unit == "steps" && done >= self.steps {
            self.seen.store(done, Ordering::SeqCst);
            self.cancel.cancel();
        }
    }
    fn message(&self, _level: Level, _text: &str) {}
    fn resumed_at(&self, _step: u64) {}
}

/// Runs the operator until it has taken some steps, then stops it.
fn stop(folder: &Path, name: &str, params: &Value, given: &Inputs, steps: u64) {
    std::fs::create_dir_all(folder.join("work")).unwrap();
    let cancel = Cancel::default();
    let reporter = Arc::new(StopAfter {
        steps,
        cancel: cancel.clone(),
        seen: AtomicU64::new(0),
    });
    let ctx = Context {
        inputs: given.clone(),
        reporter: reporter.clone(),
        cancel,
        workdir: folder.join("work"),
        ..local::context()
    };
    let entry = op(name);
    let stopped = entry.run(entry.validate(params).unwrap(), &ctx);
    assert!(matches!(stopped, Err(OpError::Cancelled)), "{stopped:?}");
    assert_eq!(reporter.seen.load(Ordering::SeqCst), steps);
}

/// The same on several ranks, of which only the first is asked to stop. All of them stop.
pub fn stop_ranks(
    size: usize,
    folder: &Path,
    name: &str,
    params: &Value,
    given: &Inputs,
    steps: u64,
) {
    let entry = op(name);
    let full = entry.validate(params).unwrap();
    std::thread::scope(|scope| {
        for ranks in gfm_pipe_api::ranks::threads(size) {
            let (entry, full) = (&entry, &full);
            scope.spawn(move || {
                let rank = ranks.rank();
                let workdir = match rank {
                    0 => folder.join("work"),
                    n => folder.join(format!("rank-{n}/work")),
                };
                std::fs::create_dir_all(&workdir).unwrap();
                let cancel = Cancel::default();
                let reporter: Arc<dyn Reporter> = match rank {
                    0 => Arc::new(StopAfter {
                        steps,
                        cancel: cancel.clone(),
                        seen: AtomicU64::new(0),
                    }),
                    _ => Arc::new(local::Collected::default()),
                };
                let ctx = Context {
                    inputs: given.clone(),
                    reporter,
                    cancel,
                    workdir,
                    ranks,
                    ..local::context()
                };
                let stopped = entry.run(full.clone(), &ctx);
                assert!(matches!(stopped, Err(OpError::Cancelled)), "{stopped:?}");
            });
        }
    });
}

/// Stops an operator after each of these numbers of steps (one after the other in the same folder) and lets it end.
pub fn stopped_and_ended(
    folder: &Path,
    name: &str,
    params: &Value,
    given: &Inputs,
    stops: &[u64],
    threads: usize,
) -> Local {
    for steps in stops {
        stop(folder, name, params, given, *steps);
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap();
    let out = pool.install(|| local::run_entry(&op(name), folder, params, given.clone()).unwrap());
    assert!(
        said(&out, "going on from the checkpoint"),
        "{:?}",
        out.messages
    );
    out
}

/// Numbers of steps to stop after, in rising order, from a seed.
fn random_stops(seed: u64, n: usize, total: u64) -> Vec<u64> {
    let mut random = Random::new(seed);
    let mut stop = || 1 + random.bits() % (total - 1);
    let mut out: Vec<u64> = (0..n).map(|_| stop()).collect();
    out.sort_unstable();
    out.dedup();
    out
}

#[test]
fn a_stopped_finetuning_ends_in_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let (params, given) = (finetune_params(3), finetune_inputs(&[&d]));
    let want = digests(&run_in(dir.path(), "whole", "finetune", &params, &given).unwrap());
    // The last one is the last step of the first epoch: the stop comes within its validation.
    for (i, threads, stops) in [(0, 1, vec![1]), (1, 2, vec![4, 8, 13]), (2, 3, vec![6])] {
        let folder = dir.path().join(format!("again{i}"));
        let out = stopped_and_ended(&folder, "finetune", &params, &given, &stops, threads);
        assert_eq!(digests(&out), want, "stopped after {stops:?} steps");
    }
}

/// What a training took, and where it went on from.
#[derive(Default)]
struct Seen {
    done: AtomicU64,
    resumed: AtomicU64,
}

impl Reporter for Seen {
    fn progress(&self, done: u64, _total: u64, unit: &str, _note: &str) {
        if unit == "steps" {
            self.done.store(done, Ordering::SeqCst);
        }
    }
    fn message(&self, _level: Level, _text: &str) {}
    fn resumed_at(&self, step: u64) {
        self.resumed.store(step, Ordering::SeqCst);
    }
}

/// Not only between steps: a device may be computing one, or about to be given one.
#[test]
fn a_training_stopped_at_any_moment_loses_no_step_it_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let given = inputs(&[("graph", &d.graph)]);
    let params = with(pretrain_params(3), &[("train.batch_size", json!(1))]);
    let want = digests(&run_in(dir.path(), "whole", "pretrain", &params, &given).unwrap());
    let folder = dir.path().join("stopped");
    std::fs::create_dir_all(folder.join("work")).unwrap();
    let entry = op("pretrain");
    let full = entry.validate(&params).unwrap();
    let mut told = 0;
    for attempt in 0..25u64 {
        let seen = Arc::new(Seen::default());
        let after = std::time::Duration::from_micros(4_000 + 3_700 * (attempt * 7 % 11));
        let ctx = Context {
            inputs: given.clone(),
            reporter: Arc::clone(&seen) as Arc<dyn Reporter>,
            cancel: Cancel::default().within(Some(after)),
            workdir: folder.join("work"),
            ..local::context()
        };
        match entry.run(full.clone(), &ctx) {
            Err(OpError::Cancelled) => {}
            // It wrote nothing: this context's outputs go nowhere.
            _ => break,
        }
        let resumed = seen.resumed.load(Ordering::SeqCst);
        // An attempt that ended before it looked says nothing.
        if resumed > 0 {
            assert!(resumed >= told, "went on from {resumed} after {told}");
        }
        told = told.max(seen.done.load(Ordering::SeqCst));
    }
    assert!(told > 5);
    let out = local::run_entry(&entry, &folder, &params, given).unwrap();
    assert!(said(&out, "going on from the checkpoint"));
    assert_eq!(digests(&out), want);
}

#[test]
fn a_stopped_pretraining_ends_in_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let given = inputs(&[("graph", &d.graph)]);
    let params = with(
        pretrain_params(2),
        &[
            // 43 steps an epoch: losses of several steps make one row of the history.
            ("train.batch_size", json!(1)),
            ("train.warmup_steps", json!(5)),
            ("train.decay", json!("cosine")),
            ("train.clip_norm", json!(0.5)),
        ],
    );
    let want = digests(&run_in(dir.path(), "whole", "pretrain", &params, &given).unwrap());
    for seed in [3, 4] {
        let stops = random_stops(seed, 4, 86);
        let folder = dir.path().join(format!("again{seed}"));
        let out = stopped_and_ended(&folder, "pretrain", &params, &given, &stops, 2);
        assert_eq!(digests(&out), want, "stopped after {stops:?} steps");
    }
}

#[test]
fn stopped_trainings_over_several_data_sets_end_in_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let sets: Vec<Data> = [("a", 16), ("b", 20), ("c", 12)]
        .map(|(name, nodes)| Toy { name, nodes, ..TOY }.make(dir.path()))
        .into();
    let graphs: Vec<_> = sets.iter().map(|d| ("graph", &d.graph)).collect();
    let few = [("train.max_datasets_in_memory", json!(2))];
    for (name, params, given, total) in [
        ("pretrain", pretrain_params(2), inputs(&graphs), 44),
        (
            "finetune",
            finetune_params(3),
            finetune_inputs(&[&sets[0], &sets[1]]),
            24,
        ),
    ] {
        let params = with(params, &few);
        let folder = format!("{name}-whole");
        let whole = run_in(dir.path(), &folder, name, &params, &given).unwrap();
        for seed in [1, 2] {
            let stops = random_stops(seed, 4, total);
            let folder = dir.path().join(format!("{name}-again{seed}"));
            let out = stopped_and_ended(&folder, name, &params, &given, &stops, 2);
            let (got, want) = (digests(&out), digests(&whole));
            assert_eq!(got, want, "{name} stopped after {stops:?} steps");
        }
    }
}

#[test]
fn a_stopped_evaluation_starts_over_and_ends_in_the_same_bytes() {
    /// Stops at the message that says a system is being scored.
    struct StopAt(&'static str, Cancel);
    impl Reporter for StopAt {
        fn progress(&self, _done: u64, _total: u64, _unit: &str, _note: &str) {}
        fn message(&self, _level: Level, text: &str) {
            if text.contains(self.0) {
                self.1.cancel();
            }
        }
        fn resumed_at(&self, _step: u64) {}
    }
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let pre = inputs(&[("graph", &d.graph)]);
    let pre = run(dir.path(), "pretrain", pretrain_params(1), pre).unwrap();
    let given = evaluate_inputs(&pre, &d, &[("pretrained", pre.port("model"))]);
    let params = json!({});
    let want = digests(&run_in(dir.path(), "whole", "evaluate", &params, &given).unwrap());
    let folder = dir.path().join("again");
    std::fs::create_dir_all(folder.join("work")).unwrap();
    for system in ["`model`", "`pretrained`"] {
        let cancel = Cancel::default();
        let ctx = Context {
            inputs: given.clone(),
            reporter: Arc::new(StopAt(system, cancel.clone())),
            cancel,
            workdir: folder.join("work"),
            ..local::context()
        };
        let entry = op("evaluate");
        let stopped = entry.run(entry.validate(&params).unwrap(), &ctx);
        assert!(matches!(stopped, Err(OpError::Cancelled)), "{stopped:?}");
    }
    let out = local::run_entry(&op("evaluate"), &folder, &params, given).unwrap();
    assert_eq!(digests(&out), want);
}

#[test]
fn a_checkpoint_that_is_none_of_ours_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let (params, given) = (finetune_params(1), finetune_inputs(&[&d]));
    let want = run_in(dir.path(), "whole", "finetune", &params, &given).unwrap();
    let file = |folder: &str| dir.path().join(folder).join("work/checkpoint.safetensors");
    // A finished training leaves its last checkpoint here (the engine removes the folder): of another course it is no use.
    let longer = with(params.clone(), &[("train.batch_size", json!(3))]);
    run_in(dir.path(), "longer", "finetune", &longer, &given).unwrap();
    let foreign = std::fs::read(file("longer")).unwrap();
    let cut = foreign[..foreign.len() / 2].to_vec();
    for (i, bytes) in [b"not a checkpoint".to_vec(), cut, foreign]
        .iter()
        .enumerate()
    {
        let folder = format!("again{i}");
        std::fs::create_dir_all(dir.path().join(&folder).join("work")).unwrap();
        std::fs::write(file(&folder), bytes).unwrap();
        let out = run_in(dir.path(), &folder, "finetune", &params, &given).unwrap();
        assert!(said(&out, "training starts over"), "{:?}", out.messages);
        assert_eq!(digests(&out), digests(&want));
    }
}
