//! A remote shared by two machines; here, two stores and a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gfm_pipe::exec::{RunOptions, RunSummary};
use gfm_pipe::plan::{Request, Verdict, prepare};
use gfm_pipe::record::StageStatus;
use gfm_pipe::store::{Moved, Remote};
use gfm_pipe_api::Cancel;
#[cfg(feature = "cloud")]
use gfm_pipe_testing::Random;

use crate::lab::{Events, Lab, damages, same_manifest};

const YAML: &str = "
stages:
  a: {op: source, with: {path: a.txt}}
  c: {op: concat, in: {text: a}, with: {prefix: x}}
  n: {op: count, in: {text: c}}
";

struct Team {
    folder: tempfile::TempDir,
}

impl Team {
    fn new() -> Self {
        Team {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn remote(&self, push: bool) -> Arc<Remote> {
        let place = self.folder.path().join("shared");
        let place = place.to_str().unwrap();
        Arc::new(Remote::open(place, &Default::default(), push).unwrap())
    }

    /// A new machine with the same input file and an empty store.
    fn machine(&self) -> Lab {
        fs::create_dir_all(self.folder.path().join("shared")).unwrap();
        let lab = Lab::new();
        lab.write("a.txt", "one\ntwo\n");
        lab
    }

    fn run(&self, lab: &Lab) -> (RunSummary, Vec<String>) {
        self.run_with(lab, &lab.options(), true)
    }

    fn run_with(&self, lab: &Lab, options: &RunOptions, push: bool) -> (RunSummary, Vec<String>) {
        let options = RunOptions {
            request: Request {
                remote: Some(self.remote(push)),
                ..options.request.clone()
            },
            ..options.clone()
        };
        let events = Arc::new(Events::default());
        let cancel = Cancel::default();
        let summary = lab.run_heard(YAML, &options, events.clone(), &cancel);
        (summary, events.warnings())
    }

    fn files(&self, part: &str) -> Vec<PathBuf> {
        fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(dir).unwrap().flatten() {
                if entry.path().is_dir() {
                    walk(&entry.path(), out);
                } else {
                    out.push(entry.path());
                }
            }
        }
        let mut out = Vec::new();
        walk(
            &self.folder.path().join("shared").join("v1").join(part),
            &mut out,
        );
        out.sort();
        out
    }
}

fn statuses(summary: &RunSummary) -> Vec<StageStatus> {
    summary.stages.iter().map(|s| s.status).collect()
}

fn digests(summary: &RunSummary) -> Vec<String> {
    let ports = summary.artifacts.values().flat_map(|p| p.values());
    ports.map(gfm_pipe_api::Artifact::digest).collect()
}

use StageStatus::{Cached, Failed, Ran};

#[test]
fn what_one_machine_computed_the_other_takes() {
    let team = Team::new();
    let (first, second) = (team.machine(), team.machine());
    let (made, warnings) = team.run(&first);
    assert_eq!(statuses(&made), [Ran, Ran, Ran]);
    assert!(warnings.is_empty(), "{warnings:?}");
    let (name, exchange) = made.remote.clone().unwrap();
    assert_eq!(exchange.fetched, Moved::default());
    assert_eq!(exchange.pushed.stages, 3);
    assert_eq!(exchange.pushed.bytes, first.store().disk_used());

    // The second machine's plan says that stages come from the remote, and fetches nothing.
    let request = Request {
        remote: Some(team.remote(false)),
        ..second.request()
    };
    let plan = prepare(&second.pipeline(YAML), &second.store(), &request).unwrap();
    assert!(
        plan.plan
            .iter()
            .all(|p| matches!(p.verdict, Verdict::Remote(_)))
    );
    assert_eq!(second.store().disk_used(), 0);

    let (taken, warnings) = team.run(&second);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(statuses(&taken), [Cached, Cached, Cached]);
    assert_eq!(
        taken.stages[0].note.as_deref(),
        Some(format!("from {name}").as_str())
    );
    let (_, exchange) = taken.remote.clone().unwrap();
    assert_eq!(exchange.fetched.stages, 3);
    assert_eq!(exchange.fetched.bytes, first.store().disk_used());
    assert_eq!(exchange.pushed, Moved::default());
    assert_eq!(digests(&taken), digests(&made));
    let found = second.store().verify(true, &|_, _| {}).unwrap();
    assert!(found.damages.is_empty());
    // What was fetched is in the machine's own store now.
    let again = second.run(YAML);
    assert_eq!(statuses(&again), [Cached, Cached, Cached]);
    assert_eq!(again.stages[0].note, None);
}

#[test]
fn a_remote_that_comes_later_gets_what_is_there() {
    let team = Team::new();
    let (first, second) = (team.machine(), team.machine());
    first.run(YAML);
    let (_, exchange) = team.run(&first).0.remote.unwrap();
    assert_eq!(exchange.pushed.stages, 3);
    // Computed although the remote has it: the remote is not asked for forced stages.
    let options = RunOptions {
        request: Request {
            force: vec!["c".to_owned()],
            ..second.request()
        },
        ..second.options()
    };
    let (summary, _) = team.run_with(&second, &options, true);
    assert_eq!(statuses(&summary), [Cached, Ran, Cached]);
}

#[test]
fn a_stage_left_out_by_the_selection_may_be_in_the_remote() {
    let team = Team::new();
    let (first, second) = (team.machine(), team.machine());
    team.run(&first);
    let mut options = second.options();
    options.request.selection.only = vec!["n".to_owned()];
    let (summary, _) = team.run_with(&second, &options, true);
    assert_eq!(summary.stage("n").unwrap().status, Cached);

    // The plan expects it from the remote, but it does not arrive.
    let third = team.machine();
    for object in team.files("objects") {
        fs::remove_file(object).unwrap();
    }
    let mut options = third.options();
    options.request.selection.only = vec!["n".to_owned()];
    let (summary, warnings) = team.run_with(&third, &options, true);
    let failed = summary.stages.iter().find(|s| s.status == Failed).unwrap();
    let error = failed.error.as_deref().unwrap();
    assert!(error.contains("failed to give it"), "{error}");
    assert!(warnings[0].contains("is missing"), "{warnings:?}");
}

#[test]
fn without_push_nothing_is_given() {
    let team = Team::new();
    let lab = team.machine();
    let (summary, _) = team.run_with(&lab, &lab.options(), false);
    assert_eq!(statuses(&summary), [Ran, Ran, Ran]);
    assert_eq!(summary.remote.unwrap().1.pushed, Moved::default());
    assert!(!team.folder.path().join("shared").join("v1").exists());
}

/// A remote that is gone costs one warning, however many stages there are.
#[test]
fn a_remote_that_is_gone_is_told_once() {
    let team = Team::new();
    let lab = team.machine();
    fs::remove_dir_all(team.folder.path().join("shared")).unwrap();
    let (summary, warnings) = team.run(&lab);
    assert_eq!(statuses(&summary), [Ran, Ran, Ran]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("there is no such folder"),
        "{warnings:?}"
    );
    assert!(warnings[0].contains("going on without it"), "{warnings:?}");
    // Nothing is written to the place where a disk is not mounted.
    assert!(!team.folder.path().join("shared").exists());
}

/// Every file of a remote is damaged in every way: it is never used, and the machine that computes
/// the stage stores it again.
#[test]
fn a_damaged_remote_is_never_used_and_heals() {
    let team = Team::new();
    let first = team.machine();
    let want = digests(&team.run(&first).0);
    let mut files = team.files("objects");
    files.extend(team.files("stages"));
    assert!(files.len() >= 5);
    let mut tried = 0;
    for file in files {
        let whole = fs::read(&file).unwrap();
        // Manifests are damaged at more places, because any byte may be part of the number of rows.
        let json = file.extension().is_some_and(|e| e == "json");
        let step = if json { 41 } else { 1 + whole.len() / 6 };
        for way in damages(&whole, step) {
            tried += 1;
            match &way {
                None => fs::remove_file(&file).unwrap(),
                Some(bytes) => fs::write(&file, bytes).unwrap(),
            }
            let second = team.machine();
            let (summary, warnings) = team.run(&second);
            assert_eq!(digests(&summary), want);
            let sound = second.store().verify(true, &|_, _| {}).unwrap();
            assert!(sound.damages.is_empty(), "{:?}", sound.damages);
            let ran = summary.stages.iter().any(|s| s.status == Ran);
            let same = same_manifest(way.as_deref(), &whole);
            assert!(ran || same, "{} was used", file.display());
            if ran && way.is_some() {
                assert!(!warnings.is_empty());
            }
            if ran {
                // The remote is repaired: a third machine fetches everything from it.
                let third = team.machine();
                let (summary, warnings) = team.run(&third);
                assert_eq!(
                    statuses(&summary),
                    [Cached, Cached, Cached],
                    "{}",
                    file.display()
                );
                assert!(warnings.is_empty(), "{warnings:?}");
            }
            fs::write(&file, &whole).unwrap();
        }
    }
    println!("{tried} ways");
    assert!(tried >= 50, "{tried}");
}

/// The number of rows in the manifest is changed, so its seal does not match.
#[test]
fn a_manifest_that_tells_another_number_of_rows_is_not_used() {
    let team = Team::new();
    let first = team.machine();
    team.run(&first);
    for file in team.files("stages") {
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("\"rows\": 2", "\"rows\": 9")).unwrap();
    }
    let second = team.machine();
    let (summary, warnings) = team.run(&second);
    assert!(summary.stages.iter().any(|s| s.status == Ran));
    assert!(
        warnings.iter().all(|w| w.contains("is damaged")),
        "{warnings:?}"
    );
    let rows: Vec<u64> = summary.stages.iter().map(|s| s.rows).collect();
    assert!(rows.iter().all(|n| *n < 9), "{rows:?}");
}

#[test]
fn force_mends_the_remote() {
    let team = Team::new();
    let first = team.machine();
    team.run(&first);
    let object = team.files("objects").remove(0);
    let whole = fs::read(&object).unwrap();
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 1;
    fs::write(&object, bytes).unwrap();
    let mut options = first.options();
    options.request.force = ["a", "c", "n"].map(str::to_owned).to_vec();
    team.run_with(&first, &options, true);
    assert_eq!(fs::read(&object).unwrap(), whole);
}

#[test]
fn a_remote_is_found_by_a_path_with_dots() {
    let team = Team::new();
    let lab = team.machine();
    let place = team.folder.path().join("shared").join("..").join("shared");
    let remote = Remote::open(place.to_str().unwrap(), &Default::default(), true).unwrap();
    let mut options = lab.options();
    options.request.remote = Some(Arc::new(remote));
    let summary = lab.run_with(YAML, &options);
    assert_eq!(summary.remote.unwrap().1.pushed.stages, 3);
}

/// What a newer version stored stays, and is not called damaged.
#[test]
fn a_manifest_of_a_newer_version_is_left_alone() {
    let team = Team::new();
    team.run(&team.machine());
    for file in team.files("stages") {
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("\"format\": 2", "\"format\": 99")).unwrap();
    }
    let (summary, warnings) = team.run(&team.machine());
    assert_eq!(statuses(&summary), [Ran, Ran, Ran]);
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[0].contains("format version 99"), "{warnings:?}");
    for file in team.files("stages") {
        assert!(
            fs::read_to_string(&file)
                .unwrap()
                .contains("\"format\": 99")
        );
    }
}

/// A stage whose local object is damaged is not pushed.
#[test]
fn a_damaged_object_is_not_given() {
    let team = Team::new();
    let lab = team.machine();
    lab.run(YAML);
    let (object, _) = lab.store().objects().unwrap().remove(0);
    lab.rot(&object);
    // The object is not opened, so the run trusts it; it is checked before it is sent.
    let (_, warnings) = team.run(&lab);
    assert!(
        warnings.iter().any(|w| w.contains("is damaged")),
        "{warnings:?}"
    );
    let name = object.file_name().unwrap();
    assert!(
        team.files("objects")
            .iter()
            .all(|p| p.file_name() != Some(name))
    );
}

/// However a folder refuses, that costs a warning; the run goes on and ends normally.
#[test]
fn a_folder_that_refuses_costs_a_warning() {
    let made = Team::new().machine();
    let made_stages = made.run(YAML).stages;
    let key = made_stages[0].key.clone().unwrap();
    let object = made.store().objects().unwrap().remove(0).0;
    let object = object.strip_prefix(made.path("store")).unwrap().to_owned();
    let manifest = PathBuf::from(format!("stages/{key}.json"));
    let file = |at: &Path| {
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, "").unwrap();
    };
    let folder = |at: &Path| fs::create_dir_all(at.join("below")).unwrap();
    type Way<'a> = (&'a str, &'a dyn Fn(&Path));
    let ways: [Way<'_>; 5] = [
        ("a file where the folder must be", &|v1| file(v1)),
        ("a file where objects must be", &|v1| {
            file(&v1.join("objects"))
        }),
        ("a file where manifests must be", &|v1| {
            file(&v1.join("stages"))
        }),
        ("a folder in an object's way", &|v1| {
            folder(&v1.join(&object))
        }),
        ("a folder in a manifest's way", &|v1| {
            folder(&v1.join(&manifest))
        }),
    ];
    for (what, spoil) in ways {
        let team = Team::new();
        let lab = team.machine();
        spoil(&team.folder.path().join("shared/v1"));
        refused(&team.folder.path().join("shared"), &lab, what);
    }
    // A place where not even root may write.
    if cfg!(target_os = "linux") {
        refused(Path::new("/proc"), &Team::new().machine(), "no permission");
    }
}

fn refused(place: &Path, lab: &Lab, what: &str) {
    let remote = Remote::open(place.to_str().unwrap(), &Default::default(), true).unwrap();
    let mut options = lab.options();
    options.request.remote = Some(Arc::new(remote));
    let events = Arc::new(Events::default());
    let summary = lab.run_heard(YAML, &options, events.clone(), &Cancel::default());
    assert_eq!(statuses(&summary), [Ran, Ran, Ran], "{what}");
    assert_eq!(summary.status, gfm_pipe::record::RunStatus::Ok, "{what}");
    let warnings = events.warnings();
    assert_eq!(warnings.len(), 1, "{what}: {warnings:?}");
    assert!(warnings[0].contains("going on without it"), "{warnings:?}");
    let events = events.0.lock().unwrap();
    let last = events.last().unwrap();
    assert!(
        matches!(last, gfm_pipe::record::Event::RunFinished { .. }),
        "{what}: {last:?}"
    );
}

/// A damaged stage of the local store is restored from the remote.
#[test]
fn what_is_damaged_here_comes_from_the_remote() {
    let team = Team::new();
    let lab = team.machine();
    team.run(&lab);
    for (object, ..) in lab.store().objects().unwrap() {
        fs::write(object, "short").unwrap();
    }
    let (summary, _) = team.run(&lab);
    assert_eq!(statuses(&summary), [Cached, Cached, Cached]);
    assert_eq!(summary.remote.unwrap().1.fetched.stages, 3);
    // The same for damage that does not change the size.
    for (object, ..) in lab.store().objects().unwrap() {
        let mut bytes = fs::read(&object).unwrap();
        bytes.reverse();
        fs::write(&object, bytes).unwrap();
    }
    let (summary, _) = team.run(&lab);
    assert_eq!(statuses(&summary), [Cached, Cached, Cached]);
    assert_eq!(summary.remote.unwrap().1.fetched.stages, 3);
    assert!(
        lab.store()
            .verify(true, &|_, _| {})
            .unwrap()
            .damages
            .is_empty()
    );
}

#[test]
fn an_address_that_cannot_be_one_is_refused() {
    let open = |address: &str| {
        let e = Remote::open(address, &Default::default(), true).unwrap_err();
        (e.to_string(), e.hint())
    };
    let (text, hint) = open("ftp://host/x");
    assert_eq!(text, "remote ftp://host/x: `ftp://` is not known");
    assert!(hint.unwrap().contains("s3://BUCKET"));
    if !cfg!(feature = "cloud") {
        let (text, hint) = open("s3://bucket/x");
        assert!(text.contains("built without clouds"), "{text}");
        assert!(hint.unwrap().contains("--features cloud"));
    }
    assert!(open(" ").0.contains("it is empty"));
}

/// The same over HTTP, with a server in the test or the one that `scripts/check-s3/run` starts.
#[cfg(feature = "cloud")]
#[test]
fn a_bucket_is_as_good_as_a_folder() {
    let own = gfm_pipe_testing::Bucket::start().unwrap();
    let (address, options) = match std::env::var("GFM_PIPE_TEST_REMOTE") {
        Ok(address) => (address, std::env::vars().collect()),
        Err(_) => ("s3://models/tests".to_owned(), own.variables("tester")),
    };
    let run = |lab: &Lab| {
        let remote = Remote::open(&address, &options, true).unwrap();
        let request = Request {
            remote: Some(Arc::new(remote)),
            ..lab.request()
        };
        let options = RunOptions {
            request,
            ..lab.options()
        };
        let events = Arc::new(Events::default());
        let summary = lab.run_heard(YAML, &options, events.clone(), &Cancel::default());
        (summary, events.warnings())
    };
    // More than one part of an upload: 12 MB of text that cannot be compressed.
    let text = Random::new(1).text(12_000_000);
    let labs = [Lab::new(), Lab::new()];
    for lab in &labs {
        lab.write("a.txt", &text);
    }
    let (made, warnings) = run(&labs[0]);
    assert!(warnings.is_empty(), "{warnings:?}");
    let (_, exchange) = made.remote.clone().unwrap();
    assert_eq!(exchange.pushed.stages + exchange.fetched.stages, 3);
    let (taken, warnings) = run(&labs[1]);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(statuses(&taken), [Cached, Cached, Cached]);
    assert_eq!(digests(&taken), digests(&made));
    let (_, exchange) = taken.remote.unwrap();
    assert_eq!(exchange.fetched.stages, 3);
    println!(
        "given {} bytes, taken {}",
        made.remote.unwrap().1.pushed.bytes,
        exchange.fetched.bytes
    );
    let sound = labs[1].store().verify(true, &|_, _| {});
    assert!(sound.unwrap().damages.is_empty());
}

/// What one machine computed of a stage's items the other does not compute again, although the
/// stage itself is another one.
#[test]
fn items_are_shared() {
    const YAML: &str = "
stages:
  a: {op: source, with: {path: a.txt}}
  s: {op: shout, in: {text: a}}
";
    let team = Team::new();
    let run = |lab: &Lab, push: bool| {
        let options = RunOptions {
            request: Request {
                remote: Some(team.remote(push)),
                ..lab.request()
            },
            ..lab.options()
        };
        let events = Arc::new(Events::default());
        let summary = lab.run_heard(YAML, &options, events.clone(), &Cancel::default());
        let counts = summary.stages[1].items.clone();
        (counts.map(|c| (c.total, c.computed)), events.warnings())
    };
    let (first, second, third) = (team.machine(), team.machine(), team.machine());
    assert_eq!(run(&first, true), (None, vec![]));
    let packs = team.files("items");
    assert_eq!(packs.len(), 1);
    second.write("a.txt", "two\nthree\n");
    assert_eq!(run(&second, false), (Some((2, 1)), vec![]));
    assert_eq!(
        team.files("items"),
        packs,
        "nothing is given to it without asking"
    );
    second.write("a.txt", "two\nthree\nfour\n");
    assert_eq!(run(&second, true), (Some((3, 1)), vec![]));
    assert_eq!(team.files("items").len(), 3);
    // A damaged pack is reported, and its items are computed again.
    for pack in &packs {
        let mut bytes = fs::read(pack).unwrap();
        let at = bytes.len() - 60;
        bytes[at] ^= 1;
        fs::write(pack, bytes).unwrap();
    }
    third.write("a.txt", "four\ntwo\nthree\nfive\n");
    let (counts, warnings) = run(&third, false);
    assert_eq!(counts, Some((4, 2)));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].ends_with("is damaged; it is not used"),
        "{warnings:?}"
    );
}
