//! Writes the objects of a table one after another.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use fail::fail_point;
use gfm_pipe_api::{OpError, OpResult, table};
use parquet::arrow::ArrowWriter;

use super::atomic::TempFile;
use super::entry::{MadeOf, ObjectEntry};
use super::hashing::HashingFile;
use super::layout::Store;
use super::object::{Pending, State, Tables, locked};
use super::sound::{Found, Look};

/// The objects of a table that is being written. Dropped before [`ObjectWriter::finish`], it leaves
/// nothing.
pub(super) struct ObjectWriter {
    store: Store,
    schema: SchemaRef,
    key: (String, String),
    tables: Tables,
    /// Of the object that is being written.
    writer: Option<ArrowWriter<HashingFile>>,
    /// Number of rows in it.
    rows: u64,
    /// Objects that are complete.
    complete: Vec<Pending>,
}

impl ObjectWriter {
    /// No object yet. The table is one of `tables`, by port and name.
    pub(super) fn new(
        store: &Store,
        schema: SchemaRef,
        key: (String, String),
        tables: Tables,
    ) -> Self {
        ObjectWriter {
            store: store.clone(),
            schema,
            key,
            tables,
            writer: None,
            rows: 0,
            complete: Vec::new(),
        }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Port and name of the table.
    pub(super) fn key(&self) -> &(String, String) {
        &self.key
    }

    pub(super) fn failed(&self, e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OpError {
        OpError::wrap("failed to write the table", e)
            .artifact(format!("{}.{}", self.key.0, self.key.1))
    }

    /// Checks that a batch has the table's columns.
    pub(super) fn check(&self, batch: &RecordBatch) -> OpResult<()> {
        if batch.schema_ref().fields() == self.schema.fields() {
            return Ok(());
        }
        Err(self.failed(format!(
            "a batch has the columns {:?}, the table was started with {:?}",
            batch.schema_ref().fields(),
            self.schema.fields()
        )))
    }

    /// Begins the next object.
    pub(super) fn begin(&mut self) -> OpResult<()> {
        let owner = self.complete.iter().find_map(|p| p.temp.as_ref());
        let temp = match owner {
            Some(owner) => owner.companion(),
            None => TempFile::create(&self.store.tmp()),
        };
        let temp = temp.map_err(|e| {
            OpError::wrap("failed to start the table", e)
                .artifact(format!("{}.{}", self.key.0, self.key.1))
        })?;
        fail_point!("object-created");
        let schema = Arc::clone(&self.schema);
        self.writer = Some(table::writer(HashingFile::new(temp), schema)?);
        Ok(())
    }

    /// Writes rows to the current object, or to a new one behind a cut.
    pub(super) fn append(&mut self, batch: &RecordBatch) -> OpResult<()> {
        if self.writer.is_none() {
            self.begin()?;
        }
        if let Some(writer) = &mut self.writer
            && let Err(e) = writer.write(batch)
        {
            return Err(self.failed(e));
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Ends the current object, if one was begun.
    pub(super) fn end(&mut self) -> OpResult<()> {
        self.end_made_of(None)
    }

    /// Ends the current object, whose rows were made of known sources.
    pub(super) fn end_made_of(&mut self, made_of: Option<MadeOf>) -> OpResult<()> {
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
            made_of,
        };
        // The first file stays open: its lock says that the others are in use.
        let temp = if self.complete.iter().all(|object| object.temp.is_none()) {
            Some(temp)
        } else if self.has(&entry) {
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

    /// Takes over an object that was stored earlier, if it is still there. Returns whether it is.
    pub(super) fn take_over(&mut self, entry: &ObjectEntry) -> bool {
        let there = self.has(entry);
        if there {
            let (temp, entry) = (None, entry.clone());
            self.complete.push(Pending { temp, entry });
        }
        there
    }

    /// Whether the store has an object, undamaged.
    fn has(&self, entry: &ObjectEntry) -> bool {
        matches!(
            self.store.check(&entry.digest, entry.bytes, Look::Stamp),
            Ok(Found::Sound)
        )
    }

    /// Whether the table has an object.
    pub(super) fn has_objects(&self) -> bool {
        !self.complete.is_empty()
    }

    /// The table consists of the objects that were ended.
    pub(super) fn finish(mut self) {
        let complete = std::mem::take(&mut self.complete);
        locked(&self.tables).insert(self.key.clone(), State::Done(complete));
    }
}

impl Drop for ObjectWriter {
    fn drop(&mut self) {
        // Not finished: the temporary files are removed with the writer, and the table may be
        // started again.
        let mut tables = locked(&self.tables);
        if matches!(tables.get(&self.key), Some(State::Open)) {
            tables.remove(&self.key);
        }
    }
}
