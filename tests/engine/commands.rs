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

/// The program gets only the lines that are new, and what it had written before it failed counts.
#[test]
fn a_program_gets_only_the_lines_that_are_new() {
    const ITEMS: &str = "
stages:
  a: {op: source, with: {path: a.txt}}
  x:
    op: exec
    in: {text: a}
    with: {command: [sh, each.sh], format: jsonl, items: lines, outputs: {out: data}}
";
    let lab = Lab::new();
    lab.write("a.txt", "one\ntwo\none\n");
    let each = "
cat inputs/text/lines.jsonl >> log
cp log LOG
while read -r line; do
  case $line in *bad*) exit 3 ;; esac
  echo \"$line\" | sed 's/.$/, \"seen\": true}/' >> outputs/out/data.jsonl
done < inputs/text/lines.jsonl
";
    let log = lab.path("log");
    lab.write(
        "each.sh",
        &each.replace("cp log LOG", &format!("cat log >> {}", log.display())),
    );
    let given = || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(&log);
        text.lines().map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let lines = |run: &gfm_pipe::exec::RunSummary| -> Vec<String> {
        let batch = run.artifacts["x"]["out"].read("data").unwrap();
        let column = gfm_pipe_api::columns::text(&batch, "line").unwrap();
        column.iter().map(|line| line.unwrap().to_owned()).collect()
    };
    let first = lab.run_with(ITEMS, &allowed(&lab));
    assert_eq!(lines(&first), ["one", "two", "one"], "{:?}", first.stages);
    assert_eq!(given(), ["{\"line\":\"one\"}", "{\"line\":\"two\"}"]);
    lab.write("a.txt", "three\ntwo\n");
    let second = lab.run_with(ITEMS, &allowed(&lab));
    assert_eq!(lines(&second), ["three", "two"]);
    assert_eq!(given(), ["{\"line\":\"three\"}"]);
    let counts = second.stages[1].items.as_ref().unwrap();
    assert_eq!(
        (counts.total, counts.computed, counts.new, counts.gone),
        (2, 1, 1, 2)
    );
    // A failure keeps the lines before it.
    lab.write("a.txt", "four\nfive\nbad\nsix\n");
    let failed = lab.run_with(ITEMS, &allowed(&lab));
    assert_eq!(failed.status, RunStatus::Failed);
    assert_eq!(given().len(), 4);
    lab.write("a.txt", "four\nfive\ngood\nsix\n");
    let third = lab.run_with(ITEMS, &allowed(&lab));
    assert_eq!(lines(&third), ["four", "five", "good", "six"]);
    assert_eq!(given(), ["{\"line\":\"good\"}", "{\"line\":\"six\"}"]);
    // What a killed attempt had written counts too: its folder is still there.
    let key = failed.stages[1].key.clone().unwrap();
    lab.write("a.txt", "four\nfive\nbad\nsix\n");
    let dead = lab.store().workdir(key.as_str()).join("exec-1-0");
    fs::create_dir_all(dead.join("inputs/text")).unwrap();
    fs::create_dir_all(dead.join("outputs/out")).unwrap();
    fs::write(
        dead.join("inputs/text/lines.jsonl"),
        "{\"line\":\"bad\"}\n{\"line\":\"x\"}\n",
    )
    .unwrap();
    let out = "{\"line\": \"bad\", \"seen\": true}\n{\"line\": \"x";
    fs::write(dead.join("outputs/out/data.jsonl"), out).unwrap();
    let saved = lab.run_with(ITEMS, &allowed(&lab));
    assert_eq!(lines(&saved), ["four", "five", "bad", "six"]);
    assert_eq!(given(), Vec::<String>::new());
    // Another program computes all of them, and so does a forced stage.
    lab.write("a.txt", "four\nfive\ngood\nsix\n");
    lab.write(
        "each.sh",
        &fs::read_to_string(lab.path("each.sh"))
            .unwrap()
            .replace("true", "1"),
    );
    lab.run_with(ITEMS, &allowed(&lab));
    assert_eq!(given().len(), 4);
    let mut options = allowed(&lab);
    options.request.force = vec!["x".to_owned()];
    lab.run_with(ITEMS, &options);
    assert_eq!(given().len(), 4);
    // A line too few is no result.
    lab.write(
        "each.sh",
        "head -n 1 inputs/text/lines.jsonl > outputs/out/data.jsonl",
    );
    let few = lab.run_with(ITEMS, &allowed(&lab));
    let error = few.stages[1].error.clone().unwrap();
    assert!(
        error.contains("wrote 1 lines for 4 of its input"),
        "{error}"
    );
}
