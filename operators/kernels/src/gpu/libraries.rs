//! Whether CUDA's libraries are there.
//!
//! They are loaded when they are first asked for. In a build with the feature `cuda-linked` they
//! are linked, because candle links them. Then scripts/cuda-lazy stands in for each of them, and a
//! call returns an error code where the library is missing.

#[cfg(not(feature = "cuda-linked"))]
mod found {
    use cudarc::{cublas, driver};

    pub fn driver() -> bool {
        // SAFETY: this only checks whether the library can be loaded. Loading it runs its
        // initialisers; those of NVIDIA's libraries are harmless.
        unsafe { driver::sys::is_culib_present() }
    }

    pub fn cublas() -> bool {
        // SAFETY: as above.
        unsafe { cublas::sys::is_culib_present() }
    }

    #[cfg(feature = "nccl")]
    pub fn nccl() -> bool {
        // SAFETY: as above.
        unsafe { cudarc::nccl::sys::is_culib_present() }
    }
}

#[cfg(feature = "cuda-linked")]
mod found {
    use std::ffi::c_int;

    use cudarc::cublas::sys::{self as cublas, cublasStatus_t, libraryPropertyType_t};
    use cudarc::driver::sys::{self as driver, CUresult};

    pub fn driver() -> bool {
        let mut version: c_int = 0;
        // SAFETY: the call writes one number, to `version`.
        let answer = unsafe { driver::cuDriverGetVersion(&raw mut version) };
        answer != CUresult::CUDA_ERROR_STUB_LIBRARY
    }

    pub fn cublas() -> bool {
        let mut version: c_int = 0;
        let which = libraryPropertyType_t::MAJOR_VERSION;
        // SAFETY: the call needs no handle, and writes one number, to `version`.
        let answer = unsafe { cublas::cublasGetProperty(which, &raw mut version) };
        answer == cublasStatus_t::CUBLAS_STATUS_SUCCESS
    }

    /// Candle opens no device without it.
    pub fn curand() -> bool {
        use cudarc::curand::sys::{self as curand, curandStatus_t};
        let mut version: c_int = 0;
        // SAFETY: the call writes one number, to `version`.
        let answer = unsafe { curand::curandGetVersion(&raw mut version) };
        answer == curandStatus_t::CURAND_STATUS_SUCCESS
    }

    #[cfg(feature = "nccl")]
    pub fn nccl() -> bool {
        use cudarc::nccl::sys::{self as nccl, ncclResult_t};
        let mut version: c_int = 0;
        // SAFETY: the call writes one number, to `version`.
        let answer = unsafe { nccl::ncclGetVersion(&raw mut version) };
        answer == ncclResult_t::ncclSuccess
    }
}

pub(super) use found::*;
