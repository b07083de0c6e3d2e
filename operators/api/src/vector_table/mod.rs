//! The vectors of a table: as they are or, where there are very many, with one byte for each
//! number.
//!
//! A coded vector is a list of whole numbers from -127 to 127 and the step between two of them,
//! which is chosen so that the vector's largest number has the code 127 or -127. Each number is off
//! by at most half a step, and on average these errors cancel out: for 256 numbers the cosine with
//! a question is off by about 0.0005. Products of codes are summed as whole numbers, so cosines
//! have the same bits on every processor and in any order of computation. A code depends on nothing
//! but its vector: not on other vectors, their order or earlier runs.
//!
//! In a table with very many vectors, sketches of one bit for each number (`sketches`) tell which
//! of them are worth comparing by their codes.
//!
//! A store keeps codes (`on_disk`). Those of a very large table are not read into memory but a
//! little at a time, whenever they are compared; both give the same bits.

mod codes;
mod on_disk;
mod sketches;
mod stored;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use codes::{Codes, Query};
pub use on_disk::{CodesFolder, is_sound};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
pub use sketches::SketchQuery;

use crate::artifact::Artifact;
use crate::columns;
use crate::error::OpResult;
use crate::points::{Points, quick_dot};
use crate::table;

/// Vectors that take more bytes than this are coded.
const MOST_BYTES: usize = 256 << 20;
/// Codes that take more bytes than this have sketches, which say which of them are compared in a
/// search.
const MOST_COMPARED: usize = 256 << 20;
/// Codes that take more bytes than this stay on disk.
const MOST_LOADED: usize = 1 << 30;

/// How vectors are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// As they are.
    Exact,
    /// With one byte for each number.
    Coded,
}

impl Keep {
    /// How a whole table of this many vectors of this length is kept.
    pub fn of(rows: usize, dim: usize) -> Self {
        let bytes = rows.saturating_mul(dim).saturating_mul(size_of::<f32>());
        if bytes > MOST_BYTES {
            Keep::Coded
        } else {
            Keep::Exact
        }
    }

    /// Whether this many coded vectors of this length have sketches.
    fn sketched(rows: usize, dim: usize) -> bool {
        rows.saturating_mul(codes::row_bytes(dim)) > MOST_COMPARED
    }

    /// How the vectors of an artifact of the kind `embeddings` are kept.
    ///
    /// # Errors
    /// When it has no vectors.
    pub fn of_vectors(embeddings: &Artifact) -> OpResult<Self> {
        Ok(Keep::of(embeddings.rows("vectors")?, dim_of(embeddings)?))
    }
}

/// The length of an artifact's vectors. The file's bytes are not checked here, but when the vectors
/// are read, and so is their length.
fn dim_of(embeddings: &Artifact) -> OpResult<usize> {
    let first = embeddings.file("vectors")?.objects.first();
    let schema = first.and_then(|object| {
        let file = table::open(&object.path).ok()?;
        ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).ok()
    });
    match schema {
        Some(read) => columns::vector_length(read.schema(), "vector"),
        // A complete check says what is wrong with it.
        None => columns::vector_length(embeddings.parts("vectors")?.schema(), "vector"),
    }
}

/// Vectors of length one, or zero vectors.
#[derive(Debug)]
pub enum VectorTable {
    /// As they are.
    Exact(Points),
    /// With one byte for each number.
    Coded(Codes),
}

impl VectorTable {
    /// An empty table of vectors with `dim` numbers.
    pub fn new(keep: Keep, dim: usize) -> Self {
        match keep {
            Keep::Exact => VectorTable::Exact(Points::new(dim)),
            Keep::Coded => VectorTable::Coded(Codes::new(dim)),
        }
    }

    /// Reads the vectors of an artifact of the kind `embeddings`, with all threads. Very many stay
    /// on disk.
    ///
    /// # Errors
    /// When they cannot be read, or there is not enough memory.
    pub fn read(embeddings: &Artifact) -> OpResult<Self> {
        let mut table = match Keep::of_vectors(embeddings)? {
            Keep::Exact => VectorTable::Exact(Points::read(embeddings)?),
            Keep::Coded => VectorTable::Coded(Codes::open(embeddings)?),
        };
        table.load()?;
        Ok(table)
    }

    /// Reads what is on disk into memory, unless it is very much.
    ///
    /// # Errors
    /// See [`VectorTable::read`].
    pub fn load(&mut self) -> OpResult<()> {
        match self {
            VectorTable::Exact(_) => Ok(()),
            VectorTable::Coded(codes) => codes.load(MOST_LOADED),
        }
    }

    /// Adds row-major vectors of any length, which are scaled to length one.
    pub fn extend(&mut self, rows: &[f32]) {
        match self {
            VectorTable::Exact(points) => points.extend(rows),
            VectorTable::Coded(codes) => codes.extend(rows),
        }
    }

    /// Number of numbers in a vector.
    pub fn dim(&self) -> usize {
        match self {
            VectorTable::Exact(points) => points.dim(),
            VectorTable::Coded(codes) => codes.dim(),
        }
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        match self {
            VectorTable::Exact(points) => points.len(),
            VectorTable::Coded(codes) => codes.len(),
        }
    }

    /// Whether there is no vector.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `each` with the number of a query, the number of a row and the dot product of both,
    /// for each of these rows and queries. For each query, rows ascend. What is on disk is read
    /// once for all queries.
    ///
    /// # Errors
    /// When rows cannot be read, or do not exist.
    pub fn dots(
        &self,
        queries: &[Query<'_>],
        rows: Range<usize>,
        mut each: impl FnMut(usize, usize, f64),
    ) -> OpResult<()> {
        let points = match self {
            VectorTable::Exact(points) => points,
            VectorTable::Coded(codes) => return codes.dots(queries, rows, each),
        };
        let vectors = points.rows(rows.start, rows.end);
        for (q, query) in queries.iter().enumerate() {
            let vectors = vectors.chunks_exact(points.dim().max(1));
            for (row, vector) in rows.clone().zip(vectors) {
                each(q, row, quick_dot(query.exact, vector));
            }
        }
        Ok(())
    }
}
