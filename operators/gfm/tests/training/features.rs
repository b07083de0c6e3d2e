//! Models with ranking features: they start as the fusion of the features, are trained together
//! with it, and need the features wherever they rank documents.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use gfm_pipe_api::artifact::texts_digest;
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{Artifact, Kind, columns, kinds};
use gfm_pipe_eval::features::of_question::QuestionFeatures;
use gfm_pipe_eval::features::{BM25, COUNT, DENSE, FEATURES, PPR, place};
use gfm_pipe_testing::Random;
use serde_json::{Value, json};

use crate::divided::{equal_divided, on_cpu};
use crate::ranks::equal_on_any_number;
use crate::resume::stopped_and_ended;
use crate::toy::*;

fn made(dir: &Path, kind: &'static Kind, name: &str, tables: Vec<Vec<ArrayRef>>) -> Artifact {
    let tables = kind.tables.iter().zip(tables);
    let tables: Vec<RecordBatch> = tables
        .map(|(spec, columns)| columns::batch(spec, columns).unwrap())
        .collect();
    local::artifact(dir, kind, name, tables).unwrap()
}

/// Features that tell the gold documents of the toy's questions apart, less well or better. Only
/// those of some documents are known one by one.
fn features(dir: &Path, questions: &Artifact, corpus: &Artifact, keep: usize) -> Artifact {
    let asked = questions.texts().unwrap();
    let n = asked.len();
    let of = |question: usize| {
        let mut random = Random::new(question as u64);
        let mut raw = [const { None }; COUNT];
        for (feature, signal) in [(&DENSE, 0.3), (&BM25, 0.6), (&PPR, 1.0)] {
            let mut values = random.signed(n);
            values[(question + 2) % n] += signal;
            raw[place(feature)] = Some(values);
        }
        QuestionFeatures::standardised(raw, keep)
    };
    let all: Vec<QuestionFeatures> = (0..n).map(of).collect();
    let (mut rows, mut documents, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (question, features) in (0u32..).zip(&all) {
        rows.extend(features.documents.iter().map(|_| question));
        documents.extend_from_slice(&features.documents);
        values.extend_from_slice(&features.values);
    }
    let others = all.iter().flat_map(|f| f.others).collect();
    let vectors = |values| columns::build_vectors(COUNT, values).unwrap();
    let names = |text: &dyn Fn(usize) -> &'static str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values((0..COUNT).map(text)))
    };
    let count = |n: usize| -> ArrayRef { Arc::new(UInt64Array::from(vec![n as u64])) };
    let tables = vec![
        vec![
            Arc::new(UInt32Array::from(rows)) as ArrayRef,
            Arc::new(UInt32Array::from(documents)),
            vectors(values),
        ],
        vec![vectors(others)],
        vec![
            names(&|f| FEATURES[f].name),
            names(&|f| FEATURES[f].meaning),
        ],
        vec![
            count(n),
            count(n),
            count(n),
            text(vec![texts_digest(&asked)]),
            text(vec![texts_digest(corpus.texts().unwrap())]),
        ],
    ];
    made(
        dir,
        &kinds::FEATURES,
        &questions.name.replace("questions", "features"),
        tables,
    )
}

/// Weights of these features; a feature that is not named has the weight 0.
fn fusion(dir: &Path, weights: &[(&str, f64)]) -> Artifact {
    let weight = |name: &str| weights.iter().find(|w| w.0 == name).map_or(0.0, |w| w.1);
    let of_all: Vec<f64> = FEATURES.iter().map(|f| weight(f.name)).collect();
    let floats = |values: Vec<f64>| -> ArrayRef { Arc::new(Float64Array::from(values)) };
    let names: Vec<String> = FEATURES.iter().map(|f| f.name.to_owned()).collect();
    let tables = vec![
        vec![text(names), floats(of_all), floats(vec![0.0; COUNT])],
        vec![
            text(Vec::new()),
            floats(Vec::new()),
            floats(Vec::new()),
            floats(Vec::new()),
        ],
        vec![
            text(vec!["fit".to_owned()]),
            Arc::new(UInt64Array::from(vec![24])),
            floats(vec![0.1]),
        ],
    ];
    made(dir, &kinds::FUSION, "fusion", tables)
}

struct Featured {
    data: Data,
    features: Artifact,
    fusion: Artifact,
}

fn featured(dir: &Path, toy: Toy) -> Featured {
    keeping(dir, toy, 7)
}

/// The features of this number of documents are known one by one.
fn keeping(dir: &Path, toy: Toy, keep: usize) -> Featured {
    let data = toy.make(dir);
    let folder = dir.join(format!("features-{}", toy.name));
    std::fs::create_dir_all(&folder).unwrap();
    Featured {
        features: features(&folder, &data.questions, &data.corpus, keep),
        fusion: fusion(&folder, &[("dense", 0.25), ("ppr", 0.5)]),
        data,
    }
}

impl Featured {
    /// Trained and validated on all questions.
    fn inputs(&self) -> Inputs {
        let d = &self.data;
        let mut given = finetune_inputs(&[d]);
        for (port, artifact) in [
            ("features", &self.features),
            ("valid", &d.questions),
            ("valid_embeddings", &d.question_embeddings),
            ("valid_features", &self.features),
            ("fusion", &self.fusion),
        ] {
            given.insert(port.to_owned(), vec![artifact.clone()]);
        }
        given
    }

    fn evaluated(&self, dir: &Path, model: &Local, params: Value) -> Local {
        let more = [("features", &self.features), ("fusion", &self.fusion)];
        let given = evaluate_inputs(model, &self.data, &more);
        run_in(dir, "evaluated", "evaluate", &params, &given).unwrap()
    }
}

/// A loss of entities and one of documents.
fn params(epochs: u32) -> Value {
    let losses = json!([
        {"name": "bce", "loss": {"_target_": "BCELoss"}, "cfg": {"weight": 0.3}},
        {"name": "list", "loss": {"_target_": "ListSoftmaxLoss"}, "cfg": {"is_doc_loss": true}},
    ]);
    let mut params = finetune_params(epochs);
    params["task"] = json!({"losses": losses, "metric": ["mrr", "recall@1", "recall@5"]});
    params["train"]["best_by"] = json!("document:mrr");
    params["doc_ranker"] = json!({"name": "simple"});
    params
}

/// The values of a model's parameters.
fn weights(model: &Artifact) -> BTreeMap<String, Vec<f32>> {
    let table = model.read("weights").unwrap();
    let names = columns::text(&table, "name").unwrap();
    let values = columns::large_list_f32(&table, "values").unwrap();
    let all = values.into_iter().enumerate();
    all.map(|(i, v)| (names.value(i).to_owned(), v)).collect()
}

/// Documents and scores of a system's rankings.
fn ranked(evaluated: &Local, system: &str) -> Vec<(String, String, f64)> {
    let table = evaluated.port("rankings").read("rankings").unwrap();
    let [question, of, title] =
        ["question", "system", "document"].map(|c| columns::text(&table, c).unwrap());
    let score = columns::f64s(&table, "score").unwrap();
    let all = (0..table.num_rows()).filter(|i| of.value(*i) == system);
    all.map(|i| {
        let (question, title) = (question.value(i).to_owned(), title.value(i).to_owned());
        (question, title, score.value(i))
    })
    .collect()
}

#[test]
fn training_starts_as_the_fusion_and_keeps_it_if_nothing_is_better() {
    let dir = tempfile::tempdir().unwrap();
    // Documents with the same features would tie, and the smallest step would order them.
    let f = keeping(dir.path(), TOY, 24);
    // Such small steps change no ranking, and of equal epochs the first is kept.
    let tiny = with(params(2), &[("optimizer.lr", json!(1e-12))]);
    let out = run_in(dir.path(), "tiny", "finetune", &tiny, &f.inputs()).unwrap();
    assert_eq!(epoch(out.port("model")), 0);
    assert!(
        said(&out, "kept unless an epoch is better"),
        "{:?}",
        out.messages
    );
    assert!(said(&out, "the start stays the best"), "{:?}", out.messages);
    let kept = weights(out.port("model"));
    assert_eq!(kept["features.gate"], [0.0]);
    let weight = &kept["features.weight"];
    assert_eq!((weight[place(&DENSE)], weight[place(&PPR)]), (0.25, 0.5));
    assert_eq!(weight.iter().filter(|w| **w != 0.0).count(), 2);

    let evaluated = f.evaluated(dir.path(), &out, json!({"rankers": ["simple", "idf_topk"]}));
    let (model, fused) = (ranked(&evaluated, "model"), ranked(&evaluated, "fused"));
    assert_eq!(fused.len(), 24 * 20);
    assert_eq!(model, fused);
    // Before training and after each of two epochs.
    let metrics = evaluated.port("metrics").read("metrics").unwrap();
    let column = |name| columns::text(&metrics, name).unwrap();
    let values = columns::f64s(&metrics, "value").unwrap();
    for metric in ["mrr", "recall@1", "recall@5"] {
        let valid = history(out.port("history"), &format!("valid:document:{metric}"));
        assert_eq!(valid.len(), 3, "{metric}");
        let row = (0..metrics.num_rows()).find(|i| {
            let is = |name, value| column(name).value(*i) == value;
            let whole = is("system", "fused") && is("target", "document") && is("group", "all");
            whole && is("metric", metric)
        });
        let want = values.value(row.unwrap());
        assert!(
            (valid[0] - want).abs() < 1e-12,
            "{metric}: {valid:?} {want}"
        );
    }
}

#[test]
fn training_is_kept_where_it_ranks_better_than_the_fusion() {
    let dir = tempfile::tempdir().unwrap();
    let f = featured(dir.path(), TOY);
    let out = run_in(dir.path(), "more", "finetune", &params(12), &f.inputs()).unwrap();
    let valid = history(out.port("history"), "valid:document:mrr");
    assert_eq!(valid.len(), 13);
    let best = valid.iter().copied().fold(0.0, f64::max);
    assert!(best > valid[0] + 0.1, "{valid:?}");
    assert!(epoch(out.port("model")) > 0);
    let kept = weights(out.port("model"));
    assert_ne!(kept["features.gate"], [0.0]);
    // Words say more than nothing.
    assert!(kept["features.weight"][place(&BM25)] > 0.0);
    // `retrieve` ranks as `evaluate` does.
    let evaluated = f.evaluated(dir.path(), &out, json!({"rankers": ["simple"]}));
    let mut given = evaluate_inputs(&out, &f.data, &[("features", &f.features)]);
    let asked = json!({"ranker": "simple"});
    let retrieved = run_in(dir.path(), "found", "retrieve", &asked, &given).unwrap();
    assert_eq!(ranked(&evaluated, "model"), ranked(&retrieved, "model"));
    // Neither does without the features.
    given.remove("features");
    for (name, asked) in [("retrieve", asked), ("evaluate", json!({}))] {
        let error = run_in(dir.path(), "missing", name, &asked, &given)
            .err()
            .unwrap();
        let shown = format!("{error:?}");
        assert!(shown.contains("needs those of the questions"), "{shown}");
        assert!(shown.contains("rank-features"), "{shown}");
    }
    // The formats of GFM-RAG have no place for it.
    let to = dir.path().join("exported");
    let export = json!({"path": to.to_str().unwrap()});
    let model = inputs(&[("model", out.port("model"))]);
    let error = run_in(dir.path(), "export", "export", &export, &model)
        .err()
        .unwrap();
    let shown = format!("{error:?}");
    assert!(shown.contains("cannot hold"), "{shown}");
    assert!(shown.contains("in.features"), "{shown}");
    // A training may go on from it.
    let mut given = f.inputs();
    given.insert("init".to_owned(), vec![out.port("model").clone()]);
    let tiny = with(params(1), &[("optimizer.lr", json!(1e-12))]);
    let again = run_in(dir.path(), "again", "finetune", &tiny, &given).unwrap();
    let start = history(again.port("history"), "valid:document:mrr")[0];
    assert!((start - best).abs() < 1e-12, "{start} {best}");
}

#[test]
fn a_question_without_a_start_is_ranked_by_features_alone() {
    let dir = tempfile::tempdir().unwrap();
    let f = featured(dir.path(), TOY);
    let out = run_in(dir.path(), "model", "finetune", &params(3), &f.inputs()).unwrap();
    // The first three questions start nowhere.
    let asked = f.data.questions.texts().unwrap();
    let rows = || 3..NODES;
    let floats: ArrayRef = Arc::new(Float64Array::from_iter_values(rows().map(|_| 0.5)));
    let starts = made(
        dir.path(),
        &kinds::STARTS,
        "starts",
        vec![
            vec![
                u32s(rows()),
                u32s(rows()),
                text(rows().map(|_| "entity".to_owned()).collect()),
                floats,
                text(rows().map(|_| String::new()).collect()),
            ],
            vec![
                Arc::new(UInt64Array::from(vec![u64::from(NODES)])),
                Arc::new(UInt64Array::from(vec![u64::from(NODES)])),
                text(vec![texts_digest(&asked)]),
            ],
        ],
    );
    let own = weights(out.port("model"));
    let named: Vec<(&str, f64)> = FEATURES
        .iter()
        .zip(&own["features.weight"])
        .map(|(f, w)| (f.name, f64::from(*w)))
        .collect();
    let folder = dir.path().join("own");
    std::fs::create_dir_all(&folder).unwrap();
    let own = fusion(&folder, &named);
    let given = |list: &[(&str, &Artifact)]| evaluate_inputs(&out, &f.data, list);
    let all = given(&[
        ("features", &f.features),
        ("fusion", &own),
        ("starts", &starts),
    ]);
    let got = run_in(dir.path(), "evaluated", "evaluate", &json!({}), &all).unwrap();
    let (model, fused) = (ranked(&got, "model"), ranked(&got, "fused"));
    assert_eq!(model.len(), fused.len());
    for (of, by) in model
        .iter()
        .zip(&fused)
        .filter(|(of, _)| ["q0", "q1", "q2"].contains(&of.0.as_str()))
    {
        assert_eq!(of, by);
    }
    assert_ne!(model, fused);
    let all = given(&[("features", &f.features), ("starts", &starts)]);
    let found = run_in(dir.path(), "found", "retrieve", &json!({}), &all).unwrap();
    assert_eq!(ranked(&found, "model"), model);
    assert!(
        said(&found, "ranked by features alone"),
        "{:?}",
        found.messages
    );
}

#[test]
fn a_stopped_training_with_features_ends_in_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let f = featured(dir.path(), TOY);
    let dropouts = [
        ("features", json!({"dropout": 0.3})),
        ("train.edge_dropout", json!(0.2)),
    ];
    let dropped = with(params(3), &dropouts);
    let given = f.inputs();
    let want = run_in(dir.path(), "whole", "finetune", &dropped, &given).unwrap();
    let plain = run_in(dir.path(), "plain", "finetune", &params(3), &given).unwrap();
    assert_ne!(digests(&want), digests(&plain));
    for one in dropouts {
        let changed = with(params(3), &[one]);
        let other = run_in(dir.path(), "one", "finetune", &changed, &given).unwrap();
        assert_ne!(digests(&other), digests(&plain));
        assert_ne!(digests(&other), digests(&want));
    }
    for (i, stops) in [vec![1], vec![4, 8, 13], vec![6]].iter().enumerate() {
        let folder = dir.path().join(format!("again{i}"));
        let out = stopped_and_ended(&folder, "finetune", &dropped, &given, stops, 2);
        assert_eq!(
            digests(&out),
            digests(&want),
            "stopped after {stops:?} steps"
        );
    }
}

#[test]
fn ranks_and_divided_graphs_train_features_as_one_rank_does() {
    let dir = tempfile::tempdir().unwrap();
    let f = featured(dir.path(), TOY);
    let changes = [
        ("train.dtype", json!("f64")),
        ("train.batch_size", json!(5)),
        ("train.clip_norm", json!(0.5)),
        ("features", json!({"dropout": 0.3})),
        ("train.edge_dropout", json!(0.2)),
    ];
    let params = with(params(2), &changes);
    equal_on_any_number("finetune", &params, &f.inputs());
    if on_cpu() {
        equal_divided("finetune", &params, &f.inputs());
    }
}

#[test]
fn several_data_sets_and_held_out_questions_bring_their_features() {
    let dir = tempfile::tempdir().unwrap();
    let other = Toy {
        name: "other",
        nodes: 17,
        ..TOY
    };
    let sets = [TOY, other].map(|toy| featured(dir.path(), toy));
    let mut given = finetune_inputs(&sets.each_ref().map(|f| &f.data));
    let features = sets.each_ref().map(|f| f.features.clone()).to_vec();
    given.insert("features".to_owned(), features);
    let half = with(params(1), &[("train.valid_fraction", json!(0.5))]);
    let out = run_in(dir.path(), "both", "finetune", &half, &given).unwrap();
    for set in ["toy", "other"] {
        let valid = history(out.port("history"), &format!("valid:{set}:document:mrr"));
        assert_eq!(valid.len(), 2, "{set}");
    }
    given.get_mut("features").unwrap().swap(0, 1);
    let error = run_in(dir.path(), "swapped", "finetune", &half, &given)
        .err()
        .unwrap();
    let shown = format!("{error:?}");
    assert!(shown.contains("matched by position"), "{shown}");
}

#[test]
fn what_features_need_is_checked_before_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let f = featured(dir.path(), TOY);
    let refused = |params: Value, without: &[&str]| {
        let mut given = f.inputs();
        for port in without {
            given.remove(*port);
        }
        let error = run_in(dir.path(), "refused", "finetune", &params, &given).err();
        format!("{:?}", error.unwrap())
    };
    let error = refused(params(1), &["features", "fusion"]);
    assert!(error.contains("`valid_features` is connected"), "{error}");
    let error = refused(params(1), &["features", "valid_features"]);
    assert!(error.contains("`fusion` is connected"), "{error}");
    let error = refused(params(1), &["valid_features"]);
    assert!(error.contains("connect `valid_features`"), "{error}");
    let mut entities = params(1);
    entities["task"] = json!({});
    let error = refused(entities, &[]);
    assert!(error.contains("no loss ranks documents"), "{error}");
    let mut dropped = params(1);
    dropped["features"] = json!({"dropout": 0.2});
    let error = refused(dropped, &["features", "valid_features", "fusion"]);
    assert!(error.contains("none are connected"), "{error}");
    // As many documents, but others.
    let folder = dir.path().join("of-others");
    std::fs::create_dir_all(&folder).unwrap();
    let other = features(&folder, &f.data.questions, &f.data.questions, 7);
    let out = run_in(dir.path(), "model", "finetune", &params(1), &f.inputs()).unwrap();
    let given = evaluate_inputs(&out, &f.data, &[("features", &other)]);
    let error = run_in(dir.path(), "refused", "evaluate", &json!({}), &given).err();
    let error = format!("{:?}", error.unwrap());
    assert!(error.contains("those of other documents"), "{error}");
    // A metric of entities cannot compare with features.
    let by = with(params(1), &[("train.best_by", json!("entity:mrr"))]);
    let out = run_in(dir.path(), "by", "finetune", &by, &f.inputs()).unwrap();
    assert!(
        said(&out, "ranking features do not change"),
        "{:?}",
        out.messages
    );
}
