//! A network with a head that scores the labels of tokens.

use std::path::{Path, PathBuf};

use candle_core::{DType, Result, Tensor, bail};
use candle_nn::VarBuilder;
use candle_transformers::models::debertav2::{self, DebertaV2Model};
use gfm_pipe_api::ErrorKind;
use gfm_pipe_kernels::transformer::Gate;
use serde_json::Value;

use crate::error::EncoderError;
use crate::folder::Recipe;
use crate::transformer::architecture::{Network, agrees, class_of, known};
use crate::transformer::compute::Compute;
use crate::transformer::ops::Linear;
use crate::transformer::tokens::{Tokens, rectangles};
use crate::transformer::{Tokenised, broken, not_computed, not_loaded, tensors};

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
    Deberta {
        network: Box<DebertaV2Model>,
        vocabulary: usize,
        heads: usize,
    },
}

/// A network with a head that scores the labels of tokens.
pub(super) struct Classifier {
    compute: Compute,
    body: Body,
    longest: usize,
    head: Linear,
    labels: usize,
}

impl Classifier {
    /// Loads a network whose configuration was [`checked`].
    pub(super) fn load(
        recipe: &Recipe,
        config: &Path,
        labels: usize,
        compute: Compute,
    ) -> std::result::Result<Self, EncoderError> {
        let (all, _) = tensors(&recipe.weights)?;
        let named = recipe.weights.first().map_or(config, PathBuf::as_path);
        let head = all.get("classifier.weight");
        let Some(rows) = head.and_then(|w| Some(w.dims2().ok()?.0)) else {
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
        let vb = VarBuilder::from_tensors(all, compute.dtype(None), compute.device());
        let turn = compute.turn();
        let made = Self::from_weights(vb, &recipe.network, labels, compute.clone());
        let made = made.and_then(|made| compute.finish().map(|()| made));
        drop(turn);
        made.map_err(|e| not_loaded(named, e))
    }

    fn from_weights(
        vb: VarBuilder<'_>,
        config: &Value,
        labels: usize,
        compute: Compute,
    ) -> Result<Self> {
        let by = compute.operations();
        let head = vb.pp("classifier");
        let (body, width, longest) = match kind(config) {
            "deberta-v2" => {
                let config = deberta_config(config)?;
                let (width, longest) = (config.hidden_size, config.max_position_embeddings);
                let body = DebertaV2Model::load(vb.pp("deberta"), &config)?;
                let body = Body::Deberta {
                    network: Box::new(body),
                    vocabulary: config.vocab_size,
                    heads: config.num_attention_heads,
                };
                (body, width, longest)
            }
            kind => {
                let body = Network::load(kind, vb.clone(), config, by)?;
                let (width, longest) = (body.width(), body.longest());
                (Body::Known(Box::new(body)), width, longest)
            }
        };
        let weight = head.get((labels, width), "weight")?;
        let bias = head.get(labels, "bias")?;
        Ok(Classifier {
            compute,
            body,
            longest,
            head: Linear::new(&weight, Some(bias), Gate::None, by)?,
            labels,
        })
    }

    /// Most tokens in a text, including special ones.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// Where it computes.
    pub(super) fn compute(&self) -> &Compute {
        &self.compute
    }

    /// For each text, the scores of its tokens' labels: `tokens x labels`.
    pub(super) fn scores(
        &self,
        batch: &[&Tokenised],
    ) -> std::result::Result<Vec<Vec<f32>>, EncoderError> {
        let tokens = Tokens::concat(batch.iter().map(|t| t.ids()));
        let scores = self.all(&tokens).map_err(not_computed)?;
        let mut rest = scores.as_slice();
        let of_text = |text: &&Tokenised| {
            let (scores, behind) = rest.split_at(text.tokens() * self.labels);
            rest = behind;
            scores.to_vec()
        };
        Ok(batch.iter().map(of_text).collect())
    }

    /// The scores of all tokens of a batch: `tokens x labels`.
    fn all(&self, batch: &Tokens) -> Result<Vec<f32>> {
        let _turn = self.compute.turn();
        let states = match &self.body {
            Body::Known(network) => network.forward(batch)?,
            Body::Deberta {
                network,
                vocabulary,
                heads,
            } => {
                known(batch, *vocabulary)?;
                let by = self.compute.operations();
                by.check_scores(&batch.lengths, *heads)?;
                let of = |ids: Vec<Vec<u32>>| {
                    let ids = Tensor::new(ids, self.compute.device())?;
                    network.forward(&ids, None, None)?.flatten_to(1)
                };
                let parts = rectangles(batch, by).map(of);
                Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?
            }
        };
        let scores = self.head.forward(&states)?.to_dtype(DType::F32)?;
        scores.flatten_all()?.to_vec1()
    }
}

fn deberta_config(config: &Value) -> Result<debertav2::Config> {
    // The library supports this, but no test here compares it.
    if config["conv_kernel_size"].as_u64().is_some_and(|n| n > 0) {
        bail!("config.json: `conv_kernel_size` is not implemented");
    }
    serde_json::from_value(config.clone())
        .map_err(|e| candle_core::Error::Msg(format!("config.json: {e}")))
}
