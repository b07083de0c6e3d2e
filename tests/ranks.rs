//! Runs on several ranks with a real MPI: `cargo test --features mpi --test ranks`. Without
//! `mpirun` the tests print that and pass.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PIPELINE: &str = "pipelines/ci.yaml";

/// Whether ranks can be started on this machine.
fn can_start() -> bool {
    let found = Command::new("mpirun").arg("--version").output().is_ok();
    if !found {
        gfm_pipe_testing::skip("mpirun", "there is no mpirun (Debian: openmpi-bin)");
    }
    found
}

/// A temporary folder and the path of a store in it; `None` if ranks cannot be started.
fn folder() -> Option<(tempfile::TempDir, PathBuf)> {
    can_start().then(|| {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        (dir, store)
    })
}

fn gfm_pipe() -> &'static str {
    env!("CARGO_BIN_EXE_gfm-pipe")
}

fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// `mpirun` on this host, however few CPUs it sees, and even as root.
fn mpirun() -> Command {
    let mut command = Command::new("mpirun");
    command.args([
        "--allow-run-as-root",
        "--oversubscribe",
        "--bind-to",
        "none",
    ]);
    command
        .current_dir(here())
        .env("GFM_PIPE_RANK_SILENCE", "3");
    command
}

fn on_ranks(size: usize, store: &Path, more: &[&str]) -> Command {
    let mut command = mpirun();
    command.args([
        "-n",
        &size.to_string(),
        gfm_pipe(),
        "run",
        PIPELINE,
        "--store",
    ]);
    command.arg(store).args(more);
    command
}

fn text(out: &Output) -> String {
    let all = [&out.stdout[..], &out.stderr[..]].concat();
    String::from_utf8_lossy(&all).into_owned()
}

fn ok(mut command: Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{}", text(&out));
    text(&out)
}

/// Runs one process with the batches of this many ranks.
fn alone(ranks: usize, store: &Path) {
    let mut command = Command::new(gfm_pipe());
    command.current_dir(here());
    command.args(["run", PIPELINE, "--ranks", &ranks.to_string(), "--store"]);
    ok({
        command.arg(store);
        command
    });
}

/// Keys of stages, by operator.
type Keys = BTreeMap<String, Vec<String>>;
/// Metrics, each with the text that identifies it.
type Metrics = Vec<(String, f64)>;

/// The keys in a store, and the metrics of its evaluation.
fn stored(store: &Path) -> (Keys, Metrics) {
    let mut keys = Keys::new();
    for entry in std::fs::read_dir(store.join("stages")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let manifest: Value = serde_json::from_slice(&bytes).unwrap();
        let operator = manifest["ingredients"]["operator"]
            .as_str()
            .unwrap()
            .to_owned();
        let key = manifest["key"].as_str().unwrap().to_owned();
        keys.entry(operator).or_default().push(key);
    }
    keys.values_mut().for_each(|k| k.sort());
    let mut show = Command::new(gfm_pipe());
    show.current_dir(here());
    show.args(["show", "evaluate.metrics", "--json", "--store"]);
    let rows = ok({
        show.arg(store);
        show
    });
    let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
    let metrics = rows
        .into_iter()
        .map(|mut row| {
            let value = row["value"].take().as_f64().unwrap_or(f64::NAN);
            row["low"].take();
            row["high"].take();
            (row.to_string(), value)
        })
        .collect();
    (keys, metrics)
}

/// The process id of a rank of this test's program.
fn process_of(rank: usize, store: &Path) -> Option<u32> {
    let mark = format!("OMPI_COMM_WORLD_RANK={rank}");
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .find_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let command = std::fs::read(entry.path().join("cmdline")).ok()?;
            let environment = std::fs::read(entry.path().join("environ")).ok()?;
            let has =
                |all: &[u8], text: &str| all.split(|b| *b == 0).any(|part| part == text.as_bytes());
            let mine = has(&command, store.to_str()?) && has(&environment, &mark);
            // `mpirun` itself has no rank.
            mine.then_some(pid)
        })
}

/// Options for a training that takes long enough to be disturbed.
const LONG: [&str; 6] = [
    "--set",
    "pretrain.with.train.num_epoch=4000",
    "--set",
    "pretrain.with.train.checkpoint_minutes=0",
    "--set",
    "pretrain.with.task.num_negative=200",
];

fn checkpoint(store: &Path) -> bool {
    let work = std::fs::read_dir(store.join("work"))
        .into_iter()
        .flatten()
        .flatten();
    work.map(|dir| dir.path().join("checkpoint.safetensors"))
        .any(|file| file.exists())
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "no {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts a long training on 3 ranks and waits for its first checkpoint.
fn long(store: &Path) -> Child {
    let mut command = on_ranks(3, store, &LONG);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("checkpoint", || checkpoint(store));
    child
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn ranks_store_what_one_process_stores() {
    if !can_start() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for size in [2, 4] {
        let (one, many) = (
            dir.path().join(format!("one{size}")),
            dir.path().join(format!("many{size}")),
        );
        alone(size, &one);
        let said = ok(on_ranks(size, &many, &[]));
        assert!(
            said.contains(&format!("{size} ranks: {size} on ")),
            "{said}"
        );
        let ((keys, metrics), (want, expected)) = (stored(&many), stored(&one));
        // Trained weights differ by rounding, and the keys of later stages depend on them, so only
        // these keys are equal.
        for operator in ["ingest-kg", "build-graph", "embed", "pretrain"] {
            assert_eq!(keys[operator], want[operator], "{operator}");
        }
        assert_eq!(metrics.len(), expected.len());
        assert!(metrics.len() > 50);
        // Rounding may swap the order of a few documents, but not of many.
        let pairs = metrics.iter().zip(&expected);
        let same = pairs.filter(|((name, x), (of, y))| {
            assert_eq!(name, of);
            (x - y).abs() < 1e-6 || x.is_nan() && y.is_nan()
        });
        let same = same.count();
        assert!(
            same * 10 >= metrics.len() * 9,
            "{same} of {}",
            metrics.len()
        );
        let again = ok(on_ranks(size, &many, &[]));
        assert!(again.contains(": 0 ran, "), "{again}");
    }
}

/// The digests of what an operator's stages stored, by port.
#[cfg(feature = "english")]
fn digests(store: &Path, operator: &str) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(store.join("stages")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let manifest: Value = serde_json::from_slice(&bytes).unwrap();
        if manifest["ingredients"]["operator"] == operator {
            let ports = manifest["ports"].as_object().unwrap().iter();
            found.extend(ports.map(|(name, port)| (name.clone(), port["digest"].clone())));
        }
    }
    found
}

#[cfg(feature = "english")]
#[test]
fn ranks_extract_what_one_process_extracts() {
    let Some((dir, store)) = folder() else {
        return;
    };
    let run = |mut command: Command, store: &Path| {
        let extract = ["run", "pipelines/untrained.yaml", "--until", "extract"];
        command.args(extract).arg("--store").arg(store);
        ok(command)
    };
    let on_three = || {
        let mut command = mpirun();
        command.args(["-n", "3", gfm_pipe()]);
        command
    };
    let one = dir.path().join("one");
    let mut alone = Command::new(gfm_pipe());
    alone.current_dir(here());
    run(alone, &one);
    run(on_three(), &store);
    let (got, want) = (digests(&store, "extract"), digests(&one, "extract"));
    assert!(want.len() > 4 && want.values().all(Value::is_string));
    assert_eq!(got, want);
    let again = run(on_three(), &store);
    assert!(again.contains(": 0 ran, "), "{again}");
}

#[test]
fn a_rank_that_reads_something_else_is_refused() {
    let Some((dir, store)) = folder() else {
        return;
    };
    let refused = |second: &[&str]| {
        let mut command = mpirun();
        command.args(["-n", "1", gfm_pipe(), "run", PIPELINE, "--store"]);
        command.arg(&store);
        command.args([":", "-n", "1", gfm_pipe(), "run", PIPELINE, "--store"]);
        command.arg(&store).args(second);
        let out = command.output().unwrap();
        assert!(!out.status.success(), "{}", text(&out));
        text(&out)
    };
    let said = refused(&["--set", "pretrain.with.optimizer.lr=0.5"]);
    assert!(said.contains("has another stage `pretrain`"), "{said}");
    // The same pipeline in a folder with different data.
    let copy = dir.path().join("copy");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(here().join("data/fixtures"))
        .arg(dir.path())
        .status();
    assert!(copied.unwrap().success());
    std::fs::create_dir_all(copy.join("data")).unwrap();
    std::fs::rename(dir.path().join("fixtures"), copy.join("data/fixtures")).unwrap();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(here().join("pipelines"))
        .arg(&copy)
        .status();
    assert!(copied.unwrap().success());
    let kg = copy.join("data/fixtures/family/processed/stage1/kg.txt");
    let mut text = std::fs::read_to_string(&kg).unwrap();
    text.push_str("somebody,parent of,nobody\n");
    std::fs::write(&kg, text).unwrap();
    let said = refused(&["-C", copy.to_str().unwrap()]);
    assert!(
        said.contains("has another data/fixtures/family/processed/stage1/kg.txt"),
        "{said}"
    );
    assert!(!store.exists(), "nothing ran");
}

#[test]
fn a_killed_rank_ends_the_run_which_others_go_on_with() {
    let Some((_dir, store)) = folder() else {
        return;
    };
    let child = long(&store);
    let start = Instant::now();
    signal("-KILL", process_of(2, &store).unwrap());
    let out = child.wait_with_output().unwrap();
    let said = text(&out);
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    assert!(!out.status.success());
    assert!(
        said.contains("rank 2 (process ") && said.contains(") ended"),
        "{said}"
    );
    assert!(
        said.contains("start the run again, with as many ranks or others"),
        "{said}"
    );
    assert!(checkpoint(&store));
    // One process with the batches of 3 ranks resumes from the checkpoint.
    let mut command = Command::new(gfm_pipe());
    command.current_dir(here()).args([
        "run", PIPELINE, "--ranks", "3", "--until", "pretrain", "--store",
    ]);
    command
        .arg(&store)
        .args(LONG)
        .args(["--log-format", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let resumed = lines
        .map_while(Result::ok)
        .any(|line| line.contains("continuing from the checkpoint after step"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(resumed);
}

#[test]
fn a_rank_that_hangs_ends_the_run() {
    let Some((_dir, store)) = folder() else {
        return;
    };
    let child = long(&store);
    let pid = process_of(1, &store).unwrap();
    let start = Instant::now();
    signal("-STOP", pid);
    let out = child.wait_with_output().unwrap();
    let said = text(&out);
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    assert!(
        said.contains("rank 1 (process ") && said.contains("has said nothing for 3 s"),
        "{said}"
    );
    assert!(!out.status.success() && checkpoint(&store));
}

#[test]
fn who_asks_any_rank_to_stop_stops_all() {
    let Some((_dir, store)) = folder() else {
        return;
    };
    let child = long(&store);
    signal("-TERM", process_of(1, &store).unwrap());
    let out = child.wait_with_output().unwrap();
    let said = text(&out);
    assert!(
        said.contains("run the same command again to go on"),
        "{said}"
    );
    assert!(checkpoint(&store));
}
