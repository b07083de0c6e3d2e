//! What two runs are compared by: what their stages were made of, and their main metrics.

use std::collections::BTreeMap;
use std::fmt;

use arrow::array::RecordBatch;
use gfm_pipe_eval::shown::headline_metric;
use serde::Serialize;
use serde_json::Value;

use super::journal::JournalFile;
use crate::store::Store;
use crate::ui;

/// The metrics tables of a run, each with its stage, in pipeline order. Tables that are gone or
/// damaged are left out.
fn tables(store: &Store, journal: &JournalFile) -> Vec<(String, RecordBatch)> {
    let mut out = Vec::new();
    for stage in journal.stages.iter().filter(|s| !s.outputs.is_empty()) {
        let manifest = stage
            .key
            .as_ref()
            .and_then(|k| store.manifest(k).ok().flatten());
        let Some(port) = manifest.as_ref().and_then(|m| m.ports.get("metrics")) else {
            continue;
        };
        for t in port.tables.iter().filter(|_| port.kind == "metrics") {
            let Ok(file) = store.sound_table(t) else {
                continue;
            };
            if let Ok(reader) = file.batches_unchecked() {
                out.extend(reader.flatten().map(|batch| (stage.name.clone(), batch)));
            }
        }
    }
    out
}

/// Main metrics of a run over all questions, keyed by `STAGE: DATASET, SPLIT: SYSTEM (RANKER)
/// METRIC`. Metrics whose artifacts are gone are left out.
pub fn metrics(store: &Store, journal: &JournalFile) -> BTreeMap<String, f64> {
    let mut out = BTreeMap::new();
    for (stage, batch) in tables(store, journal) {
        let rows = ui::metric_rows(&batch).into_iter().filter(ui::is_main);
        out.extend(rows.map(|m| {
            let (name, set) = (m.name(), format!("{}, {}", m.dataset, m.split));
            (format!("{stage}: {set}: {name} {}", m.metric), m.value)
        }));
    }
    out
}

/// The one number that stands for a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Headline {
    /// The stage that computed it.
    pub stage: String,
    /// Name of the data set.
    pub dataset: String,
    /// `train`, `valid` or `test`.
    pub split: String,
    /// The model with its ranker.
    pub system: String,
    /// Name of the metric.
    pub metric: &'static str,
    /// Its value.
    pub value: f64,
}

impl fmt::Display for Headline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:.3}, {} on {}, {}",
            self.metric, self.value, self.system, self.dataset, self.split
        )
    }
}

/// What the model reaches with the first ranker that the pipeline names, in the pipeline's last
/// evaluation of a model. Never the best of several rankers: to choose one by its result on the
/// test set is to fit it to that set.
pub fn headline(store: &Store, journal: &JournalFile) -> Option<Headline> {
    let tables = tables(store, journal);
    tables
        .iter()
        .rev()
        .find_map(|(stage, batch)| first(stage, batch))
}

fn first(stage: &str, batch: &RecordBatch) -> Option<Headline> {
    let rows = ui::metric_rows(batch);
    let is_model = |m: &&ui::MetricRow<'_>| m.target == "document" && m.system == "model";
    let mut rows = rows.iter().filter(|m| ui::is_main(m) && is_model(m));
    let m = rows.find(|m| m.metric == headline_metric())?;
    Some(Headline {
        stage: stage.to_owned(),
        dataset: m.dataset.to_owned(),
        split: m.split.to_owned(),
        system: m.name(),
        metric: headline_metric(),
        value: m.value,
    })
}

/// Parameters and input files that count for the key, by `STAGE.PATH`, of the stages that the run
/// finished.
pub fn made_of(store: &Store, journal: &JournalFile) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for stage in &journal.stages {
        let Some(m) = stage
            .key
            .as_ref()
            .and_then(|k| store.manifest(k).ok().flatten())
        else {
            continue;
        };
        // Files that are not known any more are left out.
        let i = &store.ingredients(&m).unwrap_or(m.ingredients);
        let name = &stage.name;
        out.insert(
            format!("{name} (operator)"),
            format!("{} {}", i.operator, i.version),
        );
        flatten(name, &i.params, &mut out);
        for f in &i.files {
            let digest = f
                .digest
                .as_deref()
                .map_or("-", |d| d.get(..12).unwrap_or(d));
            out.insert(format!("{name} file {}", f.path), digest.to_owned());
        }
    }
    out
}

/// Adds the leaves of a JSON tree to `out`, keyed by their dotted path below `path`.
pub fn flatten(path: &str, value: &Value, out: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = match path {
                    "" => key.clone(),
                    path => format!("{path}.{key}"),
                };
                flatten(&path, value, out);
            }
        }
        Value::String(s) => drop(out.insert(path.to_owned(), s.clone())),
        other => drop(out.insert(path.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::json::ReaderBuilder;
    use gfm_pipe_api::kinds;
    use std::sync::Arc;

    #[test]
    fn a_run_is_known_by_its_first_ranker_not_by_the_best() {
        let row = |system: &str, ranker: &str, group: &str, metric: &str, value: f64| {
            serde_json::json!({
                "dataset": "atlas", "split": "test", "system": system, "ranker": ranker, "target": "document",
                "group": group, "metric": metric, "value": value, "n": 9, "unasked": 0,
            })
        };
        let rows = [
            row("bm25", "-", "all", "recall@5", 0.99),
            row("model", "idf_topk", "hops=2", "recall@5", 0.95),
            row("model", "idf_topk", "all", "mrr", 0.8),
            row("model", "idf_topk", "all", "recall@5", 0.25),
            row("model", "simple", "all", "recall@5", 0.9),
        ];
        let schema = Arc::new(kinds::METRICS.tables[0].schema(0));
        let mut decoder = ReaderBuilder::new(schema).build_decoder().unwrap();
        decoder.serialize(&rows).unwrap();
        let batch = decoder.flush().unwrap().unwrap();
        let found = first("evaluate", &batch).unwrap();
        assert_eq!(
            found.to_string(),
            "recall@5 0.250, model (idf_topk) on atlas, test"
        );
        assert_eq!(first("evaluate", &batch.slice(0, 3)), None);
    }
}
