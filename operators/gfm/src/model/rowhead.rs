//! The scoring head over the rows of all nodes, forward and backward: the first map is taken apart, and what is between the maps
//! is not kept.

use candle_core::{Result, Tensor};
use gfm_pipe_kernels::gemm::{Mat, add_rows, gemm, gemm_tn};
use gfm_pipe_kernels::rows::Rows;
use gfm_pipe_kernels::score;

use crate::buffers::Buffer;
use crate::ops::{HeadGrads, HeadParams};
use crate::tensor::{Elem, tensor, view};

/// A head of two maps over all nodes: scores `[B, N]`, and the first map's share of the states and of the queries.
pub(super) fn head_rows<T: Elem>(
    y: &[T],
    rows: &Rows,
    query: &Tensor,
    params: &HeadParams,
) -> Result<(Tensor, Buffer<T>, Vec<T>)> {
    let ((w1, b1), (w2, b2)) = (&params.first, &params.rest[0]);
    let ((f, width), (b, q)) = (w1.dims2()?, query.dims2()?);
    let d = width - q;
    let (w1, b1, w2, b2, qv) = (
        view::<T>(w1)?,
        view::<T>(b1)?,
        view::<T>(w2)?,
        view::<T>(b2)?,
        view::<T>(query)?,
    );
    let w1 = w1.slice()?;
    let mut share = b1.slice()?.repeat(b);
    let of_query = Mat::strided(&w1[d..], f, q, width).t();
    gemm(&mut share, Mat::new(qv.slice()?, b, q), of_query, true);
    let mut p = Buffer::dirty(rows.len() * f);
    let of_state = Mat::strided(w1, f, d, width).t();
    gemm(&mut p, Mat::new(y, rows.len(), d), of_state, false);
    let head = score::Head {
        rows,
        p: &p,
        share: &share,
        w2: w2.slice()?,
        b2: b2.slice()?[0],
    };
    let mut by_node = Buffer::dirty(rows.nodes() * b);
    score::scores(&head, &mut by_node);
    let scores = transposed(&by_node, rows.nodes(), b);
    let scores = tensor(scores, (b, rows.nodes()))?;
    Ok((scores, p, share))
}

/// Backward of [`head_rows`]: adds the states' gradient to `dy`; that of the states in the result is empty.
pub(super) fn head_rows_backward<T: Elem>(
    (y, rows, query): (&[T], &Rows, &Tensor),
    (p, share): (&[T], &[T]),
    params: &HeadParams,
    dscores: &Tensor,
    dy: &mut [T],
) -> Result<HeadGrads> {
    let ((w1, _), (w2, b2)) = (&params.first, &params.rest[0]);
    let ((f, width), (b, q)) = (w1.dims2()?, query.dims2()?);
    let d = width - q;
    let (w1v, w2v, b2v, qv, dv) = (
        view::<T>(w1)?,
        view::<T>(w2)?,
        view::<T>(b2)?,
        view::<T>(query)?,
        view::<T>(dscores)?,
    );
    let w1 = w1v.slice()?;
    let head = score::Head {
        rows,
        p,
        share,
        w2: w2v.slice()?,
        b2: b2v.slice()?[0],
    };
    let by_node = transposed(dv.slice()?, b, rows.nodes());
    let mut dp = Buffer::zeros(p.len());
    let zeros = |n: usize| vec![T::zero(); n];
    let (mut dshare, mut dw2, mut db2) = (zeros(b * f), zeros(f), T::zero());
    let grads = score::Grads {
        p: &mut dp,
        share: &mut dshare,
        w2: &mut dw2,
        b2: &mut db2,
    };
    score::scores_backward(&head, &by_node, grads);
    let (dpm, dsm) = (Mat::new(&dp, rows.len(), f), Mat::new(&dshare, b, f));
    let (mut wx, mut wq) = (zeros(f * d), zeros(f * q));
    gemm_tn(&mut wx, dpm, Mat::new(y, rows.len(), d));
    gemm_tn(&mut wq, dsm, Mat::new(qv.slice()?, b, q));
    let mut dw1 = Vec::with_capacity(f * width);
    for (x, q) in wx.chunks_exact(d).zip(wq.chunks_exact(q)) {
        dw1.extend_from_slice(x);
        dw1.extend_from_slice(q);
    }
    let mut db1 = zeros(f);
    add_rows(&mut db1, &dshare);
    gemm(dy, dpm, Mat::strided(w1, f, d, width), true);
    let mut dq = zeros(b * q);
    gemm(&mut dq, dsm, Mat::strided(&w1[d..], f, q, width), false);
    Ok(HeadGrads {
        x: tensor(Vec::<T>::new(), (b, 0, d))?,
        query: tensor(dq, (b, q))?,
        params: HeadParams {
            first: (tensor(dw1, (f, width))?, tensor(db1, f)?),
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
