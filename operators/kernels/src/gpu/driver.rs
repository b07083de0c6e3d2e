//! What a device can do.

#![cfg_attr(
    not(any(feature = "cuda", feature = "gpu-emulation")),
    allow(dead_code, reason = "a build without devices has nobody who reads it")
)]

use std::ffi::c_void;

use super::{Error, Memory};

/// A kernel's launch.
pub(super) struct Launch<'a> {
    pub name: &'a str,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Bytes of memory a block's threads share.
    pub shared: u32,
    /// The kernel's one argument.
    pub args: *const c_void,
    /// Its size. The driver knows it from the kernel.
    #[cfg_attr(
        not(feature = "gpu-emulation"),
        allow(dead_code, reason = "only the emulation compares it")
    )]
    pub size: usize,
}

/// Element type of a product's matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    F64,
    Bf16,
}

/// A row-major matrix, or its transpose.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub at: u64,
    /// Distance of rows, in values.
    pub stride: usize,
    pub transposed: bool,
}

/// `c = a b`, or `c += a b`: `m x k` times `k x n`. f64 with f64; else f32 and bf16 in any mixture that has a and b of one type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    pub sizes: (usize, usize, usize),
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

/// A device's driver. Addresses are the device's; callers hold that ranges lie in what was allocated.
pub(super) trait Driver: Send + Sync {
    fn name(&self) -> String;
    fn memory(&self) -> Result<Memory, Error>;
    fn allocate(&self, bytes: usize) -> Result<u64, Error>;
    fn free(&self, at: u64, bytes: usize);
    fn fill(&self, at: u64, byte: u8, bytes: usize) -> Result<(), Error>;
    fn upload(&self, to: u64, from: &[u8]) -> Result<(), Error>;
    fn download(&self, to: &mut [u8], from: u64) -> Result<(), Error>;
    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), Error>;
    fn launch(&self, launch: &Launch<'_>) -> Result<(), Error>;
    fn product(&self, product: &Product) -> Result<(), Error>;
    fn wait(&self) -> Result<(), Error>;
    /// A name that no other device has.
    fn identity(&self) -> Result<String, Error>;
    /// A name for devices that add up numbers together.
    fn ring_name(&self) -> Result<Vec<u8>, Error> {
        Err(Error::NoLibrary { name: "libnccl" })
    }
    /// Joins them; waits for all others.
    fn join(&self, _name: &[u8], _rank: usize, _size: usize) -> Result<(), Error> {
        Err(Error::NoLibrary { name: "libnccl" })
    }
    /// Queues the sum of `count` numbers of all that joined, in place.
    fn add_up(&self, _at: u64, _count: usize, _kind: Kind) -> Result<(), Error> {
        Err(Error::NoLibrary { name: "libnccl" })
    }
}
