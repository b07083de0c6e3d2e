//! What the targets share.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder for what this process writes: scripts/fuzz names one in `GFM_PIPE_FUZZ_FOLDER`. What
/// the call before has left there is still there.
pub fn folder() -> PathBuf {
    let folder = std::env::var_os("GFM_PIPE_FUZZ_FOLDER");
    PathBuf::from(folder.expect("GFM_PIPE_FUZZ_FOLDER names a folder"))
}

/// A file in that folder with these bytes.
pub fn with_file<T>(name: &str, bytes: &[u8], use_it: impl FnOnce(&Path) -> T) -> T {
    let path = folder().join(name);
    fs::write(&path, bytes).expect("the file of this target");
    use_it(&path)
}
