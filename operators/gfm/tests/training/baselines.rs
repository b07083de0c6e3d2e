//! Systems that need no training: `evaluate` and `retrieve` without a model, a graph or embeddings.

use std::collections::BTreeMap;

use gfm_pipe_api::local::Local;
use gfm_pipe_api::{Artifact, Level, OpError, columns};
use serde_json::{Value, json};

use crate::toy::*;

/// Inputs of `evaluate` and `retrieve` without a model: those of `ports`, corpus and questions.
fn given(d: &Data, ports: &[&str]) -> Inputs {
    let all = [
        ("graph", &d.graph),
        ("documents", &d.documents),
        ("corpus", &d.corpus),
        ("corpus_embeddings", &d.corpus_embeddings),
        ("questions", &d.questions),
        ("question_embeddings", &d.question_embeddings),
    ];
    let always = ["corpus", "questions"];
    let kept = all.into_iter();
    let kept: Vec<(&str, &Artifact)> = kept
        .filter(|(port, _)| always.contains(port) || ports.contains(port))
        .collect();
    inputs(&kept)
}

/// Documents with scores, by system and question.
fn lists(rankings: &Artifact) -> BTreeMap<(String, String), Vec<(String, f64)>> {
    let t = rankings.read("rankings").unwrap();
    let text = |name, i| columns::text(&t, name).unwrap().value(i).to_owned();
    let score = columns::f64s(&t, "score").unwrap();
    let mut out: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for i in 0..t.num_rows() {
        let list = out.entry((text("system", i), text("question", i)));
        let list = list.or_default();
        list.push((text("document", i), score.value(i)));
    }
    out
}

/// Systems of an evaluation, in order.
fn systems(out: &Local) -> Vec<String> {
    let t = out.port("metrics").read("metrics").unwrap();
    let column = columns::text(&t, "system").unwrap();
    let mut all: Vec<String> = column.iter().flatten().map(str::to_owned).collect();
    all.dedup();
    let documents = all.iter().enumerate();
    let first = documents.filter(|(i, s)| !all[..*i].contains(s));
    first.map(|(_, s)| s.clone()).collect()
}

/// Metrics of document rankings over all questions, by system and metric.
fn figures(out: &Local) -> BTreeMap<(String, String), f64> {
    let t = out.port("metrics").read("metrics").unwrap();
    let text = |name, i| columns::text(&t, name).unwrap().value(i).to_owned();
    let value = columns::f64s(&t, "value").unwrap();
    let rows = (0..t.num_rows()).filter(|i| {
        (text("target", *i), text("group", *i)) == ("document".into(), "all".into())
            && ["-", "idf_topk"].contains(&text("ranker", *i).as_str())
    });
    rows.map(|i| ((text("system", i), text("metric", i)), value.value(i)))
        .collect()
}

const GRAPH: [&str; 2] = ["graph", "documents"];
const TEXTS: [&str; 2] = ["corpus_embeddings", "question_embeddings"];

#[test]
fn what_is_connected_decides_which_systems_are_evaluated() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let model = finetuned(dir.path(), &d, 1);
    let more = [("corpus_embeddings", &d.corpus_embeddings)];
    let with = evaluate_inputs(&model, &d, &more);
    let evaluated = |folder: &str, given: &Inputs| {
        run_in(
            dir.path(),
            folder,
            "evaluate",
            &json!({"resamples": 50}),
            given,
        )
        .unwrap()
    };
    let whole = evaluated("whole", &with);
    let (of_whole, lists_of_whole) = (figures(&whole), lists(whole.port("rankings")));
    let four = ["dense", "bm25", "ppr", "rrf", "ceiling"];
    assert_eq!(
        systems(&whole),
        [&["model", "untrained"][..], &four].concat()
    );
    let both = [GRAPH, TEXTS].concat();
    let cases: [(&[&str], &[&str]); 4] = [
        (&both, &four),
        (&TEXTS, &["dense", "bm25", "rrf", "ceiling"]),
        (&GRAPH, &["bm25", "ppr", "rrf", "ceiling"]),
        (&[], &["bm25", "ceiling"]),
    ];
    for (i, (ports, expected)) in cases.into_iter().enumerate() {
        let out = evaluated(&format!("case{i}"), &given(&d, ports));
        assert_eq!(systems(&out), expected, "{ports:?}");
        assert!(said(
            &out,
            "`untrained` is left out: nothing is connected to `model`"
        ));
        let same = |system: &str| system != "rrf" || ports.len() == 4;
        for ((system, metric), value) in figures(&out) {
            if same(&system) {
                assert_eq!(value, of_whole[&(system, metric)]);
            }
        }
        for (of, list) in lists(out.port("rankings")) {
            if same(&of.0) {
                assert_eq!(list, lists_of_whole[&of], "{of:?}");
            }
        }
        // Entities are ranked if there is a graph.
        let t = out.port("metrics").read("metrics").unwrap();
        let target = columns::text(&t, "target").unwrap();
        let on_graph = ports.contains(&"graph");
        assert_eq!(target.iter().flatten().any(|t| t == "entity"), on_graph);
        // The first system is compared with the others.
        let t = out.port("comparisons").read("comparisons").unwrap();
        let first = columns::text(&t, "system").unwrap();
        let first = (t.num_rows() > 0).then(|| first.value(0).to_owned());
        let others = expected.len() > 2;
        assert_eq!(first, others.then(|| expected[0].to_owned()));
    }
    let fused = evaluated("fused", &given(&d, &TEXTS));
    assert!(said(&fused, "`rrf` fuses `dense` and `bm25` only"));
    assert!(said(
        &fused,
        "`ppr` is left out: nothing is connected to `graph` and `documents`"
    ));
    assert!(fused.messages.iter().all(|m| m.0 == Level::Info));
}

#[test]
fn retrieve_lists_the_same_documents_as_evaluate() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let all = given(&d, &[GRAPH, TEXTS].concat());
    let evaluated = run(dir.path(), "evaluate", json!({"resamples": 0}), all.clone()).unwrap();
    let want = lists(evaluated.port("rankings"));
    let needs: [(&str, &[&str]); 4] = [
        ("dense", &TEXTS),
        ("bm25", &[]),
        ("ppr", &GRAPH),
        (
            "rrf",
            &[
                "graph",
                "documents",
                "corpus_embeddings",
                "question_embeddings",
            ],
        ),
    ];
    for (system, ports) in needs {
        let params = json!({"system": system, "documents": 20});
        let folder = format!("retrieve-{system}");
        let out = run_in(dir.path(), &folder, "retrieve", &params, &given(&d, ports)).unwrap();
        let got = lists(out.port("rankings"));
        assert_eq!(got.len(), NODES as usize);
        for (of, list) in got {
            assert_eq!(of.0, system);
            assert_eq!(list.len(), 20);
            assert_eq!(list, want[&of], "{of:?}");
        }
    }
    // Only one document contains the last word of "what comes two after 7".
    let found = &want[&("bm25".to_owned(), "q7".to_owned())];
    assert_eq!(found[0].0, "doc 7");
}

/// Message and hint for wrong connections. Checks that they are the same before anything runs and
/// when a stage runs without that check.
fn rejected(op_name: &str, params: &Value, given: &Inputs) -> (String, String) {
    let entry = op(op_name);
    let full = entry.validate(params).unwrap();
    let names = |all: &Vec<Artifact>| all.iter().map(|a| a.name.clone()).collect();
    let connected = given.iter().map(|(port, all)| (port.clone(), names(all)));
    let problems = entry.check_inputs(&full, &connected.collect());
    let dir = tempfile::tempdir().unwrap();
    let e = run_in(dir.path(), "out", op_name, params, given).err();
    let Some(OpError::Failed(failure)) = e else {
        panic!("{op_name} {params} ran");
    };
    assert_eq!(problems.len(), 1);
    assert_eq!(failure.message, problems[0].message);
    assert_eq!(failure.hint, problems[0].hint);
    (failure.message, failure.hint.unwrap())
}

#[test]
fn a_system_without_its_ports_is_rejected_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let retrieve = |system: &str, ports: &[&str]| {
        rejected("retrieve", &json!({"system": system}), &given(&d, ports))
    };
    let (message, hint) = retrieve("model", &[GRAPH, TEXTS].concat());
    assert_eq!(
        message,
        "system `model` needs `model`, which is not connected"
    );
    assert!(
        hint.starts_with("connect `model`, or") && hint.contains("system: bm25"),
        "{hint}"
    );
    let (message, hint) = retrieve("ppr", &["documents", "corpus_embeddings"]);
    assert_eq!(
        message,
        "system `ppr` needs `graph`, which is not connected"
    );
    assert_eq!(hint, "connect `graph`");
    let (message, _) = retrieve("dense", &GRAPH);
    assert_eq!(
        message,
        "system `dense` needs `corpus_embeddings` and `question_embeddings`, which are not connected"
    );
    assert!(
        retrieve("rrf", &["graph"])
            .1
            .contains("`corpus_embeddings`")
    );

    let model = finetuned(dir.path(), &d, 1);
    let with = |port: &str, ports: &[&str]| {
        let mut all = given(&d, ports);
        all.insert(port.to_owned(), vec![model.port("model").clone()]);
        all
    };
    let evaluate = |all: &Inputs| rejected("evaluate", &json!({}), all);
    let (message, hint) = evaluate(&with("model", &["graph", "question_embeddings"]));
    assert_eq!(
        message,
        "system `model` needs `documents`, which is not connected"
    );
    assert_eq!(hint, "connect `documents`");
    let (message, _) = evaluate(&with("pretrained", &GRAPH));
    assert!(
        message.contains("`pretrained` needs `question_embeddings`"),
        "{message}"
    );
    // A background needs its model.
    let (message, _) = evaluate(&with("background", &[GRAPH, TEXTS].concat()));
    assert_eq!(
        message,
        "system `model` needs `model`, which is not connected"
    );

    let nothing = json!({"baselines": ["ppr", "untrained"]});
    let (message, hint) = rejected("evaluate", &nothing, &given(&d, &TEXTS));
    assert!(message.starts_with("nothing can be evaluated"), "{message}");
    assert!(
        hint.contains("connect `graph` and `documents` for `ppr`"),
        "{hint}"
    );
    assert!(hint.contains("`bm25` in `baselines`"), "{hint}");
}

#[test]
fn dense_rejects_vectors_of_two_encoders() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    // The same width, so that only the encoder's digest differs.
    let other = Toy {
        name: "other",
        encoder: ("other-encoder", TOY.encoder.1),
        ..TOY
    };
    let mut all = given(&d, &TEXTS);
    let foreign = other.make(dir.path()).corpus_embeddings;
    all.insert("corpus_embeddings".to_owned(), vec![foreign]);
    for (name, params) in [
        ("evaluate", json!({})),
        ("retrieve", json!({"system": "dense"})),
    ] {
        let e = run(dir.path(), name, params, all.clone()).err().unwrap();
        let e = e.to_string();
        assert!(
            e.contains("toy-encoder") && e.contains("other-encoder"),
            "{e}"
        );
    }
}
