//! Models as artifacts: `weights` (one row per tensor) and `config` (one row of JSON).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use candle_core::Tensor;
use gfm_pipe_api::{Artifact, Context, OpError, OpResult, columns, kinds};
use serde::{Deserialize, Serialize};

use super::{Class, ModelConfig, Params};
use crate::tensor::{tensor, to_f32};
use crate::tensor_error;

/// Version of the JSON in `config`.
const FORMAT: u32 = 1;

/// Where a model came from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The operator that trained it.
    pub operator: String,
    /// Name of the text encoder that computed its embeddings.
    pub encoder: String,
    /// Digest of that encoder.
    pub encoder_digest: String,
    /// Number of optimizer steps.
    pub steps: u64,
    /// The epoch that the weights come from (one-based).
    pub epoch: u32,
}

/// The JSON that is stored beside the weights.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredConfig {
    format: u32,
    /// Class of the model.
    pub class: Class,
    /// Width of text embeddings.
    pub text_dim: usize,
    /// Dimensions and switches of the network.
    pub entity_model: ModelConfig,
    /// Where the model came from.
    pub origin: Origin,
}

impl StoredConfig {
    /// Reads the JSON.
    ///
    /// # Errors
    /// What is wrong with it: it has another format version, or does not describe a model.
    pub fn parse(json: &str) -> Result<Self, String> {
        let value: serde_json::Value = serde_json::from_str(json).map_err(|e| e.to_string())?;
        match value["format"].as_u64() {
            Some(v) if v == u64::from(FORMAT) => {}
            Some(v) => return Err(format!("it has format {v}, this version reads {FORMAT}")),
            None => return Err("it has no format version".to_owned()),
        }
        let config: StoredConfig = serde_json::from_value(value).map_err(|e| e.to_string())?;
        config.entity_model.validate()?;
        Ok(config)
    }

    /// The configuration to store with these parameters.
    pub fn new(params: &Params, origin: &Origin) -> Self {
        StoredConfig {
            format: FORMAT,
            class: params.class,
            text_dim: params.text_dim,
            entity_model: params.config.clone(),
            origin: origin.clone(),
        }
    }
}

/// A model from the store.
#[derive(Debug, Clone)]
pub struct StoredModel {
    /// The parameters.
    pub params: Params,
    /// Where it came from.
    pub origin: Origin,
}

/// The rows of a `weights` table.
///
/// # Errors
/// When a tensor cannot be written.
pub fn weights_batch(params: &Params) -> OpResult<RecordBatch> {
    let (mut names, mut shapes, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (name, t) in params.iter() {
        names.push(name.to_owned());
        shapes.push(t.dims().iter().map(|d| *d as i64).collect::<Vec<_>>());
        values.push(to_f32(t).map_err(tensor_error)?);
    }
    columns::batch(
        &kinds::MODEL.tables[0],
        vec![
            Arc::new(StringArray::from(names)),
            columns::build_list_i64(&shapes),
            columns::build_large_list_f32(&values),
        ],
    )
}

/// The tensors in the rows of a `weights` table, f32.
///
/// # Errors
/// When a column is missing, or when values do not fit their shape.
pub fn weights_of(batch: &RecordBatch) -> OpResult<BTreeMap<String, Tensor>> {
    let names = columns::text(batch, "name")?;
    let shapes = columns::list_i64(batch, "shape")?;
    let values = columns::large_list_f32(batch, "values")?;
    let mut tensors = BTreeMap::new();
    for (i, (shape, values)) in shapes.into_iter().zip(values).enumerate() {
        let shape: Vec<usize> = shape.into_iter().map(|d| d.max(0) as usize).collect();
        let t = tensor(values, shape).map_err(tensor_error)?;
        tensors.insert(names.value(i).to_owned(), t);
    }
    Ok(tensors)
}

/// Writes a model to an output port of kind `model`.
///
/// # Errors
/// When the tables cannot be written.
pub fn write_model(ctx: &Context, port: &str, params: &Params, origin: &Origin) -> OpResult<()> {
    ctx.write(port, "weights", &weights_batch(params)?)?;
    let config = StoredConfig::new(params, origin);
    let json = serde_json::to_string(&config)
        .map_err(|e| OpError::wrap("failed to write the model's configuration", e))?;
    let config = columns::batch(
        &kinds::MODEL.tables[1],
        vec![Arc::new(StringArray::from(vec![json]))],
    )?;
    ctx.write(port, "config", &config)
}

/// Reads the configuration of a `model` artifact.
///
/// # Errors
/// When it does not describe a model.
pub fn read_config(artifact: &Artifact) -> OpResult<StoredConfig> {
    let table = artifact.read("config")?;
    let json = columns::text(&table, "json")?;
    StoredConfig::parse(json.value(0)).map_err(|e| {
        OpError::data(format!("the model's configuration is not usable: {e}"))
            .artifact(&artifact.name)
            .hint("run the stage that trained it again with `--force`")
    })
}

/// Reads a `model` artifact.
///
/// # Errors
/// When the tables cannot be read, or do not describe a model.
pub fn read_model(artifact: &Artifact) -> OpResult<StoredModel> {
    let bad = |e: candle_core::Error| {
        OpError::wrap("the artifact is not a usable model", e).artifact(&artifact.name)
    };
    let config = read_config(artifact)?;
    let tensors = weights_of(&artifact.read("weights")?)?;
    let params = Params::from_tensors(config.class, &config.entity_model, config.text_dim, tensors)
        .map_err(bad)?;
    Ok(StoredModel {
        params,
        origin: config.origin,
    })
}
