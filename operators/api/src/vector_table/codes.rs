//! Vectors with one byte for each number.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::on_disk::OnDisk;
use super::sketches::{Rotation, SketchQuery, sketch, sketch_bytes};
use crate::error::{OpError, OpResult};
use crate::memory::Demand;
use crate::points::{Points, unit};
use crate::random::mix;

/// The largest code of a vector's number.
pub(super) const LARGEST: f64 = 127.0;
/// Number of sums that a sum of products is divided into: the processor adds them at the same time.
const SUMS: usize = 32;
/// Bytes of a row before its codes: the step.
const STEP: usize = size_of::<f32>();
/// Bytes that are read from disk at once.
const READ: usize = 512 << 10;

thread_local! {
    /// What was read last, so that memory is not taken for each reading.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Bytes of a coded vector: its step, then its codes.
pub(super) fn row_bytes(dim: usize) -> usize {
    STEP.saturating_add(dim)
}

/// Coded vectors, in memory or on disk.
#[derive(Debug)]
pub struct Codes {
    dim: usize,
    /// In the order of the rows.
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Block {
    rows: Range<usize>,
    bytes: Bytes,
    /// The sketches of the rows, if they are used.
    sketches: Option<Vec<u8>>,
}

/// Where the rows of a block are.
#[derive(Debug)]
pub(super) enum Bytes {
    Memory(Vec<u8>),
    Disk(OnDisk),
}

/// A vector that those of a table are compared with.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    pub(super) exact: &'a [f32],
    /// Its numbers as multiples of `step`: finer than the codes of a table, and so small that no
    /// sum of products overflows.
    codes: Vec<i16>,
    step: f64,
}

impl<'a> Query<'a> {
    /// Takes the vector. Dot products with one of length one are cosines.
    pub fn new(exact: &'a [f32]) -> Self {
        let most = f64::from(i32::MAX) / (LARGEST * exact.len().max(1) as f64);
        let largest = most.min(f64::from(i16::MAX)).floor();
        let step = largest_number(exact) / largest;
        Query {
            exact,
            codes: coded(exact, step).map(|code| code as i16).collect(),
            step,
        }
    }

    /// The most by which a dot product with codes differs from that with the decoded vector, for a
    /// vector of length one.
    pub fn error(&self) -> f64 {
        // Half a step for each number. The sum of the numbers of a vector is at most the root of
        // their count, and a decoded vector is hardly longer than one.
        1.1 * (self.codes.len() as f64).sqrt() * self.step / 2.0 + 1e-6
    }
}

fn largest_number(vector: &[f32]) -> f64 {
    let largest = vector.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    f64::from(largest)
}

/// The numbers of a vector as multiples of `step`.
fn coded(vector: &[f32], step: f64) -> impl Iterator<Item = f64> {
    let codes = if step > 0.0 { 1.0 / step } else { 0.0 };
    vector.iter().map(move |x| (f64::from(*x) * codes).round())
}

/// Adds the bytes of row-major vectors of any length, which are scaled to length one.
pub(super) fn encode(dim: usize, rows: &[f32], out: &mut Vec<u8>) {
    let mut unit_row = Vec::with_capacity(dim);
    for row in rows.chunks_exact(dim.max(1)) {
        unit_row.clear();
        unit_row.extend(unit(row));
        let step = largest_number(&unit_row) / LARGEST;
        out.extend((step as f32).to_le_bytes());
        out.extend(coded(&unit_row, step).map(|code| (code as i8).cast_unsigned()));
    }
}

/// The sketches of coded rows.
pub(super) fn sketches_of(dim: usize, bytes: &[u8]) -> Vec<u8> {
    let count = bytes.len() / row_bytes(dim);
    let mut out = Vec::with_capacity(count * sketch_bytes(dim));
    if sketch_bytes(dim) > 0 {
        let mut rotation = Rotation::new(dim);
        for (step, codes) in rows_of(dim, bytes) {
            sketch(&mut rotation, (step, codes.iter().copied()), &mut out);
        }
    }
    out
}

/// The step and the codes of each row.
fn rows_of(dim: usize, bytes: &[u8]) -> impl Iterator<Item = (f32, &[i8])> {
    bytes.chunks_exact(row_bytes(dim)).map(|row| {
        let step = f32::from_le_bytes([row[0], row[1], row[2], row[3]]);
        (step, bytemuck::cast_slice(&row[STEP..]))
    })
}

impl Codes {
    /// An empty list of vectors with `dim` numbers.
    pub fn new(dim: usize) -> Self {
        Codes {
            dim,
            blocks: Vec::new(),
        }
    }

    /// Number of numbers in a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.blocks.last().map_or(0, |block| block.rows.end)
    }

    /// Whether there is no vector.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds row-major vectors of any length, which are scaled to length one.
    pub fn extend(&mut self, rows: &[f32]) {
        let mut bytes = Vec::with_capacity(rows.len() / self.dim.max(1) * row_bytes(self.dim));
        encode(self.dim, rows, &mut bytes);
        let count = bytes.len() / row_bytes(self.dim);
        self.push(count, Bytes::Memory(bytes));
    }

    /// Adds a block of as many rows.
    pub(super) fn push(&mut self, rows: usize, bytes: Bytes) {
        let first = self.len();
        self.blocks.push(Block {
            rows: first..first + rows,
            bytes,
            sketches: None,
        });
    }

    /// Reads or makes the sketches of all rows, unless the vectors are too short for that.
    ///
    /// # Errors
    /// When they cannot be read, or there is not enough memory.
    pub fn sketched(mut self) -> OpResult<Self> {
        let dim = self.dim;
        if sketch_bytes(dim) == 0 {
            return Ok(self);
        }
        Demand::new()
            .and("sketches of vectors", &[self.len(), sketch_bytes(dim)])
            .check("the number of texts")?;
        self.blocks.par_iter_mut().try_for_each(|block| {
            block.sketches = Some(match &block.bytes {
                Bytes::Memory(bytes) => sketches_of(dim, bytes),
                Bytes::Disk(file) => file.sketches().map_err(|e| failed(file, e))?,
            });
            OpResult::Ok(())
        })?;
        Ok(self)
    }

    /// Whether the sketches of all rows are known.
    pub fn has_sketches(&self) -> bool {
        self.blocks.iter().all(|block| block.sketches.is_some())
    }

    /// Adds what sketches say of the dot products with these rows. Rows that do not exist, or have
    /// no sketches, are left out.
    pub fn estimates(&self, query: &SketchQuery, rows: Range<usize>, out: &mut Vec<f32>) {
        for sketches in self.sketches(rows) {
            query.estimates(sketches, out);
        }
    }

    /// The sketches of these rows, a piece after the other.
    fn sketches(&self, rows: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let bytes = sketch_bytes(self.dim);
        self.blocks_of(rows).filter_map(move |(block, mine)| {
            let at = |row: usize| (row - block.rows.start) * bytes;
            block.sketches.as_ref()?.get(at(mine.start)..at(mine.end))
        })
    }

    /// Reads what is on disk into memory, if all of it takes at most `most` bytes.
    ///
    /// # Errors
    /// When it cannot be read, or there is not enough memory.
    pub(super) fn load(&mut self, most: usize) -> OpResult<()> {
        let row = row_bytes(self.dim);
        if self.len().saturating_mul(row) > most {
            return Ok(());
        }
        let mut files: Vec<&mut Block> = self.blocks.iter_mut().collect();
        files.retain(|block| matches!(block.bytes, Bytes::Disk(_)));
        let rows = files.iter().map(|block| block.rows.len()).sum();
        demand(rows, self.dim)?;
        files.into_par_iter().try_for_each(|block| {
            if let Bytes::Disk(file) = &block.bytes {
                let mut bytes = vec![0; block.rows.len() * row];
                read(file, 0, &mut bytes)?;
                block.bytes = Bytes::Memory(bytes);
            }
            Ok(())
        })
    }

    /// An even hash of the sketches of these rows, in their order.
    pub fn hash(&self, rows: Range<usize>) -> u64 {
        let bytes = sketch_bytes(self.dim).max(1);
        let sketches = self.sketches(rows);
        let words = sketches
            .flat_map(|some| some.chunks_exact(bytes))
            .flat_map(|sketch| {
                // The factor is left out: it follows from the vector as the signs do.
                let words = sketch.as_rchunks::<8>().1;
                words.iter().map(|word| u64::from_le_bytes(*word))
            });
        words.fold(0, |hash, word| mix(hash ^ word))
    }

    /// The blocks with these rows, and the rows that are in each.
    fn blocks_of(&self, rows: Range<usize>) -> impl Iterator<Item = (&Block, Range<usize>)> {
        let first = self.blocks.partition_point(|b| b.rows.end <= rows.start);
        let blocks = self.blocks[first..].iter().map(move |block| {
            let mine = block.rows.start.max(rows.start)..block.rows.end.min(rows.end);
            (block, mine)
        });
        blocks.take_while(|(_, mine)| mine.start < mine.end)
    }

    /// Calls `each` with the bytes of these rows, a piece after the other, and the number of the
    /// first row in it.
    fn pieces(&self, rows: Range<usize>, mut each: impl FnMut(usize, &[u8])) -> OpResult<()> {
        if rows.end > self.len() {
            let problem = format!("rows {rows:?} of {} vectors", self.len());
            return Err(OpError::internal(problem));
        }
        let row = row_bytes(self.dim);
        for (block, mine) in self.blocks_of(rows) {
            let at = |row_number: usize| (row_number - block.rows.start) * row;
            match &block.bytes {
                Bytes::Memory(bytes) => each(mine.start, &bytes[at(mine.start)..at(mine.end)]),
                Bytes::Disk(file) => {
                    // `each` may read, too: then it takes a buffer of its own.
                    let mut buffer = BUFFER.take();
                    let together = (READ / row).max(1);
                    for from in mine.clone().step_by(together) {
                        let behind = mine.end.min(from + together);
                        buffer.resize(at(behind) - at(from), 0);
                        read(file, at(from), &mut buffer)?;
                        each(from, &buffer);
                    }
                    BUFFER.set(buffer);
                }
            }
        }
        Ok(())
    }

    /// The vectors of these rows, decoded. Their length is nearly one.
    ///
    /// # Errors
    /// When they cannot be read, or do not exist.
    pub fn decoded(&self, rows: Range<usize>) -> OpResult<Points> {
        let mut values = Vec::with_capacity(rows.len() * self.dim);
        self.pieces(rows, |_, bytes| {
            for (step, codes) in rows_of(self.dim, bytes) {
                values.extend(codes.iter().map(|code| f32::from(*code) * step));
            }
        })?;
        Ok(Points::of_rows(self.dim, values))
    }

    /// See [`super::VectorTable::dots`].
    ///
    /// # Errors
    /// When rows cannot be read, or do not exist.
    pub fn dots(
        &self,
        queries: &[Query<'_>],
        rows: Range<usize>,
        mut each: impl FnMut(usize, usize, f64),
    ) -> OpResult<()> {
        self.pieces(rows, |first, bytes| {
            for (q, query) in queries.iter().enumerate() {
                for (row, (step, codes)) in (first..).zip(rows_of(self.dim, bytes)) {
                    let sum = f64::from(sum_of_products(&query.codes, codes));
                    each(q, row, sum * query.step * f64::from(step));
                }
            }
        })
    }
}

/// Checks that codes of so many vectors fit into memory.
pub(super) fn demand(rows: usize, dim: usize) -> OpResult<()> {
    Demand::new()
        .and("codes of vectors", &[rows, row_bytes(dim)])
        .check("the number of texts")
}

fn read(file: &OnDisk, at: usize, buffer: &mut [u8]) -> OpResult<()> {
    file.read(at, buffer).map_err(|e| failed(file, e))
}

fn failed(file: &OnDisk, e: std::io::Error) -> OpError {
    OpError::wrap("failed to read codes of vectors", e)
        .file(file.path())
        .hint("try again: codes that are not there, or are damaged, are made anew")
}

/// The sum of the products, which cannot overflow: see [`Query::new`]. Loops become better code
/// here than chains of iterators do.
#[inline]
fn sum_of_products(query: &[i16], vector: &[i8]) -> i32 {
    let product = |q: i16, v: i8| i32::from(q).wrapping_mul(i32::from(v));
    let (query, query_rest) = query.as_chunks::<SUMS>();
    let (vector, vector_rest) = vector.as_chunks::<SUMS>();
    let mut sums = [0_i32; SUMS];
    for (q, v) in query.iter().zip(vector) {
        for i in 0..SUMS {
            sums[i] = sums[i].wrapping_add(product(q[i], v[i]));
        }
    }
    let mut sum = 0_i32;
    for part in sums {
        sum = sum.wrapping_add(part);
    }
    for (q, v) in query_rest.iter().zip(vector_rest) {
        sum = sum.wrapping_add(product(*q, *v));
    }
    sum
}
