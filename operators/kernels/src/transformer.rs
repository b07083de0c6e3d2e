//! Kernels of a transformer encoder on the CPU: linear maps with their activation, self-attention,
//! and the sum with layer normalisation.
//!
//! The texts of a batch are stored one after another, `tokens x width`, without padding. All
//! functions run on the calling thread, because a caller has many batches and gives each thread its
//! own. Single precision only.

use crate::gemm::{Mat, product, product_of_rows};
use crate::simd::vectorised;

/// Rows of a linear map that are finished while they are in the cache.
const BLOCK: usize = 128;
/// Number of partial results of a sum or a maximum over a row, because the compiler may not reorder
/// additions by itself.
const LANES: usize = 16;

/// The function after a linear map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// No function.
    None,
    /// x times the normal distribution's share below x (Hendrycks and Gimpel, 2016), by the error
    /// function.
    Gelu,
    /// The same, with the approximation by the hyperbolic tangent.
    GeluTanh,
    /// max(x, 0).
    Relu,
}

/// e^x to an ulp or two: 2^n times a polynomial on +-ln(2)/2, whose next term is below 6e-9. Below
/// -87 it is e^-87, above 88 e^88.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // ln(2) in two parts, the first with few digits, so that n times it is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = 1.0 / 5040.0;
    for c in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        p = p * r + c;
    }
    // n is between -126 and 127 by the clamp.
    p * f32::from_bits(((n as i32 + 127) << 23) as u32)
}

/// The error function, to 5e-7, of which 1.5e-7 is the error of the formula (Abramowitz and Stegun,
/// Handbook of Mathematical Functions, 7.1.26).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let mut p = 1.061_405_4;
    for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        p = p * t + c;
    }
    (1.0 - p * t * exp(-a * a)).copysign(x)
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// Keeps a NaN, which `max` would turn into 0.
#[inline(always)]
fn relu(x: f32) -> f32 {
    if x <= 0.0 { 0.0 } else { x }
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    // sqrt(2 / pi); and tanh(u) = 1 - 2 / (e^2u + 1).
    let u = 0.797_884_6 * (x + 0.044_715 * x * x * x);
    0.5 * x * (2.0 - 2.0 / (exp(2.0 * u) + 1.0))
}

/// `out = gate(x weight + bias)`: `x` is `rows x k`, `weight` row-major `k x n` (the transpose of
/// what PyTorch keeps), `bias` of length n or empty, `out` `rows x n`.
///
/// # Panics
/// When shapes do not fit.
pub fn linear(out: &mut [f32], x: &[f32], weight: &[f32], bias: &[f32], k: usize, gate: Gate) {
    let n = weight.len() / k;
    assert!(
        weight.len() == k * n && x.len().is_multiple_of(k),
        "shapes differ"
    );
    assert!(bias.is_empty() || bias.len() == n, "bias does not fit");
    assert_eq!(out.len(), x.len() / k * n, "result does not fit its slice");
    let weight = Mat::new(weight, k, n);
    for (out, x) in out.chunks_mut(BLOCK * n).zip(x.chunks(BLOCK * k)) {
        product_of_rows(out, Mat::new(x, x.len() / k, k), weight, false);
        vectorised(
            #[inline(always)]
            || {
                for row in out.chunks_exact_mut(n) {
                    for (y, b) in row.iter_mut().zip(bias) {
                        *y += *b;
                    }
                    match gate {
                        Gate::None => (),
                        Gate::Gelu => row.iter_mut().for_each(|y| *y = gelu(*y)),
                        Gate::GeluTanh => row.iter_mut().for_each(|y| *y = gelu_tanh(*y)),
                        Gate::Relu => row.iter_mut().for_each(|y| *y = relu(*y)),
                    }
                }
            },
        );
    }
}

/// The sum over a row, in lanes.
#[inline(always)]
fn sum(row: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|x| of(*x)).sum();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += of(*x);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// `x = norm(x + residual) * gain + shift`, each row `gain.len()` wide: layer normalisation (Ba et
/// al., 2016) with the biased variance.
///
/// # Panics
/// When shapes do not fit.
pub fn add_norm(x: &mut [f32], residual: &[f32], gain: &[f32], shift: &[f32], eps: f32) {
    let n = gain.len();
    assert!(n > 0 && n == shift.len() && x.len().is_multiple_of(n) && x.len() == residual.len());
    vectorised(
        #[inline(always)]
        || {
            for (row, residual) in x.chunks_exact_mut(n).zip(residual.chunks_exact(n)) {
                for (x, r) in row.iter_mut().zip(residual) {
                    *x += *r;
                }
                let mean = sum(row, |x| x) / n as f32;
                let variance = sum(row, |x| (x - mean) * (x - mean)) / n as f32;
                let scale = 1.0 / (variance + eps).sqrt();
                for ((x, g), s) in row.iter_mut().zip(gain).zip(shift) {
                    *x = (*x - mean) * scale * *g + *s;
                }
            }
        },
    );
}

/// The bias of the score of a pair of tokens, by head and distance. Distances beyond `reach` count
/// as `reach`.
#[derive(Debug, Clone)]
pub struct DistanceBias {
    /// `heads x (2 reach + 1)`: of key position minus query position, from `-reach` up.
    pub values: Vec<f32>,
    /// The largest distance with a bias of its own.
    pub reach: usize,
}

impl DistanceBias {
    /// Adds the biases of one head to the row of scores of the query at position `i`.
    #[inline(always)]
    fn add(&self, scores: &mut [f32], head: usize, i: usize) {
        let width = 2 * self.reach + 1;
        let of = &self.values[head * width..][..width];
        let far = i.saturating_sub(self.reach).min(scores.len());
        let near = (i + self.reach + 1).min(scores.len());
        for s in &mut scores[..far] {
            *s += of[0];
        }
        for (s, b) in scores[far..near]
            .iter_mut()
            .zip(&of[far + self.reach - i..])
        {
            *s += *b;
        }
        for s in &mut scores[near..] {
            *s += of[width - 1];
        }
    }
}

/// Turns scores into weights: e^(score - largest), divided by their sum.
#[inline(always)]
fn softmax(row: &mut [f32]) {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder().iter();
    let mut largest = rest.fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a });
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    for lane in lanes {
        largest = if lane > largest { lane } else { largest };
    }
    for x in row.iter_mut() {
        *x = exp(*x - largest);
    }
    let scale = 1.0 / sum(row, |x| x);
    for x in row.iter_mut() {
        *x *= scale;
    }
}

/// Self-attention (Vaswani et al., 2017) within each of several texts that are stored one after
/// another.
///
/// `qkv` is `tokens x 3 width`: queries, keys and values side by side, each `heads` stretches of
/// `width / heads`; `lengths` are the tokens of each text; `out` is `tokens x width`.
///
/// # Panics
/// When shapes do not fit.
pub fn attend(
    out: &mut [f32],
    qkv: &[f32],
    lengths: &[u32],
    heads: usize,
    bias: Option<&DistanceBias>,
) {
    let tokens: usize = lengths.iter().map(|l| *l as usize).sum();
    assert!(tokens > 0 && out.len().is_multiple_of(tokens) && qkv.len() == 3 * out.len());
    let width = out.len() / tokens;
    let dim = width / heads;
    assert_eq!(width, dim * heads, "heads do not divide the width");
    let scale = 1.0 / (dim as f32).sqrt();
    let longest = lengths.iter().max().map_or(0, |l| *l as usize);
    let mut scores = vec![0.0_f32; longest * longest];
    let mut mixed = vec![0.0_f32; longest * dim];
    let mut start = 0;
    for n in lengths.iter().map(|l| *l as usize) {
        let text = &qkv[start * 3 * width..][..n * 3 * width];
        let out = &mut out[start * width..][..n * width];
        for head in 0..heads {
            let of = |part: usize| {
                let from = part * width + head * dim;
                // The last row ends where its head does.
                Mat::strided(&text[from..], n, dim, 3 * width)
            };
            let scores = &mut scores[..n * n];
            product(scores, of(0), of(1).t(), false);
            vectorised(
                #[inline(always)]
                || {
                    for (i, row) in scores.chunks_exact_mut(n).enumerate() {
                        for s in row.iter_mut() {
                            *s *= scale;
                        }
                        if let Some(bias) = bias {
                            bias.add(row, head, i);
                        }
                        softmax(row);
                    }
                },
            );
            product(&mut mixed, Mat::new(scores, n, n), of(2), false);
            for (row, mixed) in out.chunks_exact_mut(width).zip(mixed.chunks_exact(dim)) {
                row[head * dim..][..dim].copy_from_slice(mixed);
            }
        }
        start += n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gfm_pipe_testing::Random;
    use proptest::prelude::*;

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        let numbers = Random::new(seed).signed(n);
        numbers.into_iter().map(|x| x as f32).collect()
    }

    #[test]
    fn functions_are_those_of_the_library() {
        for i in -20_000..=20_000 {
            let x = i as f32 / 1000.0;
            let want = f64::from(x).exp();
            assert!((f64::from(exp(x)) / want - 1.0).abs() < 3e-7, "exp({x})");
            let want = libm::erf(f64::from(x));
            assert!((f64::from(erf(x)) - want).abs() < 5e-7, "erf({x})");
            let x64 = f64::from(x);
            let want = 0.5 * x64 * (1.0 + libm::erf(x64 / std::f64::consts::SQRT_2));
            assert!((f64::from(gelu(x)) - want).abs() < 2e-6, "gelu({x})");
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x64 + 0.044715 * x64.powi(3));
            let want = 0.5 * x64 * (1.0 + u.tanh());
            assert!(
                (f64::from(gelu_tanh(x)) - want).abs() < 2e-6,
                "gelu_tanh({x})"
            );
        }
        assert!(exp(-1e9) < 2e-38 && exp(1e9).is_finite());
    }

    /// The obvious version: one pair of tokens at a time, in double precision.
    fn slow_attention(
        qkv: &[f32],
        lengths: &[u32],
        heads: usize,
        bias: Option<&DistanceBias>,
    ) -> Vec<f64> {
        let tokens: usize = lengths.iter().map(|l| *l as usize).sum();
        let width = qkv.len() / tokens / 3;
        let dim = width / heads;
        let at = |t: usize, part: usize, h: usize, d: usize| {
            f64::from(qkv[t * 3 * width + part * width + h * dim + d])
        };
        let mut out = vec![0.0; tokens * width];
        let mut start = 0;
        for n in lengths.iter().map(|l| *l as usize) {
            for h in 0..heads {
                for i in 0..n {
                    let weights: Vec<f64> = (0..n)
                        .map(|j| {
                            let dot: f64 = (0..dim)
                                .map(|d| at(start + i, 0, h, d) * at(start + j, 1, h, d))
                                .sum();
                            let b = bias.map_or(0.0, |b| {
                                let r = b.reach as isize;
                                let d = (j as isize - i as isize).clamp(-r, r) + r;
                                f64::from(b.values[h * (2 * b.reach + 1) + d as usize])
                            });
                            (dot / (dim as f64).sqrt() + b).exp()
                        })
                        .collect();
                    let total: f64 = weights.iter().sum();
                    for d in 0..dim {
                        out[(start + i) * width + h * dim + d] = (0..n)
                            .map(|j| weights[j] / total * at(start + j, 2, h, d))
                            .sum();
                    }
                }
            }
            start += n;
        }
        out
    }

    proptest! {
        #[test]
        fn attention_equals_the_obvious_one(
            lengths in proptest::collection::vec(1u32..40, 1..6), heads in 1usize..4, dim in 1usize..40, reach in 0usize..50, seed in 0u64..99,
        ) {
            let tokens: usize = lengths.iter().map(|l| *l as usize).sum();
            let width = heads * dim;
            let qkv = numbers(tokens * 3 * width, seed);
            let bias = DistanceBias { values: numbers(heads * (2 * reach + 1), seed + 1), reach };
            for bias in [None, Some(&bias)] {
                let mut out = vec![f32::NAN; tokens * width];
                attend(&mut out, &qkv, &lengths, heads, bias);
                for (got, want) in out.iter().zip(slow_attention(&qkv, &lengths, heads, bias)) {
                    prop_assert!((f64::from(*got) - want).abs() < 1e-5, "{got} {want}");
                }
            }
        }

        #[test]
        fn rows_do_not_depend_on_those_beside_them(rows in 1usize..300, k in 1usize..70, n in 1usize..70, seed in 0u64..99) {
            let (x, w, b) = (numbers(rows * k, seed), numbers(k * n, seed + 1), numbers(n, seed + 2));
            let mut all = vec![0.0; rows * n];
            linear(&mut all, &x, &w, &b, k, Gate::Gelu);
            let (gain, shift) = (numbers(n, 3), numbers(n, 4));
            let mut normed = all.clone();
            let residual = numbers(rows * n, 5);
            add_norm(&mut normed, &residual, &gain, &shift, 1e-5);
            for row in [0, rows / 2, rows - 1] {
                let got = &all[row * n..][..n];
                let r = &residual[row * n..][..n];
                let sums: Vec<f64> = got.iter().zip(r).map(|(a, b)| f64::from(*a) + f64::from(*b)).collect();
                let mean = sums.iter().sum::<f64>() / n as f64;
                let variance = sums.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / n as f64;
                for j in 0..n {
                    let y: f64 = (0..k).map(|i| f64::from(x[row * k + i]) * f64::from(w[i * n + j])).sum::<f64>() + f64::from(b[j]);
                    let want = 0.5 * y * (1.0 + libm::erf(y / std::f64::consts::SQRT_2));
                    prop_assert!((f64::from(got[j]) - want).abs() < 1e-4);
                    let want = (sums[j] - mean) / (variance + 1e-5).sqrt() * f64::from(gain[j]) + f64::from(shift[j]);
                    prop_assert!((f64::from(normed[row * n + j]) - want).abs() < 1e-3, "{} {want}", normed[row * n + j]);
                }
            }
        }
    }
}
