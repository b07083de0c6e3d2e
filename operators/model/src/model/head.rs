//! The scoring head: over the states that it sees, or, with two maps, over the rows of all nodes. There the first map is
//! taken apart, so that what lies between the maps is not kept.

use candle_core::{Result, Tensor};
use gfm_pipe_kernels::rows::Rows;
use gfm_pipe_kernels::score;

use super::network::Network;
use crate::buffers::Buffer;
use crate::ops::{self, First, HeadTape, Linear};
use crate::tensor::{Elem, tensor, view};

/// What the head reads besides its parameters.
pub(super) struct HeadInput<'a, T> {
    /// The last states.
    pub states: &'a [T],
    /// Their rows.
    pub rows: &'a Rows,
    /// The first map's share of the states of nodes without a row, `[N, f]`.
    pub far: Option<&'a [T]>,
    /// The states that it sees, `[B, M, out]` for each layer; `None` where it goes over all rows.
    pub seen: Option<&'a [Tensor]>,
    /// Query vectors, `[B, d]`.
    pub query: &'a Tensor,
}

/// What the head's forward pass leaves for its backward pass.
pub(super) enum SavedHead<T: Elem> {
    /// Nothing was scored.
    Nothing,
    /// Over the states that it saw.
    Seen(HeadTape),
    /// Over all rows: the first map's share of the states (taken by the backward pass; none where things are computed
    /// again), and of the queries.
    Rows { p: Option<Buffer<T>>, share: Vec<T> },
}

/// Gradients of the head.
pub(super) struct HeadGrads {
    /// Of the states that it saw, `[B, M, out]`; none where it went over rows.
    pub x: Option<Tensor>,
    /// Of the query vectors, `[B, d]`.
    pub query: Tensor,
    pub maps: Vec<Linear>,
}

impl Network<'_> {
    /// Scores, `[B, M]`.
    pub(super) fn head_forward<T: Elem>(
        &self,
        input: HeadInput<'_, T>,
    ) -> Result<(Tensor, SavedHead<T>)> {
        let maps = &self.params.tensors.head;
        let queries = input.query.dims2()?.0;
        let width = match input.seen {
            Some(seen) => seen.first().map_or(Ok(0), |x| x.dims3().map(|d| d.1))?,
            None => input.rows.nodes(),
        };
        if width == 0 {
            let nothing = tensor(Vec::<T>::new(), (queries, 0))?;
            return Ok((nothing, SavedHead::Nothing));
        }
        if let Some(seen) = input.seen {
            let states = match seen {
                [one] => one.clone(),
                several => Tensor::cat(several, 2)?.contiguous()?,
            };
            let (scores, tape) = ops::head(&states, input.query, maps)?;
            return Ok((scores, SavedHead::Seen(tape)));
        }
        let (scores, p, share) = rows_forward(&input, maps)?;
        let p = (!self.recompute).then_some(p);
        Ok((scores, SavedHead::Rows { p, share }))
    }

    /// Backward of [`Network::head_forward`]. Over rows, the gradient of the states is added to `dy`.
    pub(super) fn head_backward<T: Elem>(
        &self,
        saved: &mut SavedHead<T>,
        input: &HeadInput<'_, T>,
        dscores: &Tensor,
        dy: &mut [T],
    ) -> Result<HeadGrads> {
        let maps = &self.params.tensors.head;
        match saved {
            SavedHead::Nothing => {
                let zeros = |map: &Linear| -> Result<Linear> {
                    Ok(Linear {
                        weight: map.weight.zeros_like()?,
                        bias: map.bias.zeros_like()?,
                    })
                };
                Ok(HeadGrads {
                    x: None,
                    query: input.query.zeros_like()?,
                    maps: maps.iter().map(zeros).collect::<Result<_>>()?,
                })
            }
            SavedHead::Seen(tape) => {
                let grads = ops::head_backward(tape, maps, dscores)?;
                Ok(HeadGrads {
                    x: Some(grads.x),
                    query: grads.query,
                    maps: grads.maps,
                })
            }
            SavedHead::Rows { p, share } => {
                rows_backward(input, (p.take(), share), maps, dscores, dy)
            }
        }
    }
}

/// A head of two maps over all nodes: scores `[B, N]`, and the first map's share of the states and of the queries.
fn rows_forward<T: Elem>(
    input: &HeadInput<'_, T>,
    maps: &[Linear],
) -> Result<(Tensor, Buffer<T>, Vec<T>)> {
    let (rows, query) = (input.rows, input.query);
    let (f, b) = (maps[0].weight.dims2()?.0, query.dims2()?.0);
    let (w2, b2) = (view::<T>(&maps[1].weight)?, view::<T>(&maps[1].bias)?);
    let first = First::<T>::open(&maps[0], query)?;
    let share = first.of_queries()?;
    let mut p = Buffer::dirty(rows.len() * f);
    first.of_states(&mut p, input.states, false)?;
    let head = score::Head {
        rows,
        share: &share,
        w2: w2.slice()?,
        b2: b2.slice()?[0],
    };
    let mut by_node = Buffer::dirty(rows.nodes() * b);
    score::scores(&head, &p, input.far, &mut by_node);
    let scores = transposed(&by_node, rows.nodes(), b);
    let scores = tensor(scores, (b, rows.nodes()))?;
    Ok((scores, p, share))
}

/// Backward of [`rows_forward`]: adds the states' gradient to `dy`. Without `p` it is computed again.
fn rows_backward<T: Elem>(
    input: &HeadInput<'_, T>,
    (p, share): (Option<Buffer<T>>, &[T]),
    maps: &[Linear],
    dscores: &Tensor,
    dy: &mut [T],
) -> Result<HeadGrads> {
    let (rows, query, y) = (input.rows, input.query, input.states);
    let (f, (b, q)) = (maps[0].weight.dims2()?.0, query.dims2()?);
    let (w2v, b2v) = (view::<T>(&maps[1].weight)?, view::<T>(&maps[1].bias)?);
    let dv = view::<T>(dscores)?;
    let head = score::Head {
        rows,
        share,
        w2: w2v.slice()?,
        b2: b2v.slice()?[0],
    };
    let by_node = transposed(dv.slice()?, b, rows.nodes());
    let first = First::<T>::open(&maps[0], query)?;
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
    let second = Linear {
        weight: tensor(dw2, (1, f))?,
        bias: tensor(vec![db2], 1)?,
    };
    Ok(HeadGrads {
        x: None,
        query: tensor(dq, (b, q))?,
        maps: vec![first, second],
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
