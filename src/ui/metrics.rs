//! The closing tables of retrieval metrics.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, UInt64Type};

use gfm_pipe_eval::answers;
use gfm_pipe_eval::shown::{MAIN, headline_metric, label, names};
use gfm_pipe_eval::systems::MODEL;

use super::text::{count, table};

/// Whether a row is in the closing tables, about all questions.
pub fn is_main(m: &MetricRow<'_>) -> bool {
    let columns = columns_of(m.target);
    m.group == "all" && columns.is_some_and(|columns| columns.metrics.contains(&m.metric))
}

/// A row of a table of kind `metrics`.
#[derive(Debug, Clone, Copy)]
pub struct MetricRow<'a> {
    /// Name of the data set.
    pub dataset: &'a str,
    /// `train`, `valid` or `test`.
    pub split: &'a str,
    /// Name of the system.
    pub system: &'a str,
    /// The ranker, or `-` if there is none.
    pub ranker: &'a str,
    /// `document` or `entity`.
    pub target: &'a str,
    /// The group of questions.
    pub group: &'a str,
    /// Name of the metric.
    pub metric: &'a str,
    /// Its value.
    pub value: f64,
    /// Its 95 % interval, if there is one.
    pub interval: Option<(f64, f64)>,
    /// Number of questions.
    pub n: u64,
    /// Number of questions that could not be asked; 0 if the table does not say.
    pub unasked: u64,
}

impl MetricRow<'_> {
    /// System and ranker as shown to people: `model (idf_topk)`, `dense`.
    pub fn name(&self) -> String {
        label(self.system, self.ranker)
    }
}

/// The rows that have a value; empty if the table is not of kind `metrics`.
pub fn metric_rows(batch: &RecordBatch) -> Vec<MetricRow<'_>> {
    let column = |name: &str| batch.column_by_name(name);
    let text = |name: &str| column(name).and_then(|c| c.as_string_opt::<i32>());
    let columns = [
        "dataset", "split", "system", "ranker", "target", "group", "metric",
    ]
    .map(text);
    let number = |name: &str| column(name).and_then(|c| c.as_primitive_opt::<Float64Type>());
    let value = number("value");
    let ends = number("low").zip(number("high"));
    let whole = |name: &str| column(name).and_then(|c| c.as_primitive_opt::<UInt64Type>());
    let (n, unasked) = (whole("n"), whole("unasked"));
    let (
        [
            Some(dataset),
            Some(split),
            Some(system),
            Some(ranker),
            Some(target),
            Some(group),
            Some(metric),
        ],
        Some(value),
        Some(n),
    ) = (columns, value, n)
    else {
        return Vec::new();
    };
    (0..batch.num_rows())
        .filter(|i| !value.is_null(*i))
        .map(|i| MetricRow {
            dataset: dataset.value(i),
            split: split.value(i),
            system: system.value(i),
            ranker: ranker.value(i),
            target: target.value(i),
            group: group.value(i),
            metric: metric.value(i),
            value: value.value(i),
            interval: ends
                .filter(|(low, high)| low.is_valid(i) && high.is_valid(i))
                .map(|(low, high)| (low.value(i), high.value(i))),
            n: n.value(i),
            unasked: unasked.map_or(0, |u| u.value(i)),
        })
        .collect()
}

#[derive(Default)]
struct Cells {
    values: BTreeMap<String, f64>,
    interval: Option<(f64, f64)>,
    n: u64,
}

/// The metrics of one target, as columns of a closing table.
struct Columns {
    metrics: Vec<&'static str>,
    /// The one that is shown with its interval, and whose questions are counted.
    headline: &'static str,
    /// The one system whose groups are shown; `None`: those of all systems.
    by_hops: Option<&'static str>,
}

/// The columns for a target; `None` where it has no closing table.
fn columns_of(target: &str) -> Option<Columns> {
    match target {
        "document" => Some(Columns {
            metrics: names(&MAIN),
            headline: headline_metric(),
            by_hops: Some(MODEL.name),
        }),
        answers::TARGET => Some(Columns {
            metrics: answers::SHOWN.to_vec(),
            headline: answers::SHOWN[0],
            by_hops: None,
        }),
        _ => None,
    }
}

/// A closing table.
struct Closing {
    columns: Columns,
    rows: Vec<(String, Cells)>,
}

/// Lines to print for every data set, split and target in tables of kind `metrics`, each given with
/// its stage: first the systems with the main metrics over all questions, then the model, or those
/// that answer, by number of hops.
pub fn metrics_tables(tables: &[(String, RecordBatch)]) -> Vec<String> {
    let mut stages: BTreeMap<(String, String), BTreeSet<&str>> = BTreeMap::new();
    let set = |m: &MetricRow<'_>| format!("{}, {}", m.dataset, m.split);
    for (stage, batch) in tables {
        for m in metric_rows(batch) {
            let of = stages.entry((set(&m), m.target.to_owned())).or_default();
            of.insert(stage);
        }
    }
    // Systems and groups keep the order of the table.
    let mut closing: Vec<(String, Closing)> = Vec::new();
    let rows = |(stage, batch)| metric_rows(batch).into_iter().map(move |m| (stage, m));
    for (stage, m) in tables.iter().map(|(s, b)| (s, b)).flat_map(rows) {
        let Some(columns) = columns_of(m.target) else {
            continue;
        };
        let by_hops = columns.by_hops.is_none_or(|system| system == m.system);
        let row = match m.group {
            "all" => m.name(),
            group if by_hops && group.starts_with("hops=") => format!("  {}, {group}", m.name()),
            _ => continue,
        };
        // Two evaluations on the same questions are told apart by their stages.
        let several = stages.get(&(set(&m), m.target.to_owned()));
        let mut head = match several.map_or(0, BTreeSet::len) {
            0 | 1 => set(&m),
            _ => format!("{stage}: {}", set(&m)),
        };
        if m.target == answers::TARGET {
            head.push_str(": answers");
        }
        let at = closing.iter().position(|(h, _)| *h == head);
        let at = at.unwrap_or_else(|| {
            let rows = Vec::new();
            closing.push((head, Closing { columns, rows }));
            closing.len() - 1
        });
        let Closing { columns, rows } = &mut closing[at].1;
        let cells = entry(rows, row);
        cells.values.insert(m.metric.to_owned(), m.value);
        if m.metric == columns.headline {
            cells.interval = m.interval;
            cells.n = m.n;
        }
    }
    let mut out = Vec::new();
    for (head, Closing { columns, mut rows }) in closing {
        // The sort is stable: systems first, then groups.
        rows.sort_by_key(|(name, _)| name.starts_with(' '));
        let mut lines = vec![vec![head]];
        lines[0].extend(columns.metrics.iter().map(|m| (*m).to_owned()));
        lines[0].push(format!("95 % of {}", columns.headline));
        lines[0].push("questions".to_owned());
        for (name, cells) in rows {
            let mut line = vec![name];
            let values = columns.metrics.iter().map(|m| match cells.values.get(*m) {
                Some(v) => format!("{v:.3}"),
                None => "-".to_owned(),
            });
            line.extend(values);
            line.push(match cells.interval {
                Some((low, high)) => format!("{low:.3}-{high:.3}"),
                None => "-".to_owned(),
            });
            line.push(count(cells.n));
            lines.push(line);
        }
        if !out.is_empty() {
            out.push(String::new());
        }
        out.extend(table(&lines, 1));
    }
    out
}

fn entry<T: Default>(list: &mut Vec<(String, T)>, name: String) -> &mut T {
    let i = match list.iter().position(|(n, _)| *n == name) {
        Some(i) => i,
        None => {
            list.push((name, T::default()));
            list.len() - 1
        }
    };
    &mut list[i].1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::{Float64Array, StringArray, UInt64Array};
    use gfm_pipe_api::kinds;
    use std::sync::Arc;

    #[test]
    fn systems_are_rows_and_main_metrics_columns() {
        let rows: [([&'static str; 5], f64, u64); 8] = [
            (
                ["model", "idf_topk", "document", "hops=3", "recall@5"],
                0.7,
                40,
            ),
            (
                ["model", "idf_topk", "document", "all", "recall@5"],
                0.9,
                100,
            ),
            (["model", "idf_topk", "document", "all", "mrr"], 0.8125, 100),
            (["model", "-", "entity", "all", "mrr"], 0.1, 100),
            (
                ["model", "idf_topk", "document", "paraphrase", "mrr"],
                0.2,
                9,
            ),
            (["bm25", "-", "document", "all", "recall@5"], 0.5, 100),
            (["bm25", "-", "document", "hops=3", "recall@5"], 0.4, 40),
            (["ceiling", "-", "document", "all", "recall@5"], 1.0, 100),
        ];
        let text = |of: &dyn Fn(&[&'static str; 5]) -> &'static str| {
            let values = rows.iter().map(|r| of(&r.0));
            Arc::new(StringArray::from_iter_values(values)) as Arc<dyn Array>
        };
        let batch = RecordBatch::try_new(
            Arc::new(kinds::METRICS.tables[0].schema(0)),
            vec![
                text(&|_| "atlas"),
                text(&|_| "test"),
                text(&|r| r[0]),
                text(&|r| r[1]),
                text(&|r| r[2]),
                text(&|r| r[3]),
                text(&|r| r[4]),
                Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.1))),
                Arc::new(Float64Array::from_iter(
                    rows.iter().map(|r| (r.2 == 100).then_some(r.1 - 0.05)),
                )),
                Arc::new(Float64Array::from_iter(
                    rows.iter().map(|r| (r.2 == 100).then_some(r.1 + 0.025)),
                )),
                Arc::new(UInt64Array::from_iter_values(rows.iter().map(|r| r.2))),
                Arc::new(UInt64Array::from_iter_values(rows.iter().map(|_| 0))),
            ],
        )
        .unwrap();
        assert_eq!(
            metrics_tables(&[("evaluate".to_owned(), batch.clone())]),
            [
                "atlas, test                 recall@2  recall@5  all-gold@5    mrr  95 % of recall@5  questions",
                "model (idf_topk)                   -     0.900           -  0.812       0.850-0.925        100",
                "bm25                               -     0.500           -      -       0.450-0.525        100",
                "ceiling                            -     1.000           -      -       0.950-1.025        100",
                "  model (idf_topk), hops=3         -     0.700           -      -                 -         40",
            ]
        );
        assert!(metrics_tables(&[]).is_empty());
        let two = ["a[1]", "a[2]"].map(|stage| (stage.to_owned(), batch.clone()));
        let heads: Vec<String> = metrics_tables(&two)
            .into_iter()
            .filter(|l| l.contains("questions"))
            .map(|l| l.split("  ").next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(heads, ["a[1]: atlas, test", "a[2]: atlas, test"]);
    }
}
