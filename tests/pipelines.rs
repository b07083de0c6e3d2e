//! The shipped pipelines, run with the real binary: wiring, caching, reproducibility. Needs all
//! features of the default build.

#![cfg(all(feature = "gfm", feature = "static-encoder"))]
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "pipelines/imports.rs"]
mod imports;
#[path = "pipelines/programs.rs"]
mod programs;
#[path = "pipelines/reports.rs"]
mod reports;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use serde_json::Value;

fn gfm_pipe(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gfm-pipe"))
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

/// Runs the fixture pipeline and returns the stages of its last event by name.
fn run(store: &Path, more: &[&str]) -> BTreeMap<String, Value> {
    run_file("pipelines/ci.yaml", store, more)
}

fn run_file(file: &str, store: &Path, more: &[&str]) -> BTreeMap<String, Value> {
    let mut args = vec!["run", file, "--log-format", "json", "--store"];
    args.push(store.to_str().unwrap());
    args.extend(more);
    let out = gfm_pipe(&args);
    let text = String::from_utf8(out.stdout).unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{text}\n{said}");
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "run_finished");
    assert_eq!(last["status"], "ok");
    last["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["name"].as_str().unwrap().to_owned(), s.clone()))
        .collect()
}

fn status<'a>(stages: &'a BTreeMap<String, Value>, wanted: &str) -> Vec<&'a str> {
    stages
        .iter()
        .filter(|(_, s)| s["status"] == wanted)
        .map(|(n, _)| n.as_str())
        .collect()
}

fn outputs(stages: &BTreeMap<String, Value>) -> BTreeMap<&str, &Value> {
    stages
        .iter()
        .map(|(n, s)| (n.as_str(), &s["outputs"]))
        .collect()
}

#[test]
fn one_and_two_threads_give_the_same_artifacts_and_a_second_run_is_cached() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let a = run(one.path(), &["--threads", "1", "--jobs", "1"]);
    let b = run(two.path(), &["--threads", "2"]);
    assert_eq!(status(&a, "ran").len(), a.len());
    assert_eq!(outputs(&a), outputs(&b));

    let start = Instant::now();
    let again = run(one.path(), &[]);
    assert_eq!(status(&again, "cached").len(), a.len());
    // The promise is two seconds, for a release build; an unoptimised build on a busy machine gets
    // more time.
    let limit = if cfg!(debug_assertions) { 20.0 } else { 2.0 };
    assert!(
        start.elapsed().as_secs_f64() < limit,
        "{:?}",
        start.elapsed()
    );
    assert_eq!(outputs(&a), outputs(&again));
}

#[test]
fn a_changed_parameter_reruns_what_depends_on_it_and_says_why() {
    let store = tempfile::tempdir().unwrap();
    run(store.path(), &[]);
    let changed = run(store.path(), &["--set", "finetune.with.optimizer.lr=0.004"]);
    assert_eq!(status(&changed, "ran"), ["evaluate", "explain", "finetune"]);
    let reasons = changed["finetune"]["reasons"].to_string();
    assert!(reasons.contains("optimizer.lr 0.005 -> 0.004"), "{reasons}");
    // A parameter that cannot change the result is in no key.
    let same = run(
        store.path(),
        &[
            "--set",
            "finetune.with.optimizer.lr=0.004",
            "--set",
            "finetune.with.train.log_interval=7",
            "--set",
            "evaluate.with.batch_size=3",
        ],
    );
    assert!(status(&same, "ran").is_empty(), "{same:?}");
}

#[test]
fn metrics_are_shown_as_one_json_array() {
    let store = tempfile::tempdir().unwrap();
    run(store.path(), &[]);
    let dir = store.path().to_str().unwrap();
    let out = gfm_pipe(&["show", "evaluate.metrics", "--json", "--store", dir]);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let rows: Vec<BTreeMap<String, Value>> = serde_json::from_slice(&out.stdout).unwrap();
    let keys: Vec<&str> = rows[0].keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "dataset", "group", "high", "low", "metric", "n", "ranker", "split", "system",
            "target", "unasked", "value"
        ]
    );
    for system in [
        "model",
        "pretrained",
        "untrained",
        "dense",
        "bm25",
        "ppr",
        "rrf",
    ] {
        assert!(rows.iter().any(|r| r["system"] == system), "{system}");
    }
    metrics_fit_each_other(&rows);
    assert!(
        rows.iter().any(|r| r["system"] == "ceiling"
            && r["metric"] == "recall@5"
            && r["group"] == "hops=2")
    );
}

/// Checks that intervals contain their values, that looking at more ranks never finds less, and
/// that the model finds no more than its ceiling.
fn metrics_fit_each_other(rows: &[BTreeMap<String, Value>]) {
    let number = |row: &BTreeMap<String, Value>, key: &str| row[key].as_f64().unwrap();
    let mut at: BTreeMap<(String, String), BTreeMap<u32, f64>> = BTreeMap::new();
    for row in rows {
        let (low, value, high) = (
            number(row, "low"),
            number(row, "value"),
            number(row, "high"),
        );
        assert!(low <= value && value <= high, "{row:?}");
        let text = |key: &str| row[key].as_str().unwrap();
        if let Some((metric, places)) = text("metric").split_once('@')
            && ["recall", "hits", "all-gold"].contains(&metric)
        {
            let of = ["system", "ranker", "target", "group"].map(text).join(" ");
            let curve = at.entry((of, metric.to_owned())).or_default();
            curve.insert(places.parse().unwrap(), value);
        }
    }
    assert!(at.values().any(|curve| curve.len() > 2));
    for (of, curve) in &at {
        let values: Vec<f64> = curve.values().copied().collect();
        assert!(values.is_sorted(), "{of:?}: {curve:?}");
        let ceiling = at.get(&(of.0.replacen("model ", "ceiling ", 1), of.1.clone()));
        let ceiling = ceiling.into_iter().flat_map(|c| c.iter());
        for (places, most) in ceiling {
            assert!(curve[places] <= *most, "{of:?} at {places}");
        }
    }
}

#[test]
fn every_shipped_pipeline_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path().display().to_string();
        let out = gfm_pipe(&["graph", &file]);
        assert!(
            out.status.success(),
            "{file}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
}

#[test]
fn three_graphs_are_pretrained_on_and_two_finetuned() {
    let store = tempfile::tempdir().unwrap();
    let few = ["-p", "steps=2", "-p", "epochs=1", "-p", "dim=8"];
    let stages = run_file("pipelines/many.yaml", store.path(), &few);
    for name in [
        "more_graph[dirty]",
        "qa[atlas]",
        "evaluate[family]",
        "pretrain",
    ] {
        assert_eq!(stages[name]["status"], "ran", "{name}");
    }
    let dir = store.path().to_str().unwrap();
    let show = |what: &str| -> Vec<Value> {
        let out = gfm_pipe(&["show", what, "--json", "--store", dir]);
        serde_json::from_slice(&out.stdout).unwrap()
    };
    let sets = |what: &str| -> std::collections::BTreeSet<String> {
        let named = |row: &Value| -> Option<String> {
            let metric = row["metric"].as_str()?.strip_prefix("valid:")?.to_owned();
            let (set, rest) = metric.split_once(':')?;
            (rest == "mrr" || rest == "entity:mrr").then(|| set.to_owned())
        };
        show(what).iter().filter_map(named).collect()
    };
    assert!(sets("pretrain.history").iter().eq(["1", "2", "3"]));
    assert!(sets("finetune.history").iter().any(|s| s == "atlas"));
    let metrics = show("evaluate[atlas].metrics");
    assert!(metrics.iter().all(|m| m["dataset"] == "atlas"));

    // The command in the head of the pipeline's file, with other data sets.
    let other = [
        "-p",
        "paths={a: data/fixtures/family, b: data/fixtures/dirty}",
        "-p",
        "asked=[a]",
        "-p",
        "more=[b]",
    ];
    let stages = run_file(
        "pipelines/many.yaml",
        store.path(),
        &[&few[..], &other].concat(),
    );
    assert!(stages.contains_key("evaluate[a]") && !stages.contains_key("evaluate[family]"));

    // One instance selected by its own name; all of them by the stage's name in the file.
    let only = |name: &str| {
        let more = [&few[..], &["--only", name]].concat();
        let stages = run_file("pipelines/many.yaml", store.path(), &more);
        status(&stages, "cached").len()
    };
    // The stages that a selected stage is made from are looked up too.
    assert!(only("graph[atlas]") < only("graph"));
}

#[test]
fn an_exported_file_that_was_deleted_is_back_after_a_cached_run() {
    let store = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string("pipelines/ci.yaml").unwrap();
    let file = store.path().join("export.yaml");
    let stage = "  out:\n    op: export\n    in: {model: finetune.model}\n    with: {path: OUT}\n";
    std::fs::write(
        &file,
        format!(
            "{text}\n{}",
            stage.replace("OUT", out.path().to_str().unwrap())
        ),
    )
    .unwrap();
    let (file, dir) = (
        file.to_str().unwrap().to_owned(),
        store.path().join("store"),
    );
    assert_eq!(run_file(&file, &dir, &[])["out"]["status"], "ran");
    let pth = out.path().join("model.pth");
    let bytes = std::fs::read(&pth).unwrap();
    std::fs::remove_file(&pth).unwrap();
    assert_eq!(run_file(&file, &dir, &[])["out"]["status"], "cached");
    assert_eq!(std::fs::read(&pth).unwrap(), bytes);
    // When the stage is not selected, no file is written.
    std::fs::remove_file(&pth).unwrap();
    run_file(&file, &dir, &["--until", "finetune"]);
    assert!(!pth.exists());
}

#[test]
fn two_exports_to_one_folder_are_refused_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string("pipelines/ci.yaml").unwrap();
    let file = dir.path().join("p.yaml");
    let stage = "  NAME: {op: export, in: {model: finetune.model}, with: {path: PATH}}\n";
    let two = [("a", "out/same"), ("b", "out/./same/")]
        .map(|(name, path)| stage.replace("NAME", name).replace("PATH", path));
    std::fs::write(&file, format!("{text}\n{}", two.concat())).unwrap();
    let store = dir.path().join("store");
    let args = [
        "run",
        file.to_str().unwrap(),
        "--store",
        store.to_str().unwrap(),
    ];
    let out = gfm_pipe(&args);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(
        said.contains("stages `a` and `b` both write to out/same"),
        "{said}"
    );
    assert!(!store.exists());
}

#[test]
fn embeddings_of_something_else_are_no_relations() {
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string("pipelines/ci.yaml").unwrap();
    let file = dir.path().join("p.yaml");
    std::fs::write(
        &file,
        text.replace("relations: rels}", "relations: q_train}"),
    )
    .unwrap();
    let store = dir.path().join("store");
    let args = [
        "run",
        file.to_str().unwrap(),
        "--until",
        "graph",
        "--store",
        store.to_str().unwrap(),
    ];
    let out = gfm_pipe(&args);
    let said = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(
        said.contains("28 relation embeddings for triples of 7 relations: 14 are expected"),
        "{said}"
    );
}

/// Faulty lines are rejected with a reason and a place; they are never fatal.
#[test]
fn the_dirty_fixture_is_ingested_with_its_rejects() {
    let store = tempfile::tempdir().unwrap();
    let dir = store.path().to_str().unwrap();
    let vars = ["-p", "data=data/fixtures/dirty", "-p", "dataset=dirty"];
    let mut args = vec!["run", "pipelines/ci.yaml", "--until", "qa", "--store", dir];
    args.extend(vars);
    let out = gfm_pipe(&args);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    for (port, at_least) in [("kg.rejects", 3), ("qa.rejects", 10)] {
        let out = gfm_pipe(&["show", port, "--json", "--store", dir]);
        let rows: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap();
        assert!(rows.len() >= at_least, "{port}: {}", rows.len());
        assert!(
            rows.iter()
                .all(|r| !r["reason"].as_str().unwrap().is_empty())
        );
    }
}

/// Using a precomputed background changes no digit of the answers, and a background of another
/// model is refused.
#[test]
fn questions_are_answered_the_same_with_a_background_and_without() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.yaml");
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/ci.yaml");
    let ask = |name: &str, op: &str, model: &str, more: &str| {
        format!(
            "  {name}:\n    op: {op}\n    in: {{model: {model}, graph: graph, documents: docs, corpus: qa.documents, \
             questions: qa.test, question_embeddings: q_test{more}}}\n"
        )
    };
    let with = ", background: background";
    let text = [
        format!("include: {}\nname: asked\nstages:\n", base.display()),
        "  background: {op: build-background, in: {model: finetune.model, graph: graph}}\n"
            .to_owned(),
        ask("known", "retrieve", "finetune.model", with),
        ask("fresh", "retrieve", "finetune.model", ""),
        ask("measured", "evaluate", "finetune.model", with),
        ask("measured_fresh", "evaluate", "finetune.model", ""),
        ask("wrong", "retrieve", "pretrain.model", with),
    ];
    std::fs::write(&file, text.concat()).unwrap();
    let (file, store) = (file.to_str().unwrap(), dir.path().join("store"));
    let all = ["known", "fresh", "measured", "measured_fresh"];
    let stages = run_file(file, &store, &["--until", &all.join(",")]);
    assert_eq!(stages["known"]["outputs"], stages["fresh"]["outputs"]);
    assert_eq!(
        stages["measured"]["outputs"],
        stages["measured_fresh"]["outputs"]
    );
    let dir = store.to_str().unwrap();
    let out = gfm_pipe(&["show", "known.rankings", "--json", "--store", dir]);
    let rows: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap();
    assert!(rows.iter().any(|r| r["rank"] == 2) && rows.iter().all(|r| r["system"] == "model"));

    let out = gfm_pipe(&["run", file, "--until", "wrong", "--store", dir]);
    let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(
        said.contains("the background was computed from another model than `pretrain.model`")
            && said.contains(
                "connect the same model to this stage and to the `build-background` stage"
            ),
        "{said}"
    );
}

fn copied(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copied(&path, &to);
        } else {
            std::fs::copy(path, to).unwrap();
        }
    }
}

#[cfg(feature = "encoders")]
#[test]
fn an_encoder_is_its_files_wherever_they_lie() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let encoder = "encoder=data/fixtures/encoders/bert";
    let first = run(&store, &["--threads", "1", "-p", encoder]);
    assert_eq!(status(&first, "ran").len(), first.len());
    let again = run(&store, &["-p", encoder, "--set", "rels.with.batch_size=3"]);
    assert!(status(&again, "ran").is_empty(), "{again:?}");
    let other = run(
        &dir.path().join("other"),
        &["--threads", "2", "-p", encoder],
    );
    assert_eq!(outputs(&first), outputs(&other));
    // The same files in another folder are the same encoder.
    let moved = dir.path().join("bert");
    copied(Path::new("data/fixtures/encoders/bert"), &moved);
    let encoder = format!("encoder={}", moved.display());
    let cached = run(&store, &["-p", &encoder]);
    assert!(status(&cached, "ran").is_empty(), "{cached:?}");
    // Another file makes another encoder, even a file that an encoder need not have.
    std::fs::write(
        moved.join("sentence_bert_config.json"),
        r#"{"max_seq_length": 4}"#,
    )
    .unwrap();
    let shorter = run(&store, &["-p", &encoder]);
    assert!(status(&shorter, "ran").contains(&"rels"), "{shorter:?}");
    let reasons = shorter["rels"]["reasons"].to_string();
    assert!(reasons.contains("sentence_bert_config.json"), "{reasons}");
}
