//! Models as files outside the store: reads weights of other programs, and writes files for them.
//!
//! A model is a folder as the reference saves one (`config.json` beside `model.pth` or
//! `model.safetensors`), or one file of weights: a PyTorch `.pth`, `.safetensors`, or a `.parquet`
//! with the columns of a `model` artifact's `weights`. Invariant: whatever the bytes are, reading
//! returns tensors of finite values or an error that names the file, and no tensor is larger than
//! the file it comes from.

mod pth;
mod reference;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use gfm_pipe_api::foreign::git_lfs;
use gfm_pipe_api::{InputFile, OpError, OpResult, encoding, files, table};
use gfm_pipe_weights::{Refused, Tensors, check_finite, read_archive, unwrapped};

use super::store::{StoredConfig, weights_batch, weights_of};
use super::{Class, ModelConfig, Params};

pub use pth::write_pth;
pub use reference::{Encoder, config_json};

/// The configuration from a file beside the weights, or from the file of weights itself.
#[derive(Debug, Clone)]
pub struct GivenConfig {
    /// Class of the model.
    pub class: Class,
    /// Dimensions and switches of the network.
    pub entity_model: ModelConfig,
    /// Width of text embeddings.
    pub text_dim: usize,
    /// Name of the text encoder, if the configuration has it.
    pub encoder: Option<String>,
    /// Digest of that encoder. Only files that gfm-pipe wrote have it.
    pub encoder_digest: Option<String>,
    /// Keys in the configuration that have no effect.
    pub ignored: Vec<String>,
}

/// Weights from a file, with the reference's names.
#[derive(Debug, Clone)]
pub struct GivenModel {
    /// The file of weights, as the user wrote its path.
    pub file: PathBuf,
    /// Tensors by name, f32.
    pub tensors: BTreeMap<String, Tensor>,
    /// The configuration, if there is one.
    pub config: Option<GivenConfig>,
    /// Which changes were made to the names of tensors, for the user.
    pub note: Option<String>,
}

const CONFIG: &str = "config.json";
const PTH: &str = "model.pth";
const SAFETENSORS: &str = "model.safetensors";
/// Key of our configuration in the metadata of a safetensors file.
const METADATA: &str = "gfm-pipe-model";

enum Form {
    Folder,
    Pth,
    Safetensors,
    Parquet,
}

fn form(path: &Path) -> Form {
    let ending = path.extension().and_then(|e| e.to_str());
    match ending.map(str::to_ascii_lowercase).as_deref() {
        Some("pth" | "pt" | "bin") => Form::Pth,
        Some("safetensors") => Form::Safetensors,
        Some("parquet") => Form::Parquet,
        _ => Form::Folder,
    }
}

/// The files that a checkpoint may consist of. Their content is part of a stage's key.
pub fn input_files(path: &Path) -> Vec<InputFile> {
    let file = |path: PathBuf, required| InputFile::new(path, required);
    match form(path) {
        Form::Folder => vec![
            file(path.join(CONFIG), true),
            file(path.join(PTH), false),
            file(path.join(SAFETENSORS), false),
        ],
        _ => vec![
            file(path.to_owned(), true),
            file(path.with_file_name(CONFIG), false),
        ],
    }
}

/// Reads weights: `path` as the user wrote it, relative to `base`.
///
/// # Errors
/// When there is no file, or when a file is not a usable model. The error names the file.
pub fn read_checkpoint(base: &Path, path: &Path) -> OpResult<GivenModel> {
    let exists = |p: &Path| base.join(p).is_file();
    let files = match form(path) {
        Form::Folder => {
            let inside = [PTH, SAFETENSORS].map(|name| path.join(name));
            inside.into_iter().filter(|p| exists(p)).collect()
        }
        _ => vec![path.to_owned()],
    };
    let mut all = Vec::new();
    for file in &files {
        all.push((file, read_weights(base, file)?));
    }
    let mut all = all.into_iter();
    let Some((file, weights)) = all.next() else {
        return Err(
            OpError::new(format!("there is neither {PTH} nor {SAFETENSORS} in it"))
                .file(path)
                .hint("models on a hub are not downloaded here: put config.json and model.pth of the model into a folder"),
        );
    };
    let mut own = weights.config;
    for (other, theirs) in all {
        // They come from different exports. One of them is stale, and nothing says which.
        if !same(&weights.tensors, &theirs.tensors) {
            return Err(OpError::new(format!(
                "{} beside it has other weights",
                other.file_name().unwrap_or_default().to_string_lossy()
            ))
            .file(file)
            .hint("remove the file that you do not want to use"));
        }
        own = own.or(theirs.config);
    }
    let beside = file.with_file_name(CONFIG);
    let mut config = own.clone();
    if exists(&beside) {
        // The file beside the weights takes precedence. It cannot have the digest of the encoder,
        // so that comes from the weights if they name the same encoder.
        let mut read = read_config(base, &beside)?;
        if let Some(own) = own.filter(|o| o.encoder == read.encoder) {
            read.encoder_digest = own.encoder_digest;
        }
        config = Some(read);
    }
    Ok(GivenModel {
        file: file.clone(),
        tensors: weights.tensors,
        config,
        note: weights.note,
    })
}

/// The content of one file of weights.
struct WeightsFile {
    tensors: Tensors,
    /// The configuration inside the file.
    config: Option<GivenConfig>,
    /// See [`GivenModel::note`].
    note: Option<String>,
}

fn read_weights(base: &Path, file: &Path) -> OpResult<WeightsFile> {
    const UNKNOWN: &str = "the file is damaged or incomplete, or its format is not .pth, .safetensors or .parquet; a folder needs config.json and model.pth";
    let bad = |e: Refused| {
        let hint = e.hint.unwrap_or_else(|| UNKNOWN.to_owned());
        OpError::data(format!("no usable weights: {}", e.problem))
            .file(file)
            .hint(hint)
    };
    let read = || -> Result<WeightsFile, Refused> {
        let full = base.join(file);
        let (tensors, config) = match form(file) {
            Form::Safetensors => read_safetensors(&full)?,
            Form::Parquet => (read_parquet(&full)?, None),
            // The reference's training checkpoints have the weights under this key, beside the
            // optimizer's state.
            Form::Pth | Form::Folder => (read_archive(&full, Some("model"))?, None),
        };
        if tensors.is_empty() {
            return Err(Refused::new("it has no tensors"));
        }
        let (tensors, note) = unwrapped(tensors)?;
        let tensors = tensors.into_iter().map(|(name, t)| Ok((name, to_f32(&t)?)));
        Ok(WeightsFile {
            tensors: tensors.collect::<Result<_, Refused>>()?,
            config,
            note,
        })
    };
    read().map_err(bad)
}

/// Whether two files have the same tensors, bit for bit.
fn same(a: &Tensors, b: &Tensors) -> bool {
    let bits = |t: &Tensor| -> Option<Vec<u32>> {
        let values: Vec<f32> = crate::tensor::to_f32(t).ok()?;
        Some(values.iter().map(|v| v.to_bits()).collect())
    };
    a.keys().eq(b.keys())
        && a.values()
            .zip(b.values())
            .all(|(x, y)| x.dims() == y.dims() && bits(x) == bits(y))
}

fn read_config(base: &Path, file: &Path) -> OpResult<GivenConfig> {
    let bytes =
        files::read(&base.join(file)).map_err(|e| OpError::wrap("failed to read", e).file(file))?;
    if let Some(error) = encoding::check(&bytes) {
        return Err(error.file(file));
    }
    let text = String::from_utf8(bytes)
        .map_err(|e| OpError::wrap("it is not UTF-8 text", e).file(file))?;
    reference::parse_config(&text).map_err(|e| {
        OpError::data(format!("no usable configuration: {e}"))
            .file(file)
            .hint("the file must be as GFM-RAG writes it: model_config with entity_model and rel_emb_dim (2.0: feat_dim)")
    })
}

fn to_f32(t: &Tensor) -> candle_core::Result<Tensor> {
    t.to_dtype(DType::F32)?.contiguous()
}

fn read_safetensors(file: &Path) -> Result<(Tensors, Option<GivenConfig>), Refused> {
    let (tensors, metadata) = gfm_pipe_weights::read_safetensors(file)?;
    let config = metadata
        .get(METADATA)
        .map(|json| StoredConfig::parse(json))
        .transpose()
        .map_err(|e| Refused::new(format!("its {METADATA}: {e}")))?;
    Ok((tensors, config.map(GivenConfig::from)))
}

fn read_parquet(file: &Path) -> Result<Tensors, Refused> {
    let head = files::open(file).and_then(|f| {
        let mut head = Vec::new();
        f.take(1024).read_to_end(&mut head).map(|_| head)
    })?;
    if let Some(pointer) = git_lfs(&head) {
        return Err(Refused::new(pointer.problem).hint(pointer.hint));
    }
    let broken = |e: &dyn std::fmt::Display| Refused::new(e.to_string());
    let mut out = Tensors::new();
    for batch in table::reader(file).map_err(|e| broken(&e))? {
        let batch = batch.map_err(|e| broken(&e))?;
        for (name, tensor) in weights_of(&batch).map_err(|e| broken(&e))? {
            check_finite(&name, &tensor)?;
            out.insert(name, tensor);
        }
    }
    Ok(out)
}

impl From<StoredConfig> for GivenConfig {
    fn from(c: StoredConfig) -> Self {
        GivenConfig {
            class: c.class,
            entity_model: c.entity_model,
            text_dim: c.text_dim,
            encoder: Some(c.origin.encoder),
            encoder_digest: Some(c.origin.encoder_digest),
            ignored: Vec::new(),
        }
    }
}

/// The bytes of a safetensors file with weights and configuration.
///
/// # Errors
/// When a tensor cannot be written.
pub fn safetensors_bytes(params: &Params, config: &StoredConfig) -> OpResult<Vec<u8>> {
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
        OpError::wrap("failed to write safetensors", e)
    };
    let json = serde_json::to_string(config).map_err(|e| failed(e.into()))?;
    let meta = std::collections::HashMap::from([(METADATA.to_owned(), json)]);
    let views = params.tensors.named();
    safetensors::serialize(views, Some(meta)).map_err(|e| failed(e.into()))
}

/// The bytes of a Parquet file with the columns of a `model` artifact's `weights`.
///
/// # Errors
/// When a tensor cannot be written.
pub fn parquet_bytes(params: &Params) -> OpResult<Vec<u8>> {
    let batch = weights_batch(params)?;
    let mut out = Vec::new();
    let mut writer = table::writer(&mut out, batch.schema())?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(out)
}

#[cfg(test)]
mod tests;
