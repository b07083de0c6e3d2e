//! Tables in parts that can be read at the same time.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;

use crate::error::{OpError, OpResult};
use crate::files::{self, Stamp};
use crate::table::batch_rows;

/// The parts of a stored table: its row groups.
pub struct Parts {
    path: PathBuf,
    /// How the file was when its content was checked.
    checked: Stamp,
    metadata: ArrowReaderMetadata,
    /// `STAGE.PORT.TABLE`, for messages.
    name: String,
}

impl Parts {
    /// The parts of the Parquet file at `path`, which is open and has been checked. It is opened
    /// again for each part, because readers of one open file share its position.
    ///
    /// # Errors
    /// When it is not a Parquet file.
    pub fn of(file: &File, path: &Path, name: String) -> OpResult<Parts> {
        let metadata = ArrowReaderMetadata::load(file, ArrowReaderOptions::new());
        let checked = file.metadata().map(|meta| Stamp::of(&meta));
        Ok(Parts {
            path: path.to_owned(),
            checked: checked.map_err(|e| broken(&name, e))?,
            metadata: metadata.map_err(|e| broken(&name, e))?,
            name,
        })
    }

    /// Columns of the table.
    pub fn schema(&self) -> &Schema {
        self.metadata.schema()
    }

    /// Number of rows of each part, in the order of the table.
    pub fn rows(&self) -> Vec<usize> {
        let parts = self.metadata.metadata().row_groups().iter();
        let rows = parts.map(|part| usize::try_from(part.num_rows()).unwrap_or(0));
        rows.collect()
    }

    /// Reads a part in batches.
    ///
    /// # Errors
    /// When the file cannot be read, has changed since it was checked, or has no such part.
    pub fn batches(&self, part: usize) -> OpResult<impl Iterator<Item = OpResult<RecordBatch>>> {
        let file = files::open(&self.path).map_err(|e| self.broken(e))?;
        let stamp = file.metadata().map(|meta| Stamp::of(&meta));
        if let Some(how) = self.checked.difference(&stamp.map_err(|e| self.broken(e))?) {
            let problem = format!("{}: {how} while it was read", self.path.display());
            return Err(self.broken(ParquetError::General(problem)));
        }
        let reader =
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
                .with_batch_size(batch_rows(self.schema()))
                .with_row_groups(vec![part])
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
