//! Vectors of texts, kept between runs: a graph with a thousand new names embeds a thousand names, and a killed stage goes on.
//!
//! Purpose: one folder per encoder and settings, of Parquet files each written once. Invariant: a vector that comes back is the one that was
//! put, because a file's name is the digest of its bytes; a file that does not fit its name, or cannot be read, is as good as absent.
//! Not here: what makes two encoders the same (whoever opens the folder says so), removing (`gfm-pipe gc`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, FixedSizeBinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use gfm_pipe_api::{OpError, OpResult, columns, files};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;

/// What stands for a text.
pub(crate) type TextId = [u8; 16];

/// The name of a text among all texts with all prompts.
pub(crate) fn text_id(prompt: &str, text: &str) -> TextId {
    let mut hasher = blake3::Hasher::new_derive_key("gfm-pipe text of a vector");
    // The length keeps two cuts of the same characters apart.
    hasher.update(&(prompt.len() as u64).to_le_bytes());
    hasher.update(prompt.as_bytes()).update(text.as_bytes());
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    id
}

/// The vectors of one encoder.
pub(crate) struct Vectors {
    folder: PathBuf,
    dim: usize,
}

impl Vectors {
    /// Those of the encoder and settings `name` stands for, below `cache`.
    pub(crate) fn open(cache: &Path, name: &str, dim: usize) -> Self {
        let folder = cache.join("vectors").join(name);
        Vectors { folder, dim }
    }

    /// Calls `found` with each wanted text's number and vector, as far as they are there.
    pub(crate) fn read(
        &self,
        wanted: &HashMap<TextId, usize>,
        mut found: impl FnMut(usize, &[f32]),
    ) {
        let entries = std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten();
        for path in entries
            .map(|e| e.path())
            .filter(|p| p.extension().is_some_and(|e| e == "parquet"))
        {
            // A file another process has just removed, or a broken one, costs its vectors, not the stage.
            let Some(batches) = self.file(&path) else {
                continue;
            };
            for batch in batches {
                let Some((ids, rows)) = self.columns(&batch) else {
                    continue;
                };
                for (id, row) in ids.iter().zip(rows.chunks_exact(self.dim)) {
                    let id = id.and_then(|id| TextId::try_from(id).ok());
                    if let Some(i) = id.and_then(|id| wanted.get(&id)) {
                        found(*i, row);
                    }
                }
            }
        }
    }

    fn file(&self, path: &Path) -> Option<Vec<RecordBatch>> {
        let bytes = files::read(path).ok()?;
        if path.file_stem()?.to_str()? != blake3::hash(&bytes).to_hex().as_str() {
            return None;
        }
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).ok()?;
        reader
            .with_batch_size(8192)
            .build()
            .ok()?
            .collect::<Result<_, _>>()
            .ok()
    }

    fn columns<'a>(&self, batch: &'a RecordBatch) -> Option<(&'a FixedSizeBinaryArray, Vec<f32>)> {
        let ids = batch.column_by_name("text")?.as_fixed_size_binary_opt()?;
        let (dim, rows) = columns::vectors(batch, "vector").ok()?;
        (dim == self.dim && ids.value_length() == 16).then_some((ids, rows))
    }

    /// Keeps vectors, row-major, of texts: all of them or, if this fails, none.
    pub(crate) fn write(&self, ids: &[TextId], vectors: Vec<f32>) -> OpResult<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let ids = FixedSizeBinaryArray::try_from_iter(ids.iter())?;
        let vectors = columns::build_vectors(self.dim, vectors)?;
        let schema = Schema::new(vec![
            Field::new("text", DataType::FixedSizeBinary(16), false),
            Field::new("vector", vectors.data_type().clone(), false),
        ]);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), vectors])?;
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .build();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties))?;
        writer.write(&batch)?;
        writer.close()?;
        let path = self
            .folder
            .join(format!("{}.parquet", blake3::hash(&bytes).to_hex()));
        let failed = |e: std::io::Error| OpError::wrap("failed to keep vectors", e).file(&path);
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        // Under another name first: one with this ending is whole.
        let unfinished = path.with_extension(format!("{}.unfinished", std::process::id()));
        std::fs::write(&unfinished, &bytes).map_err(failed)?;
        std::fs::rename(&unfinished, &path).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use super::*;

    fn found(vectors: &Vectors, texts: &[&str]) -> Vec<Option<Vec<f32>>> {
        let wanted = texts
            .iter()
            .enumerate()
            .map(|(i, t)| (text_id("", t), i))
            .collect();
        let mut out = vec![None; texts.len()];
        vectors.read(&wanted, |i, v| out[i] = Some(v.to_vec()));
        out
    }

    #[test]
    fn what_was_put_comes_back_and_what_is_broken_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let vectors = Vectors::open(dir.path(), "e", 2);
        assert_eq!(found(&vectors, &["a"]), [None]);
        vectors
            .write(
                &[text_id("", "a"), text_id("", "b")],
                vec![1.0, 2.0, 3.0, f32::MIN_POSITIVE],
            )
            .unwrap();
        vectors
            .write(&[text_id("q: ", "a")], vec![5.0, 6.0])
            .unwrap();
        let b = Some(vec![3.0, f32::MIN_POSITIVE]);
        assert_eq!(
            found(&vectors, &["b", "c", "a"]),
            [b, None, Some(vec![1.0, 2.0])]
        );
        assert_eq!(
            found(&Vectors::open(dir.path(), "other", 2), &["a"]),
            [None]
        );
        assert_eq!(
            found(&Vectors::open(dir.path(), "e", 3), &["a"]),
            [None],
            "another length"
        );
        // Every byte of every file matters.
        for entry in std::fs::read_dir(&vectors.folder).unwrap() {
            let path = entry.unwrap().path();
            let whole = std::fs::read(&path).unwrap();
            for at in (0..whole.len()).step_by(7) {
                let mut bytes = whole.clone();
                bytes[at] ^= 4;
                std::fs::write(&path, &bytes).unwrap();
                assert!(vectors.file(&path).is_none());
            }
            std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
            assert!(vectors.file(&path).is_none());
        }
        assert_eq!(found(&vectors, &["a", "b"]), [None, None]);
    }
}
