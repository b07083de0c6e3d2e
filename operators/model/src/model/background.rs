//! What no query changes, for one model on one graph: relations as each layer sees them, and the states of all nodes that
//! no query has reached. Once it is known, a query only computes the states that it reaches.

use candle_core::{Result, Tensor};

use super::network::Projection;
use crate::tensor::{Elem, View, view};

/// See the module.
pub struct Background {
    /// Each layer's view of the relations.
    pub(super) projections: Vec<Projection>,
    /// States before the first layer, `[N, d]`; `None` where they are zero and send nothing.
    pub(super) first: Option<Tensor>,
    /// States after each layer, `[N, out]`.
    pub(super) states: Vec<Tensor>,
    /// The head's first map of what it sees, `[N, f]`, where it goes over all nodes row by row.
    pub(super) head: Option<Tensor>,
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

    /// The head's first map of the states, where it goes over all nodes row by row.
    pub(super) fn of_head<T: Elem>(&self) -> Result<Option<View<'_, T>>> {
        self.head.as_ref().map(view).transpose()
    }
}
