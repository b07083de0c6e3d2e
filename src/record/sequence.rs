//! The order of runs: each gets a number one above the last, because a clock may jump back or
//! ahead.

use std::fs::File;
use std::io::{Read, Seek, Write};

use super::history::names;
use super::journal::journal;
use crate::store::Store;

/// The number for a run that starts. Best effort: if the last number cannot be read, it is looked
/// up in the journals; if the new one cannot be saved, the next run looks there.
pub(super) fn next(store: &Store) -> u64 {
    let file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(store.sequence_path());
    let Ok(mut file) = file else {
        return highest(store) + 1;
    };
    // Without locks, two runs that start at once may get the same number; then their names order
    // them.
    let _ = file.lock();
    let mut text = String::new();
    let last = Read::by_ref(&mut file)
        .take(64)
        .read_to_string(&mut text)
        .ok();
    let last = last.and_then(|_| text.trim().parse::<u64>().ok());
    let next = last.unwrap_or_else(|| highest(store)).saturating_add(1);
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(format!("{next}\n").as_bytes()));
    next
}

/// The highest number in any journal.
fn highest(store: &Store) -> u64 {
    let names = names(store).unwrap_or_default();
    let journals = names.iter().filter_map(|run| journal(store, run).ok()?);
    journals.filter_map(|j| j.sequence).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::{Event, EventSink, Journal};

    #[test]
    fn numbers_rise_also_when_the_last_one_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("s")).unwrap();
        assert_eq!([next(&store), next(&store), next(&store)], [1, 2, 3]);
        let journal = Journal::start(
            &store,
            "20260101-000000-000-aaaa",
            "p",
            "p.yaml".as_ref(),
            Vec::new(),
        );
        journal.emit(&Event::RunStarted {
            run: "20260101-000000-000-aaaa".to_owned(),
            pipeline: "p".to_owned(),
            stages: Vec::new(),
            version: String::new(),
            expected: std::collections::BTreeMap::new(),
        });
        for lost in ["", "x", "-3"] {
            std::fs::write(store.sequence_path(), lost).unwrap();
            assert_eq!(next(&store), 5);
        }
    }
}
