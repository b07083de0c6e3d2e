//! The real process, killed (SIGKILL) at random moments of the fixture pipeline, ends up with the
//! artifacts of an undisturbed run. Needs all features of the default build.

#![cfg(all(unix, feature = "gfm", feature = "static-encoder"))]
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gfm_pipe_testing::Random;
use serde_json::Value;

/// The fixture pipeline, with a checkpoint after every step (which changes no key and no result).
fn command(store: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gfm-pipe"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["run", "pipelines/ci.yaml", "--log-format", "json"])
        .args(["-p", "pretrain_epochs=6", "-p", "finetune_epochs=10"])
        .args(["--set", "pretrain.with.train.checkpoint_minutes=0"])
        .args(["--set", "finetune.with.train.checkpoint_minutes=0"])
        .arg("--store")
        .arg(store);
    command
}

fn start(store: &Path) -> Child {
    command(store)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn kill(mut child: Child) {
    // It may already have ended by itself.
    let _ = child.kill();
    child.wait().unwrap();
}

/// Runs the pipeline to its end and returns its stages by name.
fn run(store: &Path) -> BTreeMap<String, Value> {
    let out = command(store).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{text}\n{said}");
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["event"], &last["status"]),
        (&"run_finished".into(), &"ok".into())
    );
    last["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["name"].as_str().unwrap().to_owned(), s["outputs"].clone()))
        .collect()
}

/// The checkpoints in the store.
fn checkpoints(store: &Path) -> BTreeSet<PathBuf> {
    let Ok(work) = std::fs::read_dir(store.join("work")) else {
        return BTreeSet::new();
    };
    work.flatten()
        .map(|e| e.path().join("checkpoint.safetensors"))
        .filter(|p| p.exists())
        .collect()
}

/// Starts the pipeline and kills it soon after it has written a checkpoint in a folder that had
/// none.
fn kill_in_a_training(store: &Path, after: Duration) {
    let before = checkpoints(store);
    let mut child = start(store);
    while child.try_wait().unwrap().is_none() {
        if checkpoints(store).iter().any(|c| !before.contains(c)) {
            std::thread::sleep(after);
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    kill(child);
}

/// Starts the pipeline, forcing a stage, and kills it a moment after that stage has started.
fn kill_in_stage(store: &Path, stage: &str, after: Duration) {
    let mut child = command(store)
        .args(["--force", stage])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let events = BufReader::new(child.stdout.take().unwrap());
    let begun = events.lines().any(|line| {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap_or_default();
        event["event"] == "stage_started" && event["stage"] == stage
    });
    assert!(begun, "{stage} did not run");
    std::thread::sleep(after);
    kill(child);
}

#[test]
fn killed_at_random_moments_it_ends_in_the_same_artifacts() {
    let (whole, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let begin = Instant::now();
    let want = run(whole.path());
    let took = begin.elapsed();

    let seed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64;
    let named = format!("moments drawn from {seed}");
    let mut numbers = Random::new(seed);
    let mut random = |below: Duration| below.mul_f64(numbers.unit());
    let store = again.path();
    let soon = Duration::from_millis(10);
    // First, one kill in each training, right after its first checkpoint; then kills at any moment.
    kill_in_a_training(store, random(soon));
    kill_in_a_training(store, random(soon));
    for _ in 0..3 {
        let child = start(store);
        std::thread::sleep(random(took / 2));
        kill(child);
    }
    for _ in 0..3 {
        kill_in_stage(store, "evaluate", random(soon));
    }
    assert_eq!(run(store), want, "{named}");

    // Both trainings did resume from a checkpoint: their manifests say at which step.
    let mut resumed = BTreeSet::new();
    for file in std::fs::read_dir(store.join("stages")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let manifest: Value = serde_json::from_str(&text).unwrap();
        if manifest["resumed_at_step"].as_u64().is_some() {
            resumed.insert(manifest["ingredients"]["operator"].to_string());
        }
    }
    assert_eq!(resumed.len(), 2, "{resumed:?}, {named}");
}
