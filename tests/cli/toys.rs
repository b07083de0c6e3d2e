//! Runs of the command line with toy operators.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use insta::assert_snapshot;

use crate::program::{filters, folder, stdout, text, told, toy};

const YAML: &str = "
name: toys
vars: {prefix: '> '}
stages:
  a: {op: source, with: {path: a.txt}}
  both: {op: concat, in: {text: [a, a]}, with: {prefix: '{{ prefix }}'}}
  n: {op: count, in: {text: both}}
";

fn toys() -> (tempfile::TempDir, PathBuf) {
    let (dir, path) = folder();
    fs::write(path.join("a.txt"), "one\ntwo\n").unwrap();
    fs::write(path.join("p.yaml"), YAML).unwrap();
    (dir, path)
}

#[test]
fn first_run_second_run_changed_parameter() {
    let (_dir, path) = toys();
    filters().bind(|| {
        assert_snapshot!("plan_fresh", told(&mut toy(&path, &["plan", "p.yaml"])));
        assert!(!path.join(".gfm-pipe").exists(), "plan makes no store");
        assert_snapshot!("run_first", told(&mut toy(&path, &["run", "p.yaml"])));
        assert_snapshot!("run_second", told(&mut toy(&path, &["run", "p.yaml"])));
        let changed = ["-p", "prefix='# '"];
        assert_snapshot!(
            "plan_changed",
            told(&mut toy(&path, &["plan", "p.yaml", changed[0], changed[1]]))
        );
        assert_snapshot!(
            "run_changed",
            told(&mut toy(&path, &["run", "p.yaml", changed[0], changed[1]]))
        );
    });
}

#[test]
fn a_failure_says_where_what_and_where_to_look() {
    let (_dir, path) = folder();
    fs::write(
        path.join("p.yaml"),
        "stages:\n  bad: {op: misbehave}\n  after: {op: count, in: {text: bad}}\n",
    )
    .unwrap();
    filters().bind(|| {
        assert_snapshot!("run_failed", told(&mut toy(&path, &["run", "p.yaml"])));
    });
}

#[test]
fn a_missing_input_file_is_exit_2_for_plan_and_fails_its_stage_in_a_run() {
    let (_dir, path) = toys();
    fs::remove_file(path.join("a.txt")).unwrap();
    let plan = told(&mut toy(&path, &["plan", "p.yaml"]));
    let run = told(&mut toy(&path, &["run", "p.yaml"]));
    filters().bind(|| {
        assert_snapshot!("missing_file", plan);
        assert_snapshot!("missing_file_run", run);
    });
}

#[test]
fn show_finds_tables_by_name() {
    let (_dir, path) = toys();
    told(&mut toy(&path, &["run", "p.yaml"]));
    filters().bind(|| {
        assert_snapshot!(
            "show_lines",
            told(&mut toy(&path, &["show", "both", "-n", "3"]))
        );
        assert_snapshot!(
            "show_counts_json",
            told(&mut toy(&path, &["show", "n.counts.counts", "--json"]))
        );
        assert_snapshot!(
            "show_no_rows",
            told(&mut toy(
                &path,
                &["show", "both.lines", "--json", "-n", "0"]
            ))
        );
        assert_snapshot!(
            "show_unknown_port",
            told(&mut toy(&path, &["show", "n.count"]))
        );
        assert_snapshot!("show_unknown_stage", told(&mut toy(&path, &["show", "m"])));
        let described = ["show", "both", "--json", "--pipeline", "p.yaml"];
        assert_snapshot!("show_described", told(&mut toy(&path, &described)));
        let other = [&described[..], &["-p", "prefix=x"]].concat();
        assert_snapshot!("show_not_stored", told(&mut toy(&path, &other)));
    });
}

#[test]
fn show_finds_tables_of_an_earlier_run() {
    let (_dir, path) = toys();
    told(&mut toy(&path, &["run", "p.yaml"]));
    let shown = |args: &[&str]| {
        stdout(
            &toy(&path, &[&["show", "both", "--json"], args].concat())
                .output()
                .unwrap(),
        )
    };
    let first = shown(&[]);
    let runs = stdout(&toy(&path, &["runs", "--json"]).output().unwrap());
    let runs: serde_json::Value = serde_json::from_str(&runs).unwrap();
    let run = runs[0]["run"].as_str().unwrap();
    told(&mut toy(&path, &["run", "p.yaml", "-p", "prefix=x"]));
    assert_ne!(shown(&[]), first);
    assert_eq!(shown(&["--run", run]), first);
    let file = stdout(
        &toy(&path, &["show", "both", "--path", "--run", run])
            .output()
            .unwrap(),
    );
    assert!(path.join(file.trim()).is_file(), "{file}");
    let wrong = toy(&path, &["show", "both", "--run", "1999"])
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn json_is_one_event_a_line_and_ends_with_the_summary() {
    let (_dir, path) = toys();
    let output = toy(&path, &["run", "p.yaml", "--log-format", "json"])
        .output()
        .unwrap();
    assert!(output.stderr.is_empty());
    let out = stdout(&output);
    let events: Vec<serde_json::Value> = out
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(events[0]["event"], "run_started");
    let last = events.last().unwrap();
    assert_eq!(last["event"], "run_finished");
    assert_eq!(last["status"], "ok");
    assert_eq!(last["stages"][2]["name"], "n");
    assert_eq!(last["stages"][2]["status"], "ran");
    assert_eq!(last["stages"][2]["reasons"][0], "never ran");
}

#[test]
fn another_folder_and_store() {
    let (_dir, path) = toys();
    let outside = path.join("outside");
    fs::create_dir(&outside).unwrap();
    let run = [
        "run",
        "p.yaml",
        "-C",
        "..",
        "--store",
        "s",
        "--threads",
        "1",
        "--jobs",
        "1",
    ];
    let output = toy(&outside, &run).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(path.join("s/version").exists());
    assert_eq!(
        fs::read_to_string(path.join("s/.gitignore")).unwrap(),
        "*\n"
    );
}

fn signal(name: &str, pid: u32) {
    let status = std::process::Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

fn slow(path: &Path) -> std::process::Child {
    fs::write(
        path.join("slow.yaml"),
        "stages:\n  s: {op: slow, with: {steps: 3000, step_ms: 20}}\n  n: {op: count, in: {text: s}}\n",
    )
    .unwrap();
    toy(path, &["run", "slow.yaml", "--log-format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Whether this process ignores SIGINT. Programs that it starts inherit that. Processes started in
/// the background by a script ignore SIGINT.
#[cfg(unix)]
fn ignores_int() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 0b10 != 0)
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_in_order_with_130() {
    for name in ["INT", "TERM"] {
        if name == "INT" && ignores_int() {
            gfm_pipe_testing::skip("sigint", "SIGINT is ignored");
            continue;
        }
        let (_dir, path) = folder();
        let mut child = slow(&path);
        let pid = child.id();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // A progress event means that the operator is running.
        lines
            .find(|l| l.as_ref().unwrap().contains("\"progress\""))
            .unwrap()
            .unwrap();
        signal(name, pid);
        let start = Instant::now();
        let last = lines.last().unwrap().unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(start.elapsed() < Duration::from_secs(20));
        assert_eq!(output.status.code(), Some(130));
        let last: serde_json::Value = serde_json::from_str(&last).unwrap();
        assert_eq!(last["event"], "run_finished");
        assert_eq!(last["status"], "interrupted");
        assert_eq!(last["stages"][0]["reasons"][0], "interrupted");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(err.starts_with("interrupted: "), "{err}");
    }
}

/// Signals are ignored as `nohup` does, or a shell that starts a job in the background. The program
/// reads from /proc which signals are ignored.
#[cfg(target_os = "linux")]
#[test]
fn a_signal_that_was_ignored_at_start_stays_ignored() {
    let (_dir, path) = folder();
    fs::write(
        path.join("slow.yaml"),
        "stages: {s: {op: slow, with: {steps: 3000, step_ms: 20}}}",
    )
    .unwrap();
    let direct = toy(&path, &["run", "slow.yaml", "--log-format", "json"]);
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", "trap '' HUP INT; exec \"$@\"", "sh"])
        .arg(direct.get_program())
        .args(direct.get_args())
        .current_dir(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, value) in direct.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let mut child = shell.spawn().unwrap();
    let pid = child.id();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut goes_on = || {
        let progress = |l: &std::io::Result<String>| l.as_ref().unwrap().contains("\"progress\"");
        assert!(lines.find(progress).is_some(), "it ended");
    };
    goes_on();
    for name in ["HUP", "INT"] {
        signal(name, pid);
        // The first progress may have been reported before the signal, the second was not.
        goes_on();
        goes_on();
    }
    signal("TERM", pid);
    let last = lines.last().unwrap().unwrap();
    assert!(last.contains("\"interrupted\""), "{last}");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
}

#[cfg(unix)]
#[test]
fn a_pipe_in_place_of_a_pipeline_is_named_at_once() {
    let (_dir, path) = folder();
    fs::create_dir(path.join("data")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .args([path.join("p"), path.join("data/kg.txt")])
        .status();
    assert!(made.unwrap().success());
    fs::write(path.join("i.yaml"), "include: [p]\nstages: {}\n").unwrap();
    for args in [
        &["run", "p"][..],
        &["plan", "p"],
        &["config", "p"],
        &["graph", "p"],
        &["audit", "p"],
        &["import-config", "p"],
        &["run", "i.yaml", "--vars", "p"],
        &["plan", "i.yaml"],
        &["init", "data"],
        &["audit", "data"],
    ] {
        let said = told(&mut toy(&path, args));
        assert!(said.contains("not a regular file"), "{args:?}: {said}");
        assert!(!said.contains("--- exit 0"), "{args:?}: {said}");
    }
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_panic() {
    let (_dir, path) = toys();
    told(&mut toy(&path, &["run", "p.yaml"]));
    for args in [
        &["show", "both", "--json"][..],
        &["ops"],
        &["run", "p.yaml"],
        &["graph", "p.yaml"],
    ] {
        let mut child = toy(&path, args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The test harness's own first lines are read first, so that only the program meets the
        // closed pipe.
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("program") {
            line.clear();
            assert!(out.read_line(&mut line).unwrap() > 0);
        }
        drop(out);
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(!err.contains("panicked"), "{args:?}: {err}");
        assert_eq!(output.status.code(), Some(0), "{args:?}: {err}");
    }
}

#[cfg(unix)]
#[test]
fn a_command_is_started_when_a_run_has_ended() {
    let (_dir, path) = toys();
    let run = |command: &str, more: &[&str]| {
        let args = [&["run", "p.yaml", "--on-finish", command], more].concat();
        told(&mut toy(&path, &args))
    };
    let told = run(
        "echo $GFM_PIPE_STATUS $GFM_PIPE_STORE; test -n $GFM_PIPE_RUN",
        &["--allow-exec"],
    );
    assert!(
        told.contains("--- stderr\nok .gfm-pipe\n--- exit 0\n"),
        "{told}"
    );
    // Its failure is not the run's.
    let told = run("exit 3", &["--allow-exec"]);
    let warning = "warning: --on-finish: the command ended with exit status: 3\n--- exit 0\n";
    assert!(told.ends_with(warning), "{told}");
    let told = run(
        "echo $GFM_PIPE_STATUS",
        &["--allow-exec", "--set", "a.with.path=none.txt"],
    );
    assert!(told.contains("failed\n"), "{told}");
    let told = run("echo unasked", &[]);
    assert!(
        !told.contains("unasked\n") && told.ends_with("--- exit 2\n"),
        "{told}"
    );
}
