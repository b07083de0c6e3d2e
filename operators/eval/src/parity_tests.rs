//! Checks that rankers, ranks and metrics equal those of the reference, which generated
//! tests/parity/qa_small.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

use crate::metrics::{Gold, HITS, MAPE, MRR_FILTERED, filtered_ranks, score, sum_of_likely};
use crate::rankers::{IDF, IDF_TOPK, Ranker, SIMPLE, TOPK};
use crate::statistics::Values;
use crate::{EntityDocuments, places};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/qa_small")
}

pub(crate) struct Fixture(Vec<u8>);

impl Fixture {
    pub(crate) fn open(path: &Path) -> Self {
        Fixture(fs::read(path).unwrap())
    }

    fn data(&self, name: &str, dtype: Dtype) -> Vec<u8> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let view = tensors.tensor(name).unwrap();
        assert_eq!(view.dtype(), dtype, "{name}");
        view.data().to_vec()
    }

    pub(crate) fn f32(&self, name: &str) -> Vec<f32> {
        let parts = self.data(name, Dtype::F32);
        parts
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }

    pub(crate) fn f64(&self, name: &str) -> Vec<f64> {
        let parts = self.data(name, Dtype::F64);
        parts
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }

    pub(crate) fn usize(&self, name: &str) -> Vec<usize> {
        let parts = self.data(name, Dtype::I64);
        parts
            .chunks_exact(8)
            .map(|b| usize::try_from(i64::from_le_bytes(b.try_into().unwrap())).unwrap())
            .collect()
    }
}

fn open(name: &str) -> Fixture {
    Fixture::open(&folder().join(name))
}

const ENTITIES: usize = 60;
const DOCUMENTS: usize = 26;

const RANKERS: [(&str, Ranker); 5] = [
    ("doc.simple", SIMPLE.whole()),
    ("doc.idf", IDF.whole()),
    ("doc.topk10", TOPK.top_k(10)),
    ("doc.idf_topk20", IDF_TOPK.top_k(20)),
    ("doc.idf_topk5", IDF_TOPK.top_k(5)),
];

fn matrix(inputs: &Fixture) -> EntityDocuments {
    let dense = inputs.f32("ent2doc_dense");
    assert_eq!(dense.len(), ENTITIES * DOCUMENTS);
    let pairs = dense
        .iter()
        .enumerate()
        .filter(|(_, v)| **v != 0.0)
        .map(|(i, _)| ((i / DOCUMENTS) as u32, (i % DOCUMENTS) as u32));
    EntityDocuments::from_pairs(ENTITIES, DOCUMENTS, pairs).unwrap()
}

/// For each row of a mask, the ids that are set in it.
pub(crate) fn gold(mask: &[f32], width: usize) -> Vec<Vec<u32>> {
    mask.chunks_exact(width)
        .map(|row| {
            let ids = (0u32..).zip(row).filter(|(_, v)| **v != 0.0);
            ids.map(|(i, _)| i).collect()
        })
        .collect()
}

fn close(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance, "{what}[{i}]: {g}, expected {w}");
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

#[test]
fn parity_qa_small_rankers() {
    let (inputs, expected) = (open("inputs.safetensors"), open("expected.safetensors"));
    let matrix = matrix(&inputs);
    let weights: Vec<f64> = (0..ENTITIES as u32).map(|e| matrix.weight(e)).collect();
    close(
        &weights,
        &wide(&inputs.f32("entities_weight")),
        1e-7,
        "entities_weight",
    );
    let scores = expected.f32("scores");
    for (name, ranker) in RANKERS {
        let got: Vec<f64> = scores
            .chunks_exact(ENTITIES)
            .flat_map(|row| ranker.documents(&wide(row), &matrix))
            .collect();
        let want = expected.f32(&format!("{name}.pred"));
        close(&got, &wide(&want), 1e-5, name);
    }
    // The fixture has document scores only in f32, so the scores in f64 are compared with the dense
    // product.
    let scores = open("expected_f64.safetensors").f64("scores");
    let dense = inputs.f32("ent2doc_dense");
    for row in scores.chunks_exact(ENTITIES) {
        let product = |weight: &dyn Fn(usize) -> f64| -> Vec<f64> {
            (0..DOCUMENTS)
                .map(|d| {
                    (0..ENTITIES)
                        .map(|e| row[e] * weight(e) * f64::from(dense[e * DOCUMENTS + d]))
                        .sum()
                })
                .collect()
        };
        let simple = SIMPLE.whole().documents(row, &matrix);
        close(&simple, &product(&|_| 1.0), 1e-12, "simple in f64");
        let idf = IDF.whole().documents(row, &matrix);
        close(&idf, &product(&|e| weights[e]), 1e-12, "idf in f64");
    }
}

/// A prediction of the fixture: its name, number of candidates per question, scores, and gold items
/// by question.
type View = (String, usize, Vec<f32>, Vec<Vec<u32>>);

fn views() -> Vec<View> {
    let (inputs, expected) = (open("inputs.safetensors"), open("expected.safetensors"));
    let entities = gold(&inputs.f32("supporting_entities_masks"), ENTITIES);
    let documents = gold(&inputs.f32("supporting_docs_masks"), DOCUMENTS);
    let mut views = vec![
        (
            "ent".to_owned(),
            ENTITIES,
            expected.f32("scores"),
            entities.clone(),
        ),
        (
            "ent_tied".to_owned(),
            ENTITIES,
            expected.f32("ent_tied.pred"),
            entities,
        ),
    ];
    for (name, _) in RANKERS {
        let pred = expected.f32(&format!("{name}.pred"));
        views.push((name.to_owned(), DOCUMENTS, pred, documents.clone()));
    }
    views
}

#[test]
fn parity_qa_small_ranks() {
    let expected = open("expected.safetensors");
    for (name, width, scores, gold) in views() {
        let mut raw = Vec::new();
        let mut filtered = Vec::new();
        let mut sums = Vec::new();
        for (row, gold) in scores.chunks_exact(width).zip(&gold) {
            let places = places(row, gold);
            filtered.extend(filtered_ranks(&places));
            raw.extend(places);
            sums.push(sum_of_likely(row));
        }
        assert_eq!(raw, expected.usize(&format!("{name}.raw_rank")), "{name}");
        assert_eq!(filtered, expected.usize(&format!("{name}.rank")), "{name}");
        let want = expected.f32(&format!("{name}.num_pred"));
        close(&sums, &wide(&want), 1e-4, &name);
    }
}

#[test]
fn parity_qa_small_metrics_train_batch() {
    let case: serde_json::Value =
        serde_json::from_slice(&fs::read(folder().join("case.json")).unwrap()).unwrap();
    let metrics = [
        ("mrr", MRR_FILTERED.whole()),
        ("hits@1", HITS.at(1)),
        ("hits@2", HITS.at(2)),
        ("hits@3", HITS.at(3)),
        ("hits@5", HITS.at(5)),
        ("hits@10", HITS.at(10)),
        // The reference's `recall` is the same as its `hits`.
        ("recall@1", HITS.at(1)),
        ("recall@2", HITS.at(2)),
        ("recall@5", HITS.at(5)),
        ("recall@10", HITS.at(10)),
        ("mape", MAPE.whole()),
    ];
    let kinds = metrics.map(|m| m.1);
    for (name, width, scores, gold) in views() {
        let values: Vec<Vec<f64>> = scores
            .chunks_exact(width)
            .zip(&gold)
            .map(|(row, items)| {
                let total = items.len() as u32;
                score(Some(row), Gold { items, total }, &kinds)
            })
            .collect();
        let means = Values::new(values).means();
        let want = case["metrics_train_batch"][&name].as_object().unwrap();
        assert_eq!(want.len(), metrics.len());
        for ((reference, _), mean) in metrics.iter().zip(&means) {
            let want = want[*reference].as_f64().unwrap();
            assert!(
                (mean - want).abs() <= 1e-6,
                "{name} {reference}: {mean}, expected {want}"
            );
        }
    }
}
