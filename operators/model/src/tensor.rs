//! Converts candle tensors to slices, and back.
//!
//! The values of the model are candle tensors, and the CPU kernels work on slices. Only this module
//! connects the two.

use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Result, Storage, Tensor, WithDType, bail};
use gfm_pipe_kernels::Real;

/// Buffers that are currently not in use.
pub struct Pool<T>(Mutex<Vec<Vec<T>>>);

impl<T> Pool<T> {
    /// An empty pool.
    pub const fn new() -> Self {
        Pool(Mutex::new(Vec::new()))
    }

    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut Vec<Vec<T>>) -> R) -> R {
        // The values of unused buffers do not matter, so a panic elsewhere cannot have broken them.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Pool::new()
    }
}

/// Element types that the model computes in.
pub trait Elem: Real + WithDType {
    /// The pool of unused buffers of this type.
    fn pool() -> &'static Pool<Self>;
}

impl Elem for f32 {
    fn pool() -> &'static Pool<f32> {
        static POOL: Pool<f32> = Pool::new();
        &POOL
    }
}

impl Elem for f64 {
    fn pool() -> &'static Pool<f64> {
        static POOL: Pool<f64> = Pool::new();
        &POOL
    }
}

/// Read access to a contiguous CPU tensor.
pub struct View<'a, T> {
    // Candle does not name the type of its lock's guard.
    storage: Box<dyn Deref<Target = Storage> + 'a>,
    start: usize,
    len: usize,
    marker: std::marker::PhantomData<T>,
}

impl<T: Elem> View<'_, T> {
    /// The elements, row-major.
    ///
    /// # Errors
    /// When the tensor has another element type or is not in CPU memory.
    pub fn slice(&self) -> Result<&[T]> {
        match &**self.storage {
            Storage::Cpu(s) => Ok(&T::cpu_storage_as_slice(s)?[self.start..self.start + self.len]),
            _ => bail!("expected a tensor on the CPU"),
        }
    }
}

/// Opens a tensor for reading.
///
/// # Errors
/// When it is not contiguous.
pub fn view<T: Elem>(t: &Tensor) -> Result<View<'_, T>> {
    let (storage, layout) = t.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("expected a contiguous tensor, found {:?}", layout)
    };
    Ok(View {
        storage: Box::new(storage),
        start,
        len: end - start,
        marker: std::marker::PhantomData,
    })
}

/// A CPU tensor of these elements.
///
/// # Errors
/// When the number of elements does not fit the shape.
pub fn tensor<T: Elem>(values: Vec<T>, shape: impl Into<candle_core::Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}

/// Runs `$body` with `$T` as the element type of `$dtype`.
macro_rules! by_dtype {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            other => candle_core::bail!("the model computes in f32 or f64, not in {other:?}"),
        }
    };
}
pub(crate) use by_dtype;

/// All elements as f64, whatever the type.
///
/// # Errors
/// When the tensor cannot be read.
pub fn to_f64(t: &Tensor) -> Result<Vec<f64>> {
    t.flatten_all()?.to_dtype(DType::F64)?.to_vec1()
}

/// All elements as f32, whatever the type.
///
/// # Errors
/// When the tensor cannot be read.
pub fn to_f32(t: &Tensor) -> Result<Vec<f32>> {
    t.flatten_all()?.to_dtype(DType::F32)?.to_vec1()
}
