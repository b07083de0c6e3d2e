//! Training: one loop for both tasks, over any number of data sets, and what belongs to it.
//!
//! `looping` drives; a [`Task`] says how a batch becomes a loss and what is measured; [`Loader`] keeps data sets in memory;
//! `visits` says which one comes when; `checkpoint` makes a killed run go on.

mod ahead;
mod checkpoint;
pub(crate) mod foresee;
pub mod keys;
mod loader;
mod looping;
pub(crate) mod memory;
mod meter;
mod outputs;
mod schedule;
pub mod settings;
mod speed;
mod start;
mod task;
mod together;
mod visits;

pub use ahead::ahead;
pub use loader::{Load, Loader};
pub(crate) use looping::run as run_loop;
pub use looping::{History, LoopSettings, Outcome};
pub(crate) use outputs::{output_ports, write_outcome};
pub use schedule::{Decay, Schedule};
pub(crate) use start::{Start, start_problem, start_weights};
pub use task::BestBy;
pub(crate) use task::{Batched, Task};
