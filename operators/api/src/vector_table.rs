//! The vectors of a table in memory: as they are or, where there are very many, with one byte for
//! each number.
//!
//! A coded vector is a list of whole numbers from -127 to 127 and the step between two of them,
//! which is chosen so that the vector's largest number has the code 127 or -127. Each number is off
//! by at most half a step, and on average these errors cancel out: for 256 numbers the cosine with
//! a question is off by about 0.0005. Products of codes are summed as whole numbers, so cosines
//! have the same bits on every processor and in any order of computation. A code depends on nothing
//! but its vector: not on other vectors, their order or earlier runs.

use std::ops::Range;

use rayon::prelude::*;

use crate::artifact::Artifact;
use crate::columns;
use crate::error::OpResult;
use crate::memory::Demand;
use crate::parts::Parts;
use crate::points::{Points, quick_dot, unit};

/// Vectors that take more bytes than this are coded.
const MOST_BYTES: usize = 256 << 20;
/// Number of sums that a sum of products is divided into: the processor adds them at the same time.
const SUMS: usize = 32;
/// The largest code of a vector's number.
const LARGEST: f64 = 127.0;

/// How vectors are kept in memory.
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

    /// How a stored table is kept.
    ///
    /// # Errors
    /// When it has no vectors.
    pub fn of_table(parts: &Parts) -> OpResult<Self> {
        let dim = columns::vector_length(parts.schema(), "vector")?;
        Ok(Keep::of(parts.rows().iter().sum(), dim))
    }
}

/// Vectors of length one, or zero vectors.
#[derive(Debug, Clone)]
pub enum VectorTable {
    /// As they are.
    Exact(Points),
    /// With one byte for each number.
    Coded(Codes),
}

/// Coded vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Codes {
    dim: usize,
    /// Row-major.
    codes: Vec<i8>,
    /// For each vector, what a code of 1 stands for; 0 for the zero vector.
    steps: Vec<f32>,
}

/// A vector that those of a table are compared with.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    exact: &'a [f32],
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

impl Codes {
    /// An empty list of vectors with `dim` numbers.
    pub fn new(dim: usize) -> Self {
        Codes {
            dim,
            codes: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Adds row-major vectors of any length, which are scaled to length one.
    pub fn extend(&mut self, rows: &[f32]) {
        let mut unit_row = Vec::with_capacity(self.dim);
        for row in rows.chunks_exact(self.dim.max(1)) {
            unit_row.clear();
            unit_row.extend(unit(row));
            let row = &unit_row[..];
            let step = largest_number(row) / LARGEST;
            self.codes.extend(coded(row, step).map(|code| code as i8));
            self.steps.push(step as f32);
        }
    }

    /// The vectors of these rows, decoded. Their length is nearly one.
    pub fn decoded(&self, rows: Range<usize>) -> Points {
        let codes = &self.codes[rows.start * self.dim..rows.end * self.dim];
        let vectors = codes.chunks_exact(self.dim.max(1)).zip(&self.steps[rows]);
        let mut values = Vec::with_capacity(codes.len());
        for (codes, step) in vectors {
            values.extend(codes.iter().map(|code| f32::from(*code) * step));
        }
        Points::of_rows(self.dim, values)
    }

    /// See [`VectorTable::dots`].
    fn dots(&self, query: &Query<'_>, rows: Range<usize>, mut each: impl FnMut(usize, f64)) {
        let codes = &self.codes[rows.start * self.dim..rows.end * self.dim];
        let vectors = codes.chunks_exact(self.dim.max(1));
        for ((row, vector), step) in rows.clone().zip(vectors).zip(&self.steps[rows]) {
            let sum = f64::from(sum_of_products(&query.codes, vector));
            each(row, sum * query.step * f64::from(*step));
        }
    }
}

/// The sum of the products, which cannot overflow: see [`Query::new`].
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
    let rest = query_rest.iter().zip(vector_rest);
    let rest = rest.map(|(q, v)| product(*q, *v));
    sums.into_iter().chain(rest).fold(0, i32::wrapping_add)
}

impl VectorTable {
    /// An empty table of vectors with `dim` numbers.
    pub fn new(keep: Keep, dim: usize) -> Self {
        match keep {
            Keep::Exact => VectorTable::Exact(Points::new(dim)),
            Keep::Coded => VectorTable::Coded(Codes::new(dim)),
        }
    }

    /// Reads the vectors of an artifact of the kind `embeddings`, with all threads.
    ///
    /// # Errors
    /// When they cannot be read, or there is not enough memory.
    pub fn read(embeddings: &Artifact) -> OpResult<Self> {
        let parts = embeddings.parts("vectors")?;
        let all = 0..parts.rows().len();
        VectorTable::of_parts(Keep::of_table(&parts)?, &parts, all)
    }

    /// Reads some parts of a table of vectors, at the same time.
    ///
    /// # Errors
    /// When they cannot be read, or there is not enough memory.
    pub fn of_parts(keep: Keep, parts: &Parts, some: Range<usize>) -> OpResult<Self> {
        match keep {
            Keep::Exact => Points::of_parts(parts, some).map(VectorTable::Exact),
            Keep::Coded => Codes::of_parts(parts, some).map(VectorTable::Coded),
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
            VectorTable::Coded(codes) => codes.dim,
        }
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        match self {
            VectorTable::Exact(points) => points.len(),
            VectorTable::Coded(codes) => codes.steps.len(),
        }
    }

    /// Whether there is no vector.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `each` with the number of each of these rows, ascending, and its dot product with a
    /// vector of as many numbers.
    pub fn dots(&self, query: &Query<'_>, rows: Range<usize>, mut each: impl FnMut(usize, f64)) {
        match self {
            VectorTable::Exact(points) => {
                let vectors = points.rows(rows.start, rows.end);
                let vectors = vectors.chunks_exact(points.dim().max(1));
                for (row, vector) in rows.zip(vectors) {
                    each(row, quick_dot(query.exact, vector));
                }
            }
            VectorTable::Coded(codes) => codes.dots(query, rows, each),
        }
    }
}

impl Codes {
    fn of_parts(parts: &Parts, some: Range<usize>) -> OpResult<Codes> {
        let dim = columns::vector_length(parts.schema(), "vector")?;
        let all: usize = parts.rows()[some.clone()].iter().sum();
        Demand::new()
            .and("codes", &[all, dim])
            .and("steps", &[all, size_of::<f32>()])
            .check("the number of texts")?;
        let mut out = Codes::new(dim);
        out.codes.reserve_exact(all * dim);
        out.steps.reserve_exact(all);
        // A part for each thread at a time: parts are much larger before they are coded.
        let together = rayon::current_num_threads();
        for first in some.clone().step_by(together) {
            let read = (first..some.end.min(first + together)).into_par_iter();
            let read = read.map(|part| {
                let mut codes = Codes::new(dim);
                for batch in parts.batches(part)? {
                    codes.extend(&columns::vectors(&batch?, "vector")?.1);
                }
                Ok(codes)
            });
            for codes in read.collect::<OpResult<Vec<_>>>()? {
                out.codes.extend(codes.codes);
                out.steps.extend(codes.steps);
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::local;
    use crate::points::dot;
    use proptest::prelude::*;

    /// The cosines of a query with all vectors of a table.
    fn cosines(table: &VectorTable, query: &[f32]) -> Vec<f64> {
        let mut out = Vec::new();
        table.dots(&Query::new(query), 0..table.len(), |row, cosine| {
            assert_eq!(row, out.len());
            out.push(cosine);
        });
        out
    }

    fn table(keep: Keep, dim: usize, rows: &[f32]) -> VectorTable {
        let mut table = VectorTable::new(keep, dim);
        table.extend(rows);
        table
    }

    proptest! {
        #[test]
        fn coded_cosines_are_near_the_exact_ones(
            dim in 1_usize..300, rows in 1_usize..8, seed in prop::collection::vec(-1.0..1.0f32, 2400),
        ) {
            let rows = &seed[..rows * dim];
            let exact = table(Keep::Exact, dim, rows);
            let coded = table(Keep::Coded, dim, rows);
            prop_assert_eq!((coded.len(), coded.dim()), (exact.len(), dim));
            let query: Vec<f32> = unit(&seed[2400 - dim..]).collect();
            let query = query.as_slice();
            // With the decoded vectors, the products are those that the query's own codes allow.
            let VectorTable::Coded(codes) = &coded else { panic!() };
            let decoded = codes.decoded(0..codes.steps.len());
            for (row, product) in cosines(&coded, query).into_iter().enumerate() {
                let error = (product - dot(query, decoded.row(row))).abs();
                prop_assert!(error < Query::new(query).error(), "{error}");
            }
            // Half a step for each number, of which each has its share of the query.
            let of_query: f64 = query.iter().map(|x| f64::from(x.abs())).sum();
            for (a, b) in cosines(&exact, query).iter().zip(cosines(&coded, query)) {
                prop_assert!((a - b).abs() < of_query / LARGEST / 2.0 + 1e-3, "{a} {b}");
            }
        }

        /// The order of vectors and the parts they are read in change no bit.
        #[test]
        fn a_code_depends_on_its_vector_alone(seed in prop::collection::vec(-1.0..1.0f32, 60)) {
            let dim = 4;
            let query: Vec<f32> = unit(&seed[..dim]).collect();
            let all = cosines(&table(Keep::Coded, dim, &seed), &query);
            let reversed: Vec<f32> = seed.chunks(dim).rev().flatten().copied().collect();
            let mut reversed = cosines(&table(Keep::Coded, dim, &reversed), &query);
            reversed.reverse();
            prop_assert_eq!(all, reversed);
        }
    }

    #[test]
    fn hand_computed_codes() {
        // (3, 4) / 5: the step is 0.8 / 127, and 0.6 is 95.25 steps.
        let rows = [3.0, 4.0, 0.0, 0.0, -2.0, 0.0];
        let VectorTable::Coded(codes) = table(Keep::Coded, 2, &rows) else {
            panic!()
        };
        assert_eq!(codes.codes, [95, 127, 0, 0, -127, 0]);
        assert_eq!(codes.steps[0], 0.8 / 127.0);
        let got = cosines(&VectorTable::Coded(codes), &[0.0, 1.0]);
        assert!(
            (got[0] - 0.8).abs() < 1e-6 && got[1..] == [0.0, 0.0],
            "{got:?}"
        );
        // The zero vector is like nothing.
        assert_eq!(
            cosines(&table(Keep::Coded, 2, &rows), &[0.0, 0.0]),
            [0.0; 3]
        );
        assert!(table(Keep::Coded, 0, &[]).is_empty());
    }

    #[test]
    fn no_sum_overflows() {
        for dim in [1, 256, 515, 4096, 100_000] {
            let ones = vec![1.0_f32; dim];
            let query: Vec<f32> = unit(&ones).collect();
            let got = cosines(&table(Keep::Coded, dim, &ones), &query)[0];
            assert!((got - 1.0).abs() < 1e-4, "{dim}: {got}");
        }
    }

    #[test]
    fn parts_are_read_as_the_whole() {
        let rows: Vec<f32> = (0..210).map(|i| ((i * 7) % 23) as f32 - 11.0).collect();
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let parts = local::vectors_in_parts(&path, 3, &rows, 8).unwrap();
        assert_eq!(Keep::of_table(&parts).unwrap(), Keep::Exact);
        let query: Vec<f32> = unit(&[1.0, -2.0, 0.5]).collect();
        for keep in [Keep::Exact, Keep::Coded] {
            let whole = cosines(&table(keep, 3, &rows), &query);
            let all = VectorTable::of_parts(keep, &parts, 0..9).unwrap();
            assert_eq!(cosines(&all, &query), whole);
            let some = VectorTable::of_parts(keep, &parts, 2..5).unwrap();
            assert_eq!(cosines(&some, &query), whole[16..40]);
        }
        let exact = cosines(&table(Keep::Exact, 3, &rows), &query);
        let slow = rows
            .chunks(3)
            .map(|row| dot(&query, &unit(row).collect::<Vec<_>>()));
        assert!(exact.iter().zip(slow).all(|(a, b)| (a - b).abs() < 1e-12));
    }

    #[test]
    fn only_large_tables_are_coded() {
        assert_eq!(Keep::of(MOST_BYTES / 1024, 256), Keep::Exact);
        assert_eq!(Keep::of(MOST_BYTES / 1024 + 1, 256), Keep::Coded);
        assert_eq!(Keep::of(usize::MAX, 256), Keep::Coded);
    }
}
