//! The sum of all ranks' gradients.

use std::any::Any;

use gfm_pipe_api::ranks::{Numbers, Shared, gather};
use gfm_pipe_api::{Context, OpResult};
use gfm_pipe_kernels::gpu::{Gpu, Ring, State, Vector};

use super::error::device_error;

/// How the gradients of a step are added up over ranks.
pub enum Sums {
    /// There is one rank.
    Alone,
    /// Through the host's memory: works everywhere, and for several ranks on one device.
    Host(Shared),
    /// By the devices, in order with all other work that is queued.
    Devices(Ring),
}

impl Sums {
    /// Chooses for the ranks of a stage: their devices if each has one of its own and NCCL, else
    /// the host. All ranks choose the same.
    ///
    /// # Errors
    /// If a rank is gone, or a device reports an error.
    pub fn of(ctx: &Context, gpu: &Gpu) -> OpResult<Self> {
        let ranks = &ctx.ranks;
        let size = ranks.size();
        if size == 1 {
            return Ok(Sums::Alone);
        }
        let name = gpu.ring_name();
        let mine = (gpu.identity().map_err(device_error)?, name.is_ok());
        let all: Vec<(String, bool)> = gather(&**ranks, &mine)?;
        let twice = (1..size).find(|i| all[..*i].iter().any(|(other, _)| *other == all[*i].0));
        let without = all.iter().position(|(_, nccl)| !nccl);
        let why = match (twice, without) {
            (None, None) => {
                let name = ranks.broadcast(0, name.unwrap_or_default())?;
                let ring = gpu.join(&name, ranks.rank(), size).map_err(device_error)?;
                ctx.info("gradients are added up by the devices (NCCL)");
                return Ok(Sums::Devices(ring));
            }
            (Some(rank), _) => format!("rank {rank} has no GPU of its own"),
            (_, Some(rank)) => format!("rank {rank} has no NCCL"),
        };
        ctx.info(format!("gradients are added up by the hosts: {why}"));
        Ok(Sums::Host(Shared::clone(ranks)))
    }

    /// Adds up, in place.
    pub(super) fn add_up<A: State>(&self, values: &Vector<A>) -> OpResult<()> {
        match self {
            Sums::Alone => Ok(()),
            Sums::Devices(ring) => ring.add_up(values.view()).map_err(device_error),
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
