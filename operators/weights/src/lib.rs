//! Files of weights that other programs wrote: PyTorch archives (`.pth`, `.bin`) and safetensors.
//!
//! The graph model and the text encoders read their weights here. Invariant: for any bytes, reading
//! returns tensors whose values are all finite, or an error that says what the file is and what to
//! do about it. It does not panic or exhaust the stack, and takes memory in proportion to the file.

mod archive;
mod finite;
mod form;
mod names;
mod pickle;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor};
use gfm_pipe_api::{ErrorKind, OpError};

pub use archive::read_archive;
pub use finite::check as check_finite;
pub use names::unwrapped;

/// Tensors by their names in the file.
pub type Tensors = BTreeMap<String, Tensor>;

/// Why a file of weights is refused.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct Refused {
    /// What is wrong: lower case, no full stop.
    pub problem: String,
    /// What to do about it, where something is known.
    pub hint: Option<String>,
    /// Who can correct it: the data, unless the file could not be read.
    pub kind: ErrorKind,
}

impl Refused {
    /// A problem without advice.
    pub fn new(problem: impl Into<String>) -> Self {
        Refused {
            problem: problem.into(),
            hint: None,
            kind: ErrorKind::Data,
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<candle_core::Error> for Refused {
    fn from(mut e: candle_core::Error) -> Self {
        // Users cannot do anything with a backtrace.
        while let candle_core::Error::WithBacktrace { inner, .. } = e {
            e = *inner;
        }
        Refused::new(e.to_string())
    }
}

impl From<std::io::Error> for Refused {
    fn from(e: std::io::Error) -> Self {
        let message = e.to_string();
        let kind = OpError::wrap("", e).kind();
        Refused {
            kind,
            ..Refused::new(message)
        }
    }
}

/// Reads the tensors of a safetensors file, and its metadata.
///
/// # Errors
/// When it is not safetensors, or a value is not finite.
pub fn read_safetensors(file: &Path) -> Result<(Tensors, HashMap<String, String>), Refused> {
    let bytes = gfm_pipe_api::files::read(file)?;
    if let Some(refused) = form::not_safetensors(&bytes) {
        return Err(refused);
    }
    let broken = |e: safetensors::SafeTensorError| Refused::new(e.to_string());
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let tensors: Tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?
        .into_iter()
        .collect();
    for (name, tensor) in &tensors {
        check_finite(name, tensor)?;
    }
    Ok((tensors, metadata))
}
