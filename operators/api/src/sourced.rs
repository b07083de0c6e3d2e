//! Tables whose rows depend on their sources alone, such as the vectors of texts.
//!
//! Such a table is written part by part. Where a part ends depends on the sources around, not on
//! their places in the table. So after a change of some sources most parts are those of the stage's
//! last run, and are taken from the store instead of being made again.

use arrow::array::RecordBatch;

use crate::context::TableSink;
use crate::error::{OpError, OpResult};

/// Writes rows of a part.
pub type WriteRows<'a> = dyn FnMut(&RecordBatch) -> OpResult<()> + 'a;

/// Makes the rows of a part: a row for each of its sources. Returns a number that is kept with the
/// part.
pub type MakeRows<'a> = dyn FnMut(&mut WriteRows<'_>) -> OpResult<u64> + 'a;

/// A table that is written part by part.
pub trait SourcedSink: Send {
    /// Adds the source of the next row. `bytes` is the memory that the source and the row take.
    /// Returns whether the part ends behind it.
    fn ends_behind(&mut self, source: &[u8], bytes: usize) -> bool;

    /// Appends the part that has a row for each source since the last part. `sources` is a digest
    /// of everything that these rows depend on. `make` is not called where the store has the part.
    /// Returns the number that `make` returned for it, now or earlier.
    ///
    /// # Errors
    /// The errors of `make`, or when writing fails.
    fn part(&mut self, sources: &str, make: &mut MakeRows<'_>) -> OpResult<u64>;

    /// Completes the table. A sink dropped without this leaves no table.
    ///
    /// # Errors
    /// When writing fails.
    fn finish(self: Box<Self>) -> OpResult<()>;
}

/// A table where no part is known from earlier.
pub struct Unknown {
    to: Box<dyn TableSink>,
    bytes: usize,
    rows: usize,
}

/// Memory of the sources of a part of a table where it makes no difference where parts end.
const PART_BYTES: usize = 64 << 20;

impl Unknown {
    /// Writes all parts to this table.
    pub fn new(to: Box<dyn TableSink>) -> Self {
        Unknown {
            to,
            bytes: 0,
            rows: 0,
        }
    }
}

impl SourcedSink for Unknown {
    fn ends_behind(&mut self, _: &[u8], bytes: usize) -> bool {
        self.bytes += bytes;
        self.rows += 1;
        self.bytes >= PART_BYTES
    }

    fn part(&mut self, _: &str, make: &mut MakeRows<'_>) -> OpResult<u64> {
        self.bytes = 0;
        make_rows(std::mem::take(&mut self.rows), make, &mut |batch| {
            self.to.write(batch)
        })
    }

    fn finish(self: Box<Self>) -> OpResult<()> {
        self.to.finish()
    }
}

/// Makes a part of `rows` rows, and checks that it has as many.
///
/// # Errors
/// The errors of `make` and `write`, and when there are more or fewer rows.
pub fn make_rows(rows: usize, make: &mut MakeRows<'_>, write: &mut WriteRows<'_>) -> OpResult<u64> {
    let mut made = 0;
    let number = make(&mut |batch| {
        made += batch.num_rows();
        write(batch)
    })?;
    if made == rows {
        return Ok(number);
    }
    Err(OpError::internal(format!(
        "{made} rows were made of {rows} sources"
    )))
}
