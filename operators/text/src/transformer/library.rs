//! Networks that take rectangular batches: NomicBERT (Nussbaum et al., 2024) and Qwen3 (Qwen team,
//! 2025), which candle-transformers has, and those of `decoder.rs`.
//!
//! Only texts of one length go through together, and nothing is padded. On the CPU each text goes
//! through by itself, and its numbers cannot depend on others.

use candle_core::{Device, Result, Tensor, bail};
use candle_nn::VarBuilder;
use candle_transformers::models::{nomic_bert, qwen3};
use serde_json::Value;

use super::compute::Operations;
use super::decoder::{Decoder, with_rotations};
use super::tokens::{Tokens, rectangles};

/// A network.
pub(crate) enum Library {
    Nomic(nomic_bert::NomicBertModel),
    Qwen(qwen3::Model),
    Decoder(Box<Decoder>),
}

/// A network, with the width of its states and the length of the longest text.
pub(crate) struct Sized {
    pub(super) network: Library,
    pub(super) width: usize,
    pub(super) longest: usize,
    pub(super) vocabulary: usize,
    pub(super) heads: usize,
    pub(super) by: Operations,
    device: Device,
}

/// Refuses a key that the library would ignore.
fn refuse(config: &Value, key: &str) -> Result<()> {
    match config.get(key) {
        None | Some(Value::Null) => Ok(()),
        Some(value) => bail!("config.json: `{key}: {value}` is not implemented"),
    }
}

fn read<T: serde::de::DeserializeOwned>(config: &Value) -> Result<T> {
    serde_json::from_value(config.clone())
        .map_err(|e| candle_core::Error::Msg(format!("config.json: {e}")))
}

pub(super) fn nomic(vb: VarBuilder<'_>, config: &Value, by: Operations) -> Result<Sized> {
    refuse(config, "rotary_scaling_factor")?;
    let of: nomic_bert::Config = read(config)?;
    if of.activation_function != "swiglu" {
        bail!(
            "config.json: activation_function `{}` is not implemented (swiglu is)",
            of.activation_function
        );
    }
    Ok(Sized {
        width: of.n_embd,
        longest: of.n_positions,
        vocabulary: of.vocab_size,
        heads: of.n_head,
        device: vb.device().clone(),
        by,
        network: Library::Nomic(nomic_bert::NomicBertModel::load(vb, &of)?),
    })
}

/// On a GPU, `decoder.rs` computes this network: there the library uses other code for attention,
/// which no test on a CPU can run. It also reads settings that the library ignores.
pub(super) fn qwen(vb: VarBuilder<'_>, config: &Value, by: Operations) -> Result<Sized> {
    let settings = ["auto_map", "use_sliding_window"];
    let set = |key| config.get(key).is_some_and(|v| !v.is_null() && v != false);
    let sees_all = config["is_causal"] == false;
    if by == Operations::Candle || sees_all || settings.into_iter().any(set) {
        return decoder("qwen3", &vb, config, by);
    }
    refuse(config, "rope_scaling")?;
    let of: qwen3::Config = read(&with_rotations(config)?)?;
    // An encoder's files have no head, so names do not begin with `model.`.
    let vb = if vb.contains_tensor("model.embed_tokens.weight") {
        vb
    } else {
        vb.rename_f(|name| name.strip_prefix("model.").unwrap_or(name).to_owned())
    };
    Ok(Sized {
        width: of.hidden_size,
        longest: of.max_position_embeddings,
        vocabulary: of.vocab_size,
        heads: of.num_attention_heads,
        device: vb.device().clone(),
        by,
        network: Library::Qwen(qwen3::Model::new(&of, vb)?),
    })
}

/// A network of `decoder.rs`, of this `model_type`.
pub(super) fn decoder(
    kind: &str,
    vb: &VarBuilder<'_>,
    config: &Value,
    by: Operations,
) -> Result<Sized> {
    let network = match kind {
        "nvembed" => Decoder::nv_embed(vb, config)?,
        _ => Decoder::load(vb, config)?,
    };
    Ok(Sized {
        width: network.width(),
        longest: network.longest(),
        vocabulary: network.vocabulary(),
        heads: network.heads(),
        device: vb.device().clone(),
        by,
        network: Library::Decoder(Box::new(network)),
    })
}

impl Sized {
    /// States of the last layer: `tokens x width`.
    pub(super) fn forward(&self, batch: &Tokens) -> Result<Tensor> {
        let states = rectangles(batch, self.by)
            .map(|ids| self.network.forward(&Tensor::new(ids, &self.device)?));
        Tensor::cat(&states.collect::<Result<Vec<_>>>()?, 0)
    }
}

impl Library {
    /// `texts x tokens` to states, `(texts tokens) x width`.
    fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let states = match self {
            Library::Nomic(network) => network.forward(ids, None, None)?,
            // A new copy, because the network remembers what it has read. Weights are shared.
            Library::Qwen(network) => network.clone().forward(ids, 0)?,
            Library::Decoder(network) => network.forward(ids)?,
        };
        states.flatten_to(1)
    }
}
