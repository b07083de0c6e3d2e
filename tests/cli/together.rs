//! Two processes that use the same store.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;

use crate::program::{folder, stdout, text, toy};

/// A run whose events are read one by one.
struct Run {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    seen: Vec<Value>,
}

impl Run {
    /// Starts a run. `s` takes some seconds and has the same key whatever `step_ms` is; `i` depends
    /// on nothing.
    fn start(path: &Path, name: &str, steps: u32) -> Self {
        fs::write(path.join("i.txt"), "one\n").unwrap();
        let yaml = format!(
            "stages:\n  s: {{op: slow, with: {{steps: {steps}, step_ms: 20}}}}\n  i: {{op: source, with: {{path: i.txt}}}}\n"
        );
        fs::write(path.join(name), yaml).unwrap();
        let mut child = toy(path, &["run", name, "--log-format", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Run {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Reads up to the next event of this kind of this stage.
    fn until(&mut self, event: &str, stage: &str) -> Value {
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            // The test harness prints lines before the program does.
            let Ok(value) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            self.seen.push(value.clone());
            let named = [&value["stage"], &value["name"]];
            if value["event"] == event && (stage.is_empty() || named.iter().any(|n| *n == stage)) {
                return value;
            }
        }
        panic!("no {event} of {stage}: {:?}", self.seen);
    }

    /// How each stage ended, from the last event.
    fn end(mut self) -> Vec<String> {
        let last = self.until("run_finished", "");
        let stages = last["stages"].as_array().unwrap().iter();
        let told = stages.map(|s| format!("{} {}", s["name"], s["status"]).replace('"', ""));
        let told = told.collect();
        assert!(self.child.wait().unwrap().success());
        told
    }
}

#[test]
fn a_stage_is_computed_once_and_the_other_says_for_whom_it_waits() {
    let (_dir, path) = folder();
    let mut first = Run::start(&path, "first.yaml", 150);
    first.until("progress", "s");
    let mut second = Run::start(&path, "second.yaml", 150);
    let message = second.until("message", "s");
    let said = message["text"].as_str().unwrap();
    let whom = format!("waiting for process {} (s), since 2", first.child.id());
    assert!(said.starts_with(&whom), "{said}");
    assert!(said.ends_with("Z, which computes the same"), "{said}");
    // While it waits, the second run does what does not depend on `s`: `i` ends before `s`.
    let ended: Vec<Value> = {
        second.until("stage_finished", "s");
        let ended = second
            .seen
            .iter()
            .filter(|e| e["event"] == "stage_finished");
        ended.map(|e| e["name"].clone()).collect()
    };
    assert_eq!(ended, ["i", "s"]);
    assert_eq!(first.end(), ["s ran", "i ran"]);
    let told = second.end();
    assert_eq!(told[0], "s cached");
}

#[test]
fn whoever_waits_for_a_killed_process_takes_over_where_it_was() {
    let (_dir, path) = folder();
    let mut first = Run::start(&path, "first.yaml", 200);
    first.until("progress", "s");
    let mut second = Run::start(&path, "second.yaml", 200);
    second.until("message", "s");
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    second.until("stage_started", "s");
    assert_eq!(second.end()[0], "s ran");
}

#[test]
fn nothing_is_collected_while_a_run_goes_on() {
    let (_dir, path) = folder();
    let mut run = Run::start(&path, "p.yaml", 150);
    run.until("stage_finished", "i");
    let output = toy(&path, &["gc", "--keep", "0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        text(&output).contains("a run is going on"),
        "{}",
        text(&output)
    );
    assert_eq!(run.end(), ["s ran", "i ran"]);
    let output = toy(&path, &["verify"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let output = toy(&path, &["run", "p.yaml", "--log-format", "json"]).output();
    assert!(!stdout(&output.unwrap()).contains("\"ran\""));
}
