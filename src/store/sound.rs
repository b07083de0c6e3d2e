//! Whether objects still have the bytes they were written with, and what follows where one has not.
//!
//! An object is read again only where its stamp is not the one it had when it was last read: a
//! copied store is read once, an old one too. Bytes that rot under an unchanged stamp are found by
//! the stage that opens the table, because [`gfm_pipe_api::TableFile`] compares the digest.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use gfm_pipe_api::TableFile;
use gfm_pipe_api::files::{self, Stamp};

use super::error::StoreError;
use super::layout::Store;
use super::manifest::{Manifest, TableEntry};

/// What a disk says of bytes it has lost.
const EIO: i32 = 5;

/// How closely to look at an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// At its size and stamp; at its bytes where the stamp is not known.
    Stamp,
    /// At its bytes.
    Bytes,
}

/// What an object was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// What was written.
    Sound,
    /// It is not there.
    Missing,
    /// Something else.
    Damaged,
}

/// The warning about forgotten results: `n` is how many.
pub(crate) fn distrusted(n: u64) -> String {
    let what = match n {
        1 => "1 stored result that may have been computed from it is".to_owned(),
        n => format!("{n} stored results that may have been computed from it are"),
    };
    format!("{what} not trusted any more and computed again when needed")
}

impl Store {
    /// A table as operators open it.
    pub fn table(&self, entry: &TableEntry) -> TableFile {
        TableFile {
            name: entry.name.clone(),
            path: self.object(&entry.digest),
            rows: entry.rows,
            bytes: entry.bytes,
            digest: entry.digest.clone(),
        }
    }

    /// Looks at an object of this size, and remembers what its bytes were.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn check(&self, digest: &str, bytes: u64, look: Look) -> Result<Found, StoreError> {
        let path = self.object(digest);
        let meta = match fs::metadata(&path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
            Err(e) => return Err(StoreError::io("read", &path)(e)),
        };
        if !meta.is_file() || meta.len() != bytes {
            return Ok(Found::Damaged);
        }
        let stamp = Stamp::of(&meta);
        let known = match look {
            Look::Stamp => self.read.get(digest, &stamp),
            Look::Bytes => None,
        };
        let found = match known {
            Some(found) => found,
            None => {
                let found = match files::digest_of(&path) {
                    Ok(found) => found,
                    // A sector that cannot be read any more: no digest is like this.
                    Err(e) if e.raw_os_error() == Some(EIO) => "unreadable".to_owned(),
                    Err(e) => return Err(StoreError::io("read", &path)(e)),
                };
                self.read.learn(digest, stamp, found.clone());
                found
            }
        };
        Ok(if found == digest {
            Found::Sound
        } else {
            Found::Damaged
        })
    }

    /// The first object of a stage that is not what was written, with what it is instead.
    ///
    /// # Errors
    /// See [`Store::check`].
    pub fn flaw<'a>(
        &self,
        tables: impl IntoIterator<Item = &'a TableEntry>,
        look: Look,
    ) -> Result<Option<(Found, PathBuf)>, StoreError> {
        for entry in tables {
            match self.check(&entry.digest, entry.bytes, look)? {
                Found::Sound => {}
                found => return Ok(Some((found, self.object(&entry.digest)))),
            }
        }
        Ok(None)
    }

    /// A table for a verb that prints it.
    ///
    /// # Errors
    /// When it is gone or damaged. The next run finds that too, and computes it anew.
    pub fn sound_table(&self, entry: &TableEntry) -> Result<TableFile, StoreError> {
        let why = match self.check(&entry.digest, entry.bytes, Look::Bytes)? {
            Found::Sound => return Ok(self.table(entry)),
            Found::Missing => "it is missing",
            Found::Damaged => "it does not have the content it is named by",
        };
        self.save_digests();
        Err(StoreError::Object {
            path: self.object(&entry.digest),
            why,
        })
    }

    /// Remembers a file that was just written as an object.
    pub(super) fn wrote(&self, digest: &str) {
        // What cannot be remembered is read again.
        if let Ok(meta) = fs::metadata(self.object(digest)) {
            self.read.learn(digest, Stamp::of(&meta), digest.to_owned());
        }
    }

    /// Keeps for later processes what was found out about objects. Best effort.
    pub fn save_digests(&self) {
        self.read.save();
    }

    /// Stored stages that took one of these tables and whose operator did not compare it with its
    /// digest, because an earlier gfm-pipe ran them: they may have been computed from its damage.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn suspects(
        &self,
        damaged: &BTreeSet<&str>,
    ) -> Result<Vec<(PathBuf, Manifest)>, StoreError> {
        let all = self.manifests()?.into_iter();
        let all: Vec<(PathBuf, Manifest)> =
            all.filter_map(|(path, m)| Some((path, m.ok()?))).collect();
        let ports = all.iter().flat_map(|(_, m)| m.ports.values());
        let artifacts: BTreeSet<String> = ports
            .filter(|p| p.tables.iter().any(|t| damaged.contains(t.digest.as_str())))
            .map(|p| p.digest.clone())
            .collect();
        let took = |m: &Manifest| {
            let mut inputs = m.ingredients.inputs.values().flatten();
            inputs.any(|i| artifacts.contains(&i.digest))
        };
        let suspects = all.into_iter();
        Ok(suspects
            .filter(|(_, m)| !m.inputs_checked && took(m))
            .collect())
    }

    /// Called before an object gets its final name. Where a damaged one is there, what may have
    /// been computed from it is forgotten, so that it is computed anew; gives how many stages that
    /// were.
    pub(super) fn heal(&self, entry: &TableEntry) -> Result<u64, StoreError> {
        if !matches!(
            self.check(&entry.digest, entry.bytes, Look::Bytes),
            Ok(Found::Damaged)
        ) {
            return Ok(0);
        }
        let suspects = self.suspects(&BTreeSet::from([entry.digest.as_str()]))?;
        for (path, _) in &suspects {
            match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", path)(e));
                }
                _ => {}
            }
        }
        Ok(suspects.len() as u64)
    }
}
