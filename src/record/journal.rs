//! The journal of a run: `runs/<id>.json` and `logs/<id>.log`.
//!
//! It is written when the run starts and again whenever a stage was computed, so that a killed run
//! can be told from a finished one. `runs/latest` names the run that ended last.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use gfm_pipe_api::printable::lines;
use gfm_pipe_api::{Level, files};
use serde::{Deserialize, Serialize};

use super::events::{Event, EventSink, NOT_SELECTED, RunStatus, StageRecord, StageStatus};
use super::sequence;
use super::time::utc;
use crate::store::{Store, StoreError, atomic, read_json, write_json};

const FORMAT: u32 = 1;

/// The content of `runs/<id>.json`.
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
    /// The pipeline's file, as the user named it.
    pub file: String,
    /// Version of gfm-pipe.
    pub version: String,
    /// When it started: UTC, as text.
    pub started: String,
    /// When it ended: UTC, as text. Missing while the run goes on, and if it was killed.
    pub ended: Option<String>,
    /// How it ended.
    pub status: RunStatus,
    /// Stages that have ended so far, and those that the request leaves out.
    pub stages: Vec<StageRecord>,
}

impl JournalFile {
    /// Whether the run, which has ended or was killed, has the result of a stage; `None` where it
    /// was not asked for it.
    pub fn has_result(&self, stage: &str) -> Option<bool> {
        let record = self.stages.iter().find(|s| s.name == stage);
        match record {
            // A run that was killed had not come to it, or was working on it.
            None => (self.status == RunStatus::Running).then_some(false),
            Some(s) => match s.status {
                StageStatus::Ran | StageStatus::Cached => Some(true),
                StageStatus::Failed => Some(false),
                StageStatus::Skipped => (s.reasons != [NOT_SELECTED]).then_some(false),
            },
        }
    }
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
    /// Starts the journal of a run. `left_out` are the stages that the request leaves out.
    pub fn start(
        store: &Store,
        run: &str,
        pipeline: &str,
        file: &Path,
        left_out: Vec<StageRecord>,
    ) -> Self {
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
                    stages: left_out,
                },
                log,
            }),
        }
    }

    /// The path of the log.
    pub fn log_path(&self) -> PathBuf {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        self.store.log_path(&inner.file.run)
    }

    fn save(&self, file: &JournalFile) -> Result<(), StoreError> {
        write_json(&self.store.journal_path(&file.run), file)
    }

    /// Closes the journal. `stages` are all stages of the pipeline, in the order they are written
    /// there.
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
        // If the journal cannot be written, only history is lost, not the run; `finish` reports it.
        if worth_saving {
            let _ = self.save(&inner.file);
        }
        if let Some(line) = log_line(event)
            && let Some(log) = &mut inner.log
        {
            // Continuation lines are indented, so that none of them looks like an event. Logs are
            // also read on terminals, so the line is escaped.
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

/// The journal of the run that ended last; `None` if there is none.
///
/// # Errors
/// When it cannot be read.
pub fn latest(store: &Store) -> Result<Option<JournalFile>, StoreError> {
    match run_named_in(&store.latest_path())? {
        Some(run) => journal(store, &run),
        None => Ok(None),
    }
}

/// The name of the run in a file that holds nothing else; `None` if there is no such file.
pub(super) fn run_named_in(path: &Path) -> Result<Option<String>, StoreError> {
    let run = match files::read_text(path) {
        Ok(text) => text.trim().to_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StoreError::io("read", path)(e)),
    };
    if !is_run(&run) {
        return Err(StoreError::Damaged {
            path: path.to_owned(),
            why: "it names no run".to_owned(),
        });
    }
    Ok(Some(run))
}

/// Whether a text is a valid run name. It becomes part of a path, so only the characters of such
/// names are accepted.
pub(super) fn is_run(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Reads the journal of a run; `None` if it does not exist.
///
/// # Errors
/// When it cannot be read.
pub fn journal(store: &Store, run: &str) -> Result<Option<JournalFile>, StoreError> {
    read_json(&store.journal_path(run), FORMAT..=FORMAT)
}
