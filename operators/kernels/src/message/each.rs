//! What several message functions need: loops over columns.

use crate::Real;

/// Calls `f(out, a, b)` for every column.
#[inline(always)]
pub(super) fn each<T: Real>(out: &mut [T], a: &[T], b: &[T], f: impl Fn(&mut T, T, T)) {
    for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
        f(o, *a, *b);
    }
}
