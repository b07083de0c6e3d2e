//! Whether objects still have the bytes that were written, and what to do when one has not.
//!
//! An object is read again only if its stamp differs from the one it had when it was last read, so
//! the objects of a copied store are read once. Bytes that rot under an unchanged stamp are found
//! by the stage that opens the table, because [`gfm_pipe_api::TableFile`] compares the digest.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use gfm_pipe_api::files::{self, Stamp};
use gfm_pipe_api::{ObjectFile, TableFile};

use super::entry::{ObjectEntry, TableEntry};
use super::error::StoreError;
use super::layout::Store;
use super::manifest::Manifest;

/// The operating system's error number for an I/O error, such as an unreadable sector.
const EIO: i32 = 5;

/// How thoroughly to check an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Check its size and stamp; read its bytes only if the stamp is not known.
    Stamp,
    /// Read all its bytes.
    Bytes,
}

/// The result of checking an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It has the bytes that were written.
    Sound,
    /// The file does not exist.
    Missing,
    /// It has other content, or is not a regular file.
    Damaged,
}

/// The warning that `n` stored results were forgotten.
pub(crate) fn distrusted(n: u64) -> String {
    let what = match n {
        1 => "1 stored result that may have been computed from it is".to_owned(),
        n => format!("{n} stored results that may have been computed from it are"),
    };
    format!("{what} not trusted any more and computed again when needed")
}

impl Store {
    /// A stored table in the form that operators open.
    pub fn table(&self, entry: &TableEntry) -> TableFile {
        let codes = Arc::new(self.codes_folder());
        let objects = entry.objects.iter().map(|object| ObjectFile {
            path: self.object(&object.digest),
            rows: object.rows,
            bytes: object.bytes,
            digest: object.digest.clone(),
            codes: Some(Arc::clone(&codes)),
        });
        TableFile {
            name: entry.name.clone(),
            rows: entry.rows,
            bytes: entry.bytes,
            digest: entry.digest.clone(),
            objects: objects.collect(),
        }
    }

    /// Checks an object that should have this size, and remembers the digest of its bytes.
    ///
    /// # Errors
    /// When the object exists and cannot be read.
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
                    // An unreadable sector. No digest equals this text: the object is damaged.
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

    /// The first of these objects that is missing or damaged: which of the two, and its path.
    ///
    /// # Errors
    /// See [`Store::check`].
    pub fn flaw<'a>(
        &self,
        objects: impl IntoIterator<Item = &'a ObjectEntry>,
        look: Look,
    ) -> Result<Option<(Found, PathBuf)>, StoreError> {
        for entry in objects {
            match self.check(&entry.digest, entry.bytes, look)? {
                Found::Sound => {}
                found => return Ok(Some((found, self.object(&entry.digest)))),
            }
        }
        Ok(None)
    }

    /// A table for a command that prints it, after checking all its bytes.
    ///
    /// # Errors
    /// When it is missing or damaged. The next run finds that too, and computes it again.
    pub fn sound_table(&self, entry: &TableEntry) -> Result<TableFile, StoreError> {
        let Some((found, path)) = self.flaw(&entry.objects, Look::Bytes)? else {
            return Ok(self.table(entry));
        };
        self.save_digests();
        let why = match found {
            Found::Missing => "it is missing",
            _ => "it does not have the content it is named by",
        };
        Err(StoreError::Object { path, why })
    }

    /// Remembers the digest of an object that was just written.
    pub(super) fn wrote(&self, digest: &str) {
        // If its metadata cannot be read, the object is simply read again later.
        if let Ok(meta) = fs::metadata(self.object(digest)) {
            self.read.learn(digest, Stamp::of(&meta), digest.to_owned());
        }
    }

    /// Saves what was learned about objects, for later processes. Best effort.
    pub fn save_digests(&self) {
        self.read.save();
    }

    /// Stored stages that read one of these tables and may have been computed from damaged bytes:
    /// they were run by an earlier gfm-pipe, whose operators did not compare inputs with their
    /// digests.
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
            .filter(|p| {
                let mut objects = p.tables.iter().flat_map(|t| &t.objects);
                objects.any(|o| damaged.contains(o.digest.as_str()))
            })
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

    /// Called before an object gets its final name. If a damaged object has that name, the
    /// manifests of stages that may have been computed from it are removed, so that they are
    /// computed again. Returns the number of removed manifests.
    pub(super) fn heal(&self, entry: &ObjectEntry) -> Result<u64, StoreError> {
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
