//! Files that an operator leaves outside the store. An artifact of kind `files` lists them with
//! their digests, and [`Operator::deliver`](crate::Operator::deliver) writes those that are missing
//! or have other content.
//!
//! Invariant: a file that already has the listed content is not touched, and a file that is being
//! written appears under its name only once it is complete.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{StringArray, UInt64Array};

use crate::artifact::Artifact;
use crate::context::Context;
use crate::error::{OpError, OpResult};
use crate::{columns, files, kinds};

/// A row of the table `files`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Name in the folder, with `/` between its parts.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3 digest, hex.
    pub digest: String,
}

/// A writer that keeps only the size and digest of what is written to it.
#[derive(Default)]
pub struct Measure {
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Measure {
    /// The row of a file `name` with the content written so far.
    pub fn listed(self, name: &str) -> Listed {
        Listed {
            name: name.to_owned(),
            bytes: self.bytes,
            digest: self.hasher.finalize().to_hex().to_string(),
        }
    }
}

impl Write for Measure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the table of a port of kind `files`.
///
/// # Errors
/// When writing fails.
pub fn list(ctx: &Context, port: &str, all: &[Listed]) -> OpResult<()> {
    let batch = columns::batch(
        &kinds::FILES.tables[0],
        vec![
            Arc::new(StringArray::from_iter_values(all.iter().map(|f| &f.name))),
            Arc::new(UInt64Array::from_iter_values(all.iter().map(|f| f.bytes))),
            Arc::new(StringArray::from_iter_values(all.iter().map(|f| &f.digest))),
        ],
    )?;
    ctx.write(port, "files", &batch)
}

/// Names of the listed files that are missing from a folder or have other content there.
///
/// # Errors
/// When the list cannot be read.
pub fn outdated(folder: &Path, list: &Artifact) -> OpResult<Vec<String>> {
    let table = list.read("files")?;
    let names = columns::text(&table, "name")?;
    let digests = columns::text(&table, "digest")?;
    let mut out = Vec::new();
    for (name, digest) in names.iter().zip(digests) {
        let (name, digest) = (name.unwrap_or_default(), digest.unwrap_or_default());
        if !files::digest_of(&folder.join(name)).is_ok_and(|found| found == digest) {
            out.push(name.to_owned());
        }
    }
    Ok(out)
}

/// Writes bytes to the file that [`write`] fills, or to a [`Measure`].
///
/// # Errors
/// When writing fails.
pub fn put(out: &mut dyn Write, bytes: &[u8]) -> OpResult<()> {
    out.write_all(bytes)
        .map_err(|e| OpError::wrap("failed to write", e))
}

/// Writes a file in a folder under a temporary name, then renames it. Missing folders are created.
/// `shown` is the folder as the user wrote it, for messages.
///
/// # Errors
/// Whatever `fill` returns, or when writing fails.
pub fn write(
    folder: &Path,
    shown: &Path,
    name: &str,
    fill: impl FnOnce(&mut dyn Write) -> OpResult<()>,
) -> OpResult<()> {
    let cannot = |e: io::Error| {
        OpError::wrap("failed to write", e)
            .file(shown.join(name))
            .hint("check the parameter `path`, free space and permissions")
    };
    let path = folder.join(name);
    let parent = path.parent().unwrap_or(folder);
    fs::create_dir_all(parent).map_err(cannot)?;
    let mut file = tempfile::NamedTempFile::new_in(parent).map_err(cannot)?;
    let mut buffered = BufWriter::new(file.as_file_mut());
    fill(&mut buffered)?;
    buffered.flush().map_err(cannot)?;
    drop(buffered);
    file.as_file().sync_all().map_err(cannot)?;
    #[cfg(unix)]
    {
        // Temporary files are private; these are for other programs.
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(mode).map_err(cannot)?;
    }
    file.persist(&path).map_err(|e| cannot(e.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_files_that_are_not_as_listed_are_outdated() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("out");
        let listed = |name: &str, content: &str| {
            let mut measure = Measure::default();
            super::put(&mut measure, content.as_bytes()).unwrap();
            measure.listed(name)
        };
        let all = [
            listed("a.txt", "one"),
            listed("b/c.txt", "two"),
            listed("d", ""),
        ];
        assert_eq!((all[0].bytes, all[2].bytes), (3, 0));
        let batch = columns::batch(
            &kinds::FILES.tables[0],
            vec![
                Arc::new(StringArray::from_iter_values(all.iter().map(|f| &f.name))),
                Arc::new(UInt64Array::from_iter_values(all.iter().map(|f| f.bytes))),
                Arc::new(StringArray::from_iter_values(all.iter().map(|f| &f.digest))),
            ],
        );
        let artifact =
            crate::local::artifact(dir.path(), &kinds::FILES, "files", vec![batch.unwrap()]);
        let artifact = artifact.unwrap();
        let now = || outdated(&folder, &artifact).unwrap();
        assert_eq!(now(), ["a.txt", "b/c.txt", "d"]);
        let put = |name: &str, content: &str| {
            write(&folder, Path::new("out"), name, |out| {
                super::put(out, content.as_bytes())
            })
            .unwrap();
        };
        put("a.txt", "one");
        put("b/c.txt", "2");
        put("d", "");
        assert_eq!(now(), ["b/c.txt"]);
        put("b/c.txt", "two");
        assert!(now().is_empty());
    }

    #[test]
    fn a_failed_write_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, result: OpResult<()>| {
            write(dir.path(), Path::new("shown"), name, |out| {
                super::put(out, b"new")?;
                result
            })
        };
        put("a", Ok(())).unwrap();
        let e = put("a", Err(OpError::new("no"))).unwrap_err();
        assert_eq!(e.to_string(), "no");
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let e = put("a/b", Ok(())).unwrap_err().to_string();
        assert!(e.starts_with("shown/a/b: failed to write"), "{e}");
    }
}
