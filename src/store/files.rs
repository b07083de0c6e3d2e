//! Lists of the files that a stage reads, as tables; for stages with very many.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch, StringArray};
use gfm_pipe_api::kind::{col, opt};
use gfm_pipe_api::{ColType, OpResult, TableSpec, columns};

use super::layout::Store;
use super::manifest::Manifest;
use crate::plan::{FileId, Ingredients};

/// Rows that are written at once.
const ROWS: usize = 65_536;

/// The table that a manifest names.
pub(super) static FILES: TableSpec = TableSpec {
    name: "files",
    about: "the files that a stage reads, or finds and does not read",
    columns: &[
        col("path", ColType::Text, "as the user wrote it"),
        opt(
            "digest",
            ColType::Text,
            "digest of its bytes; missing where there was no file, and for what is not read",
        ),
        col("read", ColType::Bool, "whether the stage reads it"),
    ],
};

/// The files that are left out of JSON files, in batches.
pub(super) fn batches(of: &Ingredients) -> impl Iterator<Item = OpResult<RecordBatch>> {
    let brief = of.brief();
    let read = if brief.files.is_empty() {
        of.files.as_slice()
    } else {
        &[]
    };
    let read = read.chunks(ROWS).map(|some| {
        let paths: StringArray = some.iter().map(|f| Some(f.path.as_str())).collect();
        let digests: StringArray = some.iter().map(|f| f.digest.as_deref()).collect();
        batch(paths, digests, true)
    });
    let unread = if brief.unread.is_empty() {
        of.unread.as_slice()
    } else {
        &[]
    };
    let unread = unread.chunks(ROWS).map(|some| {
        let paths: StringArray = some.iter().map(|path| Some(path.as_str())).collect();
        let digests = StringArray::new_null(paths.len());
        batch(paths, digests, false)
    });
    read.chain(unread)
}

fn batch(paths: StringArray, digests: StringArray, read: bool) -> OpResult<RecordBatch> {
    let read = BooleanArray::from(vec![read; paths.len()]);
    columns::batch(
        &FILES,
        vec![Arc::new(paths), Arc::new(digests), Arc::new(read)],
    )
}

impl Store {
    /// The ingredients of a stored stage, with the lists of files that its manifest leaves out.
    ///
    /// # Errors
    /// When the table of its files is missing or damaged.
    pub fn ingredients(&self, manifest: &Manifest) -> OpResult<Ingredients> {
        let mut out = manifest.ingredients.clone();
        let Some(table) = &manifest.listing else {
            return Ok(out);
        };
        for batch in self.table(table).batches()? {
            let batch = batch?;
            let digests = columns::text(&batch, "digest")?;
            let read = columns::bools(&batch, "read")?;
            let paths = columns::text(&batch, "path")?
                .iter()
                .map(Option::unwrap_or_default);
            for ((path, digest), read) in paths.zip(digests).zip(read) {
                if read == Some(true) {
                    out.files.push(FileId {
                        path: path.to_owned(),
                        digest: digest.map(str::to_owned),
                    });
                } else {
                    out.unread.push(path.to_owned());
                }
            }
        }
        Ok(out)
    }
}
