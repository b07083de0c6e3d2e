//! Digests of the files operators read, hashed once per change.
//!
//! A digest is remembered with the file's size, times and inode. Invariant: a remembered digest is used only when the file
//! cannot have changed since: a file touched shortly before it was hashed is never remembered, because a later write within
//! the clock's grain would leave the same times.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gfm_pipe_api::InputFile;
use serde::{Deserialize, Serialize};

use super::fingerprint::FileId;
use crate::store::{Store, hash_file};

const FORMAT: u32 = 1;

/// A file must have rested this long before it was hashed to be remembered: longer than the grain of any file system's clock.
const REST: Duration = Duration::from_secs(3);

/// More entries than this are not kept.
const MOST: usize = 20_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stat {
    size: u64,
    modified_ns: u64,
    changed_ns: i64,
    inode: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Known {
    stat: Stat,
    digest: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct OnDisk {
    format: u32,
    files: BTreeMap<String, Known>,
}

/// Why a file has no digest.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct FileTrouble {
    /// The file, as the user wrote it.
    pub path: PathBuf,
    /// What is wrong.
    pub why: String,
    /// Whether it simply is not there.
    pub missing: bool,
    /// What the operator says can be done about it.
    pub hint: Option<String>,
}

/// Digests of files, with a memory in the store.
#[derive(Debug)]
pub struct Files {
    base: PathBuf,
    path: PathBuf,
    known: Mutex<BTreeMap<String, Known>>,
    learned: Mutex<bool>,
}

fn stat(meta: &Metadata) -> Stat {
    let modified = meta
        .modified()
        .ok()
        .and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    let modified_ns = modified.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
    #[cfg(unix)]
    let (changed_ns, inode) = {
        use std::os::unix::fs::MetadataExt;
        let ns = meta.ctime().saturating_mul(1_000_000_000);
        (ns.saturating_add(meta.ctime_nsec()), meta.ino())
    };
    #[cfg(not(unix))]
    let (changed_ns, inode) = (0, 0);
    Stat {
        size: meta.len(),
        modified_ns,
        changed_ns,
        inode,
    }
}

/// Whether a file has rested at `now`, by the younger of its two times: the change time catches tools that set the other.
fn rested(stat: &Stat, now: SystemTime) -> bool {
    let changed = u64::try_from(stat.changed_ns).unwrap_or(0);
    let touched = UNIX_EPOCH + Duration::from_nanos(stat.modified_ns.max(changed));
    now.duration_since(touched).is_ok_and(|age| age >= REST)
}

impl Files {
    /// Starts with what the store remembers. `base` is what relative paths are relative to.
    pub fn open(store: &Store, base: &Path) -> Self {
        let path = store.files_path();
        // Only a memory: one that cannot be read, or is newer, is an empty one.
        let known = fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<OnDisk>(&bytes).ok())
            .filter(|on_disk| on_disk.format == FORMAT)
            .map(|on_disk| on_disk.files)
            .unwrap_or_default();
        Files {
            base: base.to_owned(),
            path,
            known: Mutex::new(known),
            learned: Mutex::new(false),
        }
    }

    /// What relative paths are relative to.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Digests of the files of a stage, in order.
    ///
    /// # Errors
    /// Every file that is required and missing, or cannot be read.
    pub fn identify(&self, files: &[InputFile]) -> Result<Vec<FileId>, Vec<FileTrouble>> {
        let mut out = Vec::new();
        let mut troubles = Vec::new();
        for f in files {
            match self.digest(&self.base.join(&f.path)) {
                Ok(digest) => out.push(FileId {
                    path: f.path.display().to_string(),
                    digest: Some(digest),
                }),
                // What cannot be the name of a file names none.
                Err(e)
                    if !f.required
                        && matches!(
                            e.kind(),
                            io::ErrorKind::NotFound
                                | io::ErrorKind::NotADirectory
                                | io::ErrorKind::InvalidFilename
                        ) =>
                {
                    out.push(FileId {
                        path: f.path.display().to_string(),
                        digest: None,
                    });
                }
                Err(e) => {
                    let missing = e.kind() == io::ErrorKind::NotFound || f.absent.is_some();
                    let told = f.absent.as_ref().filter(|_| missing);
                    troubles.push(FileTrouble {
                        path: f.path.clone(),
                        why: match told {
                            Some(absent) => absent.why.clone(),
                            None if missing => "no such file".to_owned(),
                            None => format!("failed to read: {e}"),
                        },
                        missing,
                        hint: told.map(|absent| absent.hint.clone()),
                    });
                }
            }
        }
        if troubles.is_empty() {
            Ok(out)
        } else {
            Err(troubles)
        }
    }

    fn digest(&self, path: &Path) -> io::Result<String> {
        let meta = fs::metadata(path)?;
        if meta.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::IsADirectory,
                "it is a folder, a file is expected",
            ));
        }
        let before = stat(&meta);
        // Paths that are no text are hashed every time.
        let name = std::path::absolute(path)
            .ok()
            .and_then(|p| p.to_str().map(ToOwned::to_owned));
        if let Some(name) = &name
            && let Some(known) = locked(&self.known).get(name)
            && known.stat == before
        {
            return Ok(known.digest.clone());
        }
        let now = SystemTime::now();
        let digest = hash_file(path)?;
        let after = stat(&fs::metadata(path)?);
        if let Some(name) = name
            && before == after
            && rested(&before, now)
        {
            let known = Known {
                stat: before,
                digest: digest.clone(),
            };
            locked(&self.known).insert(name, known);
            *locked(&self.learned) = true;
        }
        Ok(digest)
    }

    /// Remembers in the store what was learned. Best effort: without it the next run hashes again.
    pub fn save(&self) {
        let mut learned = locked(&self.learned);
        if !*learned {
            return;
        }
        let mut files = locked(&self.known).clone();
        while files.len() > MOST {
            files.pop_first();
        }
        let on_disk = OnDisk {
            format: FORMAT,
            files,
        };
        if let Ok(bytes) = serde_json::to_vec(&on_disk)
            && crate::store::atomic::write(&self.path, &bytes).is_ok()
        {
            *learned = false;
        }
    }
}

fn locked<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs::File;

    fn age(path: &Path) {
        let then = SystemTime::now() - Duration::from_secs(60);
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(then)
            .unwrap();
    }

    #[test]
    fn a_file_that_rests_is_remembered_and_a_young_one_never() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("s")).unwrap();
        let files = Files::open(&store, dir.path());
        fs::write(dir.path().join("young"), "a").unwrap();
        files.digest(&dir.path().join("young")).unwrap();
        assert!(locked(&files.known).is_empty());
        // The change time cannot be set back, so resting is tested on its own.
        let s = Stat {
            size: 1,
            modified_ns: 5_000_000_000,
            changed_ns: 9_000_000_000,
            inode: 1,
        };
        let at = |secs| UNIX_EPOCH + Duration::from_secs(secs);
        assert!(!rested(&s, at(9)));
        assert!(!rested(&s, at(11)));
        assert!(rested(&s, at(12)));
        assert!(!rested(&s, at(1)), "a time in the future is not trusted");
    }

    #[test]
    fn a_same_sized_edit_with_its_time_set_back_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("s")).unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "one").unwrap();
        age(&path);
        let files = Files::open(&store, dir.path());
        let one = files.digest(&path).unwrap();
        fs::write(&path, "two").unwrap();
        age(&path);
        assert_ne!(files.digest(&path).unwrap(), one);
    }

    #[test]
    fn missing_files_are_named_all_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_readonly(dir.path().join("s")).unwrap();
        let files = Files::open(&store, dir.path());
        let file = |p: &str, required| InputFile::new(p, required);
        let ids = files.identify(&[file("a", false)]).unwrap();
        assert_eq!(ids[0].digest, None);
        fs::create_dir(dir.path().join("d")).unwrap();
        let troubles = files
            .identify(&[file("a", true), file("b", true), file("d", false)])
            .unwrap_err();
        let text: Vec<String> = troubles.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "a: no such file",
                "b: no such file",
                "d: failed to read: it is a folder, a file is expected"
            ]
        );
    }
}
