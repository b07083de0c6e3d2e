//! Objects: tables on their way into the store.
//!
//! A [`StageTables`] takes every table of one run of one operator. Tables are written under
//! temporary names and hashed on the way; [`StageTables::commit`] gives them their final names
//! only when all declared tables are complete. Invariant: an object under its final name contains
//! exactly the bytes whose digest is its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use fail::fail_point;
use gfm_pipe_api::items::UsedItems;
use gfm_pipe_api::{Artifact, OpError, OpResult, OutPort, Outputs, TableSink, table};
use parquet::arrow::ArrowWriter;

use super::atomic::{self, TempFile};
use super::error::StoreError;
use super::items::{self, ITEMS};
use super::layout::Store;
use super::manifest::{PortEntry, TableEntry};

/// A complete table that has no final name yet.
struct Pending {
    temp: TempFile,
    entry: TableEntry,
}

enum State {
    /// A writer for it exists and has not finished.
    Open,
    Done(Pending),
}

type Tables = Arc<Mutex<BTreeMap<(String, String), State>>>;

/// What a stage stored.
#[derive(Debug, PartialEq, Eq)]
pub struct Committed {
    /// Output ports by name.
    pub ports: BTreeMap<String, PortEntry>,
    /// The table of the items that the stage used, if it used some.
    pub items: Option<TableEntry>,
    /// Number of stored stages whose manifests were removed, because they may have been computed
    /// from a damaged object that this commit has replaced.
    pub distrusted: u64,
}

impl Committed {
    /// Ports whose tables were in the store before.
    pub(crate) fn of_stored(ports: BTreeMap<String, PortEntry>) -> Self {
        Committed {
            ports,
            items: None,
            distrusted: 0,
        }
    }
}

/// The output tables of a running stage.
pub struct StageTables {
    store: Store,
    ports: Vec<OutPort>,
    tables: Tables,
}

fn locked(tables: &Tables) -> MutexGuard<'_, BTreeMap<(String, String), State>> {
    // Every change under the lock is a single insert or remove: a panic elsewhere cannot leave it
    // half done.
    tables.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StageTables {
    /// Creates the set for the declared ports, with no table written yet.
    pub fn new(store: &Store, ports: &[OutPort]) -> Self {
        StageTables {
            store: store.clone(),
            ports: ports.to_vec(),
            tables: Tables::default(),
        }
    }

    /// Checks that every declared table was written completely.
    ///
    /// # Errors
    /// When tables are incomplete; the error names them.
    pub fn check_complete(&self) -> OpResult<()> {
        let tables = locked(&self.tables);
        let missing: Vec<String> = self
            .ports
            .iter()
            .flat_map(|p| p.kind.tables.iter().map(move |t| (p.name, t.name)))
            .filter(|(p, t)| {
                let state = tables.get(&((*p).to_owned(), (*t).to_owned()));
                !matches!(state, Some(State::Done(_)))
            })
            .map(|(p, t)| format!("`{p}.{t}`"))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(OpError::internal(format!(
            "the operator did not write {}",
            missing.join(", ")
        )))
    }

    /// Writes the table of the items that the stage used; nothing if it used none.
    ///
    /// # Errors
    /// When writing fails.
    pub fn list_items(&self, used: &UsedItems) -> OpResult<()> {
        if used.items.is_empty() {
            return Ok(());
        }
        let mut sink = self.start(items_key(), Arc::new(ITEMS.schema(0)))?;
        for batch in items::batches(used) {
            sink.write(&batch?)?;
        }
        sink.finish()
    }

    fn start(&self, key: (String, String), schema: SchemaRef) -> OpResult<Box<dyn TableSink>> {
        let name = format!("{}.{}", key.0, key.1);
        let mut tables = locked(&self.tables);
        if tables.contains_key(&key) {
            return Err(OpError::internal("the table is written twice").artifact(&name));
        }
        let temp = TempFile::create(&self.store.tmp())
            .map_err(|e| OpError::wrap("failed to start the table", e).artifact(&name))?;
        fail_point!("object-created");
        let writer = table::writer(HashingFile::new(temp), Arc::clone(&schema))?;
        tables.insert(key.clone(), State::Open);
        Ok(Box::new(ObjectSink {
            writer: Some(writer),
            schema,
            rows: 0,
            key,
            tables: Arc::clone(&self.tables),
        }))
    }

    /// Gives all tables their final names and makes them durable.
    ///
    /// # Errors
    /// When the disk refuses. Objects that already have their final names stay; they do no harm.
    pub fn commit(self) -> Result<Committed, StoreError> {
        let mut tables = std::mem::take(&mut *locked(&self.tables));
        let mut folders = BTreeSet::new();
        let mut out = BTreeMap::new();
        let mut distrusted = 0;
        for port in &self.ports {
            let mut artifact = Artifact {
                kind: port.kind,
                name: String::new(),
                tables: Vec::new(),
            };
            let mut entries = Vec::new();
            for spec in port.kind.tables {
                let key = (port.name.to_owned(), spec.name.to_owned());
                let Some(State::Done(pending)) = tables.remove(&key) else {
                    continue;
                };
                let entry = self.name(pending, &mut folders, &mut distrusted)?;
                artifact.tables.push(self.store.table(&entry));
                entries.push(entry);
            }
            out.insert(
                port.name.to_owned(),
                PortEntry {
                    kind: port.kind.name.to_owned(),
                    digest: artifact.digest(),
                    tables: entries,
                },
            );
        }
        let items = match tables.remove(&items_key()) {
            Some(State::Done(pending)) => {
                Some(self.name(pending, &mut folders, &mut distrusted)?)
            }
            _ => None,
        };
        fail_point!("objects-named");
        for folder in &folders {
            atomic::sync_dir(folder)?;
        }
        // The shard folders may be new, so the names in their parent are synced too.
        atomic::sync_dir(&self.store.root().join("objects"))?;
        Ok(Committed {
            ports: out,
            items,
            distrusted,
        })
    }

    /// Renames a finished table to its final name, and returns its entry.
    fn name(
        &self,
        pending: Pending,
        folders: &mut BTreeSet<PathBuf>,
        distrusted: &mut u64,
    ) -> Result<TableEntry, StoreError> {
        let path = self.store.object(&pending.entry.digest);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(StoreError::io("create", folder))?;
            folders.insert(folder.to_owned());
        }
        // An object that is already there is replaced: either it has the same bytes, or it is
        // damaged and this repairs it.
        *distrusted += self.store.heal(&pending.entry)?;
        pending.temp.persist(&path)?;
        self.store.wrote(&pending.entry.digest);
        Ok(pending.entry)
    }
}

/// The key of the table of items, which belongs to no port.
fn items_key() -> (String, String) {
    (String::new(), ITEMS.name.to_owned())
}

impl Outputs for StageTables {
    fn create(&self, port: &str, table: &str, schema: SchemaRef) -> OpResult<Box<dyn TableSink>> {
        let name = format!("{port}.{table}");
        let fault = |message: String| OpError::internal(message).artifact(&name);
        let spec = self
            .ports
            .iter()
            .find(|p| p.name == port)
            .and_then(|p| p.kind.table(table))
            .ok_or_else(|| fault("no such table is declared".to_owned()))?;
        if let Some(why) = spec.mismatch(&schema) {
            return Err(fault(why));
        }
        // Schema metadata is a hash map, whose iteration order would change the file's bytes from
        // run to run.
        let schema = Arc::new(Schema::new(schema.fields().clone()));
        self.start((port.to_owned(), table.to_owned()), schema)
    }
}

struct ObjectSink {
    /// `None` only after `finish` took it.
    writer: Option<ArrowWriter<HashingFile>>,
    schema: SchemaRef,
    rows: u64,
    key: (String, String),
    tables: Tables,
}

impl ObjectSink {
    fn failed(&self, e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OpError {
        OpError::wrap("failed to write the table", e)
            .artifact(format!("{}.{}", self.key.0, self.key.1))
    }
}

impl TableSink for ObjectSink {
    fn write(&mut self, batch: &RecordBatch) -> OpResult<()> {
        if batch.schema_ref().fields() != self.schema.fields() {
            return Err(self.failed(format!(
                "a batch has the columns {:?}, the table was started with {:?}",
                batch.schema_ref().fields(),
                self.schema.fields()
            )));
        }
        if let Some(writer) = &mut self.writer
            && let Err(e) = writer.write(batch)
        {
            return Err(self.failed(e));
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> OpResult<()> {
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        let file = writer.into_inner().map_err(|e| self.failed(e))?;
        let (temp, digest, bytes) = file.finish().map_err(|e| self.failed(e))?;
        fail_point!("object-hashed");
        let pending = Pending {
            temp,
            entry: TableEntry {
                name: self.key.1.clone(),
                digest,
                rows: self.rows,
                bytes,
            },
        };
        locked(&self.tables).insert(self.key.clone(), State::Done(pending));
        Ok(())
    }
}

impl Drop for ObjectSink {
    fn drop(&mut self) {
        // Not finished: the temporary file is removed with the writer, and the table may be started
        // again.
        let mut tables = locked(&self.tables);
        if matches!(tables.get(&self.key), Some(State::Open)) {
            tables.remove(&self.key);
        }
    }
}

/// Passes bytes on to a temporary file, and hashes and counts them.
struct HashingFile {
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
    fn new(temp: TempFile) -> Self {
        HashingFile {
            file: BufWriter::with_capacity(256 * 1024, Shared(temp)),
            hasher: blake3::Hasher::new(),
            bytes: 0,
        }
    }

    fn finish(self) -> io::Result<(TempFile, String, u64)> {
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

    /// Gives the object its final name and returns how many stages were forgotten because of it
    /// (see [`Committed::distrusted`]). Returns `None` and keeps nothing if it is not the expected
    /// object.
    pub(super) fn store(
        self,
        store: &Store,
        expected: &TableEntry,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::sound::{Found, Look};
    use super::*;
    use arrow::array::{StringArray, UInt64Array};
    use gfm_pipe_api::{ErrorKind, kinds};

    fn setup() -> (tempfile::TempDir, Store, StageTables) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("s")).unwrap();
        let ports = [OutPort {
            name: "counts",
            kind: &kinds::COUNTS,
            about: "",
        }];
        let tables = StageTables::new(&store, &ports);
        (dir, store, tables)
    }

    fn batch(n: u64) -> RecordBatch {
        RecordBatch::try_new(
            Arc::new(kinds::COUNTS.tables[0].schema(0)),
            vec![
                Arc::new(StringArray::from(vec!["x"])),
                Arc::new(UInt64Array::from(vec![n])),
            ],
        )
        .unwrap()
    }

    fn write(tables: &StageTables, n: u64) -> OpResult<()> {
        let mut sink = tables.create("counts", "counts", batch(n).schema())?;
        sink.write(&batch(n))?;
        sink.finish()
    }

    #[test]
    fn an_object_is_named_by_its_bytes_and_a_damaged_one_is_healed() {
        let (_dir, store, tables) = setup();
        write(&tables, 3).unwrap();
        tables.check_complete().unwrap();
        let committed = tables.commit().unwrap();
        let table = &committed.ports["counts"].tables[0];
        let path = store.object(&table.digest);
        let sound = |look| store.check(&table.digest, table.bytes, look).unwrap();
        assert_eq!(sound(Look::Stamp), Found::Sound);
        assert_eq!(sound(Look::Bytes), Found::Sound);
        assert_eq!(fs::metadata(&path).unwrap().len(), table.bytes);
        assert_eq!(table.rows, 1);
        assert_eq!(fs::read_dir(store.tmp()).unwrap().count(), 0);

        fs::write(&path, "rubbish").unwrap();
        let again = StageTables::new(
            &store,
            &[OutPort {
                name: "counts",
                kind: &kinds::COUNTS,
                about: "",
            }],
        );
        write(&again, 3).unwrap();
        assert_eq!(sound(Look::Stamp), Found::Damaged);
        assert_eq!(again.commit().unwrap(), committed);
        assert_eq!(sound(Look::Stamp), Found::Sound);
        assert_eq!(sound(Look::Bytes), Found::Sound);
    }

    #[test]
    fn what_was_not_finished_is_not_there() {
        let (_dir, store, tables) = setup();
        let mut sink = tables
            .create("counts", "counts", batch(1).schema())
            .unwrap();
        sink.write(&batch(1)).unwrap();
        let e = write(&tables, 1).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Internal, "{e}");
        drop(sink);
        let e = tables.check_complete().unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Internal, "{e}");
        drop(tables);
        assert_eq!(fs::read_dir(store.tmp()).unwrap().count(), 0);
        assert_eq!(store.disk_used(), 0);
    }

    #[test]
    fn other_columns_than_declared_are_refused() {
        let (_dir, _store, tables) = setup();
        let schema = Arc::new(kinds::TRIPLES.tables[0].schema(0));
        let e = tables
            .create("counts", "counts", schema)
            .err()
            .unwrap()
            .to_string();
        assert!(e.contains("expected [name, value]"), "{e}");
        let e = tables
            .create("counts", "nosuch", batch(1).schema())
            .err()
            .unwrap()
            .to_string();
        assert!(e.contains("no such table is declared"), "{e}");
    }
}
