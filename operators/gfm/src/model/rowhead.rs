//! The scoring head over the rows of all nodes, forward and backward: the first map is taken apart, and what is between the maps
//! is not kept.

use candle_core::{Result, Tensor};
use gfm_pipe_kernels::rows::Rows;
use gfm_pipe_kernels::score;

use crate::buffers::Buffer;
use crate::ops::{First, HeadGrads, HeadParams};
use crate::tensor::{Elem, tensor, view};

/// A head of two maps over all nodes: scores `[B, N]`, and the first map's share of the states and of the queries. `far` is the first map's
/// share of the states of nodes without a row.
pub(super) fn head_rows<T: Elem>(
    (y, far): (&[T], Option<&[T]>),
    rows: &Rows,
    query: &Tensor,
    params: &HeadParams,
) -> Result<(Tensor, Buffer<T>, Vec<T>)> {
    let (w2, b2) = &params.rest[0];
    let (f, b) = (params.first.0.dims2()?.0, query.dims2()?.0);
    let (w2, b2) = (view::<T>(w2)?, view::<T>(b2)?);
    let first = First::<T>::open(&params.first, query)?;
    let share = first.of_queries()?;
    let mut p = Buffer::dirty(rows.len() * f);
    first.of_states(&mut p, y, false)?;
    let head = score::Head {
        rows,
        share: &share,
        w2: w2.slice()?,
        b2: b2.slice()?[0],
    };
    let mut by_node = Buffer::dirty(rows.nodes() * b);
    score::scores(&head, &p, far, &mut by_node);
    let scores = transposed(&by_node, rows.nodes(), b);
    let scores = tensor(scores, (b, rows.nodes()))?;
    Ok((scores, p, share))
}

/// Backward of [`head_rows`]: adds the states' gradient to `dy`; that of the states in the result is empty. Without `p` it is computed again.
pub(super) fn head_rows_backward<T: Elem>(
    (y, rows, query): (&[T], &Rows, &Tensor),
    (p, share): (Option<Buffer<T>>, &[T]),
    params: &HeadParams,
    dscores: &Tensor,
    dy: &mut [T],
) -> Result<HeadGrads> {
    let (w2, b2) = &params.rest[0];
    let ((f, width), (b, q)) = (params.first.0.dims2()?, query.dims2()?);
    let (w2v, b2v, dv) = (view::<T>(w2)?, view::<T>(b2)?, view::<T>(dscores)?);
    let head = score::Head {
        rows,
        share,
        w2: w2v.slice()?,
        b2: b2v.slice()?[0],
    };
    let by_node = transposed(dv.slice()?, b, rows.nodes());
    let first = First::<T>::open(&params.first, query)?;
    let mut dp = match p {
        Some(p) => p,
        None => {
            let mut p = Buffer::dirty(rows.len() * f);
            first.of_states(&mut p, y, false)?;
            p
        }
    };
    let zeros = |n: usize| vec![T::zero(); n];
    let (mut dshare, mut dw2, mut db2) = (zeros(b * f), zeros(f), T::zero());
    let grads = score::Grads {
        share: &mut dshare,
        w2: &mut dw2,
        b2: &mut db2,
    };
    score::scores_backward(&head, &mut dp, &by_node, grads);
    let (first, dq) = first.backward((&dp, y), &dshare, dy)?;
    Ok(HeadGrads {
        x: tensor(Vec::<T>::new(), (b, 0, width - q))?,
        query: tensor(dq, (b, q))?,
        params: HeadParams {
            first,
            rest: vec![(tensor(dw2, (1, f))?, tensor(vec![db2], 1)?)],
        },
    })
}

/// A matrix of `rows x columns` by columns.
fn transposed<T: Elem>(x: &[T], rows: usize, columns: usize) -> Vec<T> {
    let mut out = vec![T::zero(); x.len()];
    for (r, row) in x.chunks_exact(columns.max(1)).enumerate() {
        for (c, value) in row.iter().enumerate() {
            out[c * rows + r] = *value;
        }
    }
    out
}
