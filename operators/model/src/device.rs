//! Chooses the device: the CPU, or a GPU that is opened once and shared by all stages of a process.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;
use gfm_pipe_api::{Context, Device, OpError, OpResult};
use gfm_pipe_kernels::gpu::{Error, Gpu};

use crate::backend::{Backend, StepSettings};
use crate::gpu::{Sums, device_error, trainer};
use crate::graph::Graph;
use crate::host::{Cpu, DividedCpu};
use crate::model::{Params, Texts};
use crate::optimizer::Optimizer;
use crate::scorer::{OnCpu, Scorer};

/// The open devices, each with its number.
static OPEN: Mutex<Vec<(usize, Gpu)>> = Mutex::new(Vec::new());

/// The device that a name stands for, `cpu` or `cuda:N`. `cuda` is device number `local`, so that
/// each rank of a host has its own. `auto` is the same device if this build supports CUDA and the
/// device can be opened, and the CPU otherwise.
///
/// # Errors
/// When the name is not that of a device, or when a CUDA device cannot be opened.
pub fn resolve(name: &str, local: usize) -> OpResult<String> {
    match Device::parse(name) {
        Some(Device::Cuda(0)) if name == "cuda" => Ok(format!("cuda:{}", own(local)?)),
        Some(Device::Cuda(n)) => {
            open(n)?;
            Ok(format!("cuda:{n}"))
        }
        // `auto` never chooses the emulation, which is for tests.
        Some(Device::Auto) if cfg!(feature = "cuda") => {
            Ok(own(local).map_or_else(|_| "cpu".to_owned(), |n| format!("cuda:{n}")))
        }
        Some(Device::Auto | Device::Cpu) => Ok("cpu".to_owned()),
        None => Err(OpError::new(format!("`{name}` is not a device"))
            .hint("devices are auto, cpu, cuda and cuda:N")),
    }
}

/// The number of the device for the rank with number `local` on its host, modulo the number of
/// devices that this process sees: a launcher may show each rank only one device.
fn own(local: usize) -> OpResult<usize> {
    match opened(local) {
        Err(Error::NoDevice { count, .. }) if count > 0 => {
            open(local % count).map(|_| local % count)
        }
        other => other.map(|_| local).map_err(device_error),
    }
}

/// Opens CUDA device `n`, or returns it if it is open.
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

/// The name of a CUDA device; empty for the CPU.
///
/// # Errors
/// When the device cannot be opened.
pub fn name(device: &str) -> OpResult<String> {
    match Device::parse(device) {
        Some(Device::Cuda(n)) => Ok(open(n)?.name()),
        _ => Ok(String::new()),
    }
}

/// The GPU that a stage computes on; `None` for the CPU.
///
/// # Errors
/// When the device cannot be opened.
pub fn gpu(ctx: &Context) -> OpResult<Option<Gpu>> {
    match Device::parse(&ctx.device) {
        Some(Device::Cuda(n)) => open(n).map(Some),
        _ => Ok(None),
    }
}

/// The backend of a stage. It continues from these weights and this state of the optimizer, which
/// are the same on every rank. `divided`: whether ranks divide graphs.
///
/// # Errors
/// When the device cannot run such steps, or has too little memory.
pub fn backend(
    ctx: &Context,
    params: &Params,
    optimizer: &Optimizer,
    settings: StepSettings,
    divided: bool,
) -> OpResult<Box<dyn Backend>> {
    if let Some(gpu) = gpu(ctx)? {
        let trainer = trainer(&gpu, params, optimizer, settings, Sums::of(ctx, &gpu)?)?;
        ctx.info(format!("training on {}", gpu.name()));
        return Ok(trainer);
    }
    settings.for_cpu()?;
    let cpu = Cpu::new(params, optimizer, settings, Arc::clone(&ctx.ranks));
    if divided {
        Ok(Box::new(DividedCpu(cpu)))
    } else {
        Ok(Box::new(cpu))
    }
}

/// Calls `use_it` with a scorer on the device of the stage. `background`: the states of the
/// background of this model and graph, if they were computed before; a GPU computes its own.
///
/// # Errors
/// When the device cannot be opened, when shapes do not fit, or when `use_it` fails.
pub fn with_scorer<R>(
    ctx: &Context,
    params: &Params,
    background: Option<Vec<Tensor>>,
    graph: &Graph,
    texts: Texts<'_>,
    use_it: impl FnOnce(&dyn Scorer) -> OpResult<R>,
) -> OpResult<R> {
    match gpu(ctx)? {
        Some(gpu) => crate::gpu::with_scorer(&gpu, params, graph, texts, use_it),
        None => {
            let scorer = OnCpu::with_background(params, graph, texts, background)?;
            use_it(&scorer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_things_are_refused() {
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
