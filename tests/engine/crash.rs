//! After a kill at any instant the store stays usable: there is nothing to unlock and no
//! half-written artifact, and the next run has the same result.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use gfm_pipe::record::{RunStatus, StageStatus};
use gfm_pipe_api::Cancel;
use gfm_pipe_api::files::digest_of;

use crate::lab::{Events, Lab};

/// Environment variable set for the process to be killed; its value is the lab's folder.
pub const CHILD: &str = "GFM_PIPE_CRASH_CHILD";

const ROUNDS: u32 = 12;

const YAML: &str = "
stages:
  a: {op: source, with: {path: a.txt}}
  s1: {op: slow, in: {text: a}, with: {steps: 8, step_ms: 2}}
  s2: {op: slow, in: {text: s1}, with: {steps: 9, step_ms: 2}}
  c: {op: concat, in: {text: [s1, s2]}}
  n: {op: count, in: {text: c}}
";

/// Not a test in itself: this is the process that [`killed_at_any_instant`] starts and kills.
#[test]
fn be_killed() {
    if let Some(dir) = std::env::var_os(CHILD) {
        child_run(dir.as_ref());
    }
}

/// What the process to be killed does.
pub fn child_run(dir: &Path) {
    let opts = gfm_pipe::spec::LoadOptions {
        base: dir.to_owned(),
        ..Default::default()
    };
    let pipeline = gfm_pipe::spec::load(Path::new("p.yaml"), &opts, &crate::toy::ops()).unwrap();
    let store = gfm_pipe::store::Store::open(dir.join("store")).unwrap();
    let mut options = gfm_pipe::exec::RunOptions::default();
    options.request.base = dir.to_owned();
    let listener = Arc::new(Events::default());
    let cancel = Cancel::default();
    gfm_pipe::exec::run(&pipeline, &store, &options, listener, &cancel).unwrap();
}

#[test]
fn killed_at_any_instant() {
    let want = lab().run(YAML);

    // The kills are spread over the length of a run: the first while the store is being created,
    // the last around its end.
    let whole = {
        let lab = lab();
        let start = Instant::now();
        assert!(child(&lab).wait().unwrap().success());
        start.elapsed()
    };
    let mut halfway = 0;
    for round in 0..ROUNDS {
        let lab = lab();
        for kill in 0..2 {
            let mut child = child(&lab);
            std::thread::sleep(whole * (2 * round + kill) / (2 * ROUNDS));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let summary = lab.run(YAML);
        assert_eq!(summary.status, RunStatus::Ok);
        let of = |status| summary.stages.iter().any(|s| s.status == status);
        if of(StageStatus::Cached) && of(StageStatus::Ran) {
            halfway += 1;
        }
        for (have, want) in summary.stages.iter().zip(&want.stages) {
            assert_eq!((&have.key, &have.outputs), (&want.key, &want.outputs));
        }
        for shard in std::fs::read_dir(lab.path("store/objects")).unwrap() {
            for object in std::fs::read_dir(shard.unwrap().path()).unwrap() {
                let path = object.unwrap().path();
                let digest = digest_of(&path).unwrap();
                assert_eq!(path.file_stem().unwrap().to_str(), Some(&*digest));
            }
        }
        let again = lab.run(YAML);
        assert!(again.stages.iter().all(|s| s.status == StageStatus::Cached));
    }
    assert!(
        halfway > 0,
        "no kill came in the middle of a run: {whole:?} whole"
    );
}

fn lab() -> Lab {
    lab_of(YAML)
}

pub fn lab_of(yaml: &str) -> Lab {
    let lab = Lab::new();
    lab.write("a.txt", "one\ntwo\n");
    lab.write("p.yaml", yaml);
    lab
}

fn child(lab: &Lab) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["crash::be_killed", "--exact"])
        .env(CHILD, lab.path(""))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
