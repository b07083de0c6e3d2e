//! The weights that training starts from: random ones, those of another stage's model, or those of
//! a file.
//!
//! Invariant: weights are only copied if they were trained with the same encoder, as far as that is
//! known. The log says which parameters are copied, which stay as initialised, and which are not
//! used.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Tensor};
use gfm_pipe_api::{Connected, Context, OpError, OpResult, Problem};

use super::memory::check_weights;
use super::settings::Model;
use crate::inputs::{EncoderId, same_name};
use gfm_pipe_api::zip::{connected, problem_error};
use gfm_pipe_eval::features::fit::Weights;
use gfm_pipe_model::model::files::{GivenModel, read_checkpoint};
use gfm_pipe_model::model::{Class, ModelConfig, Params, read_model};
use gfm_pipe_model::tensor_error;

/// A model whose weights training starts from.
pub(crate) struct StartModel {
    /// Artifact or file, for messages.
    name: String,
    /// Weights by name, in f32.
    pub tensors: BTreeMap<String, Tensor>,
    /// The model's dimensions, if they are known.
    config: Option<ModelConfig>,
    /// Name of the encoder that the model was trained with, if it is known.
    encoder: Option<String>,
    /// Digest of that encoder, if it is known.
    encoder_digest: Option<String>,
}

/// Reports that both `init` and `train.checkpoint` are given.
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

/// What weights are before those of another model are copied.
pub(super) struct RandomStart<'a> {
    pub seed: u64,
    pub dtype: DType,
    /// The weights of ranking features, for a model that has them.
    pub features: Option<&'a Weights>,
}

/// Initial weights: random ones, overwritten by those of the `init` port or the checkpoint, if
/// there is one.
///
/// If the checkpoint is a folder, its dimensions replace those of `model`, as in GFM-RAG.
pub(super) fn initial_weights(
    ctx: &Context,
    class: Class,
    model: &mut Model,
    checkpoint: Option<&Path>,
    encoder: &EncoderId,
    start: RandomStart<'_>,
) -> OpResult<Params> {
    let RandomStart {
        seed,
        dtype,
        features,
    } = start;
    if let Some(p) = start_problem(&connected(ctx), checkpoint) {
        return Err(problem_error(p));
    }
    let start = match (ctx.input_opt("init"), checkpoint) {
        (Some(init), _) => {
            let stored = read_model(init)?;
            Some(StartModel {
                name: init.name.clone(),
                tensors: stored.params.to_map(),
                config: Some(stored.params.config),
                encoder: Some(stored.origin.encoder),
                encoder_digest: Some(stored.origin.encoder_digest),
            })
        }
        (None, Some(path)) => {
            let given = read_checkpoint(&ctx.base, path)?;
            let folder = given.file != path;
            if let Some(config) = given.config.as_ref().filter(|_| folder) {
                adopt(ctx, model, &config.entity_model, path);
            }
            Some(StartModel::from_file(ctx, given))
        }
        (None, None) => None,
    };
    model.check_width(encoder)?;
    let config = model.config();
    check_weights(class, &config, encoder.dim, dtype.size_in_bytes())?;
    let mut weights =
        Params::init(class, &config, encoder.dim, seed, dtype).map_err(tensor_error)?;
    if let Some(features) = features {
        weights.start_features(features)?;
    }
    if let Some(start) = start {
        start.check_encoder(ctx, encoder)?;
        start.copy_into(ctx, &mut weights)?;
    }
    ctx.info(format!("{} parameters", weights.count()));
    Ok(weights)
}

/// Replaces the dimensions of `model` by those of a checkpoint, and logs them if they differ.
fn adopt(ctx: &Context, model: &mut Model, config: &ModelConfig, path: &Path) {
    if model.config().without_features() != *config {
        ctx.info(format!(
            "the model is that of {}: input_dim {}, {} layers, {}, {}, use_ent_emb {}",
            path.display(),
            config.input_dim,
            config.layers(),
            setting(&config.message_func),
            setting(&config.aggregate_func),
            setting(&config.use_ent_emb),
        ));
        model.adopt(config);
    }
}

/// A setting as it is written in a pipeline.
fn setting(value: &impl serde::Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.as_str().map_or(json.to_string(), str::to_owned)
}

impl StartModel {
    /// A model that was read from a file. Logs what its configuration contains that is not used.
    pub fn from_file(ctx: &Context, given: GivenModel) -> Self {
        let name = given.file.display().to_string();
        if let Some(note) = &given.note {
            ctx.info(format!("{name}: {note}"));
        }
        let ignored = given.config.iter().flat_map(|c| &c.ignored);
        for key in ignored {
            ctx.warn(format!("{name}: {key} of its configuration is ignored"));
        }
        let config = given.config;
        StartModel {
            name,
            tensors: given.tensors,
            encoder: config.as_ref().and_then(|c| c.encoder.clone()),
            encoder_digest: config.as_ref().and_then(|c| c.encoder_digest.clone()),
            config: config.map(|c| c.entity_model),
        }
    }

    /// Checks that the model was trained with this encoder, as far as its encoder is known.
    pub fn check_encoder(&self, ctx: &Context, encoder: &EncoderId) -> OpResult<()> {
        let width = |name: &str| {
            let dims = self.tensors.get(name)?.dims();
            (dims.len() == 2).then(|| dims[1])
        };
        let (name, digest) = (&self.encoder, &self.encoder_digest);
        let theirs = name.as_deref().unwrap_or("an encoder it does not name");
        let wide = width("rel_mlp.weight").unwrap_or(encoder.dim);
        if digest.as_ref().is_some_and(|d| *d != encoder.digest) || wide != encoder.dim {
            return Err(OpError::new(format!(
                "the start model was trained with {theirs} ({wide} wide) and the graph is embedded with {} ({} wide): its weights cannot be used",
                encoder.name, encoder.dim
            ))
            .artifact(&self.name)
            .hint("embed with the same encoder, or start without it"));
        }
        if digest.is_none() && name.as_ref().is_some_and(|n| !same_name(n, &encoder.name)) {
            ctx.warn(format!(
                "{} was trained with {theirs}, the graph is embedded with {}: if these are not the same, its weights cannot be used",
                self.name, encoder.name
            ));
        }
        Ok(())
    }

    /// Checks that both models compute the same function. Matching shapes would not show a
    /// difference.
    fn check_same_function(&self, config: &ModelConfig) -> OpResult<()> {
        let Some(theirs) = &self.config else {
            return Ok(());
        };
        let settings = |c: &ModelConfig| {
            [
                ("message_func", setting(&c.message_func)),
                ("aggregate_func", setting(&c.aggregate_func)),
                ("activation", setting(&c.activation)),
                (
                    "short_cut",
                    if c.short_cut { "yes" } else { "no" }.to_owned(),
                ),
                ("use_ent_emb", setting(&c.use_ent_emb)),
            ]
        };
        let differ: Vec<String> = settings(theirs)
            .into_iter()
            .zip(settings(config))
            .filter(|(a, b)| a != b)
            .map(|((key, a), (_, b))| format!("{key} {a} there and {b} here"))
            .collect();
        let both = !theirs.features.is_empty() && !config.features.is_empty();
        if both && theirs.features != config.features {
            return Err(OpError::new(
                "the start model has weights for other ranking features than this version of the program knows",
            )
            .artifact(&self.name)
            .hint("train it again, or start without it"));
        }
        if differ.is_empty() {
            return Ok(());
        }
        Err(OpError::new(format!(
            "the start model computes another function with its weights: {}",
            differ.join(", ")
        ))
        .artifact(&self.name)
        .hint("set the same under `model` and `model.entity_model`"))
    }

    /// Copies the weights that fit into `weights`, and logs which.
    fn copy_into(&self, ctx: &Context, weights: &mut Params) -> OpResult<()> {
        self.check_same_function(&weights.config)?;
        let report = weights.take_over(&self.tensors).map_err(tensor_error)?;
        // The last bias of the head fits any model, so at least one matrix has to fit.
        let matrix = |name: &String| self.tensors.get(name).is_some_and(|t| t.dims().len() == 2);
        if !report.taken.iter().any(matrix) {
            let theirs = match &self.config {
                Some(c) => format!("input_dim {} and {} layers", c.input_dim, c.layers()),
                None => format!("other tensors ({})", first_names(&report.left)),
            };
            return Err(OpError::new(format!(
                "no parameter of the start model fits: it has {theirs}, this stage input_dim {} and {} layers",
                weights.config.input_dim,
                weights.config.layers()
            ))
            .artifact(&self.name)
            .hint("give both the same `model.entity_model`"));
        }
        let mut message = format!(
            "{} parameters copied from {}",
            report.taken.len(),
            self.name
        );
        if !report.kept.is_empty() {
            message += &format!("; left as initialised: {}", report.kept.join(", "));
        }
        if !report.left.is_empty() {
            message += &format!("; not used: {}", first_names(&report.left));
        }
        ctx.info(message);
        Ok(())
    }
}

/// The first few names, for messages.
fn first_names(names: &[String]) -> String {
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
