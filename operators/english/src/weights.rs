//! Reads the file of weights: named tensors of 16-bit or 32-bit numbers.

use half::f16;
use safetensors::{Dtype, SafeTensors};

use crate::error::EnglishError;

/// The tensors of a file, by name.
pub(crate) struct Weights<'a>(SafeTensors<'a>);

impl<'a> Weights<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, EnglishError> {
        SafeTensors::deserialize(bytes)
            .map(Weights)
            .map_err(|error| EnglishError::Weights(error.to_string()))
    }

    /// Reads the numbers of a tensor, which must have this shape and be finite.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, EnglishError> {
        let bad = |problem: String| EnglishError::Weights(format!("{name}: {problem}"));
        let tensor = self.0.tensor(name).map_err(|e| bad(e.to_string()))?;
        if tensor.shape() != shape {
            let found = tensor.shape();
            return Err(bad(format!("the shape is {found:?}, expected {shape:?}")));
        }
        let numbers: Vec<f32> = match tensor.dtype() {
            Dtype::F32 => tensor
                .data()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect(),
            Dtype::F16 => tensor
                .data()
                .as_chunks::<2>()
                .0
                .iter()
                .map(|bytes| f16::from_le_bytes(*bytes).to_f32())
                .collect(),
            other => {
                return Err(bad(format!(
                    "{other:?} is not implemented, only F16 and F32"
                )));
            }
        };
        match numbers.iter().position(|number| !number.is_finite()) {
            Some(at) => Err(bad(format!("element {at} is not a finite number"))),
            None => Ok(numbers),
        }
    }
}
