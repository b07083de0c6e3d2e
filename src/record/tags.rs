//! Names that users give to runs: `runs/<name>.tag` holds the name of a run. `gc` keeps what a run
//! with a tag used.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::journal::run_named_in;
use crate::store::{Store, StoreError, atomic};

const ENDING: &str = ".tag";

/// Longest name of a tag, in bytes.
const MOST: usize = 64;

/// Whether a text can be a tag: it becomes part of a path, and does not look like the name of a
/// run.
pub fn is_tag(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let starts = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    starts && text != "latest" && text.len() <= MOST && text.bytes().all(plain)
}

fn path(store: &Store, tag: &str) -> PathBuf {
    store.root().join("runs").join(format!("{tag}{ENDING}"))
}

/// The run that a tag names; `None` where there is no such tag.
///
/// # Errors
/// When it cannot be read.
pub fn tagged(store: &Store, tag: &str) -> Result<Option<String>, StoreError> {
    if !is_tag(tag) {
        return Ok(None);
    }
    run_named_in(&path(store, tag))
}

/// Whether there is a file for a tag, even one that cannot be read.
pub fn exists(store: &Store, tag: &str) -> bool {
    is_tag(tag) && path(store, tag).exists()
}

/// All tags with their runs, and the errors of those that cannot be read.
///
/// # Errors
/// When the folder cannot be read.
pub fn all(store: &Store) -> Result<(BTreeMap<String, String>, Vec<StoreError>), StoreError> {
    let folder = store.root().join("runs");
    let listing = match fs::read_dir(&folder) {
        Ok(listing) => listing,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(e) => return Err(StoreError::io("read", &folder)(e)),
    };
    let names = listing
        .flatten()
        .filter_map(|f| f.file_name().into_string().ok());
    let (mut out, mut bad) = (BTreeMap::new(), Vec::new());
    for name in names {
        let Some(tag) = name.strip_suffix(ENDING) else {
            continue;
        };
        match tagged(store, tag) {
            Ok(Some(run)) => drop(out.insert(tag.to_owned(), run)),
            Ok(None) => {}
            Err(e) => bad.push(e),
        }
    }
    Ok((out, bad))
}

/// Makes a tag name a run, or removes it.
///
/// # Errors
/// When the disk refuses.
pub fn set(store: &Store, tag: &str, run: Option<&str>) -> Result<(), StoreError> {
    let path = path(store, tag);
    match run {
        Some(run) => atomic::write(&path, format!("{run}\n").as_bytes()),
        None => fs::remove_file(&path).map_err(StoreError::io("remove", &path)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tags_name_runs() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("s")).unwrap();
        assert_eq!(tagged(&store, "prod").unwrap(), None);
        set(&store, "prod", Some("20260101-1")).unwrap();
        set(&store, "v1.0", Some("20260101-2")).unwrap();
        set(&store, "prod", Some("20260101-3")).unwrap();
        assert_eq!(tagged(&store, "prod").unwrap().unwrap(), "20260101-3");
        let want = [("prod", "20260101-3"), ("v1.0", "20260101-2")];
        let want = want.map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(all(&store).unwrap().0, BTreeMap::from(want));
        set(&store, "prod", None).unwrap();
        assert_eq!(all(&store).unwrap().0.len(), 1);
        set(&store, "v1.0", Some("../../etc")).unwrap();
        let (tags, bad) = all(&store).unwrap();
        assert_eq!((tags.len(), bad.len()), (0, 1));
        assert!(exists(&store, "v1.0"));
        assert!(
            tagged(&store, "v1.0")
                .unwrap_err()
                .to_string()
                .contains("names no run")
        );
    }

    #[test]
    fn a_tag_is_a_plain_name() {
        for good in ["prod", "v1.0", "A_b-c"] {
            assert!(is_tag(good), "{good}");
        }
        let long = "x".repeat(65);
        for bad in [
            "",
            "latest",
            "2026",
            ".",
            "..",
            "a/b",
            "a b",
            "-n",
            "é",
            long.as_str(),
        ] {
            assert!(!is_tag(bad), "{bad}");
        }
    }
}
