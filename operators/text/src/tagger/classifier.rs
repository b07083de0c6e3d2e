//! A network with a head that scores the labels of tokens.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Result, Tensor, bail};
use candle_nn::VarBuilder;
use candle_transformers::models::debertav2::{self, DebertaV2Model};
use gfm_pipe_api::ErrorKind;
use gfm_pipe_kernels::transformer::{self as kernel, Gate};
use serde_json::Value;

use crate::error::EncoderError;
use crate::folder::Recipe;
use crate::transformer::architecture::{Network, agrees, class_of};
use crate::transformer::tokens::Tokens;
use crate::transformer::{Tokenised, broken, candle_message, tensors};

/// The supported networks, for messages.
const ARCHITECTURES: &str = "BERT, RoBERTa, XLM-RoBERTa, CamemBERT, MPNet and DeBERTa (v2 and v3)";

/// The prefix of the class names of a `model_type`. `None` for an unsupported network.
fn class(kind: &str) -> Option<&'static str> {
    match kind {
        "deberta-v2" => Some("DebertaV2"),
        "bert" | "roberta" | "xlm-roberta" | "camembert" | "mpnet" => class_of(kind),
        _ => None,
    }
}

fn kind(config: &Value) -> &str {
    config["model_type"].as_str().unwrap_or_default()
}

/// Checks that a configuration is that of a supported network; `path` is for messages.
pub(super) fn checked(config: &Value, path: &Path) -> std::result::Result<(), EncoderError> {
    let kind = kind(config);
    let Some(class) = class(kind) else {
        return Err(EncoderError::Refused {
            path: path.to_owned(),
            problem: format!("model_type `{kind}` is not implemented for token classification"),
            hint: Some(format!("implemented are {ARCHITECTURES}")),
            kind: ErrorKind::User,
        });
    };
    agrees(class, config).map_err(|problem| broken(path, problem))
}

enum Body {
    Known(Box<Network>),
    Deberta(Box<DebertaV2Model>),
}

/// A network with a head that scores the labels of tokens.
pub(super) struct Classifier {
    body: Body,
    width: usize,
    longest: usize,
    /// `width x labels`.
    weight: Vec<f32>,
    bias: Vec<f32>,
    labels: usize,
}

impl Classifier {
    /// Loads a network whose configuration was [`checked`].
    pub(super) fn load(
        recipe: &Recipe,
        config: &Path,
        labels: usize,
    ) -> std::result::Result<Self, EncoderError> {
        let (all, _) = tensors(&recipe.weights)?;
        let named = recipe.weights.first().map_or(config, PathBuf::as_path);
        let vb = VarBuilder::from_tensors(all, DType::F32, &Device::Cpu);
        let Some(rows) = head_rows(&vb) else {
            return Err(EncoderError::Refused {
                path: named.to_owned(),
                problem: "it has no `classifier.weight`, so it labels no tokens".to_owned(),
                hint: Some("use a model that was fine-tuned for token classification".to_owned()),
                kind: ErrorKind::User,
            });
        };
        if rows != labels {
            let problem = format!(
                "`id2label` has {labels} labels and `classifier.weight` {rows}: they are not of one model"
            );
            return Err(broken(config, problem));
        }
        Self::from_weights(vb, &recipe.network, labels)
            .map_err(|e| broken(named, candle_message(e)))
    }

    fn from_weights(vb: VarBuilder<'_>, config: &Value, labels: usize) -> Result<Self> {
        let head = vb.pp("classifier");
        let (body, width, longest) = match kind(config) {
            "deberta-v2" => {
                let config = deberta_config(config)?;
                let (width, longest) = (config.hidden_size, config.max_position_embeddings);
                let body = DebertaV2Model::load(vb.pp("deberta"), &config)?;
                (Body::Deberta(Box::new(body)), width, longest)
            }
            kind => {
                let body = Network::load(kind, vb.clone(), config)?;
                let (width, longest) = (body.width(), body.longest());
                (Body::Known(Box::new(body)), width, longest)
            }
        };
        let weight = head.get((labels, width), "weight")?;
        Ok(Classifier {
            body,
            width,
            longest,
            weight: weight.t()?.flatten_all()?.to_vec1()?,
            bias: head.get(labels, "bias")?.to_vec1()?,
            labels,
        })
    }

    /// Most tokens in a text, including special ones.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// For each text, the scores of its tokens' labels: `tokens x labels`.
    pub(super) fn scores(
        &self,
        batch: &[&Tokenised],
    ) -> std::result::Result<Vec<Vec<f32>>, EncoderError> {
        let states = match &self.body {
            Body::Known(network) => {
                let tokens = Tokens::concat(batch.iter().map(|t| t.ids()));
                network.forward(&tokens)
            }
            Body::Deberta(network) => one_by_one(network, batch),
        };
        let states = states.and_then(|x| x.flatten_all()?.to_vec1::<f32>());
        let states = states.map_err(|e| EncoderError::Network(candle_message(e)))?;
        let mut start = 0;
        let of_text = |text: &&Tokenised| {
            let end = start + text.tokens() * self.width;
            let states = &states[start..end];
            start = end;
            let mut out = vec![0.0; text.tokens() * self.labels];
            kernel::linear(
                &mut out,
                states,
                &self.weight,
                &self.bias,
                self.width,
                Gate::None,
            );
            out
        };
        Ok(batch.iter().map(of_text).collect())
    }
}

/// Number of labels of the head.
fn head_rows(vb: &VarBuilder<'_>) -> Option<usize> {
    let weight = vb.pp("classifier").get_unchecked("weight").ok()?;
    Some(weight.dims2().ok()?.0)
}

fn deberta_config(config: &Value) -> Result<debertav2::Config> {
    // The library supports this, but no test here compares it.
    if config["conv_kernel_size"].as_u64().is_some_and(|n| n > 0) {
        bail!("config.json: `conv_kernel_size` is not implemented");
    }
    serde_json::from_value(config.clone())
        .map_err(|e| candle_core::Error::Msg(format!("config.json: {e}")))
}

/// Runs each text by itself, because the library takes only rectangular batches: nothing is padded.
fn one_by_one(network: &DebertaV2Model, batch: &[&Tokenised]) -> Result<Tensor> {
    let states = batch.iter().map(|text| {
        let ids = Tensor::new(text.ids(), &Device::Cpu)?.unsqueeze(0)?;
        network.forward(&ids, None, None)?.squeeze(0)
    });
    Tensor::cat(&states.collect::<Result<Vec<_>>>()?, 0)
}
