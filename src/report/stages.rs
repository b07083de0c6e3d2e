//! The stages of a run: what happened to each, what it was made of, and when.

use std::collections::BTreeMap;

use serde::Serialize;

use super::rows::timeline::{self, Span};
use super::run::Run;
use super::svg::dag::{self, Node};
use crate::record::diff::flatten;
use crate::record::{
    JournalFile, Life, Phase, RunState, RunStatus, StageRecord, StageState, StageStatus, events_of,
    life,
};
use crate::store::Store;
use crate::ui;

/// The header of a page.
#[derive(Debug, Clone, Serialize)]
pub struct Head {
    run: String,
    pipeline: String,
    file: String,
    version: String,
    started: String,
    ended: Option<String>,
    /// How the run ended.
    pub status: &'static str,
    /// The CSS class of its colour.
    tone: &'static str,
    /// How many stages ended in which way.
    pub counts: String,
    /// Their total time.
    pub seconds: String,
}

/// A stage.
#[derive(Debug, Clone, Serialize)]
pub struct StageView {
    /// Name.
    pub name: String,
    /// Its anchor in the page.
    pub anchor: String,
    /// Its operator.
    pub op: String,
    /// How it ended.
    pub status: &'static str,
    key: Option<String>,
    seconds: String,
    rows: String,
    bytes: String,
    reasons: String,
    error: Option<String>,
    hint: Option<String>,
    note: Option<String>,
    resumed: Option<u64>,
    /// Stages that it takes inputs from or waits for.
    pub from: Vec<String>,
    inputs: Vec<(String, String)>,
    params: Vec<(String, String)>,
    files: Vec<(String, String)>,
    tables: Vec<(String, String, String)>,
    version: Option<u32>,
    made: Option<String>,
}

/// A status in one word.
pub fn status(s: StageStatus) -> &'static str {
    match s {
        StageStatus::Ran => "ran",
        StageStatus::Cached => "cached",
        StageStatus::Failed => "failed",
        StageStatus::Skipped => "skipped",
    }
}

/// The journal of a run, completed with the stages that had not ended when it was killed, or that
/// are still to end. Which ones these are is known only if the run's events are there.
pub fn with_unfinished(store: &Store, journal: &JournalFile) -> JournalFile {
    let mut whole = journal.clone();
    let Ok(Some(events)) = events_of(store, &journal.run) else {
        return whole;
    };
    let mut state = RunState::new(&journal.run, &journal.pipeline);
    events.iter().for_each(|e| state.apply(e));
    let goes_on = life(store, journal) == Life::GoesOn;
    let mut known: BTreeMap<String, StageRecord> = whole
        .stages
        .drain(..)
        .map(|s| (s.name.clone(), s))
        .collect();
    for s in &state.stages {
        whole.stages.push(match known.remove(&s.name) {
            Some(record) => record,
            None => unfinished(s, state.last_ms, goes_on),
        });
    }
    whole.stages.extend(known.into_values());
    whole
}

fn unfinished(s: &StageState, last_ms: u64, goes_on: bool) -> StageRecord {
    if s.phase != Phase::Running {
        let why = if goes_on { "waits" } else { "not reached" };
        return StageRecord::skipped(&s.name, "", why);
    }
    let far = s.progress.as_ref().map_or_else(String::new, |p| {
        format!(
            " at {} of {} {}",
            ui::count(p.done),
            ui::count(p.total),
            p.unit
        )
    });
    let mut record = StageRecord::new(&s.name, "", StageStatus::Failed);
    (record.started_ms, record.ended_ms) = (s.started_ms, Some(last_ms));
    let ms = last_ms.saturating_sub(s.started_ms.unwrap_or(last_ms));
    record.seconds = ms as f64 / 1000.0;
    if goes_on {
        record.status = StageStatus::Skipped;
        record.reasons = vec![format!("works{far}")];
    } else {
        record.error = Some(format!("killed{far}"));
        record.hint = Some("the same command again goes on from its last checkpoint".to_owned());
    }
    record
}

/// The header of a run's page.
pub fn head(journal: &JournalFile) -> Head {
    let of = |s| journal.stages.iter().filter(|x| x.status == s).count();
    let counts = [
        StageStatus::Ran,
        StageStatus::Cached,
        StageStatus::Failed,
        StageStatus::Skipped,
    ];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|s| of(*s) > 0)
        .map(|s| format!("{} {}", of(s), status(s)))
        .collect();
    let seconds = journal.stages.iter().fold(0.0, |sum, s| sum + s.seconds);
    Head {
        run: journal.run.clone(),
        pipeline: journal.pipeline.clone(),
        file: journal.file.clone(),
        version: journal.version.clone(),
        started: journal.started.clone(),
        ended: journal.ended.clone(),
        status: match journal.status {
            RunStatus::Ok => "ok",
            RunStatus::Failed => "failed",
            RunStatus::Interrupted => "interrupted",
            RunStatus::Running => "killed, or going on",
        },
        tone: match journal.status {
            RunStatus::Ok => "good",
            RunStatus::Failed => "failed",
            RunStatus::Interrupted | RunStatus::Running => "skipped",
        },
        counts: counts.join(", "),
        seconds: ui::duration(seconds),
    }
}

/// All stages, in pipeline order.
pub fn read(run: &Run<'_>) -> Vec<StageView> {
    let stages = run.journal.stages.iter().enumerate();
    stages.map(|(i, s)| stage(run, i, s)).collect()
}

fn stage(run: &Run<'_>, place: usize, s: &StageRecord) -> StageView {
    let m = run.manifests.get(&s.name);
    let ingredients = m.map(|m| &m.ingredients);
    let mut params = BTreeMap::new();
    let mut tables = Vec::new();
    if let Some(m) = m {
        flatten("", &m.ingredients.params, &mut params);
        for (port, entry) in &m.ports {
            for t in &entry.tables {
                let name = format!("{port}.{}", t.name);
                tables.push((name, ui::rows(t.rows), t.digest.clone()));
            }
        }
    }
    let files = ingredients.map(|i| {
        let each = |f: &crate::plan::FileId| {
            let digest = f.digest.clone().unwrap_or_else(|| "not there".to_owned());
            (f.path.clone(), digest)
        };
        let many = i.listing.iter().filter(|l| l.stands_for_read());
        let many = many.map(|l| (ui::number(l.read, "file"), l.digest.clone()));
        i.files.iter().map(each).chain(many).collect()
    });
    StageView {
        name: s.name.clone(),
        anchor: format!("stage-{place}"),
        op: s.op.clone(),
        status: status(s.status),
        key: s.key.as_ref().map(|k| k.to_string()),
        seconds: ui::duration(s.seconds),
        rows: ui::count(s.rows),
        bytes: ui::bytes(s.bytes),
        reasons: ui::reasons(&s.reasons),
        error: s.error.clone(),
        hint: s.hint.clone(),
        note: s.note.clone(),
        resumed: s.resumed_at_step,
        from: run.takes_from(&s.name),
        inputs: run
            .inputs(&s.name)
            .into_iter()
            .map(|(port, from)| (port, from.join(", ")))
            .collect(),
        params: params.into_iter().collect(),
        files: files.unwrap_or_default(),
        tables,
        version: ingredients.map(|i| i.version),
        made: m.map(|m| {
            let on = &m.made_on;
            format!(
                "{} on {} ({}), gfm-pipe {}, in {}",
                m.made_at,
                on.device,
                on.cpu_features.join(" "),
                on.gfm_pipe,
                ui::duration(m.seconds)
            )
        }),
    }
}

/// A drawing of the pipeline.
pub fn dag(stages: &[StageView]) -> String {
    let place = |name: &str| stages.iter().position(|s| s.name == name);
    let nodes: Vec<Node> = stages
        .iter()
        .map(|s| Node {
            name: s.name.clone(),
            about: match s.status {
                "ran" => s.seconds.clone(),
                other => other.to_owned(),
            },
            status: s.status,
            link: s.anchor.clone(),
            from: s.from.iter().filter_map(|f| place(f)).collect(),
        })
        .collect();
    dag::draw(&nodes)
}

/// A timeline of the stages, in the order in which they began. `None` if the journal has no times,
/// as in earlier versions, or every stage took next to no time.
pub fn timeline(run: &Run<'_>) -> Option<String> {
    let stages = run.journal.stages.iter();
    let times = stages.filter_map(|s| Some((s, s.started_ms?, s.ended_ms?)));
    let times: Vec<(&StageRecord, u64, u64)> = times.collect();
    let first = times.iter().map(|t| t.1).min()?;
    // The milliseconds of any run fit into an `f64` exactly.
    let since = |ms: u64| ms.saturating_sub(first) as f64 / 1000.0;
    let mut spans: Vec<Span> = times
        .into_iter()
        .map(|(s, from, to)| Span {
            name: s.name.clone(),
            status: status(s.status),
            at: (since(from), since(to.max(from))),
        })
        .collect();
    // If everything was cached, there is nothing to see.
    if spans.iter().all(|s| s.at.1 < 0.1) {
        return None;
    }
    spans.sort_by(|a, b| a.at.0.total_cmp(&b.at.0));
    Some(timeline::draw(&spans))
}
