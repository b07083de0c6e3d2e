//! The scoring head over the rows of all nodes, forward and backward: the first map is taken apart, and what is between the maps
//! is not kept. And which way a pass goes through the head: so, or over the states it sees by themselves.

use candle_core::{Result, Tensor};
use gfm_pipe_kernels::rows::Rows;
use gfm_pipe_kernels::score;

use super::network::{Grads, Network, join};
use super::params::head_name;
use crate::buffers::Buffer;
use crate::ops::{self, First, HeadGrads, HeadParams, HeadTape};
use crate::tensor::{Elem, tensor, view};

/// What the head left.
pub(super) enum HeadLeft<T: Elem> {
    /// Over the states that it saw.
    Seen(HeadTape),
    /// Over all nodes, row by row: the first map's share of the states (taken likewise; none where things are computed again), and of the
    /// queries.
    Rows { p: Option<Buffer<T>>, share: Vec<T> },
}

impl Network<'_> {
    /// Scores of some rows' states: of what the head `seen`, layer by layer, or row by row of all nodes.
    pub(super) fn head_forward<T: Elem>(
        &self,
        (states, rows): (&[T], &Rows),
        seen: Option<Vec<Tensor>>,
        query: &Tensor,
    ) -> Result<(Tensor, HeadLeft<T>)> {
        let params = self.params.head()?;
        if let Some(seen) = seen {
            let (scores, tape) = ops::head(&join(seen)?, query, &params)?;
            return Ok((scores, HeadLeft::Seen(tape)));
        }
        let (scores, p, share) = head_rows((states, None), rows, query, &params)?;
        let p = (!self.recompute).then_some(p);
        Ok((scores, HeadLeft::Rows { p, share }))
    }

    /// Backward of [`Network::head_forward`]: the gradients of what the head saw, `[B, M, width]`, and of the queries. Row by row there is
    /// none of the former: it is added to `dy`.
    pub(super) fn head_backward<T: Elem>(
        &self,
        left: &mut HeadLeft<T>,
        (states, rows, query): (&[T], &Rows, &Tensor),
        dscores: &Tensor,
        dy: &mut [T],
        grads: &mut Grads,
    ) -> Result<(Option<Tensor>, Tensor)> {
        let params = self.params.head()?;
        let (head, seen) = match left {
            HeadLeft::Seen(left) => (ops::head_backward(left, &params, dscores)?, true),
            HeadLeft::Rows { p, share } => {
                let head = head_rows_backward(
                    (states, rows, query),
                    (p.take(), share),
                    &params,
                    dscores,
                    dy,
                )?;
                (head, false)
            }
        };
        let maps = std::iter::once(head.params.first).chain(head.params.rest);
        for (i, (weight, bias)) in maps.enumerate() {
            let p = head_name(i);
            grads.insert(format!("{p}.weight"), weight);
            grads.insert(format!("{p}.bias"), bias);
        }
        Ok((seen.then_some(head.x), head.query))
    }
}

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
fn head_rows_backward<T: Elem>(
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
