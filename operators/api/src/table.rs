//! Writes tables to Parquet files and reads them back; everything that does so goes through here.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::Result;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::nesting;

/// Most rows of a batch when reading.
pub const BATCH_ROWS: usize = 65_536;

/// Most bytes of the vectors of a batch when reading. Larger batches are slower: the system takes
/// their memory back each time, and must clear it again.
const BATCH_BYTES: usize = 8 << 20;

/// Approximate size of a row group in bytes. The writer holds one row group in memory, and a
/// million vectors take about a gigabyte.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// A Parquet writer with the project's settings: zstd, and bytes that depend only on the batches
/// written.
///
/// # Errors
/// When the schema has no Parquet form or writing the file's head fails.
pub fn writer<W: Write + Send>(sink: W, schema: SchemaRef) -> Result<ArrowWriter<W>> {
    let mut props = WriterProperties::builder();
    // Compressed vectors are hardly smaller, and reading and writing them is several times as slow.
    for path in vectors(&schema)? {
        props = props
            .set_column_compression(path.clone(), Compression::UNCOMPRESSED)
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    let props = props
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_created_by("gfm-pipe table format 1".to_owned())
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .build();
    ArrowWriter::try_new(sink, schema, Some(props))
}

/// The columns that hold the numbers of vectors.
fn vectors(schema: &Schema) -> Result<Vec<ColumnPath>> {
    let is_vector = |field: &Arc<Field>| match field.data_type() {
        DataType::FixedSizeList(item, _) => *item.data_type() == DataType::Float32,
        _ => false,
    };
    let vectors = schema.fields().iter().filter(|field| is_vector(field));
    let vectors = Schema::new(vectors.cloned().collect::<Vec<_>>());
    let leaves = ArrowSchemaConverter::new().convert(&vectors)?;
    let paths = leaves.columns().iter().map(|leaf| leaf.path().clone());
    Ok(paths.collect())
}

/// Opens a Parquet file for reading in batches. Tables of the store are opened by
/// [`crate::TableFile::batches`], which checks their bytes.
///
/// # Errors
/// When the file cannot be opened, is not a Parquet file, or nests its columns too deep.
pub fn reader(path: &Path) -> Result<ParquetRecordBatchReader> {
    reader_of(open(path)?, None)
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

/// Reads an open Parquet file in batches: all columns, or those of these names that it has.
///
/// # Errors
/// When it is not a Parquet file.
pub fn reader_of(file: File, columns: Option<&[String]>) -> Result<ParquetRecordBatchReader> {
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let rows = batch_rows(reader.schema());
    if let Some(columns) = columns {
        let wanted = reader.schema().fields().iter().enumerate();
        let wanted = wanted.filter(|(_, field)| columns.contains(field.name()));
        let wanted: Vec<usize> = wanted.map(|(place, _)| place).collect();
        let wanted = ProjectionMask::roots(reader.parquet_schema(), wanted);
        reader = reader.with_projection(wanted);
    }
    reader.with_batch_size(rows).build()
}

/// Number of rows of a batch.
pub fn batch_rows(schema: &Schema) -> usize {
    let bytes = |field: &Arc<Field>| match field.data_type() {
        DataType::FixedSizeList(_, length) => usize::try_from(*length).unwrap_or(0) * 4,
        _ => 0,
    };
    let of_row: usize = schema.fields().iter().map(bytes).sum();
    (BATCH_BYTES / of_row.max(1)).clamp(1, BATCH_ROWS)
}
