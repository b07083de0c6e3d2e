//! Codes of vectors that a store keeps, so that they are made once.
//!
//! There is a file for each object of a table of vectors, named by the object's digest. It begins
//! with a header: magic, version, numbers in a vector, vectors, and a checksum of the object's
//! digest and everything but the checksum itself. A sketch for each vector follows, and then a row
//! for each vector: its step, then its codes. A file that is not as it was written counts as
//! absent, and losing one costs time only.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::codes::row_bytes;
use super::sketches::sketch_bytes;
use crate::files;

const MAGIC: &[u8; 8] = b"gfmcodes";
/// Version of the format and of how codes are made; it is in the path, too.
const VERSION: u32 = 2;
/// Bytes of the header before the checksum: magic, version, numbers in a vector, vectors.
const HEAD: usize = 8 + 4 + 4 + 8;
/// Bytes before the first sketch.
const START: usize = HEAD + blake3::OUT_LEN;

/// The folder in which a store keeps codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodesFolder {
    /// The folder.
    pub path: PathBuf,
    /// Where files are written before they are complete, on the same file system.
    pub tmp: PathBuf,
}

impl CodesFolder {
    /// The file with the codes of an object's vectors.
    pub fn file(&self, object: &str) -> PathBuf {
        let shard = object.get(..2).unwrap_or("__");
        self.path.join(VERSION.to_string()).join(shard).join(object)
    }
}

/// Whether the file with the codes of an object's vectors is as it was written. Without `deep`,
/// only its header and its size are looked at.
///
/// # Errors
/// When it cannot be read.
pub fn is_sound(path: &Path, object: &str, deep: bool) -> io::Result<bool> {
    let mut file = files::open(path)?;
    let mut head = [0; HEAD];
    if file.metadata()?.len() < START as u64 {
        return Ok(false);
    }
    file.read_exact(&mut head)?;
    let dim = u32::from_le_bytes([head[12], head[13], head[14], head[15]]) as usize;
    let mut rows = [0; 8];
    rows.copy_from_slice(&head[16..]);
    let shape = Shape {
        object,
        dim,
        rows: usize::try_from(u64::from_le_bytes(rows)).unwrap_or(usize::MAX),
    };
    file.rewind()?;
    shape.fits(&mut file, deep)
}

/// What a file should hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape<'a> {
    /// Digest of the object whose vectors these are.
    pub object: &'a str,
    /// Numbers in a vector.
    pub dim: usize,
    /// Number of vectors.
    pub rows: usize,
}

impl Shape<'_> {
    fn head(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..8].copy_from_slice(MAGIC);
        head[8..12].copy_from_slice(&VERSION.to_le_bytes());
        // No column of a table has vectors of more numbers.
        let dim = u32::try_from(self.dim).unwrap_or(u32::MAX);
        head[12..16].copy_from_slice(&dim.to_le_bytes());
        head[16..].copy_from_slice(&(self.rows as u64).to_le_bytes());
        head
    }

    fn bytes(&self) -> Option<u64> {
        let of_one = row_bytes(self.dim).checked_add(sketch_bytes(self.dim))?;
        let rows = self.rows.checked_mul(of_one)?;
        (rows as u64).checked_add(START as u64)
    }

    /// Bytes of all sketches.
    fn sketches(&self) -> usize {
        self.rows.saturating_mul(sketch_bytes(self.dim))
    }

    /// A hasher of the checksum that has everything before the rows.
    fn hasher(&self) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.object.as_bytes());
        hasher.update(&self.head());
        hasher
    }

    /// Whether an open file holds this.
    fn fits(&self, file: &mut File, deep: bool) -> io::Result<bool> {
        if Some(file.metadata()?.len()) != self.bytes() {
            return Ok(false);
        }
        let mut start = [0; START];
        file.read_exact(&mut start)?;
        let (head, checksum) = start.split_at(HEAD);
        if head != self.head() {
            return Ok(false);
        }
        if !deep {
            return Ok(true);
        }
        let mut hasher = self.hasher();
        hasher.update_reader(file)?;
        Ok(hasher.finalize().as_bytes() == checksum)
    }
}

/// Rows in a file whose content has been checked.
#[derive(Debug)]
pub(super) struct OnDisk {
    file: File,
    path: PathBuf,
    /// Bytes of all sketches.
    sketches: usize,
}

impl OnDisk {
    /// Opens a file, all of whose bytes are checked. `None` where it is not there, or is not as it
    /// was written.
    pub fn open(folder: &CodesFolder, shape: Shape<'_>) -> Option<OnDisk> {
        let path = folder.file(shape.object);
        let mut file = files::open(&path).ok()?;
        let fits = shape.fits(&mut file, true).ok()?;
        let sketches = shape.sketches();
        fits.then_some(OnDisk {
            file,
            path,
            sketches,
        })
    }

    /// Writes a file. Another process may do so at the same time: both write the same bytes.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(
        folder: &CodesFolder,
        shape: Shape<'_>,
        (sketches, rows): (&[Vec<u8>], &[Vec<u8>]),
    ) -> io::Result<OnDisk> {
        let content = || sketches.iter().chain(rows);
        let path = folder.file(shape.object);
        let parent = path.parent().unwrap_or(&folder.path);
        std::fs::create_dir_all(parent)?;
        let mut how = File::options();
        how.read(true).write(true).create_new(true);
        // With such a name, the store removes it if this process is killed.
        let temp = tempfile::Builder::new().prefix(".tmp-").to_owned();
        let temp = temp.make_in(&folder.tmp, |path| how.open(path))?;
        // The lock says that the writer is alive. Where there are no locks, the file's age does.
        let _ = temp.as_file().try_lock();
        let mut hasher = shape.hasher();
        content().for_each(|bytes| {
            hasher.update(bytes);
        });
        let mut out = temp.as_file();
        out.write_all(&shape.head())?;
        out.write_all(hasher.finalize().as_bytes())?;
        content().try_for_each(|bytes| out.write_all(bytes))?;
        out.sync_all()?;
        let file = temp.persist(&path).map_err(|e| e.error)?;
        files::sync_folder(parent)?;
        let _ = file.unlock();
        Ok(OnDisk {
            file,
            path,
            sketches: shape.sketches(),
        })
    }

    /// Reads bytes of rows: as many as the buffer takes, from byte `at` of the first row on.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read(&self, at: usize, buffer: &mut [u8]) -> io::Result<()> {
        read_at(&self.file, (START + self.sketches + at) as u64, buffer)
    }

    /// Reads all sketches.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn sketches(&self) -> io::Result<Vec<u8>> {
        let mut out = vec![0; self.sketches];
        read_at(&self.file, START as u64, &mut out)?;
        Ok(out)
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(unix)]
fn read_at(file: &File, at: u64, buffer: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, at)
}

/// Without positioned reads, one thread at a time moves the position and reads.
#[cfg(not(unix))]
fn read_at(mut file: &File, at: u64, buffer: &mut [u8]) -> io::Result<()> {
    static READING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _reading = READING.lock();
    file.seek(io::SeekFrom::Start(at))?;
    file.read_exact(buffer)
}
