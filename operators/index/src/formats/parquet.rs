//! Reads the rows of a Parquet file in batches, and only the two columns that are needed.
//!
//! The library has panicked on damaged files before. Here, a panic is a fault of the file.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use gfm_pipe_api::{OpResult, files, table};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::Fault;

/// Rows that are read at once: even texts of a megabyte each fit a column.
const ROWS: usize = 1024;

/// A row: its number, and the title and text where they have a value.
pub type Row = (u64, Option<String>, Option<String>);

/// Reads the file's rows.
///
/// # Errors
/// The errors of `each`.
pub fn read(
    path: &Path,
    title: &str,
    text: &str,
    each: &mut dyn FnMut(Result<Row, Fault>) -> OpResult<()>,
) -> OpResult<()> {
    let mut reader = match guarded(|| open(path, title, text)) {
        Ok(reader) => reader,
        Err(reason) => return each(Err(Fault::file(reason))),
    };
    let mut first = 0u64;
    loop {
        let next = guarded(|| match reader.next() {
            None => Ok(None),
            Some(batch) => Ok(Some(columns(
                &batch.map_err(|e| damaged(&e))?,
                title,
                text,
            )?)),
        });
        let rows = match next {
            Ok(None) => return Ok(()),
            Ok(Some(rows)) => rows,
            Err(reason) => {
                let reason = format!("rows from {first} on cannot be read: {reason}");
                return each(Err(Fault::file(reason)));
            }
        };
        for (title, text) in rows {
            each(Ok((first, title, text)))?;
            first += 1;
        }
    }
}

fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err("the file is damaged: its reader gave up".to_owned()))
}

fn damaged(e: &dyn std::fmt::Display) -> String {
    format!("the file cannot be read as Parquet: {e}")
}

fn open(path: &Path, title: &str, text: &str) -> Result<ParquetRecordBatchReader, String> {
    files::metadata(path).map_err(|e| format!("failed to read: {e}"))?;
    let file = table::open(path).map_err(|e| damaged(&e))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| damaged(&e))?;
    let schema = builder.schema().clone();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    if !names.contains(&text) {
        return Err(format!(
            "there is no column `{text}`; there are: {}",
            names.join(", ")
        ));
    }
    let wanted = [title, text];
    let roots = (0..names.len()).filter(|i| wanted.contains(&names[*i]));
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let builder = builder.with_projection(mask).with_batch_size(ROWS);
    builder.build().map_err(|e| damaged(&e))
}

type Texts = Vec<Option<String>>;
/// Pairs of title and text.
type Pairs = Vec<(Option<String>, Option<String>)>;

fn columns(batch: &RecordBatch, title: &str, text: &str) -> Result<Pairs, String> {
    let texts = column(batch, text)?;
    let titles = match batch.column_by_name(title) {
        Some(_) => column(batch, title)?,
        None => vec![None; texts.len()],
    };
    Ok(titles.into_iter().zip(texts).collect())
}

/// Reads a column as texts, from a dictionary or any type of text. Titles may be whole numbers.
fn column(batch: &RecordBatch, name: &str) -> Result<Texts, String> {
    let array = batch
        .column_by_name(name)
        .ok_or_else(|| format!("there is no column `{name}`"))?;
    let is_text = |ty: &DataType| match ty {
        DataType::Dictionary(_, values) => matches!(
            **values,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        ),
        ty => {
            matches!(
                ty,
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null
            ) || ty.is_integer()
        }
    };
    if !is_text(array.data_type()) {
        return Err(format!(
            "column `{name}` holds {}, not text",
            array.data_type()
        ));
    }
    // A wide type, because a batch of long texts may not fit 32-bit offsets.
    let array = cast(array, &DataType::LargeUtf8).map_err(|e| damaged(&e))?;
    let texts = array.as_string::<i64>();
    Ok(texts.iter().map(|t| t.map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, DictionaryArray, Float64Array, LargeStringArray, StringArray, UInt32Array,
    };
    use arrow::datatypes::Int32Type;
    use parquet::arrow::ArrowWriter;
    use parquet::basic::Compression;
    use parquet::file::properties::WriterProperties;
    use proptest::prelude::*;

    fn file(
        dir: &Path,
        columns: Vec<(&str, ArrayRef)>,
        compression: Compression,
    ) -> std::path::PathBuf {
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(n, c)| (n, c, true)),
        )
        .unwrap();
        let path = dir.join("x.parquet");
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .build();
        let out = fs::File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(out, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        path
    }

    fn lines(path: &Path) -> Vec<String> {
        let mut out = Vec::new();
        read(path, "title", "text", &mut |row| {
            out.push(match row {
                Ok((n, title, text)) => format!("{n} {title:?} {text:?}"),
                Err(fault) => fault.reason,
            });
            Ok(())
        })
        .unwrap();
        out
    }

    #[test]
    fn texts_of_every_width_are_read_whatever_compresses_them() {
        let dir = tempfile::tempdir().unwrap();
        let plain: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None]));
        let large: ArrayRef = Arc::new(LargeStringArray::from(vec![Some("x"), None]));
        let dictionary: DictionaryArray<Int32Type> = vec![Some("x"), None].into_iter().collect();
        for text in [plain, large, Arc::new(dictionary)] {
            for compression in [
                Compression::UNCOMPRESSED,
                Compression::SNAPPY,
                Compression::ZSTD(Default::default()),
            ] {
                let numbers: ArrayRef = Arc::new(UInt32Array::from(vec![1984, 7]));
                let other: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 0.5]));
                let columns = vec![("title", numbers), ("other", other), ("text", text.clone())];
                let path = file(dir.path(), columns, compression);
                assert_eq!(
                    lines(&path),
                    ["0 Some(\"1984\") Some(\"x\")", "1 Some(\"7\") None"]
                );
            }
        }
    }

    #[test]
    fn files_without_texts_say_what_they_have() {
        let dir = tempfile::tempdir().unwrap();
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.5]));
        let path = file(
            dir.path(),
            vec![("body", floats.clone())],
            Compression::SNAPPY,
        );
        assert_eq!(lines(&path), ["there is no column `text`; there are: body"]);
        let path = file(dir.path(), vec![("text", floats)], Compression::SNAPPY);
        assert_eq!(
            lines(&path),
            ["rows from 0 on cannot be read: column `text` holds Float64, not text"]
        );
        assert!(lines(&dir.path().join("none.parquet"))[0].starts_with("failed to read"));
    }

    #[test]
    fn many_rows_keep_their_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(
            (0..3000).map(|i| format!("t{i}")),
        ));
        let got = lines(&file(
            dir.path(),
            vec![("text", texts)],
            Compression::SNAPPY,
        ));
        assert_eq!(
            (got.len(), got[2999].as_str()),
            (3000, "2999 None Some(\"t2999\")")
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damage_is_a_fault_and_never_a_panic(at in 0usize..600, with in any::<u8>(), cut in 0usize..600) {
            let dir = tempfile::tempdir().unwrap();
            let texts: ArrayRef = Arc::new(StringArray::from(vec!["one", "two", "three"]));
            let path = file(dir.path(), vec![("text", texts)], Compression::SNAPPY);
            let mut bytes = fs::read(&path).unwrap();
            let at = at % bytes.len();
            bytes[at] = with;
            if cut < 100 {
                bytes.truncate(cut);
            }
            fs::write(&path, bytes).unwrap();
            lines(&path);
        }
    }
}
