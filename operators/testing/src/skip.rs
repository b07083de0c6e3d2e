//! Skips tests that cannot run everywhere, and reports it, so that a missing test does not look
//! like a passing one.

use std::env;
use std::path::{Path, PathBuf};

/// List of what may be missing in CI, with reasons.
const ALLOWED: &str = include_str!("../../../tests/allowed-skips.txt");

/// Reports that a test is skipped because `missing` is not there; the test then returns.
///
/// # Panics
/// When skips are forbidden (`GFM_PIPE_FORBID_SKIPS=1`, set in CI) and `missing` is not listed in
/// `tests/allowed-skips.txt`.
#[track_caller]
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
pub fn skip(missing: &str, reason: &str) {
    let forbidden = env::var("GFM_PIPE_FORBID_SKIPS").is_ok_and(|v| v == "1");
    assert!(
        !forbidden || is_allowed(ALLOWED, missing),
        "skipped, which tests/allowed-skips.txt does not allow: {missing}: {reason}"
    );
    eprintln!("skipped: {missing}: {reason}");
}

/// The path of a file or folder in the data folder beside the repository, or `None` after reporting
/// a skip where it is missing. `GFM_SHARED` names the data folder; by default it is `../shared`.
///
/// # Panics
/// When it is missing and `GFM_REQUIRE_SHARED=1`.
#[track_caller]
pub fn shared(what: &str) -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let path = env::var_os("GFM_SHARED")
        .map_or(default, PathBuf::from)
        .join(what);
    if path.exists() {
        return Some(path);
    }
    let required = env::var("GFM_REQUIRE_SHARED").is_ok_and(|v| v == "1");
    let missing = format!("{} (GFM_SHARED says where the folder is)", path.display());
    assert!(!required, "missing though GFM_REQUIRE_SHARED=1: {missing}");
    skip("shared-data", &missing);
    None
}

/// Whether a list contains a name. Each line of the list starts with a name, and a reason follows.
fn is_allowed(list: &str, name: &str) -> bool {
    let lines = list.lines().filter(|l| !l.starts_with('#'));
    lines
        .filter_map(|l| l.split_whitespace().next())
        .any(|n| n == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_names_are_allowed() {
        let list = "# gpu in a comment\nshared-data  it lies elsewhere\n";
        assert!(is_allowed(list, "shared-data"));
        assert!(!is_allowed(list, "shared"));
        assert!(!is_allowed(list, "gpu"));
    }

    #[test]
    fn every_allowed_skip_has_a_reason() {
        for line in ALLOWED
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
        {
            assert!(line.split_whitespace().count() > 3, "{line}");
        }
    }
}
