//! The scoring head over the network's states. It gathers the states that it sees, or, with two
//! maps, reads the rows of all nodes. In the second case the first map is split into the shares of
//! state and query, so that the hidden values between the maps need not be kept. A head that reads
//! the texts of nodes has a third share, which is computed once for each node.

use std::borrow::Cow;

use candle_core::{Result, Tensor, bail};
use gfm_pipe_kernels::rows::Rows;
use gfm_pipe_kernels::score;

use super::forward::for_seen;
use super::network::Network;
use super::node_states::NodeStates;
use crate::buffers::Buffer;
use crate::ops::{self, First, HeadTape, Linear};
use crate::tensor::{Elem, tensor, view};

/// The inputs of the head besides its parameters.
pub(super) struct HeadInput<'a, T> {
    /// The last states.
    pub states: &'a [T],
    /// The rows of `states`.
    pub rows: &'a Rows,
    /// The first map's share of the states and texts of nodes without a row, `[N, f]`.
    pub far: Option<&'a [T]>,
    /// The gathered states, `[B, M, out]` per layer; `None` if the head reads the rows of all
    /// nodes.
    pub seen: Option<&'a [Tensor]>,
    /// Nodes of the gathered states, per query; `None` for all nodes.
    pub candidates: Option<&'a [Vec<u32>]>,
    /// The texts of nodes, for a head that reads them.
    pub nodes: Option<&'a NodeStates>,
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
    /// Gradient of the text states of nodes, `[N, d]`, if the head reads them.
    pub texts: Option<Tensor>,
}

impl Network<'_> {
    /// The head's maps, the first one without the columns that read the texts of nodes.
    pub(super) fn head_maps(&self) -> Result<Cow<'_, [Linear]>> {
        let maps = &self.params.tensors.head;
        if !self.params.config.reads_nodes_late() {
            return Ok(Cow::Borrowed(maps));
        }
        let mut split = maps.clone();
        let d = self.params.config.input_dim;
        let weight = &maps[0].weight;
        split[0].weight = weight.narrow(1, 0, weight.dims2()?.1 - d)?.contiguous()?;
        Ok(Cow::Owned(split))
    }

    /// The share of the nodes in the first map, `[N, f]`; `None` if the head does not read texts.
    fn of_nodes<'n, T: Elem>(&self, input: &HeadInput<'n, T>) -> Result<Option<&'n Tensor>> {
        let share = input.nodes.and_then(NodeStates::of_head);
        if self.params.config.reads_nodes_late() && share.is_none() {
            bail!("the head reads the texts of nodes, but there are none");
        }
        Ok(share)
    }

    /// Scores `[B, M]`, and what the backward pass needs.
    pub(super) fn head_forward<T: Elem>(
        &self,
        input: &HeadInput<'_, T>,
    ) -> Result<(Tensor, SavedHead<T>)> {
        let maps = &*self.head_maps()?;
        let of_nodes = self.of_nodes(input)?;
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
            let added = match of_nodes {
                Some(share) => Some(of_seen::<T>(share, input)?),
                None => None,
            };
            let (scores, tape) = ops::head(&states, input.query, maps, added.as_ref())?;
            return Ok((scores, SavedHead::Seen(tape)));
        }
        let (scores, mut saved) = rows_forward(input, maps, of_nodes)?;
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
        let (mut out, dshare) = self.split_backward(saved, input, dscores, dy)?;
        if let (Some(nodes), Some(dshare)) = (input.nodes, dshare) {
            let (texts, columns) = nodes.head_backward(self.params, &dshare)?;
            let weight = &out.maps[0].weight;
            out.maps[0].weight = Tensor::cat(&[weight, &columns], 1)?.contiguous()?;
            out.texts = Some(texts);
        }
        Ok(out)
    }

    /// [`Network::head_backward`] of [`Network::head_maps`], and the gradient of the nodes' share
    /// in the first map, `[N, f]`, if the head reads texts.
    fn split_backward<T: Elem>(
        &self,
        saved: &mut SavedHead<T>,
        input: &HeadInput<'_, T>,
        dscores: &Tensor,
        dy: &mut [T],
    ) -> Result<(HeadGrads, Option<Tensor>)> {
        let maps = &*self.head_maps()?;
        let of_nodes = self.of_nodes(input)?;
        match saved {
            SavedHead::Nothing => {
                let zeros = |map: &Linear| -> Result<Linear> {
                    Ok(Linear {
                        weight: map.weight.zeros_like()?,
                        bias: map.bias.zeros_like()?,
                    })
                };
                let grads = HeadGrads {
                    x: None,
                    query: input.query.zeros_like()?,
                    maps: maps.iter().map(zeros).collect::<Result<_>>()?,
                    texts: None,
                };
                Ok((grads, of_nodes.map(Tensor::zeros_like).transpose()?))
            }
            SavedHead::Seen(tape) => {
                let grads = ops::head_backward(tape, maps, dscores)?;
                let dshare = match (of_nodes, grads.added) {
                    (Some(share), Some(dadded)) => {
                        Some(of_seen_backward::<T>(&dadded, share, input)?)
                    }
                    _ => None,
                };
                let grads = HeadGrads {
                    x: Some(grads.x),
                    query: grads.query,
                    maps: grads.maps,
                    texts: None,
                };
                Ok((grads, dshare))
            }
            SavedHead::Rows(saved) => rows_backward(input, saved, maps, of_nodes, dscores, dy),
        }
    }
}

/// The nodes' shares at the states that the head sees, `[B M, f]`, from those of all nodes.
fn of_seen<T: Elem>(share: &Tensor, input: &HeadInput<'_, T>) -> Result<Tensor> {
    let f = share.dims2()?.1;
    let of_nodes = view::<T>(share)?;
    let of_nodes = of_nodes.slice()?;
    let mut out = Vec::new();
    for q in 0..input.rows.queries() {
        for_seen(input.rows, input.candidates, q, |_, v, _| {
            out.extend_from_slice(&of_nodes[v * f..][..f]);
        });
    }
    let rows = out.len() / f.max(1);
    tensor(out, (rows, f))
}

/// Backward of [`of_seen`].
fn of_seen_backward<T: Elem>(
    dadded: &Tensor,
    share: &Tensor,
    input: &HeadInput<'_, T>,
) -> Result<Tensor> {
    let f = share.dims2()?.1;
    let dv = view::<T>(dadded)?;
    let mut rows = dv.slice()?.chunks_exact(f.max(1));
    let mut out = vec![T::zero(); share.elem_count()];
    for q in 0..input.rows.queries() {
        for_seen(input.rows, input.candidates, q, |_, v, _| {
            let grads = rows.next().into_iter().flatten();
            let to = &mut out[v * f..][..f];
            to.iter_mut().zip(grads).for_each(|(o, g)| *o += *g);
        });
    }
    tensor(out, share.shape())
}

/// The first map's share of the states of all rows and, if `of_nodes` is there, of the texts of
/// their nodes, `[rows, f]`.
fn row_shares<T: Elem>(
    input: &HeadInput<'_, T>,
    first: &First<'_, T>,
    f: usize,
    of_nodes: Option<&Tensor>,
) -> Result<Buffer<T>> {
    let rows = input.rows;
    let mut out = Buffer::dirty(rows.len() * f);
    if let Some(share) = of_nodes {
        // On a part of a divided graph, nodes of other parts come behind, and have no rows.
        let own = rows.nodes() * f;
        rows.spread(&view::<T>(share)?.slice()?[..own], &mut out, f);
    }
    first.of_states(&mut out, input.states, of_nodes.is_some())?;
    Ok(out)
}

/// The gradient of the nodes' share, `[N, f]`, from that of the rows' shares: the sum over the rows
/// of each node.
fn of_nodes_backward<T: Elem>(drows: &[T], rows: &Rows, share: &Tensor) -> Result<Tensor> {
    let f = share.dims2()?.1;
    let mut out = vec![T::zero(); share.elem_count()];
    for (v, to) in (0..rows.nodes()).zip(out.chunks_exact_mut(f)) {
        let at = rows.of(v);
        for row in drows[at.start * f..at.end * f].chunks_exact(f) {
            to.iter_mut().zip(row).for_each(|(o, g)| *o += *g);
        }
    }
    tensor(out, share.shape())
}

/// Scores `[B, N]` by a head of two maps over the rows of all nodes.
fn rows_forward<T: Elem>(
    input: &HeadInput<'_, T>,
    maps: &[Linear],
    of_nodes: Option<&Tensor>,
) -> Result<(Tensor, SavedShares<T>)> {
    let (rows, query) = (input.rows, input.query);
    let (f, b) = (maps[0].weight.dims2()?.0, query.dims2()?.0);
    let (w2, b2) = (view::<T>(&maps[1].weight)?, view::<T>(&maps[1].bias)?);
    let first = First::<T>::open(&maps[0], query)?;
    let queries = first.of_queries()?;
    let states = row_shares(input, &first, f, of_nodes)?;
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
    of_nodes: Option<&Tensor>,
    dscores: &Tensor,
    dy: &mut [T],
) -> Result<(HeadGrads, Option<Tensor>)> {
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
        None => row_shares(input, &first, f, of_nodes)?,
    };
    let zeros = |n: usize| vec![T::zero(); n];
    let (mut dshare, mut dw2, mut db2) = (zeros(b * f), zeros(f), T::zero());
    let grads = score::Grads {
        share: &mut dshare,
        w2: &mut dw2,
        b2: &mut db2,
    };
    score::scores_backward(&head, &mut dstates, &by_node, grads);
    let dnodes = of_nodes.map(|share| of_nodes_backward(&dstates, rows, share));
    let (first, dq) = first.backward(y, &dstates, &dshare, dy)?;
    let second = Linear {
        weight: tensor(dw2, (1, f))?,
        bias: tensor(vec![db2], 1)?,
    };
    let grads = HeadGrads {
        x: None,
        query: tensor(dq, (b, q))?,
        maps: vec![first, second],
        texts: None,
    };
    Ok((grads, dnodes.transpose()?))
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
