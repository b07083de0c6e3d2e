//! Tables of several objects, from the operator that writes them to a remote.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::compute::concat_batches;
use gfm_pipe_api::kind::col;
use gfm_pipe_api::{ColType, Kind, OutPort, Outputs, TableFile, TableSpec, columns, table};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::plan::Ingredients;

static NOTES: Kind = Kind {
    name: "notes",
    about: "texts with vectors",
    text: &["text"],
    tables: &[TableSpec {
        name: "notes",
        about: "a text with its vector",
        columns: &[
            col("text", ColType::Text, "text"),
            col("vector", ColType::Vector, "vector"),
        ],
    }],
};

/// Objects of about 400 rows.
const CUTS: Cuts = Cuts {
    whole: 12 << 10,
    least: 4 << 10,
    spread: 12 << 10,
    most: 64 << 10,
};

/// A row for each number.
fn rows(numbers: &[u32]) -> RecordBatch {
    let texts: StringArray = numbers.iter().map(|n| Some(format!("note {n}"))).collect();
    let vectors = numbers.iter().flat_map(|n| [*n as f32, 1.0, -1.0, 0.5]);
    let vectors = columns::build_vectors(4, vectors.collect()).unwrap();
    columns::batch(&NOTES.tables[0], vec![Arc::new(texts), vectors]).unwrap()
}

pub(super) struct Lab {
    _dir: tempfile::TempDir,
    pub(super) store: Store,
}

impl Lab {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Lab {
            store: Store::open(dir.path().join("s")).unwrap(),
            _dir: dir,
        }
    }

    fn tables(&self) -> StageTables {
        let ports = [OutPort {
            name: "notes",
            kind: &NOTES,
            about: "",
        }];
        StageTables::with_cuts(&self.store, &ports, CUTS)
    }

    /// Stores a table of these rows, written in batches of these sizes, over and over.
    fn write(&self, numbers: &[u32], batches: &[usize]) -> Committed {
        let all = rows(numbers);
        let tables = self.tables();
        let mut sink = tables.create("notes", "notes", all.schema()).unwrap();
        let (mut first, mut sizes) = (0, batches.iter().cycle());
        while first < all.num_rows() {
            let size = (*sizes.next().unwrap()).min(all.num_rows() - first);
            sink.write(&all.slice(first, size)).unwrap();
            first += size;
        }
        sink.finish().unwrap();
        tables.check_complete().unwrap();
        tables.commit().unwrap()
    }

    /// Stores a stage with such a table.
    pub(super) fn stage(&self, operator: &str, numbers: &[u32]) -> Manifest {
        let committed = self.write(numbers, &[100]);
        let ingredients = Ingredients {
            operator: operator.to_owned(),
            version: 1,
            params: Value::Null,
            fingerprint: None,
            inputs: BTreeMap::new(),
            files: Vec::new(),
            unread: Vec::new(),
            listing: None,
            names: false,
        };
        let manifest = Manifest {
            format: committed.manifest_format(),
            key: ingredients.key(),
            ingredients,
            ports: committed.ports,
            items: None,
            listing: None,
            seconds: 0.0,
            resumed_at_step: None,
            made_on: MadeOn::here("cpu", false),
            made_at: String::new(),
            inputs_checked: true,
            seal: None,
        };
        self.store.put_manifest(&manifest.sealed()).unwrap();
        // As it is on disk.
        self.manifest(operator)
    }

    fn manifest(&self, operator: &str) -> Manifest {
        let all = self.store.manifests().unwrap().into_iter();
        let mut all = all.map(|(_, m)| m.unwrap());
        all.find(|m| m.ingredients.operator == operator).unwrap()
    }

    fn read(&self, table: &TableEntry) -> RecordBatch {
        whole(&self.store.table(table))
    }
}

fn whole(table: &TableFile) -> RecordBatch {
    let batches: Vec<RecordBatch> = table.batches().unwrap().map(Result::unwrap).collect();
    concat_batches(&rows(&[]).schema(), &batches).unwrap()
}

pub(super) fn table_of(ports: &BTreeMap<String, PortEntry>) -> &TableEntry {
    &ports["notes"].tables[0]
}

pub(super) fn digests(table: &TableEntry) -> BTreeSet<&str> {
    table.objects.iter().map(|o| o.digest.as_str()).collect()
}

/// An edit of rows.
#[derive(Debug, Clone)]
enum Edit {
    Insert(Vec<u32>),
    Delete(usize),
    Move(usize),
    Change(u32),
}

fn edit() -> impl Strategy<Value = (usize, Edit)> {
    let edit = prop_oneof![
        prop::collection::vec(10_000_000u32..20_000_000, 1..20).prop_map(Edit::Insert),
        (1usize..50).prop_map(Edit::Delete),
        (0usize..6000).prop_map(Edit::Move),
        (10_000_000u32..20_000_000).prop_map(Edit::Change),
    ];
    (0usize..6000, edit)
}

fn apply(rows: &mut Vec<u32>, (at, edit): &(usize, Edit)) {
    let at = at % rows.len();
    match edit {
        Edit::Insert(new) => drop(rows.splice(at..at, new.iter().copied())),
        Edit::Delete(count) => drop(rows.drain(at..rows.len().min(at + count))),
        Edit::Move(to) => {
            let row = rows.remove(at);
            rows.insert(to % (rows.len() + 1), row);
        }
        Edit::Change(to) => rows[at] = *to,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn an_edit_changes_only_the_objects_around_it(
        seed in 0u32..1000,
        edits in prop::collection::vec(edit(), 0..4),
        batches in prop::collection::vec(1usize..3000, 1..4),
    ) {
        let lab = Lab::new();
        let before: Vec<u32> = (seed * 6000..).take(6000).collect();
        let mut after = before.clone();
        edits.iter().for_each(|e| apply(&mut after, e));
        let (old, new) = (lab.write(&before, &[700]), lab.write(&after, &batches));
        let (old, new) = (table_of(&old.ports), table_of(&new.ports));
        prop_assert_eq!(lab.read(new), rows(&after));
        prop_assert_eq!(new.rows, after.len() as u64);
        prop_assert!(old.objects.len() > 6, "{} objects", old.objects.len());
        let others = digests(new).difference(&digests(old)).count();
        // A moved row is two edits.
        let places = edits.iter().map(|(_, e)| if matches!(e, Edit::Move(_)) { 2 } else { 1 });
        let most = 3 * places.sum::<usize>();
        prop_assert!(others <= most, "{others} of {} objects differ", new.objects.len());
        // The store has each object once, and nothing else.
        let both: BTreeSet<&str> = digests(old).union(&digests(new)).copied().collect();
        prop_assert_eq!(lab.store.objects().unwrap().len(), both.len());
        prop_assert_eq!(fs::read_dir(lab.store.tmp()).unwrap().count(), 0);
    }

    #[test]
    fn batches_do_not_matter(
        count in 1500u32..4000,
        batches in prop::collection::vec(1usize..5000, 1..5),
    ) {
        let numbers: Vec<u32> = (0..count).collect();
        let lab = Lab::new();
        let one = lab.write(&numbers, &[numbers.len()]);
        prop_assert!(table_of(&one.ports).objects.len() > 1);
        prop_assert_eq!(lab.write(&numbers, &batches), one);
    }
}

#[test]
fn a_small_table_has_the_bytes_that_its_batches_make() {
    let lab = Lab::new();
    let numbers: Vec<u32> = (0..200).collect();
    let mut bytes = Vec::new();
    let mut writer = table::writer(&mut bytes, rows(&[]).schema()).unwrap();
    for part in numbers.chunks(90) {
        writer.write(&rows(part)).unwrap();
    }
    writer.close().unwrap();
    let committed = lab.write(&numbers, &[90]);
    let table = table_of(&committed.ports);
    assert_eq!(table.digest, blake3::hash(&bytes).to_hex().as_str());
    assert_eq!(table.objects.len(), 1);
    assert_eq!(committed.manifest_format(), 2);
    assert_eq!(lab.read(table), rows(&numbers));
    // Without rows, there is an object all the same.
    let none = lab.write(&[], &[1]);
    assert_eq!(table_of(&none.ports).objects.len(), 1);
    assert_eq!(lab.read(table_of(&none.ports)), rows(&[]));
}

#[test]
fn what_is_not_finished_leaves_nothing_and_what_is_there_is_not_written_again() {
    let lab = Lab::new();
    let numbers: Vec<u32> = (0..5000).collect();
    let tables = lab.tables();
    let all = rows(&numbers);
    let mut sink = tables.create("notes", "notes", all.schema()).unwrap();
    sink.write(&all).unwrap();
    let written = fs::read_dir(lab.store.tmp()).unwrap().count();
    assert!(written > 3, "{written} files");
    drop(sink);
    assert!(tables.check_complete().is_err());
    drop(tables);
    assert_eq!(fs::read_dir(lab.store.tmp()).unwrap().count(), 0);
    assert_eq!(lab.store.disk_used(), 0);

    let table = lab.write(&numbers, &[300]);
    let paths = |table: &TableEntry| -> Vec<PathBuf> {
        let objects = table.objects.iter();
        objects.map(|o| lab.store.object(&o.digest)).collect()
    };
    let stamps = |paths: &[PathBuf]| -> Vec<_> {
        let modified = |p: &PathBuf| fs::metadata(p).unwrap().modified().unwrap();
        paths.iter().map(modified).collect()
    };
    let kept = paths(table_of(&table.ports));
    let before = stamps(&kept);
    assert_eq!(lab.write(&numbers, &[1000]), table);
    assert_eq!(stamps(&kept), before);
    // Damaged objects are written again.
    fs::write(&kept[0], "rubbish").unwrap();
    fs::write(&kept[2], "rubbish").unwrap();
    assert_eq!(lab.write(&numbers, &[1000]), table);
    assert_eq!(lab.read(table_of(&table.ports)), all);
}

#[test]
fn threads_do_not_matter() {
    let numbers: Vec<u32> = (0..5000).collect();
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build()
            .unwrap()
            .install(|| Lab::new().write(&numbers, &[170]))
    };
    assert_eq!(with(1), with(2));
}

#[test]
fn an_error_of_the_thread_that_writes_fails_the_table() {
    let lab = Lab::new();
    let numbers: Vec<u32> = (0..5000).collect();
    let all = rows(&numbers);
    let other = all.project(&[0]).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2);
    pool.build().unwrap().install(|| {
        for more in [0, 1, 20] {
            let tables = lab.tables();
            let mut sink = tables.create("notes", "notes", all.schema()).unwrap();
            sink.write(&all).unwrap();
            sink.write(&all).unwrap();
            // The thread refuses it, which a later call tells.
            let mut told = sink.write(&other).err();
            for _ in 0..more {
                told = told.or_else(|| sink.write(&all).err());
            }
            if more == 20 {
                assert!(told.is_some());
            }
            let finished = sink.finish().err();
            let e = told.or(finished).unwrap().to_string();
            assert!(e.contains("a batch has the columns"), "{e}");
            assert!(tables.check_complete().is_err());
            // It may be started again.
            drop(tables.create("notes", "notes", all.schema()).unwrap());
        }
    });
    assert_eq!(fs::read_dir(lab.store.tmp()).unwrap().count(), 0);
}

#[test]
fn damage_is_found_and_named() {
    let lab = Lab::new();
    let numbers: Vec<u32> = (0..5000).collect();
    let manifest = lab.stage("write-notes", &numbers);
    assert_eq!(manifest.format, MANIFEST_FORMAT);
    let table = table_of(&manifest.ports);
    assert_ne!(table.digest, table.objects[0].digest);
    let verify = || lab.store.verify(true, &|_, _| {}).unwrap();
    let sound = verify();
    assert_eq!(sound.objects, table.objects.len() as u64);
    assert_eq!(sound.bytes, table.bytes);
    assert!(sound.damages.is_empty() && sound.unnamed == 0);

    let path = lab.store.object(&table.objects[2].digest);
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 8;
    fs::write(&path, bytes).unwrap();
    let damages = verify().damages;
    assert_eq!(damages.len(), 1, "{damages:?}");
    assert_eq!(damages[0].path, path);
    assert_eq!(damages[0].operators, ["write-notes"]);
    let e = lab.store.sound_table(table).unwrap_err().to_string();
    assert!(e.contains(path.to_str().unwrap()), "{e}");
    let batches = lab.store.table(table).batches().unwrap();
    let first = table.objects[0].rows + table.objects[1].rows;
    let (good, bad): (Vec<_>, Vec<_>) = batches.partition(Result::is_ok);
    let good: usize = good.into_iter().map(|b| b.unwrap().num_rows()).sum();
    assert_eq!((good as u64, bad.len()), (first, 1));
}

#[test]
fn garbage_is_what_no_kept_table_has() {
    let lab = Lab::new();
    let mut numbers: Vec<u32> = (0..6000).collect();
    let old = lab.stage("old", &numbers);
    numbers.insert(3000, 77_777);
    let new = lab.stage("new", &numbers);
    let (a, b) = (table_of(&old.ports), table_of(&new.ports));
    let only_old: BTreeSet<&str> = digests(a).difference(&digests(b)).copied().collect();
    assert!((1..4).contains(&only_old.len()), "{only_old:?}");
    let keep = BTreeSet::from([new.key.clone()]);
    let garbage = lab.store.garbage(&keep, Extent::default()).unwrap();
    let objects: BTreeSet<PathBuf> = garbage.objects.iter().map(|(p, _)| p.clone()).collect();
    let expected = only_old.iter().map(|d| lab.store.object(d)).collect();
    assert_eq!(objects, expected);
    let of = BTreeSet::from([old.key.clone()]);
    assert_eq!(
        lab.store.garbage_of(&of, false).unwrap().objects,
        garbage.objects
    );
    lab.store.remove(&garbage).unwrap();
    assert_eq!(lab.read(b), rows(&numbers));
    assert!(
        lab.store
            .verify(true, &|_, _| {})
            .unwrap()
            .damages
            .is_empty()
    );
    assert_eq!(lab.store.objects().unwrap().len(), digests(b).len());
}

#[cfg(feature = "cloud")]
#[test]
fn an_object_that_a_remote_has_is_not_sent_again() {
    use gfm_pipe_api::Cancel;
    use gfm_pipe_testing::Bucket;

    let bucket = Bucket::start().unwrap();
    let remote = Remote::open("s3://models/team", &bucket.variables("tester"), true).unwrap();
    let lab = Lab::new();
    let cancel = Cancel::default();
    let push = |key: &crate::plan::Key| {
        let before = bucket.requests("PUT");
        remote.push(&lab.store, &[(key.clone(), Give::IfMissing)], &cancel);
        assert_eq!(remote.news(), Vec::<String>::new());
        bucket.requests("PUT") - before
    };
    // Two parts that are the same, and so have objects in common.
    let half: Vec<u32> = (0..4000).collect();
    let mut numbers = [half.as_slice(), half.as_slice()].concat();
    let old = lab.stage("old", &numbers);
    let table = table_of(&old.ports);
    assert!(digests(table).len() < table.objects.len());
    assert_eq!(push(&old.key), digests(table).len() + 1);
    numbers[1000] = 77_777;
    let new = lab.stage("new", &numbers);
    let table = table_of(&new.ports);
    let others = digests(table)
        .difference(&digests(table_of(&old.ports)))
        .count();
    assert!((1..4).contains(&others), "{others}");
    assert_eq!(push(&new.key), others + 1);

    // Another machine takes each object once.
    let other = Lab::new();
    let got = bucket.requests("GET");
    assert!(remote.fetch(&other.store, &new, &cancel).unwrap());
    assert_eq!(bucket.requests("GET") - got, digests(table).len());
    assert_eq!(other.read(table), rows(&numbers));
    assert_eq!(other.manifest("new"), new);
}
