//! Artifacts as operators read them: named tables in Parquet files.

use std::fs::File;
use std::io::{self, Seek};
use std::path::PathBuf;

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use crate::columns;
use crate::error::{OpError, OpResult};
use crate::files;
use crate::kind::Kind;
use crate::parts::{Parts, broken};
use crate::table;

/// One table of an artifact, on disk.
#[derive(Debug, Clone)]
pub struct TableFile {
    /// Table name.
    pub name: String,
    /// Parquet file.
    pub path: PathBuf,
    /// Number of rows.
    pub rows: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// BLAKE3 digest of the file's bytes, hex.
    pub digest: String,
}

/// A stored table whose bytes are not those that were written.
#[derive(Debug, thiserror::Error)]
#[error("{} is damaged: it does not have the content it is named by", path.display())]
pub struct DamagedTable {
    /// Its file.
    pub path: PathBuf,
}

impl TableFile {
    /// Opens the file. Its bytes are compared with the digest first, so that a damaged table is
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

    /// Reads the table batch by batch, after the check of [`TableFile::open`].
    ///
    /// # Errors
    /// See [`TableFile::open`]; and when it is not a Parquet file.
    pub fn batches(&self) -> parquet::errors::Result<ParquetRecordBatchReader> {
        table::reader_of(self.open()?)
    }
}

/// The tables that a port returned, of a known kind.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Its kind.
    pub kind: &'static Kind,
    /// `STAGE.PORT`, for messages.
    pub name: String,
    /// Its tables, in the kind's order.
    pub tables: Vec<TableFile>,
}

impl Artifact {
    /// Digest over the tables' digests, hex: equal digests mean equal content.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.kind.name.as_bytes());
        for t in &self.tables {
            hasher.update(b"\0");
            hasher.update(t.name.as_bytes());
            hasher.update(b"\0");
            hasher.update(t.digest.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The file of a table.
    ///
    /// # Errors
    /// When the artifact has no such table.
    pub fn file(&self, table: &str) -> OpResult<&TableFile> {
        self.tables.iter().find(|t| t.name == table).ok_or_else(|| {
            OpError::internal(format!("artifact has no table `{table}`")).artifact(&self.name)
        })
    }

    /// Number of rows of a table.
    ///
    /// # Errors
    /// When the artifact has no such table.
    pub fn rows(&self, table: &str) -> OpResult<usize> {
        Ok(usize::try_from(self.file(table)?.rows).unwrap_or(usize::MAX))
    }

    /// A whole table in memory.
    ///
    /// # Errors
    /// When the table is missing or its file cannot be read.
    pub fn read(&self, table: &str) -> OpResult<RecordBatch> {
        let reader = self.batches(table)?;
        let schema = reader_schema(&reader);
        let batches = reader
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| self.broken(table, e))?;
        Ok(arrow::compute::concat_batches(&schema, &batches)?)
    }

    /// A table batch by batch.
    ///
    /// # Errors
    /// When the table is missing or its file cannot be opened.
    pub fn batches(&self, table: &str) -> OpResult<ParquetRecordBatchReader> {
        let file = self.file(table)?;
        file.batches().map_err(|e| self.broken(table, e))
    }

    /// The parts of a table, which can be read at the same time.
    ///
    /// # Errors
    /// See [`Artifact::batches`].
    pub fn parts(&self, table: &str) -> OpResult<Parts> {
        let of = self.file(table)?;
        let file = of.open().map_err(|e| self.broken(table, e))?;
        Parts::of(&file, &of.path, format!("{}.{table}", self.name))
    }

    /// The texts of an artifact whose kind has text columns; several columns are joined by a line
    /// break.
    ///
    /// # Errors
    /// When the kind has no text, or a file cannot be read.
    pub fn texts(&self) -> OpResult<Vec<String>> {
        let Some(first) = self.kind.tables.first() else {
            return Ok(Vec::new());
        };
        if self.kind.text.is_empty() {
            return Err(
                OpError::new(format!("kind `{}` has no text column", self.kind.name))
                    .artifact(&self.name),
            );
        }
        // Batch by batch: the texts are often a small part of the table.
        let mut texts = Vec::new();
        for batch in self.batches(first.name)? {
            let batch = batch.map_err(|e| self.broken(first.name, e))?;
            let columns = self
                .kind
                .text
                .iter()
                .map(|c| crate::columns::text(&batch, c))
                .collect::<OpResult<Vec<_>>>()?;
            texts.extend((0..batch.num_rows()).map(|row| {
                let parts: Vec<&str> = columns.iter().map(|c| c.value(row)).collect();
                parts.join("\n")
            }));
        }
        Ok(texts)
    }

    fn broken(
        &self,
        table: &str,
        e: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> OpError {
        broken(&format!("{}.{table}", self.name), e)
    }
}

fn reader_schema(reader: &ParquetRecordBatchReader) -> arrow::datatypes::SchemaRef {
    use arrow::array::RecordBatchReader;
    reader.schema()
}

/// Checks that embeddings were made from these texts; `of` is the name of the texts' artifact, for
/// messages.
///
/// # Errors
/// When they were made from other texts, or cannot be read.
pub fn check_made_from<S: AsRef<str>>(
    embeddings: &Artifact,
    texts: impl IntoIterator<Item = S>,
    of: &str,
) -> OpResult<()> {
    let encoder = embeddings.read("encoder")?;
    let digest = columns::text(&encoder, "texts_digest")?;
    if digest.iter().next().flatten() == Some(&texts_digest(texts)) {
        return Ok(());
    }
    Err(
        OpError::new(format!("these embeddings were not made from `{of}`"))
            .artifact(&embeddings.name)
            .hint(format!(
                "connect an `embed` stage with `in: {{texts: {of}}}`"
            )),
    )
}

/// Digest of a sequence of texts, hex. Embeddings store it to name the texts they were made from.
pub fn texts_digest<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> String {
    let mut hasher = blake3::Hasher::new();
    for t in texts {
        let bytes = t.as_ref().as_bytes();
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::sync::Arc;

    use arrow::array::{StringArray, UInt64Array};

    use crate::{columns, kinds, local};

    /// Flips every byte of a table: none is read as if nothing had happened.
    #[test]
    fn a_damaged_table_is_never_read() {
        let dir = std::env::temp_dir().join(format!("gfm-pipe-api-rot-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let columns: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["lines"])),
            Arc::new(UInt64Array::from(vec![7])),
        ];
        let batch = columns::batch(&kinds::COUNTS.tables[0], columns).unwrap();
        let made = local::artifact(&dir, &kinds::COUNTS, "made", vec![batch]).unwrap();
        assert_eq!(made.read("counts").unwrap().num_rows(), 1);
        let path = &made.tables[0].path;
        let whole = fs::read(path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << 6;
            fs::write(path, bytes).unwrap();
            let e = made.read("counts").unwrap_err().to_string();
            assert!(e.contains("made.counts: failed to read the table: "), "{e}");
            assert!(
                e.contains("is damaged: it does not have the content"),
                "{e}"
            );
        }
        fs::write(path, [whole.as_slice(), b"more"].concat()).unwrap();
        assert!(made.read("counts").is_err());
        fs::write(path, whole).unwrap();
        assert_eq!(made.read("counts").unwrap().num_rows(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }
}
