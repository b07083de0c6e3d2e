//! What a model starts from: fresh weights, those of another stage's model, or those of a file.
//!
//! Invariant: weights are only taken over for the encoder they were trained with, as far as that is known; what is taken, what
//! stays as initialised and what is left behind is said.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Tensor};
use gfm_pipe_api::{Connected, Context, OpError, OpResult, Problem};

use super::memory::check_weights;
use super::settings::Model;
use crate::inputs::{EncoderId, connected, problem_error, same_name};
use gfm_pipe_model::model::files::{GivenModel, read_checkpoint};
use gfm_pipe_model::model::{Class, ModelConfig, Params, read_model};
use gfm_pipe_model::tensor_error;

/// Weights to start from.
pub(crate) struct Start {
    /// For messages.
    name: String,
    /// By name, f32.
    pub tensors: BTreeMap<String, Tensor>,
    /// Dimensions of the model they come from, where these are known.
    config: Option<ModelConfig>,
    /// The encoder it was trained with: name and digest, as far as known.
    encoder: (Option<String>, Option<String>),
}

/// The problem with two models to start from.
pub(crate) fn start_problem(inputs: &Connected, checkpoint: Option<&Path>) -> Option<Problem> {
    let init = inputs.get("init").and_then(|i| i.first())?;
    let path = checkpoint?.display();
    Some(
        Problem::at_root(format!(
            "there are two models to start from: input `init` ({init}) and `train.checkpoint` ({path})"
        ))
        .hint("leave one of them out"),
    )
}

/// Initial weights: fresh ones, with those of the `init` port or the checkpoint where there is one.
///
/// A checkpoint that is a folder brings its dimensions along: they replace those of `model`, as in the reference.
pub(crate) fn start_weights(
    ctx: &Context,
    class: Class,
    model: &mut Model,
    checkpoint: Option<&Path>,
    encoder: &EncoderId,
    (seed, dtype): (u64, DType),
) -> OpResult<Params> {
    if let Some(p) = start_problem(&connected(ctx), checkpoint) {
        return Err(problem_error(p));
    }
    let start = match (ctx.input_opt("init"), checkpoint) {
        (Some(init), _) => {
            let stored = read_model(init)?;
            Some(Start {
                name: init.name.clone(),
                tensors: stored.params.to_map(),
                config: Some(stored.params.config),
                encoder: (
                    Some(stored.origin.encoder),
                    Some(stored.origin.encoder_digest),
                ),
            })
        }
        (None, Some(path)) => {
            let given = read_checkpoint(&ctx.base, path)?;
            let folder = given.file != path;
            if let Some(config) = given.config.as_ref().filter(|_| folder) {
                adopt(ctx, model, &config.entity_model, path);
            }
            Some(Start::given(ctx, given))
        }
        (None, None) => None,
    };
    let config = model.entity_model.config();
    check_weights(class, &config, encoder.dim, dtype.size_in_bytes())?;
    let mut weights =
        Params::init(class, &config, encoder.dim, seed, dtype).map_err(tensor_error)?;
    if let Some(start) = start {
        start.check(ctx, encoder)?;
        start.fill(ctx, &mut weights)?;
    }
    ctx.info(format!("{} parameters", weights.count()));
    Ok(weights)
}

/// Takes the dimensions of a checkpoint.
fn adopt(ctx: &Context, model: &mut Model, config: &ModelConfig, path: &Path) {
    if model.entity_model.config() != *config {
        ctx.info(format!(
            "the model is that of {}: input_dim {}, {} layers, {}, {}",
            path.display(),
            config.input_dim,
            config.layers(),
            word(&config.message_func),
            word(&config.aggregate_func),
        ));
        model.entity_model.adopt(config);
    }
}

/// A setting as it is written.
fn word(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.as_str().unwrap_or_default().to_owned()
}

impl Start {
    /// What a file gave.
    pub fn given(ctx: &Context, given: GivenModel) -> Self {
        let name = given.file.display().to_string();
        if let Some(note) = &given.note {
            ctx.info(format!("{name}: {note}"));
        }
        let ignored = given.config.iter().flat_map(|c| &c.ignored);
        for key in ignored {
            ctx.warn(format!(
                "{name}: {key} of its configuration means nothing here"
            ));
        }
        let config = given.config;
        Start {
            name,
            tensors: given.tensors,
            encoder: match &config {
                Some(c) => (c.encoder.clone(), c.encoder_digest.clone()),
                None => (None, None),
            },
            config: config.map(|c| c.entity_model),
        }
    }

    /// Holds that the weights were made for this encoder, as far as they say.
    pub fn check(&self, ctx: &Context, encoder: &EncoderId) -> OpResult<()> {
        let width = |name: &str| {
            let dims = self.tensors.get(name)?.dims();
            (dims.len() == 2).then(|| dims[1])
        };
        let (name, digest) = &self.encoder;
        let theirs = name.as_deref().unwrap_or("an encoder it does not name");
        let wide = width("rel_mlp.weight").unwrap_or(encoder.dim);
        if digest.as_ref().is_some_and(|d| *d != encoder.digest) || wide != encoder.dim {
            return Err(OpError::new(format!(
                "the start model was trained with {theirs} ({wide} wide) and the graph is embedded with {} ({} wide): its weights mean nothing here",
                encoder.name, encoder.dim
            ))
            .artifact(&self.name)
            .hint("embed with the same encoder, or start without it"));
        }
        if digest.is_none() && name.as_ref().is_some_and(|n| !same_name(n, &encoder.name)) {
            ctx.warn(format!(
                "{} was trained with {theirs}, the graph is embedded with {}: if these are not the same, its weights mean nothing here",
                self.name, encoder.name
            ));
        }
        Ok(())
    }

    /// Holds that the weights are those of the same function: where shapes fit, nothing else would tell.
    fn same_function(&self, config: &ModelConfig) -> OpResult<()> {
        let Some(theirs) = &self.config else {
            return Ok(());
        };
        let settings = |c: &ModelConfig| {
            [
                ("message_func", word(&c.message_func)),
                ("aggregate_func", word(&c.aggregate_func)),
                ("activation", word(&c.activation)),
                (
                    "short_cut",
                    if c.short_cut { "yes" } else { "no" }.to_owned(),
                ),
            ]
        };
        let differ: Vec<String> = settings(theirs)
            .into_iter()
            .zip(settings(config))
            .filter(|(a, b)| a != b)
            .map(|((key, a), (_, b))| format!("{key} {a} there and {b} here"))
            .collect();
        if differ.is_empty() {
            return Ok(());
        }
        Err(OpError::new(format!(
            "the start model computes something else with its weights: {}",
            differ.join(", ")
        ))
        .artifact(&self.name)
        .hint("set the same under `model.entity_model`"))
    }

    fn fill(&self, ctx: &Context, weights: &mut Params) -> OpResult<()> {
        self.same_function(&weights.config)?;
        let report = weights.take_over(&self.tensors).map_err(tensor_error)?;
        // The head's last bias fits any model: a start without any matrix is none.
        let matrix = |name: &String| self.tensors.get(name).is_some_and(|t| t.dims().len() == 2);
        if !report.taken.iter().any(matrix) {
            let theirs = match &self.config {
                Some(c) => format!("input_dim {} and {} layers", c.input_dim, c.layers()),
                None => format!("other tensors ({})", some(&report.left)),
            };
            return Err(OpError::new(format!(
                "no parameter of the start model fits: it has {theirs}, this stage input_dim {} and {} layers",
                weights.config.input_dim,
                weights.config.layers()
            ))
            .artifact(&self.name)
            .hint("give both the same `model.entity_model`"));
        }
        let mut said = format!("{} parameters taken from {}", report.taken.len(), self.name);
        if !report.kept.is_empty() {
            said += &format!("; stay as initialised: {}", report.kept.join(", "));
        }
        if !report.left.is_empty() {
            said += &format!("; have no place here: {}", some(&report.left));
        }
        ctx.info(said);
        Ok(())
    }
}

/// The first few names.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = names
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}
