//! Reading what a run wrote down about itself, also while it goes on.
//!
//! A file of events is lines of JSON: a head with the format's version, then one event each. A last
//! line without an end is one that is being written, or was when the run was killed; a line of a
//! kind this version does not know is passed over.

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

/// Format version of a file of events.
pub(super) const EVENTS_FORMAT: u32 = 1;

/// Where locks do not tell, a run without a sign for so long is taken for killed. It gives one
/// every few seconds.
const SILENCE: Duration = Duration::from_secs(60);

/// The first line.
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

/// Reads the events of a run, and those that come while it is read.
#[derive(Debug)]
pub struct EventReader {
    path: PathBuf,
    file: File,
    /// What is read and not yet a whole line.
    rest: Vec<u8>,
    /// Whether the head was seen.
    begun: bool,
}

impl EventReader {
    /// Opens the events of a run; `None` where none were recorded (by an older version), or `gc`
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

    /// What was written since the last call.
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

    /// How long ago the run last gave a sign of life, by the file's time.
    fn silent(&self) -> Duration {
        let time = self.file.metadata().and_then(|m| m.modified());
        time.map_or(Duration::ZERO, |t| {
            SystemTime::now().duration_since(t).unwrap_or_default()
        })
    }
}

/// All events of a run so far, in the order they happened; `None` where none were recorded (by an
/// older version), or `gc` removed them.
///
/// # Errors
/// When they cannot be read, or have an unknown version.
pub fn events_of(store: &Store, run: &str) -> Result<Option<Vec<Recorded>>, StoreError> {
    let reader = EventReader::open(store, run)?;
    reader.map(|mut r| r.poll()).transpose()
}

/// All metrics of a run so far: one series a stage and name, steps rising, each step once. Empty
/// where no events were recorded.
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

/// Whether a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It came to its end.
    Ended(RunStatus),
    /// A process works on it.
    GoesOn,
    /// It did not come to its end, and nobody works on it; the last sign of life is so long ago.
    Killed(Duration),
    /// It was recorded by a version that left no sign.
    Unknown,
}

/// Whether a run goes on: by its journal, then by its lock, and where the file system has none by
/// its last sign of life.
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

/// What is wrong with the files a run wrote down its events in, if anything.
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
    /// Why lines are not JSON, if some are not.
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
        // What comes after the last line end is not there yet, or never will be.
        let whole = bytes.split(|b| *b == b'\n').take(lines - 1);
        for (i, line) in whole.enumerate() {
            if let Err(e) = serde_json::from_slice::<serde_json::Value>(line) {
                return Ok(Some(format!("line {}: {e}", i + 1)));
            }
        }
        Ok(None)
    }
}
