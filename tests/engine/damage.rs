//! A store with holes: noticed before use, mended by running again.

use std::fs;
use std::path::PathBuf;

use gfm_pipe::record::{RunStatus, StageStatus};
use gfm_pipe::store::Store;
use gfm_pipe_api::files::digest_of;

use crate::lab::{Lab, told};

const YAML: &str = "
stages:
  a: {op: source, with: {path: a.txt}}
  c: {op: concat, in: {text: a}, with: {prefix: x}}
";

fn lab() -> (Lab, PathBuf) {
    let lab = Lab::new();
    lab.write("a.txt", "one\ntwo\n");
    let summary = lab.run(YAML);
    let object = summary.artifacts["a"]["lines"].tables[0].path.clone();
    (lab, object)
}

#[test]
fn a_truncated_and_a_missing_object_are_computed_again() {
    let (lab, object) = lab();
    let whole = fs::read(&object).unwrap();
    for (damage, reason) in [
        (Some(&whole[..whole.len() / 2]), "artifact damaged"),
        (Some(&b""[..]), "artifact damaged"),
        (None, "artifact missing"),
    ] {
        match damage {
            Some(bytes) => fs::write(&object, bytes).unwrap(),
            None => fs::remove_file(&object).unwrap(),
        }
        let plan = lab.plan(YAML).unwrap();
        let summary = lab.run(YAML);
        assert_eq!(
            told(&summary),
            [format!("a ran {reason}"), "c cached".to_owned()]
        );
        assert!(
            matches!(&plan.plan[0].verdict, gfm_pipe::plan::Verdict::Run(r) if r[0].to_string() == reason)
        );
        assert_eq!(fs::read(&object).unwrap(), whole);
    }
}

#[test]
fn a_broken_manifest_is_computed_again() {
    let (lab, _) = lab();
    let stages = || fs::read_dir(lab.path("store/stages")).unwrap();
    for damage in ["", "{\"format\": 1}", "not json", "\u{0}\u{0}"] {
        for entry in stages() {
            fs::write(entry.unwrap().path(), damage).unwrap();
        }
        let summary = lab.run(YAML);
        assert_eq!(
            told(&summary),
            ["a ran artifact damaged", "c ran artifact damaged"]
        );
    }
    for entry in stages() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert_eq!(
        told(&lab.run(YAML)),
        ["a ran artifact missing", "c ran artifact missing"]
    );
}

#[test]
fn a_manifest_of_a_newer_version_is_refused_by_name() {
    let (lab, _) = lab();
    for entry in fs::read_dir(lab.path("store/stages")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    }
    let e = lab.plan(YAML).unwrap_err().to_string();
    assert!(
        e.contains("has format version 2, this gfm-pipe knows version 1 only"),
        "{e}"
    );
    fs::write(lab.path("store/version"), "9").unwrap();
    assert!(Store::open(lab.path("store")).is_err());
}

#[test]
fn rot_of_the_same_size_is_named_by_the_stage_that_stumbles_and_force_heals_it() {
    let (lab, object) = lab();
    let mut bytes = fs::read(&object).unwrap();
    let len = bytes.len();
    bytes[4..len - 8].fill(0xAA);
    fs::write(&object, &bytes).unwrap();
    let edited = YAML.replace("prefix: x", "prefix: y");
    let summary = lab.run(&edited);
    assert_eq!(summary.status, RunStatus::Failed);
    let record = summary.stage("c").unwrap();
    let error = record.error.clone().unwrap();
    assert!(error.contains("input a.lines.lines is damaged"), "{error}");
    assert!(error.contains(object.to_str().unwrap()), "{error}");
    assert_eq!(record.hint.as_deref(), Some("compute it again: --force a"));
    let mut options = lab.options();
    options.request.force = vec!["a".to_owned()];
    let healed = lab.run_with(&edited, &options);
    assert_eq!(healed.status, RunStatus::Ok);
    assert_eq!(told(&healed), ["a ran forced", "c ran failed last time"]);
    let digest = &healed.artifacts["a"]["lines"].tables[0].digest;
    assert_eq!(digest_of(&object).unwrap(), *digest);
}

#[test]
fn lost_memories_cost_explanations_only() {
    let (lab, _) = lab();
    fs::remove_dir_all(lab.path("store/last")).unwrap();
    fs::write(lab.path("store/files.json"), "{{{").unwrap();
    fs::remove_dir_all(lab.path("store/runs")).unwrap();
    let summary = lab.run(YAML);
    assert!(
        summary
            .stages
            .iter()
            .all(|s| s.status == StageStatus::Cached)
    );
    assert!(summary.warnings.is_empty(), "{:?}", summary.warnings);
}
