//! Training on the CPU: on whole graphs, where each rank computes its rows of a batch, or on graphs
//! that ranks divide.

mod cpu;
mod divided;
mod losses;

pub(crate) use self::cpu::Cpu;
pub(crate) use self::divided::DividedCpu;
