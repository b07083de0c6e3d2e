//! Which device computes: the CPU, or a GPU that is opened once and shared by all stages of a process.

use std::sync::{Mutex, PoisonError};

use gfm_pipe_api::{Context, OpError, OpResult};
use gfm_pipe_kernels::gpu::Gpu;

use crate::gpu::device_error;

/// Devices that are open, by number.
static OPEN: Mutex<Vec<(usize, Gpu)>> = Mutex::new(Vec::new());

/// What `--device` may be: `auto`, `cpu`, `cuda` or `cuda:N`. `None` for anything else; the inner one for what has no number.
fn number(device: &str) -> Option<Option<usize>> {
    match device {
        "auto" | "cpu" => Some(None),
        "cuda" => Some(Some(0)),
        other => Some(Some(other.strip_prefix("cuda:")?.parse().ok()?)),
    }
}

/// Whether a device's name is one.
pub fn is_device(device: &str) -> bool {
    number(device).is_some()
}

/// The device that a name stands for: `cpu` or `cuda:N`. `auto` is the first CUDA device where this build knows CUDA and one can be opened, else
/// the CPU.
///
/// # Errors
/// When a CUDA device was asked for and cannot be opened: why, and what to do.
pub fn resolve(device: &str) -> OpResult<String> {
    match number(device) {
        Some(Some(n)) => {
            open(n)?;
            Ok(format!("cuda:{n}"))
        }
        // The emulation is for tests, and never the best there is.
        Some(None) if device == "auto" && cfg!(feature = "cuda") => match open(0) {
            Ok(_) => Ok("cuda:0".to_owned()),
            Err(_) => Ok("cpu".to_owned()),
        },
        Some(None) => Ok("cpu".to_owned()),
        None => Err(OpError::new(format!("`{device}` is no device"))
            .hint("devices are auto, cpu, cuda and cuda:N")),
    }
}

fn open(n: usize) -> OpResult<Gpu> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, gpu)) = open.iter().find(|(i, _)| *i == n) {
        return Ok(gpu.clone());
    }
    let gpu = Gpu::open(n).map_err(device_error)?;
    open.push((n, gpu.clone()));
    Ok(gpu)
}

/// The name of a CUDA device.
///
/// # Errors
/// When it cannot be opened.
pub fn name(device: &str) -> OpResult<String> {
    match number(device).flatten() {
        Some(n) => Ok(open(n)?.name()),
        None => Ok(String::new()),
    }
}

/// The GPU a stage computes on; `None` for the CPU.
pub(crate) fn gpu(ctx: &Context) -> OpResult<Option<Gpu>> {
    match number(&ctx.device).flatten() {
        Some(n) => open(n).map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named() {
        assert!(
            ["auto", "cpu", "cuda", "cuda:3"]
                .iter()
                .all(|d| is_device(d))
        );
        assert!(
            ["", "gpu", "cuda:", "cuda:x", "cuda:-1"]
                .iter()
                .all(|d| !is_device(d))
        );
        assert_eq!(resolve("cpu").unwrap_or_default(), "cpu");
        assert!(resolve("tpu").is_err());
    }

    #[cfg(not(any(feature = "cuda", feature = "gpu-emulation")))]
    #[test]
    fn a_build_without_cuda_says_so() {
        assert_eq!(resolve("auto").unwrap_or_default(), "cpu");
        let error = resolve("cuda:1").map_or_else(|e| e.to_string(), |_| String::new());
        assert!(error.contains("built without CUDA"), "{error}");
    }
}
