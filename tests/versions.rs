//! If the output of an operator changes, its VERSION must change too; otherwise caches would return
//! the old output under a key that promises the new one. Runs every built-in operator on the
//! fixtures and compares it with `tests/versions.json`.
//!
//! `UPDATE_GOLDEN=1 cargo test --test versions` rewrites the file, but never with another output
//! under the same VERSION.

#![cfg(all(unix, feature = "gfm", feature = "static-encoder", feature = "english"))]
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "versions/content.rs"]
mod content;
#[path = "versions/judge.rs"]
mod judge;
#[path = "versions/model.rs"]
mod model;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, RecordBatch, StringArray};
use gfm_pipe::exec::{RunOptions, RunSummary, run};
use gfm_pipe::pinned::Pinned;
use gfm_pipe::record::{Fanout, RunStatus};
use gfm_pipe::registry::builtin;
use gfm_pipe::spec::{LoadOptions, Pipeline, load};
use gfm_pipe::store::Store;
use gfm_pipe_api::{Cancel, Operator as _};
use gfm_pipe_testing::ModelServer;
use serde_json::{Value, json};

use content::{Content, TOLERANCE, scrambled};
use judge::{Finding, Golden, Operator, Stage, judge};

/// A stage whose output is not compared: its files are trained weights, whose bytes differ between
/// CPUs. It is run only for the shape of the model that goes into the folder `given`.
const NOT_COMPARED: &str = "shape";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn done(pipeline: &Pipeline, store: &Store, until: &[&str]) -> RunSummary {
    let mut options = RunOptions::default();
    options.request.base = root();
    options.allow_exec = true;
    options.environment = std::env::vars_os().collect();
    options.request.selection.until = until.iter().map(ToString::to_string).collect();
    let nobody = Arc::new(Fanout(Vec::new()));
    let summary = run(pipeline, store, &options, nobody, &Cancel::default()).unwrap();
    let failed = summary.stages.iter().find(|s| s.error.is_some());
    assert_eq!(summary.status, RunStatus::Ok, "{failed:?}");
    summary
}

/// Copies a model, replacing its weights by values that are the same on every machine.
fn give_weights(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    let mut bytes = fs::read(from.join("model.safetensors")).unwrap();
    let head = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    for (i, weight) in bytes[head..].chunks_exact_mut(4).enumerate() {
        let part = (scrambled(i as u64) >> 40) as f32 / (1 << 24) as f32;
        weight.copy_from_slice(&(part - 0.5).to_le_bytes());
    }
    fs::write(to.join("model.safetensors"), bytes).unwrap();
    fs::copy(from.join("config.json"), to.join("config.json")).unwrap();
}

/// The output of every operator now.
fn everything() -> Golden {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name).display().to_string();
    let server = ModelServer::start(model::answer).unwrap();
    let mut vars = ["shape", "given", "files", "dataset"]
        .map(|name| (name.to_owned(), place(name)))
        .to_vec();
    vars.push(("model_server".to_owned(), server.base_url()));
    let opts = LoadOptions {
        base: root(),
        vars,
        ..LoadOptions::default()
    };
    let file = Path::new("tests/versions/pipeline.yaml");
    let pipeline = load(file, &opts, &builtin()).unwrap_or_else(|e| panic!("{e}"));
    let store = Store::open_readonly(dir.path().join("store")).unwrap();
    done(&pipeline, &store, &[NOT_COMPARED]);
    give_weights(&dir.path().join("shape"), &dir.path().join("given"));
    let summary = done(&pipeline, &store, &[]);

    let mut out = Golden::new();
    for stage in pipeline.stages.iter().filter(|s| s.name != NOT_COMPARED) {
        let key = summary.stage(&stage.name).unwrap().key.clone().unwrap();
        let made_of = store.manifest(&key).unwrap().unwrap().ingredients;
        let files: Vec<_> = made_of.files.iter().map(|f| &f.digest).collect();
        let froms = |port: &str| -> Vec<&str> {
            let all = made_of.inputs[port].iter().map(|i| i.from.as_str());
            all.collect()
        };
        let ports: Vec<Value> = made_of
            .inputs
            .keys()
            .map(|p| json!([p, froms(p)]))
            .collect();
        let given = json!([made_of.params, made_of.fingerprint, files, ports]).to_string();
        let inputs = stage.inputs.values().flatten().map(|r| r.stage.clone());
        let mut tables = std::collections::BTreeMap::new();
        for (port, artifact) in &summary.artifacts[&stage.name] {
            for table in artifact.kind.tables {
                let content = Content::of(&artifact.read(table.name).unwrap());
                tables.insert(format!("{port}.{}", table.name), content);
            }
        }
        let operator = out
            .entry(stage.op.name.to_owned())
            .or_insert_with(|| Operator {
                version: stage.op.version,
                stages: Default::default(),
            });
        let stage_now = Stage {
            given: blake3::hash(given.as_bytes()).to_hex()[..32].to_owned(),
            inputs: inputs.collect(),
            tables,
        };
        operator.stages.insert(stage.name.clone(), stage_now);
    }
    out
}

#[test]
fn an_operator_whose_output_changed_has_another_version() {
    let path = root().join("tests/versions.json");
    let then: Golden = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap(),
        Err(_) => Golden::new(),
    };
    let now = everything();
    let all = builtin().into_iter().map(|o| o.name.to_owned());
    // `pinned` gives what another operator made, in another run.
    let all: BTreeSet<String> = all.filter(|name| name != Pinned::NAME).collect();
    assert!(
        all.iter().eq(now.keys()),
        "every operator has a stage in tests/versions/pipeline.yaml: {all:?} but {:?}",
        now.keys()
    );
    let found = judge(&then, &now);
    let report: Vec<String> = found.iter().map(Finding::to_string).collect();
    let report = report.join("\n");
    let forgotten = found.iter().any(|f| matches!(f, Finding::Forgotten(_)));
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !forgotten {
        if !found.is_empty() {
            let text = serde_json::to_string_pretty(&now).unwrap();
            fs::write(&path, text + "\n").unwrap();
        }
        return;
    }
    assert!(found.is_empty(), "\n{report}");
}

fn one(version: u32, given: &str, numbers: &[f32]) -> Operator {
    let column: ArrayRef = Arc::new(Float32Array::from(numbers.to_vec()));
    let names: ArrayRef = Arc::new(StringArray::from(vec!["x"; numbers.len()]));
    let batch = RecordBatch::try_from_iter([("name", names), ("value", column)]).unwrap();
    let stage = Stage {
        given: given.to_owned(),
        inputs: BTreeSet::new(),
        tables: [("out.values".to_owned(), Content::of(&batch))].into(),
    };
    Operator {
        version,
        stages: [("s".to_owned(), stage)].into(),
    }
}

#[test]
fn only_a_raised_version_or_other_ingredients_excuse_another_output() {
    let golden = |o: Operator| Golden::from([("op".to_owned(), o)]);
    let then = golden(one(1, "p", &[1.0, 2.0]));
    let of = |o: Operator| judge(&then, &golden(o));
    assert_eq!(of(one(1, "p", &[1.0, 2.0])), []);
    for other in [&[1.0, 2.01][..], &[2.0, 1.0], &[1.0], &[1.0, f32::NAN]] {
        let found = of(one(1, "p", other));
        assert!(
            matches!(found.as_slice(), [Finding::Forgotten(_)]),
            "{found:?}"
        );
        let text = found[0].to_string();
        assert!(text.contains("raise its VERSION"), "{text}");
        for excused in [one(2, "p", other), one(1, "q", other)] {
            let found = of(excused);
            assert!(matches!(found.as_slice(), [Finding::Stale(_)]), "{found:?}");
        }
    }
    // The output of a stage after a changed one may change too; that is reported as stale.
    let behind = |input: &str, o: Operator| {
        let mut o = o;
        let mut stage = o.stages.remove("s").unwrap();
        stage.inputs.insert(input.to_owned());
        o.stages.insert("behind".to_owned(), stage);
        o
    };
    let pair = |a: Operator, b: Operator| {
        Golden::from([("op".to_owned(), a), ("next".to_owned(), behind("s", b))])
    };
    let then = pair(one(1, "p", &[1.0]), one(1, "p", &[5.0]));
    let both = judge(&then, &pair(one(2, "p", &[3.0]), one(1, "p", &[6.0])));
    assert!(both.iter().all(|f| matches!(f, Finding::Stale(_))) && both.len() == 2);
    let only = judge(&then, &pair(one(1, "p", &[1.0]), one(1, "p", &[6.0])));
    assert!(matches!(only.as_slice(), [Finding::Forgotten(_)]));
}

/// A difference by rounding passes; a single different weight among thousands does not.
#[test]
fn floats_are_compared_within_rounding() {
    let many: Vec<f32> = (0..5000)
        .map(|i| (scrambled(i) >> 40) as f32 / (1 << 24) as f32 - 0.5)
        .collect();
    let sketch = |v: &[f32]| one(1, "", v).stages["s"].tables["out.values"].clone();
    let then = sketch(&many);
    let read: Content = serde_json::from_str(&serde_json::to_string(&then).unwrap()).unwrap();
    assert_eq!(then.differs(&read), None);
    let rounded: Vec<f32> = many.iter().map(|x| x * (1.0 + 3e-6)).collect();
    assert_eq!(sketch(&rounded).differs(&read), None);
    for at in [0, 777, 4999] {
        let mut other = many.clone();
        other[at] += 0.5;
        let by = sketch(&other).floats["value"].distance(&then.floats["value"]);
        assert!(by > TOLERANCE, "{by}");
    }
    let mut swapped = many.clone();
    swapped.swap(10, 4000);
    assert!(sketch(&swapped).differs(&read).is_some());
}
