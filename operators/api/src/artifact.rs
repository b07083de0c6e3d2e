//! Artifacts as operators read them: named tables in Parquet files.

use arrow::array::{RecordBatch, RecordBatchReader};

use crate::columns;
use crate::error::{OpError, OpResult};
use crate::kind::Kind;
use crate::parts::{Parts, broken};
use crate::stored::{TableFile, TableReader};
use crate::text_list::TextList;

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

    /// A table, on disk.
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

    /// Compares all bytes of its tables with their digests.
    ///
    /// # Errors
    /// When a table is damaged or its file cannot be read.
    pub fn check(&self) -> OpResult<()> {
        let mut tables = self.tables.iter();
        tables.try_for_each(|table| table.check().map_err(|e| self.broken(&table.name, e)))
    }

    /// A whole table in memory.
    ///
    /// # Errors
    /// When the table is missing or its file cannot be read.
    pub fn read(&self, table: &str) -> OpResult<RecordBatch> {
        let reader = self.batches(table)?;
        let schema = reader.schema();
        let batches = reader
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| self.broken(table, e))?;
        Ok(arrow::compute::concat_batches(&schema, &batches)?)
    }

    /// A table batch by batch.
    ///
    /// # Errors
    /// When the table is missing or its file cannot be opened.
    pub fn batches(&self, table: &str) -> OpResult<TableReader> {
        let file = self.file(table)?;
        file.batches().map_err(|e| self.broken(table, e))
    }

    /// Some columns of a table batch by batch: the others are not decoded, which is most of the
    /// work where they are texts.
    ///
    /// # Errors
    /// See [`Artifact::batches`].
    pub fn batches_of(&self, table: &str, columns: &[&str]) -> OpResult<TableReader> {
        let file = self.file(table)?;
        file.batches_of(columns).map_err(|e| self.broken(table, e))
    }

    /// The parts of a table, which can be read at the same time.
    ///
    /// # Errors
    /// See [`Artifact::batches`].
    pub fn parts(&self, table: &str) -> OpResult<Parts> {
        Parts::of(self.file(table)?, format!("{}.{table}", self.name))
    }

    /// The texts of an artifact whose kind has text columns; several columns are joined by a line
    /// break.
    ///
    /// # Errors
    /// When the kind has no text, or a file cannot be read.
    pub fn texts(&self) -> OpResult<Vec<String>> {
        let mut texts = Vec::new();
        self.each_text(&mut |text| {
            texts.push(text.to_owned());
            Ok(())
        })?;
        Ok(texts)
    }

    /// The same texts in one buffer.
    ///
    /// # Errors
    /// See [`Artifact::texts`].
    pub fn text_list(&self) -> OpResult<TextList> {
        let mut texts = TextList::new();
        self.each_text(&mut |text| {
            texts.push(text);
            Ok(())
        })?;
        texts.shrink();
        Ok(texts)
    }

    /// Calls `each` with the texts one after another. Only a few are in memory at the same time.
    ///
    /// # Errors
    /// See [`Artifact::texts`]; and when `each` fails.
    pub fn each_text(&self, each: &mut dyn FnMut(&str) -> OpResult<()>) -> OpResult<()> {
        let Some(first) = self.kind.tables.first() else {
            return Ok(());
        };
        if self.kind.text.is_empty() {
            return Err(
                OpError::new(format!("kind `{}` has no text column", self.kind.name))
                    .artifact(&self.name),
            );
        }
        let mut joined = String::new();
        for batch in self.batches_of(first.name, self.kind.text)? {
            let batch = batch.map_err(|e| self.broken(first.name, e))?;
            let columns = self.kind.text.iter().map(|c| columns::text(&batch, c));
            let columns = columns.collect::<OpResult<Vec<_>>>()?;
            for row in 0..batch.num_rows() {
                joined.clear();
                for (place, column) in columns.iter().enumerate() {
                    if place > 0 {
                        joined.push('\n');
                    }
                    joined.push_str(column.value(row));
                }
                each(&joined)?;
            }
        }
        Ok(())
    }

    fn broken(
        &self,
        table: &str,
        e: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> OpError {
        broken(&format!("{}.{table}", self.name), e)
    }
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
    let mut digest = TextsDigest::default();
    texts.into_iter().for_each(|text| digest.add(text.as_ref()));
    digest.check(embeddings, of)
}

/// Checks that embeddings were made from the texts of an artifact, which are not kept in memory.
///
/// # Errors
/// When they were made from other texts, or a table cannot be read.
pub fn check_made_from_texts_of(embeddings: &Artifact, of: &Artifact) -> OpResult<()> {
    let mut digest = TextsDigest::default();
    of.each_text(&mut |text| {
        digest.add(text);
        Ok(())
    })?;
    digest.check(embeddings, &of.name)
}

/// Digest of a sequence of texts, hex. Embeddings store it to name the texts they were made from.
pub fn texts_digest<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> String {
    let mut digest = TextsDigest::default();
    texts.into_iter().for_each(|text| digest.add(text.as_ref()));
    digest.finish()
}

/// The digest of [`texts_digest`], for texts that come one after another.
#[derive(Debug, Default)]
pub struct TextsDigest(blake3::Hasher);

impl TextsDigest {
    /// Adds a text.
    pub fn add(&mut self, text: &str) {
        self.0.update(&(text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
    }

    /// The digest of all texts, hex.
    pub fn finish(self) -> String {
        self.0.finalize().to_hex().to_string()
    }

    /// Checks that embeddings were made from the texts, as [`check_made_from`] does.
    ///
    /// # Errors
    /// When they were made from other texts, or cannot be read.
    pub fn check(self, embeddings: &Artifact, of: &str) -> OpResult<()> {
        let encoder = embeddings.read("encoder")?;
        let digest = columns::text(&encoder, "texts_digest")?;
        if digest.iter().next().flatten() == Some(&self.finish()) {
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
        let path = &made.tables[0].objects[0].path;
        let whole = fs::read(path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << 6;
            fs::write(path, bytes).unwrap();
            assert!(made.check().is_err());
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
        made.check().unwrap();
        fs::remove_dir_all(&dir).unwrap();
    }
}
