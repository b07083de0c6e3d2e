//! The scoring head: linear maps with ReLU between, from `[state ; query]` to one score.

use candle_core::{Result, Tensor, bail};
use gfm_pipe_kernels::Real;
use gfm_pipe_kernels::gemm::{Mat, add_rows, gemm, gemm_tn};
use rayon::prelude::*;

use super::{Linear, linear_backward, same};
use crate::tensor::{Elem, View, by_dtype, tensor, view};

/// What the head's backward pass needs from its forward pass.
#[derive(Debug)]
pub struct HeadTape {
    x: Tensor,
    query: Tensor,
    /// Outputs of all maps but the last, after ReLU.
    hidden: Vec<Tensor>,
    /// Whether something was added to the first map's output.
    added: bool,
}

/// Gradients of the head.
#[derive(Debug)]
pub struct HeadGrads {
    /// Gradient of the states, `[B, M, d]`.
    pub x: Tensor,
    /// Gradient of the queries, `[B, q]`.
    pub query: Tensor,
    /// Gradients of the linear maps.
    pub maps: Vec<Linear>,
    /// Gradient of what was added to the first map's output, `[B M, f]`; `None` if nothing was.
    pub added: Option<Tensor>,
}

/// Scores of `M` states per query: `[B, M, d], [B, q] -> [B, M]`. The first linear map is
/// `[f, d + q]`, the others are `[f, f]` and the last one is `[1, f]`. A single map is
/// `[1, d + q]`. The query's share of the first map is computed once per query, not per state.
/// `added`, `[B M, f]`, is added to the first map's output.
///
/// # Errors
/// When shapes or types do not fit.
pub fn head(
    x: &Tensor,
    query: &Tensor,
    maps: &[Linear],
    added: Option<&Tensor>,
) -> Result<(Tensor, HeadTape)> {
    by_dtype!(x.dtype(), T => head_of::<T>(x, query, maps, added))
}

/// Backward of [`head`].
///
/// # Errors
/// See [`head`].
pub fn head_backward(tape: &HeadTape, maps: &[Linear], dscores: &Tensor) -> Result<HeadGrads> {
    by_dtype!(dscores.dtype(), T => head_backward_of::<T>(tape, maps, dscores))
}

/// Fewest rows that one task handles.
const TASK_ROWS: usize = 256;

fn relu<T: Real>(row: &mut [T]) {
    for h in row {
        *h = if *h <= T::zero() { T::zero() } else { *h };
    }
}

/// The head's first map, `[f, d + q]`, in two parts. It is linear in `[state ; query]`, so the
/// query's share of its output is computed once and not for every state.
pub(crate) struct First<'a, T> {
    weight: View<'a, T>,
    bias: View<'a, T>,
    query: View<'a, T>,
    sizes: Sizes,
}

#[derive(Clone, Copy)]
struct Sizes {
    /// Width of the output.
    f: usize,
    /// Width of states.
    d: usize,
    /// Width of queries.
    q: usize,
}

impl<'a, T: Elem> First<'a, T> {
    pub fn open(Linear { weight, bias }: &'a Linear, query: &'a Tensor) -> Result<Self> {
        let ((f, width), q) = (weight.dims2()?, query.dims2()?.1);
        if q > width {
            bail!("queries of width {q} do not fit a head of width {width}");
        }
        Ok(First {
            weight: view(weight)?,
            bias: view(bias)?,
            query: view(query)?,
            sizes: Sizes { f, d: width - q, q },
        })
    }

    /// The weight's columns for the state and those for the query.
    fn parts(&self) -> Result<[Mat<'_, T>; 2]> {
        let (Sizes { f, d, q }, w) = (self.sizes, self.weight.slice()?);
        Ok([
            Mat::strided(w, f, d, d + q),
            Mat::strided(&w[d..], f, q, d + q),
        ])
    }

    fn queries(&self) -> Result<Mat<'_, T>> {
        let q = self.query.slice()?;
        let width = self.sizes.q;
        Ok(Mat::new(q, q.len() / width.max(1), width))
    }

    /// The share of the queries, with the bias, `[B, f]`.
    pub fn of_queries(&self) -> Result<Vec<T>> {
        let rows = self.query.slice()?.len() / self.sizes.q.max(1);
        let mut share = self.bias.slice()?.repeat(rows);
        gemm(&mut share, self.queries()?, self.parts()?[1].t(), true);
        Ok(share)
    }

    /// Writes the share of the states `x` to `out`, `[M, f]`, or adds it if `add` is set.
    pub fn of_states(&self, out: &mut [T], x: &[T], add: bool) -> Result<()> {
        let Sizes { f, d, .. } = self.sizes;
        let states = Mat::new(x, out.len() / f.max(1), d);
        gemm(out, states, self.parts()?[0].t(), add);
        Ok(())
    }

    /// Backward, from the gradients of the share of the states `x` (`dstates`) and of the queries
    /// (`dqueries`). Returns the gradients of the map and of the queries, and adds the gradient of
    /// the states to `dx`.
    pub fn backward(
        &self,
        x: &[T],
        dstates: &[T],
        dqueries: &[T],
        dx: &mut [T],
    ) -> Result<(Linear, Vec<T>)> {
        let Sizes { f, d, q } = self.sizes;
        let (m, b) = (dstates.len() / f.max(1), dqueries.len() / f.max(1));
        let (dstate_rows, dquery_rows) = (Mat::new(dstates, m, f), Mat::new(dqueries, b, f));
        let (mut wx, mut wq) = (vec![T::zero(); f * d], vec![T::zero(); f * q]);
        gemm_tn(&mut wx, dstate_rows, Mat::new(x, m, d));
        gemm_tn(&mut wq, dquery_rows, self.queries()?);
        let mut dw = Vec::with_capacity(f * (d + q));
        for (x, q) in wx.chunks_exact(d).zip(wq.chunks_exact(q)) {
            dw.extend_from_slice(x);
            dw.extend_from_slice(q);
        }
        let mut db = vec![T::zero(); f];
        add_rows(&mut db, dqueries);
        let [of_state, of_query] = self.parts()?;
        gemm(dx, dstate_rows, of_state, true);
        let mut dq = vec![T::zero(); b * q];
        gemm(&mut dq, dquery_rows, of_query, false);
        let weight = tensor(dw, (f, d + q))?;
        let bias = tensor(db, f)?;
        Ok((Linear { weight, bias }, dq))
    }
}

fn head_of<T: Elem>(
    x: &Tensor,
    query: &Tensor,
    maps: &[Linear],
    added: Option<&Tensor>,
) -> Result<(Tensor, HeadTape)> {
    let ((b, n, d), (b2, q)) = (x.dims3()?, query.dims2()?);
    let (first, rest) = split(maps)?;
    let (f, width) = first.weight.dims2()?;
    same("rows of states and queries", b, b2)?;
    same("width of the head's input", d + q, width)?;
    let first = First::<T>::open(first, query)?;
    let mut last: Vec<T> = Vec::with_capacity(b * n * f);
    for row in first.of_queries()?.chunks_exact(f) {
        last.extend(row.iter().cycle().take(n * f));
    }
    first.of_states(&mut last, view::<T>(x)?.slice()?, true)?;
    if let Some(added) = added {
        same(
            "values added to the first map's output",
            added.elem_count(),
            last.len(),
        )?;
        let more = view::<T>(added)?;
        last.iter_mut()
            .zip(more.slice()?)
            .for_each(|(h, a)| *h += *a);
    }
    let mut hidden = Vec::new();
    let mut columns = f;
    for (i, map) in rest.iter().enumerate() {
        let (wv, bv) = (view::<T>(&map.weight)?, view::<T>(&map.bias)?);
        let (w, bias) = (wv.slice()?, bv.slice()?);
        let rows = last.par_chunks_mut(columns).with_min_len(TASK_ROWS);
        let next: Vec<T> = if i + 1 == rest.len() {
            rows.map(|row| {
                relu(row);
                row.iter().zip(w).fold(bias[0], |s, (h, w)| s + *h * *w)
            })
            .collect()
        } else {
            rows.for_each(relu);
            let mut next = bias.repeat(b * n);
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
        added: added.is_some(),
    };
    Ok((tensor(last, (b, n))?, tape))
}

/// The first map and the others.
fn split(maps: &[Linear]) -> Result<(&Linear, &[Linear])> {
    match maps.split_first() {
        Some(parts) => Ok(parts),
        None => bail!("the head has no linear map"),
    }
}

fn head_backward_of<T: Elem>(
    tape: &HeadTape,
    maps: &[Linear],
    dscores: &Tensor,
) -> Result<HeadGrads> {
    let (first, rest) = split(maps)?;
    let ((b, n, d), (_, q)) = (tape.x.dims3()?, tape.query.dims2()?);
    let f = first.weight.dims2()?.0;
    let m = b * n;
    same("gradient of the scores", dscores.elem_count(), m)?;

    // The gradient of the scores, carried back to the output of the first map.
    let mut dh: Vec<T> = dscores.flatten_all()?.to_vec1()?;
    let mut grads = Vec::new();
    for (i, map) in rest.iter().enumerate().rev() {
        let w = &map.weight;
        let hv = view::<T>(&tape.hidden[i])?;
        let hidden = hv.slice()?;
        let columns = hidden.len() / m.max(1);
        if i + 1 == rest.len() {
            let wv = view::<T>(w)?;
            let ws = wv.slice()?;
            let mut dw = vec![T::zero(); columns];
            gemm_tn(&mut dw, Mat::new(&dh, m, 1), Mat::new(hidden, m, columns));
            let mut db = vec![T::zero(); 1];
            add_rows(&mut db, &dh);
            grads.push(Linear {
                weight: tensor(dw, (1, columns))?,
                bias: tensor(db, 1)?,
            });
            let mut before = vec![T::zero(); m * columns];
            before
                .par_chunks_mut(columns)
                .with_min_len(TASK_ROWS)
                .zip(hidden.par_chunks(columns).with_min_len(TASK_ROWS))
                .zip(dh.par_iter().with_min_len(TASK_ROWS))
                .for_each(|((out, h), ds)| {
                    for ((o, h), w) in out.iter_mut().zip(h).zip(ws) {
                        *o = if *h <= T::zero() { T::zero() } else { *ds * *w };
                    }
                });
            dh = before;
        } else {
            let width = w.dims2()?.0;
            let g = linear_backward(&tape.hidden[i], w, &tensor(dh, (m, width))?)?;
            grads.push(g.params);
            dh = g.x.flatten_all()?.to_vec1()?;
            for (o, h) in dh.iter_mut().zip(hidden) {
                *o = if *h <= T::zero() { T::zero() } else { *o };
            }
        }
    }

    let xv = view::<T>(&tape.x)?;
    let mut share = vec![T::zero(); b * f];
    for (sum, rows) in share.chunks_exact_mut(f).zip(dh.chunks_exact(n * f)) {
        add_rows(sum, rows);
    }
    let first = First::<T>::open(first, &tape.query)?;
    let mut dx = vec![T::zero(); m * d];
    let (first, dq) = first.backward(xv.slice()?, &dh, &share, &mut dx)?;
    grads.push(first);
    grads.reverse();
    Ok(HeadGrads {
        x: tensor(dx, (b, n, d))?,
        query: tensor(dq, (b, q))?,
        maps: grads,
        added: tape.added.then(|| tensor(dh, (m, f))).transpose()?,
    })
}
