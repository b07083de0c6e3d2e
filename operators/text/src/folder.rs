//! Reads a model folder in the layout of sentence-transformers: the files that determine an
//! embedding, except weights.
//!
//! `config.json`, `modules.json`, the modules' own files and `sentence_bert_config.json` become one
//! [`Recipe`], or an error that names the file that asks for something this build cannot do.
//! Invariant: a key that would change an embedding and is not understood is refused, never ignored.

use std::path::{Path, PathBuf};

use gfm_pipe_api::{encoding, files};
use serde::Deserialize;
use serde_json::Value;

use crate::error::EncoderError;
use crate::modules::{self, MODULES, Module, Step};

/// File of the network's configuration.
pub(crate) const CONFIG: &str = "config.json";
/// File of the fast tokenizer.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// Files that may set the longest input.
const LENGTH: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];
/// File of prompts, by name.
const PROMPTS: &str = "config_sentence_transformers.json";
/// File of settings of the tokenizer that its own file does not have.
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// Files of weights; the first that exists is used.
pub(crate) const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// The content of a model folder, except weights.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    /// `config.json`, unchanged.
    pub(crate) network: Value,
    /// The steps after the network, in order.
    pub(crate) steps: Vec<Step>,
    /// The longest input in tokens that the folder asks for.
    pub(crate) max_tokens: Option<usize>,
    /// Whether texts are lower-cased first.
    pub(crate) lower_case: bool,
    /// The text that is put before every text, unless the pipeline gives another.
    pub(crate) prompt: Option<String>,
    /// The files of weights: one file, or its parts.
    pub(crate) weights: Vec<PathBuf>,
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, EncoderError> {
    let bytes = files::read(path).map_err(|source| EncoderError::ReadModel {
        path: path.to_owned(),
        source,
    })?;
    match EncoderError::of_pointer(path, &bytes) {
        Some(e) => Err(e),
        None => Ok(bytes),
    }
}

pub(crate) fn invalid(path: &Path, problem: impl Into<String>) -> EncoderError {
    EncoderError::Model {
        path: path.to_owned(),
        problem: problem.into(),
    }
}

pub(crate) fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, EncoderError> {
    let bytes = read(path)?;
    if let Some(encoding) = encoding::foreign(&bytes) {
        let (what, hint) = (encoding.describe(), encoding.hint());
        return Err(invalid(path, format!("it is {what}, not UTF-8: {hint}")));
    }
    serde_json::from_slice(&bytes).map_err(|e| invalid(path, e.to_string()))
}

/// Reads a JSON file. `None` where it does not exist; a file that is not JSON is refused.
pub(crate) fn json_if_there<T: serde::de::DeserializeOwned>(
    path: &Path,
) -> Result<Option<T>, EncoderError> {
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Ok(found) if !found.is_file() => Err(invalid(path, "not a regular file")),
        _ => json(path).map(Some),
    }
}

/// The modules of a folder, as far as they can be read. Loading the folder reports mistakes in
/// them.
fn modules(folder: &Path) -> Vec<Module> {
    modules::listed(folder).ok().flatten().unwrap_or_default()
}

/// The folders of a model that may hold weights, relative to it: the model's own, and those of its
/// modules.
#[cfg(feature = "hub")]
pub(crate) fn weight_folders(folder: &Path) -> Vec<PathBuf> {
    let subs = modules(folder).into_iter().map(|m| m.path);
    let subs = subs.filter(|p| !p.is_empty());
    std::iter::once(PathBuf::new())
        .chain(subs.map(PathBuf::from))
        .collect()
}

/// Checks that a file named by another one is in the folder: files elsewhere are not part of the
/// model's identity.
pub(crate) fn inside(named_by: &Path, path: &str) -> Result<(), EncoderError> {
    let mut parts = Path::new(path).components();
    if parts.all(|c| matches!(c, std::path::Component::Normal(_))) {
        return Ok(());
    }
    Err(invalid(
        named_by,
        format!("`{path}` is outside of the folder"),
    ))
}

/// The parts that an index of weights lists, in the order of their names.
fn parts(index: &Path) -> Result<Vec<PathBuf>, EncoderError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let names: std::collections::BTreeSet<String> =
        json::<Index>(index)?.weight_map.into_values().collect();
    for name in &names {
        inside(index, name)?;
    }
    let folder = index.parent().unwrap_or(Path::new(""));
    Ok(names.into_iter().map(|n| folder.join(n)).collect())
}

/// The files of weights in a folder; empty where there are none.
pub(crate) fn weights(folder: &Path) -> Result<Vec<PathBuf>, EncoderError> {
    for name in WEIGHTS {
        let path = folder.join(name);
        if path.is_file() {
            return if name.ends_with(".json") {
                parts(&path)
            } else {
                Ok(vec![path])
            };
        }
    }
    Ok(Vec::new())
}

/// Every file of a model folder that can change an embedding, relative to the folder, and whether
/// it is required. For a folder that does not exist or is broken, the list has the files that every
/// folder needs: reading them reports what is wrong.
pub(crate) fn deciding_files(folder: &Path) -> Vec<(PathBuf, bool)> {
    let mut out: Vec<(PathBuf, bool)> = vec![(CONFIG.into(), true), (TOKENIZER.into(), true)];
    let optional = [MODULES, PROMPTS, TOKENIZER_CONFIG];
    out.extend(
        optional
            .iter()
            .chain(&LENGTH)
            .map(|n| (PathBuf::from(n), false)),
    );
    let of_folder = |sub: &Path| {
        let files = weights(&folder.join(sub)).unwrap_or_default();
        let files = files
            .into_iter()
            .filter_map(|f| Some(f.strip_prefix(folder).ok()?.to_owned()));
        files.map(|f| (f, true)).collect::<Vec<_>>()
    };
    for module in modules(folder) {
        if !module.path.is_empty() {
            let sub = PathBuf::from(&module.path);
            let needed = matches!(module.class(), "Pooling" | "Dense");
            out.push((sub.join(CONFIG), needed));
            out.extend(of_folder(&sub));
        }
    }
    // Weights come last, because they are large: where they exist, the other files do, too.
    match of_folder(Path::new("")) {
        none if none.is_empty() => out.push((WEIGHTS[0].into(), true)),
        files => out.extend(files),
    }
    out
}

impl Recipe {
    /// Reads a folder.
    ///
    /// # Errors
    /// When a file is missing, is not JSON, or asks for something this build cannot do.
    pub(crate) fn read(folder: &Path) -> Result<Recipe, EncoderError> {
        let network: Value = json(&folder.join(CONFIG))?;
        let steps = modules::steps(folder, &network)?;
        let (max_tokens, lower_case) = length(folder)?;
        let weights = weights(folder)?;
        if weights.is_empty() {
            return Err(invalid(
                &folder.join(WEIGHTS[0]),
                "no weights: neither model.safetensors nor pytorch_model.bin is there",
            ));
        }
        Ok(Recipe {
            network,
            steps,
            max_tokens,
            lower_case,
            prompt: default_prompt(&folder.join(PROMPTS))?,
            weights,
        })
    }
}

/// Whether the tokenizer with these bytes cuts texts at their beginning. Refuses settings with
/// which transformers would change the tokenizer beyond its file.
pub(crate) fn cut_at_start(folder: &Path, tokenizer: &[u8]) -> Result<bool, EncoderError> {
    #[derive(Deserialize, Default)]
    struct Settings {
        do_lower_case: Option<bool>,
        truncation_side: Option<String>,
    }
    let path = folder.join(TOKENIZER_CONFIG);
    let settings: Settings = json_if_there(&path)?.unwrap_or_default();
    let tokenizer: Value = serde_json::from_slice(tokenizer)
        .map_err(|e| invalid(&folder.join(TOKENIZER), e.to_string()))?;
    let normalizer = &tokenizer["normalizer"];
    if normalizer["type"] == "BertNormalizer"
        && let (Some(said), Some(is)) = (settings.do_lower_case, normalizer["lowercase"].as_bool())
        && said != is
    {
        let problem =
            format!("do_lower_case is {said}, lowercase in tokenizer.json {is}: make them agree");
        return Err(invalid(&path, problem));
    }
    Ok(settings.truncation_side.as_deref() == Some("left"))
}

/// The token that ends every text although tokenizer.json may not add it: code of the model or of
/// the tokenizer adds it, or a setting of the tokenizer says so.
pub(crate) fn ending(folder: &Path, network: &Value) -> Result<Option<String>, EncoderError> {
    #[derive(Deserialize, Default)]
    struct Settings {
        add_eos_token: Option<bool>,
        eos_token: Option<Value>,
    }
    let path = folder.join(TOKENIZER_CONFIG);
    let settings: Settings = json_if_there(&path)?.unwrap_or_default();
    let adds = match network["model_type"].as_str() {
        Some("nvembed") => network["add_eos"] != false,
        Some("mistral") => settings.add_eos_token == Some(true),
        // The code of gte-Qwen2's tokenizer.
        Some("qwen2") => !network["auto_map"].is_null() && settings.add_eos_token != Some(false),
        _ => false,
    };
    if !adds {
        return Ok(None);
    }
    let named = settings.eos_token.as_ref();
    let token = named.and_then(|t| t.as_str().or_else(|| t["content"].as_str()));
    match token {
        Some(token) => Ok(Some(token.to_owned())),
        None => Err(invalid(
            &path,
            "texts end with the token `eos_token`, which is not there",
        )),
    }
}

/// Keys besides the length that change how the network is loaded, with their names in earlier and
/// later versions.
const ARGUMENTS: [&str; 7] = [
    "model_args",
    "tokenizer_args",
    "config_args",
    "model_kwargs",
    "tokenizer_kwargs",
    "processor_kwargs",
    "config_kwargs",
];

/// Whether a value is set: not null, false or empty.
fn is_set(value: &Value) -> bool {
    !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty())
}

/// The longest input, and whether texts are lower-cased.
fn length(folder: &Path) -> Result<(Option<usize>, bool), EncoderError> {
    #[derive(Deserialize)]
    struct Length {
        max_seq_length: Option<usize>,
        #[serde(default)]
        do_lower_case: bool,
        #[serde(flatten)]
        rest: serde_json::Map<String, Value>,
    }
    #[derive(Deserialize, Default)]
    struct Tokenizer {
        // Without a limit, it is written as the float 1e30.
        model_max_length: Option<f64>,
    }
    let mut lower_case = false;
    for name in LENGTH {
        let path = folder.join(name);
        if let Some(own) = json_if_there::<Length>(&path)? {
            let set = |key: &&&str| own.rest.get(**key).is_some_and(is_set);
            if let Some(key) = ARGUMENTS.iter().find(set) {
                return Err(invalid(&path, format!("`{key}` is not implemented")));
            }
            let task = own.rest.get("transformer_task").filter(|t| is_set(t));
            if let Some(task) = task.filter(|t| *t != "feature-extraction") {
                let problem = format!("transformer_task {task} is not implemented");
                return Err(invalid(&path, problem));
            }
            lower_case = own.do_lower_case;
            if own.max_seq_length.is_some() {
                return Ok((own.max_seq_length, lower_case));
            }
            break;
        }
    }
    let tokenizer: Tokenizer = json_if_there(&folder.join(TOKENIZER_CONFIG))?.unwrap_or_default();
    let most = tokenizer.model_max_length.filter(|n| *n >= 1.0 && *n < 1e9);
    Ok((most.map(|n| n as usize), lower_case))
}

fn default_prompt(path: &Path) -> Result<Option<String>, EncoderError> {
    #[derive(Deserialize, Default)]
    struct Prompts {
        #[serde(default)]
        prompts: std::collections::BTreeMap<String, String>,
        default_prompt_name: Option<String>,
    }
    let own: Prompts = json_if_there(path)?.unwrap_or_default();
    let Some(name) = own.default_prompt_name else {
        return Ok(None);
    };
    match own.prompts.get(&name) {
        Some(text) => Ok(Some(text.clone())),
        None => Err(invalid(
            path,
            format!("default_prompt_name is `{name}`, which `prompts` lacks"),
        )),
    }
}
