//! Training: one loop for both tasks, over any number of data sets.
//!
//! [`operator`] is what the operators `pretrain` and `finetune` call. It starts the loop in
//! `looping`. A [`Task`] defines how a batch becomes a loss and what validation measures. A
//! [`Loader`] keeps data sets in memory, `epoch_plan` decides their order, and `checkpoint` lets a
//! stopped run continue.

mod checkpoint;
mod epoch_plan;
pub(crate) mod estimate;
mod initial_weights;
mod loader;
mod looping;
pub(crate) mod memory;
mod meter;
pub(crate) mod operator;
mod outputs;
mod prefetch;
mod rank_sync;
pub(crate) mod remarks;
mod schedule;
pub mod settings;
mod speed;
mod survey;
mod task;

pub(crate) use initial_weights::{StartModel, start_problem};
pub use loader::{Load, Loader};
pub use looping::{History, LoopSettings, Outcome};
pub(crate) use outputs::output_ports;
pub use prefetch::prefetch;
pub use schedule::{Decay, Schedule};
pub use task::BestBy;
pub(crate) use task::{BatchSamples, Task};
