//! Writes the rows of a table into one object, or into several if there are many.
//!
//! Nobody knows how large a table will be when it begins. So its batches are held in memory until
//! it is known whether it is one object. Then they are written as they came, as they always were.
//! The rows of a larger table are gathered into batches that depend on the rows alone, so that the
//! same rows make the same objects whatever the batches that an operator writes.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use fail::fail_point;
use gfm_pipe_api::{OpError, OpResult, TableSink, table};
use parquet::arrow::ArrowWriter;

use super::atomic::TempFile;
use super::content;
use super::cut::{Cuts, Cutter};
use super::entry::ObjectEntry;
use super::hashing::HashingFile;
use super::layout::Store;
use super::object::{Pending, State, Tables, locked};
use super::sound::{Found, Look};

/// Rows that are hashed at once.
const HASHED: usize = 4096;

/// Size of the rows that are given to the encoder at once. A part of the format, as [`Cuts`] is.
const GATHERED: u64 = 8 << 20;

/// Rows that wait to be given to the encoder.
struct Gathered {
    cutter: Cutter,
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: u64,
    /// Number of rows that are given to the encoder at once, even if they are small.
    most_rows: usize,
}

/// A table that an operator writes.
pub(super) struct ObjectSink {
    store: Store,
    schema: SchemaRef,
    key: (String, String),
    tables: Tables,
    cuts: Cuts,
    /// The table so far, as long as it may be one object.
    held: Vec<RecordBatch>,
    held_bytes: u64,
    /// Since the table is too large for one object.
    gathered: Option<Gathered>,
    /// Of the object that is being written.
    writer: Option<ArrowWriter<HashingFile>>,
    /// Number of rows in it.
    rows: u64,
    /// Objects that are complete.
    complete: Vec<Pending>,
}

impl ObjectSink {
    /// Starts the table with its first file.
    pub(super) fn start(
        store: &Store,
        cuts: Cuts,
        schema: SchemaRef,
        key: (String, String),
        tables: Tables,
    ) -> OpResult<Self> {
        let temp = TempFile::create(&store.tmp()).map_err(|e| {
            OpError::wrap("failed to start the table", e).artifact(format!("{}.{}", key.0, key.1))
        })?;
        fail_point!("object-created");
        let writer = table::writer(HashingFile::new(temp), Arc::clone(&schema))?;
        Ok(ObjectSink {
            store: store.clone(),
            schema,
            key,
            tables,
            cuts,
            held: Vec::new(),
            held_bytes: 0,
            gathered: None,
            writer: Some(writer),
            rows: 0,
            complete: Vec::new(),
        })
    }

    fn failed(&self, e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OpError {
        OpError::wrap("failed to write the table", e)
            .artifact(format!("{}.{}", self.key.0, self.key.1))
    }

    /// Keeps a batch until it is known whether the table is one object.
    fn hold(&mut self, batch: &RecordBatch) -> OpResult<()> {
        let sizes = chunks(batch).flat_map(|chunk| content::rows(&chunk));
        self.held_bytes += sizes.map(|row| row.bytes).sum::<u64>();
        self.held.push(batch.clone());
        if self.held_bytes < self.cuts.whole {
            return Ok(());
        }
        self.gathered = Some(Gathered {
            cutter: Cutter::new(self.cuts),
            batches: Vec::new(),
            rows: 0,
            bytes: 0,
            most_rows: table::batch_rows(&self.schema),
        });
        for batch in std::mem::take(&mut self.held) {
            self.cut(&batch)?;
        }
        Ok(())
    }

    /// Takes the rows of a batch, and ends objects where the table is cut.
    fn cut(&mut self, batch: &RecordBatch) -> OpResult<()> {
        for chunk in chunks(batch) {
            let mut first = 0;
            for (at, row) in content::rows(&chunk).into_iter().enumerate() {
                let Some(gathered) = &mut self.gathered else {
                    break;
                };
                gathered.rows += 1;
                gathered.bytes += row.bytes;
                let ends = gathered.cutter.ends_behind(row);
                let full = gathered.rows >= gathered.most_rows || gathered.bytes >= GATHERED;
                if ends || full {
                    gathered.batches.push(chunk.slice(first, at + 1 - first));
                    first = at + 1;
                    self.encode()?;
                }
                if ends {
                    self.end_object()?;
                }
            }
            if let Some(gathered) = &mut self.gathered
                && first < chunk.num_rows()
            {
                let rest = chunk.slice(first, chunk.num_rows() - first);
                gathered.batches.push(rest);
            }
        }
        Ok(())
    }

    /// Passes the gathered rows to the encoder.
    fn encode(&mut self) -> OpResult<()> {
        let Some(gathered) = &mut self.gathered else {
            return Ok(());
        };
        (gathered.rows, gathered.bytes) = (0, 0);
        let batches = std::mem::take(&mut gathered.batches);
        match batches.as_slice() {
            [] => Ok(()),
            [batch] => self.append(batch),
            _ => {
                let all = concat_batches(&self.schema, &batches);
                self.append(&all.map_err(|e| self.failed(e))?)
            }
        }
    }

    /// Writes rows to the current object, or to a new one behind a cut.
    fn append(&mut self, batch: &RecordBatch) -> OpResult<()> {
        if self.writer.is_none() {
            let owner = self
                .complete
                .first()
                .and_then(|object| object.temp.as_ref());
            let temp = match owner {
                Some(owner) => owner.companion(),
                None => TempFile::create(&self.store.tmp()),
            };
            let temp = temp.map_err(|e| self.failed(e))?;
            fail_point!("object-created");
            self.writer = Some(table::writer(
                HashingFile::new(temp),
                Arc::clone(&self.schema),
            )?);
        }
        if let Some(writer) = &mut self.writer
            && let Err(e) = writer.write(batch)
        {
            return Err(self.failed(e));
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn end_object(&mut self) -> OpResult<()> {
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        let file = writer.into_inner().map_err(|e| self.failed(e))?;
        let (mut temp, digest, bytes) = file.finish().map_err(|e| self.failed(e))?;
        fail_point!("object-hashed");
        let entry = ObjectEntry {
            digest,
            rows: std::mem::take(&mut self.rows),
            bytes,
        };
        // The file of the first object stays open: its lock says that the others are in use.
        let temp = if self.complete.is_empty() {
            Some(temp)
        } else if matches!(
            self.store.check(&entry.digest, entry.bytes, Look::Stamp),
            Ok(Found::Sound)
        ) {
            // An unchanged part of the table. Its file is removed before it reaches the disk.
            None
        } else {
            temp.close().map_err(|e| self.failed(e))?;
            Some(temp)
        };
        let pending = self.complete.iter().filter_map(|p| p.temp.as_ref());
        pending.for_each(TempFile::renew);
        self.complete.push(Pending { temp, entry });
        Ok(())
    }
}

/// A batch in chunks of rows that are hashed at once.
fn chunks(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let starts = (0..batch.num_rows()).step_by(HASHED);
    starts.map(|at| batch.slice(at, HASHED.min(batch.num_rows() - at)))
}

impl TableSink for ObjectSink {
    fn write(&mut self, batch: &RecordBatch) -> OpResult<()> {
        if batch.schema_ref().fields() != self.schema.fields() {
            return Err(self.failed(format!(
                "a batch has the columns {:?}, the table was started with {:?}",
                batch.schema_ref().fields(),
                self.schema.fields()
            )));
        }
        if self.gathered.is_some() {
            self.cut(batch)
        } else {
            self.hold(batch)
        }
    }

    fn finish(mut self: Box<Self>) -> OpResult<()> {
        for batch in std::mem::take(&mut self.held) {
            self.append(&batch)?;
        }
        self.encode()?;
        self.end_object()?;
        let complete = std::mem::take(&mut self.complete);
        locked(&self.tables).insert(self.key.clone(), State::Done(complete));
        Ok(())
    }
}

impl Drop for ObjectSink {
    fn drop(&mut self) {
        // Not finished: the temporary files are removed with the writer, and the table may be
        // started again.
        let mut tables = locked(&self.tables);
        if matches!(tables.get(&self.key), Some(State::Open)) {
            tables.remove(&self.key);
        }
    }
}
