//! `watch`: frames drawn from event files, and the command beside runs of another process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use gfm_pipe::record::{EventReader, Life, RunState, RunStatus};
use gfm_pipe::store::Store;
use gfm_pipe::ui::{Look, Watched, watched};
use insta::assert_snapshot;

use crate::program::{filters, folder, stdout, told, toy};

const RUN: &str = "20261123-051207-123-4f2a";

/// When the run in the event files started: milliseconds since 1970, UTC.
const START: u64 = 1_795_410_727_000;

/// An event file, written line by line.
struct File {
    dir: tempfile::TempDir,
    text: String,
}

impl File {
    fn new() -> Self {
        let mut file = File {
            dir: tempfile::tempdir().unwrap(),
            text: format!("{{\"format\":1,\"run\":\"{RUN}\",\"pipeline\":\"atlas\"}}\n"),
        };
        file.at(
            0.0,
            &format!(
                r#""event":"run_started","run":"{RUN}","pipeline":"atlas","stages":["kg","embed","pretrain","finetune","evaluate"],"version":"0.1.0","expected":{{"pretrain":200.0,"finetune":60.0}}"#
            ),
        );
        for (name, status) in [("kg", "ran"), ("embed", "cached")] {
            file.at(1.0, &finished(name, status, 1.0, ""));
        }
        file.at(2.0, &started("pretrain"));
        file
    }

    fn at(&mut self, seconds: f64, event: &str) {
        let time = START + (seconds * 1000.0) as u64;
        self.text
            .push_str(&format!("{{\"time_ms\":{time},{event}}}\n"));
    }

    /// Adds a training from one step to another, of 1,000 in all: ten steps per second, with a
    /// score every 200 steps.
    fn train(&mut self, stage: &str, begin: f64, from: u64, to: u64) {
        for step in from + 1..=to {
            let at = begin + (step - from) as f64 / 10.0;
            let epoch = (step - 1) / 200 + 1;
            if step.is_multiple_of(10) {
                let loss = 0.7 * (-(step as f64) / 300.0).exp();
                let metrics = [
                    ("loss", loss),
                    ("lr", 0.0005),
                    ("step_seconds", 0.1),
                    ("samples_per_second", 80.0),
                ];
                for (name, value) in metrics {
                    self.at(at, &metric(stage, epoch, step, name, value));
                }
                self.at(
                    at,
                    &format!(
                        r#""event":"progress","stage":"{stage}","done":{step},"total":1000,"unit":"steps","note":"epoch {epoch} loss {loss:.4}""#
                    ),
                );
            }
            if step.is_multiple_of(200) {
                let mrr = 0.6 - 50.0 / step as f64;
                self.at(at, &metric(stage, epoch, step, "mean_loss", 0.5));
                self.at(at, &metric(stage, epoch, step, "valid:mrr", mrr));
                self.at(at, &metric(stage, epoch, step, "valid:hits@10", mrr + 0.2));
            }
        }
    }

    /// The state of the run so far.
    fn state(&self) -> RunState {
        let store = Store::open(self.dir.path().join("store")).unwrap();
        fs::write(store.events_path(RUN), &self.text).unwrap();
        let mut state = RunState::new(RUN, "atlas");
        let mut reader = EventReader::open(&store, RUN).unwrap().unwrap();
        for recorded in reader.poll().unwrap() {
            state.apply(&recorded);
        }
        state
    }
}

fn started(stage: &str) -> String {
    let key = "ab".repeat(32);
    format!(
        r#""event":"stage_started","stage":"{stage}","op":"{stage}","key":"{key}","reasons":["never ran"]"#
    )
}

fn metric(stage: &str, epoch: u64, step: u64, name: &str, value: f64) -> String {
    format!(
        r#""event":"metric","stage":"{stage}","epoch":{epoch},"step":{step},"name":"{name}","value":{value}"#
    )
}

fn finished(stage: &str, status: &str, seconds: f64, more: &str) -> String {
    let key = "ab".repeat(32);
    let rest = if more.is_empty() {
        r#""error":null,"hint":null"#
    } else {
        more
    };
    format!(
        r#""event":"stage_finished","name":"{stage}","op":"{stage}","status":"{status}","key":"{key}","seconds":{seconds},"reasons":[],"outputs":{{}},"resumed_at_step":null,"rows":9642,"bytes":1,"note":null,{rest}"#
    )
}

fn ended(status: &str) -> String {
    format!(r#""event":"run_finished","status":"{status}","stages":[]"#)
}

fn drawn(file: &File, life: Life, seconds: f64, size: (usize, Option<usize>)) -> String {
    let lines = watched(&Watched {
        state: &file.state(),
        life,
        now_ms: START + (seconds * 1000.0) as u64,
        width: size.0,
        height: size.1,
        look: Look::default(),
    });
    for line in &lines {
        assert!(line.chars().count() <= size.0, "{line}");
    }
    assert!(size.1.is_none_or(|h| lines.len() <= h));
    lines.join("\n")
}

fn running() -> File {
    let mut file = File::new();
    file.at(
        2.5,
        r#""event":"message","stage":"pretrain","level":"warn","text":"3 triples name\u001b[2J unknown entities\nand more""#,
    );
    file.train("pretrain", 3.0, 0, 640);
    file
}

#[test]
fn a_run_that_goes_on() {
    let file = running();
    assert_snapshot!(
        "watch_running",
        drawn(&file, Life::GoesOn, 67.5, (100, None))
    );
    assert_snapshot!("watch_narrow", drawn(&file, Life::GoesOn, 67.5, (40, None)));
    assert_snapshot!(
        "watch_low",
        drawn(&file, Life::GoesOn, 67.5, (80, Some(12)))
    );
    for width in 1..100 {
        for height in [1, 5, 24] {
            drawn(&file, Life::GoesOn, 67.5, (width, Some(height)));
        }
    }
}

#[test]
fn a_run_that_went_on_from_a_checkpoint_counts_from_there() {
    let mut file = File::new();
    file.at(
        2.0,
        r#""event":"stage_resumed","stage":"pretrain","step":400"#,
    );
    file.train("pretrain", 3.0, 400, 600);
    assert_snapshot!(
        "watch_resumed",
        drawn(&file, Life::GoesOn, 23.0, (100, None))
    );
}

/// The line of one stage in a frame.
fn line_of(file: &File, seconds: f64, stage: &str) -> String {
    let frame = drawn(file, Life::GoesOn, seconds, (160, None));
    let line = frame.lines().find(|l| l.starts_with(stage));
    line.unwrap().to_owned()
}

#[test]
fn validations_are_counted_in_the_time_left() {
    let mut file = File::new();
    let samples = |done: u64| {
        format!(
            r#""event":"progress","stage":"finetune","done":{done},"total":1000,"unit":"validation samples","note":"""#
        )
    };
    file.at(3.0, &started("finetune"));
    file.at(3.0, &samples(0));
    file.train("finetune", 3.0, 0, 500);
    // Ten steps per second; the duration of a validation is not known yet. Last time everything
    // took 60 s.
    let line = line_of(&file, 53.0, "finetune");
    assert!(
        line.contains("500/1,000 steps  at least 50 s left"),
        "{line}"
    );
    // All steps are done. What is left is the validation, which takes a second for ten samples.
    file.train("finetune", 53.0, 500, 1000);
    let line = line_of(&file, 104.0, "finetune");
    assert!(
        line.contains("1,000/1,000 steps") && !line.contains("left"),
        "{line}"
    );
    for done in [100, 200, 300] {
        file.at(103.0 + done as f64 / 10.0, &samples(done));
    }
    let line = line_of(&file, 133.0, "finetune");
    assert!(
        line.contains("300/1,000 validation samples  about 70 s left"),
        "{line}"
    );
}

#[test]
fn a_run_that_failed() {
    let mut file = running();
    let why = r#""error":"the loss became NaN in step 641 of epoch 4","hint":"lower it""#;
    file.at(70.0, &finished("pretrain", "failed", 68.0, why));
    file.at(
        70.0,
        &finished("finetune", "skipped", 0.0, "\"error\":null,\"hint\":null"),
    );
    file.at(70.0, &ended("failed"));
    let life = Life::Ended(RunStatus::Failed);
    assert_snapshot!("watch_failed", drawn(&file, life, 500.0, (100, None)));
}

#[test]
fn a_run_that_was_killed() {
    let mut file = running();
    // Half a line, as the kill left it.
    file.text.push_str("{\"time_ms\":17954");
    let life = Life::Killed(Duration::from_secs(95));
    assert_snapshot!("watch_killed", drawn(&file, life, 500.0, (100, None)));
}

#[test]
fn a_run_that_is_done() {
    let mut file = running();
    file.train("pretrain", 67.0, 640, 1000);
    file.at(110.0, &finished("pretrain", "ran", 108.0, ""));
    file.at(110.1, &started("finetune"));
    for (step, value) in [(10, 0.3), (20, 0.2), (30, 0.25)] {
        for (name, value) in [
            ("loss", value),
            ("loss:bce", value / 2.0),
            ("grad_norm", 1.5),
        ] {
            file.at(111.0, &metric("finetune", 1, step, name, value));
        }
    }
    file.at(140.0, &finished("finetune", "ran", 29.9, ""));
    file.at(142.0, &finished("evaluate", "ran", 2.0, ""));
    file.at(142.0, &ended("ok"));
    let life = Life::Ended(RunStatus::Ok);
    assert_snapshot!("watch_done", drawn(&file, life, 500.0, (100, None)));
}

#[test]
fn of_many_stages_those_that_run_are_shown() {
    let mut file = running();
    for i in 0..100 {
        file.at(3.0, &finished(&format!("part[{i}]"), "cached", 0.0, ""));
    }
    assert_snapshot!(
        "watch_many",
        drawn(&file, Life::GoesOn, 67.5, (80, Some(24)))
    );
}

const FIT: &str = "name: toys
stages:
  f: {op: fit, with: {steps: 12}}
  n: {op: count, in: {text: f}}
";

fn settings() -> insta::Settings {
    let mut settings = filters();
    settings.add_filter(r"(after) \d+\.\d\d s", "$1 [time]");
    settings
}

#[test]
fn without_a_terminal_it_prints_how_the_run_stands() {
    let (_dir, path) = folder();
    fs::write(path.join("p.yaml"), FIT).unwrap();
    settings().bind(|| {
        assert_snapshot!("watch_none", told(&mut toy(&path, &["watch"])));
        told(&mut toy(&path, &["run", "p.yaml"]));
        assert_snapshot!("watch_once", told(&mut toy(&path, &["watch"])));
        assert_snapshot!("watch_unknown", told(&mut toy(&path, &["watch", "x"])));
    });
    fs::write(path.join("bad.yaml"), "stages: {b: {op: misbehave}}\n").unwrap();
    told(&mut toy(&path, &["run", "bad.yaml"]));
    let failed = told(&mut toy(&path, &["watch", "--once"]));
    assert!(failed.ends_with("--- exit 1\n"), "{failed}");
    assert!(failed.contains("the moon is wrong"), "{failed}");

    // `gc` removes the events of runs that are not kept; their journals stay.
    told(&mut toy(&path, &["gc", "--keep", "1"]));
    let json = stdout(&toy(&path, &["runs", "--json"]).output().unwrap());
    let runs: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(runs.as_array().unwrap().len(), 2);
    let first = ["watch", runs[0]["run"].as_str().unwrap()];
    settings().bind(|| {
        assert_snapshot!("watch_gone", told(&mut toy(&path, &first)));
    });
}

/// Starts a run in another process, and returns once its operator is running.
fn other(path: &Path) -> Child {
    let yaml = "stages:\n  f: {op: fit, with: {steps: 100000, step_ms: 5}}\n";
    fs::write(path.join("slow.yaml"), yaml).unwrap();
    let mut child = toy(path, &["run", "slow.yaml", "--log-format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines
        .find(|l| l.as_ref().unwrap().contains("\"metric\""))
        .unwrap()
        .unwrap();
    // Read on, so that the run is not blocked by a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

#[test]
fn a_run_of_another_process_is_seen_to_go_on_and_to_have_been_killed() {
    let (_dir, path): (_, PathBuf) = folder();
    let mut child = other(&path);
    let seen = told(&mut toy(&path, &["watch"]));
    let list = told(&mut toy(&path, &["runs"]));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(seen.contains("running for"), "{seen}");
    assert!(seen.contains("f  loss "), "{seen}");
    assert!(seen.ends_with("--- exit 0\n"), "{seen}");
    assert!(list.contains("  going on  "), "{list}");
    let seen = told(&mut toy(&path, &["watch"]));
    assert!(seen.contains("killed: no sign of life for"), "{seen}");
    assert!(seen.contains("f  killed"), "{seen}");
    assert!(seen.ends_with("--- exit 1\n"), "{seen}");
    let list = told(&mut toy(&path, &["runs"]));
    assert!(list.contains("  killed  "), "{list}");
}

#[test]
fn metrics_for_tensorboard() {
    let (_dir, path) = folder();
    fs::write(path.join("p.yaml"), FIT).unwrap();
    let run = told(&mut toy(
        &path,
        &["run", "p.yaml", "--tensorboard", "board"],
    ));
    assert!(run.ends_with("--- exit 0\n"), "{run}");
    let folders = |path: &Path| -> Vec<PathBuf> {
        let all = fs::read_dir(path).unwrap();
        all.map(|e| e.unwrap().path()).collect()
    };
    let runs = folders(&path.join("board"));
    assert_eq!(runs.len(), 1);
    let files = folders(&runs[0].join("f"));
    let bytes = fs::read(&files[0]).unwrap();
    let found = bytes.windows(4).filter(|w| w == b"loss").count();
    assert_eq!((files.len(), found), (1, 12));

    let board = told(&mut toy(
        &path,
        &["run", "p.yaml", "--force", "f", "--tensorboard", "p.yaml"],
    ));
    assert!(
        board.contains("warning: metrics for TensorBoard are not complete"),
        "{board}"
    );
    assert!(board.ends_with("--- exit 0\n"), "{board}");
}
