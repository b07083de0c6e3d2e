//! Pools states on the device that has them, so that only one vector for each text is copied from
//! it. `crate::pooling` does the same on the CPU, and tests compare the two.

use candle_core::{DType, Result, Tensor};

use super::ops::{Padded, ranges};
use crate::pooling::{Mode, Pooling};

/// Pools the states of texts, `tokens x width`. The texts have these numbers of tokens, of which
/// the first `prompt` belong to the prompt. Returns `texts x (modes width)` in single precision.
pub(super) fn pool(
    pooling: &Pooling,
    states: &Tensor,
    lengths: &[u32],
    prompt: usize,
) -> Result<Tensor> {
    let whole = ranges(lengths);
    // What is pooled of each text: without the prompt, where it does not count.
    let left = whole.iter().map(|(start, n)| {
        let from = pooling.first(*n as usize, prompt) as u32;
        (start + from, n - from)
    });
    let left: Vec<(u32, u32)> = left.collect();
    let rows = |rows: Vec<u32>| states.index_select(&Tensor::new(rows, states.device())?, 0);
    let padded = || -> Result<Tensor> { Padded::new(&left, states.device())?.fill(states) };
    let of_mode = |mode: &Mode| -> Result<Tensor> {
        match mode {
            Mode::Cls => rows(whole.iter().map(|(start, _)| *start).collect()),
            Mode::Last => rows(whole.iter().map(|(start, n)| start + n - 1).collect()),
            // Padding repeats a text's last state, so the maximum stays what it is.
            Mode::Max => padded()?.max(1),
            Mode::Mean | Mode::MeanSqrtLength | Mode::WeightedMean => {
                let states = padded()?.to_dtype(DType::F32)?;
                let longest = states.dim(1)?;
                let weights = whole
                    .iter()
                    .zip(&left)
                    .flat_map(|((start, _), (first, n))| {
                        let mut weights = weights(*mode, (first - start) as usize, *n as usize);
                        weights.resize(longest, 0.0);
                        weights
                    });
                let shape = (whole.len(), 1, longest);
                let weights = Tensor::from_iter(weights, states.device())?.reshape(shape)?;
                weights.matmul(&states)?.squeeze(1)
            }
        }
    };
    let parts = pooling
        .modes
        .iter()
        .map(|mode| of_mode(mode)?.to_dtype(DType::F32));
    Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 1)
}

/// The weights of the states of `n` tokens in a kind of mean. Before them, `from` tokens are left
/// out.
fn weights(mode: Mode, from: usize, n: usize) -> Vec<f32> {
    let mut weights: Vec<f32> = match mode {
        Mode::WeightedMean => (from + 1..=from + n).map(|place| place as f32).collect(),
        _ => vec![1.0; n],
    };
    let total: f32 = weights.iter().sum();
    let by = match mode {
        Mode::MeanSqrtLength => total.sqrt(),
        _ => total,
    };
    weights.iter_mut().for_each(|w| *w /= by);
    weights
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use candle_core::Device;

    use super::*;

    #[test]
    fn all_modes_equal_those_on_the_cpu() {
        let (lengths, width) = ([5_u32, 1, 3, 8], 6);
        let tokens: u32 = lengths.iter().sum();
        let states = Tensor::randn(0.0_f32, 1.0, (tokens as usize, width), &Device::Cpu).unwrap();
        let rows: Vec<f32> = states.flatten_all().unwrap().to_vec1().unwrap();
        let modes = vec![
            Mode::Cls,
            Mode::Max,
            Mode::Mean,
            Mode::MeanSqrtLength,
            Mode::WeightedMean,
            Mode::Last,
        ];
        for (include_prompt, prompt) in [(true, 0), (true, 2), (false, 2), (false, 9)] {
            let pooling = Pooling {
                modes: modes.clone(),
                include_prompt,
            };
            let got = pool(&pooling, &states, &lengths, prompt).unwrap();
            let got: Vec<Vec<f32>> = got.to_vec2().unwrap();
            for ((start, n), got) in ranges(&lengths).into_iter().zip(got) {
                let text = &rows[start as usize * width..][..n as usize * width];
                let want = pooling.pool(text, width, prompt);
                assert_eq!(got.len(), want.len());
                for (g, w) in got.iter().zip(&want) {
                    assert!(
                        (g - w).abs() < 1e-5,
                        "{n} tokens, prompt {prompt}: {g} and {w}"
                    );
                }
            }
        }
    }
}
