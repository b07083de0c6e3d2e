//! A GraphReasoner (GFM-RAG 2.0) in every operator: on a graph whose documents are nodes, with the
//! texts of all nodes.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use gfm_pipe_api::local::Local;
use gfm_pipe_api::{Artifact, columns, kinds};
use serde_json::{Value, json};

use crate::divided::{equal_divided, on_cpu};
use crate::ranks::equal_on_any_number;
use crate::resume::stopped_and_ended;
use crate::toy::*;

/// The toy data set with its documents as nodes behind the entities.
struct Typed {
    data: Data,
    /// Types of nodes.
    nodes: Artifact,
}

const ALL: u32 = 2 * NODES;

impl Typed {
    fn new(dir: &Path) -> Self {
        let data = data(dir);
        let dir = dir.join("typed");
        std::fs::create_dir_all(&dir).unwrap();
        let named = |kind: &str| {
            (0..NODES)
                .map(move |i| format!("{kind} {i}"))
                .collect::<Vec<_>>()
        };
        let names = [named("node"), named("doc")].concat();
        let columns = vec![u32s(0..ALL), text(names.clone())];
        let entities = one_table(&dir, &kinds::ENTITIES, "entities", columns);
        let kind = |i: u32| if i < NODES { "entity" } else { "document" }.to_owned();
        let of: ArrayRef = Arc::new(UInt32Array::from_iter(
            (0..ALL).map(|i| i.checked_sub(NODES)),
        ));
        let types = vec![u32s(0..ALL), text((0..ALL).map(kind).collect()), of];
        let nodes = one_table(&dir, &kinds::NODES, "nodes", types);
        // An entity is in its document.
        let inside = (0..NODES).map(|i| [i, 2, NODES + i]);
        let all: Vec<[u32; 3]> = TOY.ring().into_iter().chain(inside).collect();
        let triples = TOY.triples(&dir, "triples", &all);
        let relations = ["next", "two", "in"].map(str::to_owned);
        let inverse = relations.iter().map(|r| format!("inverse_{r}"));
        let relations: Vec<String> = relations.iter().cloned().chain(inverse).collect();
        let relations = TOY.embeddings(&dir, "relations", &relations);
        let texts = TOY.embeddings(&dir, "texts", &names);
        let given = inputs(&[
            ("triples", &triples),
            ("entities", &entities),
            ("relations", &relations),
            ("nodes", &texts),
        ]);
        let graph = run(&dir, "build-graph", json!({}), given).unwrap();
        let given = inputs(&[
            ("entities", &entities),
            ("documents", &data.corpus),
            ("nodes", &nodes),
        ]);
        let documents = run(&dir, "build-documents", json!({}), given).unwrap();
        Typed {
            data: Data {
                graph: graph.port("graph").clone(),
                documents: documents.port("documents").clone(),
                triples,
                ..data
            },
            nodes,
        }
    }

    fn finetuning(&self) -> Inputs {
        let mut given = finetune_inputs(&[&self.data]);
        given.insert("nodes".to_owned(), vec![self.nodes.clone()]);
        given
    }
}

fn model(fusion: Option<&str>) -> Value {
    with(
        small_model(),
        &[
            ("_target_", json!("GraphReasoner")),
            ("use_ent_emb", json!(fusion)),
        ],
    )
}

fn pretraining(fusion: Option<&str>) -> Value {
    with(pretrain_params(2), &[("model", model(fusion))])
}

fn finetuning(epochs: u32, fusion: Option<&str>) -> Value {
    let loss = |name: &str, class: &str, weight: f64, kind: &str| {
        json!({"name": format!("{name} {kind}"), "loss": {"_target_": class},
               "cfg": {"weight": weight, "target_node_type": kind,
                       "is_distillation_loss": class == "MSELoss" || class == "KLDivLoss"}})
    };
    let losses = json!([
        loss("bce", "BCELoss", 0.3, "document"),
        loss("pcr", "ListCELoss", 0.7, "document"),
        // The toy's texts have no unit vectors, so these pull away from what is right.
        loss("mse", "MSELoss", 0.01, "document"),
        loss("bce", "BCELoss", 0.3, "entity"),
        loss("kl", "KLDivLoss", 0.001, "entity"),
    ]);
    let mut params = with(finetune_params(epochs), &[("model", model(fusion))]);
    params["task"] = json!({"losses": losses});
    with(params, &[("train.best_by", json!("document:mrr"))])
}

/// Pre-training and fine-tuning of all that there is: operator, parameters, inputs.
fn trainings(d: &Typed, epochs: u32) -> [(&'static str, Value, Inputs); 2] {
    let (graph, fusion) = (
        inputs(&[("graph", &d.data.graph)]),
        Some("early-late-fusion"),
    );
    [
        ("pretrain", pretraining(fusion), graph),
        ("finetune", finetuning(epochs, fusion), d.finetuning()),
    ]
}

const FUSIONS: [Option<&str>; 4] = [
    None,
    Some("early-fusion"),
    Some("late-fusion"),
    Some("early-late-fusion"),
];

fn finetuned(dir: &Path, folder: &str, d: &Typed, params: &Value) -> Local {
    run_in(dir, folder, "finetune", params, &d.finetuning()).unwrap()
}

/// Value of a metric of the model for documents.
fn measured(out: &Local, system: &str, metric: &str) -> Vec<(String, f64)> {
    let t = out.port("metrics").read("metrics").unwrap();
    let of = |name, i: usize| columns::text(&t, name).unwrap().value(i).to_owned();
    let value = columns::f64s(&t, "value").unwrap();
    let rows = (0..t.num_rows()).filter(|i| {
        (
            of("system", *i),
            of("target", *i),
            of("group", *i),
            of("metric", *i),
        ) == (
            system.into(),
            "document".into(),
            "all".into(),
            metric.into(),
        )
    });
    rows.map(|i| (of("ranker", i), value.value(i))).collect()
}

#[test]
fn every_fusion_trains_and_documents_score_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let d = Typed::new(dir.path());
    for fusion in FUSIONS {
        let name = fusion.unwrap_or("none");
        let graph = inputs(&[("graph", &d.data.graph)]);
        let folder = format!("pre {name}");
        let before = run_in(
            dir.path(),
            &folder,
            "pretrain",
            &pretraining(fusion),
            &graph,
        )
        .unwrap();
        let mut given = d.finetuning();
        given.insert("init".to_owned(), vec![before.port("model").clone()]);
        let folder = format!("fine {name}");
        // All questions are trained on, and asked again: texts of nodes can be learned by heart.
        let params = with(finetuning(20, fusion), &[("train.do_eval", json!(false))]);
        let out = run_in(dir.path(), &folder, "finetune", &params, &given).unwrap();
        // Names are the same in both trainings, so everything is taken over.
        assert!(!said(&out, "left as initialised"), "{:?}", out.messages);
        let losses = history(out.port("history"), "mean_loss");
        assert!(losses.last() < losses.first(), "{name}: {losses:?}");
        // Whatever rankers are asked for, a document has the score of its node.
        let params = json!({"rankers": ["idf_topk", "simple"], "baselines": ["untrained"]});
        let inputs = evaluate_inputs(&out, &d.data, &[]);
        let folder = format!("evaluate {name}");
        let evaluated = run_in(dir.path(), &folder, "evaluate", &params, &inputs).unwrap();
        let model = measured(&evaluated, "model", "mrr");
        assert_eq!(model.len(), 1, "{model:?}");
        assert_eq!(model[0].0, "simple");
        let chance = measured(&evaluated, "untrained", "mrr")[0].1;
        assert!(
            model[0].1 > 0.25 && model[0].1 > 2.0 * chance,
            "{name}: {model:?} {chance}"
        );
        // The background changes nothing but the time.
        let of = evaluate_inputs(&out, &d.data, &[]);
        let of: Inputs = of
            .into_iter()
            .filter(|(port, _)| ["model", "graph"].contains(&port.as_str()))
            .collect();
        let folder = format!("background {name}");
        let background = run_in(dir.path(), &folder, "build-background", &json!({}), &of).unwrap();
        let more = [("background", background.port("background"))];
        let inputs = evaluate_inputs(&out, &d.data, &more);
        let folder = format!("again {name}");
        let again = run_in(dir.path(), &folder, "evaluate", &params, &inputs).unwrap();
        assert_eq!(measured(&again, "model", "mrr"), model);
    }
}

#[test]
fn a_stopped_training_ends_in_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let d = Typed::new(dir.path());
    for (name, params, given) in trainings(&d, 2) {
        let params = with(params, &[("train.checkpoint_minutes", json!(0))]);
        let want = run_in(dir.path(), "whole", name, &params, &given).unwrap();
        let folder = dir.path().join(format!("stopped {name}"));
        let got = stopped_and_ended(&folder, name, &params, &given, &[2, 7], 1);
        assert_eq!(digests(&want), digests(&got), "{name}");
    }
}

#[test]
fn ranks_compute_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let d = Typed::new(dir.path());
    for (name, params, given) in trainings(&d, 1) {
        let exact = [
            ("train.dtype", json!("f64")),
            ("train.batch_size", json!(7)),
        ];
        let params = with(params, &exact);
        equal_on_any_number(name, &params, &given);
        if on_cpu() {
            equal_divided(name, &params, &given);
        }
    }
}

#[test]
fn what_a_model_cannot_read_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let d = Typed::new(dir.path());
    let refused = |name: &str, params: &Value, given: &Inputs| {
        let e = run_in(dir.path(), "refused", name, params, given)
            .err()
            .unwrap();
        format!("{e} | {}", e.advice().unwrap_or_default())
    };
    // A graph of 1.0 has no texts of nodes.
    let plain = data(&dir.path().join("plain"));
    let e = refused(
        "pretrain",
        &pretraining(Some("late-fusion")),
        &inputs(&[("graph", &plain.graph)]),
    );
    assert!(e.contains("the model reads the texts of nodes"), "{e}");
    assert!(
        e.contains("connect the embeddings to input `nodes` of build-graph"),
        "{e}"
    );
    // Without them it trains, from relations alone.
    let graph = inputs(&[("graph", &plain.graph)]);
    run_in(dir.path(), "plain", "pretrain", &pretraining(None), &graph).unwrap();

    let losses = |cfg: Value, class: &str| {
        let mut params = finetuning(1, None);
        params["task"]["losses"] = json!([{"name": "a", "loss": {"_target_": class}, "cfg": cfg}]);
        params
    };
    let other = losses(json!({"target_node_type": "summary"}), "BCELoss");
    let e = refused("finetune", &other, &d.finetuning());
    assert!(e.contains("nodes of type `summary`"), "{e}");
    assert!(e.contains("types of this graph: document, entity"), "{e}");
    let e = refused("finetune", &other, &finetune_inputs(&[&d.data]));
    assert!(e.contains("connect `in.nodes`"), "{e}");
    // Documents are nodes too, so entities are not all nodes.
    let entities = losses(json!({"target_node_type": "entity"}), "BCELoss");
    let e = refused("finetune", &entities, &finetune_inputs(&[&d.data]));
    assert!(e.contains("connect `in.nodes`"), "{e}");
    let wide = with(pretraining(None), &[("model.feat_dim", json!(768))]);
    let e = refused("pretrain", &wide, &inputs(&[("graph", &d.data.graph)]));
    assert!(e.contains("`model.feat_dim` is 768"), "{e}");

    let problems = |params: &Value| op("finetune").validate(params).unwrap_err();
    let text = |params: &Value| format!("{:?}", problems(params));
    let t = text(&losses(json!({}), "MSELoss"));
    assert!(
        t.contains("compares scores with the similarity of texts"),
        "{t}"
    );
    let t = text(&losses(json!({"is_distillation_loss": true}), "BCELoss"));
    assert!(t.contains("only MSELoss or KLDivLoss compare them"), "{t}");
    let both = json!({"is_doc_loss": true, "target_node_type": "entity"});
    let t = text(&losses(both, "BCELoss"));
    assert!(t.contains("remove one of them"), "{t}");
    let mut late = finetuning(1, Some("late-fusion"));
    late["model"]["entity_model"]["concat_hidden"] = json!(true);
    assert!(text(&late).contains("late fusion"), "{}", text(&late));
    let mut late = finetuning(1, Some("late-fusion"));
    late["model"]["entity_model"]["num_mlp_layer"] = json!(3);
    assert!(text(&late).contains("two linear maps"), "{}", text(&late));
}

#[test]
fn documents_are_their_nodes_or_what_mentions_them_but_not_both() {
    let dir = tempfile::tempdir().unwrap();
    let d = Typed::new(dir.path());
    let folder = dir.path().join("other");
    std::fs::create_dir_all(&folder).unwrap();
    let names: Vec<String> = (0..ALL).map(|i| format!("node {i}")).collect();
    let columns = vec![u32s(0..ALL), text(names.clone())];
    let entities = one_table(&folder, &kinds::ENTITIES, "entities", columns);
    let given = inputs(&[("entities", &entities), ("documents", &d.data.corpus)]);
    let e = run(dir.path(), "build-documents", json!({}), given)
        .err()
        .unwrap();
    assert!(e.to_string().contains("either `links` or `nodes`"), "{e}");
    // A wrong number of texts, and another encoder.
    let relations: Vec<String> = ["a", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec();
    let relations = TOY.embeddings(&folder, "relations", &relations);
    let built = |texts: &Artifact| {
        let given = inputs(&[
            ("triples", &d.data.triples),
            ("entities", &entities),
            ("relations", &relations),
            ("nodes", texts),
        ]);
        run(dir.path(), "build-graph", json!({}), given)
            .err()
            .unwrap()
    };
    let few = TOY.embeddings(&folder, "few", &names[..5]);
    let e = built(&few).to_string();
    assert!(e.contains("5 embeddings of texts for 48 nodes"), "{e}");
    let other = Toy {
        encoder: ("other-encoder", 6),
        ..TOY
    };
    let e = built(&other.embeddings(&folder, "other", &names)).to_string();
    assert!(
        e.contains("with other-encoder (6 wide): one model needs one encoder"),
        "{e}"
    );
    let narrow = Toy {
        encoder: ("toy-encoder", 3),
        ..TOY
    };
    let e = built(&narrow.embeddings(&folder, "narrow", &names)).to_string();
    assert!(
        e.contains("with toy-encoder (3 wide): one model needs one encoder"),
        "{e}"
    );
    // Documents that are not nodes have no score.
    let types = vec![
        u32s(0..ALL),
        text(vec!["entity".to_owned(); ALL as usize]),
        Arc::new(UInt32Array::from(vec![None; ALL as usize])) as ArrayRef,
    ];
    let nodes = one_table(&folder, &kinds::NODES, "nodes", types);
    let given = inputs(&[
        ("entities", &entities),
        ("documents", &d.data.corpus),
        ("nodes", &nodes),
    ]);
    let e = run(dir.path(), "build-documents", json!({}), given)
        .err()
        .unwrap();
    assert!(
        e.to_string()
            .contains("24 of 24 documents are not nodes of the graph"),
        "{e}"
    );
    finetuned(dir.path(), "typed", &d, &finetuning(1, None));
}

/// Where types are known, `evaluate` ranks entities among themselves, for the questions that ask
/// for some.
#[test]
fn entities_are_ranked_among_entities() {
    let dir = tempfile::tempdir().unwrap();
    let mut d = Typed::new(dir.path());
    let folder = dir.path().join("half");
    std::fs::create_dir_all(&folder).unwrap();
    // Even questions ask for an entity.
    let gold = |i: u32| {
        [(i + 1) % NODES]
            .into_iter()
            .filter(|_| i.is_multiple_of(2))
            .collect()
    };
    d.data.questions = TOY.asking_for(&folder, &d.data.questions, gold);
    let out = finetuned(
        dir.path(),
        "out",
        &d,
        &finetuning(1, Some("early-late-fusion")),
    );
    let evaluated = |folder: &str, more: &[(&str, &Artifact)]| {
        let params = json!({"rankers": ["simple"], "baselines": ["untrained", "ppr"]});
        let inputs = evaluate_inputs(&out, &d.data, more);
        run_in(dir.path(), folder, "evaluate", &params, &inputs).unwrap()
    };
    let ranks = |out: &Local, system: &str| -> Vec<Vec<u32>> {
        let t = out.port("ranks").read("ranks").unwrap();
        let text = |name| columns::text(&t, name).unwrap();
        let (systems, targets) = (text("system"), text("target"));
        let rows = columns::list_u32(&t, "ranks")
            .unwrap()
            .into_iter()
            .enumerate();
        let rows =
            rows.filter(|(i, _)| (systems.value(*i), targets.value(*i)) == (system, "entity"));
        rows.map(|(_, ranks)| ranks).collect()
    };
    let all = evaluated("all", &[]);
    let typed = evaluated("typed", &[("nodes", &d.nodes)]);
    for system in ["model", "untrained", "ppr"] {
        let (among_all, among) = (ranks(&all, system), ranks(&typed, system));
        assert_eq!(
            (among_all.len(), among.len()),
            (NODES as usize, NODES as usize / 2)
        );
        let asking = among_all.iter().step_by(2);
        for (all, among) in asking.zip(&among) {
            assert_eq!((all.len(), among.len()), (1, 1));
            assert!(
                among[0] <= all[0] && among[0] <= NODES,
                "{system}: {all:?} {among:?}"
            );
        }
    }
    let t = typed.port("metrics").read("metrics").unwrap();
    let (targets, systems) = (
        columns::text(&t, "target").unwrap(),
        columns::text(&t, "system").unwrap(),
    );
    let (groups, n) = (
        columns::text(&t, "group").unwrap(),
        columns::u64s(&t, "n").unwrap(),
    );
    let mut compared = 0;
    for i in (0..t.num_rows()).filter(|i| groups.value(*i) == "all") {
        let entity = targets.value(i) == "entity";
        let questions = if entity { NODES / 2 } else { NODES };
        assert_eq!(n.value(i), u64::from(questions), "{}", systems.value(i));
        compared += usize::from(entity && systems.value(i) == "ceiling");
    }
    assert!(compared > 0);
    // The mean is over those questions.
    let mrr = |ranks: Vec<Vec<u32>>| {
        let values = ranks.iter().map(|r| 1.0 / f64::from(r[0]));
        values.clone().sum::<f64>() / values.count() as f64
    };
    let row = (0..t.num_rows()).find(|i| {
        let metric = columns::text(&t, "metric").unwrap().value(*i);
        (
            systems.value(*i),
            targets.value(*i),
            groups.value(*i),
            metric,
        ) == ("model", "entity", "all", "mrr")
    });
    let value = columns::f64s(&t, "value").unwrap().value(row.unwrap());
    assert!((value - mrr(ranks(&typed, "model"))).abs() < 1e-12);
}

/// Questions that ask for documents alone have no metrics of entities, and cannot be chosen by one.
#[test]
fn what_no_question_asks_for_is_not_measured() {
    let dir = tempfile::tempdir().unwrap();
    let mut d = Typed::new(dir.path());
    let folder = dir.path().join("without");
    std::fs::create_dir_all(&folder).unwrap();
    d.data.questions = TOY.asking_for(&folder, &d.data.questions, |_| Vec::new());
    let losses = json!([{"name": "bce", "loss": {"_target_": "BCELoss"},
                         "cfg": {"weight": 1, "target_node_type": "document"}}]);
    let mut params = with(
        finetuning(1, None),
        &[("train.best_by", json!("entity:mrr"))],
    );
    params["task"] = json!({"losses": losses});
    let e = run_in(
        dir.path(),
        "by_entity",
        "finetune",
        &params,
        &d.finetuning(),
    )
    .err()
    .unwrap();
    let e = format!("{e} | {}", e.advice().unwrap_or_default());
    assert!(e.contains("`train.best_by` is entity:mrr"), "{e}");
    assert!(e.contains("or documents (document:mrr_filtered)"), "{e}");
    let params = with(params, &[("train.best_by", json!("document:mrr"))]);
    let out = finetuned(dir.path(), "by_document", &d, &params);
    let history = out.port("history").read("history").unwrap();
    let names = columns::text(&history, "metric").unwrap();
    assert!(
        names
            .iter()
            .flatten()
            .any(|n| n.starts_with("valid:document:"))
    );
    assert!(
        !names
            .iter()
            .flatten()
            .any(|n| n.starts_with("valid:entity:"))
    );
    // A loss over all nodes pulls up those of the gold documents.
    let mut params = params;
    params["task"]["losses"][0]["cfg"] = json!({"weight": 1});
    let params = with(params, &[("train.num_epoch", json!(8))]);
    let out = finetuned(dir.path(), "all_nodes", &d, &params);
    let history = out.port("history").read("history").unwrap();
    let (names, values) = (
        columns::text(&history, "metric").unwrap(),
        columns::f64s(&history, "value").unwrap(),
    );
    let mrr: Vec<f64> = (0..history.num_rows())
        .filter(|i| names.value(*i) == "valid:document:mrr")
        .map(|i| values.value(i))
        .collect();
    assert!(mrr.iter().any(|m| *m > 0.3), "{mrr:?}");
}
