//! The forward pass over rows: the layers and the head. Training, scoring, the background and
//! divided graphs all use it. They differ in the rows that are computed, in what is kept, and in
//! what ranks exchange between layers.
//!
//! States live in buffers that the next step uses again.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use gfm_pipe_api::OpResult;
use gfm_pipe_kernels::message::Message;
use gfm_pipe_kernels::rows::{NONE, Rows};

use super::background::Background;
use super::head::{HeadInput, SavedHead};
use super::layer::{LayerInput, SavedLayer, boundary_at};
use super::network::{Network, Projection, project};
use super::node_states::NodeStates;
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
    /// The states before the first layer and after each layer.
    States,
    /// Everything that the backward pass needs.
    Tape,
}

/// Which states the head sees.
#[derive(Debug, Clone)]
pub(super) enum Seen {
    /// The last states of all nodes, read from their rows.
    ByRows,
    /// The states of all nodes, gathered for each query.
    All,
    /// The states of these nodes, the same number for each query.
    Nodes(Vec<Vec<u32>>),
}

impl Seen {
    /// The nodes per query; `None` for all nodes.
    pub fn candidates(&self) -> Option<&[Vec<u32>]> {
        match self {
            Seen::ByRows | Seen::All => None,
            Seen::Nodes(nodes) => Some(nodes),
        }
    }
}

/// The inputs of a batch of queries. Seeds are node numbers of the network's graph.
pub(super) struct Queries<'a> {
    /// Relation states, `[2R, d]`.
    pub relations: &'a Tensor,
    /// Query vectors, `[B, d]`.
    pub vectors: &'a Tensor,
    pub seeds: &'a Seeds,
    /// The texts of nodes, for a model that reads them.
    pub nodes: Option<&'a Arc<NodeStates>>,
}

/// Communication between ranks that divide a graph, between one layer and the next.
pub(super) trait Exchange<T: Elem> {
    /// Returns the states that `layer` reads: this rank's own and copies from other ranks.
    fn states(&self, layer: usize, rows: &Rows, own: &[T], width: usize) -> OpResult<Buffer<T>>;
    /// Adds the gradients that other ranks computed for their copies to the gradients of own rows.
    fn gradients(
        &self,
        layer: usize,
        rows: &Rows,
        dx: &mut Buffer<T>,
        width: usize,
    ) -> OpResult<()>;
}

/// The arguments of [`Network::layers`].
pub(super) struct Run<'a, T> {
    pub rows: &'a LayerRows,
    pub boundary: &'a Boundary,
    pub relations: &'a Tensor,
    pub background: Option<&'a Background>,
    pub seen: &'a Seen,
    pub keep: Keep,
    pub exchange: Option<&'a dyn Exchange<T>>,
    /// Called as `progress(done, total)` when a layer finishes.
    pub progress: &'a dyn Fn(usize, usize),
}

/// The results of the layers.
pub(super) struct Layers<T: Elem> {
    /// The relation projection of each layer; empty unless a tape is kept.
    pub projections: Vec<Projection>,
    /// States before the first layer and after each layer, or only the last states.
    pub states: Vec<Buffer<T>>,
    pub saved: Vec<SavedLayer<T>>,
    /// The states that the head sees, `[B, M, out]` per layer; empty if the head reads rows.
    pub seen: Vec<Tensor>,
}

/// Everything that the backward pass needs from a forward pass.
pub(super) struct TypedTape<T: Elem> {
    pub rows: LayerRows,
    pub seen: Seen,
    pub relations: Tensor,
    pub query: Tensor,
    pub seeds: Seeds,
    pub boundary: Boundary,
    pub nodes: Option<Arc<NodeStates>>,
    /// The hidden values of early fusion at start nodes, `[K, d]`.
    pub fused: Option<Tensor>,
    pub projections: Vec<Projection>,
    /// States before the first layer and after each layer: the next layer's messages are made of
    /// them. The backward pass drops them one by one, so that later layers can use their memory.
    pub states: Vec<Buffer<T>>,
    /// What each layer saved, dropped in the same way. Empty if layers are computed again.
    pub saved: Vec<SavedLayer<T>>,
    pub head: SavedHead<T>,
}

/// Options of a forward pass.
pub(super) struct Pass<'a, T> {
    pub rows: LayerRows,
    pub seen: Seen,
    /// Whether a backward pass follows.
    pub tape: bool,
    pub background: Option<&'a Background>,
    pub exchange: Option<&'a dyn Exchange<T>>,
}

impl Network<'_> {
    /// Scores `[B, M]` of the states that the head sees, and a tape. The tape is complete only if
    /// `pass.tape` is set.
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
        let (boundary, fused) = self
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
            nodes: queries.nodes.cloned(),
            fused,
            head,
        };
        Ok((scores, tape))
    }

    /// The boundary, and the hidden values of early fusion at start nodes.
    fn boundary(&self, queries: &Queries<'_>, rows: usize) -> Result<(Boundary, Option<Tensor>)> {
        let config = &self.params.config;
        if queries.vectors.dims2()?.1 != config.input_dim || rows != config.layers() + 1 {
            bail!("queries or rows do not fit the model");
        }
        match queries.nodes {
            Some(nodes) => nodes.boundary(self.params, queries.vectors, queries.seeds),
            None => Ok((ops::boundary(queries.vectors, queries.seeds)?, None)),
        }
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
        self.head_forward(&HeadInput {
            states: layers.states.last().map_or(&[], |s| s),
            rows: &run.rows.states[last],
            far: slice_of(&far)?,
            seen: match run.seen {
                Seen::ByRows => None,
                Seen::All | Seen::Nodes(_) => Some(&layers.seen),
            },
            candidates: run.seen.candidates(),
            nodes: queries.nodes.map(|nodes| &**nodes),
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

    /// Runs layer `i` on the last states of `out` and returns the states that it writes. Adds to
    /// `out` what `run.keep` and the head ask for.
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
            unreachable!("a projection that is not known was computed above")
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
        if self.head_sees(i) && !matches!(run.seen, Seen::ByRows) {
            let far = run
                .background
                .map(|b| b.before::<T>(i + 1))
                .transpose()?
                .flatten();
            let (rows, width) = (run.rows.written(i), self.params.config.hidden_dims[i]);
            let states = gather(&y, slice_of(&far)?, rows, run.seen.candidates(), width)?;
            out.seen.push(states);
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

/// States before the first layer: the boundary states.
fn first_states<T: Elem>(boundary: &Boundary, rows: &Rows) -> Result<Buffer<T>> {
    let dim = boundary.rows.dims2()?.1;
    let mut first = Buffer::zeros(rows.len() * dim);
    if let Some(of_nodes) = &boundary.of_nodes {
        rows.spread(view::<T>(of_nodes)?.slice()?, &mut first, dim);
    }
    let starts = view::<T>(&boundary.rows)?;
    let starts = starts.slice()?;
    for (row, k) in boundary_at(boundary, rows) {
        let start = &starts[k as usize * dim..][..dim];
        first[row as usize * dim..][..dim].copy_from_slice(start);
    }
    Ok(first)
}

pub(super) fn slice_of<'a, T: Elem>(v: &'a Option<View<'_, T>>) -> Result<Option<&'a [T]>> {
    v.as_ref().map(View::slice).transpose()
}

/// Calls `f(place, node, row)` for every state that the head sees for query `q`.
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

/// Number of states that the head sees per query.
pub(super) fn seen_width(rows: &Rows, candidates: Option<&[Vec<u32>]>) -> usize {
    match candidates {
        Some(all) => all.first().map_or(0, Vec::len),
        None => rows.nodes(),
    }
}

/// Gathers the states that the head sees, `[B, M, width]`. `far` holds the states of nodes without
/// a row.
pub(super) fn gather<T: Elem>(
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
