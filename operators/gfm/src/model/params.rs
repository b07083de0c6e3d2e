//! Parameters under the reference's names, their initialisation, and taking over those of another model.

use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor, bail};
use gfm_pipe_weights::{Refused, check_finite};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};

use super::ModelConfig;
use crate::ops::{HeadParams, LayerParams};
use crate::tensor::tensor;

/// Which of the reference's two models the parameters are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// Pre-training on triples.
    QueryGNN,
    /// Retrieval for questions: has a `question_mlp` besides.
    GNNRetriever,
}

impl Class {
    /// Name in the reference.
    pub fn name(self) -> &'static str {
        match self {
            Class::QueryGNN => "QueryGNN",
            Class::GNNRetriever => "GNNRetriever",
        }
    }
}

/// Named parameter tensors.
#[derive(Debug, Clone)]
pub struct Params {
    /// Which model they are for.
    pub class: Class,
    /// Its dimensions.
    pub config: ModelConfig,
    /// Width of text embeddings.
    pub text_dim: usize,
    tensors: BTreeMap<String, Tensor>,
}

/// What [`Params::take_over`] did.
#[derive(Debug, Default)]
pub struct Taken {
    /// Parameters taken from the other model.
    pub taken: Vec<String>,
    /// Parameters that stay as initialised.
    pub kept: Vec<String>,
    /// Tensors of the other model that have no place here.
    pub left: Vec<String>,
}

/// Name of the head's linear map `i`: the activations between count as modules.
pub(crate) fn head_name(i: usize) -> String {
    format!("entity_model.mlp.{}", 2 * i)
}

/// Names and shapes in the reference's order.
fn shapes(class: Class, config: &ModelConfig, text_dim: usize) -> Vec<(String, Vec<usize>)> {
    let d = config.input_dim;
    let mut out = Vec::new();
    for (i, width) in config.hidden_dims.iter().enumerate() {
        let p = format!("entity_model.layers.{i}");
        if config.layer_norm {
            out.push((format!("{p}.layer_norm.weight"), vec![*width]));
            out.push((format!("{p}.layer_norm.bias"), vec![*width]));
        }
        out.push((
            format!("{p}.linear.weight"),
            vec![*width, (1 + config.aggregate_func.width()) * d],
        ));
        out.push((format!("{p}.linear.bias"), vec![*width]));
        for j in [0, 2] {
            out.push((format!("{p}.relation_projection.{j}.weight"), vec![d, d]));
            out.push((format!("{p}.relation_projection.{j}.bias"), vec![d]));
        }
    }
    let f = config.output_dim() + d;
    for i in 0..config.num_mlp_layer {
        let rows = if i + 1 == config.num_mlp_layer { 1 } else { f };
        let p = head_name(i);
        out.push((format!("{p}.weight"), vec![rows, f]));
        out.push((format!("{p}.bias"), vec![rows]));
    }
    out.push(("rel_mlp.weight".to_owned(), vec![d, text_dim]));
    out.push(("rel_mlp.bias".to_owned(), vec![d]));
    if class == Class::GNNRetriever {
        out.push(("question_mlp.weight".to_owned(), vec![d, text_dim]));
        out.push(("question_mlp.bias".to_owned(), vec![d]));
    }
    out
}

/// Number of values of a model's parameters.
pub(crate) fn size(class: Class, config: &ModelConfig, text_dim: usize) -> usize {
    let all = shapes(class, config, text_dim).into_iter();
    all.map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

/// A seed for one purpose, so that streams of the same run never share numbers.
pub(crate) fn rng(seed: u64, purpose: &str) -> ChaCha8Rng {
    gfm_pipe_api::random::stream(seed, purpose)
}

/// A uniform number in [0, 1) with 24 random bits, as PyTorch draws f32.
pub(crate) fn uniform(rng: &mut impl Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32
}

impl Params {
    /// PyTorch's default initialisation: linear maps (weight and bias) uniform in ±1/sqrt(fan-in), layer norms 1 and 0.
    ///
    /// Every tensor has a stream of its own, so that a model with one more parameter starts equal in all others.
    ///
    /// # Errors
    /// When dimensions are unusable.
    pub fn init(
        class: Class,
        config: &ModelConfig,
        text_dim: usize,
        seed: u64,
        dtype: DType,
    ) -> Result<Self> {
        let shapes = shapes(class, config, text_dim);
        let fan_in: BTreeMap<String, usize> = shapes
            .iter()
            .filter(|(n, s)| n.ends_with(".weight") && s.len() == 2)
            .map(|(n, s)| (n.trim_end_matches(".weight").to_owned(), s[1]))
            .collect();
        let mut tensors = BTreeMap::new();
        for (name, shape) in shapes {
            let n: usize = shape.iter().product();
            let module = name.rsplit_once('.').map_or("", |x| x.0);
            let values: Vec<f32> = match fan_in.get(module) {
                Some(fan) => {
                    let bound = 1.0 / (*fan as f32).sqrt();
                    let mut rng = rng(seed, &format!("init {name}"));
                    (0..n)
                        .map(|_| (2.0 * uniform(&mut rng) - 1.0) * bound)
                        .collect()
                }
                None if name.ends_with(".weight") => vec![1.0; n],
                None => vec![0.0; n],
            };
            tensors.insert(name, tensor(values, shape)?.to_dtype(dtype)?);
        }
        Ok(Params {
            class,
            config: config.clone(),
            text_dim,
            tensors,
        })
    }

    /// Parameters from tensors that exist.
    ///
    /// # Errors
    /// When one is missing, too many, of another shape, or holds a value that is not finite.
    pub fn from_tensors(
        class: Class,
        config: &ModelConfig,
        text_dim: usize,
        tensors: BTreeMap<String, Tensor>,
    ) -> Result<Self> {
        let want = shapes(class, config, text_dim);
        for (name, shape) in &want {
            match tensors.get(name) {
                None => bail!("parameter `{name}` is missing"),
                Some(t) if t.dims() != shape => {
                    bail!("parameter `{name}` is {:?}, expected {shape:?}", t.dims())
                }
                Some(_) => {}
            }
        }
        if let Some(name) = tensors.keys().find(|n| !want.iter().any(|(w, _)| w == *n)) {
            bail!("parameter `{name}` is none of a {}", class.name());
        }
        let params = Params {
            class,
            config: config.clone(),
            text_dim,
            tensors,
        };
        match params.check_finite() {
            Ok(()) => Ok(params),
            Err(refused) => bail!("parameter {refused}"),
        }
    }

    /// Checks that every value is a finite number.
    ///
    /// # Errors
    /// When one is not; the error names the parameter, the value and its place.
    pub fn check_finite(&self) -> std::result::Result<(), Refused> {
        let mut all = self.tensors.iter();
        all.try_for_each(|(name, tensor)| check_finite(name, tensor))
    }

    /// Replaces every parameter that another model has in the same shape.
    ///
    /// # Errors
    /// When a tensor cannot be converted to this model's element type.
    pub fn take_over(&mut self, other: &BTreeMap<String, Tensor>) -> Result<Taken> {
        let mut report = Taken::default();
        for (name, mine) in &mut self.tensors {
            match other.get(name) {
                Some(t) if t.dims() == mine.dims() => {
                    *mine = t.to_dtype(mine.dtype())?;
                    report.taken.push(name.clone());
                }
                _ => report.kept.push(name.clone()),
            }
        }
        let taken = |n: &&String| !report.taken.contains(*n);
        report.left = other.keys().filter(taken).cloned().collect();
        Ok(report)
    }

    /// The tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// A parameter.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.tensors
            .get(name)
            .ok_or_else(|| candle_core::Error::Msg(format!("no parameter `{name}`")))
    }

    /// Replaces a parameter by one of the same shape.
    ///
    /// # Errors
    /// When there is none of that name and shape.
    pub fn set(&mut self, name: &str, value: Tensor) -> Result<()> {
        let old = self.get(name)?;
        if old.dims() != value.dims() {
            bail!(
                "parameter `{name}` is {:?}, not {:?}",
                old.dims(),
                value.dims()
            );
        }
        self.tensors.insert(name.to_owned(), value);
        Ok(())
    }

    /// All parameters, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(n, t)| (n.as_str(), t))
    }

    /// Number of values in all parameters.
    pub fn count(&self) -> usize {
        self.tensors.values().map(Tensor::elem_count).sum()
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.tensors
            .values()
            .next()
            .map_or(DType::F32, Tensor::dtype)
    }

    /// The parameters of layer `i`.
    ///
    /// # Errors
    /// When there is no such layer.
    pub fn layer(&self, i: usize) -> Result<LayerParams> {
        let p = format!("entity_model.layers.{i}");
        Ok(LayerParams {
            weight: self.get(&format!("{p}.linear.weight"))?.clone(),
            bias: self.get(&format!("{p}.linear.bias"))?.clone(),
            norm: if self.config.layer_norm {
                Some((
                    self.get(&format!("{p}.layer_norm.weight"))?.clone(),
                    self.get(&format!("{p}.layer_norm.bias"))?.clone(),
                ))
            } else {
                None
            },
        })
    }

    /// The parameters of the head.
    ///
    /// # Errors
    /// Never for parameters of this type; the signature follows [`Params::get`].
    pub fn head(&self) -> Result<HeadParams> {
        let map = |i| -> Result<(Tensor, Tensor)> {
            let p = head_name(i);
            Ok((
                self.get(&format!("{p}.weight"))?.clone(),
                self.get(&format!("{p}.bias"))?.clone(),
            ))
        };
        Ok(HeadParams {
            first: map(0)?,
            rest: (1..self.config.num_mlp_layer)
                .map(map)
                .collect::<Result<_>>()?,
        })
    }
}
