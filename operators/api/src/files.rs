//! Opens files for reading (all code does so through this module), and detects changes of files.
//!
//! Invariant: nothing here waits for a writer. A pipe, a socket or a device in place of a file is
//! refused before it is opened, because opening one may block for ever and reading one may never
//! end.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The properties of a file that change when it is written, replaced or moved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Size in bytes.
    pub size: u64,
    /// Time of the last write, in nanoseconds since 1970.
    pub modified_ns: u64,
    /// Time of the last change of content, name or permissions. Programs cannot set it back.
    pub changed_ns: i64,
    /// Number of the file on its device.
    pub inode: u64,
    /// The device.
    pub device: u64,
}

impl Stamp {
    /// The stamp in a file's metadata.
    pub fn of(meta: &Metadata) -> Self {
        let modified = meta.modified().ok();
        let modified = modified.and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        #[cfg(unix)]
        let (changed_ns, inode, device) = {
            use std::os::unix::fs::MetadataExt;
            let ns = meta.ctime().saturating_mul(1_000_000_000);
            let changed = ns.saturating_add(meta.ctime_nsec());
            (changed, meta.ino(), meta.dev())
        };
        #[cfg(not(unix))]
        let (changed_ns, inode, device) = (0, 0, 0);
        Stamp {
            size: meta.len(),
            modified_ns: modified.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
            changed_ns,
            inode,
            device,
        }
    }

    /// When the file was last touched: the later of its two times.
    pub fn touched(&self) -> SystemTime {
        let changed = u64::try_from(self.changed_ns).unwrap_or(0);
        UNIX_EPOCH + Duration::from_nanos(self.modified_ns.max(changed))
    }

    /// Describes, for messages, what differs from a later stamp of the same path; `None` where they
    /// are equal.
    pub fn difference(&self, later: &Stamp) -> Option<&'static str> {
        if (self.device, self.inode) != (later.device, later.inode) {
            Some("another file took its place")
        } else if self.size != later.size {
            Some("its size changed")
        } else if self.modified_ns != later.modified_ns {
            Some("it was written to")
        } else if self.changed_ns != later.changed_ns {
            Some("its change time moved")
        } else {
            None
        }
    }
}

/// Returns an error for anything but a regular file.
fn regular(meta: &Metadata) -> io::Result<()> {
    let kind = meta.file_type();
    if kind.is_file() {
        return Ok(());
    }
    if kind.is_dir() {
        let text = "not a regular file: it is a folder";
        return Err(io::Error::new(io::ErrorKind::IsADirectory, text));
    }
    #[cfg(unix)]
    let what = {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            "a pipe"
        } else if kind.is_socket() {
            "a socket"
        } else {
            "a device"
        }
    };
    #[cfg(not(unix))]
    let what = "something else";
    let text = format!("not a regular file: it is {what}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// Metadata of a regular file; links are followed.
///
/// # Errors
/// When the path does not exist, or is a folder, a pipe, a socket or a device.
pub fn metadata(path: &Path) -> io::Result<Metadata> {
    let meta = fs::metadata(path)?;
    regular(&meta)?;
    Ok(meta)
}

/// Opens a regular file for reading.
///
/// # Errors
/// See [`metadata`].
pub fn open(path: &Path) -> io::Result<File> {
    metadata(path)?;
    let file = File::open(path)?;
    // Something else may have taken its place since.
    regular(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file whole. If it is written to meanwhile, the result is an error rather than a
/// mixture of old and new content.
///
/// # Errors
/// See [`open`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let before = file.metadata()?;
    let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0).min(1 << 30));
    file.read_to_end(&mut bytes)?;
    let after = file.metadata()?;
    // Not the change time: a file that is replaced by another one is still whole.
    if before.len() != after.len() || before.modified().ok() != after.modified().ok() {
        return Err(io::Error::other(
            "it changed while it was read: try again once nothing writes to it",
        ));
    }
    Ok(bytes)
}

/// Reads a regular file of UTF-8 text whole.
///
/// # Errors
/// See [`read`]; and when it is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// BLAKE3 digest of what is left of a reader, hex.
///
/// # Errors
/// When it cannot be read.
pub fn digest(reader: impl Read) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(reader)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// BLAKE3 digest of a regular file, hex.
///
/// # Errors
/// See [`open`]; and when it cannot be read.
pub fn digest_of(path: &Path) -> io::Result<String> {
    digest(open(path)?)
}

/// Makes the names inside a folder survive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    // Not every system can open a folder to sync it; where that works, an error is a real one.
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("gfm-pipe-api-files-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_not_a_file_is_refused_at_once() {
        let folder = Folder::new("kinds");
        let pipe = folder.0.join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let socket = folder.0.join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let link = folder.0.join("link");
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        for (path, what) in [
            (pipe.as_path(), "a pipe"),
            (&link, "a pipe"),
            (&socket, "a socket"),
            (Path::new("/dev/zero"), "a device"),
            (&folder.0, "a folder"),
        ] {
            let want = format!("not a regular file: it is {what}");
            assert_eq!(open(path).unwrap_err().to_string(), want);
            assert_eq!(read(path).unwrap_err().to_string(), want);
            assert_eq!(read_text(path).unwrap_err().to_string(), want);
            assert_eq!(metadata(path).unwrap_err().to_string(), want);
        }
        let missing = open(&folder.0.join("none")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        fs::write(folder.0.join("file"), "text").unwrap();
        assert_eq!(read_text(&folder.0.join("file")).unwrap(), "text");
    }

    #[test]
    fn a_stamp_says_what_changed() {
        let folder = Folder::new("stamps");
        let path = folder.0.join("f");
        let stamp = || Stamp::of(&metadata(&path).unwrap());
        fs::write(&path, "one").unwrap();
        let first = stamp();
        assert_eq!(first.difference(&stamp()), None);
        fs::write(&path, "longer").unwrap();
        assert_eq!(first.difference(&stamp()), Some("its size changed"));
        fs::write(&path, "two").unwrap();
        let long_ago = UNIX_EPOCH + Duration::from_secs(1);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(long_ago).unwrap();
        assert_eq!(first.difference(&stamp()), Some("it was written to"));
        fs::write(folder.0.join("g"), "two").unwrap();
        fs::rename(folder.0.join("g"), &path).unwrap();
        let moved = first.difference(&stamp());
        assert_eq!(moved, Some("another file took its place"));
    }
}
