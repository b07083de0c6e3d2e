//! Locks between processes: one per key, and one for the store as a whole.
//!
//! The operating system holds them, so a killed process leaves nothing to unlock. The files of
//! these locks are never removed: if one were removed while another process waits on it, two
//! processes could hold the lock. The text in a lock file only tells other processes whom they are
//! waiting for.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use gfm_pipe_api::{Cancel, files};

use super::error::StoreError;
use super::layout::Store;

const POLL: Duration = Duration::from_millis(100);

/// Held while a stage is computed; released when dropped or when the process ends.
#[derive(Debug)]
pub struct KeyLock {
    _file: File,
}

/// Held for as long as a run goes on, so that other processes can tell it from a killed run. Its
/// file is removed with it: run names are never reused, so nobody waits for this lock.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
    path: PathBuf,
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // If this fails, an unlocked file stays; the journal says that the run ended.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Who holds a lock, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// When it took the lock: UTC, as text.
    pub since: String,
    /// What it holds the lock for: the name of a stage.
    pub what: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.pid == std::process::id() {
            write!(f, "stage `{}` of this run", self.what)
        } else {
            write!(
                f,
                "process {} ({}), since {}",
                self.pid, self.what, self.since
            )
        }
    }
}

/// Whether a lock was acquired. On a file system without locks, every attempt succeeds: two
/// processes may then compute the same stage, with the same result.
fn got(tried: Result<(), TryLockError>, path: &Path) -> Result<bool, StoreError> {
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => Ok(true),
        Err(TryLockError::Error(e)) => Err(StoreError::io("lock", path)(e)),
    }
}

/// Writes into the lock file who holds it. Best effort: the text is for people, no decision depends
/// on it.
fn sign(file: &mut File, what: &str) {
    let text = format!(
        "{}\n{}\n{what}\n",
        std::process::id(),
        crate::record::utc(SystemTime::now())
    );
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(text.as_bytes()));
}

fn signed(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(4096).read_to_string(&mut text).ok()?;
    let mut lines = text.lines();
    Some(Holder {
        pid: lines.next()?.parse().ok()?,
        since: lines.next()?.to_owned(),
        what: lines.next()?.to_owned(),
    })
}

impl Store {
    /// Opens or creates a lock file. Every writer does this first, so a failure here is reported as
    /// a store that cannot be written.
    fn open_lock(&self, path: &Path) -> Result<File, StoreError> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path);
        file.map_err(StoreError::io("write to the store", self.root()))
    }

    /// Waits until no other process computes `key`, then holds its lock for `what`. If it has to
    /// wait, it calls `waiting` once, with the holder if known.
    ///
    /// # Errors
    /// When the lock file cannot be made, or the user asked to stop while waiting.
    pub fn lock(
        &self,
        key: &str,
        what: &str,
        cancel: &Cancel,
        waiting: impl FnOnce(Option<Holder>),
    ) -> Result<KeyLock, StoreError> {
        let path = self.lock_path(key);
        let mut file = self.open_lock(&path)?;
        let mut waiting = Some(waiting);
        // Polling, not blocking: Ctrl-C must end the wait.
        while !got(file.try_lock(), &path)? {
            if let Some(tell) = waiting.take() {
                tell(signed(&mut file));
            }
            if cancel.is_cancelled() {
                return Err(StoreError::Cancelled);
            }
            std::thread::sleep(POLL);
        }
        sign(&mut file, what);
        Ok(KeyLock { _file: file })
    }

    /// Marks a run as going on; returns `None` where the file system has no locks.
    ///
    /// # Errors
    /// When the lock file cannot be made.
    pub fn lock_run(&self, run: &str) -> Result<Option<RunLock>, StoreError> {
        let path = self.run_lock_path(run);
        let file = self.open_lock(&path)?;
        match file.lock() {
            Ok(()) => Ok(Some(RunLock { _file: file, path })),
            Err(e) if e.kind() == ErrorKind::Unsupported => Ok(None),
            Err(e) => Err(StoreError::io("lock", &path)(e)),
        }
    }

    /// Whether a process holds a run's lock; `None` if that cannot be determined.
    pub fn run_held(&self, run: &str) -> Option<bool> {
        let file = match files::open(&self.run_lock_path(run)) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Some(false),
            Err(_) => return None,
        };
        // Shared, so that two processes that check at once do not take each other for the run. The
        // lock is released when this function returns.
        match file.try_lock_shared() {
            Ok(()) => Some(false),
            Err(TryLockError::WouldBlock) => Some(true),
            Err(TryLockError::Error(_)) => None,
        }
    }

    /// Locks the store against garbage collection, together with other runs. Waits if a collection
    /// is in progress.
    ///
    /// # Errors
    /// See [`Store::lock`].
    pub fn in_use(&self, cancel: &Cancel) -> Result<KeyLock, StoreError> {
        let path = self.lock_path("store");
        let file = self.open_lock(&path)?;
        while !got(file.try_lock_shared(), &path)? {
            if cancel.is_cancelled() {
                return Err(StoreError::Cancelled);
            }
            std::thread::sleep(POLL);
        }
        Ok(KeyLock { _file: file })
    }

    /// Locks the store exclusively; `None` when a run is going on.
    ///
    /// # Errors
    /// When the lock file cannot be made.
    pub fn alone(&self) -> Result<Option<KeyLock>, StoreError> {
        let path = self.lock_path("store");
        let file = self.open_lock(&path)?;
        Ok(got(file.try_lock(), &path)?.then_some(KeyLock { _file: file }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_second_waits_until_the_first_is_done_or_the_user_stops() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("s")).unwrap();
        let first = store.lock("k", "kg", &Cancel::default(), |_| {}).unwrap();
        let cancel = Cancel::default();
        let stopper = cancel.clone();
        let mut holder = None;
        let e = store
            .lock("k", "other", &cancel, |h| {
                holder = h;
                stopper.cancel();
            })
            .unwrap_err();
        assert!(matches!(e, StoreError::Cancelled));
        assert_eq!(holder.unwrap().to_string(), "stage `kg` of this run");
        store
            .lock("j", "kg", &Cancel::default(), |_| panic!("nobody holds it"))
            .unwrap();
        drop(first);
        store.lock("k", "kg", &Cancel::default(), |_| {}).unwrap();
    }

    #[test]
    fn a_run_is_held_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("s")).unwrap();
        assert_eq!(store.run_held("r"), Some(false));
        let held = store.lock_run("r").unwrap().unwrap();
        assert_eq!(store.run_held("r"), Some(true));
        assert_eq!(store.run_held("r"), Some(true));
        drop(held);
        assert_eq!(store.run_held("r"), Some(false));
        assert!(!store.run_lock_path("r").exists());
        // This is what a killed process leaves behind.
        File::create(store.run_lock_path("r")).unwrap();
        assert_eq!(store.run_held("r"), Some(false));
    }

    #[test]
    fn runs_share_the_store_and_who_wants_it_alone_waits_for_all() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("s")).unwrap();
        let a = store.in_use(&Cancel::default()).unwrap();
        let b = store.in_use(&Cancel::default()).unwrap();
        drop(a);
        assert!(store.alone().unwrap().is_none());
        drop(b);
        let alone = store.alone().unwrap();
        assert!(alone.is_some());
        let cancel = Cancel::default();
        cancel.cancel();
        assert!(matches!(store.in_use(&cancel), Err(StoreError::Cancelled)));
    }
}
