//! Writes tables to Parquet files and reads them back; everything that does so goes through here.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::Result;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::nesting;

/// Rows per batch when reading.
pub const BATCH_ROWS: usize = 65_536;

/// Approximate size of a row group in bytes. The writer holds one row group in memory, and a
/// million vectors take about a gigabyte.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// A Parquet writer with the project's settings: zstd, and bytes that depend only on the batches
/// written.
///
/// # Errors
/// When the schema has no Parquet form or writing the file's head fails.
pub fn writer<W: Write + Send>(sink: W, schema: SchemaRef) -> Result<ArrowWriter<W>> {
    let props = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_created_by("gfm-pipe table format 1".to_owned())
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .build();
    ArrowWriter::try_new(sink, schema, Some(props))
}

/// Opens a Parquet file for reading in batches. Tables of the store are opened by
/// [`crate::TableFile::batches`], which checks their bytes.
///
/// # Errors
/// When the file cannot be opened, is not a Parquet file, or nests its columns too deep.
pub fn reader(path: &Path) -> Result<ParquetRecordBatchReader> {
    reader_of(open(path)?)
}

/// Opens a Parquet file from any source and checks that its columns are not nested too deep to read
/// safely.
///
/// # Errors
/// When the file cannot be opened, is not a Parquet file, or nests its columns too deep.
pub fn open(path: &Path) -> Result<File> {
    let mut file = crate::files::open(path)?;
    nesting::check(&mut file)?;
    Ok(file)
}

/// Reads an open Parquet file in batches.
///
/// # Errors
/// When it is not a Parquet file.
pub fn reader_of(file: File) -> Result<ParquetRecordBatchReader> {
    ParquetRecordBatchReaderBuilder::try_new(file)?
        .with_batch_size(BATCH_ROWS)
        .build()
}
