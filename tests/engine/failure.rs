//! Stages that fail, panic or are interrupted: the run ends, says what happened, and keeps what is
//! done.

use std::sync::Arc;

use gfm_pipe::exec::RunOptions;
use gfm_pipe::record::{Event, EventSink, RunStatus, StageStatus};
use gfm_pipe_api::Cancel;

use crate::lab::{Events, Lab, told};

const BRANCHES: &str = "
stages:
  bad: {op: misbehave}
  after: {op: concat, in: {text: bad}}
  last: {op: count, in: {text: after}}
  slow: {op: slow, with: {steps: 20, step_ms: 20}}
  next: {op: count, in: {text: slow}}
";

#[test]
fn running_stages_finish_and_nothing_new_starts() {
    let lab = Lab::new();
    let summary = lab.run(BRANCHES);
    assert_eq!(summary.status, RunStatus::Failed);
    assert_eq!(
        told(&summary),
        [
            "bad failed never ran",
            "after skipped input bad failed",
            "last skipped input after was skipped",
            "slow ran never ran",
            "next skipped another stage failed (--keep-going goes on)"
        ]
    );
    let bad = summary.stage("bad").unwrap();
    assert_eq!(
        bad.error.as_deref(),
        Some("data/moon.txt:7: the moon is wrong")
    );
    assert_eq!(bad.hint.as_deref(), Some("wait a fortnight"));
    let log = std::fs::read_to_string(&summary.log).unwrap();
    assert!(log.contains("the moon is wrong: wait a fortnight"), "{log}");

    let again = lab.run(BRANCHES);
    assert_eq!(told(&again)[0], "bad failed failed last time");
    let mended = lab.run(&BRANCHES.replace(
        "{op: misbehave}",
        "{op: misbehave, with: {how: not-at-all}}",
    ));
    assert_eq!(mended.status, RunStatus::Ok);
    assert_eq!(told(&mended)[0], "bad ran how fail -> not-at-all");
    assert_eq!(told(&mended)[3], "slow cached");
}

#[test]
fn keep_going_starts_what_does_not_depend_on_it() {
    let lab = Lab::new();
    let options = RunOptions {
        keep_going: true,
        ..lab.options()
    };
    let summary = lab.run_with(BRANCHES, &options);
    assert_eq!(summary.status, RunStatus::Failed);
    assert_eq!(summary.stage("after").unwrap().status, StageStatus::Skipped);
    assert_eq!(summary.stage("next").unwrap().status, StageStatus::Ran);
}

/// `guarded` runs after `guard` but takes no input from it.
const GUARDED: &str = "
stages:
  guard: {op: misbehave}
  guarded: {op: slow, after: guard, with: {steps: 1, step_ms: 1}}
  behind: {op: count, in: {text: guarded}}
  free: {op: slow, with: {steps: 2, step_ms: 1}}
";

#[test]
fn a_stage_starts_after_those_it_comes_after_ended_well() {
    let lab = Lab::new();
    let options = RunOptions {
        keep_going: true,
        ..lab.options()
    };
    let summary = lab.run_with(GUARDED, &options);
    assert_eq!(
        told(&summary),
        [
            "guard failed never ran",
            "guarded skipped earlier stage guard failed",
            "behind skipped input guarded was skipped",
            "free ran never ran"
        ]
    );
    // A stored result makes no difference: nothing is used after a stage that failed.
    let unguarded = GUARDED.replace("after: guard, ", "");
    let summary = lab.run_with(&unguarded, &options);
    assert_eq!(told(&summary)[1], "guarded ran never ran");
    let summary = lab.run_with(GUARDED, &options);
    assert_eq!(
        told(&summary)[1],
        "guarded skipped earlier stage guard failed"
    );
    // `after` is in no key.
    let mended = GUARDED.replace(
        "{op: misbehave}",
        "{op: misbehave, with: {how: not-at-all}}",
    );
    let summary = lab.run_with(&mended, &options);
    assert_eq!(summary.status, RunStatus::Ok);
    assert_eq!(told(&summary)[1], "guarded cached");
}

#[test]
fn a_stage_waits_for_what_it_comes_after() {
    let lab = Lab::new();
    let yaml = "
stages:
  quick: {op: slow, after: [late], with: {steps: 1, step_ms: 1}}
  late: {op: slow, with: {steps: 20, step_ms: 10}}
";
    let heard = Arc::new(Events::default());
    let summary = lab.run_heard(
        yaml,
        &lab.options(),
        Arc::clone(&heard) as Arc<dyn EventSink>,
        &Cancel::default(),
    );
    assert_eq!(summary.status, RunStatus::Ok);
    let events = heard.0.lock().unwrap();
    let at = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(wanted).unwrap();
    let late = at(&|e| matches!(e, Event::StageFinished(r) if r.name == "late"));
    let quick = at(&|e| matches!(e, Event::StageStarted { stage, .. } if stage == "quick"));
    assert!(late < quick);
}

#[test]
fn a_panic_is_a_failure_with_message_and_place() {
    for (how, message) in [
        ("panic", "index 5 out of cheese"),
        ("panic-in-rayon", "cheese on another thread"),
    ] {
        let lab = Lab::new();
        let yaml = BRANCHES.replace(
            "{op: misbehave}",
            &format!("{{op: misbehave, with: {{how: {how}}}}}"),
        );
        let summary = lab.run(&yaml);
        assert_eq!(summary.status, RunStatus::Failed);
        let error = summary.stage("bad").unwrap().error.clone().unwrap();
        assert!(error.contains(message), "{error}");
        assert!(error.contains("toy.rs:"), "{error}");
        assert_eq!(summary.stage("last").unwrap().status, StageStatus::Skipped);
    }
}

#[test]
fn an_operator_that_leaves_a_table_out_fails() {
    let lab = Lab::new();
    let summary = lab.run("stages: {bad: {op: misbehave, with: {how: write-nothing}}}");
    let error = summary.stage("bad").unwrap().error.clone().unwrap();
    assert_eq!(error, "the operator did not write `lines.lines`");
}

#[test]
fn a_stage_whose_input_changed_under_it_is_not_stored() {
    let lab = Lab::new();
    lab.write("f.txt", "one line\n");
    let yaml = "stages: {bad: {op: misbehave, with: {how: edit-input, path: f.txt}}}";
    let summary = lab.run(yaml);
    let record = summary.stage("bad").unwrap();
    assert_eq!(record.status, StageStatus::Failed);
    assert_eq!(
        record.error.as_deref(),
        Some("f.txt changed (its size changed) while the stage ran; its result is not stored")
    );
    let key = record.key.clone().unwrap();
    assert!(lab.store().manifest(&key).unwrap().is_none());
    assert_eq!(lab.store().disk_used(), 0);
}

/// The file's digest is the same before and after, but the operator read only half of the file.
#[test]
fn a_stage_whose_input_was_written_again_under_it_is_not_stored() {
    let lab = Lab::new();
    lab.write("f.txt", "one line\n");
    let yaml = "stages: {bad: {op: misbehave, with: {how: rewrite-input, path: f.txt}}}";
    let summary = lab.run(yaml);
    let record = summary.stage("bad").unwrap();
    assert_eq!(
        record.error.as_deref(),
        Some("f.txt changed (it was written to) while the stage ran; its result is not stored")
    );
    let hint = record.hint.as_deref();
    assert_eq!(hint, Some("run it again once nothing writes to the file"));
    assert_eq!(lab.store().disk_used(), 0);
    assert!(lab.store().manifests().unwrap().is_empty());
    // Data kept for the next attempt came from the same half file, so it is removed too.
    let key = record.key.clone().unwrap();
    assert!(!lab.store().workdir(key.as_str()).exists());
}

#[test]
fn a_stage_that_fails_on_half_a_file_says_that_the_file_changed() {
    let lab = Lab::new();
    lab.write("f.txt", "one line\n");
    // It is not retried: with the changed file it would be another stage.
    let yaml =
        "stages: {bad: {op: misbehave, with: {how: edit-and-fail, path: f.txt}, retries: 3}}";
    let summary = lab.run(yaml);
    let error = summary.stage("bad").unwrap().error.clone().unwrap();
    assert_eq!(
        error,
        "line 1 is half a line\nf.txt changed (its size changed) while the stage ran"
    );
}

/// While the stage waits for another process, its input changes.
#[test]
fn a_file_that_changes_before_the_stage_starts_gives_another_key() {
    let lab = Lab::new();
    lab.write("a.txt", "old\n");
    let yaml = "stages: {a: {op: source, with: {path: a.txt}}}";
    let key = lab.plan(yaml).unwrap().plan[0].key.clone().unwrap();
    let held = lab
        .store()
        .lock(key.as_str(), "other", &Cancel::default(), |_| {});
    let held = held.unwrap();
    let events = Arc::new(Events::default());
    let summary = std::thread::scope(|scope| {
        let listener = Arc::clone(&events) as Arc<dyn EventSink>;
        let run = scope.spawn(|| lab.run_heard(yaml, &lab.options(), listener, &Cancel::default()));
        let waits =
            |e: &Event| matches!(e, Event::Message { text, .. } if text.starts_with("waiting for"));
        while !events.0.lock().unwrap().iter().any(waits) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        lab.write("a.txt", "new\n");
        drop(held);
        run.join().unwrap()
    });
    assert_eq!(lab.lines(&summary, "a"), ["new"]);
    assert_ne!(summary.stage("a").unwrap().key.as_ref(), Some(&key));
    assert!(lab.store().manifest(&key).unwrap().is_none());
}

#[cfg(unix)]
#[test]
fn a_pipe_or_a_device_in_place_of_a_file_is_named_at_once() {
    let lab = Lab::new();
    let made = std::process::Command::new("mkfifo")
        .arg(lab.path("pipe"))
        .status();
    assert!(made.unwrap().success());
    for (path, what) in [("pipe", "a pipe"), ("/dev/zero", "a device")] {
        for yaml in [
            format!("stages: {{a: {{op: source, with: {{path: {path}}}}}}}"),
            format!("stages: {{a: {{op: source, with: {{path: p.yaml, extra: {path}}}}}}}"),
        ] {
            let want = format!("{path}: failed to read: not a regular file: it is {what}");
            let e = lab.plan(&yaml).unwrap_err().to_string();
            assert!(e.ends_with(&want), "{e}");
            let summary = lab.run(&yaml);
            assert_eq!(summary.stage("a").unwrap().error, Some(want));
        }
    }
}

#[test]
fn a_failed_stage_leaves_no_temporary_files() {
    let lab = Lab::new();
    lab.run(BRANCHES);
    let tmp = std::fs::read_dir(lab.store().tmp()).unwrap().count();
    let work = std::fs::read_dir(lab.path("store/work")).unwrap().count();
    assert_eq!((tmp, work), (0, 0));
}

/// Cancels the run when a stage has reached a step.
struct CancelAt {
    stage: &'static str,
    step: u64,
    cancel: Cancel,
}

impl EventSink for CancelAt {
    fn emit(&self, event: &Event) {
        if let Event::Progress { stage, done, .. } = event
            && stage == self.stage
            && *done >= self.step
        {
            self.cancel.cancel();
        }
    }
}

#[test]
fn an_interrupted_run_ends_soon_and_goes_on_where_it_was() {
    let lab = Lab::new();
    let yaml = "
stages:
  quick: {op: slow, with: {steps: 1, step_ms: 1}}
  slow: {op: slow, in: {text: quick}, with: {steps: 200, step_ms: 20}}
  next: {op: count, in: {text: slow}}
";
    let cancel = Cancel::default();
    let listener = Arc::new(CancelAt {
        stage: "slow",
        step: 3,
        cancel: cancel.clone(),
    });
    let summary = lab.run_heard(yaml, &lab.options(), listener, &cancel);
    assert_eq!(summary.status, RunStatus::Interrupted);
    assert_eq!(
        told(&summary),
        [
            "quick ran never ran",
            "slow skipped interrupted",
            "next skipped interrupted"
        ]
    );
    let fast = yaml.replace("step_ms: 20", "step_ms: 0");
    let again = lab.run(&fast);
    assert_eq!(again.status, RunStatus::Ok);
    assert_eq!(
        told(&again),
        [
            "quick cached",
            "slow ran interrupted last time",
            "next ran never ran"
        ]
    );
    let resumed = again.stage("slow").unwrap().resumed_at_step.unwrap();
    assert!((3..200).contains(&resumed), "{resumed}");
    assert_eq!(
        std::fs::read_dir(lab.path("store/work")).unwrap().count(),
        0
    );

    let clean = Lab::new().run(&fast);
    assert_eq!(
        again.stage("next").unwrap().outputs,
        clean.stage("next").unwrap().outputs
    );
}

#[test]
fn a_wide_graph_with_a_failure_in_the_middle_ends() {
    let lab = Lab::new();
    let mut yaml = "stages:\n".to_owned();
    for i in 0..40 {
        yaml.push_str(&format!(
            "  s{i}: {{op: slow, with: {{steps: {i}, step_ms: 0}}}}\n"
        ));
    }
    let all: Vec<String> = (0..40).map(|i| format!("s{i}")).collect();
    yaml.push_str(&format!(
        "  join: {{op: concat, in: {{text: [{}]}}}}\n",
        all.join(", ")
    ));
    yaml.push_str("  bad: {op: misbehave, in: {text: join}, with: {how: panic}}\n");
    for i in 0..40 {
        yaml.push_str(&format!(
            "  t{i}: {{op: concat, in: {{text: [bad, join]}}, with: {{prefix: '{i}'}}}}\n"
        ));
    }
    let summary = lab.run(&yaml);
    assert_eq!(summary.status, RunStatus::Failed);
    assert_eq!(summary.stages.len(), 82);
    assert_eq!(summary.stage("t39").unwrap().status, StageStatus::Skipped);
}
