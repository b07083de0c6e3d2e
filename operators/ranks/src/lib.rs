//! Ranks as processes: how they are started, find each other, and notice that one of them is gone.
//!
//! An existing engine carries the numbers: MPI, started by `mpirun` or `srun` ([`launch`],
//! [`mpi`]). It says little about failures: a rank whose link is cut can hang inside it for good.
//! So every rank has one TCP connection to rank 0 beside it ([`control`]): heartbeats, the order to
//! compute a stage, and how that ended. All calls of MPI are made on a thread of their own
//! ([`abortable`]); the caller that waits for one watches the heartbeats meanwhile, and gives up
//! within seconds. [`Team`] is the two together.
//!
//! Invariant: rank 0 decides. The others compute what it orders, in its order,
//! and nothing else.

mod abortable;
pub mod control;
pub mod launch;
#[cfg(feature = "mpi")]
pub mod mpi;
mod team;
#[cfg(test)]
mod tests;

use gfm_pipe_api::OpResult;

pub use control::{Claim, Member, Settings};
pub use launch::Launch;
pub use team::{Order, Session, Team};

/// Meets the processes that were started with this one, over MPI.
///
/// # Errors
/// See [`Team::meet`]; and in a build without MPI.
pub fn meet(launch: Launch, claims: Vec<Claim>, settings: Settings) -> OpResult<Team> {
    launch.check()?;
    #[cfg(feature = "mpi")]
    return Team::meet(
        move || Ok(Box::new(mpi::Mpi::start(launch)?)),
        claims,
        settings,
    );
    #[cfg(not(feature = "mpi"))]
    {
        let _ = (claims, settings);
        Err(gfm_pipe_api::OpError::new(
            "this gfm-pipe was built without MPI",
        ))
    }
}
