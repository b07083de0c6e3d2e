//! The journal of a run: `runs/<id>.json` and `logs/<id>.log`.
//!
//! It is written when the run starts and again whenever a stage was computed, so that a killed run
//! is distinguished from a finished one. `runs/latest` names the last run that came to its end.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use gfm_pipe_api::printable::lines;
use gfm_pipe_api::{Level, files};
use serde::{Deserialize, Serialize};

use super::events::{Event, EventSink, RunStatus, StageRecord, StageStatus};
use super::sequence;
use super::time::utc;
use crate::store::{Store, StoreError, atomic, read_json, write_json};

const FORMAT: u32 = 1;

/// What `runs/<id>.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalFile {
    /// Format version.
    pub format: u32,
    /// Name of the run.
    pub run: String,
    /// Its number among all runs of the store. Journals of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Its file, as the user named it.
    pub file: String,
    /// Version of gfm-pipe.
    pub version: String,
    /// UTC.
    pub started: String,
    /// UTC; missing while the run goes on and when it was killed.
    pub ended: Option<String>,
    /// How it ended.
    pub status: RunStatus,
    /// Stages that ended so far.
    pub stages: Vec<StageRecord>,
}

/// Listens to a run and writes its journal and log.
pub struct Journal {
    store: Store,
    inner: Mutex<Inner>,
}

struct Inner {
    file: JournalFile,
    log: Option<BufWriter<File>>,
}

impl Journal {
    /// Starts the journal of a run.
    pub fn start(store: &Store, run: &str, pipeline: &str, file: &Path) -> Self {
        let log = File::create(store.log_path(run)).ok().map(BufWriter::new);
        Journal {
            store: store.clone(),
            inner: Mutex::new(Inner {
                file: JournalFile {
                    format: FORMAT,
                    run: run.to_owned(),
                    sequence: Some(sequence::next(store)),
                    pipeline: pipeline.to_owned(),
                    file: file.display().to_string(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    started: utc(SystemTime::now()),
                    ended: None,
                    status: RunStatus::Running,
                    stages: Vec::new(),
                },
                log,
            }),
        }
    }

    /// The log's path.
    pub fn log_path(&self) -> PathBuf {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        self.store.log_path(&inner.file.run)
    }

    fn save(&self, file: &JournalFile) -> Result<(), StoreError> {
        write_json(&self.store.journal_path(&file.run), file)
    }

    /// Closes the journal; `stages` are all stages of the pipeline in the order written.
    ///
    /// # Errors
    /// When the disk refuses; the run itself is not affected.
    pub fn finish(&self, status: RunStatus, stages: &[StageRecord]) -> Result<(), StoreError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.file.status = status;
        inner.file.ended = Some(utc(SystemTime::now()));
        inner.file.stages = stages.to_vec();
        self.save(&inner.file)?;
        let latest = self.store.latest_path();
        atomic::write(&latest, format!("{}\n", inner.file.run).as_bytes())?;
        if let Some(log) = &mut inner.log {
            log.flush().map_err(StoreError::io("write", &latest))?;
        }
        Ok(())
    }
}

impl EventSink for Journal {
    fn emit(&self, event: &Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::StageFinished(record) = event {
            inner.file.stages.push((**record).clone());
        }
        let worth_saving = match event {
            Event::RunStarted { .. } => true,
            Event::StageFinished(r) => r.status != StageStatus::Cached,
            _ => false,
        };
        // A journal that cannot be written costs history, never the run; `finish` reports it.
        if worth_saving {
            let _ = self.save(&inner.file);
        }
        if let Some(line) = log_line(event)
            && let Some(log) = &mut inner.log
        {
            // Further lines are indented, so that none passes for an event; a log is read on
            // terminals, too.
            let line = lines(&line).replace('\n', "\n    ");
            let _ = writeln!(log, "{} {line}", utc(SystemTime::now()));
            let _ = log.flush();
        }
    }
}

fn log_line(event: &Event) -> Option<String> {
    Some(match event {
        Event::RunStarted { run, pipeline, .. } => format!("run {run} of {pipeline} started"),
        Event::StageStarted {
            stage,
            op,
            key,
            reasons,
        } => format!("{stage}: {op} started ({}), key {key}", reasons.join(", ")),
        Event::Progress { .. } | Event::Metric { .. } | Event::StageResumed { .. } => return None,
        Event::Message { stage, level, text } => {
            let level = match level {
                Level::Info => "info",
                Level::Warn => "warn",
            };
            format!("{stage}: {level}: {text}")
        }
        Event::StageRetried { stage, retry } => format!("{stage}: retry {retry}"),
        Event::StageFinished(r) => {
            let status = match r.status {
                StageStatus::Ran => "ran",
                StageStatus::Cached => "cached",
                StageStatus::Failed => "failed",
                StageStatus::Skipped => "skipped",
            };
            let mut line = format!("{}: {status} after {:.3} s", r.name, r.seconds);
            if r.status == StageStatus::Skipped {
                line.push_str(&format!(" ({})", r.reasons.join(", ")));
            }
            for text in r.error.iter().chain(&r.hint) {
                line.push_str(": ");
                line.push_str(text);
            }
            line
        }
        Event::RunFinished { status, .. } => format!("run finished: {status:?}"),
    })
}

/// The journal of the latest run that came to its end; `None` when there was none.
///
/// # Errors
/// When it cannot be read.
pub fn latest(store: &Store) -> Result<Option<JournalFile>, StoreError> {
    let path = store.latest_path();
    let run = match files::read_text(&path) {
        Ok(text) => text.trim().to_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StoreError::io("read", &path)(e)),
    };
    if !is_run(&run) {
        return Err(StoreError::Damaged {
            path,
            why: "it names no run".to_owned(),
        });
    }
    read_json(&store.journal_path(&run), FORMAT)
}

/// Whether a text may name a run: it becomes part of a path, so only what these names are made of
/// is taken.
pub(super) fn is_run(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Reads the journal of a run; `None` when there is none.
///
/// # Errors
/// When it cannot be read.
pub fn journal(store: &Store, run: &str) -> Result<Option<JournalFile>, StoreError> {
    read_json(&store.journal_path(run), FORMAT)
}
