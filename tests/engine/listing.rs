//! A stage that reads very many files: the key has one digest of them, the store a table.

use std::fs;

use gfm_pipe::plan::Verdict;
use gfm_pipe::store::{Extent, MANIFEST_FORMAT, Manifest};

use crate::lab::{Lab, told};

const YAML: &str = "
stages:
  a: {op: folder, with: {path: notes}}
  n: {op: count, in: {text: a}}
";

fn lab(files: usize) -> Lab {
    let lab = Lab::new();
    fs::create_dir(lab.path("notes")).unwrap();
    for i in 0..files {
        lab.write(&format!("notes/{i:04}.txt"), &format!("note {i}"));
    }
    lab
}

fn manifest(lab: &Lab) -> Manifest {
    let all = lab.store().manifests().unwrap().into_iter();
    let mut all = all.map(|(_, m)| m.unwrap());
    all.find(|m| m.ingredients.operator == "folder").unwrap()
}

fn reasons(lab: &Lab) -> Vec<String> {
    match &lab.plan(YAML).unwrap().plan[0].verdict {
        Verdict::Run(reasons) => reasons.iter().map(ToString::to_string).collect(),
        other => vec![format!("{other:?}")],
    }
}

#[test]
fn few_files_are_named_in_the_manifest() {
    let lab = lab(1000);
    lab.run(YAML);
    let manifest = manifest(&lab);
    assert_eq!(manifest.format, 2);
    assert_eq!(manifest.ingredients.files.len(), 1000);
    assert!(manifest.listing.is_none() && manifest.ingredients.listing.is_none());
}

#[test]
fn many_files_are_a_table_and_are_named_when_they_change() {
    let lab = lab(1200);
    lab.write("notes/_hidden", "");
    assert_eq!(told(&lab.run(YAML))[0], "a ran never ran");
    assert_eq!(told(&lab.run(YAML)), ["a cached", "n cached"]);
    let made = manifest(&lab);
    assert_eq!(made.format, MANIFEST_FORMAT);
    assert!(made.ingredients.files.is_empty() && made.ingredients.unread.is_empty());
    let full = lab.store().ingredients(&made).unwrap();
    assert_eq!((full.files.len(), full.unread.len()), (1200, 1));
    assert_eq!(full.files[7].path, "notes/0007.txt");
    assert_eq!(full.key(), made.key);
    // No JSON file is large.
    for folder in ["stages", "last/p", "runs"] {
        let entries = fs::read_dir(lab.path("store").join(folder)).unwrap();
        let sizes: Vec<u64> = entries
            .map(|e| e.unwrap().metadata().unwrap().len())
            .collect();
        assert!(!sizes.is_empty(), "{folder}");
        assert!(sizes.iter().all(|size| *size < 5000), "{folder}: {sizes:?}");
    }

    // Another name is no other content.
    fs::rename(lab.path("notes/1199.txt"), lab.path("notes/1199a.txt")).unwrap();
    assert_eq!(told(&lab.run(YAML)), ["a cached", "n cached"]);
    fs::rename(lab.path("notes/1199a.txt"), lab.path("notes/1199.txt")).unwrap();

    lab.write("notes/0005.txt", "changed");
    lab.write("notes/0100a.txt", "new");
    lab.write("notes/0100b.txt", "new, too");
    fs::remove_file(lab.path("notes/0007.txt")).unwrap();
    let want = [
        "file notes/0005.txt changed",
        "file notes/0100a.txt is new",
        "file notes/0100b.txt is new",
        "file notes/0007.txt is not read any more",
    ];
    assert_eq!(reasons(&lab), want);

    // What `gc` keeps, it keeps with the list.
    let keep = [made.key.clone()].into();
    let garbage = lab.store().garbage(&keep, Extent::default()).unwrap();
    lab.store().remove(&garbage).unwrap();
    assert_eq!(reasons(&lab), want);
    let found = lab.store().verify(true, &|_, _| {}).unwrap();
    assert_eq!((found.objects, found.damages.len()), (2, 0));

    // Without the list, the files that changed are not known.
    let list = &made.listing.unwrap().objects[0].digest;
    fs::remove_file(lab.store().object(list)).unwrap();
    assert_eq!(
        lab.store().verify(false, &|_, _| {}).unwrap().damages.len(),
        1
    );
    assert_eq!(reasons(&lab), ["the files that it reads or finds changed"]);
}

#[test]
fn reasons_have_a_bound() {
    let lab = lab(1);
    lab.run(YAML);
    for i in 0..1200 {
        lab.write(&format!("notes/new {i:04}.txt"), &format!("{i}"));
    }
    let reasons = reasons(&lab);
    assert_eq!(reasons.len(), 1001);
    assert_eq!(reasons[1000], "and 200 other files");
}
