//! Errors of a device.

use gfm_pipe_api::OpError;
use gfm_pipe_kernels::gpu::Error;

/// Converts a device's error into an operator's, with what the user can do about it.
pub(crate) fn device_error(e: Error) -> OpError {
    OpError::new(e.to_string()).hint(e.hint())
}

pub(super) type Result<T> = std::result::Result<T, Error>;
