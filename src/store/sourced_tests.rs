//! Tables that are written part by part, over several runs of a stage.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use gfm_pipe_api::kind::col;
use gfm_pipe_api::{ColType, Kind, OpError, OutPort, Outputs, TableSpec, columns};
use proptest::prelude::*;

use super::*;

static WORDS: Kind = Kind {
    name: "words",
    about: "words",
    text: &["word"],
    tables: &[TableSpec {
        name: "words",
        about: "a word",
        columns: &[col("word", ColType::Text, "word")],
    }],
};

/// Parts of about 60 words.
const CUTS: Cuts = Cuts {
    whole: 8 << 10,
    least: 2 << 10,
    spread: 4 << 10,
    most: 32 << 10,
};
/// Memory that is counted for a word.
const BYTES: usize = 100;

struct Lab {
    _dir: tempfile::TempDir,
    store: Store,
}

/// What a run made.
struct Made {
    table: TableEntry,
    /// Number of words that were made, and not taken over.
    anew: usize,
    /// The sum of the numbers kept with the parts.
    number: u64,
}

fn batch(words: &[String]) -> RecordBatch {
    let words: StringArray = words.iter().map(Some).collect();
    columns::batch(&WORDS.tables[0], vec![Arc::new(words)]).unwrap()
}

fn words(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    let words = numbers.into_iter().map(|n| format!("word {n}"));
    words.collect()
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Lab {
            store: Store::open(dir.path().join("s")).unwrap(),
            _dir: dir,
        }
    }

    fn tables(&self, earlier: &[ObjectEntry]) -> StageTables {
        let ports = [OutPort {
            name: "out",
            kind: &WORDS,
            about: "",
        }];
        let earlier = Earlier::of_table("out", "words", earlier);
        StageTables::with_cuts(&self.store, &ports, CUTS).with_earlier(earlier)
    }

    fn run(&self, words: &[String], earlier: &[ObjectEntry]) -> Made {
        let tables = self.tables(earlier);
        let schema = batch(&[]).schema();
        let mut sink = tables.create_sourced("out", "words", schema).unwrap();
        let (mut part, mut anew, mut number) = (Vec::new(), 0, 0);
        let mut flush = |sink: &mut dyn gfm_pipe_api::SourcedSink, part: &mut Vec<String>| {
            let sources = blake3::hash(part.join(" ").as_bytes()).to_hex().to_string();
            number += sink
                .part(&sources, &mut |write| {
                    anew += part.len();
                    for some in part.chunks(50) {
                        write(&batch(some))?;
                    }
                    Ok(part.len() as u64)
                })
                .unwrap();
            part.clear();
        };
        for word in words {
            part.push(word.clone());
            if sink.ends_behind(word.as_bytes(), BYTES) {
                flush(&mut *sink, &mut part);
            }
        }
        if !part.is_empty() {
            flush(&mut *sink, &mut part);
        }
        sink.finish().unwrap();
        tables.check_complete().unwrap();
        let committed = tables.commit().unwrap();
        assert_eq!(fs::read_dir(self.store.tmp()).unwrap().count(), 0);
        let table = committed.ports["out"].tables[0].clone();
        let read = self.store.table(&table).batches().unwrap();
        let read: Vec<RecordBatch> = read.map(Result::unwrap).collect();
        let read = arrow::compute::concat_batches(&batch(&[]).schema(), &read).unwrap();
        assert_eq!(read, batch(words));
        Made {
            table,
            anew,
            number,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_change_makes_only_the_parts_around_it_again(
        count in 400_u32..3000,
        edits in prop::collection::vec((0_usize..3000, 0_u8..3), 1..4),
    ) {
        let lab = Lab::new();
        let old = words(0..count);
        let first = lab.run(&old, &[]);
        prop_assert_eq!((first.anew, first.number), (old.len(), u64::from(count)));
        let mut new = old;
        for (n, (at, edit)) in edits.iter().enumerate() {
            let at = at % new.len();
            match edit {
                0 => new.insert(at, format!("new word {n}")),
                1 => drop(new.remove(at)),
                _ => new[at].push('!'),
            }
        }
        let second = lab.run(&new, &first.table.objects);
        prop_assert_eq!(second.number, new.len() as u64);
        // A part has 320 words at most.
        prop_assert!(second.anew <= edits.len() * 3 * 320, "{}", second.anew);
        // As if nothing had been known.
        let fresh = Lab::new().run(&new, &[]);
        prop_assert_eq!(&second.table, &fresh.table);
        let again = lab.run(&new, &second.table.objects);
        prop_assert_eq!((again.anew, again.table == second.table), (0, true));
    }
}

#[test]
fn a_small_table_is_one_object_and_an_empty_one_too() {
    let lab = Lab::new();
    for count in [0, 1, 81] {
        let made = lab.run(&words(0..count), &[]);
        assert_eq!(made.table.objects.len(), 1, "{count}");
        assert_eq!(made.table.rows, u64::from(count));
    }
    assert!(lab.run(&words(0..2000), &[]).table.objects.len() > 10);
}

#[test]
fn parts_that_are_gone_or_damaged_are_made_again() {
    let lab = Lab::new();
    let all = words(0..2000);
    let first = lab.run(&all, &[]);
    let objects = &first.table.objects;
    fs::remove_file(lab.store.object(&objects[0].digest)).unwrap();
    fs::write(lab.store.object(&objects[3].digest), "rubbish").unwrap();
    let second = lab.run(&all, objects);
    assert_eq!(second.table, first.table);
    assert_eq!(second.anew as u64, objects[0].rows + objects[3].rows);
    // An entry with another number of rows is none of these sources.
    let mut wrong = objects.clone();
    wrong[1].rows += 1;
    assert_eq!(lab.run(&all, &wrong).anew as u64, objects[1].rows);
}

#[test]
fn a_part_has_as_many_rows_as_sources_or_fails() {
    let lab = Lab::new();
    let tables = lab.tables(&[]);
    let create = || tables.create_sourced("out", "words", batch(&[]).schema());
    for rows in [0, 2] {
        let mut sink = create().unwrap();
        sink.ends_behind(b"one", BYTES);
        let made = sink.part("sources", &mut |write| {
            write(&batch(&words(0..rows)))?;
            Ok(0)
        });
        let e = made.unwrap_err().to_string();
        assert!(
            e.contains(&format!("{rows} rows were made of 1 sources")),
            "{e}"
        );
    }
    let mut sink = create().unwrap();
    let e = sink
        .part("none", &mut |_| Err(OpError::new("no")))
        .unwrap_err();
    assert_eq!(e.to_string(), "no");
    drop(sink);
    assert!(tables.check_complete().is_err());
    drop(create().unwrap());
}
