//! The kernels on a GPU: its memory, launches, and matrix products.
//!
//! A [`Gpu`] is a CUDA device (feature `cuda`; libraries are loaded when a device is opened), its
//! emulation (feature `gpu-emulation`: the kernels' sources compiled for the CPU), or a device that
//! only counts memory ([`Gpu::counting`]). All of them get the same launches with the same
//! arguments, so everything but the CUDA driver's own calls is tested without a GPU.
//!
//! Work is queued in order on one stream. Only [`Vector::read`], [`View::read`] and [`Gpu::wait`]
//! wait for it. No kernel adds atomically, so the same work gives the same bits.

mod counting;
#[cfg(feature = "cuda")]
mod cuda;
mod device_rows;
mod driver;
mod edges;
#[cfg(feature = "gpu-emulation")]
mod emulated;
mod error;
pub mod extremes;
#[cfg(all(test, any(feature = "cuda", feature = "gpu-emulation")))]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod extremes_tests;
pub mod heads;
mod layout;
#[cfg(feature = "cuda")]
mod libraries;
pub mod losses;
pub mod messages;
#[cfg(feature = "nccl")]
mod nccl;
pub mod norms;
pub mod optimizer;
pub mod products;
mod ring;
pub mod rows;
pub mod scales;
mod sums;
#[cfg(all(test, any(feature = "cuda", feature = "gpu-emulation")))]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests;

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytemuck::Pod;
use half::bf16;

use self::driver::{Driver, Launch};
pub use self::error::Error;
use self::layout::Arguments;
pub use self::layout::kernels_header;
pub use self::ring::Ring;
use self::rows::CastFrom;
use crate::Real;

/// Element types of vectors in a device's memory.
pub trait Element: Pod + Default + Send + Sync + PartialEq + std::fmt::Debug {}

impl Element for f32 {}
impl Element for f64 {}
impl Element for bf16 {}
impl Element for u32 {}

/// Element types of states, as they lie in memory. Computations, and vectors that are small, use
/// [`State::Acc`].
pub trait State: Element + CastFrom<Self::Acc> {
    /// The type of sums, weights and gradients of weights.
    type Acc: State<Acc = Self::Acc> + Real + CastFrom<f64>;
    /// The suffix of the names of its kernels.
    const TAG: &'static str;
}

impl State for f32 {
    type Acc = f32;
    const TAG: &'static str = "f32";
}

impl State for f64 {
    type Acc = f64;
    const TAG: &'static str = "f64";
}

impl State for bf16 {
    type Acc = f32;
    const TAG: &'static str = "bf16";
}

/// A device. Clones share it.
#[derive(Clone)]
pub struct Gpu {
    shared: Arc<Shared>,
    /// See [`Gpu::with_tf32`].
    tf32: bool,
}

struct Shared {
    driver: Box<dyn Driver>,
    used: AtomicUsize,
    peak: AtomicUsize,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({})", self.name())
    }
}

/// Memory of a device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Memory that no process uses.
    pub free: usize,
    /// All memory.
    pub total: usize,
}

/// Memory that the vectors of one [`Gpu`] use, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// At the moment.
    pub now: usize,
    /// The most since [`Gpu::forget_peak`], or since the device was opened.
    pub peak: usize,
}

impl Gpu {
    /// Opens CUDA device `ordinal`, or the emulation if this build has only that.
    ///
    /// # Errors
    /// If there is no such device, its driver or libraries cannot be used, or this build has
    /// neither.
    pub fn open(ordinal: usize) -> Result<Self, Error> {
        #[cfg(feature = "cuda")]
        return Ok(Gpu::with(Box::new(cuda::Cuda::open(ordinal)?)));
        #[cfg(all(feature = "gpu-emulation", not(feature = "cuda")))]
        return if ordinal == 0 {
            Ok(Gpu::emulated())
        } else {
            Err(Error::NoDevice { ordinal, count: 1 })
        };
        #[cfg(not(any(feature = "cuda", feature = "gpu-emulation")))]
        Err(Error::NotBuilt { ordinal })
    }

    /// An emulated device.
    #[cfg(feature = "gpu-emulation")]
    pub fn emulated() -> Self {
        Gpu::with(Box::new(emulated::Emulated::default()))
    }

    /// A device without memory and kernels that counts what vectors would take. Work on it computes
    /// nothing, [`Gpu::used`] is what the work would take on a real device, and vectors read as
    /// zeros.
    pub fn counting() -> Self {
        Gpu::with(Box::new(counting::Counting::default()))
    }

    fn with(driver: Box<dyn Driver>) -> Self {
        let shared = Shared {
            driver,
            used: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        };
        Gpu {
            shared: Arc::new(shared),
            tf32: false,
        }
    }

    /// The device's name.
    pub fn name(&self) -> String {
        self.shared.driver.name()
    }

    /// The memory of the device, as used by all processes.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn memory(&self) -> Result<Memory, Error> {
        self.shared.driver.memory()
    }

    /// Memory that vectors use.
    pub fn used(&self) -> Used {
        Used {
            now: self.shared.used.load(Ordering::Relaxed),
            peak: self.shared.peak.load(Ordering::Relaxed),
        }
    }

    /// Starts to measure [`Used::peak`] again.
    pub fn forget_peak(&self) {
        let now = self.shared.used.load(Ordering::Relaxed);
        self.shared.peak.store(now, Ordering::Relaxed);
    }

    /// Waits until all queued work is done.
    ///
    /// # Errors
    /// If some of it failed.
    pub fn wait(&self) -> Result<(), Error> {
        self.shared.driver.wait()
    }

    /// The same device with another setting for products of f32 into vectors that are made with the
    /// returned handle: whether they may round their factors to TF32 (10 bits of mantissa) to use
    /// tensor cores.
    #[must_use]
    pub fn with_tf32(&self, tf32: bool) -> Self {
        Gpu {
            tf32,
            ..self.clone()
        }
    }

    /// A vector whose values are not set: they are what its memory held before.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn dirty<E: Element>(&self, len: usize) -> Result<Vector<E>, Error> {
        let bytes = len * size_of::<E>();
        let at = if bytes == 0 {
            0
        } else {
            self.shared.driver.allocate(bytes)?
        };
        let now = self.shared.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.shared.peak.fetch_max(now, Ordering::Relaxed);
        Ok(Vector {
            gpu: self.clone(),
            at,
            len,
            marker: PhantomData,
        })
    }

    /// A vector of zeros.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn zeros<E: Element>(&self, len: usize) -> Result<Vector<E>, Error> {
        let out = self.dirty(len)?;
        out.view().fill_bytes(0)?;
        Ok(out)
    }

    /// A copy of these values.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn vector<E: Element>(&self, values: &[E]) -> Result<Vector<E>, Error> {
        let out = self.dirty(values.len())?;
        out.view().write(values)?;
        Ok(out)
    }

    /// Queues a kernel; nothing if the grid is empty. `shared` is the number of bytes that the
    /// threads of a block share.
    fn launch<A: Arguments>(
        &self,
        name: &str,
        grid: [usize; 3],
        block: [u32; 3],
        shared: usize,
        args: &A,
    ) -> Result<(), Error> {
        if grid.contains(&0) {
            return Ok(());
        }
        self.shared.driver.launch(&Launch {
            name,
            grid: grid.map(|x| x as u32),
            block,
            shared: shared as u32,
            args: std::ptr::from_ref(args).cast(),
            layout: A::LAYOUT,
        })
    }

    /// Queues a kernel over rows, each with work for `columns` threads.
    fn launch_rows<A: Arguments>(
        &self,
        name: &str,
        rows: usize,
        columns: usize,
        args: &A,
    ) -> Result<(), Error> {
        let x = columns.next_power_of_two().clamp(1, 128);
        let y = 128 / x;
        let block = [x as u32, y as u32, 1];
        self.launch(name, [rows.div_ceil(y), 1, 1], block, 0, args)
    }
}

/// Values in a device's memory, which is freed with them.
pub struct Vector<E> {
    gpu: Gpu,
    at: u64,
    len: usize,
    marker: PhantomData<E>,
}

impl<E> Drop for Vector<E> {
    fn drop(&mut self) {
        let bytes = self.len * size_of::<E>();
        if bytes > 0 {
            self.gpu.shared.used.fetch_sub(bytes, Ordering::Relaxed);
            self.gpu.shared.driver.free(self.at, bytes);
        }
    }
}

impl<E> std::fmt::Debug for Vector<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vector({} on {:?})", self.len, self.gpu)
    }
}

impl<E: Element> Vector<E> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The device whose memory it lies in.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// All of its values.
    pub fn view(&self) -> View<'_, E> {
        View {
            gpu: &self.gpu,
            at: self.at,
            len: self.len,
            marker: PhantomData,
        }
    }

    /// Values `from..from + len`.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn part(&self, from: usize, len: usize) -> View<'_, E> {
        self.view().part(from, len)
    }

    /// Waits until all work that was queued before is done, and copies the values to the host.
    ///
    /// # Errors
    /// If some of the work failed.
    pub fn read(&self) -> Result<Vec<E>, Error> {
        self.view().read()
    }
}

/// Part of a vector. It can be written through: the memory is the device's, where work is done in
/// order.
#[derive(Clone, Copy)]
pub struct View<'a, E> {
    gpu: &'a Gpu,
    at: u64,
    len: usize,
    marker: PhantomData<&'a E>,
}

impl<'a, E: Element> View<'a, E> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The device whose memory it lies in.
    pub fn gpu(&self) -> &'a Gpu {
        self.gpu
    }

    /// See [`Vector::part`].
    ///
    /// # Panics
    /// If there are fewer values.
    #[must_use]
    pub fn part(&self, from: usize, len: usize) -> View<'a, E> {
        assert!(from + len <= self.len, "{from} + {len} of {}", self.len);
        View {
            at: self.at + (from * size_of::<E>()) as u64,
            len,
            ..*self
        }
    }

    /// See [`Vector::read`].
    ///
    /// # Errors
    /// See [`Vector::read`].
    pub fn read(&self) -> Result<Vec<E>, Error> {
        let mut out = vec![E::default(); self.len];
        if !out.is_empty() {
            let bytes = bytemuck::cast_slice_mut(&mut out);
            self.gpu.shared.driver.download(bytes, self.at)?;
        }
        Ok(out)
    }

    /// Replaces its values. They have been read when this returns.
    ///
    /// # Errors
    /// If the device reports one.
    ///
    /// # Panics
    /// If there are more or fewer values.
    pub fn write(&self, values: &[E]) -> Result<(), Error> {
        assert_eq!(self.len, values.len(), "values");
        if values.is_empty() {
            return Ok(());
        }
        let bytes = bytemuck::cast_slice(values);
        self.gpu.shared.driver.upload(self.at, bytes)
    }

    /// Copies the values of another view.
    ///
    /// # Errors
    /// If the device reports one.
    ///
    /// # Panics
    /// If lengths differ.
    pub fn copy(&self, from: View<'_, E>) -> Result<(), Error> {
        assert_eq!(self.len, from.len, "values");
        if self.len == 0 {
            return Ok(());
        }
        let bytes = self.len * size_of::<E>();
        self.gpu.shared.driver.copy(self.at, from.at, bytes)
    }

    /// Sets every byte.
    ///
    /// # Errors
    /// If the device reports one.
    pub fn fill_bytes(&self, byte: u8) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        let bytes = self.len * size_of::<E>();
        self.gpu.shared.driver.fill(self.at, byte, bytes)
    }
}

/// The address of an optional view, as kernels take it: 0 if it is missing.
fn address<E>(view: Option<View<'_, E>>) -> u64 {
    view.map_or(0, |v| v.at)
}

/// Grid and block of a kernel over single values. There are few enough threads for each to have
/// work.
fn flat(count: usize) -> ([usize; 3], [u32; 3]) {
    ([count.div_ceil(256).min(1 << 14), 1, 1], [256, 1, 1])
}
