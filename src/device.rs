//! Devices that a run can use.

use gfm_pipe_api::OpResult;

/// The device that a name stands for on this machine, in this build: `cpu` or `cuda:N`. `auto` and
/// `cuda` without a number are device `local`.
///
/// # Errors
/// When a CUDA device was asked for and cannot be used: why, and what to do.
pub fn resolve(name: &str, local: usize) -> OpResult<String> {
    #[cfg(feature = "gfm")]
    return gfm_pipe_gfm::device::resolve(name, local);
    #[cfg(not(feature = "gfm"))]
    let _ = local;
    #[cfg(not(feature = "gfm"))]
    match gfm_pipe_api::Device::parse(name) {
        Some(gfm_pipe_api::Device::Cuda(n)) => Err(gfm_pipe_api::OpError::new(format!(
            "cuda:{n} was asked for, and this gfm-pipe was built without CUDA"
        ))
        .hint("build it with `cargo build --release --features cuda` (docs/cuda.md), or use `--device cpu`")),
        _ => Ok("cpu".to_owned()),
    }
}

/// The name of a CUDA device; empty where it cannot be opened: a plan for another machine.
pub fn gpu_name(device: &str) -> String {
    #[cfg(feature = "gfm")]
    return gfm_pipe_gfm::device::name(device).unwrap_or_default();
    #[cfg(not(feature = "gfm"))]
    {
        let _ = device;
        String::new()
    }
}
