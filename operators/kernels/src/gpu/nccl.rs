//! Sums over the devices of several processes, through NCCL, which is loaded when they join.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use cudarc::driver::sys::CUstream;
use cudarc::nccl::result as nccl;
use cudarc::nccl::sys::{self, ncclDataType_t, ncclRedOp_t};

use super::Error;
use super::driver::Kind;

/// A device's place among those that add up numbers together.
pub(super) struct Communicator(sys::ncclComm_t);

// SAFETY: NCCL's communicators may be used from any thread, one at a time, which the lock around this one holds.
unsafe impl Send for Communicator {}

fn failed(what: &str, e: &nccl::NcclError) -> Error {
    Error::Failed {
        what: format!("NCCL: {what}"),
        why: format!("{:?}", e.0),
    }
}

fn present() -> Result<(), Error> {
    // SAFETY: only looks whether the library can be loaded; to load it runs its initialisers, which NVIDIA's do no harm in.
    match unsafe { sys::is_culib_present() } {
        true => Ok(()),
        false => Err(Error::NoLibrary { name: "libnccl" }),
    }
}

/// A name for those who will join, made by one of them.
pub(super) fn name() -> Result<Vec<u8>, Error> {
    present()?;
    let id = nccl::get_uniqueid().map_err(|e| failed("making a name", &e))?;
    Ok(id.internal.iter().map(|b| *b as u8).collect())
}

impl Communicator {
    /// Waits for all others. The device's context must be the thread's current one.
    pub fn join(name: &[u8], rank: usize, size: usize) -> Result<Self, Error> {
        present()?;
        let mut id = sys::ncclUniqueId { internal: [0; 128] };
        if name.len() != id.internal.len() {
            return Err(Error::Failed {
                what: "NCCL: joining".to_owned(),
                why: format!("a name of {} bytes", name.len()),
            });
        }
        for (to, from) in id.internal.iter_mut().zip(name) {
            *to = *from as c_char;
        }
        let mut comm: sys::ncclComm_t = ptr::null_mut();
        // SAFETY: `comm` is written to before the call returns; NCCL checks rank and size.
        unsafe { nccl::comm_init_rank(&raw mut comm, size as c_int, id, rank as c_int) }
            .map_err(|e| failed("joining", &e))?;
        Ok(Communicator(comm))
    }

    /// Queues the sum of `count` numbers of all devices, in place.
    ///
    /// # Safety
    /// So many numbers of that type must lie at `at`, on the device this was joined with, and the stream be one of its context.
    pub unsafe fn add_up(
        &self,
        at: u64,
        count: usize,
        kind: Kind,
        stream: CUstream,
    ) -> Result<(), Error> {
        let kind = match kind {
            Kind::F32 => ncclDataType_t::ncclFloat32,
            Kind::F64 => ncclDataType_t::ncclFloat64,
            Kind::Bf16 => ncclDataType_t::ncclBfloat16,
        };
        let place = at as *mut c_void;
        // SAFETY: the caller's; the communicator lives as long as this.
        unsafe {
            nccl::all_reduce(
                place,
                place,
                count,
                kind,
                ncclRedOp_t::ncclSum,
                self.0,
                stream.cast(),
            )
        }
        .map_err(|e| failed("adding up", &e))
        .map(|_| ())
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        // SAFETY: nobody has it any more. Others may be gone, so nobody is waited for; what fails here has no one to tell.
        let _ = unsafe { nccl::comm_abort(self.0) };
    }
}
