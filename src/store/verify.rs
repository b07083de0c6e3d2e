//! Looks for damage: checks every manifest, and every object that a manifest names.
//!
//! Invariant: the only thing written is the cache of digests. It tells the next run which objects
//! are damaged, even ones that it would not open, so that it computes them again. Damaged codes of
//! vectors are removed, because nothing but time is lost with them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gfm_pipe_api::items;
use rayon::prelude::*;

use super::error::StoreError;
use super::layout::Store;
use super::manifest::{Manifest, READABLE, read_json};
use super::sound::{Found, Look};

/// A file that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
    /// Operators of the stored stages that need it, for the user.
    pub operators: Vec<String>,
}

/// A file in the store's `stages` folder, with the manifest it holds or why it cannot be read as
/// one.
pub type StoredManifest = (PathBuf, Result<Manifest, String>);

/// What `verify` looked at, and what it found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Number of stored stages.
    pub stages: u64,
    /// Number of objects that they name.
    pub objects: u64,
    /// Total size of these objects, of codes of vectors and of items in bytes.
    pub bytes: u64,
    /// Number of results of single items.
    pub items: u64,
    /// Number of objects that no stored stage names: left by a crash, and removed by the next `gc`.
    pub unnamed: u64,
    /// Number of damaged files with codes of vectors.
    pub codes: u64,
    /// What is damaged, by path.
    pub damages: Vec<Damage>,
    /// Stored stages that may have been computed from a damaged object: manifest file and operator.
    pub suspects: Vec<(PathBuf, String)>,
}

impl Store {
    /// Every file in the `stages` folder that is named like a manifest, with its manifest or why it
    /// cannot be read as one.
    ///
    /// # Errors
    /// When the folder cannot be read, or a manifest has an unknown version.
    pub fn manifests(&self) -> Result<Vec<StoredManifest>, StoreError> {
        let folder = self.root().join("stages");
        let mut out = Vec::new();
        for file in entries(&folder)? {
            // Files that others put there are not checked.
            if !is_named(&file, "json") || !is_file(&file) {
                continue;
            }
            let manifest = match read_json::<Manifest>(&file, READABLE) {
                Ok(Some(m)) => {
                    let key = file.file_stem().unwrap_or_default().to_string_lossy();
                    m.fault(&key).map_or(Ok(m), Err)
                }
                // Removed since the folder was read.
                Ok(None) => continue,
                Err(StoreError::Damaged { why, .. }) => Err(why),
                Err(e) => return Err(e),
            };
            out.push((file, manifest));
        }
        Ok(out)
    }

    /// Every object on disk with its size: files at the path that their digest determines. Links
    /// are not followed; other files are ignored.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn objects(&self) -> Result<Vec<(PathBuf, u64)>, StoreError> {
        let mut out = Vec::new();
        for shard in entries(&self.root().join("objects"))? {
            if !fs::symlink_metadata(&shard).is_ok_and(|m| m.is_dir()) {
                continue;
            }
            for file in entries(&shard)? {
                let digest = file.file_stem().unwrap_or_default().to_string_lossy();
                if !is_named(&file, "parquet") || self.object(&digest) != file {
                    continue;
                }
                if let Ok(meta) = fs::symlink_metadata(&file)
                    && meta.is_file()
                {
                    out.push((file, meta.len()));
                }
            }
        }
        Ok(out)
    }

    /// Checks all manifests, and the sizes of all objects; with `deep`, also every byte. `progress`
    /// is called with bytes done and bytes in total.
    ///
    /// # Errors
    /// When the store cannot be read at all; damage is a finding, not an error.
    pub fn verify(
        &self,
        deep: bool,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Verified, StoreError> {
        let mut out = Verified::default();
        // By digest: the expected size, and the operators of the stages that need the object.
        let mut wanted: BTreeMap<String, (u64, Vec<String>)> = BTreeMap::new();
        for (path, manifest) in self.manifests()? {
            match manifest {
                Ok(m) => {
                    out.stages += 1;
                    for t in m.objects() {
                        let entry = wanted.entry(t.digest.clone()).or_default();
                        entry.0 = t.bytes;
                        entry.1.push(m.ingredients.operator.clone());
                    }
                }
                Err(why) => out.damages.push(Damage {
                    path,
                    why,
                    operators: Vec::new(),
                }),
            }
        }
        out.objects = wanted.len() as u64;
        out.bytes = wanted.values().map(|(bytes, _)| bytes).sum();
        let named = |path: &PathBuf| {
            let stem = path.file_stem().and_then(|s| s.to_str());
            stem.is_some_and(|s| wanted.contains_key(s))
        };
        out.unnamed = self.objects()?.iter().filter(|(p, _)| !named(p)).count() as u64;
        let done = std::sync::atomic::AtomicU64::new(0);
        let found: Vec<Damage> = wanted
            .par_iter()
            .filter_map(|(digest, (bytes, operators))| {
                let path = self.object(digest);
                let why = self.wrong(&path, digest, *bytes, deep);
                let before = done.fetch_add(*bytes, std::sync::atomic::Ordering::Relaxed);
                progress(before + bytes, out.bytes);
                let mut operators = operators.clone();
                operators.sort();
                operators.dedup();
                why.map(|why| Damage {
                    path,
                    why,
                    operators,
                })
            })
            .collect();
        // Nothing can have been computed from an object that is missing.
        let there = found.iter().filter(|d| d.path.exists());
        let digests = there.filter_map(|d| d.path.file_stem()?.to_str());
        let suspects = if found.is_empty() {
            Vec::new()
        } else {
            self.suspects(&digests.collect())?
        };
        let suspects = suspects.into_iter();
        out.suspects = suspects
            .map(|(path, m)| (path, m.ingredients.operator))
            .collect();
        let (bytes, mut damages) = self.check_codes(deep)?;
        out.bytes += bytes;
        out.codes = damages.len() as u64;
        for folder in items::folders(&self.items_root()) {
            let (items, bytes, damaged) = folder.check(deep);
            out.items += items;
            out.bytes += bytes;
            damages.extend(damaged);
        }
        out.damages
            .extend(damages.into_iter().map(|(path, why)| Damage {
                path,
                why,
                operators: Vec::new(),
            }));
        out.damages.extend(found);
        out.damages.sort();
        self.save_digests();
        Ok(out)
    }

    fn wrong(&self, path: &Path, digest: &str, bytes: u64, deep: bool) -> Option<String> {
        match fs::metadata(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Some("it is missing".to_owned()),
            Err(e) => Some(format!("it cannot be read: {e}")),
            Ok(m) if !m.is_file() => Some("it is not a file".to_owned()),
            Ok(m) if m.len() != bytes => {
                Some(format!("it has {} bytes, {bytes} were stored", m.len()))
            }
            Ok(_) if deep => match self.check(digest, bytes, Look::Bytes) {
                Ok(Found::Sound) => None,
                Ok(_) => Some("it does not have the content it is named by".to_owned()),
                Err(e) => Some(format!("it cannot be read: {e}")),
            },
            Ok(_) => None,
        }
    }
}

/// Whether a file has a digest as its stem and this extension, as the store's own files do.
fn is_named(file: &Path, extension: &str) -> bool {
    let stem = file.file_stem().and_then(|s| s.to_str());
    file.extension().is_some_and(|e| e == extension) && stem.is_some_and(is_digest)
}

/// Whether a name is that of a digest.
pub(super) fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

pub(super) fn is_file(file: &Path) -> bool {
    fs::symlink_metadata(file).is_ok_and(|m| m.is_file())
}

/// The entries of a folder, sorted; empty if the folder does not exist.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let listing = match fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(StoreError::io("read", folder)(e)),
    };
    let mut out = Vec::new();
    for entry in listing {
        out.push(entry.map_err(StoreError::io("read", folder))?.path());
    }
    out.sort();
    Ok(out)
}
