//! Results that operators keep between runs: bytes under an id that stands for everything they
//! depend on.
//!
//! A folder of the cache holds packs, files that are written once. A pack consists of the bytes of
//! its entries one after the other, an index of them, and a trailer. Entries and index have
//! checksums: whatever is damaged or cannot be read counts as absent. Several processes may read
//! and write a folder at once, because a pack gets its name only when it is complete.
//!
//! The caller decides what an id depends on. `gfm-pipe gc --cache` removes the folder.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::files;
use crate::{OpError, OpResult};

/// A digest of everything that an entry depends on.
pub type Id = [u8; 16];

/// The last bytes of a pack, which name its format.
const MAGIC: &[u8; 8] = b"gfmkept1";
const ENDING: &str = "pack";
/// Bytes of an entry in the index: id, digest, length.
const ROW: usize = 16 + 16 + 8;
/// Bytes of the trailer: number of entries, digest of the index, magic.
const TRAILER: usize = 8 + 32 + 8;
/// New entries are written at the latest after this time, so that a killed stage loses no more.
const KEEP_EVERY: Duration = Duration::from_secs(15);
/// New entries are written once they take this many bytes of memory.
const KEEP_BYTES: usize = 64 << 20;

/// The id of some parts, for a purpose `what`. Other parts or another purpose have another id.
pub fn id(what: &str, parts: &[&str]) -> Id {
    let mut hasher = blake3::Hasher::new_derive_key(what);
    for part in parts {
        // The length tells two ways to cut the same characters apart.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    start(&hasher.finalize())
}

/// The first `N` bytes of a digest.
fn start<const N: usize>(digest: &blake3::Hash) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&digest.as_bytes()[..N]);
    out
}

/// Where the bytes of an entry are, and their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    pack: u32,
    offset: u64,
    length: u64,
    digest: [u8; 16],
}

/// What a folder of the cache held when it was opened.
pub struct ResultCache {
    folder: PathBuf,
    packs: Vec<PathBuf>,
    places: HashMap<Id, Place>,
}

impl ResultCache {
    /// Reads the indexes of the packs in `cache/what/name`.
    pub fn open(cache: &Path, what: &str, name: &str) -> Self {
        let folder = cache.join(what).join(name);
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let packs = entries.map(|e| e.path());
        let mut packs: Vec<PathBuf> = packs
            .filter(|p| p.extension().is_some_and(|e| e == ENDING))
            .collect();
        // Of equal ids the newest counts: it was made because an older one was damaged.
        packs.sort_by_cached_key(|path| files::metadata(path).and_then(|m| m.modified()).ok());
        let mut places = HashMap::new();
        for (pack, path) in (0..).zip(&packs) {
            // A pack that another process has just removed, or a broken one, is skipped.
            places.extend(index(path, pack).into_iter().flatten());
        }
        ResultCache {
            folder,
            packs,
            places,
        }
    }

    /// Calls `found` for each id that has an entry, in any order, with the id's position in `ids`
    /// and the entry's bytes.
    pub fn read(&self, ids: &[Id], mut found: impl FnMut(usize, &[u8])) {
        let place = |(i, id)| self.places.get(id).map(|place| (*place, i));
        let mut wanted: Vec<(Place, usize)> = ids.iter().enumerate().filter_map(place).collect();
        wanted.sort_unstable();
        let mut bytes = Vec::new();
        for of_pack in wanted.chunk_by(|a, b| a.0.pack == b.0.pack) {
            let path = &self.packs[of_pack[0].0.pack as usize];
            let Ok(mut file) = files::open(path) else {
                continue;
            };
            for (place, i) in of_pack {
                if entry(&mut file, place, &mut bytes).is_some() {
                    found(*i, &bytes);
                }
            }
        }
    }

    /// Stores entries: all of them or, if this fails, none.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write(&self, entries: &[(Id, Vec<u8>)]) -> OpResult<()> {
        /// Tells unfinished files of one process apart.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if entries.is_empty() {
            return Ok(());
        }
        let mut index = Vec::with_capacity(entries.len() * ROW);
        for (id, bytes) in entries {
            index.extend(id);
            index.extend(start::<16>(&blake3::hash(bytes)));
            index.extend((bytes.len() as u64).to_le_bytes());
        }
        let digest = blake3::hash(&index);
        let path = self.folder.join(format!("{}.{ENDING}", digest.to_hex()));
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let aside = path.with_extension(format!("{}-{next}.unfinished", std::process::id()));
        let written = || -> std::io::Result<()> {
            std::fs::create_dir_all(&self.folder)?;
            let mut file = BufWriter::new(File::create(&aside)?);
            for (_, bytes) in entries {
                file.write_all(bytes)?;
            }
            file.write_all(&index)?;
            file.write_all(&(entries.len() as u64).to_le_bytes())?;
            file.write_all(digest.as_bytes())?;
            file.write_all(MAGIC)?;
            file.into_inner()?.sync_all()?;
            std::fs::rename(&aside, &path)
        };
        written().map_err(|e| {
            // An unfinished file is of no use. If it cannot be removed, that does no harm.
            let _ = std::fs::remove_file(&aside);
            OpError::wrap("failed to keep results for later runs", e).file(&path)
        })
    }
}

/// The entries of a pack; `None` where the file is not a complete pack.
fn index(path: &Path, pack: u32) -> Option<Vec<(Id, Place)>> {
    let mut file = files::open(path).ok()?;
    let size = file.seek(SeekFrom::End(0)).ok()?;
    let mut trailer = [0; TRAILER];
    let end = size.checked_sub(TRAILER as u64)?;
    file.seek(SeekFrom::Start(end)).ok()?;
    file.read_exact(&mut trailer).ok()?;
    let (count, rest) = trailer.split_first_chunk()?;
    let (digest, magic) = rest.split_first_chunk::<32>()?;
    let length = u64::from_le_bytes(*count).checked_mul(ROW as u64)?;
    let entries_end = end.checked_sub(length).filter(|_| magic == MAGIC)?;
    let mut rows = vec![0; usize::try_from(length).ok()?];
    file.seek(SeekFrom::Start(entries_end)).ok()?;
    file.read_exact(&mut rows).ok()?;
    if blake3::hash(&rows).as_bytes() != digest {
        return None;
    }
    let mut offset = 0;
    let mut out = Vec::with_capacity(rows.len() / ROW);
    for row in rows.chunks_exact(ROW) {
        let (id, rest) = row.split_first_chunk()?;
        let (digest, length) = rest.split_first_chunk()?;
        let length = u64::from_le_bytes(length.try_into().ok()?);
        let place = Place {
            pack,
            offset,
            length,
            digest: *digest,
        };
        out.push((*id, place));
        offset = length.checked_add(offset).filter(|o| *o <= entries_end)?;
    }
    Some(out)
}

/// Reads an entry into `bytes`; `None` where it is damaged.
fn entry(file: &mut File, place: &Place, bytes: &mut Vec<u8>) -> Option<()> {
    bytes.clear();
    file.seek(SeekFrom::Start(place.offset)).ok()?;
    file.take(place.length).read_to_end(bytes).ok()?;
    (start::<16>(&blake3::hash(bytes)) == place.digest).then_some(())
}

/// Entries that are not written yet.
pub struct New {
    entries: Vec<(Id, Vec<u8>)>,
    bytes: usize,
    since: Instant,
}

impl Default for New {
    fn default() -> Self {
        New {
            entries: Vec::new(),
            bytes: 0,
            since: Instant::now(),
        }
    }
}

impl New {
    /// Adds an entry.
    pub fn push(&mut self, id: Id, bytes: Vec<u8>) {
        self.bytes += bytes.len();
        self.entries.push((id, bytes));
    }

    /// Whether it is time to write them.
    pub fn is_due(&self) -> bool {
        self.bytes >= KEEP_BYTES || self.since.elapsed() >= KEEP_EVERY
    }

    /// Writes the entries to `kept`, and empties this list.
    ///
    /// # Errors
    /// When writing fails.
    pub fn keep(&mut self, kept: &ResultCache) -> OpResult<()> {
        kept.write(&std::mem::take(self).entries)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use super::*;

    fn named(text: &str) -> Id {
        id("test", &[text])
    }

    fn entries(of: &[(&str, &str)]) -> Vec<(Id, Vec<u8>)> {
        let entry = |(name, bytes): &(&str, &str)| (named(name), bytes.as_bytes().to_vec());
        of.iter().map(entry).collect()
    }

    fn found(cache: &Path, names: &[&str]) -> Vec<Option<String>> {
        let ids: Vec<Id> = names.iter().map(|n| named(n)).collect();
        let mut out = vec![None; ids.len()];
        ResultCache::open(cache, "what", "name").read(&ids, |i, bytes| {
            out[i] = Some(String::from_utf8(bytes.to_vec()).unwrap());
        });
        out
    }

    fn some(texts: &[&str]) -> Vec<Option<String>> {
        texts.iter().map(|t| Some((*t).to_owned())).collect()
    }

    fn packs(folder: &Path) -> Vec<PathBuf> {
        let all = std::fs::read_dir(folder).unwrap();
        all.map(|e| e.unwrap().path()).collect()
    }

    #[test]
    fn ids_tell_cuts_of_the_same_characters_apart() {
        let all = [
            id("a", &["xy", ""]),
            id("a", &["x", "y"]),
            id("a", &["", "xy"]),
            id("a", &["xy"]),
            id("b", &["xy"]),
        ];
        for (i, id) in all.iter().enumerate() {
            assert!(!all[..i].contains(id), "{i}");
        }
    }

    #[test]
    fn what_was_kept_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(found(dir.path(), &["a"]), [None]);
        let kept = ResultCache::open(dir.path(), "what", "name");
        kept.write(&entries(&[("a", "one"), ("b", ""), ("c", "three")]))
            .unwrap();
        kept.write(&entries(&[("d", "four")])).unwrap();
        kept.write(&[]).unwrap();
        assert_eq!(packs(&kept.folder).len(), 2);
        assert_eq!(
            found(dir.path(), &["d", "c", "b", "a", "c"]),
            some(&["four", "three", "", "one", "three"])
        );
        assert_eq!(
            found(dir.path(), &["x", "a"]),
            [None, Some("one".to_owned())]
        );
        let mut new = New::default();
        new.push(named("e"), b"five".to_vec());
        assert!(!new.is_due());
        new.keep(&kept).unwrap();
        new.keep(&kept).unwrap();
        assert_eq!(packs(&kept.folder).len(), 3);
        assert_eq!(found(dir.path(), &["e"]), some(&["five"]));
    }

    #[test]
    fn large_entries_are_due_at_once() {
        let mut new = New::default();
        new.push(named("a"), vec![0; KEEP_BYTES]);
        assert!(new.is_due());
    }

    #[test]
    fn a_damaged_entry_is_absent_and_the_others_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let kept = ResultCache::open(dir.path(), "what", "name");
        let all = entries(&[("a", "first entry"), ("b", "second entry")]);
        kept.write(&all).unwrap();
        let path = packs(&kept.folder).remove(0);
        let whole = std::fs::read(&path).unwrap();
        let entries_end = "first entrysecond entry".len();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            std::fs::write(&path, &bytes).unwrap();
            let want = [
                (at >= 11 && at < entries_end).then(|| "first entry".to_owned()),
                (at < 11).then(|| "second entry".to_owned()),
            ];
            assert_eq!(found(dir.path(), &["a", "b"]), want, "byte {at}");
        }
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(found(dir.path(), &["a", "b"]), [None, None], "{length}");
        }
        // The entry that is made again counts, wherever the damaged one is.
        let mut bytes = whole.clone();
        bytes[0] ^= 4;
        std::fs::write(&path, &bytes).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        kept.write(&all[..1]).unwrap();
        assert_eq!(
            found(dir.path(), &["a", "b"]),
            some(&["first entry", "second entry"])
        );
        // Removed by another process after it was opened.
        let opened = ResultCache::open(dir.path(), "what", "name");
        std::fs::remove_dir_all(&kept.folder).unwrap();
        opened.read(&[named("a")], |_, _| panic!("it is gone"));
    }

    #[test]
    fn a_trailer_that_lies_takes_no_memory() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("what/name");
        std::fs::create_dir_all(&folder).unwrap();
        for count in [1, u64::MAX, u64::MAX / ROW as u64] {
            let mut bytes = count.to_le_bytes().to_vec();
            bytes.extend(blake3::hash(&[]).as_bytes());
            bytes.extend(MAGIC);
            std::fs::write(folder.join(format!("x.{ENDING}")), &bytes).unwrap();
            assert_eq!(found(dir.path(), &["a"]), [None]);
        }
        // Lengths beyond the file.
        let mut index = named("a").to_vec();
        index.extend([0; 16]);
        index.extend(u64::MAX.to_le_bytes());
        let digest = blake3::hash(&index);
        index.extend(1_u64.to_le_bytes());
        index.extend(digest.as_bytes());
        index.extend(MAGIC);
        std::fs::write(folder.join(format!("x.{ENDING}")), &index).unwrap();
        assert_eq!(found(dir.path(), &["a"]), [None]);
    }

    #[test]
    fn many_may_write_at_once() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let cache = dir.path();
                scope.spawn(move || {
                    let kept = ResultCache::open(cache, "what", "name");
                    for i in 0..10 {
                        // Some are the same for all.
                        let name = format!("{i} of {}", if i % 2 == 0 { 0 } else { thread });
                        kept.write(&entries(&[(&name, &name)])).unwrap();
                    }
                });
            }
        });
        let names: Vec<String> = (0..10).map(|i| format!("{i} of 0")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(found(dir.path(), &names), some(&names));
        assert_eq!(packs(&dir.path().join("what/name")).len(), 5 + 4 * 5);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("what"), "a file").unwrap();
        let kept = ResultCache::open(dir.path(), "what", "name");
        let e = kept.write(&entries(&[("a", "x")])).unwrap_err();
        assert!(e.to_string().contains("failed to keep"), "{e}");
    }
}
