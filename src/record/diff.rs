//! What two runs have to be compared by: what their stages were made of, and their main metrics.

use std::collections::BTreeMap;

use serde_json::Value;

use super::journal::JournalFile;
use crate::store::Store;
use crate::ui;

/// Main metrics of a run over all questions: `STAGE: DATASET, SPLIT: SYSTEM (RANKER) METRIC`. Those whose artifacts are gone or
/// damaged are left out.
pub fn metrics(store: &Store, journal: &JournalFile) -> BTreeMap<String, f64> {
    let mut out = BTreeMap::new();
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
            let Ok(reader) = gfm_pipe_api::table::reader(&file.path) else {
                continue;
            };
            for batch in reader.flatten() {
                let rows = ui::metric_rows(&batch).into_iter();
                let main = rows.filter(|m| {
                    m.group == "all" && m.target == "document" && ui::MAIN.contains(&m.metric)
                });
                out.extend(main.map(|m| {
                    let (name, set) = (m.name(), format!("{}, {}", m.dataset, m.split));
                    (
                        format!("{}: {set}: {name} {}", stage.name, m.metric),
                        m.value,
                    )
                }));
            }
        }
    }
    out
}

/// Parameters that count and files, by `STAGE.PATH`, of the stages a run finished.
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
        let i = &m.ingredients;
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

/// The values of a tree by dotted path, below `path`.
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
