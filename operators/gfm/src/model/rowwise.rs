//! The network over the rows that are needed (`reach`), forward and backward, for sum and mean.
//!
//! The same functions as [`Network`]'s layers over whole tensors; what differs is which states there are. States live in
//! buffers that the next step uses again.

use std::any::Any;

use candle_core::{Result, Tensor, bail};
use gfm_pipe_kernels::layer::{self, Layer, Left, Out};
use gfm_pipe_kernels::message::Message;
use gfm_pipe_kernels::norm::Affine;
use gfm_pipe_kernels::rows::{NONE, Rows};

use super::background::Background;
use super::network::{Grads, Network, Projection};
use super::reach::Reach;
use super::rowhead::{HeadLeft, head_rows};
use crate::buffers::Buffer;
use crate::ops::{self, AggregateFunc, Boundary, LayerParams, Seeds, message_counts};
use crate::tensor::{Elem, View, by_dtype, tensor, view};

/// A forward pass's memory.
pub struct RowTape {
    typed: Box<dyn Any + Send + Sync>,
    /// States computed, of all there are: layers x queries x nodes.
    pub(super) share: f64,
}

struct Typed<T: Elem> {
    reach: Reach,
    relations: Tensor,
    query: Tensor,
    boundary: Boundary,
    /// Of each layer, its view of the relations.
    projections: Vec<Projection>,
    /// States before the first layer and after each, because the next layer's messages are made of them. The backward pass takes them one by
    /// one, so that their memory serves what comes.
    states: Vec<Buffer<T>>,
    /// What each layer left, taken likewise; none where layers are computed again.
    layers: Vec<Kept<T>>,
    candidates: Option<Vec<Vec<u32>>>,
    head: HeadLeft<T>,
}

/// See [`Left`].
pub(super) struct Kept<T: Elem> {
    sum: Buffer<T>,
    normed: Buffer<T>,
    rstd: Buffer<T>,
}

/// One layer over some rows, as its backward pass sees it.
pub(super) struct LayerRows<'a, T> {
    /// Rows of the input and of the output.
    pub rows: (&'a Rows, &'a Rows),
    /// States of the input's rows.
    pub x: &'a [T],
    /// See [`Network::counts`].
    pub counts: Option<&'a [T]>,
    pub boundary: &'a Boundary,
    /// Relations before the layer's projection, `[2R, d]`, and it.
    pub relations: (&'a Tensor, &'a Projection),
}

impl<T: Elem> Kept<T> {
    pub fn dirty(rows: usize, dim: usize, out: usize) -> Self {
        Kept {
            sum: Buffer::dirty(rows * dim),
            normed: Buffer::dirty(rows * out),
            rstd: Buffer::dirty(rows),
        }
    }

    fn left(&self) -> Left<'_, T> {
        Left {
            sum: &self.sum,
            normed: &self.normed,
            rstd: &self.rstd,
        }
    }

    /// Runs a layer: fills this, and gives the output.
    fn run<M: Message>(&mut self, layer: &Layer<'_, T>) -> Buffer<T> {
        let mut y = Buffer::dirty(layer.to.len() * layer.out);
        layer::forward::<M, T>(
            layer,
            Out {
                sum: &mut self.sum,
                normed: &mut self.normed,
                rstd: &mut self.rstd,
                y: &mut y,
            },
        );
        y
    }
}

/// Boundary rows of a layer: those that its rows need, increasing, with the index of each.
fn boundary_at(boundary: &Boundary, rows: &Rows) -> Vec<(u32, u32)> {
    let all = boundary.nodes.iter().enumerate();
    let all = all.flat_map(|(q, nodes)| nodes.iter().map(move |v| (*v as usize, q)));
    let mut at: Vec<(u32, u32)> = all
        .enumerate()
        .filter_map(|(k, (v, q))| match rows.own(v, q) {
            NONE => None,
            row => Some((row, k as u32)),
        })
        .collect();
    at.sort_unstable();
    at
}

/// The parts of a layer as slices.
struct Parts<'a, T> {
    weight: View<'a, T>,
    bias: View<'a, T>,
    norm: Option<(View<'a, T>, View<'a, T>)>,
    relations: View<'a, T>,
    boundary: View<'a, T>,
}

impl<'a, T: Elem> Parts<'a, T> {
    fn open(params: &'a LayerParams, relations: &'a Tensor, boundary: &'a Tensor) -> Result<Self> {
        Ok(Parts {
            weight: view(&params.weight)?,
            bias: view(&params.bias)?,
            norm: match &params.norm {
                Some((g, b)) => Some((view(g)?, view(b)?)),
                None => None,
            },
            relations: view(relations)?,
            boundary: view(boundary)?,
        })
    }
}

impl Network<'_> {
    /// Whether the rows of this module can stand for the layers of this model.
    pub(super) fn has_rows(&self) -> bool {
        self.params.config.aggregate_func.adds()
    }

    /// Scores of the candidates of each query, or of all nodes, and what the backward pass needs.
    pub(super) fn forward_rows(
        &self,
        reach: Reach,
        (relations, query): (&Tensor, &Tensor),
        seeds: &Seeds,
        candidates: Option<Vec<Vec<u32>>>,
    ) -> Result<(Tensor, RowTape)> {
        let message = self.params.config.message_func;
        by_dtype!(query.dtype(), T => ops::by_message!(message, M => {
            self.forward_typed::<M, T>(reach, (relations, query), seeds, candidates)
        }))
    }

    /// Scores of all nodes; `background` is that of nodes without a row.
    pub(super) fn score_rows(
        &self,
        reach: &Reach,
        (relations, query): (&Tensor, &Tensor),
        seeds: &Seeds,
        background: Option<&Background>,
    ) -> Result<Tensor> {
        let message = self.params.config.message_func;
        by_dtype!(query.dtype(), T => ops::by_message!(message, M => {
            self.score_typed::<M, T>(reach, (relations, query), seeds, background)
        }))
    }

    fn layer_of<'a, T: Elem>(
        &'a self,
        parts: &'a Parts<'_, T>,
        (from, to): (&'a Rows, &'a Rows),
        (x, far, counts): (&'a [T], Option<&'a [T]>, Option<&'a [T]>),
        at: &'a [(u32, u32)],
    ) -> Result<Layer<'a, T>> {
        let kind = self.params.config.layer_kind();
        let (into, out_of) = kind.path.flow(self.graph);
        let (dim, out) = (self.params.config.input_dim, parts.bias.slice()?.len());
        Ok(Layer {
            from,
            to,
            into,
            out_of,
            x,
            far,
            relations: parts.relations.slice()?,
            dim,
            out,
            weight: parts.weight.slice()?,
            bias: parts.bias.slice()?,
            affine: match &parts.norm {
                Some((g, b)) => Some(Affine {
                    gamma: g.slice()?,
                    beta: b.slice()?,
                }),
                None => None,
            },
            activation: kind.activation.kernel(),
            shortcut: kind.shortcut && dim == out,
            boundary: layer::Boundary {
                at,
                rows: parts.boundary.slice()?,
            },
            counts,
        })
    }

    /// Runs layer `i` over some rows: from states, those of nodes without a row, and numbers of messages.
    pub(super) fn run_layer<M: Message, T: Elem>(
        &self,
        i: usize,
        (projection, boundary): (&Projection, &Boundary),
        (from, to): (&Rows, &Rows),
        seen: (&[T], Option<&[T]>, Option<&[T]>),
        left: &mut Kept<T>,
    ) -> Result<Buffer<T>> {
        let params = self.params.layer(i)?;
        let parts = Parts::open(&params, &projection.relations, &boundary.rows)?;
        let at = boundary_at(boundary, to);
        Ok(left.run::<M>(&self.layer_of(&parts, (from, to), seen, &at)?))
    }

    /// Whether the head goes over the rows of all nodes: it has two maps, and sees the last states.
    pub(super) fn head_by_rows(&self) -> bool {
        let config = &self.params.config;
        !config.concat_hidden && config.num_mlp_layer == 2
    }

    /// Numbers of messages, for the mean.
    pub(super) fn counts<T: Elem>(&self) -> Option<Vec<T>> {
        let mean = self.params.config.aggregate_func == AggregateFunc::Mean;
        mean.then(|| message_counts(self.graph))
    }

    /// The boundary, and the states of the first rows.
    pub(super) fn start_rows<T: Elem>(
        &self,
        rows: &[Rows],
        query: &Tensor,
        seeds: &Seeds,
    ) -> Result<(Boundary, Buffer<T>)> {
        let config = &self.params.config;
        let dim = config.input_dim;
        if query.dims2()?.1 != dim || rows.len() != config.layers() + 1 {
            bail!("queries or rows do not fit the model");
        }
        let boundary = ops::boundary(query, seeds)?;
        let mut first = Buffer::zeros(rows[0].len() * dim);
        {
            let starts = view::<T>(&boundary.rows)?;
            for (row, k) in boundary_at(&boundary, &rows[0]) {
                let start = &starts.slice()?[k as usize * dim..][..dim];
                first[row as usize * dim..][..dim].copy_from_slice(start);
            }
        }
        Ok((boundary, first))
    }

    /// Whether the head sees the states after layer `i` by themselves.
    pub(super) fn gathers(&self, i: usize) -> bool {
        let config = &self.params.config;
        config.concat_hidden || i + 1 == config.layers()
    }

    fn forward_typed<M: Message, T: Elem>(
        &self,
        reach: Reach,
        (relations, query): (&Tensor, &Tensor),
        seeds: &Seeds,
        candidates: Option<Vec<Vec<u32>>>,
    ) -> Result<(Tensor, RowTape)> {
        let config = &self.params.config;
        let layers = config.layers();
        let (boundary, first) = self.start_rows::<T>(&reach.rows, query, seeds)?;
        let counts = self.counts::<T>();
        let mut states: Vec<Buffer<T>> = vec![first];
        let (mut projections, mut kept) = (Vec::new(), Vec::new());
        let mut seen: Vec<Tensor> = Vec::new();
        let by_rows = candidates.is_none() && self.head_by_rows();
        for i in 0..layers {
            let projection = self.project(i, relations)?;
            let (from, to) = (&reach.rows[i], &reach.rows[i + 1]);
            let out = config.hidden_dims[i];
            let mut left = Kept::dirty(to.len(), config.input_dim, out);
            let y = self.run_layer::<M, T>(
                i,
                (&projection, &boundary),
                (from, to),
                (&states[i], None, counts.as_deref()),
                &mut left,
            )?;
            if !by_rows && self.gathers(i) {
                seen.push(gather(&y, None, to, candidates.as_deref(), out)?);
            }
            projections.push(projection);
            if !self.recompute {
                kept.push(left);
            }
            states.push(y);
        }
        let seen = (!by_rows).then_some(seen);
        let last = (&*states[layers], &reach.rows[layers]);
        let (scores, head) = self.head_forward(last, seen, query)?;
        let share = reach.share();
        let typed = Typed {
            reach,
            relations: relations.clone(),
            query: query.clone(),
            boundary,
            projections,
            states,
            layers: kept,
            candidates,
            head,
        };
        let tape = RowTape {
            typed: Box::new(typed),
            share,
        };
        Ok((scores, tape))
    }

    /// Layer `i` backwards, from the gradient of its output; what it left is computed again where it was not kept. Gives the gradients of the
    /// input's rows and of the relations, and adds the boundary's to `drows`.
    pub(super) fn layer_backward<M: Message, T: Elem>(
        &self,
        i: usize,
        at: &LayerRows<'_, T>,
        kept: Option<Kept<T>>,
        dy: &[T],
        drows: &mut [T],
        grads: &mut Grads,
    ) -> Result<(Buffer<T>, Tensor)> {
        let config = &self.params.config;
        let (dim, out) = (config.input_dim, config.hidden_dims[i]);
        let ((from, to), (relations, projection)) = (at.rows, at.relations);
        let params = self.params.layer(i)?;
        let mut dx = Buffer::zeros(from.len() * dim);
        let (mut dstate, mut dsum) = (Buffer::dirty(to.len() * dim), Buffer::dirty(to.len() * dim));
        let zeros = |n: usize| vec![T::zero(); n];
        let (mut dw, mut db) = (zeros(out * 2 * dim), zeros(out));
        let (mut dgamma, mut dbeta) = (zeros(out), zeros(out));
        let mut dprojected = zeros(projection.relations.elem_count());
        {
            let parts = Parts::open(&params, &projection.relations, &at.boundary.rows)?;
            let boundary = boundary_at(at.boundary, to);
            let layer = self.layer_of(&parts, (from, to), (at.x, None, at.counts), &boundary)?;
            let left = match kept {
                Some(kept) => kept,
                None => {
                    let mut kept = Kept::dirty(to.len(), dim, out);
                    kept.run::<M>(&layer);
                    kept
                }
            };
            layer::backward::<M, T>(
                &layer,
                left.left(),
                dy,
                layer::Grads {
                    x: &mut dx,
                    state: &mut dstate,
                    sum: &mut dsum,
                    relations: &mut dprojected,
                    boundary: drows,
                    weight: &mut dw,
                    bias: &mut db,
                    affine: Some((&mut dgamma, &mut dbeta)),
                },
            );
        }
        let p = format!("entity_model.layers.{i}");
        grads.insert(format!("{p}.linear.weight"), tensor(dw, (out, 2 * dim))?);
        grads.insert(format!("{p}.linear.bias"), tensor(db, out)?);
        if params.norm.is_some() {
            grads.insert(format!("{p}.layer_norm.weight"), tensor(dgamma, out)?);
            grads.insert(format!("{p}.layer_norm.bias"), tensor(dbeta, out)?);
        }
        let dprojected = tensor(dprojected, projection.relations.shape())?;
        let d = self.project_backward(i, relations, projection, &dprojected, grads)?;
        Ok((dx, d))
    }

    fn score_typed<M: Message, T: Elem>(
        &self,
        reach: &Reach,
        (relations, query): (&Tensor, &Tensor),
        seeds: &Seeds,
        background: Option<&Background>,
    ) -> Result<Tensor> {
        let config = &self.params.config;
        let layers = config.layers();
        let (boundary, mut x) = self.start_rows::<T>(&reach.rows, query, seeds)?;
        let counts = self.counts::<T>();
        let before = |i: usize| match background {
            Some(known) => known.before::<T>(i),
            None => Ok(None),
        };
        let mut seen: Vec<Tensor> = Vec::new();
        for i in 0..layers {
            let here;
            let projection = match background {
                Some(known) => &known.projections[i],
                None => {
                    here = self.project(i, relations)?;
                    &here
                }
            };
            let (from, to) = (&reach.rows[i], &reach.rows[i + 1]);
            let out = config.hidden_dims[i];
            let far = before(i)?;
            x = self.run_layer::<M, T>(
                i,
                (projection, &boundary),
                (from, to),
                (&x, slice_of(&far)?, counts.as_deref()),
                &mut Kept::dirty(to.len(), config.input_dim, out),
            )?;
            if !self.head_by_rows() && self.gathers(i) {
                let far = before(i + 1)?;
                seen.push(gather(&x, slice_of(&far)?, to, None, out)?);
            }
        }
        let params = self.params.head()?;
        if !self.head_by_rows() {
            return Ok(ops::head(&super::network::join(seen)?, query, &params)?.0);
        }
        let far = match background {
            Some(known) => known.of_head::<T>()?,
            None => None,
        };
        Ok(head_rows((&x, slice_of(&far)?), &reach.rows[layers], query, &params)?.0)
    }

    /// Gradients of the entity model's parameters, and of relation states and queries.
    pub(super) fn backward_rows(
        &self,
        tape: &mut RowTape,
        dscores: &Tensor,
        seeds: &Seeds,
        grads: &mut Grads,
    ) -> Result<(Tensor, Tensor)> {
        let message = self.params.config.message_func;
        by_dtype!(dscores.dtype(), T => ops::by_message!(message, M => match tape.typed.downcast_mut::<Typed<T>>() {
            Some(typed) => self.backward_typed::<M, T>(typed, dscores, seeds, grads),
            None => bail!("the gradient is of another type than the scores"),
        }))
    }

    fn backward_typed<M: Message, T: Elem>(
        &self,
        tape: &mut Typed<T>,
        dscores: &Tensor,
        seeds: &Seeds,
        grads: &mut Grads,
    ) -> Result<(Tensor, Tensor)> {
        let config = &self.params.config;
        let (layers, dim) = (config.layers(), config.input_dim);
        if tape.states.len() != layers + 1 {
            bail!("a pass goes back once");
        }
        let counts = self.counts::<T>();
        let last = config.hidden_dims.last().copied().unwrap_or(dim);
        let mut dy = Buffer::zeros(tape.reach.rows[layers].len() * last);
        let states = (&*tape.states[layers], &tape.reach.rows[layers], &tape.query);
        let (seen, dquery) = self.head_backward(&mut tape.head, states, dscores, &mut dy, grads)?;
        // The head's columns belong to the layers it saw, the last one's last.
        let mut columns = seen.as_ref().map_or(Ok(0), |x| x.dims3().map(|d| d.2))?;
        let mut drows = vec![T::zero(); tape.boundary.rows.elem_count()];
        let mut drelations = tape.relations.zeros_like()?;
        for i in (0..layers).rev() {
            tape.states.truncate(i + 1);
            let (from, to) = (&tape.reach.rows[i], &tape.reach.rows[i + 1]);
            if let (Some(seen), true) = (&seen, self.gathers(i)) {
                let out = config.hidden_dims[i];
                columns -= out;
                let part = seen.narrow(2, columns, out)?.contiguous()?;
                scatter(&mut dy, &part, to, tape.candidates.as_deref(), out)?;
            }
            let layer = LayerRows {
                rows: (from, to),
                x: &tape.states[i],
                counts: counts.as_deref(),
                boundary: &tape.boundary,
                relations: (&tape.relations, &tape.projections[i]),
            };
            let kept = tape.layers.pop();
            let (dx, d) = self.layer_backward::<M, T>(i, &layer, kept, &dy, &mut drows, grads)?;
            drelations = (drelations + d)?;
            dy = dx;
        }
        let first = start_backward(&tape.boundary, &tape.reach.rows[0], &dy, drows, seeds)?;
        let dquery = (dquery + first)?;
        debug_assert_eq!(tape.query.dims(), dquery.dims());
        Ok((drelations, dquery))
    }
}

/// Backward of the boundary, the states before the first layer among it: from their gradient and that of the boundary's rows, the queries'.
pub(super) fn start_backward<T: Elem>(
    boundary: &Boundary,
    rows: &Rows,
    dx: &[T],
    mut drows: Vec<T>,
    seeds: &Seeds,
) -> Result<Tensor> {
    let dim = boundary.rows.dims2()?.1;
    for (row, k) in boundary_at(boundary, rows) {
        let g = &dx[row as usize * dim..][..dim];
        let to = &mut drows[k as usize * dim..][..dim];
        to.iter_mut().zip(g).for_each(|(o, g)| *o += *g);
    }
    ops::boundary_backward(&tensor(drows, boundary.rows.shape())?, seeds)
}

fn slice_of<'a, T: Elem>(v: &'a Option<View<'_, T>>) -> Result<Option<&'a [T]>> {
    v.as_ref().map(View::slice).transpose()
}

/// Calls `f(place, node, row)` for every state the head sees of a query.
fn for_seen(
    rows: &Rows,
    candidates: Option<&[Vec<u32>]>,
    q: usize,
    mut f: impl FnMut(usize, usize, u32),
) {
    match candidates {
        Some(all) => {
            for (i, v) in all[q].iter().enumerate() {
                f(i, *v as usize, rows.find(*v as usize, q));
            }
        }
        None => (0..rows.nodes()).for_each(|v| f(v, v, rows.find(v, q))),
    }
}

/// How many states the head sees of each query.
fn seen(rows: &Rows, candidates: Option<&[Vec<u32>]>) -> usize {
    match candidates {
        Some(all) => all.first().map_or(0, Vec::len),
        None => rows.nodes(),
    }
}

/// Holds that seeds and candidates are nodes, and candidates as many for each query.
pub(super) fn check_nodes(
    nodes: usize,
    seeds: &Seeds,
    candidates: Option<&[Vec<u32>]>,
) -> Result<()> {
    if seeds.iter().flatten().any(|(v, _)| *v as usize >= nodes) {
        bail!("a seed is outside the graph");
    }
    let Some(all) = candidates else {
        return Ok(());
    };
    let n = all.first().map_or(0, Vec::len);
    if all.len() != seeds.len() || all.iter().any(|c| c.len() != n) {
        bail!("every query must have the same number of candidates");
    }
    if all.iter().flatten().any(|v| *v as usize >= nodes) {
        bail!("a candidate is outside the graph");
    }
    Ok(())
}

/// The states the head sees, `[B, M, width]`; `far` are those of nodes without a row.
pub(super) fn gather<T: Elem>(
    y: &[T],
    far: Option<&[T]>,
    rows: &Rows,
    candidates: Option<&[Vec<u32>]>,
    width: usize,
) -> Result<Tensor> {
    use rayon::prelude::*;
    let (b, n) = (rows.queries(), seen(rows, candidates));
    let mut out = vec![T::zero(); b * n * width];
    out.par_chunks_mut((n * width).max(1))
        .enumerate()
        .for_each(|(q, out)| {
            for_seen(rows, candidates, q, |i, v, row| {
                let state = match (row, far) {
                    (NONE, None) => return,
                    (NONE, Some(far)) => &far[v * width..][..width],
                    (row, _) => &y[row as usize * width..][..width],
                };
                out[i * width..][..width].copy_from_slice(state);
            });
        });
    tensor(out, (b, n, width))
}

/// Backward of [`gather`], added: a background's state may have been seen by many.
pub(super) fn scatter<T: Elem>(
    dy: &mut [T],
    dseen: &Tensor,
    rows: &Rows,
    candidates: Option<&[Vec<u32>]>,
    width: usize,
) -> Result<()> {
    let (b, n) = (rows.queries(), seen(rows, candidates));
    let g = view::<T>(dseen)?;
    let g = g.slice()?;
    for q in 0..b {
        for_seen(rows, candidates, q, |i, _, row| {
            if row != NONE {
                let from = &g[(q * n + i) * width..][..width];
                let to = &mut dy[row as usize * width..][..width];
                to.iter_mut().zip(from).for_each(|(o, g)| *o += *g);
            }
        });
    }
    Ok(())
}
