//! The backward pass over rows: gradients of the head and the layers after [`Network::forward`].

use candle_core::{Result, Tensor};
use gfm_pipe_api::{OpError, OpResult};
use gfm_pipe_kernels::message::Message;
use gfm_pipe_kernels::rows::{NONE, Rows};

use super::forward::{Exchange, TypedTape, for_seen, seen_width};
use super::head::HeadInput;
use super::layer::{BoundaryGrads, LayerInput, boundary_at};
use super::network::{Network, project_backward};
use super::node_states::NodeGrads;
use super::params::LayerParams;
use crate::buffers::Buffer;
use crate::ops::{self, Degrees, Linear};
use crate::tensor::{Elem, tensor, view};
use crate::tensor_error;

/// Gradients of the entity model.
pub(super) struct NetworkGrads {
    pub layers: Vec<LayerParams>,
    pub head: Vec<Linear>,
    /// Gradient of the relation states, `[2R, d]`.
    pub relations: Tensor,
    /// Gradient of the query vectors, `[B, d]`.
    pub query: Tensor,
    /// Gradients of what reads the texts of nodes, if the model does.
    pub nodes: Option<NodeGrads>,
}

/// Gradients that one layer after the other adds to.
struct Sums<T> {
    boundary: BoundaryGrads<T>,
    /// Gradient of the relation states, `[2R, d]`.
    relations: Tensor,
    layers: Vec<LayerParams>,
}

impl Network<'_> {
    /// All gradients, from the gradient `dscores` of the scores, `[B, M]`. Consumes the memory of
    /// the tape.
    pub(super) fn backward<M: Message, T: Elem>(
        &self,
        tape: &mut TypedTape<T>,
        dscores: &Tensor,
        exchange: Option<&dyn Exchange<T>>,
    ) -> OpResult<NetworkGrads> {
        let config = &self.params.config;
        let layers = config.layers();
        if tape.states.len() != layers + 1 {
            return Err(OpError::internal("the backward pass of a batch ran twice"));
        }
        let degrees = self.degrees::<T>();
        let last = config
            .hidden_dims
            .last()
            .copied()
            .unwrap_or(config.input_dim);
        let mut dy = Buffer::zeros(tape.rows.states[layers].len() * last);
        let input = HeadInput {
            states: &tape.states[layers],
            rows: &tape.rows.states[layers],
            far: None,
            seen: None,
            candidates: tape.seen.candidates(),
            nodes: tape.nodes.as_deref(),
            query: &tape.query,
        };
        let head = self.head_backward(&mut tape.head, &input, dscores, &mut dy);
        let head = head.map_err(tensor_error)?;
        // The head's columns are in the order of the layers that it saw.
        let mut columns = config.output_dim();
        let mut sums = Sums {
            boundary: BoundaryGrads::zeros(&tape.boundary),
            relations: tape.relations.zeros_like().map_err(tensor_error)?,
            layers: Vec::new(),
        };
        for i in (0..layers).rev() {
            tape.states.truncate(i + 1);
            let (to, width) = (tape.rows.written(i), config.hidden_dims[i]);
            // Own rows come first. The gradients of copies went to the ranks that own the nodes.
            let dy_own = &mut dy[..to.len() * width];
            if let (Some(seen), true) = (&head.x, self.head_sees(i)) {
                columns -= width;
                let part = seen.narrow(2, columns, width).and_then(|p| p.contiguous());
                part.and_then(|part| scatter(dy_own, &part, to, tape.seen.candidates(), width))
                    .map_err(tensor_error)?;
            }
            let dx = self.one_layer_backward::<M, T>(i, tape, &degrees, dy_own, &mut sums);
            dy = dx.map_err(tensor_error)?;
            if let (Some(exchange), true) = (exchange, i > 0) {
                exchange.gradients(i, tape.rows.read(i), &mut dy, config.input_dim)?;
            }
        }
        sums.layers.reverse();
        // Copies of a seed's first state were made from the query on this rank, so their gradient
        // stays here too.
        let start = self.start_backward(tape, &dy, sums.boundary);
        let start = start.map_err(tensor_error)?;
        let query = (head.query + start.query).map_err(tensor_error)?;
        let nodes = node_grads(start.early, head.texts).map_err(tensor_error)?;
        Ok(NetworkGrads {
            layers: sums.layers,
            head: head.maps,
            relations: sums.relations,
            query,
            nodes,
        })
    }

    /// From the gradients `dx` of the states before the first layer and `dboundary` of the boundary
    /// states. The boundary is both.
    fn start_backward<T: Elem>(
        &self,
        tape: &TypedTape<T>,
        dx: &[T],
        mut dboundary: BoundaryGrads<T>,
    ) -> Result<StartGrads> {
        let boundary = &tape.boundary;
        let (rows, dim) = (tape.rows.read(0), boundary.rows.dims2()?.1);
        let starts = boundary_at(boundary, rows);
        let add = |to: &mut [T], k: usize, row: usize| {
            let to = to[k * dim..][..dim].iter_mut();
            to.zip(&dx[row * dim..][..dim]).for_each(|(o, g)| *o += *g);
        };
        for (row, k) in &starts {
            add(&mut dboundary.rows, *k as usize, *row as usize);
        }
        let drows = tensor(dboundary.rows, boundary.rows.shape())?;
        let (Some(mut dnodes), Some(nodes), Some(hidden)) =
            (dboundary.nodes, &tape.nodes, &tape.fused)
        else {
            return Ok(StartGrads {
                query: ops::boundary_backward(&drows, &tape.seeds)?,
                early: None,
            });
        };
        let mut starts = starts.into_iter().peekable();
        for v in 0..rows.nodes() {
            for row in rows.of(v) {
                if starts
                    .next_if(|(start, _)| *start as usize == row)
                    .is_none()
                {
                    add(&mut dnodes, v, row);
                }
            }
        }
        let dnodes = tensor(dnodes, (rows.nodes(), dim))?;
        let queries = (&tape.query, &tape.seeds, hidden);
        let grads = nodes.boundary_backward(self.params, queries, [&drows, &dnodes])?;
        Ok(StartGrads {
            query: grads.queries,
            early: Some((grads.states, grads.maps)),
        })
    }

    /// Backward of layer `i`, from the gradient `dy` of the states that it wrote. Returns the
    /// gradient of the states that it read, and adds the other gradients to `sums`.
    fn one_layer_backward<M: Message, T: Elem>(
        &self,
        i: usize,
        tape: &mut TypedTape<T>,
        degrees: &Degrees<T>,
        dy: &[T],
        sums: &mut Sums<T>,
    ) -> Result<Buffer<T>> {
        let (params, projection) = (self.layer(i), &tape.projections[i]);
        let saved = tape.saved.pop();
        let input = LayerInput {
            kind: self.params.config.layer_kind(),
            graph: self.graph,
            degrees,
            from: tape.rows.read(i),
            to: tape.rows.written(i),
            x: &tape.states[i],
            far: None,
            relations: &projection.relations,
            boundary: &tape.boundary,
        };
        let grads = input.backward::<M>(params, saved, dy, &mut sums.boundary)?;
        let maps = &params.projection;
        let projected = project_backward(&tape.relations, maps, projection, &grads.relations)?;
        sums.relations = (&sums.relations + projected.relations)?;
        sums.layers.push(LayerParams {
            linear: grads.linear,
            norm: grads.norm,
            projection: projected.params,
        });
        Ok(grads.x)
    }
}

/// Gradients of what the boundary is made of.
struct StartGrads {
    /// Of the query vectors, `[B, d]`.
    query: Tensor,
    /// Of the text states of nodes, `[N, d]`, and the maps of early fusion.
    early: Option<(Tensor, [Linear; 2])>,
}

/// Adds up the gradients of the text states.
fn node_grads(
    early: Option<(Tensor, [Linear; 2])>,
    head: Option<Tensor>,
) -> Result<Option<NodeGrads>> {
    let (states, early) = match (early, head) {
        (None, None) => return Ok(None),
        (Some((states, maps)), None) => (states, Some(maps)),
        (None, Some(head)) => (head, None),
        (Some((states, maps)), Some(head)) => ((states + head)?, Some(maps)),
    };
    Ok(Some(NodeGrads { states, early }))
}

/// Backward of gathering the states that the head sees; adds to `dy`. Several queries may have seen
/// the same state of the background.
fn scatter<T: Elem>(
    dy: &mut [T],
    dseen: &Tensor,
    rows: &Rows,
    candidates: Option<&[Vec<u32>]>,
    width: usize,
) -> Result<()> {
    let (b, n) = (rows.queries(), seen_width(rows, candidates));
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
