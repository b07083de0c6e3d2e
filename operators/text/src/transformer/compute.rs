//! Where a network computes: on the CPU with the project's own kernels, or with candle's
//! operations on a GPU.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, bail};
use rayon::prelude::*;

use crate::error::EncoderError;

/// Tokens of a batch on the CPU. Larger batches do not fit the caches and are not faster.
const TOKENS: usize = 512;
/// Tokens of a batch on a GPU, counting padding.
const GPU_TOKENS: usize = 32_768;
/// The same for each text of `batch_size`, so that a small `batch_size` needs less memory.
const GPU_TOKENS_A_TEXT: usize = 1024;
/// Pairs of tokens in the texts of a batch on a GPU, for each head of attention. The scores of 16
/// heads then take 1 GiB in single precision.
const GPU_PAIRS: usize = 1 << 24;
/// How many times as many texts as on the CPU a batch may have on a GPU, where a batch of few short
/// texts takes as long as one of many.
const GPU_TEXTS: usize = 32;
/// The most scores of attention at once: candle's kernels for CUDA count them as 32-bit integers.
const MOST_SCORES: usize = i32::MAX as usize;

/// Where a network computes, and with which operations.
#[derive(Debug, Clone)]
pub struct Compute {
    device: Device,
    by: Operations,
    /// Held by the thread that uses the GPU.
    turn: Arc<Mutex<()>>,
}

/// The operations that a network consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operations {
    /// The project's kernels, on the CPU in single precision. Each batch uses one thread, and a
    /// text's numbers do not depend on its batch.
    Own,
    /// Candle's, on any device. Numbers of a text may depend on the shape of its batch, because
    /// libraries choose a kernel by it.
    Candle,
}

/// How large a batch may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most texts.
    pub texts: usize,
    /// Most tokens, if all texts are padded to the longest. One text may have more.
    pub tokens: usize,
    /// Most pairs of tokens of one text, summed over the padded texts. One text may have more.
    pub pairs: usize,
}

impl Operations {
    /// Checks that attention can be computed for texts of these lengths with so many heads.
    pub(crate) fn check_scores(self, lengths: &[u32], heads: usize) -> Result<()> {
        let longest = lengths.iter().copied().max().unwrap_or(0) as usize;
        let scores = [longest, longest, lengths.len(), heads];
        let scores = scores
            .into_iter()
            .try_fold(1_usize, |product, n| product.checked_mul(n));
        if self == Operations::Own || scores.is_some_and(|n| n <= MOST_SCORES) {
            return Ok(());
        }
        let most = (MOST_SCORES as f64 / heads as f64).sqrt() as usize;
        bail!(
            "a text of {longest} tokens is too long for attention on a GPU: with {heads} heads it may have {most}; set \
             `max_seq_length`, or use `--device cpu`"
        )
    }
}

impl Compute {
    /// The CPU, with the project's kernels.
    pub fn cpu() -> Self {
        Compute::with(Device::Cpu, Operations::Own)
    }

    /// The CPU, with the operations and the batches of a GPU: an emulation for tests.
    pub fn emulated_gpu() -> Self {
        Compute::with(Device::Cpu, Operations::Candle)
    }

    fn with(device: Device, by: Operations) -> Self {
        Compute {
            device,
            by,
            turn: Arc::default(),
        }
    }

    /// Opens the device of a [`gfm_pipe_api::Context`]: `cpu` or `cuda:N`. In a build without CUDA
    /// for encoders, networks run on the CPU whatever the device.
    ///
    /// # Errors
    /// When the device cannot be used.
    pub fn of(device: &str) -> std::result::Result<Self, EncoderError> {
        match gfm_pipe_api::Device::parse(device) {
            Some(gfm_pipe_api::Device::Cuda(ordinal)) => gpu(ordinal),
            _ => Ok(Compute::cpu()),
        }
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn operations(&self) -> Operations {
        self.by
    }

    /// Whether it is a GPU, or stands for one.
    pub fn on_gpu(&self) -> bool {
        self.by == Operations::Candle
    }

    /// The type of weights and states, where weights are rounded to `precision`, if any. The CPU
    /// computes in single precision.
    pub(crate) fn dtype(&self, precision: Option<DType>) -> DType {
        match self.by {
            Operations::Own => DType::F32,
            Operations::Candle => precision.unwrap_or(DType::F32),
        }
    }

    /// How large a batch may be, given the most texts in a batch on the CPU.
    pub fn batch_limits(&self, texts: usize) -> BatchLimits {
        match self.by {
            Operations::Own => BatchLimits {
                texts,
                tokens: TOKENS,
                pairs: usize::MAX,
            },
            Operations::Candle => BatchLimits {
                texts: texts.saturating_mul(GPU_TEXTS),
                tokens: GPU_TOKENS.min(texts.saturating_mul(GPU_TOKENS_A_TEXT)),
                pairs: GPU_PAIRS,
            },
        }
    }

    /// Calls `of` on each batch: on a GPU one after the other, otherwise on all threads.
    pub fn each<T: Sync, R: Send>(
        &self,
        batches: &[T],
        of: impl Fn(&T) -> R + Send + Sync,
    ) -> Vec<R> {
        if self.on_gpu() {
            batches.iter().map(of).collect()
        } else {
            batches.par_iter().map(of).collect()
        }
    }

    /// Waits until the device has done all its work.
    pub(crate) fn finish(&self) -> Result<()> {
        self.device.synchronize()
    }

    /// Waits until no other thread uses the GPU, whose libraries keep state. On the CPU there is
    /// nothing to wait for.
    pub(crate) fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        self.on_gpu()
            .then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Opens a GPU, once for all networks.
#[cfg(feature = "cuda")]
fn gpu(ordinal: usize) -> std::result::Result<Compute, EncoderError> {
    use std::collections::HashMap;
    static OPEN: Mutex<Option<HashMap<usize, Compute>>> = Mutex::new(None);
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let open = open.get_or_insert_default();
    if let Some(known) = open.get(&ordinal) {
        return Ok(known.clone());
    }
    let failed = |problem| EncoderError::Device {
        device: format!("cuda:{ordinal}"),
        problem,
    };
    // This says in plain words what is missing, and makes the process keep memory that is freed.
    gfm_pipe_kernels::gpu::Gpu::open(ordinal).map_err(|e| failed(e.to_string()))?;
    // It queues work on a stream for each thread. A turn ends when its work is done, so one thread
    // finds what another has made.
    let device = Device::new_cuda(ordinal).map_err(|e| failed(super::candle_message(e)))?;
    let new = Compute::with(device, Operations::Candle);
    Ok(open.entry(ordinal).or_insert(new).clone())
}

#[cfg(all(feature = "gpu-emulation", not(feature = "cuda")))]
fn gpu(_: usize) -> std::result::Result<Compute, EncoderError> {
    Ok(Compute::emulated_gpu())
}

#[cfg(not(any(feature = "cuda", feature = "gpu-emulation")))]
fn gpu(_: usize) -> std::result::Result<Compute, EncoderError> {
    Ok(Compute::cpu())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use super::*;

    #[test]
    fn no_batch_has_more_scores_than_a_gpu_counts() {
        let gpu = Operations::Candle;
        gpu.check_scores(&[8191, 8191], 16).unwrap();
        gpu.check_scores(&[], 0).unwrap();
        let e = gpu.check_scores(&[8192, 3], 32).unwrap_err().to_string();
        assert!(
            e.contains("8192 tokens") && e.contains("it may have 8191"),
            "{e}"
        );
        Operations::Own.check_scores(&[100_000], 32).unwrap();
        for texts in [1, 32, 65_536] {
            let limits = Compute::emulated_gpu().batch_limits(texts);
            let longest = limits.tokens.min(4096);
            let count = limits.pairs / (longest * longest);
            gpu.check_scores(&vec![longest as u32; count.max(1)], 64)
                .unwrap();
        }
    }
}
