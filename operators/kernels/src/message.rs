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

#[inline(always)]
fn each<T: Real>(out: &mut [T], a: &[T], b: &[T], f: impl Fn(&mut T, T, T)) {
    for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
        f(o, *a, *b);
    }
}

impl Message for TransE {
    #[inline(always)]
    fn write<T: Real>(out: &mut [T], x: &[T], w: &[T]) {
        each(out, x, w, |o, x, w| *o = x + w);
    }
    #[inline(always)]
    fn add<T: Real>(out: &mut [T], x: &[T], w: &[T]) {
        each(out, x, w, |o, x, w| *o += x + w);
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
        each(out, x, w, |o, x, w| *o = x * w);
    }
    #[inline(always)]
    fn add<T: Real>(out: &mut [T], x: &[T], w: &[T]) {
        each(out, x, w, |o, x, w| *o += x * w);
    }
    #[inline(always)]
    fn add_x_grad<T: Real>(dx: &mut [T], g: &[T], w: &[T]) {
        Self::add(dx, g, w);
    }
    #[inline(always)]
    fn add_w_grad<T: Real>(dw: &mut [T], g: &[T], x: &[T]) {
        Self::add(dw, g, x);
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
    complex(out, a, b, |re, im, (ar, ai), (br, bi)| {
        *re += ar * br + ai * bi;
        *im += ar * bi - ai * br;
    });
}

impl Message for RotatE {
    const PAIRS: bool = true;
    #[inline(always)]
    fn write<T: Real>(out: &mut [T], x: &[T], w: &[T]) {
        complex(out, x, w, |re, im, (xr, xi), (wr, wi)| {
            *re = xr * wr - xi * wi;
            *im = xr * wi + xi * wr;
        });
    }
    #[inline(always)]
    fn add<T: Real>(out: &mut [T], x: &[T], w: &[T]) {
        complex(out, x, w, |re, im, (xr, xi), (wr, wi)| {
            *re += xr * wr - xi * wi;
            *im += xr * wi + xi * wr;
        });
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
