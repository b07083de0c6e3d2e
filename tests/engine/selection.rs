//! `--only`, `--from`, `--until`, `--force`, and requests that are refused before anything runs.

use gfm_pipe::exec::RunOptions;
use gfm_pipe::plan::prepare;
use gfm_pipe::record::RunStatus;

use crate::lab::{Lab, told};

const YAML: &str = "
stages:
  a: {op: source, with: {path: a.txt}}
  b: {op: concat, in: {text: a}}
  c: {op: count, in: {text: b}}
";

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("a.txt", "one\n");
    lab
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

fn refusal(lab: &Lab, yaml: &str, options: &RunOptions) -> String {
    let e = prepare(&lab.pipeline(yaml), &lab.store(), &options.request).unwrap_err();
    let hint = e.hint().unwrap_or_default();
    format!("{e} | {hint}")
}

#[test]
fn until_stops_and_only_takes_the_rest_from_the_store() {
    let lab = lab();
    let mut until = lab.options();
    until.request.selection.until = names(&["b"]);
    let summary = lab.run_with(YAML, &until);
    assert_eq!(summary.status, RunStatus::Ok);
    assert_eq!(
        told(&summary),
        [
            "a ran never ran",
            "b ran never ran",
            "c skipped not selected"
        ]
    );
    let mut only = lab.options();
    only.request.selection.only = names(&["c"]);
    let summary = lab.run_with(YAML, &only);
    assert_eq!(told(&summary), ["a cached", "b cached", "c ran never ran"]);
}

#[test]
fn what_is_left_out_must_be_in_the_store() {
    let lab = lab();
    let mut only = lab.options();
    only.request.selection.only = names(&["b"]);
    assert_eq!(
        refusal(&lab, YAML, &only),
        "`a` is left out, but not in the store | run it first: gfm-pipe run … --until a"
    );
    // Whether a left-out stage is in the store may be known only after the stages before it have
    // run.
    lab.run(YAML);
    lab.write("a.txt", "other\n");
    only.request.selection.only = names(&["a", "c"]);
    let summary = lab.run_with(YAML, &only);
    assert_eq!(summary.status, RunStatus::Failed);
    assert_eq!(
        summary.stage("b").unwrap().error.as_deref(),
        Some("left out by the selection, but not in the store")
    );
    // A stage that was left out does not affect the reasons that the next run gives.
    assert_eq!(
        told(&lab.run(YAML)),
        [
            "a cached",
            "b ran input a.lines changed",
            "c ran input b.lines changed"
        ]
    );
}

#[test]
fn force_computes_again_and_an_equal_result_stops_there() {
    let lab = lab();
    lab.run(YAML);
    let mut force = lab.options();
    force.request.force = names(&["b"]);
    assert_eq!(
        told(&lab.run_with(YAML, &force)),
        ["a cached", "b ran forced", "c cached"]
    );
    force.request.force = names(&["zz"]);
    assert_eq!(
        refusal(&lab, YAML, &force),
        "--force zz: the pipeline has no stage `zz` | stages: a, b, c"
    );
    force.request.force = names(&["b"]);
    force.request.selection.only = names(&["c"]);
    assert!(refusal(&lab, YAML, &force).contains("leave this stage out"));
}

#[test]
fn missing_files_are_all_named_before_anything_runs() {
    let lab = Lab::new();
    let yaml = "
stages:
  a: {op: source, with: {path: a.txt}}
  b: {op: source, with: {path: sub/b.txt}}
  c: {op: concat, in: {text: [a, b]}}
";
    let e = lab.plan(yaml).unwrap_err();
    assert_eq!(
        format!("{e} | {}", e.hint().unwrap()),
        "p.yaml:3:3: stage `a`: a.txt: no such file\n\
         p.yaml:4:3: stage `b`: sub/b.txt: no such file | \
         paths are relative to the working directory; -C DIR changes it"
    );
    // A run fails all of these stages before it starts any other stage.
    let yaml = &format!("{yaml}  other: {{op: slow, with: {{steps: 1}}}}\n");
    let summary = lab.run(yaml);
    assert_eq!(summary.status, RunStatus::Failed);
    // Which of its failed inputs `c` reports is chance.
    let heard: Vec<String> = told(&summary)
        .iter()
        .map(|line| line.replace("input b", "input a"))
        .collect();
    assert_eq!(
        heard,
        [
            "a failed",
            "b failed",
            "c skipped input a failed",
            "other skipped another stage failed (--keep-going goes on)"
        ]
    );
    let a = summary.stage("a").unwrap();
    assert_eq!(a.error.as_deref(), Some("a.txt: no such file"));
    assert!(a.hint.as_deref().unwrap().contains("-C DIR"));
    let mut going = lab.options();
    going.keep_going = true;
    let summary = lab.run_with(yaml, &going);
    assert_eq!(told(&summary)[3], "other ran never ran");
}
