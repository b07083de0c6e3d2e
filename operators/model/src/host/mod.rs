//! Training on the CPU: whole graphs, each rank on its rows of a batch, or graphs that ranks divide.

mod cpu;
mod divided;
mod losses;

pub(crate) use self::cpu::Cpu;
pub(crate) use self::divided::DividedCpu;
