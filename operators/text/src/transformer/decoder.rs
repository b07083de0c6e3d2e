//! Decoders that encode texts: Mistral (Jiang et al., 2023), Qwen2 (Yang et al., 2024), and
//! NV-Embed (Lee et al., 2024), whose tokens see the whole text and then attend to learned vectors;
//! on a GPU also Qwen3 (Qwen team, 2025).
//!
//! They are one network, over candle's operations on any device. It takes rectangular batches.

use candle_core::{DType, Device, Error, Result, Tensor, bail};
use candle_nn::{Activation, Linear, Module, VarBuilder};
use candle_transformers::utils::repeat_kv;
use serde::Deserialize;
use serde_json::Value;

/// `config.json`, as far as an embedding depends on it.
#[derive(Debug, Clone, Deserialize)]
struct Config {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    hidden_act: Activation,
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    #[serde(default = "ten_thousand")]
    rope_theta: f64,
    rope_scaling: Option<Value>,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    model_type: Option<String>,
    attention_bias: Option<bool>,
}

fn ten_thousand() -> f64 {
    10_000.0
}

/// A configuration with `rope_theta` in its older place. transformers 5 writes it into
/// `rope_parameters`. Other ways of rotating are refused.
pub(super) fn with_rotations(config: &Value) -> Result<Value> {
    let mut config = config.clone();
    let Some(rotations) = config.get("rope_parameters").filter(|r| !r.is_null()) else {
        return Ok(config);
    };
    let kind = rotations.get("rope_type");
    if kind.is_some_and(|kind| kind != "default") || !rotations.is_object() {
        bail!("config.json: `rope_parameters: {rotations}` is not implemented");
    }
    if let Some(theta) = rotations.get("rope_theta").cloned() {
        config["rope_theta"] = theta;
    }
    Ok(config)
}

/// Whether tokens see only those before them. Qwen2 with code of its own, as gte-Qwen2 and stella
/// have it, sees the whole text unless the configuration says otherwise.
pub(crate) fn is_causal(config: &Value) -> bool {
    let own_code = config["auto_map"]["AutoModel"] == OWN_QWEN2;
    config["is_causal"].as_bool().unwrap_or(!own_code)
}

/// Code in a model's folder that is known: Qwen2 whose tokens see the whole text.
const OWN_QWEN2: &str = "modeling_qwen.Qwen2Model";
/// The same of NV-Embed.
const OWN_NV_EMBED: &str = "modeling_nvembed.NVEmbedModel";

/// Most positions: those of a text as long as `max_seq_length` may be.
const MOST_POSITIONS: usize = 1 << 20;
/// Most heads, and most numbers in a head. No model has as many.
const MOST: usize = 1 << 16;

/// Refuses a number in config.json that no model has. Sizes are multiplied before weights are
/// compared with them.
fn bounded(key: &str, value: usize) -> Result<()> {
    if value > MOST {
        bail!("config.json: {key} is {value}, more than {MOST}");
    }
    Ok(())
}

impl Config {
    fn read(config: &Value) -> Result<Self> {
        let own: Config = serde_json::from_value(with_rotations(config)?)
            .map_err(|e| Error::Msg(format!("config.json: {e}")))?;
        if let Some(scaling) = &own.rope_scaling {
            bail!("config.json: `rope_scaling: {scaling}` is not implemented");
        }
        bounded("num_attention_heads", own.num_attention_heads)?;
        bounded("num_key_value_heads", own.pairs())?;
        bounded("head_dim", own.head_dim.unwrap_or(0))?;
        bounded("hidden_size", own.hidden_size)?;
        let (heads, pairs) = (own.num_attention_heads, own.pairs());
        if heads == 0 || pairs == 0 || !heads.is_multiple_of(pairs) {
            bail!("config.json: {pairs} key-value heads do not divide {heads} heads");
        }
        if own.head_dim.is_none() && !own.hidden_size.is_multiple_of(heads) {
            bail!(
                "config.json: {heads} heads do not divide hidden_size {}",
                own.hidden_size
            );
        }
        if !own.dim().is_multiple_of(2) || own.dim() == 0 {
            bail!(
                "config.json: heads are {} wide, positions need pairs",
                own.dim()
            );
        }
        Ok(own)
    }

    /// Whether the name of the network begins so.
    fn is(&self, name: &str) -> bool {
        let kind = self.model_type.as_deref();
        kind.is_some_and(|kind| kind.starts_with(name))
    }

    /// Whether queries, keys and values must have a bias.
    fn has_bias(&self) -> bool {
        self.attention_bias.unwrap_or(self.is("qwen2"))
    }

    /// Number of heads of keys and values.
    fn pairs(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Width of a head.
    fn dim(&self) -> usize {
        self.head_dim
            .unwrap_or(self.hidden_size / self.num_attention_heads)
    }

    /// Most tokens in a text. Beyond a window, tokens would not see each other.
    fn longest(&self) -> usize {
        let used = self.use_sliding_window.unwrap_or(!self.is("qwen"));
        let window = self.sliding_window.filter(|_| used);
        self.max_position_embeddings
            .min(window.unwrap_or(MOST_POSITIONS))
            .min(MOST_POSITIONS)
    }
}

/// Division by the root mean square.
struct Norm {
    gain: Tensor,
    eps: f32,
}

impl Norm {
    fn load(vb: &VarBuilder, width: usize, eps: f64) -> Result<Self> {
        Ok(Norm {
            gain: vb.get(width, "weight")?,
            eps: eps as f32,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::rms_norm(x, &self.gain, self.eps)
    }
}

struct Layer {
    attention_norm: Norm,
    query: Linear,
    key: Linear,
    value: Linear,
    /// Qwen3 normalises queries and keys, head by head.
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    mixed: Linear,
    norm: Norm,
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// A linear map with a bias.
fn biased(vb: &VarBuilder, from: usize, to: usize) -> Result<Linear> {
    let weight = vb.get((to, from), "weight")?;
    Ok(Linear::new(weight, Some(vb.get(to, "bias")?)))
}

/// A linear map, with a bias where the file has one.
fn linear(vb: &VarBuilder, from: usize, to: usize) -> Result<Linear> {
    let bias = if vb.contains_tensor("bias") {
        Some(vb.get(to, "bias")?)
    } else {
        None
    };
    Ok(Linear::new(vb.get((to, from), "weight")?, bias))
}

impl Layer {
    fn load(vb: &VarBuilder, config: &Config) -> Result<Self> {
        let (width, between) = (config.hidden_size, config.intermediate_size);
        let (all, shared) = (
            config.num_attention_heads * config.dim(),
            config.pairs() * config.dim(),
        );
        let norm = |name| Norm::load(&vb.pp(name), width, config.rms_norm_eps);
        let (attention, mlp) = (vb.pp("self_attn"), vb.pp("mlp"));
        let of_heads = |name| {
            let vb = attention.pp(name);
            let norm = config.is("qwen3");
            norm.then(|| Norm::load(&vb, config.dim(), config.rms_norm_eps))
                .transpose()
        };
        let seen = |name, to| {
            let vb = attention.pp(name);
            if config.has_bias() {
                biased(&vb, width, to)
            } else {
                linear(&vb, width, to)
            }
        };
        Ok(Layer {
            attention_norm: norm("input_layernorm")?,
            query: seen("q_proj", all)?,
            key: seen("k_proj", shared)?,
            value: seen("v_proj", shared)?,
            query_norm: of_heads("q_norm")?,
            key_norm: of_heads("k_norm")?,
            mixed: linear(&attention.pp("o_proj"), all, width)?,
            norm: norm("post_attention_layernorm")?,
            gate: linear(&mlp.pp("gate_proj"), width, between)?,
            up: linear(&mlp.pp("up_proj"), width, between)?,
            down: linear(&mlp.pp("down_proj"), between, width)?,
        })
    }
}

/// Rotations by position (Su et al., RoFormer, 2021): `positions x dim / 2`.
struct Rotations {
    cos: Tensor,
    sin: Tensor,
}

impl Rotations {
    fn new(config: &Config, device: &Device, dtype: DType) -> Result<Self> {
        let dim = config.dim();
        // In single precision like the original.
        let speeds: Vec<f32> = (0..dim)
            .step_by(2)
            .map(|i| 1.0 / (config.rope_theta as f32).powf(i as f32 / dim as f32))
            .collect();
        let positions = config.longest();
        let angles = (0..positions).flat_map(|p| speeds.iter().map(move |s| p as f32 * s));
        let angles = Tensor::from_iter(angles, &Device::Cpu)?.reshape((positions, dim / 2))?;
        let to_device = |x: Tensor| x.to_dtype(dtype)?.to_device(device);
        Ok(Rotations {
            cos: to_device(angles.cos()?)?,
            sin: to_device(angles.sin()?)?,
        })
    }

    /// Those of the first `n` positions.
    fn first(&self, n: usize) -> Result<(Tensor, Tensor)> {
        Ok((self.cos.narrow(0, 0, n)?, self.sin.narrow(0, 0, n)?))
    }
}

/// A decoder without a head.
pub(crate) struct Decoder {
    config: Config,
    causal: bool,
    words: Tensor,
    rotations: Rotations,
    layers: Vec<Layer>,
    norm: Norm,
    latent: Option<LatentAttention>,
}

impl Decoder {
    /// Mistral, Qwen2 or Qwen3.
    pub(super) fn load(vb: &VarBuilder, config: &Value) -> Result<Self> {
        let code = &config["auto_map"]["AutoModel"];
        let known = config["model_type"] == "qwen2" && code == OWN_QWEN2;
        if !code.is_null() && !known {
            bail!("config.json: `auto_map`: the code {code} is not implemented");
        }
        // An encoder's files have no head, so names need not begin with `model.`.
        let rooted = vb.pp("model");
        let vb = if vb.contains_tensor("embed_tokens.weight") {
            vb
        } else {
            &rooted
        };
        Decoder::of_parts(vb, config, is_causal(config), None)
    }

    /// NV-Embed.
    pub(super) fn nv_embed(vb: &VarBuilder, config: &Value) -> Result<Self> {
        let code = &config["auto_map"]["AutoModel"];
        if !code.is_null() && code != OWN_NV_EMBED {
            bail!("config.json: `auto_map`: the code {code} is not implemented");
        }
        let own = &config["text_config"];
        let latent = LatentAttention::load(
            &vb.pp("latent_attention_model"),
            &config["latent_attention_config"],
        )?;
        Decoder::of_parts(&vb.pp("embedding_model"), own, false, Some(latent))
    }

    fn of_parts(
        vb: &VarBuilder,
        config: &Value,
        causal: bool,
        latent: Option<LatentAttention>,
    ) -> Result<Self> {
        let config = Config::read(config)?;
        let width = config.hidden_size;
        if latent.as_ref().is_some_and(|l| l.width() != width) {
            bail!("config.json: the latent attention has another width than the text's network");
        }
        let words = vb.get((config.vocab_size, width), "embed_tokens.weight")?;
        let layers = (0..config.num_hidden_layers)
            .map(|i| Layer::load(&vb.pp("layers").pp(i), &config))
            .collect::<Result<_>>()?;
        Ok(Decoder {
            causal,
            rotations: Rotations::new(&config, vb.device(), words.dtype())?,
            words,
            layers,
            norm: Norm::load(&vb.pp("norm"), width, config.rms_norm_eps)?,
            latent,
            config,
        })
    }

    /// Number of heads of attention.
    pub(super) fn heads(&self) -> usize {
        self.config.num_attention_heads
    }

    /// Width of a state.
    pub(super) fn width(&self) -> usize {
        self.config.hidden_size
    }

    /// Most tokens in a text.
    pub(super) fn longest(&self) -> usize {
        self.config.longest()
    }

    /// Number of token ids that have an embedding.
    pub(super) fn vocabulary(&self) -> usize {
        self.config.vocab_size
    }

    /// Token ids, `texts x tokens`, to states, `texts x tokens x width`.
    pub(super) fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let (texts, n) = ids.dims2()?;
        let words = self.words.index_select(&ids.flatten_all()?, 0)?;
        let mut x = words.reshape((texts, n, self.width()))?;
        let hidden = self.hidden(n)?;
        for layer in &self.layers {
            let seen = self.attend(layer, &layer.attention_norm.forward(&x)?, hidden.as_ref())?;
            x = (x + seen)?;
            let y = layer.norm.forward(&x)?;
            let gate = self.config.hidden_act.forward(&layer.gate.forward(&y)?)?;
            x = (x + layer.down.forward(&(gate * layer.up.forward(&y)?)?)?)?;
        }
        let x = self.norm.forward(&x)?;
        match &self.latent {
            Some(latent) => latent.forward(&x),
            None => Ok(x),
        }
    }

    /// What hides later tokens from earlier ones: `n x n`; `None` where nothing is hidden.
    fn hidden(&self, n: usize) -> Result<Option<Tensor>> {
        if !self.causal || n == 1 {
            return Ok(None);
        }
        let of = |i: usize| (0..n).map(move |j| if j > i { f32::NEG_INFINITY } else { 0.0 });
        let hidden: Vec<f32> = (0..n).flat_map(of).collect();
        let hidden = Tensor::from_vec(hidden, (n, n), self.words.device())?;
        Ok(Some(hidden.to_dtype(self.words.dtype())?))
    }

    /// Attention within each text, in which several heads share keys and values.
    fn attend(&self, layer: &Layer, x: &Tensor, hidden: Option<&Tensor>) -> Result<Tensor> {
        let (texts, n, _) = x.dims3()?;
        let (heads, pairs, dim) = (
            self.config.num_attention_heads,
            self.config.pairs(),
            self.config.dim(),
        );
        let split = |map: &Linear, norm: Option<&Norm>, heads: usize| {
            let mut y = map.forward(x)?.reshape((texts, n, heads, dim))?;
            if let Some(norm) = norm {
                y = norm.forward(&y)?;
            }
            y.transpose(1, 2)?.contiguous()
        };
        let (cos, sin) = self.rotations.first(n)?;
        let turn = |x: Tensor| candle_nn::rotary_emb::rope(&x, &cos, &sin);
        let q = turn(split(&layer.query, layer.query_norm.as_ref(), heads)?)?;
        let k = repeat_kv(
            turn(split(&layer.key, layer.key_norm.as_ref(), pairs)?)?,
            heads / pairs,
        )?;
        let v = repeat_kv(split(&layer.value, None, pairs)?, heads / pairs)?;
        let mut scores = (q * (dim as f64).sqrt().recip())?.matmul(&k.t()?)?;
        if let Some(hidden) = hidden {
            scores = scores.broadcast_add(hidden)?;
        }
        let weights = candle_nn::ops::softmax_last_dim(&scores)?;
        let mixed = weights.matmul(&v)?.transpose(1, 2)?;
        layer
            .mixed
            .forward(&mixed.reshape((texts, n, heads * dim))?)
    }
}

/// The end of NV-Embed: states attend to learned vectors, and go through a map of their own.
struct LatentAttention {
    norm: candle_nn::LayerNorm,
    query: Linear,
    /// Keys and values of the learned vectors, which no text changes: `heads x vectors x dim`.
    keys: Tensor,
    values: Tensor,
    mixed: Linear,
    map_norm: candle_nn::LayerNorm,
    inner: Linear,
    outer: Linear,
}

/// `latent_attention_config` in `config.json`.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct LatentConfig {
    num_latents_value: usize,
    num_cross_heads: usize,
    hidden_dim: usize,
    latent_dim: usize,
    cross_dim_head: usize,
}

impl Default for LatentConfig {
    fn default() -> Self {
        LatentConfig {
            num_latents_value: 512,
            num_cross_heads: 8,
            hidden_dim: 4096,
            latent_dim: 4096,
            cross_dim_head: 4096,
        }
    }
}

impl LatentAttention {
    fn load(vb: &VarBuilder, config: &Value) -> Result<Self> {
        let config: LatentConfig = serde_json::from_value(config.clone())
            .map_err(|e| Error::Msg(format!("config.json: latent_attention_config: {e}")))?;
        let (width, heads, dim) = (
            config.latent_dim,
            config.num_cross_heads,
            config.cross_dim_head,
        );
        bounded("num_cross_heads", heads)?;
        bounded("cross_dim_head", dim)?;
        if width != config.hidden_dim {
            bail!(
                "config.json: latent_dim is {width}, hidden_dim {}",
                config.hidden_dim
            );
        }
        let norm = |vb: VarBuilder| candle_nn::layer_norm(width, 1e-5, vb);
        let (attention, map) = (
            vb.pp("cross_attend_blocks.0"),
            vb.pp("cross_attend_blocks.1"),
        );
        let all = heads * dim;
        let latents = vb.get((config.num_latents_value, width), "latents")?;
        let context = norm(attention.pp("norm_context"))?.forward(&latents)?;
        let pairs = linear(&attention.pp("fn.to_kv"), width, 2 * all)?.forward(&context)?;
        let part = |i: usize| {
            let part = pairs.narrow(1, i * all, all)?;
            let part = part.reshape((config.num_latents_value, heads, dim))?;
            part.transpose(0, 1)?.contiguous()
        };
        let inner = linear_of_any_width(&map.pp("fn.net.0"), width)?;
        let between = inner.weight().dim(0)? / 2;
        Ok(LatentAttention {
            norm: norm(attention.pp("norm"))?,
            query: linear(&attention.pp("fn.to_q"), width, all)?,
            keys: part(0)?,
            values: part(1)?,
            mixed: linear(&attention.pp("fn.to_out"), all, width)?,
            map_norm: norm(map.pp("norm"))?,
            inner,
            outer: linear(&map.pp("fn.net.2"), between, width)?,
        })
    }

    fn width(&self) -> usize {
        self.norm.weight().elem_count()
    }

    /// `texts x tokens x width` to the same.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let shape = x.dims3()?;
        let x = x.flatten_to(1)?;
        let (heads, _, dim) = self.keys.dims3()?;
        let tokens = x.dim(0)?;
        let q = self.query.forward(&self.norm.forward(&x)?)?;
        let q = q
            .reshape((tokens, heads, dim))?
            .transpose(0, 1)?
            .contiguous()?;
        let scores = (q * (dim as f64).sqrt().recip())?.matmul(&self.keys.t()?)?;
        let weights = candle_nn::ops::softmax_last_dim(&scores)?;
        let mixed = weights.matmul(&self.values)?.transpose(0, 1)?;
        let mixed = mixed.reshape((tokens, heads * dim))?;
        let x = (x + self.mixed.forward(&mixed)?)?;
        let inner = self.inner.forward(&self.map_norm.forward(&x)?)?;
        let parts = inner.chunk(2, 1)?;
        let gated = (&parts[0] * parts[1].gelu_erf()?)?;
        (x + self.outer.forward(&gated)?)?.reshape(shape)
    }
}

/// A linear map whose number of rows is known only from the file.
fn linear_of_any_width(vb: &VarBuilder, from: usize) -> Result<Linear> {
    let rows = vb.get_unchecked("weight")?.dim(0)?;
    linear(vb, from, rows)
}
