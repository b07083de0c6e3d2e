//! The parts of networks, over `tokens x width` tensors of texts that are stored one after another.
//!
//! In single precision on the CPU they use the project's own kernels, fused and on one thread
//! (batches run in parallel). Elsewhere they use candle's operations. Tests compare the two.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, D, DType, Device, Layout, Result, Shape, Tensor, bail,
};
use gfm_pipe_kernels::transformer::{self as kernel, DistanceBias, Gate};

/// Whether the project's kernels can be used.
fn own(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

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
pub(super) struct Linear {
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
    pub(super) fn new(weight: &Tensor, bias: Option<Tensor>, gate: Gate) -> Result<Self> {
        let weight = weight.t()?.contiguous()?;
        let own = if own(&weight) {
            let bias = bias.as_ref().map(values).transpose()?.unwrap_or_default();
            Some(LinearKernel { bias, gate })
        } else {
            None
        };
        Ok(Linear {
            weight,
            bias,
            gate,
            own,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
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
    pub(super) fn new(gain: Tensor, shift: Tensor, eps: f64) -> Result<Self> {
        let own = if own(&gain) {
            Some(NormKernel {
                gain: values(&gain)?,
                shift: values(&shift)?,
                eps: eps as f32,
            })
        } else {
            None
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
        candle_nn::ops::layer_norm_slow(&(x + y)?, &self.gain, &self.shift, self.eps as f32)
    }
}

/// Self-attention within every text.
#[derive(Debug, Clone)]
pub(super) struct Attention {
    pub(super) heads: usize,
    pub(super) bias: Option<std::sync::Arc<DistanceBias>>,
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

impl Attention {
    /// `qkv` is `tokens x 3 width`. Returns `tokens x width`.
    pub(super) fn forward(&self, qkv: &Tensor, lengths: &[u32]) -> Result<Tensor> {
        if own(qkv) {
            return qkv.apply_op1_no_bwd(&AttentionKernel { of: self, lengths });
        }
        self.plain(qkv, lengths)
    }

    /// The same with candle's operations, over texts padded to the longest.
    fn plain(&self, qkv: &Tensor, lengths: &[u32]) -> Result<Tensor> {
        let (device, dtype) = (qkv.device(), qkv.dtype());
        let (texts, heads) = (lengths.len(), self.heads);
        let padded = Padded::new(lengths, device)?;
        let width = qkv.dim(1)? / 3;
        let dim = width / heads;
        let qkv = padded
            .fill(qkv)?
            .reshape((texts, padded.longest, 3, heads, dim))?;
        let part = |i: usize| {
            qkv.narrow(2, i, 1)?
                .squeeze(2)?
                .transpose(1, 2)?
                .contiguous()
        };
        let (q, k, v) = (part(0)?, part(1)?, part(2)?);
        let mut scores = (q.matmul(&k.t()?.contiguous()?)? / (dim as f64).sqrt())?;
        if let Some(bias) = &self.bias {
            scores = scores
                .broadcast_add(&square(bias, heads, padded.longest, device)?.to_dtype(dtype)?)?;
        }
        let hidden = padded
            .hidden
            .to_dtype(dtype)?
            .reshape((texts, 1, 1, padded.longest))?;
        let weights = candle_nn::ops::softmax(&scores.broadcast_add(&hidden)?, D::Minus1)?;
        let mixed = weights.matmul(&v)?.transpose(1, 2)?.contiguous()?;
        padded.pack(&mixed.reshape((texts * padded.longest, width))?)
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

/// Maps between texts stored one after another and texts padded to the longest.
pub(super) struct Padded {
    pub(super) longest: usize,
    /// For every position of the padded batch, its token; the text's last token for padding.
    from: Tensor,
    /// For every token, its position in the padded batch.
    to: Tensor,
    /// -1e4 at padding, else 0: `texts x longest`.
    hidden: Tensor,
    texts: usize,
}

impl Padded {
    pub(super) fn new(lengths: &[u32], device: &Device) -> Result<Self> {
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let (mut from, mut to, mut hidden) = (Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        for (text, n) in lengths.iter().enumerate() {
            from.extend((0..longest).map(|i| start + i.min(n - 1)));
            to.extend((0..*n).map(|i| text as u32 * longest + i));
            hidden.extend((0..longest).map(|i| if i < *n { 0.0_f32 } else { -1e4 }));
            start += n;
        }
        let texts = lengths.len();
        Ok(Padded {
            longest: longest as usize,
            from: Tensor::new(from, device)?,
            to: Tensor::new(to, device)?,
            hidden: Tensor::from_vec(hidden, (texts, longest as usize), device)?,
            texts,
        })
    }

    /// `tokens x …` to `texts x longest x …`.
    pub(super) fn fill(&self, x: &Tensor) -> Result<Tensor> {
        let mut shape = vec![self.texts, self.longest];
        shape.extend(&x.dims()[1..]);
        x.index_select(&self.from, 0)?.reshape(shape)
    }

    /// `(texts longest) x …` to `tokens x …`.
    pub(super) fn pack(&self, x: &Tensor) -> Result<Tensor> {
        x.index_select(&self.to, 0)
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
        let lengths = [4, 1, 7];
        let x = random(&[12, width]);
        for gate in [Gate::None, Gate::Gelu, Gate::GeluTanh, Gate::Relu] {
            let map = Linear::new(&random(&[20, width]), Some(random(&[20])), gate).unwrap();
            let plain = Linear {
                own: None,
                ..map.clone()
            };
            close(&map.forward(&x).unwrap(), &plain.forward(&x).unwrap());
        }
        let norm = AddNorm::new(random(&[width]), random(&[width]), 1e-5).unwrap();
        let plain = AddNorm {
            own: None,
            ..norm.clone()
        };
        let y = random(&[12, width]);
        close(
            &norm.forward(&x, &y).unwrap(),
            &plain.forward(&x, &y).unwrap(),
        );
        let qkv = random(&[12, 3 * width]);
        for reach in [None, Some(2), Some(30)] {
            let bias = reach.map(|reach| {
                let values = values(&random(&[heads * (2 * reach + 1)])).unwrap();
                std::sync::Arc::new(DistanceBias { values, reach })
            });
            let attention = Attention { heads, bias };
            let got = attention.forward(&qkv, &lengths).unwrap();
            close(&got, &attention.plain(&qkv, &lengths).unwrap());
        }
    }
}
