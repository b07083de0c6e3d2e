//! The shared data that lies beside the workspace, where it is there.

use std::path::{Path, PathBuf};

/// A file or folder of the shared data, or `None` (with the reason printed) where it is absent.
/// `GFM_SHARED` names it, else it is `shared` beside the workspace; `GFM_REQUIRE_SHARED=1` makes a
/// missing one fail.
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
pub fn shared(what: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = std::env::var_os("GFM_SHARED").map_or(workspace.join("../shared"), PathBuf::from);
    let path = root.join(what);
    if path.exists() {
        return Some(path);
    }
    let required = std::env::var("GFM_REQUIRE_SHARED").is_ok_and(|v| v == "1");
    assert!(
        !required,
        "{} is missing and GFM_REQUIRE_SHARED=1",
        path.display()
    );
    eprintln!(
        "skipped: {} is missing (GFM_SHARED says where it is)",
        path.display()
    );
    None
}
