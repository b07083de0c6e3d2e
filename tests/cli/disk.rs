//! A full disk, and a disk that cannot be written. Both are real: a small file system in memory,
//! which only root may mount. If mounting is refused, the tests print that and pass.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gfm_pipe_testing::Random;

use crate::program::{folder, told, toy};

/// A mounted file system; unmounted when dropped, even if a test fails.
struct Disk(PathBuf);

impl Disk {
    /// Mounts a file system of this size; prints the reason and returns `None` if that fails.
    fn new(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "gfm-pipe-test"]);
        match mount.arg(&at).output() {
            Ok(done) if done.status.success() => Some(Disk(at)),
            refused => {
                let why = refused.map_or_else(
                    |e| e.to_string(),
                    |done| String::from_utf8_lossy(&done.stderr).trim().to_owned(),
                );
                gfm_pipe_testing::skip("tmpfs", &format!("mount refused: {why}"));
                None
            }
        }
    }

    /// Remounts it with other options.
    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let mut mount = Command::new("mount");
        assert!(
            mount
                .args(["-o", &options])
                .arg(&self.0)
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, so that it works even while a process of a failed test has a file open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Five files that cannot be compressed, each the input of a stage.
fn pipeline(path: &Path) {
    let mut yaml = "name: toys\nstages:\n".to_owned();
    let mut random = Random::new(1);
    for name in ["a", "b", "c", "d", "e"] {
        fs::write(path.join(format!("{name}.txt")), random.text(100_000)).unwrap();
        yaml.push_str(&format!(
            "  {name}: {{op: source, with: {{path: {name}.txt}}}}\n"
        ));
    }
    yaml.push_str("  n: {op: count, in: {text: e}}\n");
    fs::write(path.join("p.yaml"), yaml).unwrap();
}

/// The numbers of objects, of manifests, and of files in `tmp`.
fn stored(store: &Path) -> (usize, usize, usize) {
    let files = |folder: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(store.join(folder)).unwrap();
        entries.map(|e| e.unwrap().path()).collect()
    };
    let shards = files("objects");
    let objects = shards.iter().map(|s| fs::read_dir(s).unwrap().count());
    (objects.sum(), files("stages").len(), files("tmp").len())
}

#[test]
fn a_full_disk_fails_the_stage_with_what_to_do_and_the_next_run_goes_on() {
    let (_dir, path) = folder();
    pipeline(&path);
    let Some(disk) = Disk::new(path.join("disk"), "268k") else {
        return;
    };
    let store = path.join("disk/store");
    // One stage at a time: what a stage that fails had written is gone before the next one writes.
    let run = [
        "run",
        "p.yaml",
        "--store",
        "disk/store",
        "--keep-going",
        "--jobs",
        "1",
    ];
    let first = told(&mut toy(&path, &run));
    let (done, failed) = (
        first.matches("  ran  ").count(),
        first.matches("  failed  "),
    );
    let failed = failed.count();
    assert!(done > 0 && failed > 0, "{first}");
    assert!(
        first.contains("failed to write the table: No space left on device"),
        "{first}"
    );
    let hint = "hint: make room on the disk and run again: finished stages are kept";
    assert_eq!(first.matches(hint).count(), failed, "{first}");
    assert!(first.ends_with("--- exit 1\n"), "{first}");
    // Whatever was stored is complete, and no half-written file takes up space.
    let (objects, manifests, half) = stored(&store);
    assert_eq!((manifests, half), (done, 0), "{first}");
    assert!(objects >= manifests);
    let verify = told(&mut toy(&path, &["verify", "--store", "disk/store"]));
    assert!(verify.ends_with("all as stored\n--- exit 0\n"), "{verify}");

    // No space is left at all, not even for the journal: stored results can still be used.
    let mut filler = Vec::new();
    for size in [64 << 10, 4096] {
        loop {
            let file = path.join(format!("disk/filler{}", filler.len()));
            let full = fs::write(&file, vec![1; size]).is_err();
            filler.push(file);
            if full {
                break;
            }
        }
    }
    let again = told(&mut toy(&path, &run));
    assert_eq!(again.matches("  cached  ").count(), done, "{again}");
    assert!(again.contains("warning: the run's journal is not complete"));
    assert_eq!(stored(&store), (objects, manifests, 0));
    for verb in [&["plan", "p.yaml"][..], &["runs"], &["why", "a"]] {
        let look = told(&mut toy(
            &path,
            &[verb, &["--store", "disk/store"]].concat(),
        ));
        assert!(look.ends_with("--- exit 0\n"), "{look}");
    }

    for file in filler {
        fs::remove_file(file).unwrap();
    }
    disk.remount("size=4m");
    let last = told(&mut toy(&path, &run));
    assert!(last.ends_with("--- exit 0\n"), "{last}");
    assert_eq!(last.matches("  cached  ").count(), done, "{last}");
    // The artifacts equal those on a disk that was never full.
    told(&mut toy(&path, &["run", "p.yaml"]));
    let plain = fs::read_dir(path.join(".gfm-pipe/stages")).unwrap();
    for manifest in plain.map(|e| e.unwrap().path()) {
        let ports = |path: &Path| -> serde_json::Value {
            let text = fs::read_to_string(path).unwrap();
            serde_json::from_str::<serde_json::Value>(&text).unwrap()["ports"].clone()
        };
        let name = manifest.file_name().unwrap();
        assert_eq!(ports(&store.join("stages").join(name)), ports(&manifest));
    }
}

#[test]
fn a_store_that_cannot_be_written_can_be_looked_at() {
    let (_dir, path) = folder();
    pipeline(&path);
    let Some(disk) = Disk::new(path.join("disk"), "4m") else {
        return;
    };
    let at =
        |args: &[&str], store: &str| told(&mut toy(&path, &[args, &["--store", store]].concat()));
    let verb = |args: &[&str]| at(args, "disk/store");
    assert!(verb(&["run", "p.yaml"]).ends_with("--- exit 0\n"));
    disk.remount("ro");
    for look in [
        &["plan", "p.yaml"][..],
        &["show", "n"],
        &["show", "n", "--pipeline", "p.yaml"],
        &["runs"],
        &["diff", "latest", "latest"],
        &["why", "n"],
        &["why", "n", "--pipeline", "p.yaml"],
        &["verify"],
        &["gc", "--dry-run"],
    ] {
        let said = verb(look);
        assert!(said.ends_with("--- exit 0\n"), "{look:?}: {said}");
        assert!(!said.contains("--- stderr"), "{look:?}: {said}");
    }
    let hint = "hint: a store that cannot be written can be looked at (plan, why, show, runs, verify); \
                to run, choose another folder with --store DIR\n--- exit 1\n";
    let refused = "Read-only file system (os error 30)";
    for (write, store, what) in [
        (
            &["run", "p.yaml"][..],
            "disk/store",
            "write to the store disk/store",
        ),
        (&["gc"], "disk/store", "write to the store disk/store"),
        (&["run", "p.yaml"], "disk/new", "create the store disk/new"),
        (
            &["run", "p.yaml"],
            "disk/new/below",
            "create the store disk/new/below",
        ),
    ] {
        let said = at(write, store);
        let error = format!("--- stderr\nerror: failed to {what}: {refused}\n{hint}");
        assert!(said.ends_with(&error), "{said}");
    }
    assert!(at(&["plan", "p.yaml"], "disk/new").contains("5 to run"));
    let pin = verb(&["runs", "--pin", "latest"]);
    assert!(pin.ends_with(hint) && !pin.contains(".tmp"), "{pin}");
}

#[test]
fn a_store_inside_a_file_is_refused_with_what_to_do() {
    let (_dir, path) = folder();
    pipeline(&path);
    for store in ["a.txt", "a.txt/store"] {
        let said = told(&mut toy(&path, &["run", "p.yaml", "--store", store]));
        assert!(
            said.contains("hint: choose a folder with --store DIR"),
            "{said}"
        );
        assert!(said.ends_with("--- exit 1\n"), "{said}");
    }
}

#[test]
fn a_page_that_does_not_fit_on_the_disk_leaves_the_old_one() {
    let (_dir, path) = folder();
    pipeline(&path);
    told(&mut toy(&path, &["run", "p.yaml"]));
    let Some(disk) = Disk::new(path.join("disk"), "8k") else {
        return;
    };
    fs::write(path.join("disk/r.html"), "the old page").unwrap();
    for args in [
        &["report", "-o", "disk/r.html", "--force"][..],
        &[
            "diff",
            "latest",
            "latest",
            "--html",
            "disk/r.html",
            "--force",
        ],
    ] {
        let said = told(&mut toy(&path, args));
        let full = "error: cannot write disk/r.html: No space left on device";
        assert!(
            said.contains(full) && said.ends_with("--- exit 1\n"),
            "{said}"
        );
        assert_eq!(
            fs::read_to_string(path.join("disk/r.html")).unwrap(),
            "the old page"
        );
        assert_eq!(
            fs::read_dir(&disk.0).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }
}
