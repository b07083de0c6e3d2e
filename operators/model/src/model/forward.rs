//! The layers and the head over rows, forward. Training, scoring, the background and divided graphs differ in arguments:
//! which rows there are, what is kept, and what ranks exchange between layers.
//!
//! States live in buffers that the next step uses again.

use candle_core::{Result, Tensor, bail};
use gfm_pipe_api::OpResult;
use gfm_pipe_kernels::message::Message;
use gfm_pipe_kernels::rows::{NONE, Rows};

use super::background::Background;
use super::head::{HeadInput, SavedHead};
use super::layer::{LayerInput, SavedLayer, boundary_at};
use super::network::{Network, Projection, project};
use super::reach::LayerRows;
use crate::buffers::Buffer;
use crate::ops::{self, Boundary, Seeds};
use crate::tensor::{Elem, View, tensor, view};
use crate::tensor_error;

/// What a pass keeps of its layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Only the last states.
    Nothing,
    /// The states before the first layer and after each.
    States,
    /// All that the backward pass needs.
    Tape,
}

/// Which states the head sees.
#[derive(Debug, Clone)]
pub(super) enum Seen {
    /// The last states of all nodes, row by row.
    ByRows,
    /// Those of all nodes.
    All,
    /// Those of these nodes, as many for each query.
    Nodes(Vec<Vec<u32>>),
}

/// What queries ask, in the numbers of the network's graph.
pub(super) struct Queries<'a> {
    /// Relation states, `[2R, d]`.
    pub relations: &'a Tensor,
    /// Query vectors, `[B, d]`.
    pub vectors: &'a Tensor,
    pub seeds: &'a Seeds,
}

/// What ranks that divide a graph send each other between layers.
pub(super) trait Exchange<T: Elem> {
    /// The states that `layer` reads, from those of own rows.
    fn states(&self, layer: usize, rows: &Rows, own: &[T], width: usize) -> OpResult<Buffer<T>>;
    /// Adds to the gradients of own rows what other ranks computed of them.
    fn gradients(
        &self,
        layer: usize,
        rows: &Rows,
        dx: &mut Buffer<T>,
        width: usize,
    ) -> OpResult<()>;
}

/// How the layers are run.
pub(super) struct Run<'a, T> {
    pub rows: &'a LayerRows,
    pub boundary: &'a Boundary,
    pub relations: &'a Tensor,
    pub background: Option<&'a Background>,
    pub seen: &'a Seen,
    pub keep: Keep,
    pub exchange: Option<&'a dyn Exchange<T>>,
    /// Called with how many layers of how many are done.
    pub progress: &'a dyn Fn(usize, usize),
}

/// What the layers leave.
pub(super) struct Layers<T: Elem> {
    /// Each layer's view of the relations, where they are kept.
    pub projections: Vec<Projection>,
    /// States before the first layer and after each, or only the last.
    pub states: Vec<Buffer<T>>,
    pub saved: Vec<SavedLayer<T>>,
    /// The states the head sees, `[B, M, out]` for each layer; none where it goes over rows.
    pub seen: Vec<Tensor>,
}

/// A forward pass's memory: all that the backward pass needs.
pub(super) struct TypedTape<T: Elem> {
    pub rows: LayerRows,
    pub seen: Seen,
    pub relations: Tensor,
    pub query: Tensor,
    pub seeds: Seeds,
    pub boundary: Boundary,
    pub projections: Vec<Projection>,
    /// States before the first layer and after each, because the next layer's messages are made of them. The backward
    /// pass takes them one by one, so that their memory serves what comes.
    pub states: Vec<Buffer<T>>,
    /// What each layer saved, taken likewise; empty where layers are computed again.
    pub saved: Vec<SavedLayer<T>>,
    pub head: SavedHead<T>,
}

/// How a pass is made.
pub(super) struct Pass<'a, T> {
    pub rows: LayerRows,
    pub seen: Seen,
    /// Whether a backward pass follows.
    pub tape: bool,
    pub background: Option<&'a Background>,
    pub exchange: Option<&'a dyn Exchange<T>>,
}

impl Network<'_> {
    /// Scores of the states that the head sees, `[B, M]`, and what the backward pass needs: of use where it was asked for.
    pub(super) fn forward<M: Message, T: Elem>(
        &self,
        queries: &Queries<'_>,
        pass: Pass<'_, T>,
    ) -> OpResult<(Tensor, TypedTape<T>)> {
        let Pass {
            rows,
            seen,
            tape,
            background,
            exchange,
        } = pass;
        let boundary = self
            .boundary(queries, rows.states.len())
            .map_err(tensor_error)?;
        let run = Run {
            rows: &rows,
            boundary: &boundary,
            relations: queries.relations,
            background,
            seen: &seen,
            keep: if tape { Keep::Tape } else { Keep::Nothing },
            exchange,
            progress: &|_, _| {},
        };
        let layers = self.layers::<M, T>(&run)?;
        let (scores, head) = self
            .head_over(queries, &layers, run)
            .map_err(tensor_error)?;
        let tape = TypedTape {
            relations: queries.relations.clone(),
            query: queries.vectors.clone(),
            seeds: queries.seeds.clone(),
            projections: layers.projections,
            states: layers.states,
            saved: layers.saved,
            rows,
            seen,
            boundary,
            head,
        };
        Ok((scores, tape))
    }

    fn boundary(&self, queries: &Queries<'_>, rows: usize) -> Result<Boundary> {
        let config = &self.params.config;
        if queries.vectors.dims2()?.1 != config.input_dim || rows != config.layers() + 1 {
            bail!("queries or rows do not fit the model");
        }
        ops::boundary(queries.vectors, queries.seeds)
    }

    fn head_over<T: Elem>(
        &self,
        queries: &Queries<'_>,
        layers: &Layers<T>,
        run: Run<'_, T>,
    ) -> Result<(Tensor, SavedHead<T>)> {
        let far = match (run.seen, run.background) {
            (Seen::ByRows, Some(known)) => known.of_head::<T>()?,
            _ => None,
        };
        let last = self.params.config.layers();
        self.head_forward(HeadInput {
            states: layers.states.last().map_or(&[], |s| s),
            rows: &run.rows.states[last],
            far: slice_of(&far)?,
            seen: match run.seen {
                Seen::ByRows => None,
                Seen::All | Seen::Nodes(_) => Some(&layers.seen),
            },
            query: queries.vectors,
        })
    }

    /// Runs all layers.
    pub(super) fn layers<M: Message, T: Elem>(&self, run: &Run<'_, T>) -> OpResult<Layers<T>> {
        let layers = self.params.config.layers();
        let degrees = self.degrees::<T>();
        let first = first_states(run.boundary, run.rows.read(0)).map_err(tensor_error)?;
        let mut out = Layers {
            projections: Vec::new(),
            states: vec![first],
            saved: Vec::new(),
            seen: Vec::new(),
        };
        for i in 0..layers {
            (run.progress)(i, layers);
            let own = self.one_layer::<M, T>(i, run, &degrees, &mut out);
            let own = own.map_err(tensor_error)?;
            if run.keep == Keep::Nothing {
                out.states.clear();
            }
            out.states.push(match run.exchange {
                Some(exchange) if i + 1 < layers => {
                    let width = self.params.config.hidden_dims[i];
                    exchange.states(i + 1, run.rows.read(i + 1), &own, width)?
                }
                Some(_) | None => own,
            });
        }
        (run.progress)(layers, layers);
        Ok(out)
    }

    /// Runs layer `i` on the last states of `out`, which keeps what is to be kept; returns the states that it writes.
    fn one_layer<M: Message, T: Elem>(
        &self,
        i: usize,
        run: &Run<'_, T>,
        degrees: &ops::Degrees<T>,
        out: &mut Layers<T>,
    ) -> Result<Buffer<T>> {
        let params = self.layer(i);
        let made = match run.background {
            Some(_) => None,
            None => Some(project(run.relations, &params.projection)?),
        };
        let known = run.background.map(|known| &known.projections[i]);
        let Some(projection) = made.as_ref().or(known) else {
            unreachable!("it is made where it is not known")
        };
        let far = run
            .background
            .map(|b| b.before::<T>(i))
            .transpose()?
            .flatten();
        let input = LayerInput {
            kind: self.params.config.layer_kind(),
            graph: self.graph,
            degrees,
            from: run.rows.read(i),
            to: run.rows.written(i),
            x: out.states.last().map_or(&[], |s| s),
            far: slice_of(&far)?,
            relations: &projection.relations,
            boundary: run.boundary,
        };
        let (y, saved) = input.forward::<M>(params)?;
        if self.head_sees(i) {
            let candidates = match run.seen {
                Seen::ByRows => None,
                Seen::All => Some(None),
                Seen::Nodes(nodes) => Some(Some(nodes.as_slice())),
            };
            if let Some(candidates) = candidates {
                let far = run
                    .background
                    .map(|b| b.before::<T>(i + 1))
                    .transpose()?
                    .flatten();
                let width = self.params.config.hidden_dims[i];
                let states = gather(&y, slice_of(&far)?, run.rows.written(i), candidates, width)?;
                out.seen.push(states);
            }
        }
        if run.keep == Keep::Tape && !self.recompute {
            out.saved.push(saved);
        }
        if run.keep == Keep::Tape {
            out.projections.extend(made);
        }
        Ok(y)
    }
}

/// States before the first layer: the boundary, zero elsewhere.
fn first_states<T: Elem>(boundary: &Boundary, rows: &Rows) -> Result<Buffer<T>> {
    let dim = boundary.rows.dims2()?.1;
    let mut first = Buffer::zeros(rows.len() * dim);
    let starts = view::<T>(&boundary.rows)?;
    let starts = starts.slice()?;
    for (row, k) in boundary_at(boundary, rows) {
        let start = &starts[k as usize * dim..][..dim];
        first[row as usize * dim..][..dim].copy_from_slice(start);
    }
    Ok(first)
}

fn slice_of<'a, T: Elem>(v: &'a Option<View<'_, T>>) -> Result<Option<&'a [T]>> {
    v.as_ref().map(View::slice).transpose()
}

/// Calls `f(place, node, row)` for every state the head sees of query `q`.
pub(super) fn for_seen(
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
pub(super) fn seen_width(rows: &Rows, candidates: Option<&[Vec<u32>]>) -> usize {
    match candidates {
        Some(all) => all.first().map_or(0, Vec::len),
        None => rows.nodes(),
    }
}

/// The states the head sees, `[B, M, width]`; `far` are those of nodes without a row.
fn gather<T: Elem>(
    y: &[T],
    far: Option<&[T]>,
    rows: &Rows,
    candidates: Option<&[Vec<u32>]>,
    width: usize,
) -> Result<Tensor> {
    use rayon::prelude::*;
    let (b, n) = (rows.queries(), seen_width(rows, candidates));
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
