//! Which network a folder's `config.json` asks for.

use candle_core::{Error, Result, Tensor};
use candle_nn::VarBuilder;
use serde_json::Value;

use super::bert::Bert;
use super::library::{self, Sized};
use super::tokens::Tokens;

/// One of them.
pub(super) enum Network {
    Own(Bert),
    Library(Sized),
}

/// Whether there is a network of this `model_type`.
pub(super) fn known(kind: &str) -> bool {
    matches!(
        kind,
        "bert" | "roberta" | "xlm-roberta" | "camembert" | "mpnet" | "nomic_bert" | "qwen3"
    )
}

impl Network {
    /// The network of a `model_type` that is [`known`].
    pub(super) fn load(kind: &str, vb: VarBuilder<'_>, config: &Value) -> Result<Self> {
        Ok(match kind {
            "nomic_bert" => Network::Library(library::nomic(vb, config)?),
            "qwen3" => Network::Library(library::qwen(vb, config)?),
            _ => {
                let config = serde_json::from_value(config.clone())
                    .map_err(|e| Error::Msg(format!("config.json: {e}")))?;
                Network::Own(Bert::load(&vb, &config)?)
            }
        })
    }

    /// Length of a state.
    pub(super) fn width(&self) -> usize {
        match self {
            Network::Own(network) => network.width,
            Network::Library(network) => network.width,
        }
    }

    /// Tokens a text may have.
    pub(super) fn longest(&self) -> usize {
        match self {
            Network::Own(network) => network.longest,
            Network::Library(network) => network.longest,
        }
    }

    /// States of the last layer: `tokens x width`.
    pub(super) fn forward(&self, batch: &Tokens) -> Result<Tensor> {
        match self {
            Network::Own(network) => network.forward(batch),
            Network::Library(network) => network.network.forward(batch),
        }
    }
}
