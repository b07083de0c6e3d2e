//! DistMult (Yang et al., 2015): `x ∘ w`.

use super::each::each;
use super::{Message, Path};
use crate::Real;

/// `x ∘ w`.
#[derive(Debug, Clone, Copy)]
pub struct DistMult;

/// Calls `$f::<T, N>(from, …)` for columns `from..from + N`, until all `$columns` are done. A loop
/// of known length has no code before and after it, which counts for short rows.
macro_rules! by_columns {
    ($columns:expr, $T:ident, $f:ident($($arg:expr),*)) => {
        let columns: usize = $columns;
        let mut from = 0;
        while columns - from >= 64 {
            $f::<$T, 64>(from, $($arg),*);
            from += 64;
        }
        while columns - from >= 16 {
            $f::<$T, 16>(from, $($arg),*);
            from += 16;
        }
        while from < columns {
            $f::<$T, 1>(from, $($arg),*);
            from += 1;
        }
    };
}

#[inline(always)]
fn read<T: Real, const N: usize>(row: &[T], from: usize) -> [T; N] {
    let mut out = [T::zero(); N];
    out.copy_from_slice(&row[from..from + N]);
    out
}

/// Columns `from..from + N` of [`Message::add_rows`].
#[inline(always)]
fn distmult_rows<T: Real, const N: usize>(from: usize, out: &mut [T], x: &[T], w: &[T]) {
    let d = w.len();
    let w: [T; N] = read(w, from);
    for (out, x) in out.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
        // Reading the whole row before writing any of it lets the compiler use vectors.
        let (mut sums, x): ([T; N], [T; N]) = (read(out, from), read(x, from));
        for i in 0..N {
            sums[i] += x[i] * w[i];
        }
        out[from..from + N].copy_from_slice(&sums);
    }
}

/// Columns `from..from + N` of [`Message::add_grads`]. The relation's values stay in registers over
/// all rows.
#[inline(always)]
fn distmult_grads<T: Real, const N: usize>(
    from: usize,
    dx: &mut [T],
    dw: &mut [T],
    g: &[T],
    x: &[T],
    w: &[T],
) {
    let d = w.len();
    let cols = from..from + N;
    let (ws, mut sum): ([T; N], [T; N]) = (read(w, from), read(dw, from));
    let rows = dx.chunks_exact_mut(d).zip(g.chunks_exact(d));
    for ((dx, g), x) in rows.zip(x.chunks_exact(d)) {
        let (g, x, mut sums): ([T; N], [T; N], [T; N]) =
            (read(g, from), read(x, from), read(dx, from));
        for i in 0..N {
            sums[i] += g[i] * ws[i];
            sum[i] += g[i] * x[i];
        }
        dx[cols.clone()].copy_from_slice(&sums);
    }
    dw[cols].copy_from_slice(&sum);
}

impl Message for DistMult {
    const PATH: Path = Path::Fused;
    const ZEROS_ARE_SILENT: bool = true;

    #[inline(always)]
    fn write<T: Real>(out: &mut [T], x: &[T], w: &[T]) {
        each(
            out,
            x,
            w,
            #[inline(always)]
            |o, x, w| *o = x * w,
        );
    }
    #[inline(always)]
    fn add<T: Real>(out: &mut [T], x: &[T], w: &[T]) {
        each(
            out,
            x,
            w,
            #[inline(always)]
            |o, x, w| *o += x * w,
        );
    }
    #[inline(always)]
    fn add_x_grad<T: Real>(dx: &mut [T], g: &[T], w: &[T]) {
        Self::add(dx, g, w);
    }
    #[inline(always)]
    fn add_w_grad<T: Real>(dw: &mut [T], g: &[T], x: &[T]) {
        Self::add(dw, g, x);
    }
    #[inline(always)]
    fn add_rows<T: Real>(out: &mut [T], x: &[T], w: &[T]) {
        by_columns!(w.len(), T, distmult_rows(out, x, w));
    }
    #[inline(always)]
    fn add_grads<T: Real>(dx: &mut [T], dw: &mut [T], g: &[T], x: &[T], w: &[T]) {
        by_columns!(w.len(), T, distmult_grads(dx, dw, g, x, w));
    }
}
