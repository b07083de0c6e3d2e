//! Parity with `gfm_rag_v1`, GFM-RAG 2.0's version of the model of 1.0 (tests/parity2/v1_in_v2).
//!
//! The graph has the entities alone. 2.0 keeps documents in it as isolated nodes, which takes
//! places from entities in a ranker of the best 20: that ranking is not compared.

use candle_core::{DType, Tensor};
use gfm_pipe_eval::EntityDocuments;
use gfm_pipe_eval::rankers::{IDF, IDF_TOPK, RankerKind, SIMPLE, TOPK};

use super::parity::{Check, cast, floats, graph, ints, load_of};
use super::parity2::{Machine, asked, cpus};
use super::*;
use crate::loss::{BCE, LIST_CE};

const ENTITIES: usize = 37;
const NODES: usize = 57;
const RELATIONS: usize = 7;
const TEXT: usize = 24;

/// The first columns of each row.
fn of_entities(rows: &[f64]) -> Vec<f64> {
    let rows = rows.chunks(NODES);
    rows.flat_map(|row| row[..ENTITIES].to_vec()).collect()
}

pub(crate) fn v1_in_v2(machine: &dyn Machine, dtype: DType) {
    let load = |what| load_of("parity2", "v1_in_v2", what);
    let (inputs, tol) = (load("inputs"), 1e-5);
    let check = Check {
        want: load("expected"),
        seen: Vec::new(),
    };
    let want = |name: &str| floats(&check.want[name]);
    let close = |name: &str, got: &[f64], want: &[f64]| {
        assert_eq!(got.len(), want.len(), "{name}");
        let gap = got.iter().zip(want).map(|(a, b)| (a - b).abs());
        let gap = gap.fold(0.0, f64::max);
        assert!(gap < tol, "{name}: {gap}");
    };
    let nodes = |kind: &str| ints(&inputs[&format!("nodes_by_type.{kind}")]);
    assert_eq!(nodes("entity"), (0..ENTITIES as i64).collect::<Vec<_>>());
    let documents = nodes("document");
    let mapping = ints(&inputs["mapping"]);
    let (entities, of) = mapping.split_at(mapping.len() / 2);
    let place = |node: &i64| documents.iter().position(|d| d == node).unwrap() as u32;
    let pairs = entities.iter().zip(of).map(|(e, d)| (*e as u32, place(d)));
    let matrix = EntityDocuments::from_pairs(ENTITIES, documents.len(), pairs).unwrap();
    let weights: Vec<f64> = (0..ENTITIES as u32).map(|e| matrix.weight(e)).collect();
    close(
        "entities_weight",
        &weights,
        &want("entities_weight")[..ENTITIES],
    );

    let typed = |t: &Tensor| t.to_dtype(dtype).unwrap();
    let tensors = load("weights")
        .iter()
        .map(|(n, t)| (n.clone(), typed(t)))
        .collect();
    let config = ModelConfig::new(16, vec![16; 3]);
    let params = Params::from_tensors(Class::GNNRetriever, &config, TEXT, tensors).unwrap();
    let relations = typed(&inputs["rel_attr"]);
    let texts: Vec<Vec<f32>> = inputs["question_embeddings"].to_vec2().unwrap();
    let rows = |mask: &str| -> Vec<Vec<u32>> {
        let mask = floats(&inputs[mask]);
        let set = |row: &[f64]| {
            (0..ENTITIES as u32)
                .filter(|v| row[*v as usize] != 0.0)
                .collect()
        };
        mask.chunks(NODES).map(set).collect()
    };
    let seeds = |weighted: bool| -> Vec<Vec<(u32, f64)>> {
        let weight = |v: &u32| if weighted { weights[*v as usize] } else { 1.0 };
        let of = |row: &Vec<u32>| row.iter().map(|v| (*v, weight(v))).collect();
        rows("start_nodes_mask").iter().map(of).collect()
    };
    let gold = rows("target_nodes_mask");
    let losses = [
        ("loss_bce", BCE.at(0.2), 0.3),
        ("loss_listce", LIST_CE.at(0.0), 0.7),
    ];
    let value = |scores: &[f64], columns: usize| {
        let mut grad = vec![0.0; scores.len()];
        let mut values = Vec::new();
        for (_, loss, weight) in losses {
            let own = loss.value(scores, columns, &gold, &[], loss.used(&gold));
            for (to, from) in grad.iter_mut().zip(&own.grad) {
                *to += weight * from;
            }
            values.push(own.loss);
        }
        (values, grad)
    };
    let entity_graph = graph(&inputs, ENTITIES, RELATIONS);
    for (name, weighted) in [("scores", true), ("unweighted.scores", false)] {
        let seeds = seeds(weighted);
        let questions = asked(&texts, &seeds);
        let dscores = |scores: &Tensor| cast(value(&floats(scores), ENTITIES).1, scores);
        let relations = Texts::from(&relations);
        let (scores, grads) =
            machine.questions(&params, &entity_graph, relations, &questions, &dscores);
        let scores = floats(&scores);
        close(name, &scores, &of_entities(&want(name)));
        if !weighted {
            continue;
        }
        let (values, _) = value(&scores, ENTITIES);
        for ((name, ..), value) in losses.iter().zip(&values) {
            close(name, &[*value], &want(name));
        }
        close("loss", &[0.3 * values[0] + 0.7 * values[1]], &want("loss"));
        for (name, grad) in grads.named() {
            let name = format!("grad.{name}");
            close(&name, &floats(grad), &want(&name));
        }
        let best = |ranker: &'static RankerKind, k: usize| {
            let row = |row: &[f64]| ranker.top_k(k).documents(row, &matrix);
            scores.chunks(ENTITIES).flat_map(row).collect::<Vec<f64>>()
        };
        close("doc.simple", &best(&SIMPLE, 20), &want("doc.simple"));
        close("doc.idf", &best(&IDF, 20), &want("doc.idf"));
        close("doc.topk10", &best(&TOPK, 10), &want("doc.topk10"));
        close("doc.idf_topk5", &best(&IDF_TOPK, 5), &want("doc.idf_topk5"));
    }
    // With the documents as isolated nodes, as 2.0 has them.
    let seeds = seeds(true);
    let questions = asked(&texts, &seeds);
    let whole = graph(&inputs, NODES, RELATIONS);
    let none = |scores: &Tensor| scores.zeros_like().unwrap();
    let relations = Texts::from(&relations);
    let (scores, _) = machine.questions(&params, &whole, relations, &questions, &none);
    let name = "raw_scores_of_all_nodes";
    close(name, &floats(&scores), &want(name));
}

#[test]
fn parity2_v1_in_v2() {
    for dtype in [DType::F64, DType::F32] {
        cpus().iter().for_each(|cpu| v1_in_v2(cpu, dtype));
    }
}
