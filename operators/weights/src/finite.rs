//! Refuses weights that are NaN or infinite, by name and position.

use candle_core::{DType, Tensor};

use crate::Refused;

/// Checks that all values of a tensor are finite, in f32.
///
/// # Errors
/// When one is not. The error names the tensor, the value and its position.
pub fn check(name: &str, tensor: &Tensor) -> Result<(), Refused> {
    if !tensor.dtype().is_float() {
        return Ok(());
    }
    let (wide, values): (bool, Vec<f32>) = match tensor.dtype() {
        DType::F64 => {
            let values: Vec<f64> = tensor.flatten_all()?.to_vec1()?;
            let wide = values.iter().all(|v| v.is_finite());
            (wide, values.into_iter().map(|v| v as f32).collect())
        }
        _ => (
            false,
            tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?,
        ),
    };
    // No branch for each value, so that checking takes no longer than reading.
    let all = |chunk: &[f32]| chunk.iter().fold(true, |ok, v| ok & v.is_finite());
    if values.chunks(4096).all(all) {
        return Ok(());
    }
    let bad = || values.iter().enumerate().filter(|(_, v)| !v.is_finite());
    let Some((at, value)) = bad().next() else {
        return Ok(());
    };
    let more = match bad().count() - 1 {
        0 => String::new(),
        1 => ", and one more value that is not finite".to_owned(),
        n => format!(", and {n} more values that are not finite"),
    };
    let place = index(at, tensor.dims());
    let problem = if wide {
        format!("`{name}` holds a value at {place} that is too large for f32{more}")
    } else {
        format!("`{name}` holds {value} at {place}{more}")
    };
    Err(Refused::new(problem)
        .hint("the training that wrote it went astray, or the file is damaged: use an earlier one"))
}

/// The position of a value in a tensor, as `[3, 17]`.
fn index(mut at: usize, dims: &[usize]) -> String {
    let mut parts = Vec::new();
    for n in dims.iter().rev() {
        parts.push((at % n).to_string());
        at /= n;
    }
    parts.reverse();
    format!("[{}]", parts.join(", "))
}
