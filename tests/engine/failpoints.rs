//! A run is killed (SIGKILL) at every step of the store, each time it reaches the step: the next
//! run ends with the artifacts of an undisturbed run.
//!
//! `cargo test -p gfm-pipe --no-default-features --features failpoints --test engine failpoints`

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use gfm_pipe::record::{RunStatus, StageStatus};

use crate::crash::{CHILD, child_run, lab_of};
use crate::lab::Lab;

/// Environment variable set for the process to be killed: the failpoint, and how many passes to
/// survive.
const POINT: &str = "GFM_PIPE_CRASH_POINT";

const POINTS: [&str; 12] = [
    "stage-started",
    "object-created",
    "object-mid-write",
    "object-hashed",
    "stage-computed",
    "persist-before-sync",
    "persist-before-rename",
    "persist-after-rename",
    "objects-named",
    "folder-before-sync",
    "file-mid-write",
    "before-manifest",
];

const YAML: &str = "
stages:
  a: {op: source, with: {path: a.txt}}
  c: {op: concat, in: {text: [a, a]}}
  n: {op: count, in: {text: c}}
";

fn kill_myself() {
    let pid = std::process::id().to_string();
    let _ = Command::new("kill").args(["-KILL", &pid]).status();
    // The signal takes effect before this sleep ends.
    std::thread::sleep(std::time::Duration::from_secs(10));
}

/// Not a test in itself: this is the process that is killed.
#[test]
fn be_killed_at_a_point() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let Ok(point) = std::env::var(POINT) else {
        return;
    };
    let (name, times) = point.split_once(' ').unwrap();
    let left = Arc::new(AtomicU32::new(times.parse().unwrap()));
    fail::cfg_callback(name, move || {
        if left.fetch_sub(1, Ordering::SeqCst) == 0 {
            kill_myself();
        }
    })
    .unwrap();
    child_run(dir.as_ref());
}

/// Whether the process was killed. It ends by itself if it does not reach the point often enough.
fn killed(lab: &Lab, point: &str, times: u32) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["failpoints::be_killed_at_a_point", "--exact"])
        .env(CHILD, lab.path(""))
        .env(POINT, format!("{point} {times}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    !status.success()
}

#[test]
fn killed_at_every_step_of_the_store() {
    // Failpoints are shared by the whole process, and the other test sets some too.
    let _scenario = fail::FailScenario::setup();
    let want = lab_of(YAML).run(YAML);
    let mut instants = 0;
    for point in POINTS.into_iter().chain(["after-manifest"]) {
        for times in 0.. {
            let lab = lab_of(YAML);
            if !killed(&lab, point, times) {
                assert!(times > 0, "nothing comes to {point}");
                break;
            }
            instants += 1;
            // Some runs are killed twice, the second time somewhere else.
            if times % 3 == 1 {
                killed(&lab, "persist-before-rename", times / 2);
            }
            let summary = lab.run(YAML);
            assert_eq!(summary.status, RunStatus::Ok, "{point} {times}");
            for (have, want) in summary.stages.iter().zip(&want.stages) {
                assert_eq!(
                    (&have.key, &have.outputs),
                    (&want.key, &want.outputs),
                    "{point} {times}"
                );
            }
            let found = lab.store().verify(true, &|_, _| {}).unwrap();
            assert!(
                found.damages.is_empty(),
                "{point} {times}: {:?}",
                found.damages
            );
            let again = lab.run(YAML);
            assert!(again.stages.iter().all(|s| s.status == StageStatus::Cached));
        }
    }
    println!("{instants} instants");
    assert!(instants >= 100, "{instants} instants");
}

#[test]
fn a_full_disk_fails_the_stage_with_what_to_do_and_the_next_run_goes_on() {
    let _scenario = fail::FailScenario::setup();
    let lab = lab_of(YAML);
    fail::cfg("object-mid-write", "return").unwrap();
    let summary = lab.run(YAML);
    assert_eq!(summary.status, RunStatus::Failed);
    let error = summary.stage("a").unwrap().error.clone().unwrap();
    assert!(error.contains("no storage space"), "{error}");
    fail::remove("object-mid-write");
    assert_eq!(lab.store().disk_used(), 0);
    assert_eq!(std::fs::read_dir(lab.store().tmp()).unwrap().count(), 0);
    assert_eq!(lab.run(YAML).status, RunStatus::Ok);
}
