//! A device that only counts memory: addresses are handed out, and nothing is stored or computed.

use std::sync::atomic::{AtomicU64, Ordering};

use super::driver::{Driver, Launch, Product};
use super::{Error, Memory};

/// Addresses start at multiples of this, as CUDA's do.
const ALIGNED: u64 = 256;

/// See the module.
pub(super) struct Counting {
    next: AtomicU64,
}

impl Default for Counting {
    fn default() -> Self {
        // 0 is the address of nothing.
        Counting {
            next: AtomicU64::new(ALIGNED),
        }
    }
}

impl Driver for Counting {
    fn name(&self) -> String {
        "a device that counts memory".to_owned()
    }

    fn identity(&self) -> Result<String, Error> {
        Ok(format!("counted by process {}", std::process::id()))
    }

    fn memory(&self) -> Result<Memory, Error> {
        let total = usize::MAX;
        Ok(Memory { free: total, total })
    }

    fn allocate(&self, bytes: usize) -> Result<u64, Error> {
        let bytes = (bytes as u64).next_multiple_of(ALIGNED);
        Ok(self.next.fetch_add(bytes, Ordering::Relaxed))
    }

    fn free(&self, _: u64, _: usize) {}

    fn fill(&self, _: u64, _: u8, _: usize) -> Result<(), Error> {
        Ok(())
    }

    fn upload(&self, _: u64, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    fn download(&self, to: &mut [u8], _: u64) -> Result<(), Error> {
        to.fill(0);
        Ok(())
    }

    fn copy(&self, _: u64, _: u64, _: usize) -> Result<(), Error> {
        Ok(())
    }

    fn launch(&self, _: &Launch<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn product(&self, _: &Product) -> Result<(), Error> {
        Ok(())
    }

    fn wait(&self) -> Result<(), Error> {
        Ok(())
    }
}
