//! What a device can do.

use std::ffi::c_void;

use super::layout::Layout;
use super::{Error, Memory};

/// The launch of a kernel.
#[cfg_attr(
    not(any(feature = "cuda", feature = "gpu-emulation")),
    allow(dead_code, reason = "a device that only counts memory does not launch")
)]
pub(super) struct Launch<'a> {
    pub name: &'a str,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Bytes of memory that the threads of a block share.
    pub shared: u32,
    /// The kernel's one argument.
    pub args: *const c_void,
    /// The struct that `args` points to.
    #[cfg_attr(
        not(feature = "gpu-emulation"),
        allow(dead_code, reason = "only the emulation compares it with the kernel's")
    )]
    pub layout: Layout,
}

/// Element type of a product's matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    F64,
    Bf16,
}

/// A row-major matrix in memory, or its transpose.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    not(any(feature = "cuda", feature = "gpu-emulation")),
    allow(
        dead_code,
        reason = "a device that only counts memory does not multiply"
    )
)]
pub(super) struct Place {
    pub at: u64,
    /// Distance between the starts of two rows, in values.
    pub stride: usize,
    pub transposed: bool,
}

/// `c = a b`, or `c += a b`: `m x k` times `k x n`. `a` and `b` have the same type. Types are all
/// f64, or any mixture of f32 and bf16.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    not(any(feature = "cuda", feature = "gpu-emulation")),
    allow(
        dead_code,
        reason = "a device that only counts memory does not multiply"
    )
)]
pub(super) struct Product {
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub a: Place,
    pub b: Place,
    pub factors: Kind,
    pub c: Place,
    pub result: Kind,
    pub add: bool,
    /// Whether factors in f32 may be rounded to TF32.
    #[cfg_attr(
        not(feature = "cuda"),
        allow(dead_code, reason = "the emulation never rounds")
    )]
    pub tf32: bool,
}

/// The driver of a device. Addresses are the device's. Callers make sure that every range lies in
/// memory that was allocated.
pub(super) trait Driver: Send + Sync {
    /// Name of the device, for people.
    fn name(&self) -> String;
    fn memory(&self) -> Result<Memory, Error>;
    /// Allocates memory, and returns its address, which is never 0.
    fn allocate(&self, bytes: usize) -> Result<u64, Error>;
    /// Frees memory once the work that was queued before is done.
    fn free(&self, at: u64, bytes: usize);
    /// Queues setting every byte.
    fn fill(&self, at: u64, byte: u8, bytes: usize) -> Result<(), Error>;
    /// Queues a copy to the device. `from` has been read when this returns.
    fn upload(&self, to: u64, from: &[u8]) -> Result<(), Error>;
    /// Waits for queued work, and copies from the device.
    fn download(&self, to: &mut [u8], from: u64) -> Result<(), Error>;
    /// Queues a copy within the device.
    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), Error>;
    /// Queues a kernel.
    fn launch(&self, launch: &Launch<'_>) -> Result<(), Error>;
    /// Queues a matrix product.
    fn product(&self, product: &Product) -> Result<(), Error>;
    /// Waits for queued work.
    fn wait(&self) -> Result<(), Error>;
    /// A name that no other device has.
    fn identity(&self) -> Result<String, Error>;
    /// A name for a new ring: devices that add up numbers together.
    fn ring_name(&self) -> Result<Vec<u8>, Error> {
        Err(Error::NoLibrary { name: "libnccl" })
    }
    /// Joins a ring, and waits for its other members.
    fn join(&self, _name: &[u8], _rank: usize, _size: usize) -> Result<(), Error> {
        Err(Error::NoLibrary { name: "libnccl" })
    }
    /// Queues the sum of `count` numbers over the ring, in place.
    fn add_up(&self, _at: u64, _count: usize, _kind: Kind) -> Result<(), Error> {
        Err(Error::NoLibrary { name: "libnccl" })
    }
}
