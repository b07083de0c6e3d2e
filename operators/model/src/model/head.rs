//! The scoring head over the network's states. It gathers the states that it sees, or, with two
//! maps, reads the rows of all nodes. In the second case the first map is split into the shares of
//! state and query, so that the hidden values between the maps need not be kept.

use candle_core::{Result, Tensor};
use gfm_pipe_kernels::rows::Rows;
use gfm_pipe_kernels::score;

use super::network::Network;
use crate::buffers::Buffer;
use crate::ops::{self, First, HeadTape, Linear};
use crate::tensor::{Elem, tensor, view};

/// The inputs of the head besides its parameters.
pub(super) struct HeadInput<'a, T> {
    /// The last states.
    pub states: &'a [T],
    /// The rows of `states`.
    pub rows: &'a Rows,
    /// The first map applied to the states of nodes without a row, `[N, f]`.
    pub far: Option<&'a [T]>,
    /// The gathered states, `[B, M, out]` per layer; `None` if the head reads the rows of all
    /// nodes.
    pub seen: Option<&'a [Tensor]>,
    /// Query vectors, `[B, d]`.
    pub query: &'a Tensor,
}

/// What the head's forward pass saves for its backward pass.
pub(super) enum SavedHead<T: Elem> {
    /// Nothing was scored.
    Nothing,
    /// The head read gathered states.
    Seen(HeadTape),
    /// The head read the rows of all nodes.
    Rows(SavedShares<T>),
}

/// The output of the head's first map, split into two shares whose sum it is.
pub(super) struct SavedShares<T: Elem> {
    /// Share of the states, `[rows, f]`. The backward pass takes it; `None` if it is to be computed
    /// again.
    states: Option<Buffer<T>>,
    /// Share of the queries, with the bias, `[B, f]`.
    queries: Vec<T>,
}

/// Gradients of the head.
pub(super) struct HeadGrads {
    /// Gradient of the gathered states, `[B, M, out]`; `None` if the head read rows.
    pub x: Option<Tensor>,
    /// Gradient of the query vectors, `[B, d]`.
    pub query: Tensor,
    pub maps: Vec<Linear>,
}

impl Network<'_> {
    /// Scores `[B, M]`, and what the backward pass needs.
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
        let (scores, mut saved) = rows_forward(&input, maps)?;
        if self.recompute {
            saved.states = None;
        }
        Ok((scores, SavedHead::Rows(saved)))
    }

    /// Backward of [`Network::head_forward`]. If the head read rows, adds the gradient of the
    /// states to `dy`.
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
            SavedHead::Rows(saved) => rows_backward(input, saved, maps, dscores, dy),
        }
    }
}

/// Scores `[B, N]` by a head of two maps over the rows of all nodes.
fn rows_forward<T: Elem>(
    input: &HeadInput<'_, T>,
    maps: &[Linear],
) -> Result<(Tensor, SavedShares<T>)> {
    let (rows, query) = (input.rows, input.query);
    let (f, b) = (maps[0].weight.dims2()?.0, query.dims2()?.0);
    let (w2, b2) = (view::<T>(&maps[1].weight)?, view::<T>(&maps[1].bias)?);
    let first = First::<T>::open(&maps[0], query)?;
    let queries = first.of_queries()?;
    let mut states = Buffer::dirty(rows.len() * f);
    first.of_states(&mut states, input.states, false)?;
    let head = score::Head {
        rows,
        share: &queries,
        w2: w2.slice()?,
        b2: b2.slice()?[0],
    };
    let mut by_node = Buffer::dirty(rows.nodes() * b);
    score::scores(&head, &states, input.far, &mut by_node);
    let scores = transposed(&by_node, rows.nodes(), b);
    let scores = tensor(scores, (b, rows.nodes()))?;
    let saved = SavedShares {
        states: Some(states),
        queries,
    };
    Ok((scores, saved))
}

/// Backward of [`rows_forward`]. Adds the gradient of the states to `dy`.
fn rows_backward<T: Elem>(
    input: &HeadInput<'_, T>,
    saved: &mut SavedShares<T>,
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
        share: &saved.queries,
        w2: w2v.slice()?,
        b2: b2v.slice()?[0],
    };
    let by_node = transposed(dv.slice()?, b, rows.nodes());
    let first = First::<T>::open(&maps[0], query)?;
    // The kernel replaces the shares by their gradients.
    let mut dstates = match saved.states.take() {
        Some(states) => states,
        None => {
            let mut states = Buffer::dirty(rows.len() * f);
            first.of_states(&mut states, y, false)?;
            states
        }
    };
    let zeros = |n: usize| vec![T::zero(); n];
    let (mut dshare, mut dw2, mut db2) = (zeros(b * f), zeros(f), T::zero());
    let grads = score::Grads {
        share: &mut dshare,
        w2: &mut dw2,
        b2: &mut db2,
    };
    score::scores_backward(&head, &mut dstates, &by_node, grads);
    let (first, dq) = first.backward(y, &dstates, &dshare, dy)?;
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

/// The transpose of a `rows x columns` matrix.
fn transposed<T: Elem>(x: &[T], rows: usize, columns: usize) -> Vec<T> {
    let mut out = vec![T::zero(); x.len()];
    for (r, row) in x.chunks_exact(columns.max(1)).enumerate() {
        for (c, value) in row.iter().enumerate() {
            out[c * rows + r] = *value;
        }
    }
    out
}
