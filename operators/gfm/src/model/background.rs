//! What no query changes, for one model on one graph: relations as each layer sees them, and the states of all nodes that no query
//! has reached. Computed once, it leaves to a query its frontier.

use candle_core::{Result, Tensor, bail};
use gfm_pipe_kernels::message::Message;

use super::network::{Network, Projection};
use super::reach::{Reach, zeros_are_silent};
use super::rowwise::Kept;
use crate::buffers::Buffer;
use crate::ops::{self, Boundary, First};
use crate::tensor::{Elem, View, by_dtype, tensor, view};

/// See the module.
pub struct Background {
    /// Of each layer, its view of the relations.
    pub(super) projections: Vec<Projection>,
    /// States before the first layer, `[N, d]`; `None` where they are zero and send nothing.
    first: Option<Tensor>,
    /// States after each layer, `[N, out]`.
    states: Vec<Tensor>,
    /// The head's first map of what it sees, `[N, f]`, where it goes over all nodes row by row.
    head: Option<Tensor>,
}

impl Background {
    /// States after each layer, `[N, out]`.
    pub fn states(&self) -> &[Tensor] {
        &self.states
    }

    /// States before layer `i`, or after the last.
    pub(super) fn before<T: Elem>(&self, i: usize) -> Result<Option<View<'_, T>>> {
        let states = match i.checked_sub(1) {
            None => self.first.as_ref(),
            Some(i) => self.states.get(i),
        };
        states.map(view).transpose()
    }

    /// See [`Background::head`].
    pub(super) fn of_head<T: Elem>(&self) -> Result<Option<View<'_, T>>> {
        self.head.as_ref().map(view).transpose()
    }
}

impl Network<'_> {
    /// The background of this model on this graph, from relation states `[2R, d]`; `known` are its
    /// states after each layer, where they were computed before. `None` for aggregates that have
    /// none. `told` is called with how many layers of how many are computed.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub(super) fn background(
        &self,
        relations: &Tensor,
        known: Option<Vec<Tensor>>,
        told: &dyn Fn(usize, usize),
    ) -> Result<Option<Background>> {
        if !self.has_rows() {
            return Ok(None);
        }
        let config = &self.params.config;
        let made = by_dtype!(relations.dtype(), T => ops::by_message!(config.message_func, M => {
            self.background_typed::<M, T>(relations, known, told)
        }))?;
        Ok(Some(made))
    }

    fn background_typed<M: Message, T: Elem>(
        &self,
        relations: &Tensor,
        known: Option<Vec<Tensor>>,
        told: &dyn Fn(usize, usize),
    ) -> Result<Background> {
        let config = &self.params.config;
        let (nodes, dim) = (self.graph.nodes(), config.input_dim);
        let layers = (0..config.layers()).map(|i| self.project(i, relations));
        let projections = layers.collect::<Result<Vec<_>>>()?;
        let silent = zeros_are_silent(config.message_func);
        let first = match silent {
            true => None,
            false => Some(tensor(vec![T::zero(); nodes * dim], (nodes, dim))?),
        };
        let states = match known {
            Some(known) => {
                let shapes = config.hidden_dims.iter().map(|out| vec![nodes, *out]);
                if !known.iter().map(|s| s.dims().to_vec()).eq(shapes) {
                    bail!("the background's states do not fit model and graph");
                }
                let all = known.into_iter().map(|s| s.to_dtype(relations.dtype()));
                all.collect::<Result<Vec<_>>>()?
            }
            None => self.background_states::<M, T>(&projections, silent, told)?,
        };
        let head = match states.last() {
            Some(last) if self.head_by_rows() => {
                let params = self.params.head()?;
                let nobody = tensor(Vec::<T>::new(), (0, dim))?;
                let f = params.first.0.dims2()?.0;
                let mut p = vec![T::zero(); nodes * f];
                let first = First::<T>::open(&params.first, &nobody)?;
                first.of_states(&mut p, view::<T>(last)?.slice()?, false)?;
                Some(tensor(p, (nodes, f))?)
            }
            _ => None,
        };
        Ok(Background {
            projections,
            first,
            states,
            head,
        })
    }

    /// The layers over one row a node, without a boundary.
    fn background_states<M: Message, T: Elem>(
        &self,
        projections: &[Projection],
        silent: bool,
        told: &dyn Fn(usize, usize),
    ) -> Result<Vec<Tensor>> {
        let config = &self.params.config;
        let (nodes, dim) = (self.graph.nodes(), config.input_dim);
        let counts = self.counts::<T>();
        let none = Boundary {
            rows: tensor(Vec::<T>::new(), (0, dim))?,
            nodes: Vec::new(),
        };
        let reach = Reach::background(nodes, projections.len(), silent);
        let mut x: Buffer<T> = Buffer::zeros(reach.rows[0].len() * dim);
        let mut out = Vec::new();
        for (i, projection) in projections.iter().enumerate() {
            told(i, projections.len());
            let width = config.hidden_dims[i];
            let mut scratch = Kept::dirty(nodes, dim, width);
            let y = self.run_layer::<M, T>(
                i,
                (projection, &none),
                (&reach.rows[i], &reach.rows[i + 1]),
                (&x, None, counts.as_deref()),
                &mut scratch,
            )?;
            out.push(tensor(y.to_vec(), (nodes, width))?);
            x = y;
        }
        told(projections.len(), projections.len());
        Ok(out)
    }
}
