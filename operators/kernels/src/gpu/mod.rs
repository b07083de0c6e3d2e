//! The same kernels on a GPU: memory there, launches, and matrix products.
//!
//! A [`Gpu`] is a CUDA device (feature `cuda`: libraries are loaded when a device is opened, nothing is linked), or its emulation
//! (feature `gpu-emulation`: the kernels' sources compiled for the CPU, with a block's threads taking turns). Both run the
//! same launches with the same arguments, so that all but the driver's own calls is tested where there is no GPU.
//!
//! Work is queued in order on one stream; only [`Vector::read`] and [`Gpu::wait`] wait for it. No kernel adds atomically,
//! so equal work gives equal bits.

mod counting;
#[cfg(feature = "cuda")]
mod cuda;
mod driver;
#[cfg(feature = "gpu-emulation")]
mod emulated;
mod error;
pub mod extremes;
#[cfg(all(test, any(feature = "cuda", feature = "gpu-emulation")))]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod extremes_tests;
pub mod heads;
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
#[cfg(all(test, any(feature = "cuda", feature = "gpu-emulation")))]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests;

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use half::bf16;

use self::driver::{Driver, Launch};
pub use self::error::Error;
pub use self::ring::Ring;
use self::rows::CastFrom;
use crate::Real;

/// What lies in a device's memory.
pub trait Element: Copy + Default + Send + Sync + PartialEq + std::fmt::Debug + 'static {}

impl Element for f32 {}
impl Element for f64 {}
impl Element for bf16 {}
impl Element for u32 {}

/// Element types of states: how they lie in memory. What is computed with them, and all that is small, is [`State::Acc`].
pub trait State: Element + CastFrom<Self::Acc> {
    /// Sums, weights, gradients of weights.
    type Acc: State<Acc = Self::Acc> + Real + CastFrom<f64>;
    /// How kernels for it are called.
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

/// A device. Clones are the same one.
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
    /// Opens CUDA device `ordinal`; where only its emulation was built, that.
    ///
    /// # Errors
    /// When there is no such device, its driver or libraries cannot be used, or this build has neither.
    pub fn open(ordinal: usize) -> Result<Self, Error> {
        #[cfg(feature = "cuda")]
        return Ok(Gpu::with(Box::new(cuda::Cuda::open(ordinal)?)));
        #[cfg(all(feature = "gpu-emulation", not(feature = "cuda")))]
        return match ordinal {
            0 => Ok(Gpu::emulated()),
            _ => Err(Error::NoDevice { ordinal, count: 1 }),
        };
        #[cfg(not(any(feature = "cuda", feature = "gpu-emulation")))]
        Err(Error::NotBuilt { ordinal })
    }

    /// An emulated device.
    #[cfg(feature = "gpu-emulation")]
    pub fn emulated() -> Self {
        Gpu::with(Box::new(emulated::Emulated::default()))
    }

    /// A device without memory and kernels, which only counts what vectors would take: whatever runs
    /// on it computes nothing, and [`Gpu::used`] is what it takes on a real device. Reading a vector
    /// gives zeros.
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

    /// Its memory.
    ///
    /// # Errors
    /// When the device does not answer.
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

    /// Waits until all that was queued is done.
    ///
    /// # Errors
    /// When something of it failed.
    pub fn wait(&self) -> Result<(), Error> {
        self.shared.driver.wait()
    }

    /// The same device for whoever lets products of f32 round their factors to TF32 (10 bits of mantissa) and use tensor cores: those into
    /// vectors that are made with this.
    #[must_use]
    pub fn with_tf32(&self, tf32: bool) -> Self {
        Gpu {
            tf32,
            ..self.clone()
        }
    }

    /// A vector with whatever was in its memory.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn dirty<E: Element>(&self, len: usize) -> Result<Vector<E>, Error> {
        let bytes = len * size_of::<E>();
        let at = match bytes {
            0 => 0,
            _ => self.shared.driver.allocate(bytes)?,
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
    /// When there is not enough memory.
    pub fn zeros<E: Element>(&self, len: usize) -> Result<Vector<E>, Error> {
        let out = self.dirty(len)?;
        out.view().fill_bytes(0)?;
        Ok(out)
    }

    /// A copy of these values.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn vector<E: Element>(&self, values: &[E]) -> Result<Vector<E>, Error> {
        let out = self.dirty(values.len())?;
        out.view().write(values)?;
        Ok(out)
    }

    fn launch<A: Copy>(
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
            size: size_of::<A>(),
        })
    }
}

impl Gpu {
    /// Launches a kernel over rows, for each of which `columns` threads have something to do.
    fn launch_rows<A: Copy>(
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

/// Values in a device's memory.
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

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it lies.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// All of it.
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
    /// When there are fewer.
    pub fn part(&self, from: usize, len: usize) -> View<'_, E> {
        self.view().part(from, len)
    }

    /// Its values, after all that was queued before.
    ///
    /// # Errors
    /// When something of it failed.
    pub fn read(&self) -> Result<Vec<E>, Error> {
        self.view().read()
    }
}

/// Part of a vector. It may be written through: the memory is the device's, and work on it is done in order.
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

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where it lies.
    pub fn gpu(&self) -> &'a Gpu {
        self.gpu
    }

    /// See [`Vector::part`].
    ///
    /// # Panics
    /// When there are fewer values.
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
        if self.len > 0 {
            // SAFETY: `out` is that long, and every bit pattern is a value of an `Element`.
            let bytes = unsafe {
                std::slice::from_raw_parts_mut(
                    out.as_mut_ptr().cast::<u8>(),
                    size_of_val(out.as_slice()),
                )
            };
            self.gpu.shared.driver.download(bytes, self.at)?;
        }
        Ok(out)
    }

    /// Replaces its values.
    ///
    /// # Errors
    /// When the device does not take them.
    ///
    /// # Panics
    /// When there are more or fewer.
    pub fn write(&self, values: &[E]) -> Result<(), Error> {
        assert_eq!(self.len, values.len(), "values");
        if values.is_empty() {
            return Ok(());
        }
        // SAFETY: values of an `Element` have no padding.
        let bytes = unsafe {
            std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values))
        };
        self.gpu.shared.driver.upload(self.at, bytes)
    }

    /// Copies the values of another view.
    ///
    /// # Errors
    /// When the device does not do it.
    ///
    /// # Panics
    /// When lengths differ.
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
    /// When the device does not do it.
    pub fn fill_bytes(&self, byte: u8) -> Result<(), Error> {
        match self.len {
            0 => Ok(()),
            len => self
                .gpu
                .shared
                .driver
                .fill(self.at, byte, len * size_of::<E>()),
        }
    }
}

/// The address kernels get of an optional view.
fn address<E>(view: Option<View<'_, E>>) -> u64 {
    view.map_or(0, |v| v.at)
}

/// Threads of a block over single values, and blocks over that many; few enough that each has some work.
fn flat(count: usize) -> ([usize; 3], [u32; 3]) {
    ([count.div_ceil(256).min(1 << 14), 1, 1], [256, 1, 1])
}
