//! The rows of a table most like some vectors, by cosine.
//!
//! Rows are read batch by batch and never held together, so that a table may be larger than the
//! memory. Each vector's best rows are kept by one thread, in the order of the table. Products of
//! matrices say which rows come into question, and sums in a fixed order decide: the result depends
//! neither on the processor nor on how many threads there are.

use std::cmp::Ordering;

use gfm_pipe_api::artifact::check_made_from;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns};
use gfm_pipe_kernels::gemm::{Mat, gemm};
use rayon::prelude::*;

/// Vectors and rows whose products are computed at once: they fit into the L2 cache.
const AT_ONCE: usize = 32;
const ROWS: usize = 1024;

/// A row and its cosine.
pub type Near = (u32, f64);

/// Vectors of length 1 (or 0), row-major.
pub struct Vectors {
    dim: usize,
    values: Vec<f32>,
    /// Digest of the encoder.
    encoder: (String, String),
    of: String,
}

impl Vectors {
    /// Reads embeddings and the tables whose texts they were made from, one after the other.
    ///
    /// # Errors
    /// When there are none, they were made from other texts, or by several encoders.
    pub fn joined(tables: &[(&Artifact, &Artifact)]) -> OpResult<Vectors> {
        let mut all: Option<Vectors> = None;
        for (embeddings, of) in tables {
            check_made_from(embeddings, &of.texts()?, &of.name)?;
            let (dim, mut values) = columns::vectors(&embeddings.read("vectors")?, "vector")?;
            values.chunks_exact_mut(dim.max(1)).for_each(normalise);
            let all = all.get_or_insert_with(|| Vectors {
                dim,
                values: Vec::new(),
                encoder: (String::new(), String::new()),
                of: of.name.clone(),
            });
            let encoder = encoder(embeddings)?;
            if all.values.is_empty() {
                (all.encoder, all.dim) = (encoder, dim);
            } else {
                all.same_encoder(embeddings, of, dim)?;
            }
            all.values.extend(values);
        }
        all.ok_or_else(|| OpError::new("there are no embeddings"))
    }

    fn same_encoder(&self, embeddings: &Artifact, of: &Artifact, dim: usize) -> OpResult<()> {
        let theirs = encoder(embeddings)?;
        if (&theirs.1, dim) == (&self.encoder.1, self.dim) {
            return Ok(());
        }
        Err(OpError::new(format!(
            "`{}` is embedded with {} ({} wide), `{}` with {} ({dim} wide)",
            self.of, self.encoder.0, self.dim, of.name, theirs.0
        ))
        .artifact(&embeddings.name)
        .hint("give all `embed` stages the same `model`"))
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.dim).unwrap_or(0)
    }

    fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.dim..][..self.dim]
    }

    /// For each vector the `k` rows most like it, the best first, of those that `wanted` takes.
    ///
    /// # Errors
    /// When the rows were made from other texts, or with another encoder.
    pub fn nearest(
        &self,
        ctx: &Context,
        (embeddings, of): (&Artifact, &Artifact),
        k: usize,
        wanted: &(dyn Fn(usize, u32) -> bool + Sync),
    ) -> OpResult<Vec<Vec<Near>>> {
        check_made_from(embeddings, &of.texts()?, &of.name)?;
        let mut best: Vec<Best> = (0..self.len()).map(|_| Best::new(k)).collect();
        let total = embeddings.rows("vectors")? as u64;
        let mut first = 0u32;
        for batch in embeddings.batches("vectors")? {
            let batch = batch?;
            ctx.check_cancelled()?;
            ctx.progress(u64::from(first), total, "vectors", &of.name);
            let (dim, mut rows) = columns::vectors(&batch, "vector")?;
            if first == 0 {
                self.same_encoder(embeddings, of, dim)?;
            }
            rows.par_chunks_exact_mut(dim.max(1)).for_each(normalise);
            best.par_chunks_mut(AT_ONCE)
                .enumerate()
                .for_each(|(part, best)| {
                    self.compare(part * AT_ONCE, best, (first, &rows), wanted);
                });
            first += batch.num_rows() as u32;
        }
        ctx.progress(total, total, "vectors", &of.name);
        Ok(best.into_iter().map(|best| best.rows).collect())
    }

    /// Compares the vectors from one on, as many as `best` has, with rows of a table, of which
    /// `first` is the number of the first.
    fn compare(
        &self,
        from: usize,
        best: &mut [Best],
        (first, rows): (u32, &[f32]),
        wanted: &(dyn Fn(usize, u32) -> bool + Sync),
    ) {
        let dim = self.dim;
        // Two sums of `dim` products of unit vectors differ by less than `dim` roundings; twice
        // that leaves room for their lengths.
        let error = 2.0 * dim as f64 * f64::from(f32::EPSILON);
        let own = Mat::new(
            &self.values[from * dim..][..best.len() * dim],
            best.len(),
            dim,
        );
        let mut products = vec![0.0; best.len() * ROWS];
        for (first, rows) in (first..).step_by(ROWS).zip(rows.chunks(ROWS * dim)) {
            let count = rows.len() / dim;
            let products = &mut products[..best.len() * count];
            gemm(products, own, Mat::new(rows, count, dim).t(), false);
            let of_each = products.chunks_exact(count);
            for (i, (best, products)) in (from..).zip(best.iter_mut().zip(of_each)) {
                for ((row, theirs), product) in (first..).zip(rows.chunks_exact(dim)).zip(products)
                {
                    if !best.takes(f64::from(*product) + error) {
                        continue;
                    }
                    let cosine = f64::from(dot(self.row(i), theirs));
                    if best.takes(cosine) && wanted(i, row) {
                        best.add((row, cosine));
                    }
                }
            }
        }
    }
}

/// The best rows so far, best first; of equal ones the first.
struct Best {
    k: usize,
    rows: Vec<Near>,
}

impl Best {
    fn new(k: usize) -> Best {
        Best {
            k,
            rows: Vec::with_capacity(k.min(1024)),
        }
    }

    fn takes(&self, cosine: f64) -> bool {
        self.rows.len() < self.k || self.rows.last().is_some_and(|worst| cosine > worst.1)
    }

    fn add(&mut self, near: Near) {
        // Rows come in order: an equal one has its place behind those before it.
        let at = self
            .rows
            .partition_point(|kept| kept.1.total_cmp(&near.1) != Ordering::Less);
        self.rows.truncate(self.k - 1);
        self.rows.insert(at, near);
    }
}

fn normalise(row: &mut [f32]) {
    let norm = row
        .iter()
        .map(|x| f64::from(*x) * f64::from(*x))
        .sum::<f64>()
        .sqrt();
    if norm > 0.0 {
        for x in row {
            *x = (f64::from(*x) / norm) as f32;
        }
    }
}

/// In eight sums, which a compiler keeps in one register.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (mut sums, (a8, b8)) = ([0f32; 8], (a.chunks_exact(8), b.chunks_exact(8)));
    let rest = a8.remainder().iter().zip(b8.remainder());
    let rest: f32 = rest.map(|(x, y)| x * y).sum();
    for (x, y) in a8.zip(b8) {
        for i in 0..8 {
            sums[i] += x[i] * y[i];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// Name and digest of the encoder of embeddings.
fn encoder(embeddings: &Artifact) -> OpResult<(String, String)> {
    let row = embeddings.read("encoder")?;
    let text = |name| -> OpResult<String> { Ok(columns::text(&row, name)?.value(0).to_owned()) };
    Ok((text("name")?, text("digest")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_best_rows_are_those_of_a_stable_sort(
            cosines in prop::collection::vec(0u8..6, 0..40), k in 1usize..12,
        ) {
            let mut best = Best::new(k);
            let rows: Vec<Near> = (0..).zip(cosines.iter().map(|c| f64::from(*c))).collect();
            for near in &rows {
                if best.takes(near.1) {
                    best.add(*near);
                }
            }
            let mut want = rows;
            want.sort_by(|a, b| b.1.total_cmp(&a.1));
            want.truncate(k);
            prop_assert_eq!(best.rows, want);
        }

        #[test]
        fn dot_is_the_sum_of_products(values in prop::collection::vec(-2i8..3, 0..40)) {
            let a: Vec<f32> = values.iter().map(|v| f32::from(*v)).collect();
            let b: Vec<f32> = a.iter().map(|v| v + 1.0).collect();
            let want: f32 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
            prop_assert_eq!(dot(&a, &b), want);
        }
    }

    /// Rows of length 1; some are there several times.
    fn points(count: usize, dim: usize, mut state: u32) -> Vec<f32> {
        let mut out: Vec<f32> = Vec::new();
        for i in 0..count {
            if i % 7 == 6 {
                out.extend_from_within((i - 3) * dim..(i - 2) * dim);
                continue;
            }
            let row = (0..dim).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            });
            let mut row: Vec<f32> = row.collect();
            normalise(&mut row);
            out.extend(row);
        }
        out
    }

    #[test]
    fn the_nearest_are_those_of_comparing_one_by_one() {
        let (dim, first, k) = (20, 5, 9);
        let rows = points(2 * ROWS + 300, dim, 1);
        let vectors = Vectors {
            dim,
            values: points(AT_ONCE + 3, dim, 2),
            encoder: (String::new(), String::new()),
            of: String::new(),
        };
        let wanted = |i: usize, row: u32| !(row as usize + i).is_multiple_of(5);
        for part in 0..2 {
            let from = part * AT_ONCE;
            let mut got: Vec<Best> = (from..vectors.len().min(from + AT_ONCE))
                .map(|_| Best::new(k))
                .collect();
            vectors.compare(from, &mut got, (first, &rows), &wanted);
            for (i, got) in (from..).zip(got) {
                let all = (first..).zip(rows.chunks_exact(dim));
                let all = all.filter(|(row, _)| wanted(i, *row));
                let cosine = |theirs| f64::from(dot(vectors.row(i), theirs));
                let mut want: Vec<Near> = all.map(|(row, r)| (row, cosine(r))).collect();
                want.sort_by(|a, b| b.1.total_cmp(&a.1));
                want.truncate(k);
                assert_eq!(got.rows, want, "{i}");
            }
        }
    }

    #[test]
    fn rows_become_as_long_as_1() {
        let mut row = [3.0, 4.0];
        normalise(&mut row);
        assert_eq!(row, [0.6, 0.8]);
        let mut zero = [0.0; 2];
        normalise(&mut zero);
        assert_eq!(zero, [0.0; 2]);
    }
}
