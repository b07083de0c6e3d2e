//! The parameters and their names, which are those of the reference: how they are initialised, and
//! how they are taken over from another model.
//!
//! Names are written only here. Elsewhere, parameters and their gradients are fields of
//! [`ModelTensors`].

use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor, bail};
use gfm_pipe_weights::{Refused, check_finite};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};

use super::ModelConfig;
use crate::ops::Linear;
use crate::tensor::tensor;

/// Which of the reference's models the parameters are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// The model of pre-training, which predicts tails of triples.
    QueryGNN,
    /// The model of retrieval for questions. It has one more linear map, `question_mlp`.
    GNNRetriever,
    /// The model of GFM-RAG 2.0 for both tasks, which may read the texts of nodes. It has
    /// `question_mlp`, and in pre-training the text of a relation stands for the question.
    GraphReasoner,
}

impl Class {
    /// The name of the class in the reference.
    pub fn name(self) -> &'static str {
        match self {
            Class::QueryGNN => "QueryGNN",
            Class::GNNRetriever => "GNNRetriever",
            Class::GraphReasoner => "GraphReasoner",
        }
    }

    /// The class that answers questions with the parameters of this one.
    #[must_use]
    pub fn for_questions(self) -> Self {
        match self {
            Class::QueryGNN | Class::GNNRetriever => Class::GNNRetriever,
            Class::GraphReasoner => Class::GraphReasoner,
        }
    }

    /// Whether entities of questions may start with the weight 1 / number of their documents. The
    /// mask of GFM-RAG 2.0 has no weights.
    pub fn weighs_starts(self) -> bool {
        self != Class::GraphReasoner
    }

    /// Whether it has `question_mlp`.
    fn has_questions(self) -> bool {
        self != Class::QueryGNN
    }
}

/// Scale and shift of a layer norm, `[out]` each, or their gradients.
#[derive(Debug, Clone)]
pub struct Norm {
    /// The scale.
    pub weight: Tensor,
    /// The shift.
    pub bias: Tensor,
}

/// One layer's parameters, or their gradients.
#[derive(Debug, Clone)]
pub struct LayerParams {
    /// `[out, 2 d]` (`[out, 13 d]` for PNA). The first d columns apply to the node's state, the
    /// others to the aggregate.
    pub linear: Linear,
    /// The layer norm; `None` if the model has none.
    pub norm: Option<Norm>,
    /// The two maps that project the relations for this layer, `[d, d]` each.
    pub projection: [Linear; 2],
}

/// The maps of a GraphReasoner that read the texts of nodes, or their gradients.
#[derive(Debug, Clone)]
pub struct NodeMaps {
    /// The map from embeddings of texts to text states, `[d, text]`.
    pub text: Linear,
    /// The two maps of early fusion, `[d, 2 d]` (query, then text state) and `[d, d]`; `None`
    /// without it.
    pub early: Option<[Linear; 2]>,
}

/// What a model knows of ranking features, or its gradients: see [`super::FeatureWeights`].
#[derive(Debug, Clone)]
pub struct FeatureHead {
    /// The weight of each feature of [`ModelConfig::features`], `[features]`.
    pub weight: Tensor,
    /// The factor of the network's scores of documents, `[1]`.
    pub gate: Tensor,
}

impl FeatureHead {
    /// Zeros of the same shapes.
    ///
    /// # Errors
    /// When candle cannot create a tensor.
    pub(super) fn zeros_like(&self) -> Result<Self> {
        Ok(FeatureHead {
            weight: self.weight.zeros_like()?,
            gate: self.gate.zeros_like()?,
        })
    }
}

/// All tensors of a model: its parameters, or their gradients.
#[derive(Debug, Clone)]
pub struct ModelTensors {
    /// The tensors of each layer.
    pub layers: Vec<LayerParams>,
    /// The linear maps of the scoring head ([`crate::ops::head`]). That of late fusion reads the
    /// node's state, the query and the text state, in this order.
    pub head: Vec<Linear>,
    /// Whether the head is that of late fusion, which has another name.
    pub late_head: bool,
    /// The map from embeddings of relation names to relation states, `[d, text]`.
    pub relations: Linear,
    /// The map from embeddings of questions to query vectors, `[d, text]`. A QueryGNN has none.
    pub questions: Option<Linear>,
    /// The maps that read the texts of nodes, if the model does.
    pub nodes: Option<NodeMaps>,
    /// The head of ranking features, if the model has one.
    pub features: Option<FeatureHead>,
}

/// Gradients of a model's parameters.
pub type Grads = ModelTensors;

/// Collects the name and the tensor of every parameter. `$iter` and `$($borrow)+` choose between
/// shared and mutable borrows.
macro_rules! named {
    ($self:ident, $iter:ident, $($borrow:tt)+) => {{
        let mut out = BTreeMap::new();
        for (i, layer) in $self.layers.$iter().enumerate() {
            let p = layer_name(i);
            out.insert(format!("{p}.linear.weight"), $($borrow)+ layer.linear.weight);
            out.insert(format!("{p}.linear.bias"), $($borrow)+ layer.linear.bias);
            if let Some(norm) = $($borrow)+ layer.norm {
                out.insert(format!("{p}.layer_norm.weight"), $($borrow)+ norm.weight);
                out.insert(format!("{p}.layer_norm.bias"), $($borrow)+ norm.bias);
            }
            for (map, j) in layer.projection.$iter().zip(PROJECTION) {
                let p = format!("{p}.relation_projection.{j}");
                out.insert(format!("{p}.weight"), $($borrow)+ map.weight);
                out.insert(format!("{p}.bias"), $($borrow)+ map.bias);
            }
        }
        for (i, map) in $self.head.$iter().enumerate() {
            let p = head_name($self.late_head, i);
            out.insert(format!("{p}.weight"), $($borrow)+ map.weight);
            out.insert(format!("{p}.bias"), $($borrow)+ map.bias);
        }
        if let Some(maps) = $($borrow)+ $self.nodes {
            out.insert(format!("{NODES}.weight"), $($borrow)+ maps.text.weight);
            out.insert(format!("{NODES}.bias"), $($borrow)+ maps.text.bias);
            for (map, j) in maps.early.$iter().flatten().zip(PROJECTION) {
                out.insert(format!("{EARLY}.{j}.weight"), $($borrow)+ map.weight);
                out.insert(format!("{EARLY}.{j}.bias"), $($borrow)+ map.bias);
            }
        }
        out.insert(format!("{RELATIONS}.weight"), $($borrow)+ $self.relations.weight);
        out.insert(format!("{RELATIONS}.bias"), $($borrow)+ $self.relations.bias);
        if let Some(map) = $($borrow)+ $self.questions {
            out.insert(format!("{QUESTIONS}.weight"), $($borrow)+ map.weight);
            out.insert(format!("{QUESTIONS}.bias"), $($borrow)+ map.bias);
        }
        if let Some(head) = $($borrow)+ $self.features {
            out.insert(FEATURE_WEIGHT.to_owned(), $($borrow)+ head.weight);
            out.insert(FEATURE_GATE.to_owned(), $($borrow)+ head.gate);
        }
        out
    }};
}

impl ModelTensors {
    /// The tensors by the name of their parameter, sorted by name.
    pub fn named(&self) -> BTreeMap<String, &Tensor> {
        named!(self, iter, &)
    }

    /// See [`ModelTensors::named`].
    pub fn named_mut(&mut self) -> BTreeMap<String, &mut Tensor> {
        named!(self, iter_mut, &mut)
    }

    /// Zeros of the same shapes.
    ///
    /// # Errors
    /// When candle cannot create a tensor.
    pub fn zeros_like(&self) -> Result<Self> {
        let mut out = self.clone();
        for tensor in out.named_mut().into_values() {
            *tensor = tensor.zeros_like()?;
        }
        Ok(out)
    }

    /// Builds the tensors of a model; `tensor` returns the one with the given name and shape.
    fn build(
        class: Class,
        config: &ModelConfig,
        text_dim: usize,
        mut tensor: impl FnMut(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<Self> {
        let shapes: BTreeMap<String, Vec<usize>> =
            shapes(class, config, text_dim).into_iter().collect();
        let mut one = |name: String| match shapes.get(&name) {
            Some(shape) => tensor(&name, shape),
            None => bail!("no parameter `{name}`"),
        };
        let features = if config.features.is_empty() {
            None
        } else {
            Some(FeatureHead {
                weight: one(FEATURE_WEIGHT.to_owned())?,
                gate: one(FEATURE_GATE.to_owned())?,
            })
        };
        let mut map = |name: String| -> Result<Linear> {
            Ok(Linear {
                weight: one(format!("{name}.weight"))?,
                bias: one(format!("{name}.bias"))?,
            })
        };
        let mut layers = Vec::new();
        for i in 0..config.layers() {
            let p = layer_name(i);
            let [first, second] = PROJECTION.map(|j| format!("{p}.relation_projection.{j}"));
            layers.push(LayerParams {
                linear: map(format!("{p}.linear"))?,
                norm: if config.layer_norm {
                    let Linear { weight, bias } = map(format!("{p}.layer_norm"))?;
                    Some(Norm { weight, bias })
                } else {
                    None
                },
                projection: [map(first)?, map(second)?],
            });
        }
        let late_head = config.reads_nodes_late();
        let head = (0..config.head_maps()).map(|i| map(head_name(late_head, i)));
        Ok(ModelTensors {
            layers,
            head: head.collect::<Result<_>>()?,
            late_head,
            relations: map(RELATIONS.to_owned())?,
            questions: {
                let has = class.has_questions();
                has.then(|| map(QUESTIONS.to_owned())).transpose()?
            },
            nodes: match config.use_ent_emb {
                None => None,
                Some(_) => Some(NodeMaps {
                    text: map(NODES.to_owned())?,
                    early: if config.reads_nodes_early() {
                        let [first, second] = PROJECTION.map(|j| format!("{EARLY}.{j}"));
                        Some([map(first)?, map(second)?])
                    } else {
                        None
                    },
                }),
            },
            features,
        })
    }
}

/// A model's parameters.
#[derive(Debug, Clone)]
pub struct Params {
    /// Which model they are for.
    pub class: Class,
    /// The configuration of the model.
    pub config: ModelConfig,
    /// Width of text embeddings.
    pub text_dim: usize,
    /// The values.
    pub tensors: ModelTensors,
}

/// The result of [`Params::take_over`], as names.
#[derive(Debug, Default)]
pub struct TakeOverReport {
    /// Parameters taken from the other model.
    pub taken: Vec<String>,
    /// Parameters that stay as initialised.
    pub kept: Vec<String>,
    /// Tensors of the other model that this model has no parameter for.
    pub left: Vec<String>,
}

/// Name of the map from embeddings of relation names to relation states.
pub(crate) const RELATIONS: &str = "rel_mlp";
/// Name of the map from embeddings of questions to query vectors.
pub(crate) const QUESTIONS: &str = "question_mlp";
/// Name of the map from embeddings of nodes' texts to text states.
pub(crate) const NODES: &str = "ent_mlp";
/// Name of the two maps of early fusion.
pub(crate) const EARLY: &str = "early_fuse_mlp";
/// Name of the weights of ranking features.
pub(crate) const FEATURE_WEIGHT: &str = "features.weight";
/// Name of the factor of the network's scores of documents.
pub(crate) const FEATURE_GATE: &str = "features.gate";
/// Numbers of the two maps of a projection: the activation between them counts as a module.
pub(crate) const PROJECTION: [usize; 2] = [0, 2];

/// Name of layer `i`.
pub(crate) fn layer_name(i: usize) -> String {
    format!("entity_model.layers.{i}")
}

/// Name of linear map `i` of the head, which may be that of late fusion: the activations between
/// the maps count as modules.
pub(crate) fn head_name(late: bool, i: usize) -> String {
    let head = if late {
        "predict_mlp"
    } else {
        "entity_model.mlp"
    };
    format!("{head}.{}", 2 * i)
}

/// Names and shapes of all parameters, in the reference's order.
pub(crate) fn shapes(
    class: Class,
    config: &ModelConfig,
    text_dim: usize,
) -> Vec<(String, Vec<usize>)> {
    let d = config.input_dim;
    let mut out = Vec::new();
    for (i, width) in config.hidden_dims.iter().enumerate() {
        let p = layer_name(i);
        if config.layer_norm {
            out.push((format!("{p}.layer_norm.weight"), vec![*width]));
            out.push((format!("{p}.layer_norm.bias"), vec![*width]));
        }
        out.push((
            format!("{p}.linear.weight"),
            vec![*width, (1 + config.aggregate_func.width()) * d],
        ));
        out.push((format!("{p}.linear.bias"), vec![*width]));
        for j in PROJECTION {
            out.push((format!("{p}.relation_projection.{j}.weight"), vec![d, d]));
            out.push((format!("{p}.relation_projection.{j}.bias"), vec![d]));
        }
    }
    let late = config.reads_nodes_late();
    let mut head = Vec::new();
    let mut columns = config.output_dim() + if late { 2 * d } else { d };
    let f = config.head_width();
    for i in 0..config.head_maps() {
        let rows = if i + 1 == config.head_maps() { 1 } else { f };
        let p = head_name(late, i);
        head.push((format!("{p}.weight"), vec![rows, columns]));
        head.push((format!("{p}.bias"), vec![rows]));
        columns = f;
    }
    if !late {
        out.append(&mut head);
    }
    out.push((format!("{RELATIONS}.weight"), vec![d, text_dim]));
    out.push((format!("{RELATIONS}.bias"), vec![d]));
    if class.has_questions() {
        out.push((format!("{QUESTIONS}.weight"), vec![d, text_dim]));
        out.push((format!("{QUESTIONS}.bias"), vec![d]));
    }
    if config.use_ent_emb.is_some() {
        out.push((format!("{NODES}.weight"), vec![d, text_dim]));
        out.push((format!("{NODES}.bias"), vec![d]));
    }
    if config.reads_nodes_early() {
        for (j, columns) in PROJECTION.into_iter().zip([2 * d, d]) {
            out.push((format!("{EARLY}.{j}.weight"), vec![d, columns]));
            out.push((format!("{EARLY}.{j}.bias"), vec![d]));
        }
    }
    out.append(&mut head);
    if !config.features.is_empty() {
        out.push((FEATURE_WEIGHT.to_owned(), vec![config.features.len()]));
        out.push((FEATURE_GATE.to_owned(), vec![1]));
    }
    out
}

/// Number of values in the parameters of such a model.
pub fn size(class: Class, config: &ModelConfig, text_dim: usize) -> usize {
    let all = shapes(class, config, text_dim).into_iter();
    all.map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

/// A random generator for one purpose, so that generators of the same run never share numbers.
pub fn rng(seed: u64, purpose: &str) -> ChaCha8Rng {
    gfm_pipe_api::random::stream(seed, purpose)
}

/// A uniform number in [0, 1) with 24 random bits, as PyTorch draws f32.
pub fn uniform(rng: &mut impl Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32
}

impl Params {
    /// PyTorch's default initialisation: linear maps (weight and bias) uniform in ±1/sqrt(fan-in),
    /// layer norms 1 and 0. The head of ranking features starts with zeros.
    ///
    /// Every tensor has its own random stream: a model with one more parameter starts with the same
    /// values in all others.
    ///
    /// # Errors
    /// When candle cannot create a tensor.
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
        let tensors = ModelTensors::build(class, config, text_dim, |name, shape| {
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
                None if name.ends_with(".weight") && name != FEATURE_WEIGHT => vec![1.0; n],
                None => vec![0.0; n],
            };
            tensor(values, shape)?.to_dtype(dtype)
        })?;
        Ok(Params {
            class,
            config: config.clone(),
            text_dim,
            tensors,
        })
    }

    /// Parameters from existing tensors.
    ///
    /// # Errors
    /// When a tensor is missing, superfluous or of another shape, or when it contains a value that
    /// is not finite.
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
            bail!("parameter `{name}` is not one of a {}", class.name());
        }
        let mut tensors = tensors;
        let take = |name: &str, _: &[usize]| match tensors.remove(name) {
            Some(t) => Ok(t),
            None => bail!("parameter `{name}` is missing"),
        };
        let params = Params {
            class,
            config: config.clone(),
            text_dim,
            tensors: ModelTensors::build(class, config, text_dim, take)?,
        };
        match params.check_finite() {
            Ok(()) => Ok(params),
            Err(refused) => bail!("parameter {refused}"),
        }
    }

    /// These parameters as those of a retriever. A pre-trained model has no projection for
    /// questions. It gets a copy of its only projection of texts, the one for relation names: with
    /// a random one, scores would mean nothing.
    #[must_use]
    pub fn as_retriever(&self) -> Self {
        let mut out = self.clone();
        out.class = Class::GNNRetriever;
        let questions = out.tensors.questions.take();
        out.tensors.questions = questions.or_else(|| Some(self.tensors.relations.clone()));
        out
    }

    /// Checks that every value is a finite number.
    ///
    /// # Errors
    /// When one is not. The error names the parameter, the value and its place.
    pub fn check_finite(&self) -> std::result::Result<(), Refused> {
        let named = self.tensors.named();
        let mut all = named.into_iter();
        all.try_for_each(|(name, tensor)| check_finite(&name, tensor))
    }

    /// Replaces every parameter that another model has in the same shape.
    ///
    /// # Errors
    /// When a tensor cannot be converted to this model's element type.
    pub fn take_over(&mut self, other: &BTreeMap<String, Tensor>) -> Result<TakeOverReport> {
        let mut report = TakeOverReport::default();
        for (name, mine) in self.tensors.named_mut() {
            match other.get(&name) {
                Some(t) if t.dims() == mine.dims() => {
                    *mine = t.to_dtype(mine.dtype())?;
                    report.taken.push(name);
                }
                _ => report.kept.push(name),
            }
        }
        let taken = |n: &&String| !report.taken.contains(*n);
        report.left = other.keys().filter(taken).cloned().collect();
        Ok(report)
    }

    /// The parameters with their names, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (String, &Tensor)> {
        self.tensors.named().into_iter()
    }

    /// The parameters by name. The tensors share memory with these.
    pub fn to_map(&self) -> BTreeMap<String, Tensor> {
        self.iter().map(|(name, t)| (name, t.clone())).collect()
    }

    /// The parameter of this name.
    ///
    /// # Errors
    /// When there is no such parameter.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        match self.tensors.named().remove(name) {
            Some(tensor) => Ok(tensor),
            None => bail!("no parameter `{name}`"),
        }
    }

    /// Replaces a parameter by one of the same shape.
    ///
    /// # Errors
    /// When there is no parameter of that name and shape.
    pub fn set(&mut self, name: &str, value: Tensor) -> Result<()> {
        let Some(place) = self.tensors.named_mut().remove(name) else {
            bail!("no parameter `{name}`")
        };
        if place.dims() != value.dims() {
            let (old, new) = (place.dims(), value.dims());
            bail!("parameter `{name}` is {old:?}, not {new:?}");
        }
        *place = value;
        Ok(())
    }

    /// Number of values in all parameters together.
    pub fn count(&self) -> usize {
        self.iter().map(|(_, t)| t.elem_count()).sum()
    }

    /// Element type of all parameters.
    pub fn dtype(&self) -> DType {
        self.tensors.relations.weight.dtype()
    }
}
