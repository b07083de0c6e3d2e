//! Message functions: what a neighbour's state `x` and a relation state `w` make of each other, and the gradients.
//!
//! All of NBFNet's (Zhu et al., 2021, table 2): TransE (Bordes et al., 2013), DistMult (Yang et al., 2015) and RotatE
//! (Sun et al., 2019; the first half of a vector holds real, the second imaginary parts). Everything works on one row of
//! `dim` values, and adds, so that callers sum over edges without storing messages.

use crate::Real;

/// A message function on rows of equal length.
pub trait Message: Copy + Send + Sync + 'static {
    /// Whether rows must have an even length.
    const PAIRS: bool = false;
    /// `out = message(x, w)`, bit for bit what [`Message::add`] adds.
    fn write<T: Real>(out: &mut [T], x: &[T], w: &[T]);
    /// `out += message(x, w)`.
    fn add<T: Real>(out: &mut [T], x: &[T], w: &[T]);
    /// `dx += gᵀ ∂message/∂x`.
    fn add_x_grad<T: Real>(dx: &mut [T], g: &[T], w: &[T]);
    /// `dw += gᵀ ∂message/∂w`.
    fn add_w_grad<T: Real>(dw: &mut [T], g: &[T], x: &[T]);

    /// [`Message::add`] of several rows `out` and `x` with one `w`.
    #[inline(always)]
    fn add_rows<T: Real>(out: &mut [T], x: &[T], w: &[T]) {
        let d = w.len();
        for (out, x) in out.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
            Self::add(out, x, w);
        }
    }

    /// [`Message::add_x_grad`] of several rows and [`Message::add_w_grad`] of their sum, rows in order.
    #[inline(always)]
    fn add_grads<T: Real>(dx: &mut [T], dw: &mut [T], g: &[T], x: &[T], w: &[T]) {
        let d = w.len();
        let rows = dx.chunks_exact_mut(d).zip(g.chunks_exact(d));
        for ((dx, g), x) in rows.zip(x.chunks_exact(d)) {
            Self::add_x_grad(dx, g, w);
            Self::add_w_grad(dw, g, x);
        }
    }
}

/// `x + w`.
#[derive(Debug, Clone, Copy)]
pub struct TransE;

/// `x ∘ w`.
#[derive(Debug, Clone, Copy)]
pub struct DistMult;

/// Complex product of `x` and `w`.
#[derive(Debug, Clone, Copy)]
pub struct RotatE;

/// Calls `$f::<T, N>(from, …)` for columns `from..from + N` until all `$columns` had their turn. Loops of known length cost nothing before and
/// after them, which for short rows is much.
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
fn each<T: Real>(out: &mut [T], a: &[T], b: &[T], f: impl Fn(&mut T, T, T)) {
    for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
        f(o, *a, *b);
    }
}

#[inline(always)]
fn read<T: Real, const N: usize>(row: &[T], from: usize) -> [T; N] {
    let mut out = [T::zero(); N];
    out.copy_from_slice(&row[from..from + N]);
    out
}

/// Columns `from..from + N` of [`Message::add_rows`] for DistMult.
#[inline(always)]
fn distmult_rows<T: Real, const N: usize>(from: usize, out: &mut [T], x: &[T], w: &[T]) {
    let d = w.len();
    let w: [T; N] = read(w, from);
    for (out, x) in out.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
        // All of a row is read before anything is written: then these are vectors to the compiler.
        let (mut sums, x): ([T; N], [T; N]) = (read(out, from), read(x, from));
        for i in 0..N {
            sums[i] += x[i] * w[i];
        }
        out[from..from + N].copy_from_slice(&sums);
    }
}

/// Columns `from..from + N` of [`Message::add_grads`] for DistMult: what belongs to the relation stays in registers over the rows.
#[inline(always)]
fn distmult_grads<T: Real, const N: usize>(
    from: usize,
    (dx, dw): (&mut [T], &mut [T]),
    (g, x, w): (&[T], &[T], &[T]),
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

impl Message for TransE {
    #[inline(always)]
    fn write<T: Real>(out: &mut [T], x: &[T], w: &[T]) {
        each(
            out,
            x,
            w,
            #[inline(always)]
            |o, x, w| *o = x + w,
        );
    }
    #[inline(always)]
    fn add<T: Real>(out: &mut [T], x: &[T], w: &[T]) {
        each(
            out,
            x,
            w,
            #[inline(always)]
            |o, x, w| *o += x + w,
        );
    }
    #[inline(always)]
    fn add_x_grad<T: Real>(dx: &mut [T], g: &[T], _: &[T]) {
        dx.iter_mut().zip(g).for_each(|(o, g)| *o += *g);
    }
    #[inline(always)]
    fn add_w_grad<T: Real>(dw: &mut [T], g: &[T], _: &[T]) {
        dw.iter_mut().zip(g).for_each(|(o, g)| *o += *g);
    }
}

impl Message for DistMult {
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
        by_columns!(w.len(), T, distmult_grads((dx, dw), (g, x, w)));
    }
}

/// Calls `f(re, im, (a's re, im), (b's re, im))` for every complex number.
#[inline(always)]
fn complex<T: Real>(out: &mut [T], a: &[T], b: &[T], f: impl Fn(&mut T, &mut T, (T, T), (T, T))) {
    let half = out.len() / 2;
    let (ore, oim) = out.split_at_mut(half);
    let ((are, aim), (bre, bim)) = (a.split_at(half), b.split_at(half));
    let (are, aim, bre, bim) = (&are[..half], &aim[..half], &bre[..half], &bim[..half]);
    for i in 0..half {
        f(&mut ore[i], &mut oim[i], (are[i], aim[i]), (bre[i], bim[i]));
    }
}

/// `out += conj(a) b`: the gradient of a complex product in the other factor, that factor being `a`.
#[inline(always)]
fn add_conjugate<T: Real>(out: &mut [T], a: &[T], b: &[T]) {
    complex(
        out,
        a,
        b,
        #[inline(always)]
        |re, im, (ar, ai), (br, bi)| {
            *re += ar * br + ai * bi;
            *im += ar * bi - ai * br;
        },
    );
}

impl Message for RotatE {
    const PAIRS: bool = true;
    #[inline(always)]
    fn write<T: Real>(out: &mut [T], x: &[T], w: &[T]) {
        complex(
            out,
            x,
            w,
            #[inline(always)]
            |re, im, (xr, xi), (wr, wi)| {
                *re = xr * wr - xi * wi;
                *im = xr * wi + xi * wr;
            },
        );
    }
    #[inline(always)]
    fn add<T: Real>(out: &mut [T], x: &[T], w: &[T]) {
        complex(
            out,
            x,
            w,
            #[inline(always)]
            |re, im, (xr, xi), (wr, wi)| {
                *re += xr * wr - xi * wi;
                *im += xr * wi + xi * wr;
            },
        );
    }
    #[inline(always)]
    fn add_x_grad<T: Real>(dx: &mut [T], g: &[T], w: &[T]) {
        add_conjugate(dx, w, g);
    }
    #[inline(always)]
    fn add_w_grad<T: Real>(dw: &mut [T], g: &[T], x: &[T]) {
        add_conjugate(dw, x, g);
    }
}
