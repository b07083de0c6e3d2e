//! Checks that ranks, metrics and the search for paths equal those of GFM-RAG 2.0, which made
//! tests/parity2.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::metrics::{Answer, Gold, HITS, MAPE, MRR_FILTERED, Metric, RECALL};
use crate::metrics::{filtered_ranks, score, sum_of_likely};
use crate::parity_tests::{Fixture, gold};
use crate::paths::{Edge, Search, Walk, best_walks};
use crate::places;
use crate::statistics::Values;

fn folder(case: &str) -> PathBuf {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity2");
    all.join(case)
}

fn case(name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder(name).join("case.json")).unwrap()).unwrap()
}

fn open(name: &str, file: &str) -> Fixture {
    Fixture::open(&folder(name).join(file))
}

/// Number of candidates of the case `metrics`.
const CANDIDATES: usize = 30;

fn metric(name: &str) -> Metric {
    let at = |k: &str| k.parse().unwrap();
    match name.split_once('@') {
        Some(("hits", k)) => HITS.at(at(k)),
        Some(("recall", k)) => RECALL.at(at(k)),
        None if name == "mrr" => MRR_FILTERED.whole(),
        None if name == "mape" => MAPE.whole(),
        _ => panic!("{name}"),
    }
}

#[test]
fn parity2_metrics() {
    let inputs = open("metrics", "inputs.safetensors");
    let expected = open("metrics", "expected.safetensors");
    let case = case("metrics");
    let gold = gold(&inputs.f32("mask"), CANDIDATES);
    for (name, scores) in [("untied", "pred"), ("tied", "pred_tied")] {
        let scores = inputs.f32(scores);
        let rows = || scores.chunks_exact(CANDIDATES).zip(&gold);
        let (mut raw, mut filtered, mut sums) = (Vec::new(), Vec::new(), Vec::new());
        for (row, gold) in rows() {
            let places = places(row, gold);
            filtered.extend(filtered_ranks(&places));
            raw.extend(places);
            sums.push(sum_of_likely(row));
        }
        assert_eq!(raw, expected.usize(&format!("{name}.raw_rank")), "{name}");
        assert_eq!(filtered, expected.usize(&format!("{name}.rank")), "{name}");
        for (sum, want) in sums.iter().zip(expected.f32(&format!("{name}.num_pred"))) {
            assert!(
                (sum - f64::from(want)).abs() <= 1e-4,
                "{name}: {sum} {want}"
            );
        }
        let want = case["metrics_stable"][name].as_object().unwrap();
        let metrics: Vec<Metric> = want.keys().map(|name| metric(name)).collect();
        let values = rows().map(|(row, items)| {
            let total = items.len() as u32;
            score(Some(row), Gold { items, total }, &metrics)
        });
        let means = Values::new(values).means();
        for ((metric, want), mean) in want.iter().zip(&means) {
            let want = want.as_f64().unwrap();
            assert!(
                (mean - want).abs() <= 1e-6,
                "{name} {metric}: {mean}, {want}"
            );
        }
        assert_eq!(want.len(), 11);
    }
}

/// Recall of lists with nodes of all types, by score, as the evaluation of retrieved documents
/// counts it.
#[test]
fn parity2_metrics_of_retrieved_lists() {
    let lines = fs::read_to_string(folder("metrics").join("retrieval_lines.jsonl")).unwrap();
    let texts = |list: &Value| -> Vec<String> {
        let texts = list.as_array().unwrap().iter();
        texts.map(|t| t.as_str().unwrap().to_owned()).collect()
    };
    let answers: Vec<Answer> = lines
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let mut gold = texts(&line["supporting_documents"]);
            gold.sort_unstable();
            gold.dedup();
            let types = line["retrieved_docs"].as_object().unwrap().values();
            let mut items: Vec<(&str, f64)> = types
                .flat_map(|items| items.as_array().unwrap())
                .map(|item| {
                    (
                        item["id"].as_str().unwrap(),
                        item["score"].as_f64().unwrap(),
                    )
                })
                .collect();
            items.sort_by(|a, b| b.1.total_cmp(&a.1));
            let known = |(id, _): &(&str, f64)| gold.iter().any(|g| g == id);
            let places = (0..).zip(&items).filter(|(_, item)| known(item));
            Answer::at(Some(places.map(|(place, _)| place).collect()), gold.len())
        })
        .collect();
    let want = case("metrics")["retrieval"].as_object().unwrap().clone();
    assert_eq!(want.len(), 4);
    for (name, want) in want {
        let of = |answer: &Answer| answer.values(&[metric(&name)])[0];
        let mean = answers.iter().map(of).sum::<f64>() / answers.len() as f64;
        assert!(
            (mean - want.as_f64().unwrap()).abs() < 1e-12,
            "{name}: {mean}"
        );
    }
}

/// From the gains that the package's own gradients give (in the direction in which it takes edges),
/// the search finds the walks that it lists, and the gains that its beams hold at the target.
#[test]
fn parity2_paths_search() {
    const NODES: usize = 60;
    const BEAM: usize = 10;
    let case = case("paths");
    let inputs = open("paths", "inputs.safetensors");
    let expected = open("paths", "expected_f64.safetensors");
    let (ends, relations) = (inputs.usize("edge_index"), inputs.usize("edge_type"));
    let (from, to) = ends.split_at(relations.len());
    let (mut lists, mut beams) = (0, 0);
    for question in ["q0", "q2"] {
        let mask = inputs.f32(&format!("{question}.start_nodes_mask"));
        let starts: Vec<(u32, f64)> = gold(&mask, NODES)[0].iter().map(|v| (*v, 0.0)).collect();
        for (target, listed) in case["paths"][question].as_object().unwrap() {
            // Where all finite candidates are equal, the package fails.
            let Some(listed) = listed.as_array() else {
                continue;
            };
            // It lists a walk over several equal edges several times.
            let mut listed = listed.clone();
            listed.dedup_by(|a, b| a["path_head_tail_relation"] == b["path_head_tail_relation"]);
            let name = format!("{question}.t{target}");
            let gains = expected.f64(&format!("{name}.edge_grads"));
            let distance = expected.f64(&format!("{name}.distance"));
            let target: u32 = target.parse().unwrap();
            let layers: Vec<Vec<Edge>> = gains
                .chunks_exact(relations.len())
                .map(|gains| {
                    let edges = from.iter().zip(to).zip(&relations).zip(gains);
                    edges
                        .map(|(((from, to), label), gain)| Edge {
                            from: *from as u32,
                            to: *to as u32,
                            label: *label as u32,
                            gain: *gain,
                        })
                        .collect()
                })
                .collect();
            let search = |top| Search {
                starts: &starts,
                layers: &layers,
                beam: BEAM,
                top,
            };
            let found = best_walks(search(BEAM), &[target], Walk::mean);
            for ((weight, walk), want) in found.iter().zip(&listed) {
                let want_weight = want["weight"].as_f64().unwrap();
                assert!(
                    (weight - want_weight).abs() < 1e-9,
                    "{name}: {weight} {want_weight}"
                );
                let steps: Vec<[u64; 3]> = walk
                    .edges
                    .iter()
                    .map(|e| [e.from.into(), e.to.into(), e.label.into()])
                    .collect();
                assert_eq!(
                    serde_json::json!(steps),
                    want["path_head_tail_relation"],
                    "{name}"
                );
                lists += 1;
            }
            let all = best_walks(search(BEAM * layers.len()), &[target], Walk::mean);
            for (layer, distance) in distance.chunks_exact(NODES * BEAM).enumerate() {
                let mut held = distance[target as usize * BEAM..][..BEAM].to_vec();
                held.dedup();
                let mut own: Vec<f64> = all
                    .iter()
                    .filter(|(_, walk)| walk.edges.len() == layer + 1)
                    .map(|(_, walk)| walk.gain)
                    .collect();
                own.sort_by(|a, b| b.total_cmp(a));
                for (own, held) in own.iter().zip(&held) {
                    assert!((own - held).abs() < 1e-9, "{name} {layer}: {own} {held}");
                    beams += 1;
                }
            }
        }
    }
    assert_eq!((lists, beams), (57, 75));
}
