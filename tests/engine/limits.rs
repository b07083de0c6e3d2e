//! Retries, timeouts and resource limits of stages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use gfm_pipe::exec::Room;
use gfm_pipe::record::{Event, EventSink, RunStatus};
use gfm_pipe_api::Cancel;

use crate::lab::{Lab, told};

#[test]
fn a_stage_is_tried_again_as_often_as_it_says_and_no_more() {
    let lab = Lab::new();
    let stage = |retries: u32| {
        format!("stages: {{bad: {{op: misbehave, with: {{how: fail-twice}}, retries: {retries}}}}}")
    };
    let summary = lab.run(&stage(1));
    assert_eq!(summary.status, RunStatus::Failed);
    let error = summary.stage("bad").unwrap().error.clone().unwrap();
    assert_eq!(error, "try 2\n(tried 2 times)");

    let lab = Lab::new();
    let summary = lab.run(&stage(2));
    assert_eq!(told(&summary), ["bad ran never ran"]);
    // The number of retries is not part of a stage's key.
    assert_eq!(told(&lab.run(&stage(0))), ["bad cached"]);
}

#[test]
fn a_stage_that_takes_too_long_fails_and_goes_on_where_it_was() {
    let lab = Lab::new();
    let yaml = |timeout: &str, ms: u32| {
        format!(
            "stages:\n  slow: {{op: slow, with: {{steps: 100, step_ms: {ms}}}, timeout: {timeout}}}\n  \
             next: {{op: count, in: {{text: slow}}}}\n"
        )
    };
    let summary = lab.run(&yaml("1s", 50));
    assert_eq!(summary.status, RunStatus::Failed);
    assert_eq!(told(&summary)[1], "next skipped input slow failed");
    let slow = summary.stage("slow").unwrap();
    assert_eq!(slow.error.as_deref(), Some("it took longer than 1s"));
    assert!(slow.hint.as_deref().unwrap().contains("`timeout`"));
    let again = lab.run(&yaml("1h", 0));
    assert_eq!(told(&again)[0], "slow ran failed last time");
    assert!(again.stage("slow").unwrap().resumed_at_step.unwrap() >= 5);
}

/// The number of stages running now, and the most that ran at once.
#[derive(Default)]
struct AtOnce(Mutex<(usize, usize)>);

impl EventSink for AtOnce {
    fn emit(&self, event: &Event) {
        let mut now = self.0.lock().unwrap();
        match event {
            Event::StageStarted { .. } => now.0 += 1,
            Event::StageFinished(_) => now.0 -= 1,
            _ => {}
        }
        now.1 = now.1.max(now.0);
    }
}

fn most_at_once(resources: &str, room: Room) -> usize {
    most_of([&format!("resources: {resources}"); 4], room)
}

/// The largest number of stages with these limits that run at the same time.
fn most_of(limits: [&str; 4], room: Room) -> usize {
    let lab = Lab::new();
    let stage = |(i, limits): (usize, &str)| {
        let with = format!("with: {{steps: 2{i}, step_ms: 10}}");
        (i, format!("  s{i}: {{op: slow, {with}, {limits}}}\n"))
    };
    let stages: BTreeMap<usize, String> = limits.into_iter().enumerate().map(stage).collect();
    let yaml = format!("stages:\n{}", stages.into_values().collect::<String>());
    let mut options = lab.options();
    options.room = room;
    let listener = Arc::new(AtOnce::default());
    let summary = lab.run_heard(
        &yaml,
        &options,
        Arc::clone(&listener) as Arc<dyn EventSink>,
        &Cancel::default(),
    );
    assert_eq!(summary.status, RunStatus::Ok);
    listener.0.lock().unwrap().1
}

#[test]
fn stages_run_side_by_side_only_where_there_is_room() {
    let room = Room {
        jobs: 4,
        cpu: 4,
        gpu: 1,
        memory: Some(8 << 30),
    };
    assert_eq!(most_at_once("{}", room), 4);
    assert_eq!(most_at_once("{cpu: 2}", room), 2);
    assert_eq!(most_at_once("{gpu: 1}", room), 1);
    assert_eq!(most_at_once("{memory: 4GiB}", room), 2);
    // Stages that need more than there is run one at a time; none waits for ever.
    assert_eq!(most_at_once("{cpu: 9, gpu: 3, memory: 1TiB}", room), 1);
    let unknown = Room {
        memory: None,
        ..room
    };
    assert_eq!(most_at_once("{memory: 4GiB}", unknown), 4);
}

#[test]
fn of_stages_with_a_mutex_in_common_one_runs_at_a_time() {
    let room = Room {
        jobs: 4,
        cpu: 4,
        gpu: 1,
        memory: None,
    };
    assert_eq!(most_of(["mutex: [a]"; 4], room), 1);
    let two = ["mutex: [a]", "mutex: [b]", "mutex: [a]", "mutex: [b]"];
    assert_eq!(most_of(two, room), 2);
    // Whatever order the names are written in, none waits for ever.
    let [x, y] = ["mutex: [a, b]", "mutex: [b, a]"];
    assert_eq!(most_of([x, y, x, y], room), 1);
}
