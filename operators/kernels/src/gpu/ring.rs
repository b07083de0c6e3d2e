//! Rings: devices of several processes that add up numbers together.

use super::products::kind;
use super::{Error, Gpu, State, View};

/// A device's membership in a ring. All members must call the same functions in the same order.
pub struct Ring {
    gpu: Gpu,
}

impl Gpu {
    /// A name that no other device has.
    ///
    /// # Errors
    /// If the driver reports one.
    pub fn identity(&self) -> Result<String, Error> {
        self.shared.driver.identity()
    }

    /// A name for a new ring, which all its members need to join it.
    ///
    /// # Errors
    /// If there is no NCCL.
    pub fn ring_name(&self) -> Result<Vec<u8>, Error> {
        self.shared.driver.ring_name()
    }

    /// Joins a ring of `size` different devices as number `rank`, and waits for all others. A
    /// device is in one ring at a time.
    ///
    /// # Errors
    /// If there is no NCCL, or it reports one.
    pub fn join(&self, name: &[u8], rank: usize, size: usize) -> Result<Ring, Error> {
        self.shared.driver.join(name, rank, size)?;
        Ok(Ring { gpu: self.clone() })
    }
}

impl Ring {
    /// Queues the sum of all members' numbers, in place.
    ///
    /// # Errors
    /// If NCCL reports one.
    pub fn add_up<E: State>(&self, values: View<'_, E>) -> Result<(), Error> {
        let driver = &self.gpu.shared.driver;
        driver.add_up(values.at, values.len(), kind::<E>())
    }
}
