//! Ranks as processes: how they are started, find each other, and detect that one of them is gone.
//!
//! MPI, started by `mpirun` or `srun`, transfers the numbers ([`launch`], [`mpi`]). It reports
//! little about failures: a rank whose link is cut can hang inside MPI for ever. So, besides MPI,
//! every rank has one TCP connection to rank 0 ([`control`]), which carries heartbeats, orders to
//! compute a stage, and reports of how that ended. All calls of MPI are made on a separate thread
//! ([`abortable`]); the caller that waits for one watches the heartbeats meanwhile, and gives up
//! within seconds. [`Team`] combines the two.
//!
//! Invariant: rank 0 decides. The others compute only what it orders, in the same sequence.

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

/// Connects to the other processes that were started together with this one, over MPI.
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
