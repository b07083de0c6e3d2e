//! The operator on small hand-made evaluations.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, StringArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::Float64Type;
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{Artifact, columns};

use super::*;
use crate::metrics::Answer;
use crate::questions::QuestionSet;
use crate::tables::{Results, Source, with_filtered};

/// A system and a group.
type Key = (String, String);

/// A value, its interval and the number of questions.
type Figure = (f64, Option<(f64, f64)>, u64);

/// A row of ranks: question, system, ranker and where its gold documents are.
type Row<'a> = (&'a str, &'a str, &'a str, &'a [u32]);

fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// Questions with two gold documents and these hops.
fn questions(dir: &Path, stage: &str, dataset: &str, of: &[(&str, u32)]) -> Artifact {
    let n = of.len();
    let wordings: Vec<String> = of.iter().map(|q| format!("{dataset}: {}?", q.0)).collect();
    let table = columns::batch(
        &kinds::QUESTIONS.tables[0],
        vec![
            texts(of.iter().map(|q| q.0)),
            texts(wordings.iter().map(String::as_str)),
            Arc::new(StringArray::from(vec![None::<&str>; n])),
            columns::build_list_u32(&vec![vec![]; n]),
            columns::build_list_u32(&vec![vec![]; n]),
            columns::build_list_u32(&vec![vec![0, 1]; n]),
            Arc::new(UInt32Array::from(vec![2; n])),
            Arc::new(BooleanArray::from(vec![true; n])),
            Arc::new(UInt32Array::from_iter_values(of.iter().map(|q| q.1))),
            columns::build_list_text(&vec![vec![]; n]),
        ],
    );
    let info = columns::batch(
        &kinds::QUESTIONS.tables[1],
        vec![
            texts([dataset]),
            texts(["test"]),
            Arc::new(UInt64Array::from(vec![n as u64])),
            Arc::new(UInt64Array::from(vec![0])),
        ],
    );
    let tables = vec![table.unwrap(), info.unwrap()];
    local::artifact(dir, &kinds::QUESTIONS, &format!("{stage}.test"), tables).unwrap()
}

fn ranks(dir: &Path, stage: &str, rows: &[Row<'_>]) -> Artifact {
    let n = rows.len();
    let lists: Vec<Vec<u32>> = rows.iter().map(|r| r.3.to_vec()).collect();
    let table = columns::batch(
        &kinds::RANKS.tables[0],
        vec![
            texts(rows.iter().map(|r| r.0)),
            texts(rows.iter().map(|r| r.1)),
            texts(rows.iter().map(|r| r.2)),
            texts(rows.iter().map(|_| "document")),
            Arc::new(BooleanArray::from(vec![true; n])),
            Arc::new(UInt32Array::from(vec![2; n])),
            columns::build_list_u32(&lists),
        ],
    );
    let name = format!("{stage}.ranks");
    local::artifact(dir, &kinds::RANKS, &name, vec![table.unwrap()]).unwrap()
}

fn pool(dir: &Path, params: Value, ranks: &[Artifact], asked: &[Artifact]) -> OpResult<Local> {
    let inputs: BTreeMap<String, Vec<Artifact>> = [
        ("ranks".to_owned(), ranks.to_vec()),
        ("questions".to_owned(), asked.to_vec()),
    ]
    .into();
    local::run::<Pool>(dir, &params, inputs)
}

/// Value, interval and number of questions of recall@5, by system, ranker and group.
fn recall(out: &Local) -> BTreeMap<Key, Figure> {
    let t = out.port("metrics").read("metrics").unwrap();
    let text = |name, i| columns::text(&t, name).unwrap().value(i).to_owned();
    let number = |name, i| columns::f64s(&t, name).unwrap().value(i);
    let (low, n) = (
        columns::f64s(&t, "low").unwrap(),
        columns::u64s(&t, "n").unwrap(),
    );
    let rows = (0..t.num_rows()).filter(|i| text("metric", *i) == "recall@5");
    let name = |i| crate::shown::label(&text("system", i), &text("ranker", i));
    let interval = |i| low.is_valid(i).then(|| (low.value(i), number("high", i)));
    rows.map(|i| {
        (
            (name(i), text("group", i)),
            (number("value", i), interval(i), n.value(i)),
        )
    })
    .collect()
}

/// Difference, low, high, better and worse of recall@5, by other system and group.
fn differences(out: &Local) -> BTreeMap<Key, (f64, f64, f64, u64, u64)> {
    let t = out.port("comparisons").read("comparisons").unwrap();
    let text = |name, i| columns::text(&t, name).unwrap().value(i).to_owned();
    let number = |name, i| columns::f64s(&t, name).unwrap().value(i);
    let count = |name, i| columns::u64s(&t, name).unwrap().value(i);
    let rows = (0..t.num_rows()).filter(|i| text("metric", *i) == "recall@5");
    let row = |i| {
        (
            number("difference", i),
            number("low", i),
            number("high", i),
            count("better", i),
            count("worse", i),
        )
    };
    rows.map(|i| ((text("other", i), text("group", i)), row(i)))
        .collect()
}

fn key(system: &str, group: &str) -> Key {
    (system.to_owned(), group.to_owned())
}

fn message(result: OpResult<Local>) -> String {
    match result.err().unwrap() {
        OpError::Failed(f) => format!("{f:?}"),
        other => other.to_string(),
    }
}

const BOTH: &[u32] = &[1, 2];
const ONE: &[u32] = &[3, 90];
const NONE: &[u32] = &[70, 90];

#[test]
fn folds_are_one_evaluation_of_all_questions() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    // The second fold has a question that was not evaluated.
    let asked = [
        questions(d, "q[0]", "set", &[("a", 2), ("b", 3)]),
        questions(
            d,
            "q[1]",
            "set",
            &[("c", 2), ("left out", 1), ("d", 2), ("e", 3)],
        ),
    ];
    let model = [
        ("a", BOTH),
        ("b", ONE),
        ("c", NONE),
        ("d", BOTH),
        ("e", ONE),
    ];
    let bm25 = [("a", ONE), ("b", ONE), ("c", ONE), ("d", NONE), ("e", NONE)];
    let rows = |ids: &[&str]| -> Vec<Row<'_>> {
        let of = |all: &[(&'static str, &'static [u32])], system: (&'static str, &'static str)| {
            let all = all.iter().filter(|(id, _)| ids.contains(id));
            all.map(|(id, ranks)| (*id, system.0, system.1, *ranks))
                .collect::<Vec<Row<'_>>>()
        };
        [of(&model, ("model", "simple")), of(&bm25, ("bm25", "-"))].concat()
    };
    let folds = [
        ranks(d, "e[0]", &rows(&["a", "b"])),
        ranks(d, "e[1]", &rows(&["c", "d", "e"])),
    ];
    let out = pool(d, json!({"resamples": 500}), &folds, &asked).unwrap();

    // What `evaluate` writes when it asks all questions at once.
    let mut set = QuestionSet::read(&asked[0]).unwrap();
    set.append(QuestionSet::read(&asked[1]).unwrap().subset(&[0, 2, 3]));
    let mut results = Results::new(&set);
    for (all, system, ranker) in [(model, "model", "simple"), (bm25, "bm25", "-")] {
        let source = Source {
            system,
            ranker,
            target: &Target::Document,
        };
        let answers = all
            .iter()
            .map(|(_, ranks)| Some(Answer::of_ranks(true, ranks, 2)));
        results.add(source, answers.collect());
    }
    results.add_ceiling();
    let resampling = Resampling {
        resamples: 500,
        seed: 1024,
    };
    let ctx = local::context();
    for (port, want) in [
        ("metrics", results.metrics(&ctx, &resampling).unwrap()),
        (
            "comparisons",
            results.comparisons(&ctx, &resampling).unwrap(),
        ),
    ] {
        let got = out.port(port).read(port).unwrap();
        for (got, want) in got.columns().iter().zip(want.columns()) {
            match (
                got.as_primitive_opt::<Float64Type>(),
                want.as_primitive_opt(),
            ) {
                (Some(got), Some(want)) => {
                    let want: &Float64Array = want;
                    assert_eq!(got.nulls(), want.nulls());
                    let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12;
                    assert!(got.values().iter().zip(want.values()).all(close), "{port}");
                }
                _ => assert_eq!(got, want, "{port}"),
            }
        }
    }
    assert_eq!(recall(&out)[&key("bm25", "hops=3")].2, 2);
}

#[test]
fn a_question_counts_once_with_the_mean_of_its_trainings() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let asked = [questions(d, "q", "set", &[("a", 2), ("b", 2), ("c", 2)])];
    let of = |system: &'static str, ranks: [&'static [u32]; 3]| -> Vec<Row<'static>> {
        ["a", "b", "c"]
            .into_iter()
            .zip(ranks)
            .map(|(id, r)| (id, system, "-", r))
            .collect()
    };
    let stages = [
        ranks(d, "e[0,1]", &of("model", [BOTH, ONE, ONE])),
        ranks(d, "e[0,2]", &of("model", [ONE, ONE, NONE])),
        ranks(d, "e[0,3]", &of("model", [BOTH, ONE, NONE])),
        ranks(d, "plain", &of("bm25", [ONE, ONE, ONE])),
    ];
    let out = pool(d, json!({}), &stages, &asked).unwrap();
    let all = recall(&out);
    let (mean, interval, n) = all[&key("model", "all")];
    // Of the questions 5/6, 1/2 and 1/6.
    assert!((mean - 0.5).abs() < 1e-12 && n == 3, "{mean} {n}");
    let (low, high) = interval.unwrap();
    assert!(low < mean && mean < high, "{low} {high}");
    let (difference, low, high, better, worse) = differences(&out)[&key("bm25", "all")];
    assert!(difference.abs() < 1e-12 && low < 0.0 && high > 0.0);
    assert_eq!((better, worse), (1, 1));
    assert!(
        out.messages
            .iter()
            .any(|(_, m)| m.contains("mean of 3 answers")),
        "{:?}",
        out.messages
    );
    // One question says nothing about others, however often it is answered.
    let one = [
        ranks(d, "f[1]", &of("model", [BOTH, ONE, ONE])[..1]),
        ranks(d, "f[2]", &of("model", [ONE, ONE, ONE])[..1]),
    ];
    let out = pool(d, json!({}), &one, &asked).unwrap();
    assert_eq!(recall(&out)[&key("model", "all")], (0.75, None, 1));
}

#[test]
fn data_sets_are_kept_apart_and_weigh_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    // Both have a question `1`.
    let asked = [
        questions(d, "q[small]", "small", &[("1", 2), ("2", 3)]),
        questions(
            d,
            "q[large]",
            "large",
            &[("1", 2), ("3", 2), ("4", 2), ("5", 2)],
        ),
    ];
    let of = |system: &'static str, all: &[(&'static str, &'static [u32])]| -> Vec<Row<'static>> {
        all.iter()
            .map(|(id, ranks)| (*id, system, "-", *ranks))
            .collect()
    };
    let small = [
        of("model", &[("1", BOTH), ("2", BOTH)]),
        of("ppr", &[("1", ONE), ("2", ONE)]),
    ];
    let large = [
        of("model", &[("1", NONE), ("3", ONE), ("4", NONE), ("5", ONE)]),
        of("ppr", &[("1", ONE), ("3", ONE), ("4", NONE), ("5", NONE)]),
    ];
    let stages = [
        ranks(d, "e[small]", &small.concat()),
        ranks(d, "e[large]", &large.concat()),
    ];
    let params = json!({"sets": ["small", "large"], "baseline": "ppr"});
    let out = pool(d, params, &stages, &asked).unwrap();
    let (mean, _, n) = recall(&out)[&key("model", "all")];
    assert!((mean - (1.0 + 0.25) / 2.0).abs() < 1e-12 && n == 6);
    let all = differences(&out);
    // Of ppr less the model: -1/2 on every question of one, 0 in the mean of the other.
    let (difference, low, high, better, worse) = all[&key("model", "all")];
    assert!((difference + 0.25).abs() < 1e-12, "{difference}");
    assert!(low <= difference && difference <= high);
    assert_eq!((better, worse), (1, 3));
    let small = all[&key("model", "set=small")];
    assert_eq!((small.0, small.1, small.2), (-0.5, -0.5, -0.5));
    let large = all[&key("model", "set=large")];
    assert!(large.0.abs() < 1e-12 && large.1 < 0.0 && large.2 > 0.0);
    let t = out.port("metrics").read("metrics").unwrap();
    let text = |name, i| columns::text(&t, name).unwrap().value(i);
    assert_eq!(text("dataset", 0), "small+large");
    let mut groups: Vec<&str> = (0..t.num_rows()).map(|i| text("group", i)).collect();
    groups.truncate(4 * with_filtered().len());
    groups.dedup();
    assert_eq!(groups, ["all", "set=small", "set=large", "hops=2"]);

    let mixed = pool(d, json!({}), &stages, &asked);
    assert!(message(mixed).contains("two questions have the id"));
}

#[test]
fn systems_of_other_stages_need_names() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let asked = [questions(d, "q", "set", &[("a", 2), ("b", 2)])];
    let stages = [
        ranks(
            d,
            "e[0]",
            &[("a", "model", "simple", BOTH), ("a", "bm25", "-", ONE)],
        ),
        ranks(
            d,
            "e[1]",
            &[("b", "model", "simple", BOTH), ("b", "bm25", "-", ONE)],
        ),
        ranks(
            d,
            "r[0]",
            &[("a", "model", "idf", ONE), ("a", "bm25", "-", ONE)],
        ),
        ranks(
            d,
            "r[1]",
            &[("b", "model", "idf", NONE), ("b", "bm25", "-", ONE)],
        ),
    ];
    let clash = message(pool(d, json!({}), &stages, &asked));
    assert!(
        clash.contains("`e` has a system `bm25` too") && clash.contains("names: {r: {bm25"),
        "{clash}"
    );
    // Their rankers differ, so both models are there even without names.
    let names = json!({"r": {"model": "Reasoner", "bm25": "bm25 again"}, "e": {"model": "GNN"}});
    let out = pool(
        d,
        json!({"names": names, "baseline": "Reasoner"}),
        &stages,
        &asked,
    )
    .unwrap();
    let others: Vec<Key> = differences(&out).into_keys().collect();
    let of_all: Vec<&str> = others
        .iter()
        .filter(|k| k.1 == "all")
        .map(|k| k.0.as_str())
        .collect();
    assert_eq!(of_all, ["GNN (simple)", "bm25", "bm25 again"]);
    assert_eq!(differences(&out)[&key("GNN (simple)", "all")].0, -0.75);
    let labelled = json!({"names": names, "baseline": "Reasoner (idf)"});
    assert!(pool(d, labelled, &stages, &asked).is_ok());
    // Named alike, they are the same system: a question counts with the mean.
    let alike = json!({"r": {"bm25": "words"}, "e": {"bm25": "words"}});
    let out = pool(d, json!({"names": alike}), &stages, &asked).unwrap();
    assert_eq!(recall(&out)[&key("words", "all")].2, 2);

    for (params, part) in [
        (
            json!({"names": names, "baseline": "modle"}),
            "Reasoner (idf), bm25 again",
        ),
        (
            json!({"names": {"r": {"modle": "x"}}}),
            "there are: bm25, model",
        ),
        (
            json!({"names": {"e": {"model": "x", "bm25": "x"}, "r": {"bm25": "y"}}}),
            "",
        ),
    ] {
        let e = pool(d, params, &stages, &asked);
        if part.is_empty() {
            assert!(e.is_ok());
        } else {
            let e = message(e);
            assert!(e.contains(part), "{e}");
        }
    }
    let same = json!({"names": {"r": {"bm25": "x", "model": "x"}}});
    let two = [ranks(
        d,
        "r[2]",
        &[("a", "model", "-", ONE), ("a", "bm25", "-", ONE)],
    )];
    assert!(message(pool(d, same, &two, &asked)).contains("two systems are called `x`"));
}

#[test]
fn systems_answer_the_same_questions() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let asked = [questions(d, "q", "set", &[("a", 2), ("b", 2)])];
    let first = ranks(
        d,
        "e[0]",
        &[("a", "model", "-", BOTH), ("b", "model", "-", BOTH)],
    );
    let fewer = ranks(d, "r[0]", &[("a", "other", "-", ONE)]);
    let e = message(pool(d, json!({}), &[first.clone(), fewer], &asked));
    for part in [
        "`other` has no answer",
        "\\\"b\\\"",
        "e[0].ranks",
        "all stages of `r`",
    ] {
        assert!(e.contains(part), "{part}: {e}");
    }
    let unknown = ranks(d, "e[1]", &[("z", "model", "-", ONE)]);
    let e = message(pool(d, json!({}), &[first.clone(), unknown], &asked));
    assert!(
        e.contains("not among `questions`") && e.contains("e[1].ranks"),
        "{e}"
    );
    let e = message(pool(d, json!({}), &[first.clone(), first.clone()], &asked));
    assert!(e.contains("connected twice"), "{e}");
    // Other gold documents.
    let more = ranks(d, "e[2]", &[("a", "model", "-", &[1, 2, 3])]);
    let e = message(pool(d, json!({}), &[first, more], &asked));
    assert!(e.contains("another number of gold documents"), "{e}");
}

#[test]
fn pipelines_are_checked_before_they_run() {
    let params = |names: Value, sets: Value| -> Params {
        let given =
            json!({"names": names, "sets": sets, "baseline": null, "resamples": 9, "seed": 1});
        serde_json::from_value(given).unwrap()
    };
    let of = |port: &str, names: &[&str]| {
        (
            port.to_owned(),
            names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(),
        )
    };
    let inputs: Connected = [
        of("ranks", &["e[a,0].ranks", "e[b,0].ranks", "r.ranks"]),
        of("questions", &["q[a].test"]),
    ]
    .into();
    let found = |names, sets| -> Vec<String> {
        let problems = Pool::check_inputs(&params(names, sets), &inputs);
        problems.into_iter().map(|p| p.message).collect()
    };
    assert!(found(json!({"e[a,*]": {"model": "x"}}), json!([])).is_empty());
    assert_eq!(
        found(json!({"evaluate": {"model": "x"}}), json!(["a", "b", "c"])),
        [
            "`names` has `evaluate`, which no stage of `ranks` is called",
            "`r` belongs to none of `sets`",
            "no stage belongs to `c`, which `sets` has",
        ]
    );
    let refused = Pool::check(&params(
        json!({"e": {"model": "ceiling"}}),
        json!(["a", "a"]),
    ));
    assert_eq!(refused.len(), 2, "{refused:?}");
    let schema = Pool::schema();
    for bad in [
        json!({"names": {"e[": {"model": "x"}}}),
        json!({"names": {"e": "x"}}),
    ] {
        assert!(schema.normalize(&bad).is_err(), "{bad}");
    }
}
