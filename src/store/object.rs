//! Objects: tables on their way into the store.
//!
//! A [`StageTables`] takes every table of one run of one operator. Tables are written under
//! temporary names and hashed on the way; [`StageTables::commit`] gives them their final names
//! only when all declared tables are complete. Invariant: an object under its final name contains
//! exactly the bytes whose digest is its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use fail::fail_point;
use gfm_pipe_api::items::UsedItems;
use gfm_pipe_api::{
    Artifact, OpError, OpResult, OutPort, Outputs, SourcedSink, TableSink, TableSpec,
};

use super::atomic::{self, TempFile};
use super::background::BackgroundSink;
use super::cut::Cuts;
use super::entry::{ObjectEntry, PortEntry, TableEntry};
use super::error::StoreError;
use super::files::{self, FILES};
use super::items::{self, ITEMS};
use super::layout::Store;
use super::manifest::{EARLIER_FORMAT, MANIFEST_FORMAT};
use super::object_writer::ObjectWriter;
use super::sink::ObjectSink;
use super::sound::{Found, Look};
use super::sourced::{Earlier, PartSink};
use crate::plan::Ingredients;

/// A complete object of a table.
pub(super) struct Pending {
    /// Its file, which has no final name yet; `None` if the store has the object.
    pub temp: Option<TempFile>,
    pub entry: ObjectEntry,
}

pub(super) enum State {
    /// A writer for it exists and has not finished.
    Open,
    Done(Vec<Pending>),
}

/// The tables of a stage by port and name.
pub(super) type Tables = Arc<Mutex<BTreeMap<(String, String), State>>>;

/// What a stage stored.
#[derive(Debug, PartialEq, Eq)]
pub struct Committed {
    /// Output ports by name.
    pub ports: BTreeMap<String, PortEntry>,
    /// The table of the items that the stage used, if it used some.
    pub items: Option<TableEntry>,
    /// The table of the stage's files, if they are very many.
    pub listing: Option<TableEntry>,
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
            listing: None,
            distrusted: 0,
        }
    }

    /// The format that a manifest with these tables has.
    pub(crate) fn manifest_format(&self) -> u32 {
        let tables = self.ports.values().flat_map(|port| &port.tables);
        let mut tables = tables.chain(&self.items);
        if self.listing.is_some() || tables.any(|table| table.objects.len() > 1) {
            MANIFEST_FORMAT
        } else {
            EARLIER_FORMAT
        }
    }
}

/// The output tables of a running stage.
pub struct StageTables {
    store: Store,
    ports: Vec<OutPort>,
    tables: Tables,
    cuts: Cuts,
    earlier: Arc<Earlier>,
}

pub(super) fn locked(tables: &Tables) -> MutexGuard<'_, BTreeMap<(String, String), State>> {
    // Every change under the lock is a single insert or remove: a panic elsewhere cannot leave it
    // half done.
    tables.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StageTables {
    /// Creates the set for the declared ports, with no table written yet.
    pub fn new(store: &Store, ports: &[OutPort]) -> Self {
        StageTables::with_cuts(store, ports, Cuts::FORMAT_1)
    }

    /// Like [`StageTables::new`], with objects of other sizes.
    pub(super) fn with_cuts(store: &Store, ports: &[OutPort], cuts: Cuts) -> Self {
        StageTables {
            store: store.clone(),
            ports: ports.to_vec(),
            tables: Tables::default(),
            cuts,
            earlier: Arc::default(),
        }
    }

    /// With the objects that the stage stored earlier, to be taken over.
    #[must_use]
    pub fn with_earlier(mut self, earlier: Earlier) -> Self {
        self.earlier = Arc::new(earlier);
        self
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
        self.list(&ITEMS, items::batches(used))
    }

    /// Writes the table of the files that the ingredients of the stage leave out of its manifest;
    /// nothing if they leave out none.
    ///
    /// # Errors
    /// When writing fails.
    pub fn list_files(&self, ingredients: &Ingredients) -> OpResult<()> {
        if ingredients.listing.is_none() {
            return Ok(());
        }
        self.list(&FILES, files::batches(ingredients))
    }

    /// Writes a table that belongs to no port.
    fn list(
        &self,
        spec: &TableSpec,
        batches: impl Iterator<Item = OpResult<RecordBatch>>,
    ) -> OpResult<()> {
        let mut sink = self.start(list_key(spec), Arc::new(spec.schema(0)))?;
        for batch in batches {
            sink.write(&batch?)?;
        }
        sink.finish()
    }

    fn start(&self, key: (String, String), schema: SchemaRef) -> OpResult<Box<dyn TableSink>> {
        let sink = ObjectSink::start(self.open(key, schema)?, self.cuts)?;
        Ok(Box::new(BackgroundSink::new(sink)))
    }

    /// Opens a table that was not written yet.
    fn open(&self, key: (String, String), schema: SchemaRef) -> OpResult<ObjectWriter> {
        let name = format!("{}.{}", key.0, key.1);
        let mut tables = locked(&self.tables);
        if tables.contains_key(&key) {
            return Err(OpError::internal("the table is written twice").artifact(&name));
        }
        tables.insert(key.clone(), State::Open);
        drop(tables);
        let tables = Arc::clone(&self.tables);
        Ok(ObjectWriter::new(&self.store, schema, key, tables))
    }

    /// The key and the schema of a table of a port, as it is stored.
    fn declared(
        &self,
        port: &str,
        table: &str,
        schema: SchemaRef,
    ) -> OpResult<((String, String), SchemaRef)> {
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
        Ok(((port.to_owned(), table.to_owned()), schema))
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
                let entry = self.name(spec.name, pending, &mut folders, &mut distrusted)?;
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
        let mut list = |spec: &TableSpec| match tables.remove(&list_key(spec)) {
            Some(State::Done(pending)) => self
                .name(spec.name, pending, &mut folders, &mut distrusted)
                .map(Some),
            _ => Ok(None),
        };
        let (items, listing) = (list(&ITEMS)?, list(&FILES)?);
        fail_point!("objects-named");
        for folder in &folders {
            atomic::sync_dir(folder)?;
        }
        // The shard folders may be new, so the names in their parent are synced too.
        atomic::sync_dir(&self.store.root().join("objects"))?;
        Ok(Committed {
            ports: out,
            items,
            listing,
            distrusted,
        })
    }

    /// Renames the objects of a finished table to their final names, and returns its entry.
    fn name(
        &self,
        table: &str,
        objects: Vec<Pending>,
        folders: &mut BTreeSet<PathBuf>,
        distrusted: &mut u64,
    ) -> Result<TableEntry, StoreError> {
        let mut entries = Vec::new();
        let several = objects.len() > 1;
        // The first comes last: as long as it has its temporary name, the others are not swept.
        for object in objects.into_iter().rev() {
            let path = self.store.object(&object.entry.digest);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(StoreError::io("create", folder))?;
                folders.insert(folder.to_owned());
            }
            // An unchanged part of a large table stays as it is.
            let stays = || {
                let (digest, bytes) = (&object.entry.digest, object.entry.bytes);
                several
                    && matches!(
                        self.store.check(digest, bytes, Look::Stamp),
                        Ok(Found::Sound)
                    )
            };
            if let Some(temp) = object.temp
                && !stays()
            {
                // Any other object that is already there is replaced: either it has the same bytes,
                // or it is damaged and this repairs it.
                *distrusted += self.store.heal(&object.entry)?;
                temp.persist(&path)?;
                self.store.wrote(&object.entry.digest);
            }
            entries.push(object.entry);
        }
        entries.reverse();
        Ok(TableEntry::of(table, entries))
    }
}

/// The key of a table that belongs to no port.
fn list_key(spec: &TableSpec) -> (String, String) {
    (String::new(), spec.name.to_owned())
}

impl Outputs for StageTables {
    fn create(&self, port: &str, table: &str, schema: SchemaRef) -> OpResult<Box<dyn TableSink>> {
        let (key, schema) = self.declared(port, table, schema)?;
        self.start(key, schema)
    }

    fn create_sourced(
        &self,
        port: &str,
        table: &str,
        schema: SchemaRef,
    ) -> OpResult<Box<dyn SourcedSink>> {
        let (key, schema) = self.declared(port, table, schema)?;
        let earlier = Arc::clone(&self.earlier);
        let sink = PartSink::new(self.open(key, schema)?, self.cuts, earlier);
        Ok(Box::new(sink))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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
