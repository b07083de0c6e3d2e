//! BERT (Devlin et al., 2018), RoBERTa and XLM-RoBERTa (Liu et al., 2019; Conneau et al., 2019) and
//! MPNet (Song et al., 2020). They are one network, and differ only in how positions enter and in
//! the names of weights.

use std::sync::Arc;

use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;
use gfm_pipe_kernels::transformer::{DistanceBias, Gate};
use serde::Deserialize;

use super::compute::Operations;
use super::ops::{AddNorm, Attention, Linear};
use super::tokens::Tokens;

/// MPNet does not distinguish distances from here on.
const REACH: usize = 128;

/// `config.json`, as far as an embedding depends on it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Config {
    model_type: String,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    hidden_act: String,
    max_position_embeddings: usize,
    #[serde(default = "small")]
    layer_norm_eps: f64,
    pad_token_id: Option<usize>,
    #[serde(default)]
    position_embedding_type: Option<String>,
    #[serde(default = "buckets")]
    relative_attention_num_buckets: usize,
}

fn small() -> f64 {
    1e-12
}

fn buckets() -> usize {
    32
}

/// The names of weights in a family of models.
struct Names {
    /// Prefix of all names in files of a model with a head.
    root: &'static str,
    query: &'static str,
    key: &'static str,
    value: &'static str,
    mixed: &'static str,
    attention_norm: &'static str,
}

const BERT: Names = Names {
    root: "bert",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    mixed: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
};
const ROBERTA: Names = Names {
    root: "roberta",
    ..BERT
};
const MPNET: Names = Names {
    root: "mpnet",
    query: "attention.attn.q",
    key: "attention.attn.k",
    value: "attention.attn.v",
    mixed: "attention.attn.o",
    attention_norm: "attention.LayerNorm",
};

impl Config {
    fn names(&self) -> &'static Names {
        match self.model_type.as_str() {
            "mpnet" => &MPNET,
            "roberta" | "xlm-roberta" | "camembert" => &ROBERTA,
            _ => &BERT,
        }
    }

    fn gate(&self) -> Result<Gate> {
        Ok(match self.hidden_act.as_str() {
            "gelu" => Gate::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Gate::GeluTanh,
            "relu" => Gate::Relu,
            other => candle_core::bail!(
                "config.json: hidden_act `{other}` is not implemented (gelu, gelu_new, relu are)"
            ),
        })
    }

    /// The position of a text's first token: the families after BERT start counting after the
    /// padding token's id.
    fn first_position(&self) -> usize {
        match self.model_type.as_str() {
            "bert" => 0,
            // The default is 1, as in the original.
            _ => self.pad_token_id.unwrap_or(1) + 1,
        }
    }
}

struct Layer {
    qkv: Linear,
    mixed: Linear,
    attention_norm: AddNorm,
    inner: Linear,
    outer: Linear,
    norm: AddNorm,
}

/// The network without a head.
pub(crate) struct Bert {
    words: Tensor,
    /// Embeddings of positions, from a text's first one on. For BERT, the embedding of the first
    /// token type is added.
    positions: Tensor,
    norm: AddNorm,
    layers: Vec<Layer>,
    attention: Attention,
    /// Length of a state.
    pub(super) width: usize,
    /// Most tokens in a text.
    pub(super) longest: usize,
}

fn norm(vb: &VarBuilder, width: usize, eps: f64, by: Operations) -> Result<AddNorm> {
    // Files that were converted from TensorFlow have the older names.
    let (gain, shift) = if vb.contains_tensor("gamma") {
        ("gamma", "beta")
    } else {
        ("weight", "bias")
    };
    AddNorm::new(vb.get(width, gain)?, vb.get(width, shift)?, eps, by)
}

fn linear(vb: &VarBuilder, from: usize, to: usize, gate: Gate, by: Operations) -> Result<Linear> {
    let weight = vb.get((to, from), "weight")?;
    Linear::new(&weight, Some(vb.get(to, "bias")?), gate, by)
}

impl Bert {
    pub(super) fn load(vb: &VarBuilder, config: &Config, by: Operations) -> Result<Self> {
        if config
            .position_embedding_type
            .as_deref()
            .is_some_and(|t| t != "absolute")
        {
            candle_core::bail!(
                "config.json: position_embedding_type `{}` is not implemented (absolute is)",
                config.position_embedding_type.as_deref().unwrap_or("")
            );
        }
        let names = config.names();
        let rooted = vb.pp(names.root);
        let vb = if vb.contains_tensor("embeddings.word_embeddings.weight") {
            vb
        } else {
            &rooted
        };
        let (width, heads, eps) = (
            config.hidden_size,
            config.num_attention_heads,
            config.layer_norm_eps,
        );
        if heads == 0 || width % heads != 0 {
            candle_core::bail!("config.json: {heads} heads do not divide hidden_size {width}");
        }
        let e = vb.pp("embeddings");
        let words = e.pp("word_embeddings").get_unchecked("weight")?;
        if words.dims2()?.1 != width {
            candle_core::bail!(
                "config.json: hidden_size is {width}, word embeddings have another width"
            );
        }
        let first = config.first_position();
        let all = config.max_position_embeddings;
        if first >= all {
            candle_core::bail!(
                "config.json: max_position_embeddings {all} leaves no position to a text"
            );
        }
        let positions = e.get((all, width), "position_embeddings.weight")?;
        let mut positions = positions.narrow(0, first, all - first)?;
        if e.contains_tensor("token_type_embeddings.weight") {
            let kinds = e.pp("token_type_embeddings").get_unchecked("weight")?;
            positions = positions.broadcast_add(&kinds.narrow(0, 0, 1)?)?;
        }
        let encoder = vb.pp("encoder");
        let bias = if encoder.contains_tensor("relative_attention_bias.weight") {
            let shape = (config.relative_attention_num_buckets, heads);
            let table = encoder.get(shape, "relative_attention_bias.weight")?;
            Some(Arc::new(distance_bias(&table)?))
        } else {
            None
        };
        let layers = (0..config.num_hidden_layers).map(|i| {
            let l = encoder.pp("layer").pp(i);
            let part = |name: &str| -> Result<(Tensor, Tensor)> {
                let part = l.pp(name);
                Ok((
                    part.get((width, width), "weight")?,
                    part.get(width, "bias")?,
                ))
            };
            let (q, k, v) = (part(names.query)?, part(names.key)?, part(names.value)?);
            let weight = Tensor::cat(&[q.0, k.0, v.0], 0)?;
            let bias = Tensor::cat(&[q.1, k.1, v.1], 0)?;
            let inner = l.pp("intermediate.dense");
            let between = inner.get_unchecked("bias")?.dim(0)?;
            if between == 0 {
                candle_core::bail!("encoder.layer.{i}.intermediate has no rows");
            }
            Ok(Layer {
                qkv: Linear::new(&weight, Some(bias), Gate::None, by)?,
                mixed: linear(&l.pp(names.mixed), width, width, Gate::None, by)?,
                attention_norm: norm(&l.pp(names.attention_norm), width, eps, by)?,
                inner: linear(&inner, width, between, config.gate()?, by)?,
                outer: linear(&l.pp("output.dense"), between, width, Gate::None, by)?,
                norm: norm(&l.pp("output.LayerNorm"), width, eps, by)?,
            })
        });
        Ok(Bert {
            words,
            positions: positions.contiguous()?,
            norm: norm(&e.pp("LayerNorm"), width, eps, by)?,
            layers: layers.collect::<Result<_>>()?,
            attention: Attention { heads, bias, by },
            width,
            longest: all - first,
        })
    }

    /// How attention is computed, and with how many heads.
    pub(super) fn attention(&self) -> (Operations, usize) {
        (self.attention.by, self.attention.heads)
    }

    /// Number of token ids that have an embedding.
    pub(super) fn vocabulary(&self) -> usize {
        self.words.dims()[0]
    }

    /// States of the last layer: `tokens x width`.
    pub(super) fn forward(&self, batch: &Tokens) -> Result<Tensor> {
        let device = self.words.device();
        let words = self
            .words
            .index_select(&Tensor::new(batch.ids.as_slice(), device)?, 0)?;
        let positions: Vec<u32> = batch.lengths.iter().flat_map(|n| 0..*n).collect();
        let positions = self
            .positions
            .index_select(&Tensor::new(positions, device)?, 0)?;
        let texts = self
            .attention
            .texts(&batch.lengths, device, words.dtype())?;
        let mut x = self.norm.forward(&words, &positions)?;
        for layer in &self.layers {
            let seen = self.attention.forward(&layer.qkv.forward(&x)?, &texts)?;
            x = layer
                .attention_norm
                .forward(&layer.mixed.forward(&seen)?, &x)?;
            let inner = layer.outer.forward(&layer.inner.forward(&x)?)?;
            x = layer.norm.forward(&inner, &x)?;
        }
        Ok(x)
    }
}

/// Converts MPNet's table of buckets, `buckets x heads`, to biases by distance.
fn distance_bias(table: &Tensor) -> Result<DistanceBias> {
    let (buckets, heads) = table.dims2()?;
    if buckets < 4 {
        candle_core::bail!("config.json: relative_attention_num_buckets is {buckets}");
    }
    let by_head: Vec<Vec<f32>> = table.t()?.to_dtype(DType::F32)?.to_vec2()?;
    let reach = REACH as i64;
    let mut values = Vec::with_capacity(heads * (2 * REACH + 1));
    for of in by_head {
        values.extend((-reach..=reach).map(|d| of[bucket(d, buckets)]));
    }
    Ok(DistanceBias {
        values,
        reach: REACH,
    })
}

/// The bucket of a distance (key position minus query position): one for each small distance, then
/// wider and wider ones up to 128, in two halves by sign (Raffel et al., 2020). Computed in single
/// precision like the original, so that the borders are the same.
fn bucket(distance: i64, buckets: usize) -> usize {
    let half = buckets / 2;
    let side = if distance > 0 { half } else { 0 };
    let n = distance.unsigned_abs() as usize;
    let exact = half / 2;
    if n < exact {
        return side + n;
    }
    let log = (n as f32 / exact as f32).ln() / (REACH as f32 / exact as f32).ln();
    side + (exact + (log * (half - exact) as f32) as usize).min(half - 1)
}
