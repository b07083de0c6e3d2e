//! Files that stages read but that are elsewhere: a run gets them before anything starts, and a
//! plan says that a run will.

use gfm_pipe::record::RunStatus;

use crate::lab::{Lab, told};

const YAML: &str = "
stages:
  a: {op: source, with: {path: here.txt, from: there.txt}}
  n: {op: count, in: {text: a}}
  b: {op: source, with: {path: here.txt, from: there.txt, upper: yes}}
";

#[test]
fn a_run_gets_what_is_elsewhere_once() {
    let lab = Lab::new();
    lab.write("there.txt", "one\ntwo\n");
    let refused = lab.plan(YAML).unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("here.txt: not here yet, but at there.txt"),
        "{text}"
    );
    assert_eq!(refused.hint().as_deref(), Some("a run gets it"));
    let run = lab.run(YAML);
    assert_eq!(
        told(&run),
        ["a ran never ran", "n ran never ran", "b ran never ran"]
    );
    // The file is here now: it is not fetched again, and where it came from is not part of the key.
    std::fs::remove_file(lab.path("there.txt")).unwrap();
    assert_eq!(told(&lab.run(YAML)), ["a cached", "n cached", "b cached"]);
    let moved = lab.run(&YAML.replace("there.txt", "elsewhere.txt"));
    assert_eq!(told(&moved), ["a cached", "n cached", "b cached"]);
}

#[test]
fn what_cannot_be_got_is_told_once_and_nothing_starts() {
    let lab = Lab::new();
    let run = lab.run(YAML);
    assert_eq!(run.status, RunStatus::Failed);
    let [a, b] = ["a", "b"].map(|s| run.stage(s).unwrap());
    let error = a.error.as_deref().unwrap();
    assert!(error.starts_with("failed to get there.txt: "), "{error}");
    assert_eq!(a.hint.as_deref(), Some("pray"));
    assert_eq!(
        b.error.as_deref(),
        Some("not here yet, but at there.txt: see stage `a`")
    );
    assert_eq!(b.hint, None);
    assert_eq!(told(&run)[1], "n skipped input a failed");
}
