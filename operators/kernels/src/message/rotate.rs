//! RotatE (Sun et al., 2019): complex product of `x` and `w`. The first half of a row holds the
//! real, the second half the imaginary parts.

use super::{Message, Path};
use crate::Real;

/// Complex product of `x` and `w`.
#[derive(Debug, Clone, Copy)]
pub struct RotatE;

/// A complex number.
#[derive(Clone, Copy)]
struct Complex<T> {
    re: T,
    im: T,
}

/// Calls `f(re, im, a, b)` for every complex number; `re` and `im` are the output's.
#[inline(always)]
fn complex<T: Real>(
    out: &mut [T],
    a: &[T],
    b: &[T],
    f: impl Fn(&mut T, &mut T, Complex<T>, Complex<T>),
) {
    let half = out.len() / 2;
    let (ore, oim) = out.split_at_mut(half);
    let ((are, aim), (bre, bim)) = (a.split_at(half), b.split_at(half));
    let (are, aim, bre, bim) = (&are[..half], &aim[..half], &bre[..half], &bim[..half]);
    for i in 0..half {
        let a = Complex {
            re: are[i],
            im: aim[i],
        };
        let b = Complex {
            re: bre[i],
            im: bim[i],
        };
        f(&mut ore[i], &mut oim[i], a, b);
    }
}

/// `out += conj(a) b`: the gradient for one factor of a complex product, `a` being the other factor
/// and `b` the gradient of the product.
#[inline(always)]
fn add_conjugate<T: Real>(out: &mut [T], a: &[T], b: &[T]) {
    complex(
        out,
        a,
        b,
        #[inline(always)]
        |re, im, a, b| {
            *re += a.re * b.re + a.im * b.im;
            *im += a.re * b.im - a.im * b.re;
        },
    );
}

impl Message for RotatE {
    const PAIRS: bool = true;
    const PATH: Path = Path::Plain;
    const ZEROS_ARE_SILENT: bool = true;

    #[inline(always)]
    fn write<T: Real>(out: &mut [T], x: &[T], w: &[T]) {
        complex(
            out,
            x,
            w,
            #[inline(always)]
            |re, im, x, w| {
                *re = x.re * w.re - x.im * w.im;
                *im = x.re * w.im + x.im * w.re;
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
            |re, im, x, w| {
                *re += x.re * w.re - x.im * w.im;
                *im += x.re * w.im + x.im * w.re;
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
