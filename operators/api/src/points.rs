//! Unit vectors, whose dot products are cosines: embeddings of texts in memory.

use std::ops::Range;

use rayon::prelude::*;

use crate::artifact::Artifact;
use crate::columns;
use crate::error::{OpError, OpResult};
use crate::memory::Demand;
use crate::parts::Parts;

/// Vectors of length one, or zero vectors, in row-major order.
#[derive(Debug, Clone)]
pub struct Points {
    dim: usize,
    values: Vec<f32>,
}

/// Number of sums that [`quick_dot`] divides a dot product into: the processor adds them at the
/// same time.
const SUMS: usize = 8;

/// Scales a vector to length one; the zero vector stays as it is.
fn scaled(vector: impl Iterator<Item = f64> + Clone) -> impl Iterator<Item = f32> {
    let norm = vector.clone().map(|x| x * x).sum::<f64>().sqrt();
    let norm = if norm > 0.0 { norm } else { 1.0 };
    vector.map(move |x| (x / norm) as f32)
}

/// The numbers of a vector, scaled to length one.
pub fn unit(vector: &[f32]) -> impl Iterator<Item = f32> + '_ {
    scaled(vector.iter().map(|x| f64::from(*x)))
}

/// Scales row-major vectors of this length.
fn scale_rows(dim: usize, rows: &[f32], out: &mut [f32]) {
    let dim = dim.max(1);
    for (row, out) in rows.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
        out.iter_mut().zip(unit(row)).for_each(|(out, x)| *out = x);
    }
}

/// The dot product, summed in order: the same bits on every processor.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y));
    products.sum()
}

/// The dot product, summed in several parts: several times as fast as [`dot`], and also the same
/// bits on every processor, but other ones.
pub fn quick_dot(a: &[f32], b: &[f32]) -> f64 {
    let (a, a_rest) = a.as_chunks::<SUMS>();
    let (b, b_rest) = b.as_chunks::<SUMS>();
    let mut sums = [0.0; SUMS];
    for (a, b) in a.iter().zip(b) {
        for i in 0..SUMS {
            sums[i] += f64::from(a[i]) * f64::from(b[i]);
        }
    }
    sums.iter().sum::<f64>() + dot(a_rest, b_rest)
}

impl Points {
    /// An empty list of vectors with `dim` numbers.
    pub fn new(dim: usize) -> Self {
        Points {
            dim,
            values: Vec::new(),
        }
    }

    /// Reads the vectors of an artifact of the kind `embeddings`, with all threads.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read(embeddings: &Artifact) -> OpResult<Points> {
        let parts = embeddings.parts("vectors")?;
        Points::of_parts(&parts, 0..parts.rows().len())
    }

    /// Reads some parts of a table of vectors, at the same time.
    ///
    /// # Errors
    /// When they cannot be read, or there is not enough memory.
    pub fn of_parts(parts: &Parts, some: Range<usize>) -> OpResult<Points> {
        let dim = columns::vector_length(parts.schema(), "vector")?;
        let rows = &parts.rows()[some.clone()];
        let all: usize = rows.iter().sum();
        Demand::new()
            .and("vectors", &[all, dim, size_of::<f32>()])
            .check("the number of texts")?;
        let mut values = vec![0.0; all * dim];
        let mut rest = &mut values[..];
        let mut shares = Vec::with_capacity(rows.len());
        for (part, rows) in some.zip(rows) {
            let (share, behind) = rest.split_at_mut(rows * dim);
            shares.push((part, share));
            rest = behind;
        }
        let other = || OpError::data("a part of the table has not as many rows as it says");
        let read = shares.into_par_iter().map(|(part, mut share)| {
            for batch in parts.batches(part)? {
                let (_, vectors) = columns::vectors(&batch?, "vector")?;
                let (out, behind) = share
                    .split_at_mut_checked(vectors.len())
                    .ok_or_else(other)?;
                scale_rows(dim, &vectors, out);
                share = behind;
            }
            if share.is_empty() {
                Ok(())
            } else {
                Err(other())
            }
        });
        let read: OpResult<()> = read.collect();
        read.map_err(|e| e.artifact(parts.name()))?;
        Ok(Points { dim, values })
    }

    /// Takes row-major vectors of this length as they are.
    pub(crate) fn of_rows(dim: usize, values: Vec<f32>) -> Points {
        Points { dim, values }
    }

    /// Adds a vector, scaled to length one; the zero vector is added as it is.
    pub fn push(&mut self, vector: impl ExactSizeIterator<Item = f64> + Clone) {
        debug_assert_eq!(vector.len(), self.dim, "a vector of another length");
        self.values.extend(scaled(vector));
    }

    /// Adds row-major vectors, scaled to length one.
    pub fn extend(&mut self, rows: &[f32]) {
        let first = self.values.len();
        let whole = rows.len() - rows.len() % self.dim.max(1);
        self.values.resize(first + whole, 0.0);
        scale_rows(self.dim, rows, &mut self.values[first..]);
    }

    /// Number of numbers in a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim.max(1)
    }

    /// Whether there is no vector.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Vector `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        self.rows(i, i + 1)
    }

    /// Vectors `from..to`, as one slice.
    pub fn rows(&self, from: usize, to: usize) -> &[f32] {
        &self.values[from * self.dim..to * self.dim]
    }

    /// A copy of the first `count` vectors.
    pub fn first(&self, count: usize) -> Points {
        Points {
            dim: self.dim,
            values: self.rows(0, count).to_vec(),
        }
    }

    /// A copy of the vectors at these rows.
    pub fn select(&self, rows: &[u32]) -> Points {
        let mut values = Vec::with_capacity(rows.len() * self.dim);
        for row in rows {
            values.extend_from_slice(self.row(*row as usize));
        }
        Points {
            dim: self.dim,
            values,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::local;

    #[test]
    fn parts_of_a_table_are_read_in_its_order() {
        let rows: Vec<f32> = (0..14).map(|i| (i as f32 - 5.0) / 3.0).collect();
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let parts = local::vectors_in_parts(&path, 2, &rows, 3).unwrap();
        assert_eq!(parts.rows(), [3, 3, 1]);
        let mut all = Points::new(2);
        all.extend(&rows);
        let read = |some| Points::of_parts(&parts, some).unwrap();
        assert_eq!(read(0..3).values, all.values);
        assert_eq!(read(1..3).values, all.rows(3, 7));
        assert_eq!((read(0..0).len(), read(0..0).dim()), (0, 2));
        assert!(all.values.chunks(2).all(|v| (dot(v, v) - 1.0).abs() < 1e-6));

        // A file that was changed after it was checked is not read.
        std::fs::write(&path, "other").unwrap();
        let e = Points::of_parts(&parts, 0..1).err().unwrap().to_string();
        assert!(e.contains("failed to read the table"), "{e}");
    }

    #[test]
    fn both_dot_products_agree() {
        let numbers = |n: usize, step: usize| (0..n).map(move |i| (i * step % 11) as f32 - 5.0);
        for length in [0, 1, 7, 8, 9, 256, 300] {
            let a: Vec<f32> = numbers(length, 3).collect();
            let b: Vec<f32> = numbers(length, 7).collect();
            assert_eq!(dot(&a, &b), quick_dot(&a, &b), "{length}");
        }
    }

    #[test]
    fn zero_vectors_stay_and_incomplete_rows_are_left_out() {
        let mut points = Points::new(2);
        points.extend(&[0.0, 0.0, 3.0, 4.0, 1.0]);
        points.push([0.0, -2.0].into_iter());
        assert_eq!(points.values, [0.0, 0.0, 0.6, 0.8, 0.0, -1.0]);
        let mut none = Points::new(0);
        none.extend(&[]);
        assert_eq!(none.len(), 0);
    }
}
