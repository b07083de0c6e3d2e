//! Writes the rows of a table into one object, or into several if there are many.
//!
//! Nobody knows how large a table will be when it begins. So its batches are held in memory until
//! it is known whether it is one object. Then they are written as they came, as they always were.
//! The rows of a larger table are gathered into batches that depend on the rows alone, so that the
//! same rows make the same objects whatever the batches that an operator writes.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use gfm_pipe_api::{OpResult, TableSink, table};

use super::content;
use super::cut::{Cuts, Cutter};
use super::object_writer::ObjectWriter;

/// Rows that are hashed at once.
const HASHED: usize = 4096;

/// Size of the rows that are given to the encoder at once. A part of the format, as [`Cuts`] is.
const GATHERED: u64 = 8 << 20;

/// Rows that wait to be given to the encoder.
struct Gathered {
    cutter: Cutter,
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: u64,
    /// Number of rows that are given to the encoder at once, even if they are small.
    most_rows: usize,
}

/// A table that an operator writes.
pub(super) struct ObjectSink {
    objects: ObjectWriter,
    cuts: Cuts,
    /// The table so far, as long as it may be one object.
    held: Vec<RecordBatch>,
    held_bytes: u64,
    /// Since the table is too large for one object.
    gathered: Option<Gathered>,
}

impl ObjectSink {
    /// Starts the table with its first file.
    pub(super) fn start(mut objects: ObjectWriter, cuts: Cuts) -> OpResult<Self> {
        objects.begin()?;
        Ok(ObjectSink {
            objects,
            cuts,
            held: Vec::new(),
            held_bytes: 0,
            gathered: None,
        })
    }

    /// Whether so much was written that the rest may take some time.
    pub(super) fn takes_time(&self) -> bool {
        self.held_bytes >= self.cuts.whole / 8
    }

    /// Keeps a batch until it is known whether the table is one object.
    fn hold(&mut self, batch: &RecordBatch) -> OpResult<()> {
        let sizes = chunks(batch).flat_map(|chunk| content::rows(&chunk));
        self.held_bytes += sizes.map(|row| row.bytes).sum::<u64>();
        self.held.push(batch.clone());
        if self.held_bytes < self.cuts.whole {
            return Ok(());
        }
        self.gathered = Some(Gathered {
            cutter: Cutter::new(self.cuts),
            batches: Vec::new(),
            rows: 0,
            bytes: 0,
            most_rows: table::batch_rows(self.objects.schema()),
        });
        for batch in std::mem::take(&mut self.held) {
            self.cut(&batch)?;
        }
        Ok(())
    }

    /// Takes the rows of a batch, and ends objects where the table is cut.
    fn cut(&mut self, batch: &RecordBatch) -> OpResult<()> {
        for chunk in chunks(batch) {
            let mut first = 0;
            for (at, row) in content::rows(&chunk).into_iter().enumerate() {
                let Some(gathered) = &mut self.gathered else {
                    break;
                };
                gathered.rows += 1;
                gathered.bytes += row.bytes;
                let ends = gathered.cutter.ends_behind(row);
                let full = gathered.rows >= gathered.most_rows || gathered.bytes >= GATHERED;
                if ends || full {
                    gathered.batches.push(chunk.slice(first, at + 1 - first));
                    first = at + 1;
                    self.encode()?;
                }
                if ends {
                    self.objects.end()?;
                }
            }
            if let Some(gathered) = &mut self.gathered
                && first < chunk.num_rows()
            {
                let rest = chunk.slice(first, chunk.num_rows() - first);
                gathered.batches.push(rest);
            }
        }
        Ok(())
    }

    /// Passes the gathered rows to the encoder.
    fn encode(&mut self) -> OpResult<()> {
        let Some(gathered) = &mut self.gathered else {
            return Ok(());
        };
        (gathered.rows, gathered.bytes) = (0, 0);
        let batches = std::mem::take(&mut gathered.batches);
        match batches.as_slice() {
            [] => Ok(()),
            [batch] => self.objects.append(batch),
            _ => {
                let all = concat_batches(self.objects.schema(), &batches);
                let all = all.map_err(|e| self.objects.failed(e))?;
                self.objects.append(&all)
            }
        }
    }
}

/// A batch in chunks of rows that are hashed at once.
fn chunks(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let starts = (0..batch.num_rows()).step_by(HASHED);
    starts.map(|at| batch.slice(at, HASHED.min(batch.num_rows() - at)))
}

impl TableSink for ObjectSink {
    fn write(&mut self, batch: &RecordBatch) -> OpResult<()> {
        self.objects.check(batch)?;
        if self.gathered.is_some() {
            self.cut(batch)
        } else {
            self.hold(batch)
        }
    }

    fn finish(mut self: Box<Self>) -> OpResult<()> {
        for batch in std::mem::take(&mut self.held) {
            self.objects.append(&batch)?;
        }
        self.encode()?;
        self.objects.end()?;
        self.objects.finish();
        Ok(())
    }
}
