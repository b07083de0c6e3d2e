//! Transformer encoders: tokens, network, pooling.
//!
//! Loads a model folder of sentence-transformers, and computes the same vectors as
//! sentence-transformers. Invariant: on the CPU, a text's vector depends only on the text, the
//! prompt and the model, not on its batch. On a GPU it may differ by rounding. `folder` reads the
//! other files of the folder, and `embedding` divides texts into batches.

pub(crate) mod architecture;
mod bert;
pub(crate) mod compute;
mod decoder;
mod library;
pub(crate) mod ops;
mod pool;
pub(crate) mod tokens;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use gfm_pipe_kernels::transformer::{self as kernel, Gate};
use gfm_pipe_weights::{Refused, Tensors, check_finite, read_archive, read_safetensors, unwrapped};
use rayon::prelude::*;
use serde_json::{Value, json};
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::{PostProcessor, Tokenizer, TruncationDirection, TruncationParams};

use crate::error::EncoderError;
use crate::folder::{self, CONFIG, Recipe, TOKENIZER, weights};
use crate::modules::{DenseConfig, Step};
use crate::pooling::{Pooling, normalise};
use crate::settings::{Round, Settings};
use architecture::{Network, class_of};
use compute::{Compute, Operations};
use ops::ranges;
use pool::pool;
use tokens::Tokens;

/// A text as the network sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokenised(Vec<u32>);

impl Tokenised {
    pub(crate) fn new(ids: Vec<u32>) -> Self {
        Tokenised(ids)
    }

    pub(crate) fn ids(&self) -> &[u32] {
        &self.0
    }

    /// Number of tokens, including special ones; at least one.
    pub fn tokens(&self) -> usize {
        self.0.len()
    }
}

/// A prompt, which is put before every text.
#[derive(Debug, Clone, Default)]
pub struct Prompt {
    text: String,
    tokens: usize,
}

/// A loaded encoder.
pub struct Transformer {
    tokenizer: Tokenizer,
    /// Whether a prompt counts as many tokens as it has by itself, which is how NV-Embed masks it.
    /// Otherwise it counts those before the token that ends a text, like sentence-transformers.
    masks_prompt: bool,
    lower_case: bool,
    prompt: Option<String>,
    compute: Compute,
    network: Network,
    pooling: Pooling,
    /// What follows pooling.
    steps: Vec<Loaded>,
    truncate: Option<usize>,
    normalize: bool,
    dim: usize,
    note: Option<String>,
}

/// A step with its weights.
enum Loaded {
    Dense(Dense),
    Normalise,
}

struct Dense {
    /// `in x out`.
    weight: Vec<f32>,
    bias: Vec<f32>,
    config: DenseConfig,
    tanh: bool,
}

/// The message of a candle error, without its backtrace.
pub(crate) fn candle_message(mut e: candle_core::Error) -> String {
    while let candle_core::Error::WithBacktrace { inner, .. } = e {
        e = *inner;
    }
    e.to_string()
}

pub(crate) fn broken(path: &Path, e: impl std::fmt::Display) -> EncoderError {
    EncoderError::Model {
        path: path.to_owned(),
        problem: e.to_string(),
    }
}

/// The error of a device, if it is one.
fn of_device(e: &candle_core::Error) -> Option<EncoderError> {
    use candle_core::Error;
    match e {
        Error::WithBacktrace { inner, .. } => of_device(inner),
        Error::Cuda(e) => {
            let problem = e.to_string();
            let words = problem.to_lowercase().replace('_', " ");
            let no_memory = ["out of memory", "alloc failed"];
            Some(if no_memory.iter().any(|said| words.contains(said)) {
                EncoderError::OutOfMemory(problem)
            } else {
                let device = "the GPU".to_owned();
                EncoderError::Device { device, problem }
            })
        }
        _ => None,
    }
}

/// The error for weights that do not fit the network, or the device.
pub(crate) fn not_loaded(path: &Path, e: candle_core::Error) -> EncoderError {
    of_device(&e).unwrap_or_else(|| broken(path, candle_message(e)))
}

/// The error for a batch that could not be computed.
pub(crate) fn not_computed(e: candle_core::Error) -> EncoderError {
    of_device(&e).unwrap_or_else(|| EncoderError::Network(candle_message(e)))
}

fn refused(path: &Path, e: Refused) -> EncoderError {
    EncoderError::Refused {
        path: path.to_owned(),
        problem: e.problem,
        hint: e.hint,
        kind: e.kind,
    }
}

/// Reads all tensors of files of weights. Also returns a note on changes to their names.
pub(crate) fn tensors(
    files: &[PathBuf],
) -> Result<(HashMap<String, Tensor>, Option<String>), EncoderError> {
    let mut all = Tensors::new();
    for path in files {
        let bin = path.extension().is_some_and(|e| e == "bin");
        let read = if bin {
            read_archive(path, None)
        } else {
            read_safetensors(path).map(|(tensors, _)| tensors)
        };
        all.extend(read.map_err(|e| refused(path, e))?);
    }
    let named = files.first().map_or(Path::new(""), PathBuf::as_path);
    let (all, note) = unwrapped(all).map_err(|e| refused(named, e))?;
    Ok((all.into_iter().collect(), note))
}

/// The precision to which weights are rounded, if any.
fn precision(round: Round, network: &Value) -> Option<DType> {
    match round {
        Round::No => None,
        Round::Float16 => Some(DType::F16),
        Round::BFloat16 => Some(DType::BF16),
        Round::Auto => {
            let named = network.get("torch_dtype").or_else(|| network.get("dtype"));
            match named.and_then(Value::as_str) {
                Some("float16") => Some(DType::F16),
                Some("bfloat16") => Some(DType::BF16),
                _ => None,
            }
        }
    }
}

/// Rounds floating-point tensors to a precision.
fn rounded(
    all: HashMap<String, Tensor>,
    to: Option<DType>,
) -> candle_core::Result<HashMap<String, Tensor>> {
    let Some(to) = to else {
        return Ok(all);
    };
    all.into_iter()
        .map(|(name, x)| {
            let x = if x.dtype().is_float() {
                x.to_dtype(to)?
            } else {
                x
            };
            Ok((name, x))
        })
        .collect()
}

impl Dense {
    fn load(folder: &Path, config: DenseConfig) -> Result<Self, EncoderError> {
        let files = weights(folder)?;
        let Some(path) = files.first() else {
            return Err(broken(folder, "no weights of the dense module"));
        };
        let tanh = match config.activation_function.as_deref() {
            Some("torch.nn.modules.activation.Tanh") => true,
            None | Some("torch.nn.modules.linear.Identity") => false,
            Some(other) => {
                return Err(broken(
                    &folder.join(CONFIG),
                    format!(
                        "activation_function `{other}` is not implemented (Tanh, Identity are)"
                    ),
                ));
            }
        };
        let (all, _) = tensors(&files)?;
        let vb = VarBuilder::from_tensors(all, DType::F32, &Device::Cpu);
        let load = || {
            let weight = vb.get((config.out_features, config.in_features), "linear.weight")?;
            let bias = if config.bias {
                vb.get(config.out_features, "linear.bias")?.to_vec1()?
            } else {
                Vec::new()
            };
            candle_core::Result::Ok((weight.t()?.flatten_all()?.to_vec1()?, bias))
        };
        let (weight, bias) = load().map_err(|e| broken(path, candle_message(e)))?;
        Ok(Dense {
            weight,
            bias,
            config,
            tanh,
        })
    }

    fn apply(&self, x: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; self.config.out_features];
        kernel::linear(
            &mut out,
            x,
            &self.weight,
            &self.bias,
            self.config.in_features,
            Gate::None,
        );
        if self.tanh {
            out.iter_mut().for_each(|x| *x = x.tanh());
        }
        out
    }
}

impl Prompt {
    /// The text of the prompt.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Transformer {
    /// Loads a model folder, to compute on the CPU.
    ///
    /// # Errors
    /// When a file is missing or broken, or needs something that is not implemented.
    pub fn load(folder: &Path, settings: &Settings) -> Result<Self, EncoderError> {
        Transformer::load_on(folder, settings, Compute::cpu())
    }

    /// Loads a model folder.
    ///
    /// # Errors
    /// See [`Transformer::load`]; also when the device has too little memory.
    pub fn load_on(
        folder: &Path,
        settings: &Settings,
        compute: Compute,
    ) -> Result<Self, EncoderError> {
        let recipe = Recipe::read(folder)?;
        let config = folder.join(CONFIG);
        let kind = recipe
            .network
            .get("model_type")
            .and_then(|v| v.as_str())
            .unwrap_or_default();
        let Some(class) = class_of(kind) else {
            return Err(EncoderError::Architecture {
                path: config,
                kind: kind.to_owned(),
            });
        };
        architecture::agrees(class, &recipe.network).map_err(|problem| broken(&config, problem))?;
        let (all, note) = tensors(&recipe.weights)?;
        let named = recipe.weights.first().map_or(folder, PathBuf::as_path);
        let precision = precision(settings.round, &recipe.network);
        let all = rounded(all, precision).map_err(|e| broken(named, candle_message(e)))?;
        if precision.is_some() {
            // A finite number may overflow in half precision.
            for (name, tensor) in &all {
                check_finite(name, tensor).map_err(|e| {
                    let hint = "leave `model_kwargs.torch_dtype` out";
                    refused(named, Refused::new(format!("rounded, {e}")).hint(hint))
                })?;
            }
        }
        let turn = compute.turn();
        let vb = VarBuilder::from_tensors(all, compute.dtype(precision), compute.device());
        let network = Network::load(kind, vb, &recipe.network, compute.operations())
            .map_err(|e| not_loaded(named, e))?;
        compute.finish().map_err(|e| not_loaded(named, e))?;
        drop(turn);
        let longest = [settings.max_tokens, recipe.max_tokens];
        let longest = longest
            .into_iter()
            .flatten()
            .fold(network.longest(), usize::min);
        let ending = folder::ending(folder, &recipe.network)?;
        let tokenizer = tokenizer(folder, longest, ending.as_deref())?;
        let mut dim = network.width();
        let mut pooling = Pooling::mean();
        let mut steps = Vec::new();
        for step in recipe.steps {
            match step {
                // The first step, and the only one of its kind.
                Step::Pool(of_folder) => {
                    dim *= of_folder.modes.len();
                    pooling = of_folder;
                }
                Step::Dense { folder, config } => {
                    if config.in_features != dim {
                        return Err(broken(
                            &folder.join(CONFIG),
                            format!(
                                "in_features is {}, vectors before it have {dim}",
                                config.in_features
                            ),
                        ));
                    }
                    dim = config.out_features;
                    steps.push(Loaded::Dense(Dense::load(&folder, config)?));
                }
                Step::Normalise => steps.push(Loaded::Normalise),
            }
        }
        if dim == 0 {
            return Err(broken(&config, "vectors would have no numbers"));
        }
        Ok(Transformer {
            tokenizer,
            masks_prompt: recipe.network["model_type"] == "nvembed",
            lower_case: recipe.lower_case,
            prompt: recipe.prompt,
            compute,
            network,
            pooling,
            steps,
            truncate: settings.truncate_dim.filter(|d| *d < dim),
            normalize: settings.normalize,
            dim: settings.truncate_dim.map_or(dim, |d| d.min(dim)),
            note,
        })
    }

    /// A note for the user on changes to the weights while loading.
    pub(crate) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Length of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The prompt: `text`, or the model folder's default.
    ///
    /// # Errors
    /// When the tokenizer refuses it.
    pub fn prompt(&self, text: Option<&str>) -> Result<Prompt, EncoderError> {
        let text = text.or(self.prompt.as_deref()).unwrap_or_default();
        if text.is_empty() {
            return Ok(Prompt::default());
        }
        let tokens = if self.masks_prompt {
            let encoding = self.tokenizer.encode_fast(text, false);
            let refused = |reason: String| EncoderError::Tokenise { row: 0, reason };
            encoding.map_err(|e| refused(e.to_string()))?.len()
        } else {
            self.tokenise_one("", text, 0)?.tokens() - 1
        };
        Ok(Prompt {
            text: text.to_owned(),
            tokens,
        })
    }

    /// Tokenises texts, each after the prompt, in parallel.
    ///
    /// # Errors
    /// When the tokenizer refuses a text.
    pub fn tokenise(
        &self,
        prompt: &Prompt,
        texts: &[&str],
    ) -> Result<Vec<Tokenised>, EncoderError> {
        let rows = texts.par_iter().enumerate();
        rows.map(|(row, text)| self.tokenise_one(&prompt.text, text, row))
            .collect()
    }

    fn tokenise_one(
        &self,
        prompt: &str,
        text: &str,
        row: usize,
    ) -> Result<Tokenised, EncoderError> {
        let mut joined = format!("{prompt}{text}").trim().to_owned();
        if self.lower_case {
            joined = joined.to_lowercase();
        }
        let refused = |reason: String| EncoderError::Tokenise { row, reason };
        let encoding = self
            .tokenizer
            .encode_fast(joined, true)
            .map_err(|e| refused(e.to_string()))?;
        let ids = encoding.get_ids().to_vec();
        if ids.is_empty() {
            return Err(refused(
                "it has no token, and the tokenizer adds none".to_owned(),
            ));
        }
        Ok(Tokenised(ids))
    }

    /// Where the network computes.
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// Vectors of a batch, row-major. On the CPU it uses the calling thread only.
    ///
    /// # Errors
    /// When the model has no embedding for a token, because the tokenizer is that of another model;
    /// when a GPU has too little memory.
    pub fn encode(&self, batch: &[&Tokenised], prompt: &Prompt) -> Result<Vec<f32>, EncoderError> {
        let tokens = Tokens::concat(batch.iter().map(|t| t.0.as_slice()));
        let pooled = self.pooled(&tokens, prompt).map_err(not_computed)?;
        let mut out = Vec::with_capacity(batch.len() * self.dim);
        for mut x in pooled {
            for step in &self.steps {
                match step {
                    Loaded::Dense(dense) => x = dense.apply(&x),
                    Loaded::Normalise => drop(normalise(&mut x)),
                }
            }
            if let Some(dim) = self.truncate {
                x.truncate(dim);
            }
            if self.normalize {
                normalise(&mut x);
            }
            out.extend(x);
        }
        Ok(out)
    }

    /// The pooled states of each text.
    fn pooled(&self, batch: &Tokens, prompt: &Prompt) -> candle_core::Result<Vec<Vec<f32>>> {
        let _turn = self.compute.turn();
        let states = self.network.forward(batch)?;
        match self.compute.operations() {
            Operations::Own => {
                let states = states.flatten_all()?.to_vec1::<f32>()?;
                let width = self.network.width();
                let of_text = |(start, n): (u32, u32)| {
                    let states = &states[start as usize * width..][..n as usize * width];
                    self.pooling.pool(states, width, prompt.tokens)
                };
                Ok(ranges(&batch.lengths).into_iter().map(of_text).collect())
            }
            Operations::Candle => {
                pool(&self.pooling, &states, &batch.lengths, prompt.tokens)?.to_vec2()
            }
        }
    }
}

/// Loads the tokenizer. It cuts texts at `longest` tokens, ends them with `ending`, and does not
/// pad.
pub(crate) fn tokenizer(
    of: &Path,
    longest: usize,
    ending: Option<&str>,
) -> Result<Tokenizer, EncoderError> {
    let path = &of.join(TOKENIZER);
    let bytes = folder::read(path)?;
    let at_start = folder::cut_at_start(of, &bytes)?;
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|e| broken(path, e))?;
    if let Some(token) = ending {
        end_with(&mut tokenizer, token).map_err(|e| broken(path, e))?;
    }
    // The library assumes that a text's special tokens fit.
    let added = tokenizer
        .get_post_processor()
        .map_or(0, |p| p.added_tokens(false));
    if longest <= added {
        let problem = format!(
            "texts of {longest} tokens leave no room beside {added} special ones: raise max_seq_length"
        );
        return Err(broken(path, problem));
    }
    let truncation = TruncationParams {
        max_length: longest,
        direction: if at_start {
            TruncationDirection::Left
        } else {
            TruncationDirection::Right
        },
        ..TruncationParams::default()
    };
    tokenizer
        .with_padding(None)
        .with_truncation(Some(truncation))
        .map_err(|e| broken(path, e))?;
    Ok(tokenizer)
}

/// Makes a tokenizer end texts with a token, unless it does so already.
fn end_with(tokenizer: &mut Tokenizer, token: &str) -> Result<(), String> {
    let Some(id) = tokenizer.token_to_id(token) else {
        return Err(format!("it has no token `{token}`, with which texts end"));
    };
    // A file may ask for padding, which would hide how texts end.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|e| e.to_string())?;
    let encoding = tokenizer.encode("a", true).map_err(|e| e.to_string())?;
    if encoding.get_ids().last() == Some(&id) {
        return Ok(());
    }
    let end = json!({"SpecialToken": {"id": token, "type_id": 0}});
    let special = json!({"id": token, "ids": [id], "tokens": [token]});
    let mut all =
        serde_json::to_value(tokenizer.get_post_processor()).map_err(|e| e.to_string())?;
    // Two templates one after the other would not both be used.
    if let Some(template) = template(&mut all) {
        if let Some(pieces) = template["single"].as_array_mut() {
            pieces.push(end);
        }
        template["special_tokens"][token] = special;
    } else {
        let text = |id| json!({"Sequence": {"id": id, "type_id": 0}});
        let new = json!({
            "type": "TemplateProcessing",
            "single": [text("A"), end],
            "pair": [text("A"), text("B")],
            "special_tokens": {token: special},
        });
        all = match all {
            Value::Null => new,
            before => json!({"type": "Sequence", "processors": [before, new]}),
        };
    }
    let all: PostProcessorWrapper = serde_json::from_value(all).map_err(|e| e.to_string())?;
    tokenizer.with_post_processor(Some(all));
    Ok(())
}

/// The template among the steps after tokenising.
fn template(steps: &mut Value) -> Option<&mut Value> {
    match steps["type"].as_str() {
        Some("TemplateProcessing") => Some(steps),
        Some("Sequence") => {
            let all = steps["processors"].as_array_mut()?;
            all.iter_mut().find_map(template)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
    use super::*;

    fn of(name: &str, tensor: &Tensor) -> Vec<u8> {
        safetensors::serialize([(name, tensor)], None).unwrap()
    }

    /// The error message and hint for a file.
    fn refused(name: &str, bytes: &[u8]) -> (String, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let e = tensors(&[path]).unwrap_err();
        (e.to_string(), e.hint())
    }

    #[test]
    fn weights_are_numbers_and_files_what_they_are_called() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 7\n";
        for name in ["model.safetensors", "pytorch_model.bin"] {
            let (problem, hint) = refused(name, pointer);
            assert!(
                problem.ends_with("a Git LFS pointer to a file of 7 bytes, not the file itself")
            );
            assert!(hint.unwrap().contains("git lfs pull"));
        }
        let bad = Tensor::new(&[[0.0f32, 1.0], [f32::NAN, f32::NAN]], &Device::Cpu).unwrap();
        let (problem, _) = refused("model.safetensors", &of("embeddings.weight", &bad));
        assert!(
            problem.ends_with(
                "`embeddings.weight` holds NaN at [1, 0], and one more value that is not finite"
            ),
            "{problem}"
        );
    }

    #[test]
    fn names_of_wrappers_are_taken_away_over_all_parts() {
        let folder = tempfile::tempdir().unwrap();
        let one = Tensor::new(&[1.0f32], &Device::Cpu).unwrap();
        let files = ["a", "b"].map(|name| {
            let path = folder.path().join(name).with_extension("safetensors");
            std::fs::write(&path, of(&format!("module.{name}.weight"), &one)).unwrap();
            path
        });
        let (all, note) = tensors(&files).unwrap();
        let mut names: Vec<&String> = all.keys().collect();
        names.sort();
        assert_eq!(names, ["a.weight", "b.weight"]);
        assert!(note.unwrap().contains("`module.`"));
    }

    #[test]
    fn json_files_are_no_pointers_and_not_nested_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(TOKENIZER);
        std::fs::write(&path, "version https://git-lfs.github.com/spec/v1\n").unwrap();
        let e = tokenizer(folder.path(), 8, None).unwrap_err().to_string();
        assert!(
            e.ends_with("it is a Git LFS pointer, not the file itself"),
            "{e}"
        );
        let deep = format!("{{\"normalizer\":{}", "{\"a\":".repeat(200_000));
        std::fs::write(&path, deep).unwrap();
        let e = tokenizer(folder.path(), 8, None).unwrap_err().to_string();
        assert!(e.contains("recursion limit"), "{e}");
    }
}
