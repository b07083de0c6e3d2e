//! The tables of an evaluation agree with each other, and `compare` computes the same from them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray, UInt32Array};
use gfm_pipe_api::local::{self, Local};
use gfm_pipe_api::{Artifact, OpError, columns, kinds};
use serde_json::json;

use crate::toy::*;

/// Key of a row of the metrics: system with ranker, target, group, metric.
type RowKey = [String; 4];

/// Checks that the four tables of an evaluation agree.
pub fn tables_agree(out: &Local) {
    let labels = |t: &RecordBatch, i: usize| {
        let of = |name| columns::text(t, name).unwrap().value(i).to_owned();
        match of("ranker").as_str() {
            "-" => of("system"),
            ranker => format!("{} ({ranker})", of("system")),
        }
    };
    let t = out.port("metrics").read("metrics").unwrap();
    let f = |name| columns::f64s(&t, name).unwrap();
    let (value, low, high) = (f("value"), f("low"), f("high"));
    let mut metrics: BTreeMap<RowKey, f64> = BTreeMap::new();
    for i in 0..t.num_rows() {
        let of = |name| columns::text(&t, name).unwrap().value(i).to_owned();
        let row = [labels(&t, i), of("target"), of("group"), of("metric")];
        if low.is_valid(i) {
            let (v, l, h) = (value.value(i), low.value(i), high.value(i));
            assert!(l <= v + 1e-12 && v <= h + 1e-12, "{row:?}: {l} {v} {h}");
        } else {
            assert_eq!(columns::u64s(&t, "n").unwrap().value(i), 1, "{row:?}");
        }
        metrics.insert(row, value.value(i));
    }
    let mut below = 0;
    for ([system, target, group, metric], value) in &metrics {
        let ceiling = ["ceiling", target, group, metric].map(str::to_owned);
        if let Some(ceiling) = metrics.get(&ceiling) {
            assert!(value <= &(ceiling + 1e-12), "{system} {metric}: {value}");
            below += usize::from(value < ceiling);
        }
    }
    assert!(below > 100, "{below}");

    // Metrics over all questions can be computed from the ranks.
    let ranks = out.port("ranks").read("ranks").unwrap();
    let of_row = columns::list_u32(&ranks, "ranks").unwrap();
    let gold = columns::u32s(&ranks, "gold").unwrap();
    let target = columns::text(&ranks, "target").unwrap();
    let mut sums: BTreeMap<(String, &str), [f64; 2]> = BTreeMap::new();
    for (i, places) in of_row.iter().enumerate() {
        let found = places.iter().filter(|r| **r <= 2).count() as f64;
        let sums = sums
            .entry((labels(&ranks, i), target.value(i)))
            .or_default();
        sums[0] += found / f64::from(gold.value(i));
        sums[1] += places.first().map_or(0.0, |r| 1.0 / f64::from(*r));
    }
    let questions = ranks.num_rows() as f64 / sums.len() as f64;
    assert!(sums.len() > 12, "{}", sums.len());
    for ((system, target), sums) in &sums {
        for (metric, sum) in ["recall@2", "mrr"].iter().zip(sums) {
            let row = [system.as_str(), target, "all", metric].map(str::to_owned);
            let (got, want) = (sum / questions, metrics[&row]);
            assert!((got - want).abs() < 1e-12, "{row:?}: {got} {want}");
        }
    }

    // Differences are those of the metrics, and both systems of a test have the same questions.
    let t = out.port("comparisons").read("comparisons").unwrap();
    let f = |name| columns::f64s(&t, name).unwrap();
    let n = |name| columns::u64s(&t, name).unwrap();
    assert!(t.num_rows() > 100);
    for i in 0..t.num_rows() {
        let of = |name| columns::text(&t, name).unwrap().value(i).to_owned();
        let side = |name| {
            let row = [of(name), "document".to_owned(), of("group"), of("metric")];
            metrics[&row]
        };
        let difference = side("system") - side("other");
        assert!((f("difference").value(i) - difference).abs() < 1e-12);
        let (p, holm) = (f("p").value(i), f("p_holm").value(i));
        assert!(0.0 < p && p <= holm && holm <= 1.0, "{p} {holm}");
        assert!(n("better").value(i) + n("worse").value(i) <= n("n").value(i));
    }
}

/// Checks that an evaluation, compared with itself under another name, has the same metrics and no
/// difference.
pub fn comparing_computes_the_same_metrics(dir: &Path, d: &Data, evaluation: &Local) {
    let named = |name: &str| Artifact {
        name: name.to_owned(),
        ..evaluation.port("ranks").clone()
    };
    let given = |ranks: &[&str]| {
        let ranks = ranks.iter().map(|name| named(name)).collect();
        let questions = vec![d.questions.clone()];
        BTreeMap::from([
            ("ranks".to_owned(), ranks),
            ("questions".to_owned(), questions),
        ])
    };
    let compare = |params, ranks: &[&str]| run(dir, "compare", params, given(ranks));
    let out = compare(json!({}), &["a[1].ranks", "b.ranks"]).unwrap();
    let figures = |out: &Local, system: &str, ranker: &str| -> Vec<(String, String, f64)> {
        let t = out.port("metrics").read("metrics").unwrap();
        let of = |name, i| columns::text(&t, name).unwrap().value(i).to_owned();
        let rows = (0..t.num_rows()).filter(|i| {
            of("system", *i) == system
                && of("ranker", *i) == ranker
                && of("target", *i) == "document"
        });
        let value = columns::f64s(&t, "value").unwrap();
        rows.map(|i| (of("group", i), of("metric", i), value.value(i)))
            .collect()
    };
    for ranker in ["idf_topk", "simple"] {
        let own = figures(evaluation, "model", ranker);
        assert!(own.len() > 30, "{own:?}");
        for name in ["a[1]", "b"] {
            assert_eq!(figures(&out, name, ranker), own, "{name}");
        }
    }
    assert_eq!(
        figures(&out, "ceiling", "-"),
        figures(evaluation, "ceiling", "-")
    );
    let t = out.port("comparisons").read("comparisons").unwrap();
    let of = |name, i| columns::text(&t, name).unwrap().value(i);
    let same = (0..t.num_rows()).find(|i| of("other", *i) == "b (idf_topk)");
    let same = same.unwrap();
    assert_eq!(of("system", same), "a[1] (idf_topk)");
    assert_eq!(columns::f64s(&t, "difference").unwrap().value(same), 0.0);
    assert_eq!(columns::f64s(&t, "p").unwrap().value(same), 1.0);

    let both = compare(json!({"systems": ["model", "bm25"]}), &["b.ranks"]).unwrap();
    assert_eq!(
        figures(&both, "b bm25", "-"),
        figures(evaluation, "bm25", "-")
    );
    let e = compare(json!({"systems": ["modle"]}), &["b.ranks"])
        .err()
        .unwrap();
    let OpError::Failed(failure) = e else {
        panic!("{e}")
    };
    let hint = failure.hint.unwrap();
    assert!(hint.contains("bm25") && hint.contains("model"), "{hint}");
}

#[test]
fn ranks_of_other_questions_are_not_compared() {
    let dir = tempfile::tempdir().unwrap();
    let d = data(dir.path());
    let ranks = |name: &str, ids: &[&str]| {
        let n = ids.len();
        let text = |value: &str| Arc::new(StringArray::from(vec![value; n])) as ArrayRef;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(ids.to_vec())),
            text("model"),
            text("simple"),
            text("document"),
            Arc::new(BooleanArray::from(vec![true; n])),
            Arc::new(UInt32Array::from(vec![1; n])),
            columns::build_list_u32(&vec![vec![1]; n]),
        ];
        let table = columns::batch(&kinds::RANKS.tables[0], columns).unwrap();
        local::artifact(dir.path(), &kinds::RANKS, name, vec![table]).unwrap()
    };
    let known = d.questions.read("questions").unwrap();
    let known = columns::text(&known, "id").unwrap().value(0).to_owned();
    // A question that is not among these, and only one of all.
    for (name, id) in [("other.ranks", "nobody asked this"), ("few.ranks", &known)] {
        let given = inputs(&[("ranks", &ranks(name, &[id])), ("questions", &d.questions)]);
        let e = run(dir.path(), "compare", json!({}), given).err().unwrap();
        assert!(e.to_string().contains("other questions"), "{e}");
    }
}
