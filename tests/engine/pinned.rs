//! `pinned`: artifacts of earlier runs.

use gfm_pipe::plan::RequestError;
use gfm_pipe::record::{history, tags};
use gfm_pipe::store::Extent;

use crate::lab::{Lab, told};
use crate::leftovers::keys_of_last;

const MADE: &str = "
name: made
stages:
  a: {op: source, with: {path: a.txt}}
  n: {op: count, in: {text: a}}
";

fn using(pinned: &str) -> String {
    format!(
        "
name: used
stages:
  old: {{op: pinned, with: {{{pinned}, port: n.counts, kind: counts}}}}
  twice: {{op: count, in: {{text: old}}, with: {{scale: 2}}}}
"
    )
}

fn latest(lab: &Lab) -> String {
    let (runs, _) = history::runs(&lab.store()).unwrap();
    runs.last().unwrap().journal.run.clone()
}

/// The error of the plan.
fn refused(lab: &Lab, yaml: &str) -> String {
    let RequestError::Stages(troubles) = lab.plan(yaml).unwrap_err() else {
        panic!("another error");
    };
    let error = &troubles[0].error;
    format!("{error} ({})", error.hint().unwrap_or_default())
}

#[test]
fn an_artifact_of_an_earlier_run_is_taken_as_it_is() {
    let lab = Lab::new();
    lab.write("a.txt", "one\ntwo\n");
    let made = lab.run(MADE);
    let store = lab.store();
    tags::set(&store, "first", Some(&latest(&lab))).unwrap();
    let yaml = using("tag: first");
    let used = lab.run(&yaml);
    assert_eq!(told(&used), ["old ran never ran", "twice ran never ran"]);
    let digest = |run: &gfm_pipe::exec::RunSummary, stage: &str, port: &str| {
        run.artifacts[stage][port].digest()
    };
    assert_eq!(
        digest(&used, "old", "artifact"),
        digest(&made, "n", "counts")
    );
    assert_eq!(told(&lab.run(&yaml)), ["old cached", "twice cached"]);
    // The same artifact under another name is the same.
    let (runs, _) = history::runs(&store).unwrap();
    let by_name = using(&format!("run: {}", runs[0].journal.run));
    assert_eq!(told(&lab.run(&by_name)), ["old cached", "twice cached"]);
    // Another run, other content: the tag leads to it when it is moved.
    lab.write("a.txt", "one\ntwo\nthree\n");
    lab.run(MADE);
    assert_eq!(told(&lab.run(&yaml)), ["old cached", "twice cached"]);
    let runs = history::runs(&store).unwrap().0;
    let third = runs
        .iter()
        .rev()
        .find(|r| r.journal.pipeline == "made")
        .unwrap();
    tags::set(&store, "first", Some(&third.journal.run)).unwrap();
    let moved = told(&lab.run(&yaml));
    let reason = format!(
        "old ran input artifact: n.counts of run {} -> n.counts of run {}",
        runs[0].journal.run, third.journal.run
    );
    assert_eq!(
        moved,
        [reason, "twice ran input old.artifact changed".to_owned()]
    );
    // What a kept run took stays, even if the run that made it does not.
    let garbage = store
        .garbage(&keys_of_last(&store, 1), Extent::default())
        .unwrap();
    store.remove(&garbage).unwrap();
    assert_eq!(told(&lab.run(&yaml)), ["old cached", "twice cached"]);
    assert_eq!(store.verify(true, &|_, _| {}).unwrap().damages, []);
}

#[test]
fn a_selection_that_leaves_it_out_takes_it_all_the_same() {
    let lab = Lab::new();
    lab.write("a.txt", "one\ntwo\n");
    lab.run(MADE);
    let yaml = using(&format!("run: {}", latest(&lab)));
    let mut options = lab.options();
    options.request.selection.only = vec!["twice".to_owned()];
    let run = lab.run_with(&yaml, &options);
    assert_eq!(told(&run), ["old ran never ran", "twice ran never ran"]);
}

#[test]
fn what_is_not_there_is_told() {
    let lab = Lab::new();
    lab.write("a.txt", "one\ntwo\n");
    let e = refused(&lab, &using("tag: prod"));
    assert!(e.starts_with("there is no tag `prod` in"), "{e}");
    assert!(
        e.ends_with("(gfm-pipe tag RUN prod gives a run this name)"),
        "{e}"
    );
    lab.run(MADE);
    let run = latest(&lab);
    let e = refused(&lab, &using("run: '1999'"));
    assert!(e.starts_with("there is no run `1999`"), "{e}");
    let by_run = using(&format!("run: {run}"));
    let e = refused(&lab, &by_run.replace("n.counts", "n.count"));
    assert_eq!(
        e,
        format!("run {run} has no artifact `n.count` (did you mean `n.counts`?)")
    );
    let alone = by_run
        .lines()
        .take_while(|l| !l.contains("twice"))
        .collect::<Vec<_>>()
        .join("\n");
    let e = refused(&lab, &alone.replace("kind: counts", "kind: model"));
    let want = "is of the kind `counts`, and `kind` says `model` (write `kind: counts`)";
    assert!(e.ends_with(want), "{e}");
    for _ in 0..2 {
        lab.run(MADE);
    }
    let e = refused(&lab, &using("run: '20'"));
    assert!(e.starts_with("`20` may be any of 3 runs (20"), "{e}");
    // `gc` took what the run made.
    let store = lab.store();
    let garbage = store
        .garbage(&Default::default(), Extent::default())
        .unwrap();
    store.remove(&garbage).unwrap();
    let e = refused(&lab, &by_run);
    assert!(e.contains("is not in the store any more"), "{e}");
}

#[test]
fn it_has_to_be_said_which_run() {
    let lab = Lab::new();
    let wrong = |with: &str| {
        lab.write("w.yaml", &using(with));
        let opts = gfm_pipe::spec::LoadOptions {
            base: lab.path(""),
            ..Default::default()
        };
        let loaded = gfm_pipe::spec::load("w.yaml".as_ref(), &opts, &crate::toy::ops());
        loaded.err().expect("it is refused").to_string()
    };
    let e = wrong("run: a, tag: b");
    assert!(e.contains("`run` names a run already"), "{e}");
    let e = wrong("run: null");
    assert!(
        e.contains("it is not said which run has the artifact"),
        "{e}"
    );
    let e = wrong("run: latest");
    assert!(
        e.contains("the latest run is another one after each run"),
        "{e}"
    );
}
