//! TransE (Bordes et al., 2013): `x + w`.

use super::each::each;
use super::{Message, Path};
use crate::Real;

/// `x + w`.
#[derive(Debug, Clone, Copy)]
pub struct TransE;

impl Message for TransE {
    const PATH: Path = Path::Fused;
    const ZEROS_ARE_SILENT: bool = false;
    const SQUARES_OF_PARTS: bool = true;

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
