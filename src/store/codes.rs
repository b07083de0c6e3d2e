//! Codes of vectors, which operators make of objects and keep below `codes/`
//! (`gfm_pipe_api::vector_table`).
//!
//! They are a cache: without them, they are made again. `gc` removes those whose object goes, and
//! no remote gets them.

use std::fs;
use std::path::{Path, PathBuf};

use gfm_pipe_api::vector_table::{CodesFolder, is_sound};
use rayon::prelude::*;

use super::error::StoreError;
use super::layout::Store;
use super::verify::{entries, is_digest};

impl Store {
    /// Where codes of vectors are kept.
    pub(super) fn codes_folder(&self) -> CodesFolder {
        CodesFolder {
            path: self.root().join("codes"),
            tmp: self.tmp(),
        }
    }

    /// Every file with codes, and its size; those of other versions of the format, too. Links are
    /// not followed; other files are ignored.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn codes(&self) -> Result<Vec<(PathBuf, u64)>, StoreError> {
        let mut out = Vec::new();
        for version in folders(&self.codes_folder().path)? {
            for shard in folders(&version)? {
                for file in entries(&shard)? {
                    let (name, shard) = (object_of(&file), shard.file_name());
                    let ours = is_digest(name) && name.get(..2) == shard.and_then(|s| s.to_str());
                    if let Ok(meta) = fs::symlink_metadata(&file)
                        && ours
                        && meta.is_file()
                    {
                        out.push((file, meta.len()));
                    }
                }
            }
        }
        Ok(out)
    }

    /// The files with codes of which no object is left, if only those objects stay that `stays`
    /// accepts.
    pub(super) fn dead_codes(
        &self,
        stays: impl Fn(&Path) -> bool,
    ) -> Result<Vec<(PathBuf, u64)>, StoreError> {
        let needed = |file: &Path| {
            let object = self.object(object_of(file));
            file == self.codes_folder().file(object_of(file)) && object.is_file() && stays(&object)
        };
        let all = self.codes()?.into_iter();
        Ok(all.filter(|(file, _)| !needed(file)).collect())
    }

    /// Removes damaged files of codes. With `deep`, all bytes are read. Returns the size of all
    /// files that are sound, and those that are not, with what was done.
    pub(super) fn check_codes(
        &self,
        deep: bool,
    ) -> Result<(u64, Vec<(PathBuf, String)>), StoreError> {
        // Those of other versions are not read, and `gc` removes them.
        let current = |file: &Path| file == self.codes_folder().file(object_of(file));
        let all = self.codes()?.into_par_iter();
        let checked = all.filter(|(file, _)| current(file)).map(|(file, bytes)| {
            match is_sound(&file, object_of(&file), deep) {
                Ok(true) => (bytes, None),
                Ok(false) => {
                    let why = "its codes of vectors are damaged";
                    let done = match fs::remove_file(&file) {
                        Ok(()) => "it was removed, and they are made again when needed".to_owned(),
                        Err(e) => format!("it cannot be removed: {e}"),
                    };
                    (0, Some((file, format!("{why}; {done}"))))
                }
                // `gc` has removed it.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => (0, None),
                Err(e) => (bytes, Some((file, format!("it cannot be read: {e}")))),
            }
        });
        let (bytes, damages): (Vec<u64>, Vec<_>) = checked.unzip();
        let damages = damages.into_iter().flatten().collect();
        Ok((bytes.into_iter().sum(), damages))
    }
}

/// The digest of the object whose codes a file has.
fn object_of(file: &Path) -> &str {
    file.file_name().and_then(|n| n.to_str()).unwrap_or("")
}

/// The folders in a folder; links are not followed.
fn folders(of: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut out = entries(of)?;
    out.retain(|path| fs::symlink_metadata(path).is_ok_and(|m| m.is_dir()));
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::{BTreeMap, BTreeSet};

    use gfm_pipe_api::vector_table::Codes;
    use gfm_pipe_api::{Artifact, Cancel, TableFile, kinds};

    use super::*;
    use crate::store::several_tests::{Lab, digests, table_of};
    use crate::store::{Extent, Give, Manifest, Remote};

    /// Opens the codes of the vectors of a stage.
    fn open(store: &Store, stage: &Manifest) -> Codes {
        let vectors = TableFile {
            name: "vectors".to_owned(),
            ..store.table(table_of(&stage.ports))
        };
        let artifact = Artifact {
            kind: &kinds::EMBEDDINGS,
            name: "s.notes".to_owned(),
            tables: vec![vectors],
        };
        Codes::open(&artifact).unwrap()
    }

    fn objects(store: &Store) -> BTreeSet<String> {
        let codes = store.codes().unwrap().into_iter();
        codes.map(|(file, _)| object_of(&file).to_owned()).collect()
    }

    fn owned(of: BTreeSet<&str>) -> BTreeSet<String> {
        of.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn codes_go_with_their_objects() {
        let lab = Lab::new();
        let store = &lab.store;
        let mut numbers: Vec<u32> = (0..6000).collect();
        let old = lab.stage("old", &numbers);
        numbers.remove(3000);
        let new = lab.stage("new", &numbers);
        let without = store.disk_used();
        assert_eq!(open(store, &old).len(), 6000);
        let again = open(store, &new);
        assert_eq!(again.len(), 5999);
        let (a, b) = (digests(table_of(&old.ports)), digests(table_of(&new.ports)));
        assert_eq!(objects(store), owned(a.union(&b).copied().collect()));
        let bytes: u64 = store.codes().unwrap().iter().map(|(_, bytes)| bytes).sum();
        assert!(bytes > 6000 * 8);
        assert_eq!(store.disk_used(), without + bytes);

        // Another version's, and what others put there.
        let codes = store.codes_folder().path;
        let one = b.first().unwrap();
        let version = codes.join("0").join(&one[..2]).join(one);
        fs::create_dir_all(version.parent().unwrap()).unwrap();
        fs::write(&version, "old").unwrap();
        let strange = [codes.join("notes.txt"), version.with_file_name("notes.txt")];
        strange
            .iter()
            .for_each(|path| fs::write(path, "mine").unwrap());

        let garbage_of = |keep: &Manifest| {
            let keep = BTreeSet::from([keep.key.clone()]);
            store.garbage(&keep, Extent::default()).unwrap()
        };
        let garbage = garbage_of(&new);
        let of = store.garbage_of(&BTreeSet::from([old.key.clone()]), false);
        assert_eq!(of.unwrap().codes, garbage.codes);
        assert!(garbage.codes.contains(&(version.clone(), 3)));
        store.remove(&garbage).unwrap();
        assert_eq!(objects(store), owned(b.clone()));
        assert!(!version.exists() && strange.iter().all(|path| path.exists()));
        assert!(garbage_of(&new).is_empty());

        // An object that is gone takes its codes with it, even if a manifest still names it.
        fs::remove_file(store.object(one)).unwrap();
        let garbage = garbage_of(&new);
        assert!(garbage.objects.is_empty() && !garbage.is_empty());
        let gone: Vec<&str> = garbage
            .codes
            .iter()
            .map(|(file, _)| object_of(file))
            .collect();
        assert_eq!(gone, [*one]);
        assert_eq!(garbage.bytes(), garbage.codes[0].1);
    }

    #[test]
    fn verify_removes_damaged_codes() {
        let lab = Lab::new();
        let store = &lab.store;
        let stage = lab.stage("write-notes", &(0..6000).collect::<Vec<_>>());
        let verify = |deep| store.verify(deep, &|_, _| {}).unwrap();
        let without = verify(true).bytes;
        open(store, &stage);
        let files = store.codes().unwrap();
        let bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        let sound = verify(true);
        assert_eq!((sound.bytes, sound.codes), (without + bytes, 0));
        assert!(sound.damages.is_empty());

        let path = &files[1].0;
        let whole = fs::read(path).unwrap();
        let mut rotten = whole.clone();
        rotten[100] ^= 1;
        // A quick look sees the size only.
        for (deep, bytes) in [(true, &rotten[..]), (false, &whole[..70])] {
            fs::write(path, bytes).unwrap();
            let found = verify(deep);
            assert_eq!((found.codes, found.damages.len()), (1, 1));
            assert_eq!(&found.damages[0].path, path);
            assert!(
                found.damages[0].why.contains("removed"),
                "{:?}",
                found.damages
            );
            assert!(!path.exists());
            assert!(verify(true).damages.is_empty());
            open(store, &stage);
            assert_eq!(fs::read(path).unwrap(), whole);
        }
    }

    #[test]
    fn a_remote_gets_no_codes() {
        let lab = Lab::new();
        let stage = lab.stage("write-notes", &(0..6000).collect::<Vec<_>>());
        open(&lab.store, &stage);
        let place = tempfile::tempdir().unwrap();
        let remote = place.path().to_str().unwrap();
        let remote = Remote::open(remote, &BTreeMap::new(), true).unwrap();
        let keys = [(stage.key.clone(), Give::IfMissing)];
        remote.push(&lab.store, &keys, &Cancel::default());
        assert_eq!(remote.news(), Vec::<String>::new());
        let given: BTreeSet<PathBuf> = entries(&place.path().join("v1"))
            .unwrap()
            .into_iter()
            .collect();
        let want = ["objects", "stages"].map(|name| place.path().join("v1").join(name));
        assert_eq!(given, BTreeSet::from(want));
    }
}
