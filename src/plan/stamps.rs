//! The files that a pipeline is made of and reads, as they are at one moment: `run --watch` runs
//! again when they change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gfm_pipe_api::files::{self, Stamp};

use crate::spec::Pipeline;

/// Files with their stamps; `None` where a file is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileStamps(BTreeMap<PathBuf, Option<Stamp>>);

impl FileStamps {
    /// These files.
    pub fn files(paths: impl IntoIterator<Item = PathBuf>, base: &Path) -> Self {
        let stamp = |path: &Path| {
            files::metadata(&base.join(path))
                .ok()
                .map(|m| Stamp::of(&m))
        };
        let all = paths.into_iter().map(|path| {
            let stamp = stamp(&path);
            (path, stamp)
        });
        FileStamps(all.collect())
    }

    /// The files of a pipeline, those that its stages read, and those that they find and do not
    /// read. Of these, only their sizes count.
    pub fn of(pipeline: &Pipeline, base: &Path) -> Self {
        let own = pipeline.files.iter().cloned();
        // A stage whose files cannot be listed fails in the run, which says why.
        let read = pipeline.stages.iter();
        let read = read.flat_map(|stage| stage.op.files(&stage.params, base).unwrap_or_default());
        let (read, unread): (Vec<_>, Vec<_>) = read.partition(|file| file.read);
        let mut all = FileStamps::files(own.chain(read.into_iter().map(|file| file.path)), base);
        for file in unread {
            let there = base.join(&file.path).symlink_metadata().ok();
            let size = there.map(|meta| Stamp {
                size: meta.len(),
                ..Stamp::default()
            });
            all.0.insert(file.path, size);
        }
        all
    }

    /// The same, with the stamps of `earlier` for files that both have.
    #[must_use]
    pub fn with(mut self, earlier: FileStamps) -> Self {
        for (path, stamp) in earlier.0 {
            if let Some(own) = self.0.get_mut(&path) {
                *own = stamp;
            }
        }
        self
    }

    /// Number of files that are there.
    pub fn count(&self) -> usize {
        self.0.values().flatten().count()
    }

    /// What is different later, file by file: `docs/a.txt is new`.
    pub fn changes(&self, later: &FileStamps) -> Vec<String> {
        let before = |path: &PathBuf| self.0.get(path).cloned().flatten();
        let after = |path: &PathBuf| later.0.get(path).cloned().flatten();
        let gone = self.0.keys().filter(|path| !later.0.contains_key(*path));
        let all = later.0.keys().chain(gone);
        all.filter_map(|path| {
            let what = match (before(path), after(path)) {
                (a, b) if a == b => return None,
                (None, _) => "is new",
                (_, None) => "is gone",
                _ => "changed",
            };
            Some(format!("{} {what}", path.display()))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn changes_are_told_file_by_file() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let look = |names: &[&str]| FileStamps::files(names.iter().map(PathBuf::from), dir.path());
        write("a", "1");
        write("b", "1");
        let before = look(&["a", "b", "c"]);
        assert_eq!(before.count(), 2);
        assert_eq!(
            before.changes(&look(&["a", "b", "c"])),
            Vec::<String>::new()
        );
        write("a", "22");
        write("c", "1");
        write("d", "1");
        std::fs::remove_file(dir.path().join("b")).unwrap();
        let after = look(&["a", "c", "d"]);
        let want = ["a changed", "c is new", "d is new", "b is gone"];
        assert_eq!(before.changes(&after), want);
    }
}
