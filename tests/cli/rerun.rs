//! `run --watch`: runs again when files change.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::program::{folder, told, toy};

/// Longer than a run and a look at files take.
const HANG: Duration = Duration::from_secs(60);

const YAML: &str = "
stages:
  a: {op: source, with: {path: a.txt}}
  s: {op: shout, in: {text: a}}
";

/// A program that goes on, and what it writes to standard output and standard error.
struct Going {
    child: Child,
    lines: Receiver<String>,
}

impl Going {
    fn start(dir: &Path, args: &[&str]) -> Self {
        let mut command = toy(dir, args);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        let err = BufReader::new(child.stderr.take().unwrap());
        let other = tell.clone();
        std::thread::spawn(move || out.lines().for_each(|l| drop(tell.send(l.unwrap()))));
        std::thread::spawn(move || err.lines().for_each(|l| drop(other.send(l.unwrap()))));
        Going { child, lines }
    }

    /// All lines until each of these texts was in one. The two streams may come in any order.
    fn until(&self, texts: &[&str]) -> Vec<String> {
        let mut seen: Vec<String> = Vec::new();
        let missing = |seen: &[String]| {
            let has = |text: &str| seen.iter().any(|line| line.contains(text));
            texts.iter().any(|text| !has(text))
        };
        while missing(&seen) {
            let line = self.lines.recv_timeout(HANG);
            seen.push(line.unwrap_or_else(|e| panic!("{e}, waiting for {texts:?}: {seen:#?}")));
        }
        seen
    }

    /// Ends it as Ctrl-C does, but with a signal that shells do not ignore in the background.
    /// Returns its exit code, and the lines that it still wrote.
    fn interrupt(mut self) -> (Option<i32>, Vec<String>) {
        let pid = self.child.id().to_string();
        Command::new("kill").arg(&pid).status().unwrap();
        let code = self.child.wait().unwrap().code();
        (code, self.lines.iter().collect())
    }
}

#[test]
fn a_change_of_a_file_starts_another_run() {
    let (_dir, path) = folder();
    fs::write(path.join("a.txt"), "one fish\n").unwrap();
    fs::write(path.join("p.yaml"), YAML).unwrap();
    let going = Going::start(&path, &["run", "p.yaml", "--watch"]);
    going.until(&["ok: 2 ran", "watching 2 files; Ctrl-C ends"]);
    fs::write(path.join("a.txt"), "one fish\ntwo fish\n").unwrap();
    let one_more = "ran 1 of 2 items (1 new)";
    going.until(&["a.txt changed", one_more, "ok: 2 ran", "watching 2 files"]);
    // A mistake in the pipeline ends nothing.
    fs::write(path.join("p.yaml"), YAML.replace("shout", "shut")).unwrap();
    going.until(&["p.yaml changed", "`shut`", "watching 1 file;"]);
    fs::write(path.join("p.yaml"), YAML).unwrap();
    going.until(&["ok: 0 ran, 2 cached", "watching 2 files"]);
    // A file that goes away fails a stage, and the run after it succeeds.
    fs::remove_file(path.join("a.txt")).unwrap();
    going.until(&["a.txt is gone", "error:", "watching 1 file;"]);
    fs::write(path.join("a.txt"), "one fish\n").unwrap();
    going.until(&["a.txt is new", "ok:", "watching 2 files"]);
    let (code, lines) = going.interrupt();
    assert_eq!(code, Some(0));
    // Nothing runs, so there is nothing to wait for.
    assert!(!lines.iter().any(|l| l.contains("waiting")), "{lines:?}");
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let (_dir, path) = folder();
    let text = told(&mut toy(&path, &["run", "-", "--watch"]));
    assert!(text.contains("standard input cannot be watched"), "{text}");
    assert!(text.ends_with("--- exit 2\n"), "{text}");
}
