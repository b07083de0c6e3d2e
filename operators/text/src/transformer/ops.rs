//! The parts of networks, over `tokens x width` tensors of texts that are stored one after another.
//!
//! With [`Operations::Own`] they use the project's kernels, which are fused and run on one thread
//! (batches run in parallel). Otherwise they use candle's operations. Tests compare the two.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, DType, Device, Layout, Result, Shape, Tensor, bail,
};
use gfm_pipe_kernels::transformer::{self as kernel, DistanceBias, Gate};

use super::compute::Operations;

/// The elements of a contiguous single-precision tensor.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((from, to)) = layout.contiguous_offsets() else {
        bail!("a kernel was given a tensor that is not contiguous");
    };
    Ok(&storage.as_slice::<f32>()?[from..to])
}

/// The elements of a tensor of parameters, in order.
fn values(x: &Tensor) -> Result<Vec<f32>> {
    x.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}

/// A linear map and the function after it.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    /// `in x out`: transposed from the files.
    weight: Tensor,
    bias: Option<Tensor>,
    gate: Gate,
    own: Option<LinearKernel>,
}

#[derive(Debug, Clone)]
struct LinearKernel {
    bias: Vec<f32>,
    gate: Gate,
}

impl CustomOp2 for LinearKernel {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (k, n) = lw.shape().dims2()?;
        let x = slice(x, lx)?;
        let rows = x.len() / k;
        let mut out = vec![0.0; rows * n];
        kernel::linear(&mut out, x, slice(w, lw)?, &self.bias, k, self.gate);
        Ok((CpuStorage::F32(out), Shape::from((rows, n))))
    }
}

impl Linear {
    /// `weight` is `out x in`, as in the files.
    pub(crate) fn new(
        weight: &Tensor,
        bias: Option<Tensor>,
        gate: Gate,
        by: Operations,
    ) -> Result<Self> {
        let weight = weight.t()?.contiguous()?;
        let own = match by {
            Operations::Own => {
                let bias = bias.as_ref().map(values).transpose()?.unwrap_or_default();
                Some(LinearKernel { bias, gate })
            }
            Operations::Candle => None,
        };
        Ok(Linear {
            weight,
            bias,
            gate,
            own,
        })
    }

    /// `tokens x in` to `tokens x out`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if let Some(kernel) = &self.own {
            return x.apply_op2_no_bwd(&self.weight, kernel);
        }
        let mut y = x.matmul(&self.weight)?;
        if let Some(bias) = &self.bias {
            y = y.broadcast_add(bias)?;
        }
        match self.gate {
            Gate::None => Ok(y),
            Gate::Gelu => y.gelu_erf(),
            Gate::GeluTanh => y.gelu(),
            Gate::Relu => y.relu(),
        }
    }
}

/// The sum of two tensors, normalised.
#[derive(Debug, Clone)]
pub(super) struct AddNorm {
    gain: Tensor,
    shift: Tensor,
    eps: f64,
    own: Option<NormKernel>,
}

#[derive(Debug, Clone)]
struct NormKernel {
    gain: Vec<f32>,
    shift: Vec<f32>,
    eps: f32,
}

impl CustomOp2 for NormKernel {
    fn name(&self) -> &'static str {
        "add-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        y: &CpuStorage,
        ly: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut out = slice(x, lx)?.to_vec();
        kernel::add_norm(&mut out, slice(y, ly)?, &self.gain, &self.shift, self.eps);
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }
}

impl AddNorm {
    pub(super) fn new(gain: Tensor, shift: Tensor, eps: f64, by: Operations) -> Result<Self> {
        let own = match by {
            Operations::Own => Some(NormKernel {
                gain: values(&gain)?,
                shift: values(&shift)?,
                eps: eps as f32,
            }),
            Operations::Candle => None,
        };
        Ok(AddNorm {
            gain,
            shift,
            eps,
            own,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        if let Some(kernel) = &self.own {
            return x.apply_op2_no_bwd(y, kernel);
        }
        candle_nn::ops::layer_norm(&(x + y)?, &self.gain, &self.shift, self.eps as f32)
    }
}

/// Self-attention within every text.
#[derive(Debug, Clone)]
pub(super) struct Attention {
    pub(super) heads: usize,
    pub(super) bias: Option<std::sync::Arc<DistanceBias>>,
    pub(super) by: Operations,
}

struct AttentionKernel<'a> {
    of: &'a Attention,
    lengths: &'a [u32],
}

impl CustomOp1 for AttentionKernel<'_> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, width) = layout.shape().dims2()?;
        let mut out = vec![0.0; tokens * width / 3];
        let bias = self.of.bias.as_deref();
        kernel::attend(
            &mut out,
            slice(qkv, layout)?,
            self.lengths,
            self.of.heads,
            bias,
        );
        Ok((CpuStorage::F32(out), Shape::from((tokens, width / 3))))
    }
}

/// What attention needs to know of a batch, the same in all layers.
pub(super) enum Texts<'a> {
    Lengths(&'a [u32]),
    Padded {
        padded: Padded,
        /// `1 x heads x longest x longest`.
        bias: Option<Tensor>,
        /// -1e4 at padding, else 0: `texts x 1 x 1 x longest`. `None` where nothing is padded.
        hidden: Option<Tensor>,
    },
}

impl Attention {
    /// Prepares a batch of texts with these numbers of tokens.
    pub(super) fn texts<'a>(
        &self,
        lengths: &'a [u32],
        device: &Device,
        dtype: DType,
    ) -> Result<Texts<'a>> {
        if self.by == Operations::Own {
            return Ok(Texts::Lengths(lengths));
        }
        let padded = Padded::new(&ranges(lengths), device)?;
        let bias = self.bias.as_ref().map(|bias| {
            square(bias, self.heads, padded.longest, device).and_then(|x| x.to_dtype(dtype))
        });
        Ok(Texts::Padded {
            bias: bias.transpose()?,
            hidden: padded.hidden(lengths, device, dtype)?,
            padded,
        })
    }

    /// `qkv` is `tokens x 3 width`. Returns `tokens x width`.
    pub(super) fn forward(&self, qkv: &Tensor, texts: &Texts<'_>) -> Result<Tensor> {
        match texts {
            Texts::Lengths(lengths) => qkv.apply_op1_no_bwd(&AttentionKernel { of: self, lengths }),
            Texts::Padded {
                padded,
                bias,
                hidden,
            } => {
                let (texts, n, heads) = (padded.texts, padded.longest, self.heads);
                let width = qkv.dim(1)? / 3;
                let dim = width / heads;
                // `3 x texts x heads x n x dim`
                let qkv = padded.fill(qkv)?.reshape((texts, n, 3, heads, dim))?;
                let qkv = qkv.permute((2, 0, 3, 1, 4))?.contiguous()?;
                let part = |i: usize| qkv.narrow(0, i, 1)?.squeeze(0);
                let (q, k, v) = (part(0)?, part(1)?, part(2)?);
                let mut scores = (q * (dim as f64).sqrt().recip())?.matmul(&k.t()?)?;
                for added in [bias, hidden].into_iter().flatten() {
                    scores = scores.broadcast_add(added)?;
                }
                let weights = candle_nn::ops::softmax_last_dim(&scores)?;
                let mixed = weights.matmul(&v)?.transpose(1, 2)?.contiguous()?;
                padded.pack(&mixed.reshape((texts * n, width))?)
            }
        }
    }
}

/// The biases of all pairs of positions: `1 x heads x n x n`.
fn square(bias: &DistanceBias, heads: usize, n: usize, device: &Device) -> Result<Tensor> {
    let width = 2 * bias.reach + 1;
    let mut out = Vec::with_capacity(heads * n * n);
    for head in 0..heads {
        for i in 0..n {
            out.extend((0..n).map(|j| {
                let at = (j + bias.reach).saturating_sub(i).min(width - 1);
                bias.values[head * width + at]
            }));
        }
    }
    Tensor::from_vec(out, (1, heads, n, n), device)
}

/// The places of texts among the tokens of a batch: the first token, and how many there are.
pub(super) fn ranges(lengths: &[u32]) -> Vec<(u32, u32)> {
    let mut start = 0;
    let of_text = |n: &u32| {
        let first = start;
        start += n;
        (first, *n)
    };
    lengths.iter().map(of_text).collect()
}

/// Maps between texts stored one after another and texts padded to the longest.
pub(super) struct Padded {
    pub(super) longest: usize,
    texts: usize,
    /// For every position of the padded batch, its token; the text's last token for padding.
    /// `None` where the padded batch is the batch itself.
    from: Option<Tensor>,
    /// For every token, its position in the padded batch.
    to: Option<Tensor>,
}

impl Padded {
    /// Pads texts, or parts of them, that lie at these places among the batch's tokens.
    pub(super) fn new(places: &[(u32, u32)], device: &Device) -> Result<Self> {
        let texts = places.len();
        let longest = places.iter().map(|(_, n)| *n).max().unwrap_or(0);
        let whole = |(i, (start, n)): (usize, &(u32, u32))| {
            *n == longest && *start as usize == i * longest as usize
        };
        let (mut from, mut to) = (None, None);
        if !places.iter().enumerate().all(whole) {
            let (mut of_position, mut of_token) = (Vec::new(), Vec::new());
            for (text, (start, n)) in places.iter().enumerate() {
                of_position.extend((0..longest).map(|i| start + i.min(n - 1)));
                of_token.extend((0..*n).map(|i| text as u32 * longest + i));
            }
            from = Some(Tensor::new(of_position, device)?);
            to = Some(Tensor::new(of_token, device)?);
        }
        Ok(Padded {
            longest: longest as usize,
            texts,
            from,
            to,
        })
    }

    /// What hides the padding of texts of these lengths: -1e4, else 0: `texts x 1 x 1 x longest`.
    /// `None` where nothing is padded.
    fn hidden(&self, lengths: &[u32], device: &Device, dtype: DType) -> Result<Option<Tensor>> {
        let longest = self.longest as u32;
        if lengths.iter().all(|n| *n == longest) {
            return Ok(None);
        }
        let of_text = |n: &u32| {
            let n = *n;
            (0..longest).map(move |i| if i < n { 0.0_f32 } else { -1e4 })
        };
        let hidden: Vec<f32> = lengths.iter().flat_map(of_text).collect();
        let hidden = Tensor::from_vec(hidden, (self.texts, 1, 1, self.longest), device)?;
        Ok(Some(hidden.to_dtype(dtype)?))
    }

    /// `tokens x width` to `texts x longest x width`.
    pub(super) fn fill(&self, x: &Tensor) -> Result<Tensor> {
        let shape = (self.texts, self.longest, x.dim(1)?);
        match &self.from {
            Some(from) => x.index_select(from, 0)?.reshape(shape),
            None => x.reshape(shape),
        }
    }

    /// `(texts longest) x width` to `tokens x width`.
    fn pack(&self, x: &Tensor) -> Result<Tensor> {
        match &self.to {
            Some(to) => x.index_select(to, 0),
            None => Ok(x.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use super::*;

    fn random(shape: &[usize]) -> Tensor {
        Tensor::randn(0.0_f32, 1.0, shape, &Device::Cpu).unwrap()
    }

    fn close(a: &Tensor, b: &Tensor) {
        assert_eq!(a.dims(), b.dims());
        let d = (a - b).unwrap().abs().unwrap().max_all().unwrap();
        assert!(d.to_scalar::<f32>().unwrap() < 1e-5, "{d}");
    }

    #[test]
    fn kernels_equal_candles_operations() {
        let (heads, width) = (3, 12);
        let x = random(&[12, width]);
        for gate in [Gate::None, Gate::Gelu, Gate::GeluTanh, Gate::Relu] {
            let (weight, bias) = (random(&[20, width]), random(&[20]));
            let map = |by| Linear::new(&weight, Some(bias.clone()), gate, by).unwrap();
            let by = |by| map(by).forward(&x).unwrap();
            close(&by(Operations::Own), &by(Operations::Candle));
        }
        let (gain, shift, y) = (random(&[width]), random(&[width]), random(&[12, width]));
        let by = |by| {
            let norm = AddNorm::new(gain.clone(), shift.clone(), 1e-5, by).unwrap();
            norm.forward(&x, &y).unwrap()
        };
        close(&by(Operations::Own), &by(Operations::Candle));
        let qkv = random(&[12, 3 * width]);
        for lengths in [&[4_u32, 1, 7][..], &[4, 4, 4], &[12]] {
            for reach in [None, Some(2), Some(30)] {
                let bias = reach.map(|reach| {
                    let values = values(&random(&[heads * (2 * reach + 1)])).unwrap();
                    std::sync::Arc::new(DistanceBias { values, reach })
                });
                let by = |by| {
                    let bias = bias.clone();
                    let attention = Attention { heads, bias, by };
                    let texts = attention.texts(lengths, &Device::Cpu, DType::F32).unwrap();
                    attention.forward(&qkv, &texts).unwrap()
                };
                close(&by(Operations::Own), &by(Operations::Candle));
            }
        }
    }
}
