//! Earlier runs: their journals, and which of them are pinned.
//!
//! Runs are ordered by their sequence numbers, because the times in their names come from clocks
//! that may have been wrong. Runs of earlier versions have no number; they come first, ordered by
//! name. `gc` keeps the artifacts of pinned runs; a pin is a file beside the journal.

use std::fs;
use std::path::PathBuf;

use super::journal::{JournalFile, is_run, journal};
use super::read::fault;
use super::tags;
use crate::store::{Store, StoreError, atomic};

/// An earlier run.
#[derive(Debug, Clone)]
pub struct PastRun {
    /// Its journal.
    pub journal: JournalFile,
    /// Whether `gc` keeps what it used.
    pub pinned: bool,
    /// The names that users gave it; `gc` keeps what a run with a name used.
    pub tags: Vec<String>,
}

impl PastRun {
    /// `pinned` for a run that is, and the names that users gave it.
    pub fn names(&self) -> String {
        let pinned = self.pinned.then_some("pinned");
        let tags = self.tags.iter().map(String::as_str);
        pinned.into_iter().chain(tags).collect::<Vec<_>>().join(" ")
    }
}

fn pin_path(store: &Store, run: &str) -> PathBuf {
    store.journal_path(run).with_extension("pin")
}

/// Names of all runs, sorted.
pub(super) fn names(store: &Store) -> Result<Vec<String>, StoreError> {
    let folder = store.root().join("runs");
    let listing = match fs::read_dir(&folder) {
        Ok(listing) => listing,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(StoreError::io("read", &folder)(e)),
    };
    let mut names: Vec<String> = listing
        .flatten()
        // A folder with such a name is not a journal.
        .filter(|f| f.file_type().is_ok_and(|t| t.is_file()))
        .filter_map(|f| f.file_name().into_string().ok())
        .filter_map(|f| f.strip_suffix(".json").map(str::to_owned))
        .filter(|name| is_run(name))
        .collect();
    names.sort();
    Ok(names)
}

/// All runs, oldest first, and the errors of journals and tags that cannot be read.
///
/// # Errors
/// When the folder cannot be read, or a journal has an unknown version.
pub fn runs(store: &Store) -> Result<(Vec<PastRun>, Vec<StoreError>), StoreError> {
    let names = names(store)?;
    let (tags, mut bad) = tags::all(store)?;
    let mut out = Vec::new();
    for name in names {
        match journal(store, &name) {
            Ok(Some(journal)) => out.push(PastRun {
                pinned: pin_path(store, &name).exists(),
                tags: tags
                    .iter()
                    .filter(|(_, run)| **run == name)
                    .map(|(tag, _)| tag.clone())
                    .collect(),
                journal,
            }),
            Ok(None) => {}
            Err(e @ StoreError::Damaged { .. }) => bad.push(e),
            Err(e) => return Err(e),
        }
    }
    // The sort is stable: runs with the same number stay ordered by name.
    out.sort_by_key(|r: &PastRun| r.journal.sequence);
    Ok((out, bad))
}

/// The event files that are damaged, each with what is wrong.
///
/// # Errors
/// When the folder of runs cannot be read.
pub fn faults(store: &Store) -> Result<Vec<(PathBuf, String)>, StoreError> {
    let names = names(store)?;
    Ok(names.iter().flat_map(|run| fault(store, run)).collect())
}

/// Finds a run by its name, an unambiguous prefix of it, a tag, or `latest`.
///
/// # Errors
/// The names that the text could mean, if it does not identify one run.
pub fn find<'a>(all: &'a [PastRun], text: &str) -> Result<&'a PastRun, Vec<&'a str>> {
    if text == "latest" {
        return all.last().ok_or_else(Vec::new);
    }
    if let Some(run) = all.iter().find(|r| r.tags.iter().any(|tag| tag == text)) {
        return Ok(run);
    }
    let starts: Vec<&PastRun> = all
        .iter()
        .filter(|r| r.journal.run.starts_with(text))
        .collect();
    match starts.as_slice() {
        [one] => Ok(one),
        _ => Err(starts.iter().map(|r| r.journal.run.as_str()).collect()),
    }
}

/// The run whose name starts with a text, without reading any journal.
///
/// # Errors
/// The inner error has the names that the text could mean, if it does not identify one run; the
/// outer one says why the runs cannot be listed.
pub fn named(store: &Store, text: &str) -> Result<Result<String, Vec<String>>, StoreError> {
    let mut starts = names(store)?;
    starts.retain(|name| name.starts_with(text));
    Ok(match starts.len() {
        1 => Ok(starts.remove(0)),
        _ => Err(starts),
    })
}

/// Pins a run, or unpins it.
///
/// # Errors
/// When the disk refuses.
pub fn pin(store: &Store, run: &str, pinned: bool) -> Result<(), StoreError> {
    let path = pin_path(store, run);
    if pinned {
        return atomic::write(&path, b"");
    }
    match fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", &path)(e))
        }
        _ => Ok(()),
    }
}
