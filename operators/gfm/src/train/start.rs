//! What a model starts from: fresh weights, or those of another stage's model.

use candle_core::DType;
use gfm_pipe_api::{Context, OpError, OpResult};

use super::settings::Model;
use crate::inputs::EncoderId;
use crate::model::{Class, Params, read_model};
use crate::tensor_error;

/// Initial weights: fresh ones, with those of the `init` port where it is connected; and what to tell the user.
pub(crate) fn start_weights(
    ctx: &Context,
    class: Class,
    model: &Model,
    encoder: &EncoderId,
    seed: u64,
    dtype: DType,
) -> OpResult<(Params, Option<String>)> {
    let config = model.entity_model.config();
    let mut weights =
        Params::init(class, &config, encoder.dim, seed, dtype).map_err(tensor_error)?;
    let Some(init) = ctx.input_opt("init") else {
        return Ok((weights, None));
    };
    let stored = read_model(init)?;
    if stored.origin.encoder_digest != encoder.digest {
        return Err(OpError::new(format!(
            "the start model was trained with the encoder {} and the graph is embedded with {}: its weights mean nothing here",
            stored.origin.encoder, encoder.name
        ))
        .artifact(&init.name)
        .hint("embed with the same encoder, or leave `in.init` out"));
    }
    let report = weights.take_over(&stored.params).map_err(tensor_error)?;
    if report.taken.is_empty() {
        return Err(OpError::new(format!(
            "no parameter of the start model fits: it has input_dim {} and {} layers, this stage {} and {}",
            stored.params.config.input_dim,
            stored.params.config.layers(),
            config.input_dim,
            config.layers()
        ))
        .artifact(&init.name)
        .hint("give both stages the same `model.entity_model`"));
    }
    let kept = if report.kept.is_empty() {
        String::new()
    } else {
        format!("; stay as initialised: {}", report.kept.join(", "))
    };
    let said = format!(
        "{} parameters taken from {}{kept}",
        report.taken.len(),
        init.name
    );
    Ok((weights, Some(said)))
}
