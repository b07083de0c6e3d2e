//! Verifying a store, and removing garbage.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gfm_pipe::record::history;
use gfm_pipe::store::{Extent, Store};
use gfm_pipe_api::Cancel;

use crate::lab::{Events, Lab, damages, same_manifest, told};
use crate::leftovers::keys_of_last;

const YAML: &str = "
stages:
  a: {op: source, with: {path: a.txt}}
  c: {op: concat, in: {text: a}, with: {prefix: x}}
  n: {op: count, in: {text: c}}
";

/// Everything that gc can remove.
const ALL: Extent = Extent {
    checkpoints: true,
    items: true,
    answers: true,
};

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("a.txt", "one\ntwo\n");
    lab.run(YAML);
    lab
}

/// All objects and manifests of a store.
fn files(store: &Store) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = store.objects().unwrap().into_iter().map(|o| o.0).collect();
    out.extend(store.manifests().unwrap().into_iter().map(|m| m.0));
    out
}

fn damaged(store: &Store, deep: bool) -> Vec<PathBuf> {
    let found = store.verify(deep, &|_, _| {}).unwrap();
    found.damages.into_iter().map(|d| d.path).collect()
}

/// Every file is damaged in every way: `verify` finds it, and the next run ends with the same
/// artifacts.
#[test]
fn all_damage_is_found_and_healed() {
    let lab = lab();
    let store = lab.store();
    let want = lab.run(YAML).artifacts;
    let digests = |artifacts: &std::collections::BTreeMap<
        String,
        std::collections::BTreeMap<String, gfm_pipe_api::Artifact>,
    >|
     -> Vec<String> {
        artifacts
            .values()
            .flat_map(|p| p.values())
            .map(gfm_pipe_api::Artifact::digest)
            .collect()
    };
    let mut tried = 0;
    for file in files(&store) {
        let whole = fs::read(&file).unwrap();
        for way in damages(&whole, 1 + whole.len() / 24) {
            tried += 1;
            match &way {
                None => fs::remove_file(&file).unwrap(),
                Some(bytes) => fs::write(&file, bytes).unwrap(),
            }
            let object = file.extension().is_some_and(|e| e == "parquet");
            let found = damaged(&store, true);
            if object {
                assert_eq!(
                    found,
                    std::slice::from_ref(&file),
                    "{:?}",
                    way.map(|w| w.len())
                );
            } else if way.is_some() && found.is_empty() {
                assert!(same_manifest(way.as_deref(), &whole));
            }
            let healed = lab.run(YAML);
            assert_eq!(
                digests(&healed.artifacts),
                digests(&want),
                "{}",
                file.display()
            );
            if !file.exists() || fs::read(&file).unwrap() != whole {
                // Only a manifest may differ: it contains the time at which it was made.
                assert!(!object);
                fs::write(&file, &whole).unwrap();
            }
            assert!(damaged(&store, true).is_empty(), "{}", file.display());
        }
    }
    println!("{tried} ways");
    assert!(tried >= 150, "{tried} ways");
}

#[test]
fn a_quick_look_sees_names_and_sizes() {
    let lab = lab();
    let store = lab.store();
    let (object, bytes) = store.objects().unwrap().remove(0);
    let mut text = fs::read(&object).unwrap();
    text[bytes as usize / 2] ^= 1;
    fs::write(&object, &text).unwrap();
    assert!(damaged(&store, false).is_empty());
    assert_eq!(damaged(&store, true), std::slice::from_ref(&object));
    fs::write(&object, b"short").unwrap();
    assert_eq!(damaged(&store, false), [object]);
}

#[test]
fn what_kept_runs_used_stays_and_the_rest_goes() {
    let lab = lab();
    let store = lab.store();
    let first = files(&store).len();
    lab.run(&YAML.replace("prefix: x", "prefix: y"));
    let both = files(&store).len();
    // Both runs use `a`.
    let garbage = store
        .garbage(&keys_of_last(&store, 1), Extent::default())
        .unwrap();
    assert_eq!((garbage.stages.len(), garbage.kept), (2, 3));
    assert_eq!(files(&store).len(), both, "looking removes nothing");
    store.remove(&garbage).unwrap();
    assert_eq!(files(&store).len(), first);
    let again = lab.run(&YAML.replace("prefix: x", "prefix: y"));
    assert_eq!(told(&again), ["a cached", "c cached", "n cached"]);
    assert!(store.verify(true, &|_, _| {}).unwrap().damages.is_empty());
    // What was removed is computed again when needed.
    assert_eq!(told(&lab.run(YAML))[0], "a cached");
    assert!(
        store
            .garbage(&keys_of_last(&store, 2), ALL)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn checkpoints_of_unfinished_stages_stay_unless_asked() {
    let lab = lab();
    let store = lab.store();
    let work = store.workdir("k");
    fs::create_dir_all(&work).unwrap();
    fs::write(work.join("checkpoint.safetensors"), [0; 100]).unwrap();
    let keep = keys_of_last(&store, 9);
    assert!(store.garbage(&keep, Extent::default()).unwrap().is_empty());
    let garbage = store.garbage(&keep, ALL).unwrap();
    assert_eq!(garbage.bytes(), 100);
    store.remove(&garbage).unwrap();
    assert!(!Path::exists(&work));
    // What earlier versions kept there goes in any case.
    let cache = lab.path("store/cache/vectors");
    fs::create_dir_all(&cache).unwrap();
    fs::write(cache.join("v"), [0; 10]).unwrap();
    let garbage = store.garbage(&keep, Extent::default()).unwrap();
    assert_eq!(garbage.bytes(), 10);
    store.remove(&garbage).unwrap();
    assert!(!Path::exists(&cache));
}

/// Foreign files in the store's folders are not removed, nor is anything that a link leads to.
#[cfg(unix)]
#[test]
fn gc_touches_objects_only() {
    use std::os::unix::fs::symlink;
    let lab = lab();
    let store = lab.store();
    let outside = lab.path("outside");
    fs::create_dir(&outside).unwrap();
    let digest = "ab".repeat(32);
    for name in ["thesis.tex".to_owned(), format!("{digest}.parquet")] {
        fs::write(outside.join(name), "precious").unwrap();
    }
    let objects = lab.path("store/objects");
    let stages = lab.path("store/stages");
    symlink(&outside, objects.join("ab")).unwrap();
    symlink(&outside, objects.join("zz")).unwrap();
    fs::create_dir_all(objects.join("photos/of a cat")).unwrap();
    fs::create_dir_all(
        objects
            .join("cd")
            .join(format!("cd{}.parquet", &digest[2..])),
    )
    .unwrap();
    fs::write(objects.join("notes.txt"), "mine").unwrap();
    // A file named like an object, in a folder where no object is.
    fs::write(objects.join("photos").join(format!("{digest}.parquet")), "").unwrap();
    fs::write(stages.join("package.json"), "{}").unwrap();
    fs::create_dir(stages.join(format!("{digest}.json"))).unwrap();
    symlink(&outside, lab.path("store/work/link")).unwrap();
    fs::create_dir(lab.path("store/cache")).unwrap();
    symlink(&outside, lab.path("store/cache/link")).unwrap();
    fs::write(lab.path("store/cache/file"), "").unwrap();
    symlink(&outside, lab.path("store/items/link")).unwrap();
    fs::create_dir_all(lab.path("store/items/f")).unwrap();
    symlink(&outside, lab.path("store/items/f/link")).unwrap();
    // A folder with the name of a journal.
    fs::create_dir_all(lab.path("store/runs/foo.json")).unwrap();

    let used = store.disk_used();
    let garbage = store.garbage(&BTreeSet::new(), ALL).unwrap();
    assert_eq!(garbage.stages.len(), 3);
    let bytes: u64 = garbage.objects.iter().map(|o| o.1).sum();
    assert_eq!(bytes, used);
    store.remove(&garbage).unwrap();
    assert_eq!(store.disk_used(), 0);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 2);
    for kept in [
        objects.join("ab"),
        objects.join("photos/of a cat"),
        objects.join("photos").join(format!("{digest}.parquet")),
        objects.join("notes.txt"),
        stages.join("package.json"),
    ] {
        assert!(fs::symlink_metadata(&kept).is_ok(), "{}", kept.display());
    }
    assert!(fs::symlink_metadata(lab.path("store/work/link")).is_err());
    // A second collection works too, although the foreign files are still there.
    let garbage = store.garbage(&BTreeSet::new(), ALL).unwrap();
    assert!(garbage.is_empty(), "{garbage:?}");
    assert!(store.verify(true, &|_, _| {}).unwrap().damages.is_empty());
}

/// Runs are in the order in which they started, even if the clock was wrong in one of them.
#[test]
fn runs_are_in_the_order_they_started_in() {
    let lab = lab();
    let store = lab.store();
    let names = || -> Vec<String> {
        let (runs, bad) = history::runs(&store).unwrap();
        assert!(bad.is_empty());
        runs.into_iter().map(|r| r.journal.run).collect()
    };
    let rename = |from: &str, to: &str, number: bool| {
        let text = fs::read_to_string(store.journal_path(from)).unwrap();
        let mut journal: serde_json::Value = serde_json::from_str(&text).unwrap();
        journal["run"] = to.into();
        if !number {
            journal.as_object_mut().unwrap().remove("sequence");
        }
        fs::remove_file(store.journal_path(from)).unwrap();
        fs::write(store.journal_path(to), journal.to_string()).unwrap();
    };
    let ahead = "21261128-094103-123-aaaa";
    rename(&names()[0], ahead, true);
    lab.run(YAML);
    let now = names();
    assert_eq!(now[0], ahead);
    assert_eq!(now.len(), 2);
    let (runs, _) = history::runs(&store).unwrap();
    assert_eq!(history::find(&runs, "latest").unwrap().journal.run, now[1]);
    // Runs of earlier versions have no number; they come first, ordered by name.
    let old = "20991128-094103-123-aaaa";
    rename(ahead, old, false);
    let older = "20201128-094103-123-aaaa";
    lab.run(YAML);
    let last = names()[2].clone();
    rename(&now[1], older, false);
    assert_eq!(names(), [older.to_owned(), old.to_owned(), last]);
}

#[test]
fn nobody_has_the_store_alone_while_a_run_goes_on() {
    let lab = lab();
    let store = lab.store();
    assert!(store.alone().unwrap().is_some());
    let yaml = "stages: {s: {op: slow, with: {steps: 1000, step_ms: 10}}}";
    let cancel = Cancel::default();
    let run = std::thread::scope(|scope| {
        let run = scope
            .spawn(|| lab.run_heard(yaml, &lab.options(), Arc::new(Events::default()), &cancel));
        while store.alone().unwrap().is_some() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        cancel.cancel();
        run.join().unwrap()
    });
    assert_eq!(told(&run), ["s skipped interrupted"]);
    assert!(store.alone().unwrap().is_some());
}

#[test]
fn runs_are_found_by_the_start_of_their_names_and_pins_stay() {
    let lab = lab();
    let store = lab.store();
    lab.run(YAML);
    let (runs, _) = history::runs(&store).unwrap();
    assert_eq!(runs.len(), 2);
    let name = runs[0].journal.run.clone();
    assert_eq!(history::find(&runs, &name).unwrap().journal.run, name);
    let latest = &history::find(&runs, "latest").unwrap().journal.run;
    assert_eq!(*latest, runs[1].journal.run);
    assert_eq!(history::find(&runs, "2").unwrap_err().len(), 2);
    assert!(history::find(&runs, "x").unwrap_err().is_empty());
    history::pin(&store, &name, true).unwrap();
    assert!(history::runs(&store).unwrap().0[0].pinned);
    history::pin(&store, &name, false).unwrap();
    history::pin(&store, &name, false).unwrap();
    assert!(!history::runs(&store).unwrap().0[0].pinned);
}
