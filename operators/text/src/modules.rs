//! Reads `modules.json`: the steps that turn a network's states into a text's vector.
//!
//! Invariant: a list that sentence-transformers would not run, or would run as something else, is
//! refused with the file and what is expected in it. A folder without the file is a network
//! followed by the mean of its states, as in sentence-transformers.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::EncoderError;
use crate::folder::{CONFIG, inside, invalid, json, json_if_there};
use crate::pooling::{Mode, Pooling};

/// Name of the file.
pub(crate) const MODULES: &str = "modules.json";
/// What the file must list, for messages.
const EXPECTED: &str =
    "expected one Transformer, then one Pooling, then any number of Dense and Normalize";

/// A step after the network.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Pools the states of tokens into one vector.
    Pool(Pooling),
    /// A linear map of the vector, with weights in a folder, and an activation.
    Dense {
        folder: PathBuf,
        config: DenseConfig,
    },
    /// Scales the vector to norm 1.
    Normalise,
}

/// `2_Dense/config.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct DenseConfig {
    pub(crate) in_features: usize,
    pub(crate) out_features: usize,
    #[serde(default = "yes")]
    pub(crate) bias: bool,
    #[serde(default)]
    pub(crate) activation_function: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

fn yes() -> bool {
    true
}

/// An entry of the list.
#[derive(Debug, Deserialize)]
pub(crate) struct Module {
    #[serde(default)]
    name: Option<String>,
    /// Folder relative to the model's; empty for the model's own.
    #[serde(default)]
    pub(crate) path: String,
    #[serde(rename = "type")]
    class: String,
}

impl Module {
    /// The last part of the class's name, such as `Pooling`.
    pub(crate) fn class(&self) -> &str {
        self.class.rsplit('.').next().unwrap_or(&self.class)
    }
}

/// Reads the list as it is written. `None` where the file does not exist.
pub(crate) fn listed(folder: &Path) -> Result<Option<Vec<Module>>, EncoderError> {
    let path = folder.join(MODULES);
    let all = json_if_there::<Vec<Module>>(&path)?;
    for module in all.iter().flatten() {
        inside(&path, &module.path)?;
    }
    Ok(all)
}

/// The steps after the network that `network` (the folder's `config.json`) describes.
pub(crate) fn steps(folder: &Path, network: &Value) -> Result<Vec<Step>, EncoderError> {
    let Some(listed) = listed(folder)? else {
        return Ok(vec![Step::Pool(Pooling::mean())]);
    };
    let path = folder.join(MODULES);
    let mut names: Vec<&str> = Vec::new();
    for (i, module) in listed.iter().enumerate() {
        in_place(i, module).map_err(|problem| invalid(&path, problem))?;
        // sentence-transformers stores modules by name, so the first of two with the same name
        // would be lost.
        if let Some(name) = module.name.as_deref() {
            if names.contains(&name) {
                return Err(invalid(&path, format!("two modules are called `{name}`")));
            }
            names.push(name);
        }
    }
    if listed.len() < 2 {
        let missing = match listed.len() {
            0 => "it lists no module",
            _ => "there is no Pooling",
        };
        return Err(invalid(&path, format!("{missing}: {EXPECTED}")));
    }
    let followers = listed.iter().skip(1);
    followers.map(|m| step(folder, m, network)).collect()
}

/// Checks that a module may be at its place in the list.
fn in_place(place: usize, module: &Module) -> Result<(), String> {
    let class = module.class();
    let nth = place + 1;
    match (place, class) {
        (0, "Transformer") if module.path.is_empty() => Ok(()),
        (0, "Transformer") => Err(format!(
            "a Transformer in `{}` is not implemented, only one in the folder itself",
            module.path
        )),
        (1, "Pooling") | (2.., "Dense" | "Normalize") => Ok(()),
        (_, "Transformer" | "Pooling" | "Dense" | "Normalize") => {
            Err(format!("module {nth} is a {class}: {EXPECTED}"))
        }
        _ => Err(format!(
            "module `{class}` is not implemented (Transformer, Pooling, Dense, Normalize are)"
        )),
    }
}

fn step(folder: &Path, module: &Module, network: &Value) -> Result<Step, EncoderError> {
    let folder = folder.join(&module.path);
    let path = folder.join(CONFIG);
    Ok(match module.class() {
        "Pooling" => Step::Pool(pooling(&path, network)?),
        "Dense" => Step::Dense {
            config: dense(&path)?,
            folder,
        },
        _ => Step::Normalise,
    })
}

fn dense(path: &Path) -> Result<DenseConfig, EncoderError> {
    let config: DenseConfig = json(path)?;
    // Newer files say which of a text's vectors is mapped; there is only one here.
    let usual = |key: &str, value: &Value| {
        matches!(key, "module_input_name" | "module_output_name") && value == "sentence_embedding"
    };
    match config
        .rest
        .iter()
        .find(|(k, v)| !v.is_null() && !usual(k, v))
    {
        Some((key, value)) => Err(invalid(path, format!("`{key}`: {value} is not understood"))),
        None => Ok(config),
    }
}

/// Modes with their switch and their word.
const MODES: [(&str, &str, Mode); 6] = [
    ("pooling_mode_cls_token", "cls", Mode::Cls),
    ("pooling_mode_max_tokens", "max", Mode::Max),
    ("pooling_mode_mean_tokens", "mean", Mode::Mean),
    (
        "pooling_mode_mean_sqrt_len_tokens",
        "mean_sqrt_len_tokens",
        Mode::MeanSqrtLength,
    ),
    (
        "pooling_mode_weightedmean_tokens",
        "weightedmean",
        Mode::WeightedMean,
    ),
    ("pooling_mode_lasttoken", "lasttoken", Mode::Last),
];

/// Reads `1_Pooling/config.json`. Modes are switches or, in newer files, a word.
fn pooling(path: &Path, network: &Value) -> Result<Pooling, EncoderError> {
    let config: Map<String, Value> = json(path)?;
    let switch = |key: &str| match config.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(on)) => Ok(Some(*on)),
        Some(other) => {
            let problem = format!("`{key}`: expected true or false, found {other}");
            Err(invalid(path, problem))
        }
    };
    for (key, value) in &config {
        match key.as_str() {
            "word_embedding_dimension" | "embedding_dimension" => {
                fits(path, key, value, network)?;
            }
            "pooling_mode" | "include_prompt" => {}
            key if MODES.iter().any(|m| m.0 == key) => {}
            // A key that is off or not set changes nothing.
            _ if value.is_null() || value == false => {}
            key => return Err(invalid(path, format!("`{key}`: {value} is not understood"))),
        }
    }
    let modes = match config.get("pooling_mode") {
        None | Some(Value::Null) => {
            let mut modes = Vec::new();
            for (key, _, mode) in MODES {
                // The mean is the default.
                if switch(key)?.unwrap_or(mode == Mode::Mean) {
                    modes.push(mode);
                }
            }
            modes
        }
        Some(Value::Array(all)) => all
            .iter()
            .map(|w| word(path, w))
            .collect::<Result<_, _>>()?,
        Some(one) => vec![word(path, one)?],
    };
    if modes.is_empty() {
        return Err(invalid(path, "no pooling mode is switched on"));
    }
    Ok(Pooling {
        modes,
        include_prompt: switch("include_prompt")? != Some(false),
    })
}

/// The mode for an entry of `pooling_mode`.
fn word(path: &Path, entry: &Value) -> Result<Mode, EncoderError> {
    let found = MODES.into_iter().find(|(_, word, _)| entry == word);
    found.map(|(_, _, mode)| mode).ok_or_else(|| {
        let known = MODES.map(|m| m.1).join(", ");
        invalid(
            path,
            format!("pooling_mode {entry} is not known ({known} are)"),
        )
    })
}

/// Checks that a width is the one in the network's configuration.
fn fits(path: &Path, key: &str, value: &Value, network: &Value) -> Result<(), EncoderError> {
    let widths = ["hidden_size", "n_embd"];
    let width = widths
        .into_iter()
        .find_map(|k| Some((k, network.get(k)?.as_u64()?)));
    match (value.as_u64(), width) {
        (Some(said), Some((named, is))) if said != is => {
            let problem = format!("{key} is {said}, {named} in the network's config.json {is}");
            Err(invalid(path, problem))
        }
        (None, _) if !value.is_null() => Err(invalid(
            path,
            format!("`{key}`: expected a number, found {value}"),
        )),
        _ => Ok(()),
    }
}
