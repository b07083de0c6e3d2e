//! Writes a large table in a thread of its own, so that the operator can go on with the next rows
//! while earlier ones are compressed and hashed.
//!
//! One thread writes a table, in the order in which its batches came, so its bytes are the same as
//! without it. Most tables are small and never get one.

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use arrow::array::RecordBatch;
use gfm_pipe_api::{OpError, OpResult, TableSink};

use super::sink::ObjectSink;

/// Number of batches that may wait for the thread. More would only take memory.
const WAITING: usize = 2;

/// A table that an operator writes.
pub(super) struct BackgroundSink(State);

enum State {
    /// The table is small, or there is one thread for everything.
    Here(Box<ObjectSink>),
    There(Writer),
    /// Writing failed, or the table is complete.
    Ended,
}

/// The thread that writes a table.
struct Writer {
    /// `None` once there are no more batches.
    batches: Option<SyncSender<RecordBatch>>,
    thread: Option<JoinHandle<OpResult<Box<ObjectSink>>>>,
}

impl Writer {
    fn start(sink: Box<ObjectSink>) -> OpResult<Self> {
        let (batches, received) = sync_channel(WAITING);
        let thread = thread::Builder::new().name("gfm-pipe-table".to_owned());
        let thread = thread.spawn(|| write_all(sink, received));
        let thread = thread.map_err(|e| {
            OpError::wrap("failed to start a thread that writes a table", e)
                .hint("raise the limit of processes of this user (`ulimit -u`)")
        })?;
        Ok(Writer {
            batches: Some(batches),
            thread: Some(thread),
        })
    }

    /// Waits until all batches are written. `None` if that was waited for before.
    fn join(&mut self) -> Option<thread::Result<OpResult<Box<ObjectSink>>>> {
        self.batches = None;
        self.thread.take().map(JoinHandle::join)
    }

    /// As [`Writer::join`], and returns the table.
    fn end(mut self) -> OpResult<Box<ObjectSink>> {
        match self.join() {
            Some(Ok(sink)) => sink,
            // As if the operator itself had panicked.
            Some(Err(panic)) => resume_unwind(panic),
            None => Err(OpError::internal("a table is written after its end")),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // So that no file of the table is left when the stage has ended. How writing ended no
        // longer matters.
        drop(self.join());
    }
}

fn write_all(
    mut sink: Box<ObjectSink>,
    batches: Receiver<RecordBatch>,
) -> OpResult<Box<ObjectSink>> {
    for batch in batches {
        sink.write(&batch)?;
    }
    Ok(sink)
}

impl BackgroundSink {
    pub(super) fn new(sink: ObjectSink) -> Self {
        BackgroundSink(State::Here(Box::new(sink)))
    }
}

impl TableSink for BackgroundSink {
    fn write(&mut self, batch: &RecordBatch) -> OpResult<()> {
        match std::mem::replace(&mut self.0, State::Ended) {
            State::Here(mut sink) => {
                sink.write(batch)?;
                self.0 = if sink.takes_time() && rayon::current_num_threads() > 1 {
                    State::There(Writer::start(sink)?)
                } else {
                    State::Here(sink)
                };
                Ok(())
            }
            State::There(writer) => {
                let sent = writer.batches.as_ref().map(|to| to.send(batch.clone()));
                if matches!(sent, Some(Ok(()))) {
                    self.0 = State::There(writer);
                    return Ok(());
                }
                // The thread has ended, which it does before the last batch only if it failed.
                let ended = || OpError::internal("a thread that writes a table ended too early");
                Err(writer.end().err().unwrap_or_else(ended))
            }
            State::Ended => Err(OpError::internal("a table is written after its end")),
        }
    }

    fn finish(mut self: Box<Self>) -> OpResult<()> {
        match std::mem::replace(&mut self.0, State::Ended) {
            State::Here(sink) => sink.finish(),
            State::There(writer) => writer.end()?.finish(),
            State::Ended => Err(OpError::internal("a table is completed after its end")),
        }
    }
}
