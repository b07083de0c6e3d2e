//! Dense matrix products with results that do not depend on the number of threads. A row of
//! [`gemm`]'s result does not depend on the other rows, nor on how many there are, unless the left
//! matrix is transposed: a question has the same scores alone and among others.
//!
//! The `gemm` crate does the arithmetic, one thread per call. This module divides the work, by
//! sizes only.

use rayon::prelude::*;

use crate::Real;

/// Rows of a product that one task computes: enough work to pay for a task, and little enough to
/// stay in the L2 cache.
const TASK_ROWS: usize = 512;
/// Terms of a long sum that one task adds.
const TASK_TERMS: usize = 4096;
/// A long sum is divided into at most this many partial results, which limits their memory.
const MAX_PARTS: usize = 16;

/// A matrix read in place, `rows x cols`, or its transpose.
#[derive(Clone, Copy)]
pub struct Mat<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T: Real> Mat<'a, T> {
    /// A row-major matrix.
    ///
    /// # Panics
    /// When the slice is shorter than the matrix.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Mat::strided(data, rows, cols, cols)
    }

    /// A block of `cols` columns inside rows of `stride` elements.
    ///
    /// # Panics
    /// When the slice is shorter than the matrix, or rows overlap.
    pub fn strided(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(stride >= cols, "rows overlap");
        assert!(
            rows == 0 || cols == 0 || data.len() >= (rows - 1) * stride + cols,
            "matrix of {rows} x {cols} does not fit its slice"
        );
        Mat {
            data,
            rows,
            cols,
            row_stride: stride,
            col_stride: 1,
        }
    }

    /// The transpose, without copying.
    #[must_use]
    pub fn t(self) -> Self {
        Mat {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// Rows `from..to`.
    fn rows(self, from: usize, to: usize) -> Self {
        Mat {
            data: &self.data[(from * self.row_stride).min(self.data.len())..],
            rows: to - from,
            ..self
        }
    }
}

/// Zero rows between two stretches of other rows that are cheaper to multiply than to skip.
const WORTH_SKIPPING: usize = 16;

/// Stretches of rows (from, to) outside of which all rows are zero, by `is_zero`.
fn stretches(rows: usize, is_zero: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
    let mut out: Vec<(usize, usize)> = Vec::new();
    for row in (0..rows).filter(|r| !is_zero(*r)) {
        match out.last_mut() {
            Some((_, to)) if row - *to < WORTH_SKIPPING => *to = row + 1,
            _ => out.push((row, row + 1)),
        }
    }
    out
}

impl<T: Real> Mat<'_, T> {
    /// Whether a row is zero; `false` for transposed matrices, whose rows are scattered.
    fn is_zero_row(&self, row: usize) -> bool {
        self.col_stride == 1
            && self.data[row * self.row_stride..][..self.cols]
                .iter()
                .all(|x| *x == T::zero())
    }
}

/// One product on the calling thread: `c = a b`, or `c += a b`; `c` is row-major `a.rows x b.cols`.
/// The number of rows may change how a row is summed.
///
/// # Panics
/// When shapes do not fit.
pub fn product<T: Real>(c: &mut [T], a: Mat<'_, T>, b: Mat<'_, T>, accumulate: bool) {
    assert_eq!(a.cols, b.rows, "inner dimensions differ");
    assert!(c.len() >= a.rows * b.cols, "result does not fit its slice");
    if a.rows == 0 || b.cols == 0 {
        return;
    }
    // SAFETY: `Mat`'s constructors ensure that every element (i, j) with i < rows, j < cols lies
    // inside `data` at i * row_stride + j * col_stride, and transposing and cutting rows keep this.
    // `c` was checked above. It is borrowed mutably, so it overlaps neither `a` nor `b`. Strides
    // fit isize because slices do.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            c.as_mut_ptr(),
            1,
            b.cols as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// The number of rows from which the `gemm` crate (0.19) computes a product `rows x cols` with sums
/// of `terms` terms in the same way. Fewer rows may be summed in another order: it has kernels for
/// one row and for at most 256 elements, and cuts long sums in other places up to 64 x 64.
fn least_rows(cols: usize, terms: usize) -> usize {
    let large = if cols <= 64 && terms > 512 { 65 } else { 2 };
    large.max(256 / cols + 1)
}

/// [`product`], where each row of `c` is the same for any number of rows in `a`, unless that is
/// transposed.
pub(crate) fn product_of_rows<T: Real>(
    c: &mut [T],
    a: Mat<'_, T>,
    b: Mat<'_, T>,
    accumulate: bool,
) {
    let (rows, cols) = (a.rows, b.cols);
    let all = if cols == 0 {
        0
    } else {
        least_rows(cols, b.rows)
    };
    if rows == 0 || rows >= all {
        return product(c, a, b, accumulate);
    }
    let mut more = vec![T::zero(); all * a.cols];
    for (row, more) in more.chunks_exact_mut(a.cols.max(1)).take(rows).enumerate() {
        for (col, x) in more.iter_mut().enumerate() {
            *x = a.data[row * a.row_stride + col * a.col_stride];
        }
    }
    let mut out = vec![T::zero(); all * cols];
    out[..rows * cols].copy_from_slice(&c[..rows * cols]);
    product(&mut out, Mat::new(&more, all, a.cols), b, accumulate);
    c[..rows * cols].copy_from_slice(&out[..rows * cols]);
}

/// `c = a b` (or `c += a b`) for a tall `a`: tasks are blocks of rows.
///
/// Rows of `a` that are zero are skipped. States are zero far from a query's start in the first
/// layer, and gradients are zero far from the candidates in the last ones, so this saves much there
/// and changes nothing.
///
/// # Panics
/// When shapes do not fit.
pub fn gemm<T: Real>(c: &mut [T], a: Mat<'_, T>, b: Mat<'_, T>, accumulate: bool) {
    assert_eq!(c.len(), a.rows * b.cols, "result does not fit its slice");
    if c.is_empty() {
        return;
    }
    c.par_chunks_mut(TASK_ROWS * b.cols)
        .enumerate()
        .for_each(|(task, block)| {
            let from = task * TASK_ROWS;
            let a = a.rows(from, from + block.len() / b.cols);
            if !accumulate {
                block.fill(T::zero());
            }
            for (from, to) in stretches(a.rows, |r| a.is_zero_row(r)) {
                let part = &mut block[from * b.cols..to * b.cols];
                product_of_rows(part, a.rows(from, to), b, accumulate);
            }
        });
}

/// `c += aᵀ b` for tall `a` (`k x m`) and `b` (`k x n`): the sum over `k` is cut into parts, added
/// in order. Terms with a zero row in `a` or `b` are skipped.
///
/// # Panics
/// When shapes do not fit.
pub fn gemm_tn<T: Real>(c: &mut [T], a: Mat<'_, T>, b: Mat<'_, T>) {
    assert_eq!(a.rows, b.rows, "numbers of rows differ");
    assert_eq!(c.len(), a.cols * b.cols, "result does not fit its slice");
    let parts = a.rows.div_ceil(TASK_TERMS).clamp(1, MAX_PARTS);
    let per_part = a.rows.div_ceil(parts).max(1);
    let partial: Vec<Vec<T>> = (0..parts)
        .into_par_iter()
        .map(|p| {
            let from = (p * per_part).min(a.rows);
            let to = ((p + 1) * per_part).min(a.rows);
            let (a, b) = (a.rows(from, to), b.rows(from, to));
            let mut out = vec![T::zero(); c.len()];
            for (from, to) in stretches(a.rows, |r| a.is_zero_row(r) || b.is_zero_row(r)) {
                product(&mut out, a.rows(from, to).t(), b.rows(from, to), true);
            }
            out
        })
        .collect();
    for part in &partial {
        for (c, p) in c.iter_mut().zip(part) {
            *c += *p;
        }
    }
}

/// Adds the rows of a row-major `rows x out.len()` matrix to `out`.
pub fn add_rows<T: Real>(out: &mut [T], data: &[T]) {
    let cols = out.len();
    if cols == 0 || data.is_empty() {
        return;
    }
    let partial: Vec<Vec<T>> = data
        .par_chunks(TASK_TERMS * cols)
        .map(|block| {
            let mut sum = vec![T::zero(); cols];
            for row in block.chunks_exact(cols) {
                for (s, x) in sum.iter_mut().zip(row) {
                    *s += *x;
                }
            }
            sum
        })
        .collect();
    for part in &partial {
        for (o, p) in out.iter_mut().zip(part) {
            *o += *p;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gfm_pipe_testing::Random;
    use proptest::prelude::*;

    fn slow(a: Mat<'_, f64>, b: Mat<'_, f64>) -> Vec<f64> {
        let mut c = vec![0.0; a.rows * b.cols];
        for i in 0..a.rows {
            for j in 0..b.cols {
                for k in 0..a.cols {
                    c[i * b.cols + j] += a.data[i * a.row_stride + k * a.col_stride]
                        * b.data[k * b.row_stride + j * b.col_stride];
                }
            }
        }
        c
    }

    fn numbers(n: usize, seed: u64) -> Vec<f64> {
        Random::new(seed).signed(n)
    }

    proptest! {
        #[test]
        fn products_equal_the_obvious_ones(m in 0usize..1200, k in 1usize..9, n in 1usize..9, seed in 0u64..99) {
            let (mut a, b) = (numbers(m * k, seed), numbers(k * n, seed + 1));
            // Zero rows, alone and in long stretches, at both ends and inside.
            for row in (0..m).filter(|r| (r / 40) % 3 == 1 || r % 7 == 0) {
                a[row * k..][..k].fill(0.0);
            }
            let (am, bm) = (Mat::new(&a, m, k), Mat::new(&b, k, n));
            let mut c = vec![0.5; m * n];
            gemm(&mut c, am, bm, true);
            for (got, want) in c.iter().zip(slow(am, bm)) {
                prop_assert!((got - want - 0.5).abs() < 1e-12);
            }
            let turned: Vec<f64> = (0..k * m).map(|i| a[i % m * k + i / m]).collect();
            let mut c = vec![0.5; m * n];
            gemm(&mut c, Mat::new(&turned, k, m).t(), bm, false);
            for (got, want) in c.iter().zip(slow(am, bm)) {
                prop_assert!((got - want).abs() < 1e-12);
            }
            let y = numbers(m * n, seed + 2);
            let ym = Mat::new(&y, m, n);
            let mut dw = vec![0.0; k * n];
            gemm_tn(&mut dw, am, ym);
            for (got, want) in dw.iter().zip(slow(am.t(), ym)) {
                prop_assert!((got - want).abs() < 1e-10);
            }
        }
    }

    /// Some rows of a product, computed alone, against the same rows of the whole product.
    fn rows_alone<T: Real + std::fmt::Debug>(a: &[T], b: &[T], [m, k, n]: [usize; 3], part: usize) {
        let whole = Mat::new(a, m, k);
        let rights = [Mat::new(b, k, n), Mat::new(b, n, k).t()];
        for (b, add) in rights.into_iter().flat_map(|b| [(b, true), (b, false)]) {
            let mut all = vec![T::one(); m * n];
            gemm(&mut all, whole, b, add);
            for from in (0..m).step_by(part) {
                let to = m.min(from + part);
                let mut some = vec![T::one(); (to - from) * n];
                gemm(&mut some, whole.rows(from, to), b, add);
                assert_eq!(
                    some,
                    all[from * n..to * n],
                    "rows {from}..{to} of {m} x {k} x {n}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn rows_do_not_depend_on_other_rows(
            m in 1usize..90, k in 1usize..200, n in 1usize..90, part in 1usize..20, seed in 0u64..99,
        ) {
            let (a, b) = (numbers(m * k, seed), numbers(k * n, seed + 1));
            rows_alone(&a, &b, [m, k, n], part);
            let narrow = |all: Vec<f64>| -> Vec<f32> { all.iter().map(|x| *x as f32).collect() };
            rows_alone(&narrow(a), &narrow(b), [m, k, n], part);
        }
    }

    #[test]
    fn rows_with_long_sums_do_not_depend_on_other_rows() {
        for [m, k, n] in [
            [600, 64, 1],
            [300, 256, 16],
            [90, 1100, 8],
            [90, 1100, 96],
            [70, 768, 64],
            [600, 2, 1],
        ] {
            let (a, b) = (numbers(m * k, 5), numbers(k * n, 6));
            let narrow = |all: &[f64]| -> Vec<f32> { all.iter().map(|x| *x as f32).collect() };
            for part in [1, 2, 8, 33] {
                rows_alone(&a, &b, [m, k, n], part);
                rows_alone(&narrow(&a), &narrow(&b), [m, k, n], part);
            }
        }
    }

    #[test]
    fn long_sums_do_not_depend_on_the_number_of_threads() {
        let (k, m, n) = (20_001, 5, 7);
        let a: Vec<f32> = numbers(k * m, 3).iter().map(|x| *x as f32).collect();
        let b: Vec<f32> = numbers(k * n, 4).iter().map(|x| *x as f32).collect();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                let mut c = vec![0f32; m * n];
                gemm_tn(&mut c, Mat::new(&a, k, m), Mat::new(&b, k, n));
                let mut s = vec![0f32; n];
                add_rows(&mut s, &b);
                (c, s)
            })
        };
        assert_eq!(run(1), run(3));
    }
}
