//! The part of a forward pass that is the same for all queries of one model on one graph: the
//! relation projections of each layer, and the state that each node has while no query has reached
//! it. With a known background, a query computes only the states that it reaches.

use candle_core::{Result, Tensor};

use super::network::Projection;
use crate::tensor::{Elem, View, view};

/// States and projections that do not depend on a query; see the module's documentation.
pub struct Background {
    /// The relation projection of each layer.
    pub(super) projections: Vec<Projection>,
    /// States before the first layer, `[N, d]`. `None` if they are zero and send no messages.
    pub(super) first: Option<Tensor>,
    /// States after each layer, `[N, out]`.
    pub(super) states: Vec<Tensor>,
    /// The head's first map applied to the last states and to the texts of nodes, `[N, f]`, if the
    /// head processes the rows of all nodes.
    pub(super) head: Option<Tensor>,
}

impl Background {
    /// States after each layer, `[N, out]`.
    pub fn states(&self) -> &[Tensor] {
        &self.states
    }

    /// States before layer `i`; with `i` the number of layers, those after the last.
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
