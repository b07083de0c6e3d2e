//! The head and the layers over rows, backward: the gradients of what [`Network::forward`] computed.

use candle_core::{Result, Tensor};
use gfm_pipe_api::{OpError, OpResult};
use gfm_pipe_kernels::message::Message;
use gfm_pipe_kernels::rows::{NONE, Rows};

use super::forward::{Exchange, Seen, TypedTape, for_seen, seen_width};
use super::head::HeadInput;
use super::layer::{LayerInput, boundary_at};
use super::network::{Network, project_backward};
use super::params::LayerParams;
use crate::buffers::Buffer;
use crate::ops::{self, Degrees, Linear};
use crate::tensor::{Elem, tensor, view};
use crate::tensor_error;

/// Gradients of the entity model.
pub(super) struct NetworkGrads {
    pub layers: Vec<LayerParams>,
    pub head: Vec<Linear>,
    /// Of the relation states, `[2R, d]`.
    pub relations: Tensor,
    /// Of the query vectors, `[B, d]`.
    pub query: Tensor,
}

/// Gradients that layers add to, one after the other.
struct Sums<T> {
    /// Of the boundary's rows.
    boundary: Vec<T>,
    /// Of the relation states.
    relations: Tensor,
    layers: Vec<LayerParams>,
}

impl Network<'_> {
    /// All gradients from that of the scores, `[B, M]`. The tape's memory is used up.
    pub(super) fn backward<M: Message, T: Elem>(
        &self,
        tape: &mut TypedTape<T>,
        dscores: &Tensor,
        exchange: Option<&dyn Exchange<T>>,
    ) -> OpResult<NetworkGrads> {
        let config = &self.params.config;
        let layers = config.layers();
        if tape.states.len() != layers + 1 {
            return Err(OpError::new("a pass goes back once"));
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
            query: &tape.query,
        };
        let head = self.head_backward(&mut tape.head, &input, dscores, &mut dy);
        let head = head.map_err(tensor_error)?;
        // The head's columns belong to the layers it saw, the last one's last.
        let mut columns = config.output_dim();
        let mut sums = Sums {
            boundary: vec![T::zero(); tape.boundary.rows.elem_count()],
            relations: tape.relations.zeros_like().map_err(tensor_error)?,
            layers: Vec::new(),
        };
        for i in (0..layers).rev() {
            tape.states.truncate(i + 1);
            let (to, width) = (tape.rows.written(i), config.hidden_dims[i]);
            // Own rows come first; the gradients of others went to the ranks that have them.
            let dy_own = &mut dy[..to.len() * width];
            if let (Some(seen), true) = (&head.x, self.head_sees(i)) {
                columns -= width;
                let candidates = match &tape.seen {
                    Seen::ByRows | Seen::All => None,
                    Seen::Nodes(nodes) => Some(nodes.as_slice()),
                };
                let part = seen.narrow(2, columns, width).and_then(|p| p.contiguous());
                part.and_then(|part| scatter(dy_own, &part, to, candidates, width))
                    .map_err(tensor_error)?;
            }
            let dx = self.one_layer_backward::<M, T>(i, tape, &degrees, dy_own, &mut sums);
            dy = dx.map_err(tensor_error)?;
            if let (Some(exchange), true) = (exchange, i > 0) {
                exchange.gradients(i, tape.rows.read(i), &mut dy, config.input_dim)?;
            }
        }
        sums.layers.reverse();
        // The copies of a seed's state began with the query on this rank: their gradient stays here, too.
        let dstart = start_backward(tape, &dy, sums.boundary);
        let query = dstart.and_then(|dstart| head.query + dstart);
        Ok(NetworkGrads {
            layers: sums.layers,
            head: head.maps,
            relations: sums.relations,
            query: query.map_err(tensor_error)?,
        })
    }

    /// Layer `i` backward, from the gradient of the states that it wrote: returns that of the states it read, and adds the
    /// others to `sums`.
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

/// Backward of the boundary, which is also the states before the first layer: the gradient of the query vectors, from that
/// of these states and of the boundary's rows.
fn start_backward<T: Elem>(tape: &TypedTape<T>, dx: &[T], mut dboundary: Vec<T>) -> Result<Tensor> {
    let boundary = &tape.boundary;
    let dim = boundary.rows.dims2()?.1;
    for (row, k) in boundary_at(boundary, tape.rows.read(0)) {
        let g = &dx[row as usize * dim..][..dim];
        let to = &mut dboundary[k as usize * dim..][..dim];
        to.iter_mut().zip(g).for_each(|(o, g)| *o += *g);
    }
    let dboundary = tensor(dboundary, boundary.rows.shape())?;
    ops::boundary_backward(&dboundary, &tape.seeds)
}

/// Backward of gathering the states that the head sees, added to `dy`: a background's state may have been seen by many.
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
