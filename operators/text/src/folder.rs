//! A model folder as sentence-transformers keeps it: which files decide an embedding, and what they say.
//!
//! Purpose: turn `config.json`, `modules.json`, the modules' own files and `sentence_bert_config.json` into one [`Recipe`], or say which file
//! asks for what this build cannot do. Invariant: a key that would change an embedding and is not understood is refused, never passed over.
//! Not here: weights (`transformer`), where a folder comes from (`location`).

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::error::EncoderError;
use crate::pooling::{Mode, Pooling};

/// The network's configuration.
pub(crate) const CONFIG: &str = "config.json";
/// The fast tokenizer.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// The list of what follows the network.
pub(crate) const MODULES: &str = "modules.json";
/// Length of input.
const LENGTH: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];
/// Prompts by name.
const PROMPTS: &str = "config_sentence_transformers.json";
/// The tokenizer's settings, as far as they say more than its file.
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// Weights, the first that is there.
pub(crate) const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// What follows the network, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Tokens' states to one vector.
    Pool(Pooling),
    /// A linear map of the vector, whose folder holds weights, and its activation.
    Dense {
        folder: PathBuf,
        config: DenseConfig,
    },
    /// To norm 1.
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
}

fn yes() -> bool {
    true
}

/// What a model folder says.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    /// `config.json` as it is.
    pub(crate) network: Value,
    /// What follows the network.
    pub(crate) steps: Vec<Step>,
    /// The longest input in tokens that the folder asks for.
    pub(crate) max_tokens: Option<usize>,
    /// Whether texts are lower-cased first.
    pub(crate) lower_case: bool,
    /// Put before every text unless the pipeline says what is.
    pub(crate) prompt: Option<String>,
    /// The files of weights: one, or the parts.
    pub(crate) weights: Vec<PathBuf>,
}

/// An entry of `modules.json`.
#[derive(Debug, Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    class: String,
}

impl Module {
    fn class(&self) -> &str {
        self.class.rsplit('.').next().unwrap_or(&self.class)
    }
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, EncoderError> {
    let bytes = std::fs::read(path).map_err(|source| EncoderError::ReadModel {
        path: path.to_owned(),
        source,
    })?;
    match EncoderError::of_pointer(path, &bytes) {
        Some(e) => Err(e),
        None => Ok(bytes),
    }
}

fn invalid(path: &Path, problem: impl Into<String>) -> EncoderError {
    EncoderError::Model {
        path: path.to_owned(),
        problem: problem.into(),
    }
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, EncoderError> {
    serde_json::from_slice(&read(path)?).map_err(|e| invalid(path, e.to_string()))
}

fn json_if_there<T: serde::de::DeserializeOwned + Default>(path: &Path) -> Result<T, EncoderError> {
    if path.is_file() {
        json(path)
    } else {
        Ok(T::default())
    }
}

fn modules(folder: &Path) -> Result<Vec<Module>, EncoderError> {
    let path = folder.join(MODULES);
    let all: Vec<Module> = json_if_there(&path)?;
    for module in &all {
        inside(&path, &module.path)?;
    }
    Ok(all)
}

/// The folders of a model that may hold weights, relative to it: itself, and those of its modules.
pub(crate) fn weight_folders(folder: &Path) -> Vec<PathBuf> {
    let modules = modules(folder).unwrap_or_default().into_iter();
    let subs = modules.map(|m| m.path).filter(|p| !p.is_empty());
    std::iter::once(PathBuf::new())
        .chain(subs.map(PathBuf::from))
        .collect()
}

/// Holds that a file named by another one lies in the folder: what lies elsewhere is not part of the model's identity.
fn inside(named_by: &Path, path: &str) -> Result<(), EncoderError> {
    let mut parts = Path::new(path).components();
    if parts.all(|c| matches!(c, std::path::Component::Normal(_))) {
        return Ok(());
    }
    Err(invalid(
        named_by,
        format!("`{path}` is outside of the folder"),
    ))
}

/// The parts an index of weights names, in order of their names.
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

/// Files of weights of a folder; empty where there are none.
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

/// Every file of a model folder that can change an embedding, relative to it, and whether the folder is none without it. The list of a
/// folder that is not there, or is broken, is that of the files any folder needs: whoever reads them says what is wrong.
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
    for module in modules(folder).unwrap_or_default() {
        if !module.path.is_empty() {
            let sub = PathBuf::from(&module.path);
            let needed = matches!(module.class(), "Pooling" | "Dense");
            out.push((sub.join(CONFIG), needed));
            out.extend(of_folder(&sub));
        }
    }
    // Last, because they are large: where they are, the rest is, too.
    match of_folder(Path::new("")) {
        none if none.is_empty() => out.push((WEIGHTS[0].into(), true)),
        files => out.extend(files),
    }
    out
}

impl Recipe {
    /// Reads what a folder says.
    ///
    /// # Errors
    /// A file that is missing, no JSON, or asks for what this build cannot do.
    pub(crate) fn read(folder: &Path) -> Result<Recipe, EncoderError> {
        let network: Value = json(&folder.join(CONFIG))?;
        let mut steps = Vec::new();
        let listed = modules(folder)?;
        for module in &listed {
            let sub = folder.join(&module.path);
            match module.class() {
                "Transformer" if module.path.is_empty() => (),
                "Transformer" => {
                    let problem = format!(
                        "a Transformer in `{}` is not implemented, only one in the folder itself",
                        module.path
                    );
                    return Err(invalid(&folder.join(MODULES), problem));
                }
                "Pooling" => steps.push(Step::Pool(pooling(&sub.join(CONFIG))?)),
                "Normalize" => steps.push(Step::Normalise),
                "Dense" => {
                    let config: DenseConfig = json(&sub.join(CONFIG))?;
                    steps.push(Step::Dense {
                        folder: sub,
                        config,
                    });
                }
                other => {
                    return Err(invalid(
                        &folder.join(MODULES),
                        format!(
                            "module `{other}` is not implemented (Transformer, Pooling, Dense, Normalize are)"
                        ),
                    ));
                }
            }
        }
        if !steps.iter().any(|s| matches!(s, Step::Pool(_))) {
            // What sentence-transformers does with a folder that says nothing.
            steps.insert(0, Step::Pool(Pooling::mean()));
        }
        let pools = steps.iter().filter(|s| matches!(s, Step::Pool(_))).count();
        if pools != 1 || !matches!(steps[0], Step::Pool(_)) {
            return Err(invalid(
                &folder.join(MODULES),
                "one Pooling is expected, before Dense and Normalize",
            ));
        }
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

/// Whether texts are cut at their beginning, of a folder with these bytes as tokenizer; refuses what transformers would make of the tokenizer besides what its file says.
pub(crate) fn cut_at_start(folder: &Path, tokenizer: &[u8]) -> Result<bool, EncoderError> {
    #[derive(Deserialize, Default)]
    struct Settings {
        do_lower_case: Option<bool>,
        truncation_side: Option<String>,
    }
    let path = folder.join(TOKENIZER_CONFIG);
    let settings: Settings = json_if_there(&path)?;
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

/// Whether there is anything in it.
fn is_set(value: &Value) -> bool {
    !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty())
}

/// Longest input and whether to lower-case.
fn length(folder: &Path) -> Result<(Option<usize>, bool), EncoderError> {
    #[derive(Deserialize, Default)]
    struct Length {
        max_seq_length: Option<usize>,
        #[serde(default)]
        do_lower_case: bool,
        #[serde(flatten)]
        rest: serde_json::Map<String, Value>,
    }
    #[derive(Deserialize, Default)]
    struct Tokenizer {
        // Written as a float of 1e30 where there is no limit.
        model_max_length: Option<f64>,
    }
    let mut lower_case = false;
    for name in LENGTH {
        let path = folder.join(name);
        if path.is_file() {
            let own: Length = json(&path)?;
            let args = ["model_args", "tokenizer_args", "config_args"];
            let set = |key: &&&str| own.rest.get(**key).is_some_and(is_set);
            if let Some(key) = args.iter().find(set) {
                return Err(invalid(&path, format!("`{key}` is not implemented")));
            }
            lower_case = own.do_lower_case;
            if own.max_seq_length.is_some() {
                return Ok((own.max_seq_length, lower_case));
            }
            break;
        }
    }
    let tokenizer: Tokenizer = json_if_there(&folder.join(TOKENIZER_CONFIG))?;
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
    let own: Prompts = json_if_there(path)?;
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

/// `1_Pooling/config.json`: modes are switches, or, in newer files, one word.
fn pooling(path: &Path) -> Result<Pooling, EncoderError> {
    let config: serde_json::Map<String, Value> = json(path)?;
    let mut modes = Vec::new();
    for (key, mode) in [
        ("pooling_mode_cls_token", Mode::Cls),
        ("pooling_mode_max_tokens", Mode::Max),
        ("pooling_mode_mean_tokens", Mode::Mean),
        ("pooling_mode_mean_sqrt_len_tokens", Mode::MeanSqrtLength),
        ("pooling_mode_weightedmean_tokens", Mode::WeightedMean),
        ("pooling_mode_lasttoken", Mode::Last),
    ] {
        // The mean is what there is where nothing is said.
        let usual = mode == Mode::Mean;
        if config.get(key).and_then(Value::as_bool).unwrap_or(usual) {
            modes.push(mode);
        }
    }
    if config.contains_key("pooling_mode") {
        modes.clear();
    }
    let words = match config.get("pooling_mode") {
        Some(Value::String(word)) => vec![word.as_str()],
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    for word in words {
        modes.push(match word {
            "cls" => Mode::Cls,
            "max" => Mode::Max,
            "mean" => Mode::Mean,
            "mean_sqrt_len_tokens" => Mode::MeanSqrtLength,
            "weightedmean" => Mode::WeightedMean,
            "lasttoken" => Mode::Last,
            other => {
                return Err(invalid(
                    path,
                    format!("pooling_mode `{other}` is not known"),
                ));
            }
        });
    }
    if modes.is_empty() {
        return Err(invalid(path, "no pooling mode is switched on"));
    }
    let include_prompt = config.get("include_prompt").and_then(Value::as_bool) != Some(false);
    Ok(Pooling {
        modes,
        include_prompt,
    })
}
