//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

/// A store that cannot be used, or an operation on it that failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("failed to {action} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb: "write".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Written by a version of gfm-pipe that this one does not know.
    #[error(
        "{} has format version {found}, this gfm-pipe knows versions up to {known}",
        path.display()
    )]
    Version {
        /// The file that contains the version.
        path: PathBuf,
        /// The version found.
        found: String,
        /// The latest version that this gfm-pipe knows.
        known: u32,
    },
    /// The folder is not empty and is not a store.
    #[error("{} is not empty and is not a gfm-pipe store", path.display())]
    NotAStore {
        /// The folder.
        path: PathBuf,
    },
    /// A file of the store cannot be parsed.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An object is missing or has other bytes than were written.
    #[error("{} is damaged: {why}", path.display())]
    Object {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The user asked to stop while waiting.
    #[error("interrupted")]
    Cancelled,
}

impl StoreError {
    /// Wraps an I/O error: `action` is a verb as in "failed to write".
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::Io {
            action,
            path,
            source,
        }
    }

    /// Whether the error means that the store may be read but not written.
    pub fn is_read_only(&self) -> bool {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        match self {
            StoreError::Io { source, .. } => {
                matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem)
            }
            _ => false,
        }
    }

    /// The same error with another path and action, so that the user sees a name they know instead
    /// of a temporary one.
    pub(crate) fn of(self, action: &'static str, path: &Path) -> StoreError {
        match self {
            StoreError::Io { source, .. } => StoreError::io(action, path)(source),
            other => other,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            StoreError::Io { .. } if self.is_read_only() => Some(
                "a store that cannot be written can be looked at (plan, why, show, runs, verify); \
                 to run, choose another folder with --store DIR"
                    .to_owned(),
            ),
            StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotADirectory => {
                Some("choose a folder with --store DIR".to_owned())
            }
            StoreError::Io { source, .. } => full_disk(source).map(ToOwned::to_owned),
            StoreError::Version { .. } => Some(
                "use the gfm-pipe that wrote it, or another folder with --store DIR".to_owned(),
            ),
            StoreError::NotAStore { .. } => {
                Some("give an empty or new folder with --store DIR".to_owned())
            }
            StoreError::Damaged { path, .. } => Some(format!(
                "remove {} and run again: what it described is computed anew",
                path.display()
            )),
            StoreError::Object { .. } => {
                Some("run the pipeline again: what is damaged is computed anew".to_owned())
            }
            StoreError::Cancelled => None,
        }
    }
}

/// What the user can do if this error, or one of its causes, is a full disk.
pub(crate) fn full_disk(e: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut cause = Some(e);
    while let Some(e) = cause {
        let io = e.downcast_ref::<io::Error>();
        if io.is_some_and(|e| {
            use io::ErrorKind::{QuotaExceeded, StorageFull};
            matches!(e.kind(), StorageFull | QuotaExceeded)
        }) {
            return Some("make room on the disk and run again: finished stages are kept");
        }
        // `source` of an I/O error skips the error that it wraps, so that one is asked for first.
        cause = match io.and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => e.source(),
        };
    }
    None
}
