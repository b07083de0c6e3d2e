//! Gradients that ranks add up.

use std::any::Any;

use gfm_pipe_api::OpResult;
use gfm_pipe_api::ranks::{Numbers, Shared};
use gfm_pipe_kernels::gpu::{State, Vector};

use super::device_error;

/// How the gradients of a step are added up over ranks.
pub enum Sums {
    /// There are no others.
    Alone,
    /// Through the host's memory: works wherever ranks do, also for several on one device.
    Host(Shared),
}

impl Sums {
    /// Those of some ranks.
    pub fn of(ranks: &Shared) -> Self {
        match ranks.size() {
            1 => Sums::Alone,
            _ => Sums::Host(Shared::clone(ranks)),
        }
    }

    /// Adds up, in place.
    pub(super) fn add_up<A: State>(&self, values: &Vector<A>) -> OpResult<()> {
        match self {
            Sums::Alone => Ok(()),
            Sums::Host(ranks) => {
                let mut host = values.read().map_err(device_error)?;
                let numbers: &mut dyn Any = &mut host;
                if let Some(x) = numbers.downcast_mut::<Vec<f32>>() {
                    ranks.all_reduce(Numbers::F32(x))?;
                } else if let Some(x) = numbers.downcast_mut::<Vec<f64>>() {
                    ranks.all_reduce(Numbers::F64(x))?;
                }
                values.view().write(&host).map_err(device_error)
            }
        }
    }
}
