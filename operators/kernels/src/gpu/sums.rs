//! Sums over rows, in an order that depends on sizes alone.

use super::layout::kernel_arguments;
use super::{Error, State, View};

/// `out[j] = Σ x[first[j]..first[j + 1]]`, rows of `dim` values, in order.
///
/// # Errors
/// If the device reports one.
///
/// # Panics
/// If lengths do not match.
pub(super) fn join_rows<A: State<Acc = A>>(
    x: View<'_, A>,
    first: View<'_, u32>,
    out: View<'_, A>,
    dim: usize,
) -> Result<(), Error> {
    let rows = first.len() - 1;
    assert_eq!(out.len(), rows * dim, "sums");
    let args = JoinRowsArgs {
        x: x.at,
        out: out.at,
        first: first.at,
        rows: rows as u32,
        d: dim as u32,
    };
    let name = format!("join_rows_{}", A::TAG);
    out.gpu().launch(
        &name,
        [rows, 1, 1],
        [dim.next_multiple_of(32).min(256) as u32, 1, 1],
        0,
        &args,
    )
}

/// The largest number of rows of partial sums, here and in [`super::norms`].
pub(super) const MAX_PARTS: usize = 1024;

/// `out = Σ_i x[i]`, rows of `dim` values. Parts are added up first, then their sums in order.
///
/// # Errors
/// If the device reports one, or has no memory for partial sums.
///
/// # Panics
/// If lengths do not match.
pub fn sum_rows<A: State<Acc = A>>(
    x: View<'_, A>,
    out: View<'_, A>,
    dim: usize,
) -> Result<(), Error> {
    assert_eq!(out.len(), dim, "sums");
    let rows = x.len() / dim.max(1);
    let gpu = out.gpu();
    let per = rows.div_ceil(MAX_PARTS).max(64);
    let parts = rows.div_ceil(per);
    let partial = gpu.dirty::<A>(parts * dim)?;
    let args = ColumnSumsArgs {
        x: x.at,
        out: partial.at,
        rows: rows as u32,
        d: dim as u32,
        per: per as u32,
    };
    let name = format!("column_sums_{}", A::TAG);
    gpu.launch(&name, [dim.div_ceil(128), parts, 1], [128, 1, 1], 0, &args)?;
    let all = gpu.vector(&[0, parts as u32])?;
    join_rows(partial.view(), all.view(), out, dim)
}

kernel_arguments! {
    struct JoinRowsArgs {
        x: u64,
        out: u64,
        first: u64,
        rows: u32,
        d: u32,
    }

    struct ColumnSumsArgs {
        x: u64,
        out: u64,
        rows: u32,
        d: u32,
        per: u32,
    }
}
