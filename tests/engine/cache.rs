//! What runs again, what does not, and the reasons that are reported.

use std::sync::Arc;
use std::time::Instant;

use gfm_pipe::record::{Event, RunStatus, StageStatus};
use gfm_pipe_api::Cancel;

use crate::lab::{Events, Lab, told};

const CHAIN: &str = "
name: chain
stages:
  a: {op: source, with: {path: a.txt}}
  b: {op: source, with: {path: b.txt}}
  both: {op: concat, in: {text: [a, b]}, with: {prefix: '> '}}
  n: {op: count, in: {text: both}}
  big: {op: count, in: {text: n}, with: {scale: 10}}
";

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("a.txt", "one\ntwo\n");
    lab.write("b.txt", "three\n");
    lab
}

#[test]
fn the_second_run_is_cached_and_gives_the_same() {
    let lab = lab();
    let first = lab.run(CHAIN);
    assert_eq!(first.status, RunStatus::Ok);
    assert_eq!(
        told(&first),
        [
            "a ran never ran",
            "b ran never ran",
            "both ran never ran",
            "n ran never ran",
            "big ran never ran"
        ]
    );
    assert_eq!(lab.lines(&first, "both"), ["> one", "> two", "> three"]);
    let events = Arc::new(Events::default());
    let second = lab.run_heard(CHAIN, &lab.options(), events.clone(), &Cancel::default());
    assert_eq!(
        told(&second),
        [
            "a cached",
            "b cached",
            "both cached",
            "n cached",
            "big cached"
        ]
    );
    for (x, y) in first.stages.iter().zip(&second.stages) {
        assert_eq!((&x.key, &x.outputs), (&y.key, &y.outputs));
    }
    let started = |e: &Event| matches!(e, Event::StageStarted { .. });
    assert!(!events.0.lock().unwrap().iter().any(started));
}

#[test]
fn a_fresh_store_gives_the_same_digests() {
    let (x, y) = (lab().run(CHAIN), lab().run(CHAIN));
    for (x, y) in x.stages.iter().zip(&y.stages) {
        assert_eq!((&x.key, &x.outputs), (&y.key, &y.outputs));
    }
}

#[test]
fn a_parameter_reruns_its_stage_and_an_unchanged_output_stops_there() {
    let lab = lab();
    lab.run(CHAIN);
    let edited = lab.run(&CHAIN.replace("'> '", "'# '"));
    assert_eq!(
        told(&edited),
        [
            "a cached",
            "b cached",
            "both ran prefix \"> \" -> \"# \"",
            // The lines differ, but there are as many.
            "n ran input both.lines changed",
            "big cached"
        ]
    );
    let back = lab.run(CHAIN);
    assert!(back.stages.iter().all(|s| s.status == StageStatus::Cached));
}

#[test]
fn a_parameter_without_effect_and_a_moved_file_rerun_nothing() {
    let lab = lab();
    lab.run(CHAIN);
    let quiet = CHAIN.replace("{path: a.txt}", "{path: a.txt, log_interval: 99}");
    let summary = lab.run(&quiet);
    assert!(
        summary
            .stages
            .iter()
            .all(|s| s.status == StageStatus::Cached)
    );
    std::fs::create_dir(lab.path("moved")).unwrap();
    std::fs::rename(lab.path("a.txt"), lab.path("moved/x.txt")).unwrap();
    let moved = CHAIN.replace("a.txt", "moved/x.txt");
    let summary = lab.run(&moved);
    assert!(
        summary
            .stages
            .iter()
            .all(|s| s.status == StageStatus::Cached)
    );
}

#[test]
fn a_file_is_followed_by_content() {
    let lab = lab();
    lab.run(CHAIN);
    // The same size, written within the same second: only the content differs.
    lab.write("b.txt", "THREE\n");
    assert_eq!(
        told(&lab.run(CHAIN)),
        [
            "a cached",
            "b ran file b.txt changed",
            "both ran input b.lines changed",
            "n ran input both.lines changed",
            "big cached"
        ]
    );
    let extra = CHAIN.replace("{path: a.txt}", "{path: a.txt, extra: more.txt}");
    assert_eq!(
        told(&lab.run(&extra))[..3],
        [
            "a ran extra null -> <path>; file more.txt is new",
            "b cached",
            // The optional file is absent, so the output is the same.
            "both cached"
        ]
    );
    lab.write("more.txt", "four\n");
    assert_eq!(told(&lab.run(&extra))[0], "a ran file more.txt appeared");
    std::fs::remove_file(lab.path("more.txt")).unwrap();
    assert_eq!(told(&lab.run(&extra))[0], "a cached");
}

#[test]
fn names_of_stages_are_not_in_the_key() {
    let lab = lab();
    lab.run(CHAIN);
    let renamed = CHAIN.replace("both", "joined").replace("chain", "other");
    let summary = lab.run(&renamed);
    assert!(
        summary
            .stages
            .iter()
            .all(|s| s.status == StageStatus::Cached)
    );
}

#[test]
fn order_of_many_inputs_counts() {
    let lab = lab();
    lab.run(CHAIN);
    let swapped = lab.run(&CHAIN.replace("[a, b]", "[b, a]"));
    assert_eq!(
        told(&swapped)[2],
        "both ran input text: a.lines, b.lines -> b.lines, a.lines"
    );
    assert_eq!(lab.lines(&swapped, "both"), ["> three", "> one", "> two"]);
}

#[test]
fn two_runs_at_once_compute_a_stage_once() {
    let lab = lab();
    let yaml = "stages: {s: {op: slow, with: {steps: 20, step_ms: 20}}}";
    let (pipeline, store) = (lab.pipeline(yaml), lab.store());
    let runs: Vec<_> = (0..3)
        .map(|_| {
            let (pipeline, store, options) = (pipeline.clone(), store.clone(), lab.options());
            std::thread::spawn(move || {
                let listener = Arc::new(Events::default());
                gfm_pipe::exec::run(&pipeline, &store, &options, listener, &Cancel::default())
                    .unwrap()
            })
        })
        .collect();
    let statuses: Vec<StageStatus> = runs
        .into_iter()
        .map(|r| r.join().unwrap().stages[0].status)
        .collect();
    let ran = statuses.iter().filter(|s| **s == StageStatus::Ran).count();
    let cached = statuses
        .iter()
        .filter(|s| **s == StageStatus::Cached)
        .count();
    assert_eq!((ran, cached), (1, 2), "{statuses:?}");
}

#[test]
fn a_run_of_ten_cached_stages_takes_well_under_two_seconds() {
    let lab = lab();
    let mut yaml = "stages:\n  s0: {op: source, with: {path: a.txt}}\n".to_owned();
    for i in 1..10 {
        yaml.push_str(&format!(
            "  s{i}: {{op: concat, in: {{text: s{}}}, with: {{prefix: '{i}'}}}}\n",
            i - 1
        ));
    }
    lab.run(&yaml);
    let start = Instant::now();
    let summary = lab.run(&yaml);
    let seconds = start.elapsed().as_secs_f64();
    assert!(
        summary
            .stages
            .iter()
            .all(|s| s.status == StageStatus::Cached)
    );
    assert!(seconds < 2.0, "{seconds} s");
}

#[test]
fn the_closing_event_has_exactly_the_promised_keys() {
    let lab = lab();
    let events = Arc::new(Events::default());
    lab.run_heard(CHAIN, &lab.options(), events.clone(), &Cancel::default());
    let events = events.0.lock().unwrap();
    let last = serde_json::to_value(events.last().unwrap()).unwrap();
    let keys =
        |v: &serde_json::Value| -> Vec<String> { v.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(&last), ["event", "status", "stages"]);
    assert_eq!(last["event"], "run_finished");
    assert_eq!(last["status"], "ok");
    let stage = &last["stages"][3];
    assert_eq!(
        keys(stage),
        [
            "name",
            "op",
            "status",
            "key",
            "seconds",
            "reasons",
            "outputs",
            "resumed_at_step"
        ]
    );
    assert_eq!(stage["name"], "n");
    assert_eq!(stage["status"], "ran");
    assert_eq!(stage["outputs"]["counts"].as_str().unwrap().len(), 64);
    assert!(stage["resumed_at_step"].is_null());
    let kinds: Vec<String> = events
        .iter()
        .map(|e| {
            serde_json::to_value(e).unwrap()["event"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(kinds[0], "run_started");
    assert_eq!(kinds.iter().filter(|k| *k == "stage_finished").count(), 5);
    assert_eq!(kinds.iter().filter(|k| *k == "run_finished").count(), 1);
}
