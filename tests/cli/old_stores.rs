//! A store that an earlier version wrote is read by this one, and its results are used.
//!
//! `tests/stores` has a folder for each version, with a pipeline of toy operators, its input and
//! the store of one run. `UPDATE_GOLDEN=1 cargo test --test cli old_stores` adds one for this
//! version; those of earlier versions are never written again.

use std::fs;
use std::path::{Path, PathBuf};

use crate::program::{folder, stdout, told, toy};

const YAML: &str = "
name: toys
stages:
  a: {op: source, with: {path: a.txt}}
  both: {op: concat, in: {text: [a, a]}, with: {prefix: '> '}}
  n: {op: count, in: {text: both}}
  s: {op: shout, in: {text: a}}
";

/// What a store need not have: files about this machine, what is empty, and what would keep the
/// store out of the repository.
const LEFT_OUT: [&str; 8] = [
    ".gitignore",
    "files.json",
    "objects.json",
    "codes",
    "locks",
    "logs",
    "tmp",
    "work",
];

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Writes the folder of this version, where there is none.
fn written(stores: &Path) {
    let mine = stores.join(env!("CARGO_PKG_VERSION"));
    if std::env::var_os("UPDATE_GOLDEN").is_none() || mine.exists() {
        return;
    }
    let (_dir, path) = folder();
    fs::write(path.join("a.txt"), "one fish\ntwo fish\n").unwrap();
    fs::write(path.join("p.yaml"), YAML).unwrap();
    told(&mut toy(&path, &["run", "p.yaml", "--store", "store"]));
    told(&mut toy(
        &path,
        &["tag", "latest", "kept", "--store", "store"],
    ));
    for name in LEFT_OUT {
        let path = path.join("store").join(name);
        let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
    }
    copy(&path, &mine);
}

#[test]
fn stores_of_earlier_versions_are_used() {
    let stores = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stores"));
    written(&stores);
    let mut versions = 0;
    for version in fs::read_dir(&stores).unwrap() {
        let version = version.unwrap();
        if version.path().is_file() {
            continue;
        }
        let name = version.file_name().into_string().unwrap();
        let (_dir, path) = folder();
        copy(&version.path(), &path);
        let ask = |args: &[&str]| told(&mut toy(&path, &[args, &["--store", "store"]].concat()));
        let good = |args: &[&str]| {
            let text = ask(args);
            assert!(text.ends_with("--- exit 0\n"), "{name}: {args:?}: {text}");
            text
        };
        good(&["runs"]);
        let shown = stdout(
            &toy(&path, &["show", "s", "--json", "--store", "store"])
                .output()
                .unwrap(),
        );
        assert!(shown.contains("ONE FISH"), "{name}: {shown}");
        assert!(
            good(&["show", "n", "--run", "kept"]).contains('4'),
            "{name}"
        );
        assert!(good(&["why", "n"]).contains("never ran"), "{name}");
        let verified = good(&["verify"]);
        assert!(!verified.contains("damaged"), "{name}: {verified}");
        let run = good(&["run", "p.yaml"]);
        assert!(run.contains("ok: 0 ran, 4 cached"), "{name}: {run}");
        // Items are found, too.
        fs::write(path.join("a.txt"), "one fish\ntwo fish\nred fish\n").unwrap();
        let run = good(&["run", "p.yaml"]);
        assert!(run.contains("ran 1 of 3 items (1 new)"), "{name}: {run}");
        versions += 1;
    }
    assert!(versions > 0);
}
