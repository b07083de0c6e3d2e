//! Writes down what happens in a run while it goes on: `runs/<id>.events.jsonl`, and the metrics as
//! a table, `runs/<id>.metrics.parquet`.
//!
//! A separate thread does the writing, so that no training waits for a disk. The events are what
//! counts: they are appended and flushed line by line, so that a killed run loses at most the last
//! one. The table is made from them for other programs, and replaced as a whole from time to time.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::events::{Event, EventSink};
use super::metrics::Metrics;
use super::read::{EVENTS_FORMAT, Head, Recorded};
use super::time::now_ms;
use crate::store::{Store, StoreError};

/// Progress is written down at most this often for each thing that a stage counts; the last one
/// before it counts something else, or ends, always is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// The minimum time between two replacements of the table while a stage is running.
const TABLE_EVERY: Duration = Duration::from_secs(30);

/// The table is written as a whole each time, which may take a while for a long run. Writing it may
/// take at most one part in this many of the time.
const TABLE_SHARE: u32 = 20;

/// How often a run without events gives a sign of life.
const BEAT: Duration = Duration::from_secs(5);

/// Listens to a run and writes down its events.
pub struct Recorder {
    inner: Mutex<Inner>,
}

struct Inner {
    /// `None` once the end was written.
    to_writer: Option<Sender<Recorded>>,
    writer: Option<JoinHandle<Result<(), StoreError>>>,
    /// By stage, then by unit: when progress was last written down, and the latest one since.
    progress: HashMap<String, HashMap<String, (Instant, Option<Recorded>)>>,
}

impl Recorder {
    /// Starts to write down the events of a run. Failures are reported by [`Recorder::finish`].
    pub fn start(store: &Store, run: &str, pipeline: &str) -> Self {
        let (to_writer, events) = channel();
        let (store, run, pipeline) = (store.clone(), run.to_owned(), pipeline.to_owned());
        // Opened here, not in the thread, so that a run has its lock before anyone can know of it.
        let opened = Writer::open(&store, &run, &pipeline);
        let writer = std::thread::Builder::new()
            .name("gfm-events".to_owned())
            .spawn(move || opened?.all(&events))
            .map_err(|e| tracing::debug!("events are not recorded: {e}"));
        Recorder {
            inner: Mutex::new(Inner {
                to_writer: Some(to_writer),
                writer: writer.ok(),
                progress: HashMap::new(),
            }),
        }
    }

    /// Writes the rest and stops the thread. A second call does nothing.
    ///
    /// # Errors
    /// The first thing that could not be recorded; the run itself is not affected.
    pub fn finish(&self) -> Result<(), StoreError> {
        let writer = {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            drop(inner.to_writer.take());
            inner.writer.take()
        };
        // The message of a writer that panicked was already printed.
        writer.map_or(Ok(()), |w| w.join().unwrap_or(Ok(())))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Err(e) = self.finish() {
            tracing::debug!("events are not complete: {e}");
        }
    }
}

impl EventSink for Recorder {
    fn emit(&self, event: &Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(to_writer) = inner.to_writer.clone() else {
            return;
        };
        // If the writer has stopped (a full disk, say), `finish` reports the reason.
        let send = |recorded: Recorded| drop(to_writer.send(recorded));
        if let Event::Progress { stage, unit, .. } = event {
            let now = Instant::now();
            let counted = inner.progress.entry(stage.clone()).or_default();
            let others = counted.iter_mut().filter(|(name, _)| *name != unit);
            others.filter_map(|(_, c)| c.1.take()).for_each(send);
            match counted.get_mut(unit) {
                Some((last, waiting)) if now.duration_since(*last) < PROGRESS_EVERY => {
                    *waiting = Some(Recorded::now(event));
                    return;
                }
                Some(written) => *written = (now, None),
                None => drop(counted.insert(unit.clone(), (now, None))),
            }
        }
        if let Event::StageFinished(record) = event {
            let counted = inner.progress.remove(&record.name).unwrap_or_default();
            counted.into_values().filter_map(|c| c.1).for_each(send);
        }
        send(Recorded::now(event));
    }
}

/// The state of the writer thread.
struct Writer {
    file: File,
    path: PathBuf,
    table: PathBuf,
    tmp: PathBuf,
    metrics: Metrics,
    /// Whether there are metrics that the table lacks.
    stale: bool,
    written: Instant,
    every: Duration,
    /// Held as long as the run goes on; without locks, the file's modification time shows it.
    _alive: Option<crate::store::RunLock>,
}

impl Writer {
    fn open(store: &Store, run: &str, pipeline: &str) -> Result<Self, StoreError> {
        let path = store.events_path(run);
        let alive = store.lock_run(run)?;
        let file = File::options().create_new(true).append(true).open(&path);
        let mut writer = Writer {
            file: file.map_err(StoreError::io("create", &path))?,
            path,
            table: store.metrics_path(run),
            tmp: store.tmp(),
            metrics: Metrics::default(),
            stale: false,
            written: Instant::now(),
            every: TABLE_EVERY,
            _alive: alive,
        };
        let head = Head {
            format: EVENTS_FORMAT,
            run: run.to_owned(),
            pipeline: pipeline.to_owned(),
        };
        writer.line(&head)?;
        Ok(writer)
    }

    /// Writes everything until all senders are gone. After a failure nothing is appended any more
    /// (a line after half a line would be lost too), but the thread keeps running, and so does its
    /// lock.
    fn all(mut self, events: &Receiver<Recorded>) -> Result<(), StoreError> {
        let mut done = Ok(());
        loop {
            let mut stage_ended = false;
            match events.recv_timeout(BEAT) {
                Ok(_) if done.is_err() => continue,
                Ok(recorded) => {
                    done = self.line(&recorded);
                    self.stale |= self.metrics.apply(recorded.time_ms, &recorded.event);
                    stage_ended = matches!(recorded.event, Event::StageFinished(_));
                }
                // Best effort: if it fails, the lock still shows that the run goes on.
                Err(RecvTimeoutError::Timeout) => drop(self.file.set_modified(SystemTime::now())),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if done.is_ok() && (stage_ended || self.written.elapsed() >= self.every) {
                done = self.table();
            }
        }
        done.and_then(|()| self.table())
    }

    /// Appends a line without buffering, so that it survives if the process is killed.
    fn line(&mut self, what: &impl Serialize) -> Result<(), StoreError> {
        let failed = StoreError::io("write", &self.path);
        let mut bytes = match serde_json::to_vec(what) {
            Ok(bytes) => bytes,
            Err(e) => return Err(failed(e.into())),
        };
        bytes.push(b'\n');
        self.file.write_all(&bytes).map_err(failed)
    }

    /// Replaces the table if it lacks something.
    fn table(&mut self) -> Result<(), StoreError> {
        if !self.stale {
            return Ok(());
        }
        let begin = Instant::now();
        self.metrics.write(&self.tmp, &self.table)?;
        self.stale = false;
        self.written = Instant::now();
        self.every = TABLE_EVERY.max(begin.elapsed() * TABLE_SHARE);
        Ok(())
    }
}

impl Recorded {
    fn now(event: &Event) -> Self {
        Recorded {
            time_ms: now_ms(),
            event: event.clone(),
        }
    }
}
