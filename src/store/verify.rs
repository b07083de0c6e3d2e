//! Looking for damage: every manifest, and every object that one names.
//!
//! Invariant: nothing is changed. What is damaged is never used by a run anyway where its size is wrong, and `run` heals what it
//! computes again; this finds what a run would only meet when it reads it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use rayon::prelude::*;

use super::error::StoreError;
use super::layout::Store;
use super::manifest::{MANIFEST_FORMAT, Manifest, read_json};
use super::object::hash_file;

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

/// A file of the store's `stages`, and the manifest it holds or why it holds none.
pub type StoredManifest = (PathBuf, Result<Manifest, String>);

/// What was looked at, and what was found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Stored stages.
    pub stages: u64,
    /// Objects they name.
    pub objects: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Objects that no stored stage names: left by a crash or by `gc`'s next turn.
    pub unnamed: u64,
    /// What is damaged, by path.
    pub damages: Vec<Damage>,
}

impl Store {
    /// Every manifest of the store with its file; what does not read as one, with why.
    ///
    /// # Errors
    /// When the folder cannot be read, or a manifest has an unknown version.
    pub fn manifests(&self) -> Result<Vec<StoredManifest>, StoreError> {
        let folder = self.root().join("stages");
        let mut out = Vec::new();
        for file in entries(&folder)? {
            if file.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let manifest = match read_json::<Manifest>(&file, MANIFEST_FORMAT) {
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

    /// Every object on disk, with its size.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn objects(&self) -> Result<Vec<(PathBuf, u64)>, StoreError> {
        let mut out = Vec::new();
        for shard in entries(&self.root().join("objects"))? {
            for file in entries(&shard)? {
                let bytes = fs::metadata(&file).map_or(0, |m| m.len());
                out.push((file, bytes));
            }
        }
        Ok(out)
    }

    /// Checks everything: names and sizes, and with `deep` every byte. `progress` hears of bytes done and in all.
    ///
    /// # Errors
    /// When the store cannot be read at all; damage is no error but a finding.
    pub fn verify(
        &self,
        deep: bool,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Verified, StoreError> {
        let mut out = Verified::default();
        // By digest: the size it should have, and who needs it.
        let mut wanted: BTreeMap<String, (u64, Vec<String>)> = BTreeMap::new();
        for (path, manifest) in self.manifests()? {
            match manifest {
                Ok(m) => {
                    out.stages += 1;
                    for t in m.tables() {
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
                let why = wrong(&path, digest, *bytes, deep);
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
        out.damages.extend(found);
        out.damages.sort();
        Ok(out)
    }
}

fn wrong(path: &std::path::Path, digest: &str, bytes: u64, deep: bool) -> Option<String> {
    match fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Some("it is missing".to_owned()),
        Err(e) => Some(format!("it cannot be read: {e}")),
        Ok(m) if !m.is_file() => Some("it is no file".to_owned()),
        Ok(m) if m.len() != bytes => Some(format!("it has {} bytes, {bytes} were stored", m.len())),
        Ok(_) if deep => match hash_file(path) {
            Ok(d) if d == digest => None,
            Ok(_) => Some("its content is not the one it is named by".to_owned()),
            Err(e) => Some(format!("it cannot be read: {e}")),
        },
        Ok(_) => None,
    }
}

/// What a folder holds, sorted; nothing where there is no folder.
pub(super) fn entries(folder: &std::path::Path) -> Result<Vec<PathBuf>, StoreError> {
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
