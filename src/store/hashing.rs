//! Files of objects while they are written: hashed on the way, so that nobody reads them again.

use std::fs;
use std::io::{self, BufWriter, Write};

use fail::fail_point;

use super::atomic::{self, TempFile};
use super::entry::ObjectEntry;
use super::error::StoreError;
use super::layout::Store;

/// Passes bytes on to a temporary file, and hashes and counts them.
pub(super) struct HashingFile {
    file: BufWriter<Shared>,
    hasher: blake3::Hasher,
    bytes: u64,
}

/// `TempFile` writes through a shared reference, so that it can still be persisted afterwards.
struct Shared(TempFile);

impl Write for Shared {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&self.0).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&self.0).flush()
    }
}

impl HashingFile {
    pub(super) fn new(temp: TempFile) -> Self {
        HashingFile {
            file: BufWriter::with_capacity(256 * 1024, Shared(temp)),
            hasher: blake3::Hasher::new(),
            bytes: 0,
        }
    }

    pub(super) fn finish(self) -> io::Result<(TempFile, String, u64)> {
        let shared = self.file.into_inner().map_err(io::Error::from)?;
        let digest = self.hasher.finalize().to_hex().to_string();
        Ok((shared.0, digest, self.bytes))
    }
}

impl Write for HashingFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        fail_point!("object-mid-write", |_| Err(
            io::ErrorKind::StorageFull.into()
        ));
        let n = self.file.write(buf)?;
        self.hasher.update(&buf[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// An object being received from elsewhere.
pub(super) struct Arrival(HashingFile);

impl Arrival {
    /// Starts to write the object under a temporary name.
    pub(super) fn start(store: &Store) -> Result<Self, StoreError> {
        Ok(Arrival(HashingFile::new(TempFile::create(&store.tmp())?)))
    }

    /// Appends the next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.0.file.get_ref().0.path().to_owned();
        let written = self.0.write_all(bytes);
        written.map_err(StoreError::io("write", &path))
    }

    /// Renames the object to its final name and returns how many stages were forgotten because of
    /// it (see [`super::object::Committed::distrusted`]). Returns `None` and keeps nothing if it is
    /// not the expected object.
    pub(super) fn store(
        self,
        store: &Store,
        expected: &ObjectEntry,
    ) -> Result<Option<u64>, StoreError> {
        let path = store.object(&expected.digest);
        let finished = self.0.finish().map_err(StoreError::io("write", &path));
        let (temp, digest, bytes) = finished?;
        if digest != expected.digest || bytes != expected.bytes {
            return Ok(None);
        }
        let distrusted = store.heal(expected)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(StoreError::io("create", folder))?;
            temp.persist(&path)?;
            atomic::sync_dir(folder)?;
        }
        store.wrote(&digest);
        Ok(Some(distrusted))
    }
}
