//! A CUDA device, through the driver's interface and cuBLAS, both loaded when the first device is opened.

use std::collections::HashMap;
use std::ffi::{CString, c_int, c_void};
use std::sync::{Mutex, PoisonError};

use cudarc::cublas::result as blas;
use cudarc::cublas::sys::{self as blas_sys, cublasComputeType_t, cublasOperation_t, cudaDataType};
use cudarc::driver::result::{self as cu, DriverError};
use cudarc::driver::sys::{self, CUresult};

use super::driver::{Driver, Kind, Launch, Place, Product};
use super::{Error, Memory};

/// Bytes at an address that the driver may read words from.
#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

/// The kernels, for several generations of devices.
static KERNELS: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin")));
/// The toolkit they were compiled with, as the driver counts versions.
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

// SAFETY: CUDA's handles may be used from any thread, once the context is the thread's current one, which every method makes it.
// cuBLAS's handle is only used while the lock on `functions` is held.
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
        // SAFETY: only looks whether the libraries can be loaded; to load one runs its initialisers, which NVIDIA's do no harm in.
        let (driver, library) = unsafe { (sys::is_culib_present(), blas_sys::is_culib_present()) };
        if !driver {
            return Err(Error::NoDriver);
        }
        if !library {
            return Err(Error::NoLibrary { name: "libcublas" });
        }
        let mut has: c_int = 0;
        // SAFETY: writes one number to where it is told to.
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
            // SAFETY: the device is one the driver gave.
            unsafe { cu::device::get_attribute(device, which) }
                .map_err(check("asking for the compute capability"))
        };
        use sys::CUdevice_attribute_enum as Attribute;
        let has = 10 * capability(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?
            + capability(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        if has < OLDEST {
            return Err(Error::OldDevice { name, has });
        }
        // SAFETY: the device is one the driver gave, the context that of it, the image a fat binary of nvcc's, which lives as long as the
        // program; handles are used after they were made only.
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
        // SAFETY: the context lives as long as this.
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
        // SAFETY: the module is loaded as long as this lives.
        let f = unsafe { cu::module::get_function(self.module, text) }.map_err(|e| missing(&e))?;
        known.insert(name.to_owned(), Function(f));
        Ok(f)
    }
}

/// Memory that is given back stays the process's: the next step asks for the same.
///
/// # Safety
/// The device must be one the driver gave, and its context current.
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
        // SAFETY: nobody has this any more, so nobody uses its handles. What fails here has no one to tell; the system cleans up.
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
        // SAFETY: the stream lives as long as this, and all work on the memory is on it.
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
            // SAFETY: `at` was given by `allocate`, and its only owner gives it back. Work that was queued before still finds it.
            let _ = unsafe { cu::free_async(at, self.stream) };
        }
    }

    fn fill(&self, at: u64, byte: u8, bytes: usize) -> Result<(), Error> {
        self.enter()?;
        // SAFETY: callers hold that the range lies in memory of ours.
        unsafe { cu::memset_d8_async(at, byte, bytes, self.stream) }
            .map_err(check("filling memory"))
    }

    fn upload(&self, to: u64, from: &[u8]) -> Result<(), Error> {
        self.enter()?;
        // SAFETY: as in `fill`. The memory copied from is pageable: it has been read when the call returns.
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
        // SAFETY: the kernel takes one argument of the type that the caller's struct is the twin of (a test compares their sizes), which is
        // copied before the call returns; addresses in it are of vectors that callers checked the lengths of.
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
        let (m, k, n) = p.sizes;
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
            _ => cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let (one, zero) = (1.0f64, 0.0f64);
        let (one_f, zero_f) = (1.0f32, 0.0f32);
        let scale = |x: &f64, x_f: &f32| -> *const c_void {
            match p.factors {
                Kind::F64 => std::ptr::from_ref(x).cast(),
                _ => std::ptr::from_ref(x_f).cast(),
            }
        };
        let beta = match p.add {
            true => scale(&one, &one_f),
            false => scale(&zero, &zero_f),
        };
        let how = |place: Place| match place.transposed {
            false => cublasOperation_t::CUBLAS_OP_N,
            true => cublasOperation_t::CUBLAS_OP_T,
        };
        let _one_at_a_time = self
            .functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // cuBLAS counts by columns: to it every matrix here is its transpose, and (a b)ᵀ = bᵀ aᵀ.
        // SAFETY: callers hold that the matrices lie in memory of ours; the two scales are read before the call returns (pointer mode
        // is the host's, the default).
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
        // SAFETY: the stream lives as long as this.
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
            // SAFETY: callers hold that so many numbers lie there; the communicator was joined with this device, in the stream's context.
            Some(ring) => unsafe { ring.add_up(at, count, kind, self.stream) },
            None => Err(failed("adding up over devices", "no ring was joined")),
        }
    }
}
