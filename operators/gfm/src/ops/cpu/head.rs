//! The scoring head on the CPU: linear maps with ReLU between, from [state ; query] to one score.

use candle_core::{Result, Tensor};
use gfm_pipe_kernels::Real;
use gfm_pipe_kernels::gemm::{Mat, add_rows, gemm, gemm_tn};
use rayon::prelude::*;

use super::{linear_backward, repeat, same};
use crate::ops::{HeadGrads, HeadParams, HeadTape};
use crate::tensor::{Elem, tensor, view};

/// Rows handled by one task at least.
const TASK_ROWS: usize = 256;

fn relu<T: Real>(row: &mut [T]) {
    for h in row {
        *h = if *h > T::zero() { *h } else { T::zero() };
    }
}

pub(in crate::ops) fn head<T: Elem>(
    x: &Tensor,
    query: &Tensor,
    params: &HeadParams,
) -> Result<(Tensor, HeadTape)> {
    let ((b, n, d), (b2, q)) = (x.dims3()?, query.dims2()?);
    let (w1, b1) = &params.first;
    let (f, width) = w1.dims2()?;
    same("rows of states and queries", b, b2)?;
    same("width of the head's input", d + q, width)?;
    let (w1v, b1v) = (view::<T>(w1)?, view::<T>(b1)?);
    let (w1, b1) = (w1v.slice()?, b1v.slice()?);
    let mut share = repeat(b1, b);
    let qv = view::<T>(query)?;
    gemm(
        &mut share,
        Mat::new(qv.slice()?, b, q),
        Mat::strided(&w1[d..], f, q, width).t(),
        true,
    );
    let mut last: Vec<T> = Vec::with_capacity(b * n * f);
    for row in share.chunks_exact(f) {
        last.extend(row.iter().cycle().take(n * f));
    }
    let xv = view::<T>(x)?;
    gemm(
        &mut last,
        Mat::new(xv.slice()?, b * n, d),
        Mat::strided(w1, f, d, width).t(),
        true,
    );
    let mut hidden = Vec::new();
    let mut columns = f;
    for (i, (w, bias)) in params.rest.iter().enumerate() {
        let (wv, bv) = (view::<T>(w)?, view::<T>(bias)?);
        let (w, bias) = (wv.slice()?, bv.slice()?);
        let rows = last.par_chunks_mut(columns).with_min_len(TASK_ROWS);
        let next: Vec<T> = if i + 1 == params.rest.len() {
            rows.map(|row| {
                relu(row);
                row.iter().zip(w).fold(bias[0], |s, (h, w)| s + *h * *w)
            })
            .collect()
        } else {
            rows.for_each(relu);
            let mut next = repeat(bias, b * n);
            let wm = Mat::new(w, bias.len(), columns);
            gemm(&mut next, Mat::new(&last, b * n, columns), wm.t(), true);
            next
        };
        hidden.push(tensor(
            std::mem::replace(&mut last, next),
            (b * n, columns),
        )?);
        columns = bias.len();
    }
    let tape = HeadTape {
        x: x.clone(),
        query: query.clone(),
        hidden,
    };
    Ok((tensor(last, (b, n))?, tape))
}

pub(in crate::ops) fn head_backward<T: Elem>(
    tape: &HeadTape,
    params: &HeadParams,
    dscores: &Tensor,
) -> Result<HeadGrads> {
    let ((b, n, d), (_, q)) = (tape.x.dims3()?, tape.query.dims2()?);
    let (f, width) = params.first.0.dims2()?;
    let m = b * n;
    same("gradient of the scores", dscores.elem_count(), m)?;

    // From the scores back to the first map's output.
    let mut dh: Vec<T> = dscores.flatten_all()?.to_vec1()?;
    let mut rest = Vec::new();
    for (i, (w, _)) in params.rest.iter().enumerate().rev() {
        let hv = view::<T>(&tape.hidden[i])?;
        let hidden = hv.slice()?;
        let columns = hidden.len() / m.max(1);
        if i + 1 == params.rest.len() {
            let wv = view::<T>(w)?;
            let ws = wv.slice()?;
            let mut dw = vec![T::zero(); columns];
            gemm_tn(&mut dw, Mat::new(&dh, m, 1), Mat::new(hidden, m, columns));
            let mut db = vec![T::zero(); 1];
            add_rows(&mut db, &dh);
            rest.push((tensor(dw, (1, columns))?, tensor(db, 1)?));
            let mut before = vec![T::zero(); m * columns];
            before
                .par_chunks_mut(columns)
                .with_min_len(TASK_ROWS)
                .zip(hidden.par_chunks(columns).with_min_len(TASK_ROWS))
                .zip(dh.par_iter().with_min_len(TASK_ROWS))
                .for_each(|((out, h), ds)| {
                    for ((o, h), w) in out.iter_mut().zip(h).zip(ws) {
                        *o = if *h > T::zero() { *ds * *w } else { T::zero() };
                    }
                });
            dh = before;
        } else {
            let width = w.dims2()?.0;
            let g = linear_backward::<T>(&tape.hidden[i], w, &tensor(dh, (m, width))?)?;
            rest.push((g.weight, g.bias));
            dh = g.x.flatten_all()?.to_vec1()?;
            for (o, h) in dh.iter_mut().zip(hidden) {
                *o = if *h > T::zero() { *o } else { T::zero() };
            }
        }
    }
    rest.reverse();

    let (xv, qv, w1v) = (
        view::<T>(&tape.x)?,
        view::<T>(&tape.query)?,
        view::<T>(&params.first.0)?,
    );
    let w1 = w1v.slice()?;
    let dhm = Mat::new(&dh, m, f);
    let mut wx = vec![T::zero(); f * d];
    gemm_tn(&mut wx, dhm, Mat::new(xv.slice()?, m, d));
    let mut share = vec![T::zero(); b * f];
    for (sum, rows) in share.chunks_exact_mut(f).zip(dh.chunks_exact(n * f)) {
        add_rows(sum, rows);
    }
    let mut db1 = vec![T::zero(); f];
    add_rows(&mut db1, &share);
    let sm = Mat::new(&share, b, f);
    let mut wq = vec![T::zero(); f * q];
    gemm_tn(&mut wq, sm, Mat::new(qv.slice()?, b, q));
    let mut dw1 = Vec::with_capacity(f * width);
    for (x, q) in wx.chunks_exact(d).zip(wq.chunks_exact(q)) {
        dw1.extend_from_slice(x);
        dw1.extend_from_slice(q);
    }
    let mut dx = vec![T::zero(); m * d];
    gemm(&mut dx, dhm, Mat::strided(w1, f, d, width), false);
    let mut dq = vec![T::zero(); b * q];
    gemm(&mut dq, sm, Mat::strided(&w1[d..], f, q, width), false);
    Ok(HeadGrads {
        x: tensor(dx, (b, n, d))?,
        query: tensor(dq, (b, q))?,
        params: HeadParams {
            first: (tensor(dw1, (f, width))?, tensor(db1, f)?),
            rest,
        },
    })
}
