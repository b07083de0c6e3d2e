//! Digests of files that were read before, so that an unchanged file is not read again.
//!
//! A digest is stored with the file's [`Stamp`]. This is only a cache: if it is lost, or cannot be
//! read or written, that costs time and nothing else. Several processes may share one file: each
//! adds what it learned to what is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use gfm_pipe_api::files::{self, Stamp};
use serde::{Deserialize, Serialize};

use super::atomic;

/// Raised when the meaning of an entry changes. A cache of an older format counts as empty.
const FORMAT: u32 = 2;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    stamp: Stamp,
    digest: String,
}

type Entries = BTreeMap<String, Known>;

#[derive(Debug, Serialize, Deserialize)]
struct OnDisk {
    format: u32,
    files: Entries,
}

/// Digests by name, backed by a file of the store that is read when first needed.
#[derive(Debug)]
pub struct Digests {
    path: PathBuf,
    /// The maximum number of entries that are saved.
    most: usize,
    read: OnceLock<Entries>,
    /// Digests that this process computed; they override those read from the file.
    learned: Mutex<Entries>,
}

fn read(path: &Path) -> Entries {
    files::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<OnDisk>(&bytes).ok())
        .filter(|on_disk| on_disk.format == FORMAT)
        .map(|on_disk| on_disk.files)
        .unwrap_or_default()
}

impl Digests {
    /// A cache backed by a file, which need not exist yet.
    pub fn new(path: PathBuf, most: usize) -> Self {
        Digests {
            path,
            most,
            read: OnceLock::new(),
            learned: Mutex::default(),
        }
    }

    fn learned(&self) -> MutexGuard<'_, Entries> {
        // Every change is a single insert.
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The digest of the file with this name and stamp, if known.
    pub fn get(&self, name: &str, stamp: &Stamp) -> Option<String> {
        let fits = |known: &Known| (known.stamp == *stamp).then(|| known.digest.clone());
        if let Some(known) = self.learned().get(name) {
            return fits(known);
        }
        let read = self.read.get_or_init(|| read(&self.path));
        read.get(name).and_then(fits)
    }

    /// Remembers the digest of the file with this name and stamp.
    pub fn learn(&self, name: &str, stamp: Stamp, digest: String) {
        // What is already known is not saved again.
        if self.get(name, &stamp).as_ref() == Some(&digest) {
            return;
        }
        let known = Known { stamp, digest };
        self.learned().insert(name.to_owned(), known);
    }

    /// Saves what was learned, merged with what other processes saved meanwhile. Best effort.
    pub fn save(&self) {
        let mut learned = self.learned();
        if learned.is_empty() {
            return;
        }
        let mut files = read(&self.path);
        files.extend(learned.iter().map(|(name, k)| (name.clone(), k.clone())));
        // Start with entries that this process did not learn itself.
        let (own, old): (Vec<&String>, Vec<&String>) =
            files.keys().partition(|name| learned.contains_key(*name));
        let surplus = files.len().saturating_sub(self.most);
        let surplus: Vec<String> = old.into_iter().chain(own).take(surplus).cloned().collect();
        for name in surplus {
            files.remove(&name);
        }
        if self.write(files) {
            learned.clear();
        }
    }

    /// Forgets the entries whose names are not `wanted`. Best effort.
    pub fn retain(&self, wanted: impl Fn(&str) -> bool) {
        let mut files = read(&self.path);
        let before = files.len();
        files.retain(|name, _| wanted(name));
        if files.len() != before {
            self.write(files);
        }
    }

    fn write(&self, files: Entries) -> bool {
        let on_disk = OnDisk {
            format: FORMAT,
            files,
        };
        serde_json::to_vec(&on_disk).is_ok_and(|bytes| atomic::write(&self.path, &bytes).is_ok())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn stamp(size: u64) -> Stamp {
        Stamp {
            size,
            modified_ns: 1,
            changed_ns: 1,
            inode: 1,
            device: 1,
        }
    }

    #[test]
    fn two_processes_add_to_one_memory_and_the_later_look_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("files.json");
        let open = |most| Digests::new(path.clone(), most);
        let (one, two) = (open(9), open(9));
        one.learn("a", stamp(1), "old".to_owned());
        two.learn("a", stamp(1), "new".to_owned());
        two.learn("b", stamp(2), "b".to_owned());
        one.save();
        two.save();
        let third = open(9);
        assert_eq!(third.get("a", &stamp(1)).as_deref(), Some("new"));
        assert_eq!(third.get("b", &stamp(2)).as_deref(), Some("b"));
        assert_eq!(third.get("b", &stamp(3)), None);
        assert_eq!(third.get("c", &stamp(1)), None);
        // What this process learned replaces what was read, even though the stamp now differs.
        third.learn("b", stamp(4), "c".to_owned());
        assert_eq!(third.get("b", &stamp(2)), None);
        third.retain(|name| name == "a");
        assert_eq!(open(9).get("b", &stamp(2)), None);
    }

    #[test]
    fn it_stays_small_and_a_broken_one_is_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("files.json");
        for (i, name) in ["b", "c", "a"].into_iter().enumerate() {
            let memory = Digests::new(path.clone(), 2);
            memory.learn(name, stamp(i as u64), name.to_owned());
            memory.save();
        }
        let last = Digests::new(path.clone(), 2);
        assert_eq!(last.get("b", &stamp(0)), None);
        assert_eq!(last.get("a", &stamp(2)).as_deref(), Some("a"));
        std::fs::write(&path, "{{{").unwrap();
        assert_eq!(Digests::new(path, 2).get("a", &stamp(2)), None);
    }
}
