//! Programs as stages: only where the user allows them, cached and stopped like any other stage.
#![cfg(unix)]

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gfm_pipe::exec::{RunError, RunOptions, run};
use gfm_pipe::record::{Event, EventSink, RunStatus};
use gfm_pipe_api::Cancel;

use crate::lab::{Events, Lab, told};

const YAML: &str = "
stages:
  a: {op: source, with: {path: a.txt}}
  x:
    op: exec
    in: {text: a}
    with:
      command: [sh, upper.sh]
      format: jsonl
      outputs: {lines: data, totals: counts}
  n: {op: count, in: {text: x.totals}}
";

const SCRIPT: &str = "
tr a-z A-Z < inputs/text/lines.jsonl > outputs/lines/data.jsonl
echo '{\"name\": \"lines\", \"value\": '$(wc -l < inputs/text/lines.jsonl)'}' > outputs/totals/counts.jsonl
";

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("a.txt", "one\ntwo\n");
    lab.write("upper.sh", SCRIPT);
    lab
}

fn allowed(lab: &Lab) -> RunOptions {
    RunOptions {
        allow_exec: true,
        environment: std::env::vars_os().collect(),
        ..lab.options()
    }
}

#[test]
fn a_program_runs_only_where_it_is_allowed() {
    let lab = lab();
    let go = |options: &RunOptions| {
        let nobody = Arc::new(Events::default());
        run(
            &lab.pipeline(YAML),
            &lab.store(),
            options,
            nobody,
            &Cancel::default(),
        )
    };
    let e = go(&lab.options()).unwrap_err();
    assert!(matches!(e, RunError::Commands(_)));
    assert_eq!(
        e.to_string(),
        "p.yaml:4:3: stage `x` runs a program: sh upper.sh"
    );
    assert!(lab.store().manifests().unwrap().is_empty(), "nothing ran");
    let summary = go(&allowed(&lab)).unwrap();
    assert_eq!(summary.status, RunStatus::Ok, "{:?}", summary.stages);
    // A stored result may be used without permission to run programs.
    let summary = go(&lab.options()).unwrap();
    assert_eq!(told(&summary), ["a cached", "x cached", "n cached"]);
    // A changed input means that the program must run, or may have to.
    lab.write("a.txt", "three\n");
    assert!(matches!(go(&lab.options()), Err(RunError::Commands(_))));
    // If the selection leaves the stage out, no permission is needed.
    let mut options = lab.options();
    options.request.selection.until = vec!["a".to_owned()];
    assert_eq!(go(&options).unwrap().status, RunStatus::Ok);
}

#[test]
fn a_program_runs_again_when_its_script_or_its_inputs_change() {
    let lab = lab();
    let options = allowed(&lab);
    lab.run_with(YAML, &options);
    assert_eq!(
        told(&lab.run_with(YAML, &options)),
        ["a cached", "x cached", "n cached"]
    );
    // If a changed script has the same output, nothing after it runs again.
    lab.write("upper.sh", &format!("{SCRIPT}\n# more\n"));
    assert_eq!(
        told(&lab.run_with(YAML, &options)),
        ["a cached", "x ran file upper.sh changed", "n cached"]
    );
    lab.write("a.txt", "one\ntwo\nthree\n");
    let summary = lab.run_with(YAML, &options);
    assert_eq!(
        told(&summary),
        [
            "a ran file a.txt changed",
            "x ran input a.lines changed",
            "n ran input x.totals changed"
        ]
    );
    let data = summary.artifacts["x"]["lines"].read("data").unwrap();
    assert_eq!(data.schema().field(0).name(), "LINE");
    assert_eq!(data.num_rows(), 3);
}

#[test]
fn a_program_is_stopped_with_its_run_and_by_its_timeout() {
    let lab = lab();
    lab.write("upper.sh", "echo started; sleep 60 & wait");
    let start = Instant::now();
    let cancel = Cancel::default();
    struct Stopper(Cancel);
    impl EventSink for Stopper {
        fn emit(&self, event: &Event) {
            if matches!(event, Event::Message { text, .. } if text == "started") {
                self.0.cancel();
            }
        }
    }
    let stopper = Arc::new(Stopper(cancel.clone()));
    let summary = lab.run_heard(YAML, &allowed(&lab), stopper, &cancel);
    assert_eq!(summary.status, RunStatus::Interrupted);

    let late = YAML.replace("    op: exec", "    op: exec\n    timeout: 1s");
    let summary = lab.run_with(&late, &allowed(&lab));
    let error = summary.stage("x").unwrap().error.clone().unwrap();
    assert!(error.contains("took longer than 1s"), "{error}");
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
}

/// A killed run leaves the program's folder behind; the next attempt starts in a clean one.
#[test]
fn leftovers_of_a_killed_program_are_not_used() {
    let lab = lab();
    let options = allowed(&lab);
    // This stage fails the first time and succeeds the second, with the same key. What the first
    // attempt wrote must be gone by then.
    let once = lab.path("once");
    let script = format!(
        "test ! -e seen || exit 9\ntest -z \"$(ls outputs/lines)\" || exit 8\necho > seen\n\
         if ! test -e {0}; then echo > {0}; echo '{{}}' > outputs/lines/data.jsonl; exit 1; fi\n{SCRIPT}",
        once.display()
    );
    lab.write("upper.sh", &script);
    let first = lab.run_with(YAML, &options);
    assert_eq!(first.status, RunStatus::Failed);
    let work = lab.store().root().join("work");
    let left: Vec<_> = fs::read_dir(&work).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "a failed program's folder can be looked at");
    let attempt = fs::read_dir(left[0].path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert!(attempt.join("seen").exists());
    assert!(
        !attempt.join("inputs").exists(),
        "copies of inputs do not stay"
    );
    let second = lab.run_with(YAML, &options);
    assert_eq!(
        told(&second)[1],
        "x ran failed last time, interrupted last time".replace(", interrupted last time", "")
    );
    assert_eq!(second.status, RunStatus::Ok, "{:?}", second.stages);
    assert_eq!(fs::read_dir(&work).unwrap().count(), 0);
}
