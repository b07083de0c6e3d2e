//! A damaged store: damage is noticed before use, and repaired by running again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gfm_pipe::plan::{Reason, Verdict};
use gfm_pipe::record::{RunStatus, StageStatus};
use gfm_pipe::store::{Manifest, Store};
use gfm_pipe_api::Cancel;

use crate::lab::{Events, Lab, told};

const YAML: &str = "
stages:
  a: {op: source, with: {path: a.txt}}
  c: {op: concat, in: {text: a}, with: {prefix: x}}
";

fn lab() -> (Lab, PathBuf) {
    let lab = Lab::new();
    lab.write("a.txt", "one\ntwo\n");
    let summary = lab.run(YAML);
    let object = summary.artifacts["a"]["lines"].tables[0].objects[0]
        .path
        .clone();
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
fn a_manifest_of_the_first_version_is_used() {
    let (lab, _) = lab();
    for entry in fs::read_dir(lab.path("store/stages")).unwrap() {
        let path = entry.unwrap().path();
        let manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let old = Manifest {
            format: 1,
            ..manifest
        };
        let text = serde_json::to_string(&old.sealed()).unwrap();
        assert!(!text.contains("\"items\""), "{text}");
        fs::write(&path, text).unwrap();
    }
    assert_eq!(told(&lab.run(YAML)), ["a cached", "c cached"]);
}

#[test]
fn a_manifest_of_a_newer_version_is_refused_by_name() {
    let (lab, _) = lab();
    for entry in fs::read_dir(lab.path("store/stages")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"format\": 2", "\"format\": 4")).unwrap();
    }
    let e = lab.plan(YAML).unwrap_err().to_string();
    assert!(
        e.contains("has format version 4, this gfm-pipe knows versions up to 3"),
        "{e}"
    );
    fs::write(lab.path("store/version"), "9").unwrap();
    assert!(Store::open(lab.path("store")).is_err());
}

#[test]
fn an_edit_of_the_same_size_is_computed_again() {
    let (lab, object) = lab();
    let whole = fs::read(&object).unwrap();
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 1 << 6;
    fs::write(&object, &bytes).unwrap();
    let times = fs::File::options().write(true).open(&object).unwrap();
    times.set_modified(std::time::UNIX_EPOCH).unwrap();
    let plan = lab.plan(YAML).unwrap();
    let said = matches!(&plan.plan[0].verdict, Verdict::Run(r) if r == &[Reason::ArtifactDamaged]);
    assert!(said, "{:?}", plan.plan[0]);
    let summary = lab.run(YAML);
    assert_eq!(told(&summary), ["a ran artifact damaged", "c cached"]);
    assert_eq!(fs::read(&object).unwrap(), whole);
}

/// If bytes rot while size and times stay the same, the stage that opens the table notices, and the
/// table is computed again first.
#[test]
fn silent_rot_is_never_computed_from() {
    let (lab, object) = lab();
    let want = fs::read(&object).unwrap();
    let edited = YAML.replace("prefix: x", "prefix: y");
    lab.rot(&object);
    // The table is not opened here.
    assert_eq!(told(&lab.run(YAML)), ["a cached", "c cached"]);
    let summary = lab.run(&edited);
    assert_eq!(
        told(&summary),
        ["a ran artifact damaged", "c ran prefix x -> y"]
    );
    assert_eq!(lab.lines(&summary, "c"), ["yone", "ytwo"]);
    assert_eq!(fs::read(&object).unwrap(), want);

    // The selection says that the damaged stage must not be computed.
    lab.rot(&object);
    let mut options = lab.options();
    options.request.selection.only = vec!["c".to_owned()];
    let summary = lab.run_with(&YAML.replace("prefix: x", "prefix: z"), &options);
    let error = summary.stage("a").unwrap().error.clone().unwrap();
    assert!(
        error.contains("its result in the store is damaged"),
        "{error}"
    );
}

#[test]
fn a_stage_that_meets_damage_names_it_and_the_next_run_heals_it() {
    let (lab, object) = lab();
    let spoil = "
stages:
  a: {op: source, with: {path: a.txt}}
  s: {op: misbehave, in: {text: a}, with: {how: spoil-input}}
";
    let summary = lab.run(spoil);
    assert_eq!(summary.status, RunStatus::Failed);
    let record = summary.stage("s").unwrap();
    let error = record.error.clone().unwrap();
    assert!(error.contains("input a.lines.lines is damaged"), "{error}");
    assert!(error.contains(object.to_str().unwrap()), "{error}");
    let hint = record.hint.as_deref();
    assert_eq!(hint, Some("run again: what is damaged is computed anew"));
    let healed = lab.run(YAML);
    assert_eq!(told(&healed), ["a ran artifact damaged", "c cached"]);
}

/// Damage found by `verify` or by a command that prints a table is known to the next run, even if
/// it would not open the table.
#[test]
fn what_verify_and_a_printing_verb_find_is_computed_again() {
    let (lab, object) = lab();
    let look: [&dyn Fn(); 2] = [
        &|| {
            let found = lab.store().verify(true, &|_, _| {}).unwrap();
            assert_eq!(found.damages.len(), 1);
        },
        &|| {
            let store = lab.store();
            let key = lab.plan(YAML).unwrap().plan[0].key.clone().unwrap();
            let manifest = store.manifest(&key).unwrap().unwrap();
            let e = store.sound_table(manifest.tables().next().unwrap());
            let e = e.unwrap_err();
            assert!(e.to_string().contains("is damaged"), "{e}");
            assert!(e.hint().unwrap().contains("run the pipeline again"));
        },
    ];
    for look in look {
        lab.rot(&object);
        assert_eq!(told(&lab.run(YAML)), ["a cached", "c cached"]);
        look();
        let summary = lab.run(YAML);
        assert_eq!(told(&summary), ["a ran artifact damaged", "c cached"]);
    }
}

/// What an earlier version stored may have been computed from damaged data, because it did not
/// check its inputs.
#[test]
fn results_that_may_come_from_damage_are_not_trusted() {
    let (lab, object) = lab();
    let store = lab.store();
    let forget = || {
        let key = lab.plan(YAML).unwrap().plan[1].key.clone().unwrap();
        let mut manifest = store.manifest(&key).unwrap().unwrap();
        manifest.inputs_checked = false;
        store.put_manifest(&manifest.sealed()).unwrap();
    };
    forget();
    // That alone is no reason to compute anything.
    assert_eq!(told(&lab.run(YAML)), ["a cached", "c cached"]);
    fs::write(&object, "rubbish").unwrap();
    let found = store.verify(true, &|_, _| {}).unwrap();
    let suspects: Vec<&str> = found.suspects.iter().map(|s| s.1.as_str()).collect();
    assert_eq!(suspects, ["concat"]);
    let events = Arc::new(Events::default());
    let summary = lab.run_heard(YAML, &lab.options(), events.clone(), &Cancel::default());
    assert_eq!(
        told(&summary),
        ["a ran artifact damaged", "c ran artifact missing"]
    );
    let warnings = events.warnings();
    assert!(
        warnings[0].contains("1 stored result that may have been computed from it"),
        "{warnings:?}"
    );
    // The same when the user repairs the damage by forcing the stage.
    forget();
    lab.rot(&object);
    let mut options = lab.options();
    options.request.force = vec!["a".to_owned()];
    assert_eq!(
        told(&lab.run_with(YAML, &options)),
        ["a ran forced", "c ran artifact missing"]
    );
    // What this version computed stays.
    lab.rot(&object);
    assert_eq!(
        told(&lab.run_with(YAML, &options)),
        ["a ran forced", "c cached"]
    );
}

/// If times differ or the cache of digests is lost, objects are read again, once.
#[test]
fn a_copied_store_and_one_of_an_earlier_version_are_used() {
    let (lab, _) = lab();
    let memory = lab.path("store/objects.json");
    for lose in [true, false] {
        let copy = lab.path("copy");
        copy_folder(&lab.path("store"), &copy);
        fs::remove_dir_all(lab.path("store")).unwrap();
        fs::rename(&copy, lab.path("store")).unwrap();
        if lose {
            fs::remove_file(&memory).unwrap();
        }
        let before = fs::read(&memory).unwrap_or_default();
        assert_eq!(told(&lab.run(YAML)), ["a cached", "c cached"]);
        let after = fs::read(&memory).unwrap();
        assert_ne!(after, before, "what was seen is remembered");
        assert_eq!(told(&lab.run(YAML)), ["a cached", "c cached"]);
        assert_eq!(fs::read(&memory).unwrap(), after, "and not looked at again");
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
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
