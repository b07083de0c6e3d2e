//! The file to which a running stage appends finished items.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::pack::{self, Entry, Id};

/// How the name of a log ends.
pub(super) const ENDING: &str = "log";

/// A log that this process appends to.
pub(super) struct Log {
    file: File,
    path: PathBuf,
    entries: Vec<Entry>,
    end: u64,
}

impl Log {
    /// Starts a log in a folder. With `synced`, a power cut does not lose its name.
    pub(super) fn create(folder: &Path, synced: bool) -> io::Result<Self> {
        let (file, path) = pack::create(folder, ENDING)?;
        if synced {
            // The folder may be new, and the one above, too.
            for folder in folder.ancestors().take(3) {
                crate::files::sync_folder(folder)?;
            }
        }
        Ok(Log {
            file,
            path,
            entries: Vec::new(),
            end: 0,
        })
    }

    /// Its size in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Hands results to the operating system, which keeps them if the process is killed now; with
    /// `synced`, to the disk. Returns where they are.
    pub(super) fn append(
        &mut self,
        results: &[(Id, Vec<u8>)],
        synced: bool,
    ) -> io::Result<Vec<Entry>> {
        let mut bytes = Vec::new();
        let mut entries = Vec::with_capacity(results.len());
        for (id, result) in results {
            let at = self.end + bytes.len() as u64;
            entries.push(pack::record(&mut bytes, at, *id, result));
        }
        self.file.write_all(&bytes)?;
        if synced {
            self.file.sync_data()?;
        }
        self.end += bytes.len() as u64;
        self.entries.extend(&entries);
        Ok(entries)
    }

    /// Makes a pack of it, and returns its path.
    pub(super) fn seal(self, folder: &Path) -> io::Result<Option<PathBuf>> {
        pack::seal(&self.file, &self.path, folder, &self.entries, self.end)
    }
}
