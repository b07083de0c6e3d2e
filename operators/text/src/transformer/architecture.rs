//! Chooses the network for a folder's `config.json`.

use candle_core::{Error, Result, Tensor, bail};
use candle_nn::VarBuilder;
use serde_json::Value;

use super::bert::Bert;
use super::compute::Operations;
use super::library::{self, Sized};
use super::tokens::Tokens;
use crate::error::NO_EMBEDDING;

/// A supported network.
pub(crate) enum Network {
    Own(Bert),
    Library(Box<Sized>),
}

/// The prefix of the class names of a `model_type`. `None` for an unsupported network.
pub(crate) fn class_of(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "bert" => "Bert",
        "roberta" => "Roberta",
        "xlm-roberta" => "XLMRoberta",
        "camembert" => "Camembert",
        "mpnet" => "MPNet",
        "nomic_bert" => "NomicBert",
        "qwen3" => "Qwen3",
        "mistral" => "Mistral",
        "qwen2" => "Qwen2",
        "nvembed" => "NVEmbed",
        _ => return None,
    })
}

/// Checks that the `architectures` of a configuration are classes of the network for its
/// `model_type`: a network with the same weights and other positions or attention would compute
/// other vectors.
pub(crate) fn agrees(class: &str, config: &Value) -> std::result::Result<(), String> {
    let named = match config.get("architectures") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(named)) => named,
        Some(other) => return Err(format!("architectures: expected a list, found {other}")),
    };
    let ends = ["Model", "For", "LMHead", "PreTrained"];
    let of_class = |name: &Value| {
        let rest = name.as_str().and_then(|n| n.strip_prefix(class));
        rest.is_some_and(|rest| ends.iter().any(|end| rest.starts_with(end)))
    };
    match named.iter().find(|name| !of_class(name)) {
        None => Ok(()),
        Some(other) => Err(format!(
            "model_type {} and architectures {other} contradict each other: expected a class like {class}Model",
            config["model_type"]
        )),
    }
}

impl Network {
    /// Loads the network for a `model_type` that [`class_of`] knows.
    pub(crate) fn load(
        kind: &str,
        vb: VarBuilder<'_>,
        config: &Value,
        by: Operations,
    ) -> Result<Self> {
        Ok(match kind {
            "nomic_bert" => Network::Library(Box::new(library::nomic(vb, config, by)?)),
            "qwen3" => Network::Library(Box::new(library::qwen(vb, config, by)?)),
            "mistral" | "qwen2" | "nvembed" => {
                Network::Library(Box::new(library::decoder(kind, &vb, config, by)?))
            }
            _ => {
                let config = serde_json::from_value(config.clone())
                    .map_err(|e| Error::Msg(format!("config.json: {e}")))?;
                Network::Own(Bert::load(&vb, &config, by)?)
            }
        })
    }

    /// Width of a state.
    pub(crate) fn width(&self) -> usize {
        match self {
            Network::Own(network) => network.width,
            Network::Library(network) => network.width,
        }
    }

    /// Most tokens in a text.
    pub(crate) fn longest(&self) -> usize {
        match self {
            Network::Own(network) => network.longest,
            Network::Library(network) => network.longest,
        }
    }

    /// Number of token ids that have an embedding.
    fn vocabulary(&self) -> usize {
        match self {
            Network::Own(network) => network.vocabulary(),
            Network::Library(network) => network.vocabulary,
        }
    }

    /// States of the last layer: `tokens x width`.
    ///
    /// # Errors
    /// When a token has no embedding.
    pub(crate) fn forward(&self, batch: &Tokens) -> Result<Tensor> {
        known(batch, self.vocabulary())?;
        let (by, heads) = match self {
            Network::Own(network) => network.attention(),
            Network::Library(network) => (network.by, network.heads),
        };
        by.check_scores(&batch.lengths, heads)?;
        match self {
            Network::Own(network) => network.forward(batch),
            Network::Library(network) => network.forward(batch),
        }
    }
}

/// Checks that all tokens have an embedding: a GPU would not notice.
pub(crate) fn known(batch: &Tokens, vocabulary: usize) -> Result<()> {
    match batch.ids.iter().find(|id| **id as usize >= vocabulary) {
        None => Ok(()),
        Some(id) => bail!("token {id} {NO_EMBEDDING}, there are {vocabulary}"),
    }
}
