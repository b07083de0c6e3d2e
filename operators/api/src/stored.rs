//! Stored tables as operators open them: one or more Parquet files, checked before they are read.

use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use parquet::errors::{ParquetError, Result};
use rayon::prelude::*;

use crate::files;
use crate::table;
use crate::vector_table::CodesFolder;

/// An object of a table: a Parquet file with some of its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectFile {
    /// Parquet file.
    pub path: PathBuf,
    /// Number of rows.
    pub rows: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// BLAKE3 digest of the file's bytes, hex.
    pub digest: String,
    /// Where codes of its vectors are kept; `None` for a file outside a store.
    pub codes: Option<Arc<CodesFolder>>,
}

/// A table of an artifact, on disk. A large one consists of several objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFile {
    /// Table name.
    pub name: String,
    /// Number of rows.
    pub rows: u64,
    /// Size of all objects in bytes.
    pub bytes: u64,
    /// Digest of its content, hex: see [`digest_of`].
    pub digest: String,
    /// Its objects, in the order of the rows; never empty.
    pub objects: Vec<ObjectFile>,
}

/// A stored table whose bytes are not those that were written.
#[derive(Debug, thiserror::Error)]
#[error("{} is damaged: it does not have the content it is named by", path.display())]
pub struct DamagedTable {
    /// Its file.
    pub path: PathBuf,
}

/// The digest of a table with these objects, hex: that of a single object, and otherwise a digest
/// over the objects' digests.
pub fn digest_of<'a>(objects: impl IntoIterator<Item = &'a str>) -> String {
    let digests: Vec<&str> = objects.into_iter().collect();
    if let [digest] = digests.as_slice() {
        return (*digest).to_owned();
    }
    let mut hasher = blake3::Hasher::new_derive_key("gfm-pipe table of several objects");
    for digest in digests {
        hasher.update(digest.as_bytes());
        hasher.update(b"\n");
    }
    hasher.finalize().to_hex().to_string()
}

impl ObjectFile {
    /// Describes a file that was just written.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(path: &Path, rows: u64) -> io::Result<Self> {
        let file = files::open(path)?;
        Ok(ObjectFile {
            path: path.to_owned(),
            rows,
            bytes: file.metadata()?.len(),
            digest: files::digest(file)?,
            codes: None,
        })
    }

    /// Opens the file. Its bytes are compared with the digest first, so that a damaged object is
    /// never computed with or printed.
    ///
    /// # Errors
    /// When it cannot be read. The error contains a [`DamagedTable`] when its bytes are not what
    /// was written.
    pub fn open(&self) -> io::Result<File> {
        let mut file = files::open(&self.path)?;
        let whole = file.metadata()?.len() == self.bytes && files::digest(&file)? == self.digest;
        if !whole {
            let damaged = DamagedTable {
                path: self.path.clone(),
            };
            return Err(io::Error::new(io::ErrorKind::InvalidData, damaged));
        }
        file.rewind()?;
        Ok(file)
    }
}

impl TableFile {
    /// The table that consists of these objects.
    pub fn of(name: impl Into<String>, objects: Vec<ObjectFile>) -> Self {
        TableFile {
            name: name.into(),
            rows: objects.iter().map(|o| o.rows).sum(),
            bytes: objects.iter().map(|o| o.bytes).sum(),
            digest: digest_of(objects.iter().map(|o| o.digest.as_str())),
            objects,
        }
    }

    /// Compares all bytes with the digests.
    ///
    /// # Errors
    /// See [`ObjectFile::open`].
    pub fn check(&self) -> io::Result<()> {
        let objects = self.objects.par_iter();
        objects.try_for_each(|object| object.open().map(drop))
    }

    /// Reads the table batch by batch. Each object is checked, as by [`ObjectFile::open`], before
    /// its first row is returned.
    ///
    /// # Errors
    /// When the first object cannot be opened or is not a Parquet file. What is wrong with a later
    /// one is an error in the place of its rows.
    pub fn batches(&self) -> Result<TableReader> {
        TableReader::new(self, None, |object| Ok(object.open()?))
    }

    /// Like [`TableFile::batches`], with these columns only. The others are not decoded.
    ///
    /// # Errors
    /// See [`TableFile::batches`].
    pub fn batches_of(&self, columns: &[&str]) -> Result<TableReader> {
        let columns = columns.iter().map(|name| (*name).to_owned()).collect();
        TableReader::new(self, Some(columns), |object| Ok(object.open()?))
    }

    /// Like [`TableFile::batches`], for a table whose bytes the caller has just checked.
    ///
    /// # Errors
    /// See [`TableFile::batches`].
    pub fn batches_unchecked(&self) -> Result<TableReader> {
        TableReader::new(self, None, |object| table::open(&object.path))
    }
}

/// Reads the objects of a table one after another, in batches.
pub struct TableReader {
    schema: SchemaRef,
    current: ParquetRecordBatchReader,
    /// The objects behind the current one.
    rest: vec::IntoIter<ObjectFile>,
    /// The columns that are read; `None` for all.
    columns: Option<Vec<String>>,
    open: fn(&ObjectFile) -> Result<File>,
}

impl TableReader {
    fn new(
        table: &TableFile,
        columns: Option<Vec<String>>,
        open: fn(&ObjectFile) -> Result<File>,
    ) -> Result<Self> {
        let mut rest = table.objects.clone().into_iter();
        let none = || ParquetError::General(format!("table `{}` has no object", table.name));
        let first = rest.next().ok_or_else(none)?;
        let current = table::reader_of(open(&first)?, columns.as_deref())?;
        Ok(TableReader {
            schema: current.schema(),
            current,
            rest,
            columns,
            open,
        })
    }

    fn advance(&mut self, object: &ObjectFile) -> std::result::Result<(), ArrowError> {
        let reader = (self.open)(object)
            .and_then(|file| table::reader_of(file, self.columns.as_deref()))
            .map_err(|e| ArrowError::from_external_error(Box::new(e)))?;
        same_columns(&self.schema, &reader.schema(), &object.path)?;
        self.current = reader;
        Ok(())
    }
}

/// Checks that an object has the columns of its table.
pub(crate) fn same_columns(
    table: &SchemaRef,
    object: &SchemaRef,
    path: &Path,
) -> std::result::Result<(), ArrowError> {
    if table.fields() == object.fields() {
        return Ok(());
    }
    Err(ArrowError::SchemaError(format!(
        "{} has other columns than the objects before it",
        path.display()
    )))
}

impl Iterator for TableReader {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.current.next() {
                return Some(batch);
            }
            let object = self.rest.next()?;
            if let Err(e) = self.advance(&object) {
                // There is nothing to read behind an error.
                self.rest = Vec::new().into_iter();
                return Some(Err(e));
            }
        }
    }
}

impl RecordBatchReader for TableReader {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use arrow::array::{ArrayRef, UInt32Array};
    use arrow::compute::concat_batches;

    use super::*;
    use crate::parts::Parts;
    use crate::points::Points;
    use crate::{Artifact, columns, kinds};

    fn object(path: &Path, batch: &RecordBatch) -> ObjectFile {
        let file = File::create(path).unwrap();
        let mut writer = table::writer(file, batch.schema()).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
        ObjectFile::of(path, batch.num_rows() as u64).unwrap()
    }

    fn numbers(name: &str, numbers: &[u32]) -> RecordBatch {
        let column: ArrayRef = Arc::new(UInt32Array::from(numbers.to_vec()));
        RecordBatch::try_from_iter([(name, column)]).unwrap()
    }

    /// A table of three objects with 3, 1 and 2 rows.
    fn table_in(dir: &Path) -> TableFile {
        let parts: [&[u32]; 3] = [&[1, 2, 3], &[4], &[5, 6]];
        let object = |(at, part): (usize, &&[u32])| {
            object(&dir.join(format!("{at}.parquet")), &numbers("n", part))
        };
        TableFile::of("t", parts.iter().enumerate().map(object).collect())
    }

    #[test]
    fn objects_are_read_one_after_another() {
        let dir = tempfile::tempdir().unwrap();
        let table = table_in(dir.path());
        assert_eq!(table.rows, 6);
        table.check().unwrap();
        let some = table.batches_of(&["n", "m"]);
        for reader in [table.batches(), table.batches_unchecked(), some] {
            let reader = reader.unwrap();
            let schema = reader.schema();
            let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
            let all = concat_batches(&schema, &batches).unwrap();
            assert_eq!(all, numbers("n", &[1, 2, 3, 4, 5, 6]));
        }
        let parts = Parts::of(&table, "s.p.t".to_owned()).unwrap();
        assert_eq!(parts.rows(), [3, 1, 2]);
        let last: Vec<RecordBatch> = parts.batches(2).unwrap().map(Result::unwrap).collect();
        assert_eq!(last, [numbers("n", &[5, 6])]);
        assert!(parts.batches(3).is_err());
    }

    #[test]
    fn no_row_of_a_damaged_object_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let table = table_in(dir.path());
        let path = &table.objects[1].path;
        let mut bytes = fs::read(path).unwrap();
        bytes[9] ^= 1;
        fs::write(path, bytes).unwrap();
        let mut reader = table.batches().unwrap();
        assert_eq!(reader.next().unwrap().unwrap().num_rows(), 3);
        let e = reader.next().unwrap().unwrap_err().to_string();
        assert!(e.contains("1.parquet is damaged"), "{e}");
        assert!(reader.next().is_none());
        assert!(table.check().is_err());
        let e = Parts::of(&table, "s.p.t".to_owned()).err().unwrap();
        assert!(e.to_string().contains("1.parquet is damaged"), "{e}");
    }

    #[test]
    fn objects_with_other_columns_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut table = table_in(dir.path());
        table.objects[2] = object(&dir.path().join("other"), &numbers("m", &[5, 6]));
        let last = table.batches().unwrap().last().unwrap();
        let e = last.unwrap_err().to_string();
        assert!(e.contains("has other columns"), "{e}");
        assert!(Parts::of(&table, String::new()).is_err());
        table.objects.clear();
        assert!(table.batches().is_err() && Parts::of(&table, String::new()).is_err());
    }

    #[test]
    fn vectors_of_several_objects_are_one_list() {
        let dir = tempfile::tempdir().unwrap();
        let spec = &kinds::EMBEDDINGS.tables[0];
        let object = |name: &str, values: Vec<f32>| {
            let column = columns::build_vectors(2, values).unwrap();
            object(
                &dir.path().join(name),
                &columns::batch(spec, vec![column]).unwrap(),
            )
        };
        let objects = vec![
            object("a", vec![3.0, 4.0, 0.0, 2.0]),
            object("b", vec![5.0, 0.0]),
        ];
        let points = Points::read(&Artifact {
            kind: &kinds::EMBEDDINGS,
            name: "e.vectors".to_owned(),
            tables: vec![TableFile::of(spec.name, objects)],
        });
        assert_eq!(points.unwrap().rows(0, 3), [0.6, 0.8, 0.0, 1.0, 1.0, 0.0]);
    }
}
