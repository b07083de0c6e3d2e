//! Garbage collection: removes what no kept run needs.
//!
//! Invariant: manifests are removed before the objects they name, so that a crash in between leaves
//! objects without a manifest, never a manifest without its objects. The caller holds the store
//! exclusively ([`Store::alone`]): no run is going on. Items are removed last: without them, a
//! stage computes more and nothing is wrong.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gfm_pipe_api::items::{self, Dead};

use super::error::StoreError;
use super::items::Live;
use super::layout::Store;
use super::manifest::Manifest;
use super::verify::{entries, is_file};
use crate::plan::Key;

/// What to remove in addition to what no kept run needs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extent {
    /// Checkpoints of unfinished stages.
    pub checkpoints: bool,
    /// All results of single items, those of kept stages too.
    pub items: bool,
    /// Answers of language models too, which cost money, as far as the rest says.
    pub answers: bool,
}

/// What would be removed.
#[derive(Debug, Default)]
pub struct Garbage {
    /// Manifests of stages that no kept run needs.
    pub stages: Vec<PathBuf>,
    /// Objects that no kept stage names, with their sizes.
    pub objects: Vec<(PathBuf, u64)>,
    /// Codes of vectors whose object is gone or goes, with their sizes.
    pub codes: Vec<(PathBuf, u64)>,
    /// Folders with checkpoints of stages that were never finished, with their sizes.
    pub work: Vec<(PathBuf, u64)>,
    /// Results of single items that no kept stage was made of.
    pub items: Vec<Dead>,
    /// What earlier versions kept of single items, with its size.
    pub old_cache: Vec<(PathBuf, u64)>,
    /// Files with events, metrics and messages of runs that are not kept, with their sizes.
    pub events: Vec<(PathBuf, u64)>,
    /// Says which items stay.
    live: Live,
    /// Number of stages that stay.
    pub kept: u64,
}

impl Garbage {
    /// Bytes that removing it frees.
    pub fn bytes(&self) -> u64 {
        let all = self.objects.iter().chain(&self.work);
        let all = all.chain(&self.codes);
        let all = all.chain(&self.old_cache).chain(&self.events);
        let items = self.items.iter().map(|dead| dead.bytes);
        all.map(|(_, bytes)| *bytes).chain(items).sum()
    }

    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
            && self.objects.is_empty()
            && self.codes.is_empty()
            && self.work.is_empty()
            && self.items.is_empty()
            && self.old_cache.is_empty()
            && self.events.is_empty()
    }
}

impl Store {
    /// Everything that is not needed for the keys in `keep`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn garbage(&self, keep: &BTreeSet<Key>, extent: Extent) -> Result<Garbage, StoreError> {
        let mut out = Garbage::default();
        let (mut named, mut kept) = (BTreeSet::new(), Vec::new());
        for (path, manifest) in self.manifests()? {
            match manifest {
                Ok(m) if keep.contains(&m.key) => {
                    out.kept += 1;
                    named.extend(m.objects().map(|t| self.object(&t.digest)));
                    kept.push(m);
                }
                // A damaged manifest is of no use to anybody.
                _ => out.stages.push(path),
            }
        }
        let objects = self.objects()?.into_iter();
        out.objects = objects.filter(|(p, _)| !named.contains(p)).collect();
        out.codes = self.dead_codes(|object| named.contains(object))?;
        let folders = |of: PathBuf| -> Result<Vec<(PathBuf, u64)>, StoreError> {
            let all = entries(&of)?.into_iter();
            Ok(all.map(|f| (f.clone(), size(&f))).collect())
        };
        if extent.checkpoints {
            out.work = folders(self.root().join("work"))?;
        }
        out.old_cache = folders(self.old_cache())?;
        if !extent.items {
            let workdirs = if extent.checkpoints {
                Vec::new()
            } else {
                entries(&self.root().join("work"))?
            };
            out.live = self.live_items(&kept, &workdirs);
        }
        out.items = self.dead_items(&out.live, extent.answers)?;
        Ok(out)
    }

    /// The items that are not live. Answers that cost money are only among them if they may be.
    fn dead_items(&self, live: &Live, answers: bool) -> Result<Vec<Dead>, StoreError> {
        let folders = items::folders(&self.items_root()).into_iter();
        let dead = folders.filter(|f| answers || !f.is_paid()).map(|folder| {
            let dead = folder.dead(&live.needs(&folder));
            dead.map_err(StoreError::io("read", folder.path()))
        });
        dead.filter_map(Result::transpose).collect()
    }

    /// What only the stages with these keys need, and their checkpoints; with `items`, also the
    /// results of single items that they alone were made of. Everything else stays, also what is
    /// damaged or of no use to anybody.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn garbage_of(&self, keys: &BTreeSet<Key>, items: bool) -> Result<Garbage, StoreError> {
        let mut out = Garbage::default();
        let (mut gone, mut kept) = (Vec::new(), Vec::new());
        let file_of = |key: &Key| self.manifest_path(key.as_str());
        let files: BTreeSet<PathBuf> = keys.iter().map(file_of).collect();
        for (path, manifest) in self.manifests()? {
            match (files.contains(&path), manifest) {
                (true, manifest) => {
                    out.stages.push(path);
                    gone.extend(manifest);
                }
                (false, manifest) => kept.extend(manifest),
            }
        }
        out.kept = kept.len() as u64;
        let paths = |manifests: &[Manifest]| -> BTreeSet<PathBuf> {
            let objects = manifests.iter().flat_map(Manifest::objects);
            objects.map(|t| self.object(&t.digest)).collect()
        };
        let named = paths(&kept);
        let mut objects = paths(&gone);
        objects.retain(|p| !named.contains(p));
        out.codes = self.dead_codes(|object| !objects.contains(object))?;
        out.objects = objects.into_iter().map(|p| (p.clone(), size(&p))).collect();
        let (own, others): (Vec<PathBuf>, Vec<PathBuf>) = entries(&self.root().join("work"))?
            .into_iter()
            .partition(|folder| keys.iter().any(|key| self.workdir(key.as_str()) == *folder));
        if items {
            let live = self.live_items(&kept, &others);
            out.live = live.sparing_all_but(self.live_items(&gone, &own));
            out.items = self.dead_items(&out.live, false)?;
        }
        out.work = own.into_iter().map(|f| (f.clone(), size(&f))).collect();
        Ok(out)
    }

    /// The files with events, metrics and messages of these runs, with their sizes.
    pub fn events_files(&self, runs: &[&str]) -> Vec<(PathBuf, u64)> {
        let files = runs.iter().flat_map(|run| {
            [
                self.events_path(run),
                self.metrics_path(run),
                self.log_path(run),
                self.run_lock_path(run),
            ]
        });
        files
            .filter_map(|path| {
                let meta = fs::symlink_metadata(&path).ok()?;
                meta.is_file().then_some((path, meta.len()))
            })
            .collect()
    }

    /// Removes the garbage.
    ///
    /// # Errors
    /// When the disk refuses; what was removed before that stays removed.
    pub fn remove(&self, garbage: &Garbage) -> Result<(), StoreError> {
        for path in &garbage.stages {
            remove(path)?;
        }
        super::atomic::sync_dir(&self.root().join("stages"))?;
        for (path, _) in garbage.objects.iter().chain(&garbage.codes) {
            remove(path)?;
        }
        let others = garbage.events.iter().chain(&garbage.work);
        for (path, _) in others.chain(&garbage.old_cache) {
            remove(path)?;
        }
        for Dead { folder, .. } in &garbage.items {
            let removed = folder.remove_dead(&garbage.live.needs(folder));
            removed.map_err(StoreError::io("remove items in", folder.path()))?;
        }
        self.read.retain(|digest| is_file(&self.object(digest)));
        Ok(())
    }
}

/// Removes a file, a link (not its target) or a folder. It is not an error if it does not exist.
fn remove(path: &Path) -> Result<(), StoreError> {
    let folder = fs::symlink_metadata(path).is_ok_and(|m| m.is_dir());
    let removed = if folder {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path)(e))
        }
        _ => Ok(()),
    }
}

/// Size in bytes of a file, or of all files below a folder. What cannot be read is not counted;
/// links are not followed.
fn size(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(m) if m.is_dir() => {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|e| size(&e.path())).sum()
        }
        Ok(m) if m.is_file() => m.len(),
        _ => 0,
    }
}
