//! Commands about a store and its runs.

use std::fs;
use std::path::PathBuf;

use insta::assert_snapshot;

use crate::program::{filters, folder, stdout, told, toy};

const YAML: &str = "
name: toys
vars: {prefix: '> '}
stages:
  a: {op: source, with: {path: a.txt}}
  both: {op: concat, in: {text: [a, a]}, with: {prefix: '{{ prefix }}'}}
  n: {op: count, in: {text: both}}
";

/// A store with two runs; the second uses another prefix.
fn two_runs() -> (tempfile::TempDir, PathBuf) {
    let (dir, path) = folder();
    fs::write(path.join("a.txt"), "one\ntwo\n").unwrap();
    fs::write(path.join("p.yaml"), YAML).unwrap();
    told(&mut toy(&path, &["run", "p.yaml"]));
    told(&mut toy(&path, &["run", "p.yaml", "-p", "prefix=#"]));
    (dir, path)
}

/// The runs of the store, as `runs --json` lists them.
fn listed(path: &std::path::Path) -> serde_json::Value {
    let json = stdout(&toy(path, &["runs", "--json"]).output().unwrap());
    serde_json::from_str(&json).unwrap()
}

fn settings() -> insta::Settings {
    let mut settings = filters();
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "[when]");
    settings.add_filter(
        r"(input [\w ]+: [\w.]+|file a.txt:?) +[0-9a-f]{12,16}",
        "$1 [digest]",
    );
    settings.add_filter(r"[0-9a-f]{2}/\[digest\]", "[object]");
    settings
}

#[test]
fn why_goes_down_to_what_was_changed() {
    let (_dir, path) = two_runs();
    settings().bind(|| {
        assert_snapshot!("why_ran", told(&mut toy(&path, &["why", "n"])));
        assert_snapshot!("why_cached", told(&mut toy(&path, &["why", "a"])));
        let now = ["why", "n", "--pipeline", "p.yaml", "-p", "prefix=!"];
        assert_snapshot!("why_would_run", told(&mut toy(&path, &now)));
        assert_snapshot!("why_unknown", told(&mut toy(&path, &["why", "bath"])));
    });
}

#[test]
fn why_names_items() {
    let (_dir, path) = folder();
    let yaml = "stages: {a: {op: source, with: {path: a.txt}}, s: {op: shout, in: {text: a}}}";
    fs::write(path.join("p.yaml"), yaml).unwrap();
    let lines =
        |from: usize, to: usize| -> String { (from..to).map(|i| format!("l{i} fish\n")).collect() };
    fs::write(path.join("a.txt"), lines(0, 5)).unwrap();
    told(&mut toy(&path, &["run", "p.yaml"]));
    let changed = lines(2, 30).replace("l3 fish", "l3 \u{1b}[31mbird");
    fs::write(path.join("a.txt"), changed).unwrap();
    settings().bind(|| {
        assert_snapshot!("run_items", told(&mut toy(&path, &["run", "p.yaml"])));
        let why = told(&mut toy(&path, &["why", "s"]));
        let items = why.find("\nran ").unwrap();
        let end = why.find("\nmade ").unwrap();
        assert_snapshot!("why_items", &why[items..end]);
    });
}

#[test]
fn runs_have_names() {
    let (_dir, path) = two_runs();
    let tag = |args: &[&str]| told(&mut toy(&path, &[&["tag"], args].concat()));
    settings().bind(|| {
        let all = [
            tag(&[]),
            tag(&["latest", "prod"]),
            tag(&["2", "prod"]),
            tag(&["latest", "a/b"]),
            tag(&["latest"]),
            tag(&[]),
            told(&mut toy(&path, &["runs"])),
            told(&mut toy(&path, &["gc", "--keep", "0", "--dry-run"])),
            tag(&["--remove", "prod"]),
            tag(&["--remove", "prod"]),
        ];
        assert_snapshot!("tags", all.join("\n"));
    });
}

#[test]
fn runs_are_listed_compared_and_pinned() {
    let (_dir, path) = two_runs();
    settings().bind(|| {
        assert_snapshot!("runs", told(&mut toy(&path, &["runs"])));
        let json = stdout(&toy(&path, &["runs", "--json"]).output().unwrap());
        let runs: serde_json::Value = serde_json::from_str(&json).unwrap();
        let name = |i: usize| runs[i]["run"].as_str().unwrap().to_owned();
        assert_eq!(runs[1]["stages"][2]["status"], "ran");
        assert_snapshot!("diff", told(&mut toy(&path, &["diff", "latest"])));
        // A single run is compared with the run before it. A run is compared with itself only on
        // request.
        assert_eq!(
            told(&mut toy(&path, &["diff"])),
            told(&mut toy(&path, &["diff", &name(0), &name(1)]))
        );
        assert_snapshot!("diff_first", told(&mut toy(&path, &["diff", &name(0)])));
        let same = ["diff", "latest", "latest"];
        assert_snapshot!("diff_same", told(&mut toy(&path, &same)));
        assert_snapshot!("pin", told(&mut toy(&path, &["runs", "--pin", &name(0)])));
        assert_snapshot!("diff_unknown", told(&mut toy(&path, &["diff", "x"])));
    });
}

#[test]
fn damage_is_named_and_gives_exit_code_1() {
    let (_dir, path) = two_runs();
    settings().bind(|| {
        assert_snapshot!("verify_good", told(&mut toy(&path, &["verify"])));
        let rows = stdout(&toy(&path, &["runs", "--json"]).output().unwrap());
        let runs: serde_json::Value = serde_json::from_str(&rows).unwrap();
        let key = runs[0]["stages"][0]["key"].as_str().unwrap().to_owned();
        fs::write(path.join(format!(".gfm-pipe/stages/{key}.json")), "{").unwrap();
        // An object of another stage.
        let key = runs[1]["stages"][1]["key"].as_str().unwrap();
        let text = fs::read_to_string(path.join(format!(".gfm-pipe/stages/{key}.json"))).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
        let digest = manifest["ports"]["lines"]["tables"][0]["digest"]
            .as_str()
            .unwrap();
        let object = format!(".gfm-pipe/objects/{}/{digest}.parquet", &digest[..2]);
        fs::write(path.join(object), "rubbish").unwrap();
        let report = told(&mut toy(&path, &["verify", "--quick"]));
        assert!(report.contains("--- exit 1"), "{report}");
        assert_eq!(report.matches("damaged: ").count(), 2, "{report}");
        assert!(report.contains("7 bytes, "), "{report}");
        assert_snapshot!(
            "verify_none",
            told(&mut toy(&path, &["verify", "--store", "no"]))
        );
    });
}

#[test]
fn gc_says_what_it_would_remove_and_keeps_pinned_runs() {
    let (_dir, path) = two_runs();
    settings().bind(|| {
        let dry = ["gc", "--keep", "1", "--dry-run"];
        assert_snapshot!("gc_dry", told(&mut toy(&path, &dry)));
        let json = stdout(&toy(&path, &["runs", "--json"]).output().unwrap());
        let runs: serde_json::Value = serde_json::from_str(&json).unwrap();
        told(&mut toy(
            &path,
            &["runs", "--pin", runs[0]["run"].as_str().unwrap()],
        ));
        assert_snapshot!("gc_pinned", told(&mut toy(&path, &dry)));
        told(&mut toy(
            &path,
            &["runs", "--unpin", runs[0]["run"].as_str().unwrap()],
        ));
        assert_snapshot!("gc", told(&mut toy(&path, &["gc", "--keep", "1"])));
        assert_snapshot!("gc_again", told(&mut toy(&path, &["gc", "--keep", "1"])));
    });
}

#[test]
fn what_was_left_undone_is_retried_and_nothing_else() {
    let (_dir, path) = folder();
    let yaml = "
name: toys
stages:
  a: {op: source, with: {path: a.txt}}
  b: {op: source, with: {path: b.txt}}
  m: {op: count, in: {text: b}}
";
    fs::write(path.join("a.txt"), "one\n").unwrap();
    fs::write(path.join("p.yaml"), yaml).unwrap();
    let retry = |verb: &str| told(&mut toy(&path, &[verb, "p.yaml", "--retry-failed"]));
    settings().bind(|| {
        let mut all = vec![retry("run")];
        told(&mut toy(&path, &["run", "p.yaml", "--keep-going"]));
        // What has changed since then is no reason: only what was left undone is run.
        fs::write(path.join("a.txt"), "another\n").unwrap();
        fs::write(path.join("b.txt"), "one\ntwo\n").unwrap();
        all.extend([retry("plan"), retry("run"), retry("run")]);
        let both = ["run", "p.yaml", "--retry-failed", "--only", "a"];
        all.push(told(&mut toy(&path, &both)));
        assert_snapshot!("retry_failed", all.join("\n"));
    });
}

#[test]
fn what_is_kept_of_a_stage_is_removed_but_not_from_tagged_runs() {
    let (_dir, path) = two_runs();
    let clean = |args: &[&str]| told(&mut toy(&path, &[&["clean"], args].concat()));
    settings().bind(|| {
        told(&mut toy(&path, &["tag", "latest", "prod"]));
        let all = [
            clean(&["both", "--dry-run"]),
            clean(&["both"]),
            clean(&["both"]),
            // The tagged run has what it had; the other one computes the stage again.
            told(&mut toy(&path, &["run", "p.yaml", "-p", "prefix=#"])),
            told(&mut toy(&path, &["run", "p.yaml"])),
            clean(&["bth"]),
            clean(&["both", "--of", "ghosts"]),
            clean(&["both", "--store", "no"]),
        ];
        assert_snapshot!("clean", all.join("\n"));
        let verified = told(&mut toy(&path, &["verify"]));
        assert!(verified.contains("--- exit 0"), "{verified}");
    });
}

#[test]
fn clean_keeps_items_unless_it_is_told_to_remove_them() {
    let (_dir, path) = folder();
    let yaml = "stages: {a: {op: source, with: {path: a.txt}}, s: {op: shout, in: {text: a}}}";
    fs::write(path.join("p.yaml"), yaml).unwrap();
    fs::write(path.join("a.txt"), "a fish\na bird\n").unwrap();
    let run = || told(&mut toy(&path, &["run", "p.yaml"]));
    run();
    told(&mut toy(&path, &["clean", "s"]));
    assert!(run().contains("ran 0 of 2 items"), "{}", run());
    told(&mut toy(&path, &["clean", "s", "--items"]));
    let again = run();
    assert!(again.contains("ran 2 of 2 items"), "{again}");
}

/// Makes the latest run look as if it had been killed while it worked on a stage.
fn kill_at(path: &std::path::Path, stage: &str) {
    let runs = path.join(".gfm-pipe/runs");
    let latest = fs::read_to_string(runs.join("latest")).unwrap();
    let file = runs.join(format!("{}.json", latest.trim()));
    let text = fs::read_to_string(&file).unwrap();
    let mut journal: serde_json::Value = serde_json::from_str(&text).unwrap();
    journal["status"] = "running".into();
    let stages = journal["stages"].as_array_mut().unwrap();
    stages.retain(|s| s["name"] != stage);
    fs::write(file, journal.to_string()).unwrap();
}

#[test]
fn a_run_that_was_killed_is_retried_with_what_it_was_asked_for() {
    let (_dir, path) = folder();
    fs::write(path.join("a.txt"), "one\n").unwrap();
    fs::write(path.join("p.yaml"), YAML).unwrap();
    told(&mut toy(&path, &["run", "p.yaml", "--until", "both"]));
    kill_at(&path, "both");
    let retried = told(&mut toy(&path, &["run", "p.yaml", "--retry-failed"]));
    assert!(
        retried.contains("ok: 0 ran, 2 cached, 1 skipped"),
        "{retried}"
    );
    assert!(!retried.contains("\nn "), "{retried}");
}

#[test]
fn a_later_run_of_other_stages_does_not_hide_what_failed() {
    let (_dir, path) = folder();
    let yaml = "
name: toys
stages:
  a: {op: source, with: {path: a.txt}}
  b: {op: source, with: {path: b.txt}}
";
    fs::write(path.join("a.txt"), "one\n").unwrap();
    fs::write(path.join("p.yaml"), yaml).unwrap();
    told(&mut toy(&path, &["run", "p.yaml", "--keep-going"]));
    told(&mut toy(&path, &["run", "p.yaml", "--only", "a"]));
    fs::write(path.join("b.txt"), "two\n").unwrap();
    let retried = told(&mut toy(&path, &["run", "p.yaml", "--retry-failed"]));
    assert!(retried.contains("ok: 1 ran, 0 cached"), "{retried}");
}

#[test]
fn clean_leaves_everything_else_alone() {
    let (_dir, path) = two_runs();
    told(&mut toy(&path, &["tag", "latest", "prod"]));
    let stages = path.join(".gfm-pipe/stages");
    let runs = listed(&path);
    // A damaged manifest may still name objects that somebody wants to save.
    let damaged = stages.join(format!(
        "{}.json",
        runs[1]["stages"][2]["key"].as_str().unwrap()
    ));
    fs::write(&damaged, "{").unwrap();
    let objects = || walk(&path.join(".gfm-pipe/objects"));
    let before = objects();
    let cleaned = told(&mut toy(&path, &["clean", "both"]));
    assert!(
        cleaned.starts_with("removed 1 stage, 1 object, "),
        "{cleaned}"
    );
    assert!(damaged.exists());
    assert_eq!(objects() + 1, before);
    // What another pipeline calls by the same name stays, if only one is meant.
    fs::write(
        path.join("o.yaml"),
        YAML.replace("name: toys", "name: others"),
    )
    .unwrap();
    told(&mut toy(&path, &["run", "o.yaml", "-p", "prefix=o"]));
    let cleaned = told(&mut toy(&path, &["clean", "both", "--of", "toys"]));
    assert!(cleaned.starts_with("removed 0 stages"), "{cleaned}");
    let cleaned = told(&mut toy(&path, &["clean", "both", "--of", "others"]));
    assert!(cleaned.starts_with("removed 1 stage"), "{cleaned}");
}

/// A stage of `pinned` may hold the last copy.
#[test]
fn clean_keeps_what_cannot_be_computed_again() {
    let (_dir, path) = two_runs();
    let runs = listed(&path);
    let run = runs[0]["run"].as_str().unwrap();
    let yaml = format!(
        "name: later\nstages: {{old: {{op: pinned, with: {{run: {run}, port: n.counts, kind: counts}}}}}}"
    );
    fs::write(path.join("later.yaml"), yaml).unwrap();
    told(&mut toy(&path, &["run", "later.yaml"]));
    let cleaned = told(&mut toy(&path, &["clean", "n", "old"]));
    assert!(cleaned.starts_with("removed 2 stages, "), "{cleaned}");
    assert!(
        cleaned.contains("kept what `old` took from an earlier run"),
        "{cleaned}"
    );
    let shown = told(&mut toy(&path, &["show", "old"]));
    assert!(shown.contains("--- exit 0"), "{shown}");
}

/// The number of files below a folder.
fn walk(folder: &std::path::Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let below = |path: PathBuf| if path.is_dir() { walk(&path) } else { 1 };
    entries.map(|e| below(e.path())).sum()
}

#[test]
fn clean_finds_what_a_killed_run_was_working_on() {
    let (_dir, path) = folder();
    fs::write(path.join("a.txt"), "one\n").unwrap();
    fs::write(path.join("p.yaml"), YAML).unwrap();
    told(&mut toy(&path, &["run", "p.yaml"]));
    let runs = listed(&path);
    let key = runs[0]["stages"][2]["key"].as_str().unwrap();
    kill_at(&path, "n");
    let work = path.join(format!(".gfm-pipe/work/{key}"));
    fs::create_dir_all(&work).unwrap();
    fs::write(work.join("checkpoint"), "half").unwrap();
    let cleaned = told(&mut toy(&path, &["clean", "n"]));
    assert!(
        cleaned.contains("checkpoints of 1 unfinished stage"),
        "{cleaned}"
    );
    assert!(!work.exists());
}

#[test]
fn many_runs_are_one_page() {
    let (_dir, path) = two_runs();
    let written = told(&mut toy(&path, &["runs", "--html", "runs.html"]));
    assert!(written.contains("runs.html written"), "{written}");
    let page = fs::read_to_string(path.join("runs.html")).unwrap();
    let rows = page.split("<tbody>").nth(1).unwrap();
    assert_eq!(rows.matches("<tr>").count(), 2, "{page}");
    assert!(page.contains("both.prefix</th>"), "{page}");
    assert!(
        rows.contains(">&gt; </td>") && rows.contains(">#</td>"),
        "{rows}"
    );
    // What does not differ has no column.
    assert!(!page.contains("a.path"), "{page}");
    let refused = told(&mut toy(&path, &["runs", "--html", "runs.html"]));
    assert!(refused.contains("--force"), "{refused}");
}

/// Whatever the clock said, and however few runs are kept, what `show` uses stays.
#[test]
fn gc_keeps_what_the_latest_run_needs() {
    let (_dir, path) = two_runs();
    let runs = path.join(".gfm-pipe/runs");
    let latest = || fs::read_to_string(runs.join("latest")).unwrap();
    let latest = latest().trim().to_owned();
    let journals = fs::read_dir(&runs).unwrap().map(|e| e.unwrap().path());
    let journals = journals.filter(|p| p.extension().is_some_and(|e| e == "json"));
    let mut names: Vec<String> = journals
        .map(|p| p.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(latest, names[1]);
    // Make it look as if the first run's clock had been a century ahead.
    let (first, ahead) = (
        runs.join(format!("{}.json", names[0])),
        "21261128-094103-123-aaaa",
    );
    let text = fs::read_to_string(&first)
        .unwrap()
        .replace(&names[0], ahead);
    fs::write(runs.join(format!("{ahead}.json")), text).unwrap();
    fs::remove_file(first).unwrap();
    let show = |prefix: &str| {
        let shown = told(&mut toy(&path, &["show", "both.lines"]));
        assert!(shown.contains(&format!("{prefix}one")), "{shown}");
    };
    let gc = |keep: &str| {
        let done = told(&mut toy(&path, &["gc", "--keep", keep]));
        assert!(done.contains("--- exit 0"), "{done}");
    };
    gc("1");
    show("#");
    gc("0");
    show("#");
    // The run that ended last is the latest, even if another one started after it.
    told(&mut toy(&path, &["run", "p.yaml"]));
    fs::write(runs.join("latest"), format!("{latest}\n")).unwrap();
    gc("1");
    show("#");
}

#[test]
fn every_shell_gets_a_script() {
    let (_dir, path) = folder();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = stdout(&toy(&path, &["completions", shell]).output().unwrap());
        assert!(script.contains("import-config"), "{shell}");
    }
}

#[test]
fn every_subcommand_gets_a_manual_page() {
    let (_dir, path) = folder();
    let into = |name: &str| told(&mut toy(&path, &["man", name]));
    assert!(into("share/man1").contains("pages written to share/man1"));
    let run = fs::read_to_string(path.join("share/man1/gfm-pipe-run.1")).unwrap();
    assert!(run.contains(".TH") && run.contains("keep"), "{run}");
    assert!(run.contains(env!("CARGO_PKG_VERSION")), "{run}");
    assert!(path.join("share/man1/gfm-pipe-import-config.1").is_file());
    fs::write(path.join("file"), "").unwrap();
    let refused = into("file");
    assert!(refused.contains("cannot write into file"), "{refused}");
    assert!(refused.ends_with("--- exit 1\n"), "{refused}");
}

#[test]
fn show_says_which_runs_table_it_shows() {
    let (_dir, path) = two_runs();
    let runs = listed(&path);
    let name = |i: usize| runs[i]["run"].as_str().unwrap().to_owned();
    let second = told(&mut toy(&path, &["show", "n"]));
    assert!(!second.contains("--- stderr"), "{second}");
    // A third run, which leaves `n` out, and a run of another pipeline before it.
    let other = YAML.replace("name: toys", "name: others");
    fs::write(path.join("o.yaml"), other).unwrap();
    told(&mut toy(&path, &["run", "o.yaml", "-p", "prefix=o"]));
    let third = ["run", "p.yaml", "--until", "both", "-p", "prefix=new"];
    told(&mut toy(&path, &third));
    settings().bind(|| {
        assert_snapshot!("show_left_out", told(&mut toy(&path, &["show", "n"])));
        let latest = ["show", "n", "--run", "latest"];
        assert_snapshot!("show_left_out_named", told(&mut toy(&path, &latest)));
    });
    let shown = toy(&path, &["show", "n"]).output().unwrap();
    let err = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(
        err.contains(&format!("this is of run {}", name(1))),
        "{err}"
    );
    assert!(
        second.starts_with(&stdout(&shown)),
        "the second run's table"
    );
    // When a stage failed, its older table is not shown in its place.
    fs::remove_file(path.join("a.txt")).unwrap();
    told(&mut toy(&path, &["run", "p.yaml"]));
    let failed = told(&mut toy(&path, &["show", "a"]));
    assert!(failed.contains("error: `a` failed in run "), "{failed}");
    assert!(
        failed.contains("hint: the latest run that has it: --run "),
        "{failed}"
    );
    assert!(failed.ends_with("--- exit 2\n"), "{failed}");
}
