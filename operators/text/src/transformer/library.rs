//! Networks that candle-transformers has: NomicBERT (Nussbaum et al., 2024) and Qwen3 (Qwen team,
//! 2025).
//!
//! They take rectangular batches. Each text goes through by itself, so nothing is padded, and its
//! numbers cannot depend on other texts.

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use candle_transformers::models::{nomic_bert, qwen3};
use serde_json::Value;

use super::tokens::Tokens;

/// A network of the library.
pub(crate) enum Library {
    Nomic(nomic_bert::NomicBertModel),
    Qwen(qwen3::Model),
}

/// A network, with the width of its states and the length of the longest text.
pub(crate) struct Sized {
    pub(super) network: Library,
    pub(super) width: usize,
    pub(super) longest: usize,
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

pub(super) fn nomic(vb: VarBuilder<'_>, config: &Value) -> Result<Sized> {
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
        network: Library::Nomic(nomic_bert::NomicBertModel::load(vb, &of)?),
    })
}

pub(super) fn qwen(vb: VarBuilder<'_>, config: &Value) -> Result<Sized> {
    refuse(config, "rope_scaling")?;
    let of: qwen3::Config = read(config)?;
    // An encoder's files have no head, so names do not begin with `model.`.
    let vb = if vb.contains_tensor("model.embed_tokens.weight") {
        vb
    } else {
        vb.rename_f(|name| name.strip_prefix("model.").unwrap_or(name).to_owned())
    };
    Ok(Sized {
        width: of.hidden_size,
        longest: of.max_position_embeddings,
        network: Library::Qwen(qwen3::Model::new(&of, vb)?),
    })
}

impl Library {
    /// States of the last layer: `tokens x width`.
    pub(super) fn forward(&self, batch: &Tokens) -> Result<Tensor> {
        let mut states = Vec::with_capacity(batch.lengths.len());
        let mut start = 0;
        for n in batch.lengths.iter().map(|n| *n as usize) {
            let ids = Tensor::new(&batch.ids[start..start + n], &candle_core::Device::Cpu)?
                .unsqueeze(0)?;
            let of = match self {
                Library::Nomic(network) => network.forward(&ids, None, None)?,
                // A new copy, because the network remembers what it has read. Weights are shared.
                Library::Qwen(network) => network.clone().forward(&ids, 0)?,
            };
            states.push(of.squeeze(0)?);
            start += n;
        }
        Tensor::cat(&states, 0)
    }
}
