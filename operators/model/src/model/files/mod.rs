//! Models as files outside the store: weights of other programs come in, ours go out.
//!
//! A folder as the reference saves one (`config.json` beside `model.pth` or `model.safetensors`),
//! or one file of weights: a PyTorch `.pth`, `.safetensors`, or a `.parquet` with the columns of a
//! `model` artifact's `weights`. Invariant: whatever the bytes, reading gives tensors of finite
//! values, or an error that names the file; no tensor is larger than the file it comes from.

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

/// The configuration that stands beside weights, or in them.
#[derive(Debug, Clone)]
pub struct GivenConfig {
    /// Class of the model.
    pub class: Class,
    /// Its dimensions.
    pub entity_model: ModelConfig,
    /// Width of text embeddings.
    pub text_dim: usize,
    /// Name of the text encoder, where it is said.
    pub encoder: Option<String>,
    /// That encoder's digest, where one of our files says it.
    pub encoder_digest: Option<String>,
    /// What was said there that means nothing to a model, by key.
    pub ignored: Vec<String>,
}

/// Weights from a file, under the reference's names.
#[derive(Debug, Clone)]
pub struct GivenModel {
    /// The file of weights, as the user wrote its path.
    pub file: PathBuf,
    /// Tensors by name, f32.
    pub tensors: BTreeMap<String, Tensor>,
    /// Their configuration, where there is one.
    pub config: Option<GivenConfig>,
    /// What was done to them on the way, for the user.
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

/// The files that stand for a checkpoint: their content belongs into the key.
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
/// When there is nothing, or what is there is no model; the error names the file.
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
    let Some((file, (tensors, mut own, note))) = all.next() else {
        return Err(
            OpError::new(format!("there is neither {PTH} nor {SAFETENSORS} in it"))
                .file(path)
                .hint("a model on a hub is not fetched here: put its config.json and model.pth into a folder"),
        );
    };
    for (other, (theirs, config, _)) in all {
        // Left there by different exports, one of them is stale, and nothing says which.
        if !same(&tensors, &theirs) {
            return Err(OpError::new(format!(
                "{} beside it holds other weights",
                other.file_name().unwrap_or_default().to_string_lossy()
            ))
            .file(file)
            .hint("remove the one that is not meant"));
        }
        own = own.or(config);
    }
    let beside = file.with_file_name(CONFIG);
    let mut config = own.clone();
    if exists(&beside) {
        // What stands beside counts; the digest of the encoder it names stands in our own files only.
        let mut read = read_config(base, &beside)?;
        if let Some(own) = own.filter(|o| o.encoder == read.encoder) {
            read.encoder_digest = own.encoder_digest;
        }
        config = Some(read);
    }
    Ok(GivenModel {
        file: file.clone(),
        tensors,
        config,
        note,
    })
}

/// Weights of a file, the configuration in it, and what was done to them.
type Read = (Tensors, Option<GivenConfig>, Option<String>);

fn read_weights(base: &Path, file: &Path) -> OpResult<Read> {
    const UNKNOWN: &str = "it is damaged or cut off, or none of .pth, .safetensors, .parquet or a folder with config.json and model.pth";
    let bad = |e: Refused| {
        let hint = e.hint.unwrap_or_else(|| UNKNOWN.to_owned());
        OpError::new(format!("no usable weights: {}", e.problem))
            .file(file)
            .hint(hint)
    };
    let read = || -> Result<Read, Refused> {
        let full = base.join(file);
        let (tensors, own) = match form(file) {
            Form::Safetensors => read_safetensors(&full)?,
            Form::Parquet => (read_parquet(&full)?, None),
            // A training's checkpoint has the weights under this key, beside its optimizer.
            Form::Pth | Form::Folder => (read_archive(&full, Some("model"))?, None),
        };
        if tensors.is_empty() {
            return Err(Refused::new("it holds no tensors"));
        }
        let (tensors, note) = unwrapped(tensors)?;
        let tensors = tensors.into_iter().map(|(name, t)| Ok((name, to_f32(&t)?)));
        Ok((tensors.collect::<Result<_, Refused>>()?, own, note))
    };
    read().map_err(bad)
}

/// Whether two files hold the same tensors, bit for bit.
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
        OpError::new(format!("no usable configuration: {e}"))
            .file(file)
            .hint("it is read as GFM-RAG writes it: model_config with entity_model and rel_emb_dim")
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
