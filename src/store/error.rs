//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

/// A store that cannot be used, or an operation on it that failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("failed to {action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Written by a version of gfm-pipe this one does not know.
    #[error(
        "{} has format version {found}, this gfm-pipe knows version {known} only",
        path.display()
    )]
    Version {
        /// The file that says so.
        path: PathBuf,
        /// Version found.
        found: String,
        /// Version known.
        known: u32,
    },
    /// A folder that is something else.
    #[error("{} is not empty and is no gfm-pipe store", path.display())]
    NotAStore {
        /// The folder.
        path: PathBuf,
    },
    /// A file of the store that does not read as what it should be.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
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

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            StoreError::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("make room on the disk and run again: finished stages are kept".to_owned())
                }
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Some("choose another folder with --store DIR".to_owned())
                }
                _ => None,
            },
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
            StoreError::Cancelled => None,
        }
    }
}
