//! Tables in parts that can be read at the same time.

use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use rayon::prelude::*;

use crate::error::{OpError, OpResult};
use crate::files::{self, Stamp};
use crate::stored::{ObjectFile, TableFile, same_columns};
use crate::table::batch_rows;

/// The parts of a stored table: the row groups of its objects.
pub struct Parts {
    schema: SchemaRef,
    objects: Vec<Object>,
    /// Of each part: its object, its row group there, and its number of rows.
    parts: Vec<(usize, usize, usize)>,
    /// `STAGE.PORT.TABLE`, for messages.
    name: String,
}

/// An object whose bytes have been checked.
struct Object {
    path: PathBuf,
    /// How the file was when its content was checked.
    checked: Stamp,
    metadata: ArrowReaderMetadata,
}

impl Object {
    fn check(object: &ObjectFile, name: &str) -> OpResult<Object> {
        let file = object.open().map_err(|e| broken(name, e))?;
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new());
        let checked = file.metadata().map(|meta| Stamp::of(&meta));
        Ok(Object {
            path: object.path.clone(),
            checked: checked.map_err(|e| broken(name, e))?,
            metadata: metadata.map_err(|e| broken(name, e))?,
        })
    }
}

impl Parts {
    /// The parts of a table, all of whose bytes are checked first. A file is opened again for each
    /// part, because readers of one open file share its position.
    ///
    /// # Errors
    /// When it is damaged, or not a Parquet file.
    pub fn of(table: &TableFile, name: String) -> OpResult<Parts> {
        let objects = table.objects.par_iter().map(|o| Object::check(o, &name));
        let objects = objects.collect::<OpResult<Vec<_>>>()?;
        let Some(first) = objects.first() else {
            let problem = ParquetError::General("it has no object".to_owned());
            return Err(broken(&name, problem));
        };
        let schema = SchemaRef::clone(first.metadata.schema());
        let mut parts = Vec::new();
        for (at, object) in objects.iter().enumerate() {
            same_columns(&schema, object.metadata.schema(), &object.path)
                .map_err(|e| broken(&name, e))?;
            let groups = object.metadata.metadata().row_groups().iter();
            let rows = groups.map(|group| usize::try_from(group.num_rows()).unwrap_or(0));
            parts.extend(rows.enumerate().map(|(group, rows)| (at, group, rows)));
        }
        Ok(Parts {
            schema,
            objects,
            parts,
            name,
        })
    }

    /// Columns of the table.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Number of rows of each part, in the order of the table.
    pub fn rows(&self) -> Vec<usize> {
        self.parts.iter().map(|(.., rows)| *rows).collect()
    }

    /// Reads a part in batches.
    ///
    /// # Errors
    /// When the file cannot be read, has changed since it was checked, or has no such part.
    pub fn batches(&self, part: usize) -> OpResult<impl Iterator<Item = OpResult<RecordBatch>>> {
        let none = || self.broken(ParquetError::General(format!("it has no part {part}")));
        let (at, group, _) = *self.parts.get(part).ok_or_else(none)?;
        let object = &self.objects[at];
        let file = files::open(&object.path).map_err(|e| self.broken(e))?;
        let stamp = file.metadata().map(|meta| Stamp::of(&meta));
        let stamp = stamp.map_err(|e| self.broken(e))?;
        if let Some(how) = object.checked.difference(&stamp) {
            let problem = format!("{}: {how} while it was read", object.path.display());
            return Err(self.broken(ParquetError::General(problem)));
        }
        let metadata = object.metadata.clone();
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
            .with_batch_size(batch_rows(self.schema()))
            .with_row_groups(vec![group])
            .build()
            .map_err(|e| self.broken(e))?;
        Ok(reader.map(|batch| batch.map_err(|e| self.broken(e))))
    }

    /// The name of the table, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn broken(&self, e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OpError {
        broken(&self.name, e)
    }
}

/// The error for a table, `STAGE.PORT.TABLE`, that cannot be read.
pub(crate) fn broken(
    table: &str,
    e: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> OpError {
    OpError::wrap("failed to read the table", e).artifact(table)
}
