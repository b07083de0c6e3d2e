//! A training that was stopped continues and ends in the same bytes.

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

/// Runs the operator for this many steps, then stops it.
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

/// The same on several ranks. Only the first is asked to stop, but all of them stop.
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

/// Runs an operator in one folder, stops it after each of these numbers of steps, and then lets it
/// end.
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
        said(&out, "continuing from the checkpoint"),
        "{:?}",
        out.messages
    );
    out
}

/// Random numbers of steps to stop after, in rising order.
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
    // Step 6 is the last one of the first epoch, so the stop comes during its validation.
    for (i, threads, stops) in [(0, 1, vec![1]), (1, 2, vec![4, 8, 13]), (2, 3, vec![6])] {
        let folder = dir.path().join(format!("again{i}"));
        let out = stopped_and_ended(&folder, "finetune", &params, &given, &stops, threads);
        assert_eq!(digests(&out), want, "stopped after {stops:?} steps");
    }
}

/// The last step that a training reported, and the step that it continued from.
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

/// The stop may come while a device computes a step, or just before it gets one.
#[test]
fn a_training_stopped_at_any_moment_keeps_every_reported_step() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let given = inputs(&[("graph", &d.graph)]);
    let params = with(pretrain_params(3), &[("train.batch_size", json!(1))]);
    let want = digests(&run_in(dir.path(), "whole", "pretrain", &params, &given).unwrap());
    let folder = dir.path().join("stopped");
    std::fs::create_dir_all(folder.join("work")).unwrap();
    let entry = op("pretrain");
    let full = entry.validate(&params).unwrap();
    let mut reported = 0;
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
            // It ended, but wrote nothing, because the outputs of this context go nowhere.
            _ => break,
        }
        let resumed = seen.resumed.load(Ordering::SeqCst);
        // An attempt may end before it reads the checkpoint.
        if resumed > 0 {
            assert!(
                resumed >= reported,
                "continued from {resumed} after {reported}"
            );
        }
        reported = reported.max(seen.done.load(Ordering::SeqCst));
    }
    assert!(reported > 5);
    let out = local::run_entry(&entry, &folder, &params, given).unwrap();
    assert!(said(&out, "continuing from the checkpoint"));
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
            // An epoch has 43 steps, so a row of the history is the mean of several losses.
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
    /// Stops at a message that contains this text.
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
fn a_checkpoint_that_cannot_be_used_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let (params, given) = (finetune_params(1), finetune_inputs(&[&d]));
    let want = run_in(dir.path(), "whole", "finetune", &params, &given).unwrap();
    let file = |folder: &str| dir.path().join(folder).join("work/checkpoint.safetensors");
    // A finished training leaves its last checkpoint here, since only the engine removes the
    // folder. With another batch size, the checkpoint belongs to another plan.
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
