//! Questions that start from given nodes, documents that are nodes, documents in pieces, and
//! several splits of questions.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float32Array, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use gfm_pipe_api::artifact::texts_digest;
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{Artifact, ErrorKind, Kind, columns, kinds};
use serde_json::json;

use crate::toy::*;

fn ids(values: impl IntoIterator<Item = u32>) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(values))
}

fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn made(dir: &Path, kind: &'static Kind, name: &str, tables: Vec<Vec<ArrayRef>>) -> Artifact {
    let tables = kind.tables.iter().zip(tables);
    let tables: Vec<RecordBatch> = tables
        .map(|(spec, columns)| columns::batch(spec, columns).unwrap())
        .collect();
    local::artifact(dir, kind, name, tables).unwrap()
}

/// A `starts` artifact for these questions, from rows of question, node and weight.
fn starts_of(dir: &Path, questions: &Artifact, rows: &[(u32, u32, f64)]) -> Artifact {
    let asked = questions.texts().unwrap();
    let info: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from(vec![asked.len() as u64])),
        Arc::new(UInt64Array::from(vec![u64::from(NODES)])),
        texts([texts_digest(&asked).as_str()]),
    ];
    let starts: Vec<ArrayRef> = vec![
        ids(rows.iter().map(|r| r.0)),
        ids(rows.iter().map(|r| r.1)),
        texts(rows.iter().map(|_| "entity")),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.2))),
        texts(rows.iter().map(|_| "")),
    ];
    made(dir, &kinds::STARTS, "starts", vec![starts, info])
}

/// The starts that the toy's questions have by default: each its own entity, which two documents
/// mention. The weight is given in two parts, which are added.
fn own_entities(dir: &Path, questions: &Artifact) -> Artifact {
    let rows: Vec<(u32, u32, f64)> = (0..NODES)
        .flat_map(|i| [(i, i, 0.125), (i, i, 0.375)])
        .collect();
    starts_of(dir, questions, &rows)
}

#[test]
fn starts_at_the_entities_do_not_change_the_result() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let starts = own_entities(dir.path(), &d.questions);
    let model = finetuned(dir.path(), &d, 2);
    let mut given = finetune_inputs(&[&d]);
    given.insert("starts".into(), vec![starts.clone()]);
    let params = finetune_params(2);
    let started = run_in(dir.path(), "started", "finetune", &params, &given).unwrap();
    assert_eq!(digests(&model), digests(&started));

    let evaluated = |folder: &str, more: &[(&str, &Artifact)]| {
        let given = evaluate_inputs(&model, &d, more);
        let params = json!({"resamples": 20});
        run_in(dir.path(), folder, "evaluate", &params, &given).unwrap()
    };
    let plain = evaluated("plain", &[]);
    let from_starts = evaluated("from-starts", &[("starts", &starts)]);
    assert_eq!(digests(&plain), digests(&from_starts));
    // Other starts change the result.
    let rows: Vec<(u32, u32, f64)> = (0..NODES).map(|i| (i, (i + 7) % NODES, 1.0)).collect();
    let elsewhere = starts_of(dir.path(), &d.questions, &rows);
    let moved = evaluated("moved", &[("starts", &elsewhere)]);
    assert_ne!(digests(&plain), digests(&moved));
}

#[test]
fn starts_of_other_questions_or_with_bad_rows_are_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let rejected = |starts: &Artifact| {
        let given = inputs(&[
            ("graph", &d.graph),
            ("documents", &d.documents),
            ("corpus", &d.corpus),
            ("questions", &d.questions),
            ("starts", starts),
        ]);
        let params = json!({"baselines": ["ppr"], "resamples": 0});
        let error = run_in(dir.path(), "rejected", "evaluate", &params, &given).err();
        error.unwrap()
    };
    let corpus = starts_of(dir.path(), &d.corpus, &[]);
    let error = rejected(&corpus).to_string();
    assert!(error.contains("were not made for `questions[toy]`"));
    for row in [
        (NODES, 0, 1.0),
        (0, NODES, 1.0),
        (0, 0, 0.0),
        (0, 0, -1.0),
        (0, 0, f64::NAN),
        (0, 0, f64::INFINITY),
    ] {
        let starts = starts_of(dir.path(), &d.questions, &[(0, 1, 1.0), row]);
        let error = rejected(&starts);
        assert_eq!(error.kind(), ErrorKind::Data, "{row:?} {error}");
    }
}

/// Titles that ppr lists for the first question, with their scores.
fn listed(out: &Local) -> Vec<(String, f64)> {
    let table = out.port("rankings").read("rankings").unwrap();
    let text = |name, i| columns::text(&table, name).unwrap().value(i).to_owned();
    let score = columns::f64s(&table, "score").unwrap();
    (0..table.num_rows())
        .filter(|i| text("question", *i) == "q0")
        .map(|i| (text("document", i), score.value(i)))
        .collect()
}

#[test]
fn documents_that_are_nodes_are_ranked_by_their_own_mass_over_weighted_edges() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    // Nodes 4 and 5 stand for documents 0 and 1. Only the triple of 0 and 4 has a weight above 0.
    let document = |node| match node {
        4 => Some(0),
        5 => Some(1),
        _ => None,
    };
    let types = (0..NODES).map(|n| match document(n) {
        Some(_) => "document",
        None => "entity",
    });
    let of: UInt32Array = (0..NODES).map(document).collect();
    let nodes: Vec<ArrayRef> = vec![ids(0..NODES), texts(types), Arc::new(of)];
    let nodes = made(dir.path(), &kinds::NODES, "nodes", vec![nodes]);
    let triples = [[0, 0, 4], [0, 0, 5], [1, 1, 2]];
    let graph = TOY.graph_of(dir.path(), &triples, &["next", "two"]);
    let weights: ArrayRef = Arc::new(Float32Array::from(vec![3.0, 0.0, 0.0]));
    let weights = made(
        dir.path(),
        &kinds::EDGE_WEIGHTS,
        "edge_weights",
        vec![vec![weights]],
    );
    let starts = starts_of(dir.path(), &d.questions, &[(0, 0, 2.0)]);
    let given = |weights: &Artifact| {
        inputs(&[
            ("graph", &graph),
            ("documents", &d.documents),
            ("corpus", &d.corpus),
            ("questions", &d.questions),
            ("starts", &starts),
            ("nodes", &nodes),
            ("edge_weights", weights),
        ])
    };
    let params = json!({"system": "ppr", "documents": 3, "restart": 0.25});
    let out = run_in(dir.path(), "r", "retrieve", &params, &given(&weights)).unwrap();
    let got = listed(&out);
    // Two nodes with restart 1/4 have the masses 4/7 (the start) and 3/7 (the document).
    assert_eq!(got[0].0, "doc 0");
    assert!((got[0].1 - 3.0 / 7.0).abs() < 1e-8, "{got:?}");
    assert_eq!(got[1], ("doc 1".to_owned(), 0.0));
    // By default, a walk over documents has the restart 0.3.
    let params = json!({"system": "ppr", "documents": 1});
    let out = run_in(dir.path(), "r2", "retrieve", &params, &given(&weights)).unwrap();
    let share = 0.7 / 1.7;
    assert!((listed(&out)[0].1 - share).abs() < 1e-8);

    let short: ArrayRef = Arc::new(Float32Array::from(vec![1.0]));
    let short = made(dir.path(), &kinds::EDGE_WEIGHTS, "short", vec![vec![short]]);
    let error = run_in(dir.path(), "r3", "retrieve", &params, &given(&short)).err();
    let error = error.unwrap().to_string();
    assert!(
        error.contains("1 weights, but the graph has 3 triples"),
        "{error}"
    );
}

#[test]
fn a_document_in_pieces_is_listed_once() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    // Each pair of documents is one document in two pieces.
    let n = NODES as usize;
    let nothing: ArrayRef = Arc::new(UInt64Array::from(vec![None::<u64>; n]));
    let titles: Vec<String> = (0..NODES).map(|i| format!("doc {}", i / 2 * 2)).collect();
    let sources: Vec<ArrayRef> = vec![
        ids(0..NODES),
        texts((0..NODES).map(|_| "corpus.json")),
        Arc::clone(&nothing),
        Arc::clone(&nothing),
        nothing,
        ids((0..NODES).map(|i| i / 2 * 2)),
        texts(titles.iter().map(String::as_str)),
    ];
    let sources = made(dir.path(), &kinds::SOURCES, "sources", vec![sources]);
    let given = inputs(&[
        ("graph", &d.graph),
        ("documents", &d.documents),
        ("corpus", &d.corpus),
        ("corpus_embeddings", &d.corpus_embeddings),
        ("questions", &d.questions),
        ("question_embeddings", &d.question_embeddings),
        ("sources", &sources),
    ]);
    let whole = {
        let mut given = given.clone();
        given.remove("sources");
        given
    };
    for system in ["ppr", "bm25", "dense", "rrf"] {
        let params = json!({"system": system, "documents": 100});
        let of = |folder: &str, given: &Inputs| {
            listed(&run_in(dir.path(), folder, "retrieve", &params, given).unwrap())
        };
        let (pieces, all) = (of("pieces", &given), of("whole", &whole));
        assert_eq!(pieces.len(), n / 2, "{system}");
        assert_eq!(all.len(), n, "{system}");
        if system == "rrf" {
            continue;
        }
        for (title, score) in pieces {
            let first: u32 = title.strip_prefix("doc ").unwrap().parse().unwrap();
            let other = format!("doc {}", first + 1);
            let best = all
                .iter()
                .filter(|(t, _)| *t == title || *t == other)
                .map(|(_, s)| *s)
                .fold(f64::NEG_INFINITY, f64::max);
            assert_eq!(score, best, "{system} {title}");
        }
    }
}

#[test]
fn several_splits_are_joined_and_questions_of_few_hops_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let given = |questions: &[&Artifact]| {
        let mut given = inputs(&[("corpus", &d.corpus)]);
        let questions = questions.iter().map(|q| (*q).clone()).collect();
        given.insert("questions".to_owned(), questions);
        given
    };
    let params = |hops: u32| json!({"resamples": 0, "baselines": ["bm25"], "hops_at_least": hops});
    let run = |folder: &str, params, given: &Inputs| {
        run_in(dir.path(), folder, "evaluate", &params, given)
    };
    let twice = run("twice", params(1), &given(&[&d.questions, &d.questions]));
    let error = twice.err().unwrap().to_string();
    assert!(
        error.contains("two questions have the id \"q0\""),
        "{error}"
    );

    // The same questions in two splits.
    let table = d.questions.read("questions").unwrap();
    let info = d.questions.read("info").unwrap();
    let part = |name: &str, rows: std::ops::Range<usize>| {
        let mut columns: Vec<ArrayRef> = table.columns().to_vec();
        for column in &mut columns {
            *column = column.slice(rows.start, rows.len());
        }
        let mut about: Vec<ArrayRef> = info.columns().to_vec();
        about[1] = texts([name]);
        made(dir.path(), &kinds::QUESTIONS, name, vec![columns, about])
    };
    let halves = [part("train", 0..10), part("test", 10..NODES as usize)];
    let whole = run("whole", params(1), &given(&[&d.questions])).unwrap();
    let parts = run("parts", params(1), &given(&[&halves[0], &halves[1]])).unwrap();
    let port = |out: &Local, name: &str| out.port(name).digest();
    assert_eq!(port(&whole, "ranks"), port(&parts, "ranks"));
    assert_eq!(port(&whole, "rankings"), port(&parts, "rankings"));
    let metrics = parts.port("metrics").read("metrics").unwrap();
    let split = columns::text(&metrics, "split").unwrap();
    assert_eq!(split.value(0), "train+test");

    let none = run("none", params(3), &given(&[&d.questions])).unwrap();
    assert!(said(&none, "0 of 24 questions have at least 3 hops"));
    assert!(said(&none, "has no questions of so many hops"));
}
