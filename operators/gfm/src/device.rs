//! Which device computes: the CPU, or a GPU that is opened once and shared by all stages of a process.

use std::sync::{Mutex, PoisonError};

use gfm_pipe_api::{Context, Device, OpError, OpResult};
use gfm_pipe_kernels::gpu::{Error, Gpu};

use crate::gpu::device_error;

/// Devices that are open, by number.
static OPEN: Mutex<Vec<(usize, Gpu)>> = Mutex::new(Vec::new());

/// The device that a name stands for: `cpu` or `cuda:N`. `cuda` is device `local`, so that each rank of a host has its own; `auto` is that where
/// this build knows CUDA and it can be opened, else the CPU.
///
/// # Errors
/// When a CUDA device was asked for and cannot be opened: why, and what to do.
pub fn resolve(name: &str, local: usize) -> OpResult<String> {
    match Device::parse(name) {
        Some(Device::Cuda(0)) if name == "cuda" => Ok(format!("cuda:{}", own(local)?)),
        Some(Device::Cuda(n)) => {
            open(n)?;
            Ok(format!("cuda:{n}"))
        }
        // The emulation is for tests, and never the best there is.
        Some(Device::Auto) if cfg!(feature = "cuda") => {
            Ok(own(local).map_or_else(|_| "cpu".to_owned(), |n| format!("cuda:{n}")))
        }
        Some(Device::Auto | Device::Cpu) => Ok("cpu".to_owned()),
        None => Err(OpError::new(format!("`{name}` is no device"))
            .hint("devices are auto, cpu, cuda and cuda:N")),
    }
}

/// The device of number `local` among those that this process sees, counted around: a launcher may show each rank its own alone.
fn own(local: usize) -> OpResult<usize> {
    match opened(local) {
        Err(Error::NoDevice { count, .. }) if count > 0 => {
            open(local % count).map(|_| local % count)
        }
        other => other.map(|_| local).map_err(device_error),
    }
}

/// CUDA device `n`.
pub(crate) fn open(n: usize) -> OpResult<Gpu> {
    opened(n).map_err(device_error)
}

fn opened(n: usize) -> Result<Gpu, Error> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, gpu)) = open.iter().find(|(i, _)| *i == n) {
        return Ok(gpu.clone());
    }
    let gpu = Gpu::open(n)?;
    open.push((n, gpu.clone()));
    Ok(gpu)
}

/// The name of a CUDA device.
///
/// # Errors
/// When it cannot be opened.
pub fn name(device: &str) -> OpResult<String> {
    match Device::parse(device) {
        Some(Device::Cuda(n)) => Ok(open(n)?.name()),
        _ => Ok(String::new()),
    }
}

/// The GPU a stage computes on; `None` for the CPU.
pub(crate) fn gpu(ctx: &Context) -> OpResult<Option<Gpu>> {
    match Device::parse(&ctx.device) {
        Some(Device::Cuda(n)) => open(n).map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_device_is_refused() {
        assert_eq!(resolve("cpu", 0).unwrap_or_default(), "cpu");
        assert!(resolve("tpu", 0).is_err());
    }

    #[cfg(not(any(feature = "cuda", feature = "gpu-emulation")))]
    #[test]
    fn a_build_without_cuda_says_so() {
        assert_eq!(resolve("auto", 0).unwrap_or_default(), "cpu");
        let error = resolve("cuda:1", 0).map_or_else(|e| e.to_string(), |_| String::new());
        assert!(error.contains("built without CUDA"), "{error}");
    }
}
