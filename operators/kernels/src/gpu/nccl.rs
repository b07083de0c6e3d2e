//! Sums over the devices of several processes through NCCL, which is loaded when they join.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use cudarc::driver::sys::CUstream;
use cudarc::nccl::result as nccl;
use cudarc::nccl::sys::{self, ncclDataType_t, ncclRedOp_t};

use super::driver::Kind;
use super::{Error, libraries};

/// A device's membership in a ring.
pub(super) struct Communicator(sys::ncclComm_t);

// SAFETY: NCCL's communicators may be used from any thread, by one at a time. The lock around this
// one makes sure of that.
unsafe impl Send for Communicator {}

fn failed(what: &str, e: &nccl::NcclError) -> Error {
    Error::Failed {
        what: format!("NCCL: {what}"),
        why: format!("{:?}", e.0),
    }
}

fn present() -> Result<(), Error> {
    if libraries::nccl() {
        Ok(())
    } else {
        Err(Error::NoLibrary { name: "libnccl" })
    }
}

/// A name for a new ring. One of its members makes it.
pub(super) fn name() -> Result<Vec<u8>, Error> {
    present()?;
    let id = nccl::get_uniqueid().map_err(|e| failed("making a name", &e))?;
    Ok(id.internal.iter().map(|b| *b as u8).collect())
}

impl Communicator {
    /// Joins a ring, and waits for its other members. The device's context must be current.
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

    /// Queues the sum of `count` numbers over the ring, in place.
    ///
    /// # Safety
    /// `count` numbers of type `kind` must lie at `at` on the device that joined, and the stream
    /// must belong to its context.
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
        // SAFETY: the caller's; the communicator lives as long as `self`.
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
        // SAFETY: nothing else holds the communicator. Other members may be gone, so this does not
        // wait for them. Errors cannot be reported from here.
        let _ = unsafe { nccl::comm_abort(self.0) };
    }
}
