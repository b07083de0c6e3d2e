//! A CUDA device, through the driver's interface and cuBLAS. Both are loaded when the first device
//! is opened.

use std::collections::HashMap;
use std::ffi::{CString, c_int, c_void};
use std::sync::{Mutex, PoisonError};

use cudarc::cublas::result as blas;
use cudarc::cublas::sys::{self as blas_sys, cublasComputeType_t, cublasOperation_t, cudaDataType};
use cudarc::driver::result::{self as cu, DriverError};
use cudarc::driver::sys::{self, CUresult};

use super::driver::{Driver, Kind, Launch, Place, Product};
use super::{Error, Memory, libraries};

/// Aligned so that the driver may read words.
#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

/// The kernels, for several generations of devices.
static KERNELS: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin")));
/// The version of the toolkit that compiled them, as major * 1000 + minor * 10.
const TOOLKIT: &str = env!("GFM_CUDA_VERSION");
/// The oldest compute capability among them.
const OLDEST: i32 = 80;

/// See the module.
pub(super) struct Cuda {
    context: sys::CUcontext,
    stream: sys::CUstream,
    module: sys::CUmodule,
    blas: blas_sys::cublasHandle_t,
    functions: Mutex<HashMap<String, Function>>,
    name: String,
    device: sys::CUdevice,
    #[cfg(feature = "nccl")]
    joined: Mutex<Option<super::nccl::Communicator>>,
}

#[derive(Clone, Copy)]
struct Function(sys::CUfunction);

// SAFETY: CUDA's handles may be used from any thread whose current context is the device's, which
// every method makes sure of. cuBLAS's handle is only used while the lock on `functions` is held.
unsafe impl Send for Cuda {}
// SAFETY: as above.
unsafe impl Sync for Cuda {}
// SAFETY: as above.
unsafe impl Send for Function {}

fn failed(what: impl Into<String>, why: impl std::fmt::Debug) -> Error {
    Error::Failed {
        what: what.into(),
        why: format!("{why:?}"),
    }
}

fn check(what: &str) -> impl Fn(DriverError) -> Error {
    move |e| failed(what, e)
}

impl Cuda {
    pub fn open(ordinal: usize) -> Result<Self, Error> {
        if !libraries::driver() {
            return Err(Error::NoDriver);
        }
        if !libraries::cublas() {
            return Err(Error::NoLibrary { name: "libcublas" });
        }
        #[cfg(feature = "cuda-linked")]
        if !libraries::curand() {
            return Err(Error::NoLibrary { name: "libcurand" });
        }
        let mut has: c_int = 0;
        // SAFETY: the call writes one number, to `has`.
        unsafe { sys::cuDriverGetVersion(&raw mut has) }
            .result()
            .map_err(check("asking for the driver's version"))?;
        let needs: c_int = TOOLKIT.parse().unwrap_or(0);
        // Within a major version older drivers run what newer toolkits compiled.
        if has / 1000 < needs / 1000 {
            return Err(Error::OldDriver { has, needs });
        }
        match cu::init() {
            Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)) => {
                return Err(Error::NoDevice { ordinal, count: 0 });
            }
            other => other.map_err(check("starting CUDA"))?,
        }
        let count = cu::device::get_count().map_err(check("counting devices"))? as usize;
        if ordinal >= count {
            return Err(Error::NoDevice { ordinal, count });
        }
        let device = cu::device::get(ordinal as c_int).map_err(check("finding the device"))?;
        let name = cu::device::get_name(device).map_err(check("asking for the device's name"))?;
        let capability = |which| {
            // SAFETY: the driver returned the device.
            unsafe { cu::device::get_attribute(device, which) }
                .map_err(check("asking for the compute capability"))
        };
        use sys::CUdevice_attribute_enum as Attribute;
        let has = 10 * capability(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?
            + capability(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        if has < OLDEST {
            return Err(Error::OldDevice { name, has });
        }
        // SAFETY: the driver returned the device, the context is the device's, and the image is a
        // fat binary made by nvcc that lives as long as the program. Handles are used only after
        // they were made.
        unsafe {
            let context = cu::primary_ctx::retain(device).map_err(check("making a context"))?;
            cu::ctx::set_current(context).map_err(check("making the context current"))?;
            let stream = cu::stream::create(cu::stream::StreamKind::NonBlocking)
                .map_err(check("making a stream"))?;
            keep_memory(device)?;
            let module = cu::module::load_data(KERNELS.0.as_ptr().cast())
                .map_err(check("loading the kernels"))?;
            let blas = blas::create_handle().map_err(|e| failed("starting cuBLAS", e))?;
            blas::set_stream(blas, stream.cast()).map_err(|e| failed("starting cuBLAS", e))?;
            Ok(Cuda {
                context,
                stream,
                module,
                blas,
                functions: Mutex::new(HashMap::new()),
                name,
                device,
                #[cfg(feature = "nccl")]
                joined: Mutex::new(None),
            })
        }
    }

    fn enter(&self) -> Result<(), Error> {
        // SAFETY: the context lives as long as `self`.
        unsafe { cu::ctx::set_current(self.context) }.map_err(check("making the context current"))
    }

    fn function(&self, name: &str) -> Result<sys::CUfunction, Error> {
        let mut known = self
            .functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(f) = known.get(name) {
            return Ok(f.0);
        }
        let missing = |why: &dyn std::fmt::Debug| failed(format!("finding kernel `{name}`"), why);
        let text = CString::new(name).map_err(|e| missing(&e))?;
        // SAFETY: the module stays loaded as long as `self` lives.
        let f = unsafe { cu::module::get_function(self.module, text) }.map_err(|e| missing(&e))?;
        known.insert(name.to_owned(), Function(f));
        Ok(f)
    }
}

/// Lets the process keep memory that is freed, because the next step allocates the same.
///
/// # Safety
/// The driver must have returned the device, and its context must be current.
unsafe fn keep_memory(device: sys::CUdevice) -> Result<(), Error> {
    // SAFETY: the caller's; the threshold is read before the call ends.
    unsafe {
        let pool =
            cu::device::get_default_mem_pool(device).map_err(check("finding the memory pool"))?;
        let mut all = u64::MAX;
        sys::cuMemPoolSetAttribute(
            pool,
            sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            (&raw mut all).cast(),
        )
        .result()
        .map_err(check("setting up the memory pool"))
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        if self.enter().is_err() {
            return;
        }
        // SAFETY: nothing else holds `self`, so nothing uses its handles. Errors cannot be reported
        // from here; the system cleans up when the process ends.
        unsafe {
            let _ = cu::stream::synchronize(self.stream);
            let _ = blas::destroy_handle(self.blas);
            let _ = cu::module::unload(self.module);
            let _ = cu::stream::destroy(self.stream);
        }
    }
}

impl Driver for Cuda {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn memory(&self) -> Result<Memory, Error> {
        self.enter()?;
        let (free, total) = cu::mem_get_info().map_err(check("asking for the memory"))?;
        Ok(Memory { free, total })
    }

    fn allocate(&self, bytes: usize) -> Result<u64, Error> {
        self.enter()?;
        // SAFETY: the stream lives as long as `self`, and all work on the memory is on it.
        match unsafe { cu::malloc_async(self.stream, bytes) } {
            Ok(at) => Ok(at),
            Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Err(Error::OutOfMemory {
                wanted: bytes,
                memory: self.memory().ok(),
            }),
            Err(e) => Err(failed("asking for memory", e)),
        }
    }

    fn free(&self, at: u64, _: usize) {
        if self.enter().is_ok() {
            // SAFETY: `allocate` returned `at`, and its only owner frees it. Work that was queued
            // before runs before the memory is freed.
            let _ = unsafe { cu::free_async(at, self.stream) };
        }
    }

    fn fill(&self, at: u64, byte: u8, bytes: usize) -> Result<(), Error> {
        self.enter()?;
        // SAFETY: callers make sure that the range lies in memory of ours.
        unsafe { cu::memset_d8_async(at, byte, bytes, self.stream) }
            .map_err(check("filling memory"))
    }

    fn upload(&self, to: u64, from: &[u8]) -> Result<(), Error> {
        self.enter()?;
        // SAFETY: as in `fill`. The host's memory is pageable, so it has been read when the call
        // returns.
        unsafe { cu::memcpy_htod_async(to, from, self.stream) }
            .map_err(check("copying to the device"))
    }

    fn download(&self, to: &mut [u8], from: u64) -> Result<(), Error> {
        self.enter()?;
        // SAFETY: as in `fill`; `to` outlives the wait.
        unsafe {
            cu::memcpy_dtoh_async(to, from, self.stream)
                .map_err(check("copying from the device"))?;
            cu::stream::synchronize(self.stream).map_err(check("waiting for the device"))
        }
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<(), Error> {
        self.enter()?;
        // SAFETY: as in `fill`, for both ranges.
        unsafe { cu::memcpy_dtod_async(to, from, bytes, self.stream) }
            .map_err(check("copying on the device"))
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), Error> {
        self.enter()?;
        let f = self.function(launch.name)?;
        let [x, y, z] = launch.grid;
        let [bx, by, bz] = launch.block;
        let mut args = [launch.args.cast_mut()];
        // SAFETY: the kernel takes one struct, which lies in memory as the caller's does (asserted
        // in gpu/generated.h; tests on the emulation compare the two types), and which is copied
        // before the call returns. The addresses in it are those of vectors whose lengths the
        // callers check.
        unsafe {
            cu::launch_kernel(
                f,
                (x, y, z),
                (bx, by, bz),
                launch.shared,
                self.stream,
                &mut args,
            )
        }
        .map_err(|e| failed(format!("launching `{}`", launch.name), e))
    }

    fn product(&self, p: &Product) -> Result<(), Error> {
        self.enter()?;
        let (m, k, n) = (p.m, p.k, p.n);
        let fits = |x: usize| {
            c_int::try_from(x).map_err(|_| failed("a matrix product", "a size beyond 2^31"))
        };
        let kind = |k: Kind| match k {
            Kind::F32 => cudaDataType::CUDA_R_32F,
            Kind::F64 => cudaDataType::CUDA_R_64F,
            Kind::Bf16 => cudaDataType::CUDA_R_16BF,
        };
        let compute = match p.factors {
            Kind::F64 => cublasComputeType_t::CUBLAS_COMPUTE_64F,
            Kind::F32 if p.tf32 => cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            Kind::F32 | Kind::Bf16 => cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let (one, zero) = (1.0f64, 0.0f64);
        let (one_f, zero_f) = (1.0f32, 0.0f32);
        let scale = |x: &f64, x_f: &f32| -> *const c_void {
            match p.factors {
                Kind::F64 => std::ptr::from_ref(x).cast(),
                Kind::F32 | Kind::Bf16 => std::ptr::from_ref(x_f).cast(),
            }
        };
        let beta = if p.add {
            scale(&one, &one_f)
        } else {
            scale(&zero, &zero_f)
        };
        let how = |place: Place| {
            if place.transposed {
                cublasOperation_t::CUBLAS_OP_T
            } else {
                cublasOperation_t::CUBLAS_OP_N
            }
        };
        let _one_at_a_time = self
            .functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // cuBLAS's matrices are column-major: it takes every matrix here for its transpose, and (a
        // b)ᵀ = bᵀ aᵀ. SAFETY: callers make sure that the matrices lie in memory of ours. The two
        // scales are read before the call returns (the default pointer mode is the host's).
        unsafe {
            blas::gemm_ex(
                self.blas,
                how(p.b),
                how(p.a),
                fits(n)?,
                fits(m)?,
                fits(k)?,
                scale(&one, &one_f),
                p.b.at as *const c_void,
                kind(p.factors),
                fits(p.b.stride)?,
                p.a.at as *const c_void,
                kind(p.factors),
                fits(p.a.stride)?,
                beta,
                p.c.at as *mut c_void,
                kind(p.result),
                fits(p.c.stride)?,
                compute,
                blas_sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .map_err(|e| failed("a matrix product", e))
    }

    fn wait(&self) -> Result<(), Error> {
        self.enter()?;
        // SAFETY: the stream lives as long as `self`.
        unsafe { cu::stream::synchronize(self.stream) }.map_err(check("waiting for the device"))
    }

    fn identity(&self) -> Result<String, Error> {
        let uuid =
            cu::device::get_uuid(self.device).map_err(check("asking for the device's UUID"))?;
        Ok(uuid.bytes.iter().map(|b| format!("{b:02x}")).collect())
    }

    #[cfg(feature = "nccl")]
    fn ring_name(&self) -> Result<Vec<u8>, Error> {
        super::nccl::name()
    }

    #[cfg(feature = "nccl")]
    fn join(&self, name: &[u8], rank: usize, size: usize) -> Result<(), Error> {
        self.enter()?;
        let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        *joined = None;
        *joined = Some(super::nccl::Communicator::join(name, rank, size)?);
        Ok(())
    }

    #[cfg(feature = "nccl")]
    fn add_up(&self, at: u64, count: usize, kind: Kind) -> Result<(), Error> {
        self.enter()?;
        let joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        match &*joined {
            // SAFETY: callers make sure that so many numbers lie there. The communicator was joined
            // with this device, in the stream's context.
            Some(ring) => unsafe { ring.add_up(at, count, kind, self.stream) },
            None => Err(failed("adding up over devices", "no ring was joined")),
        }
    }
}
