//! Writes a table whose rows depend on their sources alone: each part is an object, and parts that
//! the stage stored the last time are taken over.
//!
//! Where a part ends depends on hashes of its sources, as the cuts of other large tables depend on
//! hashes of rows ([`super::cut`]). So it is known before its rows are made.

use std::collections::BTreeMap;
use std::sync::Arc;

use gfm_pipe_api::sourced::{MakeRows, make_rows};
use gfm_pipe_api::{OpResult, SourcedSink};

use super::content::Content;
use super::cut::{Cuts, Cutter};
use super::entry::{MadeOf, ObjectEntry, TableEntry};
use super::manifest::Manifest;
use super::object_writer::ObjectWriter;

/// The objects of a stored stage that were made of known sources, by these, and by port and table.
#[derive(Debug, Default)]
pub struct Earlier(BTreeMap<(String, String), BTreeMap<String, (ObjectEntry, u64)>>);

impl Earlier {
    /// Those of a manifest.
    pub(crate) fn of(manifest: Manifest) -> Self {
        let mut out = Earlier::default();
        for (port, entry) in manifest.ports {
            for table in entry.tables {
                out.add(&port, table);
            }
        }
        out
    }

    /// Those of one table.
    #[cfg(test)]
    pub(super) fn of_table(port: &str, table: &str, objects: &[ObjectEntry]) -> Self {
        let table = TableEntry::of(table, objects.to_vec());
        let mut out = Earlier::default();
        out.add(port, table);
        out
    }

    fn add(&mut self, port: &str, table: TableEntry) {
        let objects = table.objects.into_iter().filter_map(|object| {
            let made_of = object.made_of.clone()?;
            Some((made_of.sources, (object, made_of.number)))
        });
        let key = (port.to_owned(), table.name);
        self.0.insert(key, objects.collect());
    }

    fn find(&self, table: &(String, String), sources: &str) -> Option<&(ObjectEntry, u64)> {
        self.0.get(table)?.get(sources)
    }
}

/// A table that an operator writes part by part.
pub(super) struct PartSink {
    objects: ObjectWriter,
    cuts: Cuts,
    cutter: Cutter,
    earlier: Arc<Earlier>,
    /// Number of sources since the last part.
    rows: usize,
    /// Memory that they and their rows take, until the table is too large for one object.
    held: Option<u64>,
}

impl PartSink {
    pub(super) fn new(objects: ObjectWriter, cuts: Cuts, earlier: Arc<Earlier>) -> Self {
        PartSink {
            objects,
            cuts,
            cutter: Cutter::new(cuts),
            earlier,
            rows: 0,
            held: Some(0),
        }
    }
}

impl SourcedSink for PartSink {
    fn ends_behind(&mut self, source: &[u8], bytes: usize) -> bool {
        self.rows += 1;
        let row = Content {
            bytes: bytes as u64,
            ..Content::of(source)
        };
        let ends = self.cutter.ends_behind(row);
        // As other tables, this one is a single object unless it is large.
        if let Some(held) = &mut self.held {
            *held += row.bytes;
            if *held < self.cuts.whole {
                return false;
            }
            if ends {
                self.held = None;
            }
        }
        ends
    }

    fn part(&mut self, sources: &str, make: &mut MakeRows<'_>) -> OpResult<u64> {
        let rows = std::mem::take(&mut self.rows);
        let known = self.earlier.find(self.objects.key(), sources);
        if let Some((object, number)) = known
            && object.rows == rows as u64
            && self.objects.take_over(object)
        {
            return Ok(*number);
        }
        let objects = &mut self.objects;
        let number = make_rows(rows, make, &mut |batch| {
            objects.check(batch)?;
            objects.append(batch)
        })?;
        let sources = sources.to_owned();
        self.objects.end_made_of(Some(MadeOf { sources, number }))?;
        Ok(number)
    }

    fn finish(mut self: Box<Self>) -> OpResult<()> {
        if !self.objects.has_objects() {
            // A table without rows has an object, too.
            self.objects.begin()?;
            self.objects.end()?;
        }
        self.objects.finish();
        Ok(())
    }
}
