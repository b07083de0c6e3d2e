//! Reads what a run wrote down about itself, also while it goes on.
//!
//! An event file consists of lines of JSON: a head with the format version, then one event per
//! line. A last line without a line end is still being written, or the run was killed while writing
//! it. Events of a kind that this version does not know are skipped.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use gfm_pipe_api::files;
use serde::{Deserialize, Serialize};

use super::events::{Event, RunStatus};
use super::journal::{JournalFile, is_run};
use super::metrics::{Metrics, Series};
use crate::store::{Store, StoreError};

/// Format version of an event file.
pub(super) const EVENTS_FORMAT: u32 = 1;

/// Where the file system has no locks, a run without a sign of life for this long counts as killed.
/// A live run gives one every few seconds.
const SILENCE: Duration = Duration::from_secs(60);

/// The first line of an event file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub format: u32,
    pub run: String,
    pub pipeline: String,
}

/// An event, and when it happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recorded {
    /// Milliseconds since 1970, UTC.
    pub time_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Reads the events of a run, including those written after it was opened.
#[derive(Debug)]
pub struct EventReader {
    path: PathBuf,
    file: File,
    /// Bytes that were read and do not form a whole line yet.
    rest: Vec<u8>,
    /// Whether the head was read.
    begun: bool,
}

impl EventReader {
    /// Opens the events of a run; `None` if none were recorded (by an older version) or `gc`
    /// removed them.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(store: &Store, run: &str) -> Result<Option<Self>, StoreError> {
        if !is_run(run) {
            return Ok(None);
        }
        let path = store.events_path(run);
        match files::open(&path) {
            Ok(file) => Ok(Some(EventReader {
                path,
                file,
                rest: Vec::new(),
                begun: false,
            })),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StoreError::io("read", &path)(e)),
        }
    }

    /// The events written since the last call.
    ///
    /// # Errors
    /// When the file cannot be read, or has an unknown version.
    pub fn poll(&mut self) -> Result<Vec<Recorded>, StoreError> {
        let mut bytes = std::mem::take(&mut self.rest);
        self.file
            .read_to_end(&mut bytes)
            .map_err(StoreError::io("read", &self.path))?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        self.rest = bytes.split_off(whole);
        let mut out = Vec::new();
        for line in bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            if self.begun {
                out.extend(serde_json::from_slice::<Recorded>(line));
            } else {
                self.head(line)?;
            }
        }
        Ok(out)
    }

    fn head(&mut self, line: &[u8]) -> Result<(), StoreError> {
        let damaged = |why: String| StoreError::Damaged {
            path: self.path.clone(),
            why,
        };
        let head: serde_json::Value =
            serde_json::from_slice(line).map_err(|e| damaged(e.to_string()))?;
        let found = head.get("format").and_then(serde_json::Value::as_u64);
        match found {
            Some(v) if v == u64::from(EVENTS_FORMAT) => {
                self.begun = true;
                Ok(())
            }
            Some(v) => Err(StoreError::Version {
                path: self.path.clone(),
                found: v.to_string(),
                known: EVENTS_FORMAT,
            }),
            None => Err(damaged("it has no format version".to_owned())),
        }
    }

    /// How long ago the run last gave a sign of life, by the file's modification time.
    fn silent(&self) -> Duration {
        let time = self.file.metadata().and_then(|m| m.modified());
        time.map_or(Duration::ZERO, |t| {
            SystemTime::now().duration_since(t).unwrap_or_default()
        })
    }
}

/// All events of a run so far, in order; `None` if none were recorded (by an older version) or `gc`
/// removed them.
///
/// # Errors
/// When they cannot be read, or have an unknown version.
pub fn events_of(store: &Store, run: &str) -> Result<Option<Vec<Recorded>>, StoreError> {
    let reader = EventReader::open(store, run)?;
    reader.map(|mut r| r.poll()).transpose()
}

/// All metrics of a run so far: one series for each stage and metric, with increasing steps. Empty
/// if no events were recorded.
///
/// # Errors
/// See [`events_of`].
pub fn metrics_of(store: &Store, run: &str) -> Result<Vec<Series>, StoreError> {
    let mut metrics = Metrics::default();
    for recorded in events_of(store, run)?.unwrap_or_default() {
        metrics.apply(recorded.time_ms, &recorded.event);
    }
    Ok(metrics.into_series())
}

/// Whether a run is still going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It ended.
    Ended(RunStatus),
    /// A process is working on it.
    GoesOn,
    /// It did not end, and no process is working on it. The last sign of life was this long ago.
    Killed(Duration),
    /// Unknown: it was recorded by a version that gave no sign of life.
    Unknown,
}

impl Life {
    /// What lists of runs say of it.
    pub fn word(self) -> &'static str {
        match self {
            Life::GoesOn => "going on",
            Life::Killed(_) => "killed",
            Life::Unknown | Life::Ended(RunStatus::Running) => "killed or going on",
            Life::Ended(RunStatus::Ok) => "ok",
            Life::Ended(RunStatus::Failed) => "failed",
            Life::Ended(RunStatus::Interrupted) => "interrupted",
        }
    }
}

/// Whether a run still works: its journal says so, then its lock, and on a file system without
/// locks its last sign of life.
pub fn life(store: &Store, journal: &JournalFile) -> Life {
    if journal.status != RunStatus::Running {
        return Life::Ended(journal.status);
    }
    let Ok(Some(events)) = EventReader::open(store, &journal.run) else {
        return Life::Unknown;
    };
    let silent = events.silent();
    match store.run_held(&journal.run) {
        Some(true) => Life::GoesOn,
        None if silent < SILENCE => Life::GoesOn,
        Some(false) | None => Life::Killed(silent),
    }
}

/// What is wrong with the files in which a run recorded its events: each damaged file, with the
/// reason.
pub(super) fn fault(store: &Store, run: &str) -> Vec<(PathBuf, String)> {
    let mut out = Vec::new();
    let events = EventReader::open(store, run).and_then(|r| r.map(|mut r| r.check()).transpose());
    match events {
        Ok(Some(Some(why))) => out.push((store.events_path(run), why)),
        Ok(_) => {}
        Err(StoreError::Damaged { path, why }) => out.push((path, why)),
        Err(e) => out.push((store.events_path(run), e.to_string())),
    }
    let table = store.metrics_path(run);
    if table.exists() {
        let read = gfm_pipe_api::table::reader(&table);
        let rows = read.and_then(|r| r.collect::<Result<Vec<_>, _>>().map_err(Into::into));
        if let Err(e) = rows {
            out.push((table, e.to_string()));
        }
    }
    out
}

impl EventReader {
    /// Why some line is not valid JSON; `None` if all whole lines are.
    fn check(&mut self) -> Result<Option<String>, StoreError> {
        self.poll()?;
        self.file
            .seek(SeekFrom::Start(0))
            .map_err(StoreError::io("read", &self.path))?;
        let mut bytes = Vec::new();
        self.file
            .read_to_end(&mut bytes)
            .map_err(StoreError::io("read", &self.path))?;
        let lines = bytes.split(|b| *b == b'\n').count();
        // What follows the last line end is incomplete.
        let whole = bytes.split(|b| *b == b'\n').take(lines - 1);
        for (i, line) in whole.enumerate() {
            if let Err(e) = serde_json::from_slice::<serde_json::Value>(line) {
                return Ok(Some(format!("line {}: {e}", i + 1)));
            }
        }
        Ok(None)
    }
}
