//! The file that holds finished items.
//!
//! Records follow each other: an id, a digest of the result, the length of the result, the result.
//! A file that ends with records is a log. In a pack, an index of the records and a trailer follow,
//! and the file's name is the digest of that index.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::files;

/// A digest of everything that an item depends on.
pub type Id = [u8; 16];

/// The last bytes of a pack, which name its format.
const MAGIC: &[u8; 8] = b"gfmitem1";
/// How the name of a pack ends.
pub(super) const ENDING: &str = "pack";
/// How the name of a log ends before it is locked.
pub(super) const ASIDE: &str = "new";
/// Bytes of a record before the result: id, digest, length.
const HEAD: usize = 16 + 16 + 8;
/// Bytes of an entry of the index: id, digest, offset, length.
const ROW: usize = 16 + 16 + 8 + 8;
/// Bytes of the trailer: number of entries, digest of the index, magic.
const TRAILER: usize = 8 + 32 + 8;

/// Where a result is in a file, and its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// First, so that entries sort by their place in the file.
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) id: Id,
    digest: [u8; 16],
}

/// The first bytes of a digest.
pub(super) fn short(digest: &blake3::Hash) -> Id {
    let mut out = [0; 16];
    out.copy_from_slice(&digest.as_bytes()[..16]);
    out
}

/// An id in hexadecimal digits.
pub fn hex(id: &Id) -> String {
    use std::fmt::Write as _;
    id.iter().fold(String::new(), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Appends a record to `out`, whose end is `at` bytes into the file, and returns its entry.
pub(super) fn record(out: &mut Vec<u8>, at: u64, id: Id, result: &[u8]) -> Entry {
    let digest = short(&blake3::hash(result));
    out.extend(id);
    out.extend(digest);
    out.extend((result.len() as u64).to_le_bytes());
    out.extend(result);
    Entry {
        offset: at + HEAD as u64,
        length: result.len() as u64,
        id,
        digest,
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// The complete records at the start of a log, and where the last of them ends. Every result is
/// compared with its digest, because a power cut may leave holes.
pub(super) fn scan(mut file: &File) -> io::Result<(Vec<Entry>, u64)> {
    let size = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut from = BufReader::new(file);
    let (mut entries, mut at) = (Vec::new(), 0);
    let mut head = [0; HEAD];
    let mut result = Vec::new();
    while size - at >= HEAD as u64 {
        from.read_exact(&mut head)?;
        let (id, rest) = head.split_at(16);
        let (digest, length) = rest.split_at(16);
        let (Ok(id), Ok(digest), Some(length)) = (id.try_into(), digest.try_into(), number(length))
        else {
            break;
        };
        if length > size - at - HEAD as u64 {
            break;
        }
        result.clear();
        (&mut from).take(length).read_to_end(&mut result)?;
        if result.len() as u64 != length || short(&blake3::hash(&result)) != digest {
            break;
        }
        entries.push(Entry {
            offset: at + HEAD as u64,
            length,
            id,
            digest,
        });
        at += HEAD as u64 + length;
    }
    Ok((entries, at))
}

/// The index of a pack; `None` where the file is not a complete pack.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn index(mut file: &File) -> io::Result<Option<Vec<Entry>>> {
    let size = file.seek(SeekFrom::End(0))?;
    let mut trailer = [0; TRAILER];
    let Some(end) = size.checked_sub(TRAILER as u64) else {
        return Ok(None);
    };
    file.seek(SeekFrom::Start(end))?;
    file.read_exact(&mut trailer)?;
    let (count, rest) = trailer.split_at(8);
    let (digest, magic) = rest.split_at(32);
    let length = number(count).and_then(|count| count.checked_mul(ROW as u64));
    let start = length.and_then(|length| end.checked_sub(length));
    let Some(start) = start.filter(|_| magic == MAGIC) else {
        return Ok(None);
    };
    file.seek(SeekFrom::Start(start))?;
    let mut rows = Vec::new();
    file.take(end - start).read_to_end(&mut rows)?;
    if blake3::hash(&rows).as_bytes() != digest {
        return Ok(None);
    }
    Ok(entries(&rows, start))
}

/// The entries of an index, if they follow each other up to `records_end` as records do. Entries
/// that overlap would make a small file stand for a huge one.
fn entries(rows: &[u8], records_end: u64) -> Option<Vec<Entry>> {
    let mut out = Vec::with_capacity(rows.len() / ROW);
    let mut at = 0_u64;
    for row in rows.chunks_exact(ROW) {
        let entry = Entry {
            id: row[..16].try_into().ok()?,
            digest: row[16..32].try_into().ok()?,
            offset: number(&row[32..40])?,
            length: number(&row[40..])?,
        };
        if entry.offset != at.checked_add(HEAD as u64)? {
            return None;
        }
        at = entry.offset.checked_add(entry.length)?;
        out.push(entry);
    }
    (at == records_end).then_some(out)
}

/// Reads a result into `bytes`; false where it is damaged.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn read(mut file: &File, entry: &Entry, bytes: &mut Vec<u8>) -> io::Result<bool> {
    bytes.clear();
    file.seek(SeekFrom::Start(entry.offset))?;
    file.take(entry.length).read_to_end(bytes)?;
    Ok(short(&blake3::hash(bytes)) == entry.digest)
}

/// Makes a pack of a file with these records that end at `end`, and gives it its name in `folder`.
/// Returns the path; `None` for a file without records, which is removed.
pub(super) fn seal(
    mut file: &File,
    path: &Path,
    folder: &Path,
    entries: &[Entry],
    end: u64,
) -> io::Result<Option<PathBuf>> {
    if entries.is_empty() {
        std::fs::remove_file(path)?;
        return Ok(None);
    }
    let mut index = Vec::with_capacity(entries.len() * ROW);
    for entry in entries {
        index.extend(entry.id);
        index.extend(entry.digest);
        index.extend(entry.offset.to_le_bytes());
        index.extend(entry.length.to_le_bytes());
    }
    let digest = blake3::hash(&index);
    // What follows the last complete record is of no use.
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    let mut out = BufWriter::new(file);
    out.write_all(&index)?;
    out.write_all(&(entries.len() as u64).to_le_bytes())?;
    out.write_all(digest.as_bytes())?;
    out.write_all(MAGIC)?;
    out.flush()?;
    file.sync_all()?;
    let sealed = folder.join(format!("{}.{ENDING}", digest.to_hex()));
    std::fs::rename(path, &sealed)?;
    files::sync_folder(folder)?;
    Ok(Some(sealed))
}

/// Whether a pack has the digest that it is named by.
pub(super) fn is_named(path: &Path, file: &File) -> bool {
    let mut file = file;
    let mut digest = [0; 32];
    let at = SeekFrom::End(-((32 + 8) as i64));
    let read = file.seek(at).and_then(|_| file.read_exact(&mut digest));
    let stem = path.file_stem().and_then(|s| s.to_str());
    read.is_ok() && stem == Some(blake3::Hash::from(digest).to_hex().as_str())
}

/// A new file in a folder, which other processes leave alone until it has its ending.
pub(super) fn create(folder: &Path, ending: &str) -> io::Result<(File, PathBuf)> {
    std::fs::create_dir_all(folder)?;
    let aside = folder.join(format!("{}.{ASIDE}", unique()));
    let mut how = File::options();
    let file = how.read(true).write(true).create_new(true).open(&aside)?;
    // It is locked before it has the name under which others find it. Where the file system has no
    // locks, others never seal it.
    let _ = file.try_lock();
    let path = aside.with_extension(ending);
    std::fs::rename(&aside, &path)?;
    Ok((file, path))
}

/// A name that no other file has: processes on several machines may share a folder, and have the
/// same process ids.
fn unique() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut hasher = blake3::Hasher::new();
    // A `RandomState` is seeded by the system.
    for _ in 0..2 {
        hasher.update(&RandomState::new().build_hasher().finish().to_le_bytes());
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    hasher.update(&now.unwrap_or_default().as_nanos().to_le_bytes());
    hasher.update(&std::process::id().to_le_bytes());
    hasher.update(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    hex(&short(&hasher.finalize()))
}

/// Opens a file for reading, and for writing where it is to be sealed.
pub(super) fn open(path: &Path, write: bool) -> io::Result<File> {
    // Anything but a regular file is refused: opening it may block.
    let file = files::open(path)?;
    if write {
        return File::options().read(true).write(true).open(path);
    }
    Ok(file)
}
