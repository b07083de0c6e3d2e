//! The only way a file gets its final name.
//!
//! Write under a temporary name on the same file system, sync the file, rename it, sync the folder.
//! Invariant: a final name never shows a half-written file, whatever the instant of a crash.
//! Leftovers of a crash keep their temporary names and are swept by [`sweep`] once nobody holds
//! them.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use fail::fail_point;
use gfm_pipe_api::files;

use super::error::StoreError;

/// How every temporary name starts.
const PREFIX: &str = ".tmp-";

/// What is between the name of a temporary file and the number of a companion.
const OF: &str = ".";

/// A temporary file younger than this is never swept: its writer may not have locked it yet.
const SWEEP_AGE: Duration = Duration::from_secs(3600);

/// A file under a temporary name; removed when dropped before [`TempFile::persist`].
#[derive(Debug)]
pub struct TempFile {
    /// `None` once it was closed.
    file: Option<File>,
    path: PathBuf,
    persisted: bool,
}

/// A number that no other temporary file of this process has.
fn next() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    COUNTER.fetch_add(1, Ordering::Relaxed)
}

impl TempFile {
    /// Creates a temporary file in `dir`, which must be on the file system of the final name.
    ///
    /// # Errors
    /// When the folder is missing or not writable.
    pub fn create(dir: &Path) -> Result<Self, StoreError> {
        loop {
            let path = dir.join(format!("{PREFIX}{}-{}", std::process::id(), next()));
            if let Some(temp) = TempFile::create_at(path)? {
                // The lock only tells `sweep` that the writer is alive; where the file system has
                // no locks, the file's age decides.
                let _ = temp.file.as_ref().map(File::try_lock);
                return Ok(temp);
            }
        }
    }

    /// Says that the file is still in use, for file systems without locks, where its age decides
    /// whether it is swept. Best effort.
    pub fn renew(&self) {
        let file = File::options().append(true).open(&self.path);
        let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// Creates another temporary file, which is not swept as long as this one is there and open.
    ///
    /// # Errors
    /// When the folder is missing or not writable.
    pub fn companion(&self) -> Result<Self, StoreError> {
        loop {
            let mut path = self.path.clone().into_os_string();
            path.push(format!("{OF}{}", next()));
            if let Some(temp) = TempFile::create_at(path.into())? {
                return Ok(temp);
            }
        }
    }

    /// `None` if there is a leftover of a dead process that had the same process id.
    fn create_at(path: PathBuf) -> Result<Option<Self>, StoreError> {
        match File::create_new(&path) {
            Ok(file) => Ok(Some(TempFile {
                file: Some(file),
                path,
                persisted: false,
            })),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
            Err(e) => Err(StoreError::io("create", &path)(e)),
        }
    }

    /// Syncs and closes a complete file, for callers with more files than a process may have open.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn close(&mut self) -> Result<(), StoreError> {
        match self.file.take() {
            Some(file) => file.sync_all().map_err(StoreError::io("sync", &self.path)),
            None => Ok(()),
        }
    }

    /// The temporary name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Syncs the file and gives it its final name, replacing what was there. The folder is not
    /// synced yet: see [`sync_dir`], which callers with many files call once.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn persist(mut self, to: &Path) -> Result<(), StoreError> {
        fail_point!("persist-before-sync");
        self.close()?;
        fail_point!("persist-before-rename");
        fs::rename(&self.path, to).map_err(StoreError::io("create", to))?;
        self.persisted = true;
        fail_point!("persist-after-rename");
        Ok(())
    }
}

impl TempFile {
    fn open_file(&self) -> std::io::Result<&File> {
        let closed = || std::io::Error::other("the file is closed");
        self.file.as_ref().ok_or_else(closed)
    }
}

impl Write for &TempFile {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.open_file()?.write(buf)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.open_file()?.flush()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.persisted {
            // Best effort: `sweep` removes it later if this fails.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the names inside a folder survive a power cut.
///
/// # Errors
/// When the disk refuses.
pub fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    // Not every system can open a folder to sync it; where that works, an error is a real one.
    if cfg!(unix) {
        fail_point!("folder-before-sync");
        File::open(dir)
            .and_then(|d| d.sync_all())
            .map_err(StoreError::io("sync", dir))?;
    }
    Ok(())
}

/// Writes a whole file, replacing what was there.
///
/// # Errors
/// When the disk refuses; the old content is still there then.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    replace(path, bytes).map_err(|e| e.of("write", path))
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let temp = TempFile::create(dir)?;
    // In two halves, so that a test can stop between them.
    let (first, second) = bytes.split_at(bytes.len() / 2);
    (&temp)
        .write_all(first)
        .and_then(|()| {
            fail_point!("file-mid-write");
            (&temp).write_all(second)
        })
        .map_err(StoreError::io("write", temp.path()))?;
    temp.persist(path)?;
    sync_dir(dir)
}

/// Removes temporary files of dead processes from a folder. Best effort: what cannot be removed
/// stays.
pub fn sweep(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    let now = SystemTime::now();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Some(number) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let old = entry
            .metadata()
            .and_then(|m| m.modified())
            .ok()
            .and_then(|t| now.duration_since(t).ok())
            .is_some_and(|age| age > SWEEP_AGE);
        if !old {
            continue;
        }
        let owner = number
            .split_once(OF)
            .map(|(of, _)| dir.join(format!("{PREFIX}{of}")));
        if owner.is_some_and(|owner| is_held(&owner) == Some(true)) {
            continue;
        }
        if is_held(&entry.path()) == Some(false) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether somebody holds a file. `None` for anything but a regular file, which is not ours, and
/// which may block when it is opened.
fn is_held(path: &Path) -> Option<bool> {
    let file = files::open(path).ok()?;
    Some(matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_dropped_file_leaves_nothing_and_a_written_one_replaces() {
        let dir = tempfile::tempdir().unwrap();
        drop(TempFile::create(dir.path()).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let path = dir.path().join("a");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_sweep_takes_old_leftovers_only() {
        let dir = tempfile::tempdir().unwrap();
        let long_ago = SystemTime::now() - 2 * SWEEP_AGE;
        for name in [".tmp-1-0", ".tmp-1-1", "kept"] {
            let f = File::create(dir.path().join(name)).unwrap();
            if name != ".tmp-1-1" {
                f.set_modified(long_ago).unwrap();
            }
        }
        let old = |temp: &TempFile| {
            let file = temp.file.as_ref().unwrap();
            file.set_modified(long_ago).unwrap();
        };
        let held = TempFile::create(dir.path()).unwrap();
        old(&held);
        let dead = TempFile::create(dir.path()).unwrap();
        for of in [&held, &dead] {
            let mut companion = of.companion().unwrap();
            old(&companion);
            companion.close().unwrap();
            companion.persisted = true;
        }
        old(&dead);
        drop(dead);
        sweep(dir.path());
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let held = held
            .path()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let of_held = left
            .iter()
            .find(|name| name.starts_with(&format!("{held}.")));
        let of_held = of_held.unwrap().clone();
        let mut want = vec![".tmp-1-1".to_owned(), held, of_held, "kept".to_owned()];
        want.sort();
        assert_eq!(left, want);
    }
}
