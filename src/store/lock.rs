//! Locks between processes, one per key.
//!
//! The operating system holds them, so a killed process leaves nothing to unlock. Lock files stay: removing one that another
//! process waits on would let two in.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::time::Duration;

use gfm_pipe_api::Cancel;

use super::error::StoreError;
use super::layout::Store;

const POLL: Duration = Duration::from_millis(100);

/// Held while a stage is computed; released when dropped or when the process ends.
#[derive(Debug)]
pub struct KeyLock {
    _file: File,
}

impl Store {
    /// Waits until no other process computes `key`. `waiting` is called once when there is something to wait for.
    ///
    /// # Errors
    /// When the lock file cannot be made, or the user asked to stop while waiting.
    pub fn lock(
        &self,
        key: &str,
        cancel: &Cancel,
        waiting: impl FnOnce(),
    ) -> Result<KeyLock, StoreError> {
        let path = self.lock_path(key);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(StoreError::io("create", &path))?;
        let mut waiting = Some(waiting);
        // Polling, not blocking: Ctrl-C must end the wait.
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(KeyLock { _file: file }),
                Err(TryLockError::WouldBlock) => {}
                // A file system without locks: two processes may compute a stage twice, with the same result.
                Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {
                    return Ok(KeyLock { _file: file });
                }
                Err(TryLockError::Error(e)) => return Err(StoreError::io("lock", &path)(e)),
            }
            if let Some(tell) = waiting.take() {
                tell();
            }
            if cancel.is_cancelled() {
                return Err(StoreError::Cancelled);
            }
            std::thread::sleep(POLL);
        }
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
        let first = store.lock("k", &Cancel::default(), || {}).unwrap();
        let cancel = Cancel::default();
        let stopper = cancel.clone();
        let e = store
            .lock("k", &cancel, move || stopper.cancel())
            .unwrap_err();
        assert!(matches!(e, StoreError::Cancelled));
        store
            .lock("other", &Cancel::default(), || panic!("nobody holds it"))
            .unwrap();
        drop(first);
        store.lock("k", &Cancel::default(), || {}).unwrap();
    }
}
