//! Digests of the files operators read, hashed once per change, and whether a file changed since.
//!
//! Invariant: a remembered digest is used only when the file cannot have changed since. A file that
//! was touched shortly before it was hashed is never remembered, because a later write within the
//! clock's grain would leave the same times.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gfm_pipe_api::InputFile;
use gfm_pipe_api::files::{self, Stamp};

use super::fingerprint::FileId;
use crate::store::{Digests, Store};

/// How long a file must have been left alone before it is hashed, so that its digest is remembered:
/// longer than the grain of any file system's clock.
const REST: Duration = Duration::from_secs(3);

/// The grain of a clock that counts fractions of a millisecond: the time between two ticks of a
/// kernel.
const TICK: Duration = Duration::from_millis(20);

/// The grain of a clock that counts whole seconds, or pairs of them.
const COARSE: Duration = Duration::from_millis(2100);

/// How many times hashing is tried for a file that keeps changing meanwhile.
const TRIES: u32 = 5;

/// Largest number of digests that are kept. They take some 200 bytes each, and reading them takes
/// less time than reading as many small files.
const MOST: usize = 200_000;

/// Why a file has no digest.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct FileTrouble {
    /// The file, as the user wrote it.
    pub path: PathBuf,
    /// What is wrong.
    pub why: String,
    /// Whether it does not exist.
    pub missing: bool,
    /// The operator's hint on what to do about it.
    pub hint: Option<String>,
}

/// The state of a file when it was hashed, or that it was missing then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// As the user wrote it.
    shown: String,
    path: PathBuf,
    stamp: Option<Stamp>,
}

impl Seen {
    /// What has happened to the file since, in words; `None` when it is untouched.
    pub fn change(&self) -> Option<String> {
        let now = files::metadata(&self.path).map(|meta| Stamp::of(&meta));
        let what = match (&self.stamp, now) {
            (None, Err(_)) => None,
            (None, Ok(_)) => Some("it appeared".to_owned()),
            (Some(_), Err(e)) if e.kind() == io::ErrorKind::NotFound => {
                Some("it is gone".to_owned())
            }
            (Some(_), Err(e)) => Some(e.to_string()),
            (Some(before), Ok(now)) => before.difference(&now).map(str::to_owned),
        };
        what.map(|what| format!("{} changed ({what})", self.shown))
    }
}

/// Digests of files, remembered in the store.
#[derive(Debug)]
pub struct Files {
    base: PathBuf,
    known: Digests,
}

/// Whether a file has been left alone for [`REST`] at `now`.
fn rested(stamp: &Stamp, now: SystemTime) -> bool {
    now.duration_since(stamp.touched())
        .is_ok_and(|age| age >= REST)
}

/// Waits until a later write is bound to leave another stamp than this one: until the file is older
/// than the grain of its file system's clock. A time in the future says nothing and is not waited
/// for.
fn settle(stamp: &Stamp) {
    let times = [stamp.modified_ns, stamp.changed_ns.unsigned_abs()];
    let coarse = times.iter().all(|ns| ns.is_multiple_of(1_000_000));
    let grain = if coarse { COARSE } else { TICK };
    for time in times {
        let time = UNIX_EPOCH + Duration::from_nanos(time);
        if let Ok(age) = SystemTime::now().duration_since(time) {
            thread::sleep(grain.saturating_sub(age));
        }
    }
}

impl Files {
    /// Starts with the digests that the store remembers. Relative paths are relative to `base`.
    pub fn open(store: &Store, base: &Path) -> Self {
        Files {
            base: base.to_owned(),
            known: Digests::new(store.files_path(), MOST),
        }
    }

    /// The folder that relative paths are relative to.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Digests of the files that a stage reads, in order, and each file as it was then.
    ///
    /// # Errors
    /// Every file that is required and missing, or cannot be read.
    pub fn identify(
        &self,
        files: &[InputFile],
    ) -> Result<(Vec<FileId>, Vec<Seen>), Vec<FileTrouble>> {
        let (mut ids, mut seen) = (Vec::new(), Vec::new());
        let mut troubles = Vec::new();
        for f in files.iter().filter(|f| f.read) {
            let path = self.base.join(&f.path);
            let shown = f.path.display().to_string();
            let found = self.digest(&path);
            let (digest, stamp) = match found {
                Ok((digest, stamp)) => (Some(digest), Some(stamp)),
                // A path that cannot be the name of a file counts as missing.
                Err(e)
                    if !f.required
                        && matches!(
                            e.kind(),
                            io::ErrorKind::NotFound
                                | io::ErrorKind::NotADirectory
                                | io::ErrorKind::InvalidFilename
                        ) =>
                {
                    (None, None)
                }
                Err(e) => {
                    // Something that exists but is not a file is not missing.
                    let other = matches!(
                        e.kind(),
                        io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput
                    );
                    let absent = f.absent.is_some() && !other;
                    let missing = e.kind() == io::ErrorKind::NotFound || absent;
                    let absent = f.absent.as_ref().filter(|_| missing);
                    troubles.push(FileTrouble {
                        path: f.path.clone(),
                        why: match absent {
                            Some(absent) => absent.why.clone(),
                            None if missing => "no such file".to_owned(),
                            None => format!("failed to read: {e}"),
                        },
                        missing,
                        hint: absent.map(|absent| absent.hint.clone()),
                    });
                    continue;
                }
            };
            ids.push(FileId {
                path: shown.clone(),
                digest,
            });
            seen.push(Seen { shown, path, stamp });
        }
        if troubles.is_empty() {
            Ok((ids, seen))
        } else {
            Err(troubles)
        }
    }

    /// The digest of a file, and its stamp from before and after it was read.
    fn digest(&self, path: &Path) -> io::Result<(String, Stamp)> {
        // Files whose paths are not valid Unicode are hashed every time.
        let name = std::path::absolute(path).ok();
        let name = name.and_then(|p| p.to_str().map(ToOwned::to_owned));
        for _ in 0..TRIES {
            let now = SystemTime::now();
            let stamp = Stamp::of(&files::metadata(path)?);
            if let Some(name) = &name
                && let Some(digest) = self.known.get(name, &stamp)
            {
                return Ok((digest, stamp));
            }
            settle(&stamp);
            let digest = files::digest_of(path)?;
            // A digest taken while the file was written describes no version of it.
            if stamp
                .difference(&Stamp::of(&files::metadata(path)?))
                .is_some()
            {
                continue;
            }
            if let Some(name) = &name
                && rested(&stamp, now)
            {
                self.known.learn(name, stamp.clone(), digest.clone());
            }
            return Ok((digest, stamp));
        }
        Err(io::Error::other(
            "it changes while it is read: run again once nothing writes to it",
        ))
    }

    /// Saves the digests in the store. Best effort: without them the next run hashes again.
    pub fn save(&self) {
        self.known.save();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use gfm_pipe_api::Absent;
    use std::fs::{self, File};

    fn age(path: &Path) {
        let then = SystemTime::now() - Duration::from_secs(60);
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(then)
            .unwrap();
    }

    fn remembered(files: &Files, path: &Path) -> bool {
        let stamp = Stamp::of(&files::metadata(path).unwrap());
        files.known.get(path.to_str().unwrap(), &stamp).is_some()
    }

    #[test]
    fn a_file_that_rests_is_remembered_and_a_young_one_never() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("s")).unwrap();
        let files = Files::open(&store, dir.path());
        let young = dir.path().join("young");
        fs::write(&young, "a").unwrap();
        files.digest(&young).unwrap();
        assert!(!remembered(&files, &young));
        // A test cannot set the change time back, so `rested` is tested on its own.
        let s = Stamp {
            size: 1,
            modified_ns: 5_000_000_000,
            changed_ns: 9_000_000_000,
            inode: 1,
            device: 1,
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
        let one = files.digest(&path).unwrap().0;
        fs::write(&path, "two").unwrap();
        age(&path);
        assert_ne!(files.digest(&path).unwrap().0, one);
    }

    /// Content alone is not enough: a reader in between may have seen half of the file.
    #[test]
    fn the_same_bytes_written_again_are_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("s")).unwrap();
        let files = Files::open(&store, dir.path());
        let path = dir.path().join("f");
        let look = || {
            let input = [InputFile::new("f", true), InputFile::new("none", false)];
            files.identify(&input).unwrap()
        };
        fs::write(&path, "same").unwrap();
        let (ids, seen) = look();
        assert!(seen.iter().all(|s| s.change().is_none()));
        fs::write(&path, "same").unwrap();
        assert_eq!(look().0, ids);
        let change = seen[0].change();
        assert_eq!(change.as_deref(), Some("f changed (it was written to)"));
        let (_, seen) = look();
        age(&path);
        assert!(seen[0].change().is_some(), "whatever its time says");
        let (_, seen) = look();
        fs::write(dir.path().join("none"), "").unwrap();
        let change = seen[1].change();
        assert_eq!(change.as_deref(), Some("none changed (it appeared)"));
        fs::remove_file(&path).unwrap();
        let change = seen[0].change();
        assert_eq!(change.as_deref(), Some("f changed (it is gone)"));
    }

    /// A write right after hashing leaves another stamp, however fast it comes.
    #[test]
    fn no_write_hides_in_the_grain_of_the_clock() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("s")).unwrap();
        let files = Files::open(&store, dir.path());
        let path = dir.path().join("f");
        for i in 0..20 {
            fs::write(&path, "same").unwrap();
            if i % 2 == 1 {
                // Half of the files have a time in the future.
                let ahead = SystemTime::now() + Duration::from_secs(1000);
                let file = File::options().write(true).open(&path).unwrap();
                file.set_modified(ahead).unwrap();
            }
            let input = [InputFile::new("f", true)];
            let (_, seen) = files.identify(&input).unwrap();
            fs::write(&path, "same").unwrap();
            assert!(seen[0].change().is_some(), "try {i}");
        }
    }

    #[test]
    fn missing_files_are_named_all_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_readonly(dir.path().join("s")).unwrap();
        let files = Files::open(&store, dir.path());
        let file = |p: &str, required| InputFile::new(p, required);
        let (ids, _) = files.identify(&[file("a", false)]).unwrap();
        assert_eq!(ids[0].digest, None);
        fs::create_dir(dir.path().join("d")).unwrap();
        let absent = || Absent {
            why: "it is on the moon".to_owned(),
            hint: String::new(),
        };
        let troubles = files
            .identify(&[
                file("a", true),
                file("b", true),
                file("d", false),
                InputFile::elsewhere("d", absent()),
                InputFile::elsewhere("e", absent()),
            ])
            .unwrap_err();
        let text: Vec<String> = troubles.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "a: no such file",
                "b: no such file",
                "d: failed to read: not a regular file: it is a folder",
                "d: failed to read: not a regular file: it is a folder",
                "e: it is on the moon"
            ]
        );
    }
}
