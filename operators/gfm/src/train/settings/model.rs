//! The `model` group: the network's class and dimensions.

use gfm_pipe_api::{Field, OpError, OpResult, Problem, Schema, Type};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::inputs::EncoderId;
use gfm_pipe_model::model::{Class, Fusion, ModelConfig};
use gfm_pipe_model::ops::{ActivationFunc, AggregateFunc, MessageFunc};

/// The mapping `model`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Model {
    /// Class name of the model.
    #[serde(rename = "_target_")]
    pub target: String,
    /// How a GraphReasoner reads the texts of nodes.
    use_ent_emb: Option<Fusion>,
    /// Width of text embeddings, which must be the encoder's.
    feat_dim: Option<usize>,
    /// Layers and head.
    pub entity_model: EntityModel,
    /// Ranking features, which follow from what is connected.
    #[serde(skip)]
    pub features: Vec<String>,
}

/// Classes of the model of GFM-RAG 2.0.
const REASONERS: [&str; 2] = ["gfmrag.models.gfm_reasoner.GraphReasoner", "GraphReasoner"];

/// What the operators call the classes that they train.
pub struct Classes {
    /// All names.
    pub all: &'static [&'static str],
    /// Those of the operator's own class; the last one is the default.
    pub usual: &'static [&'static str],
}

/// The classes that pre-training trains.
pub static PRETRAINED: Classes = Classes {
    all: &[
        "gfmrag.models.QueryGNN",
        "QueryGNN",
        "gfmrag.models.gfm_rag_v1.QueryGNN",
        "gfmrag.models.gfm_reasoner.QueryGNN",
        REASONERS[0],
        REASONERS[1],
    ],
    usual: &["gfmrag.models.QueryGNN", "QueryGNN"],
};

/// The classes that fine-tuning trains.
pub static FINETUNED: Classes = Classes {
    all: &[
        "gfmrag.models.GNNRetriever",
        "GNNRetriever",
        "gfmrag.models.gfm_rag_v1.GNNRetriever",
        REASONERS[0],
        REASONERS[1],
    ],
    usual: &[
        "gfmrag.models.gfm_rag_v1.GNNRetriever",
        "gfmrag.models.GNNRetriever",
        "GNNRetriever",
    ],
};

impl Model {
    /// The class of the model. The QueryGNNs of GFM-RAG 2.0 are GraphReasoners: their queries pass
    /// through `question_mlp`.
    pub fn class(&self) -> Class {
        match self.target.as_str() {
            "gfmrag.models.QueryGNN" | "QueryGNN" => Class::QueryGNN,
            name if FINETUNED.usual.contains(&name) => Class::GNNRetriever,
            // The schema lets through nothing else but the classes of 2.0.
            _ => Class::GraphReasoner,
        }
    }

    /// The model's dimensions.
    pub fn config(&self) -> ModelConfig {
        // The pre-training of 1.0's model reads no texts of nodes, in 2.0 either.
        let reads = self.class() == Class::GraphReasoner && !self.target.contains(".gfm_rag_v1.");
        ModelConfig {
            use_ent_emb: self.use_ent_emb.filter(|_| reads),
            features: self.features.clone(),
            ..self.entity_model.config()
        }
    }

    /// Replaces the dimensions by those of a model from a file.
    pub fn adopt(&mut self, config: &ModelConfig) {
        self.use_ent_emb = config.use_ent_emb;
        self.entity_model.adopt(config);
    }

    /// Checks the width of text embeddings that the pipeline names.
    ///
    /// # Errors
    /// When the encoder has another width.
    pub fn check_width(&self, encoder: &EncoderId) -> OpResult<()> {
        match self.feat_dim {
            Some(dim) if dim != encoder.dim => Err(OpError::new(format!(
                "`model.feat_dim` is {dim}, but {} makes embeddings of width {}",
                encoder.name, encoder.dim
            ))
            .hint("leave `feat_dim` out, or embed with the encoder that has this width")),
            Some(_) | None => Ok(()),
        }
    }

    /// Problems that the schema cannot express.
    pub fn problems(&self) -> Vec<Problem> {
        let problems = self.config().problems().into_iter();
        problems
            .map(|(key, why)| Problem::at(&format!("model.entity_model.{key}"), why))
            .collect()
    }
}

/// The mapping `model.entity_model`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EntityModel {
    /// Class name of the entity model.
    #[serde(rename = "_target_")]
    pub target: String,
    /// Width of the input states.
    pub input_dim: usize,
    /// Width of each layer's output.
    pub hidden_dims: Vec<usize>,
    /// How a neighbour's state and a relation make a message.
    pub message_func: MessageFunc,
    /// How messages are aggregated.
    pub aggregate_func: AggregateFunc,
    /// Whether a layer's input is added to its output.
    pub short_cut: bool,
    /// Whether each layer's linear output is normalised.
    pub layer_norm: bool,
    /// Activation of the layers.
    pub activation: ActivationFunc,
    /// Whether the head sees the outputs of all layers.
    pub concat_hidden: bool,
    /// Number of linear maps in the head.
    pub num_mlp_layer: usize,
    /// Has no effect in GFM-RAG.
    pub dependent: bool,
    /// Whether every edge between head and tail is removed, whatever its relation.
    pub remove_one_hop: bool,
    /// Follows from the fusion; not used.
    return_hidden: bool,
    /// Beam width of path interpretation; not used.
    pub num_beam: usize,
    /// Paths kept by path interpretation; not used.
    pub path_topk: usize,
}

impl EntityModel {
    /// The model's dimensions.
    pub fn config(&self) -> ModelConfig {
        ModelConfig {
            input_dim: self.input_dim,
            hidden_dims: self.hidden_dims.clone(),
            message_func: self.message_func,
            aggregate_func: self.aggregate_func,
            short_cut: self.short_cut,
            layer_norm: self.layer_norm,
            activation: self.activation,
            concat_hidden: self.concat_hidden,
            num_mlp_layer: self.num_mlp_layer,
            remove_one_hop: self.remove_one_hop,
            use_ent_emb: None,
            features: Vec::new(),
        }
    }

    /// Replaces the dimensions.
    pub fn adopt(&mut self, config: &ModelConfig) {
        let config = config.clone();
        self.input_dim = config.input_dim;
        self.hidden_dims = config.hidden_dims;
        self.message_func = config.message_func;
        self.aggregate_func = config.aggregate_func;
        self.short_cut = config.short_cut;
        self.layer_norm = config.layer_norm;
        self.activation = config.activation;
        self.concat_hidden = config.concat_hidden;
        self.num_mlp_layer = config.num_mlp_layer;
        self.remove_one_hop = config.remove_one_hop;
    }
}

/// Maximum width of a state.
const MAX_WIDTH: f64 = 65_536.0;

fn dim() -> Type {
    Type::int(1)
}

/// The `model` group, for these classes.
pub fn model_field(classes: &'static Classes) -> Field {
    let mut entity = layer_fields();
    entity.extend(head_fields());
    let default = classes.usual.last().copied().unwrap_or_default();
    Field::group(
        "model",
        Schema::new(vec![
            Field::new(
                "_target_",
                Type::OneOf {
                    words: classes.all,
                    planned: &[],
                },
                default,
                "class of the model; GraphReasoner is that of GFM-RAG 2.0, and its QueryGNN classes are trained as GraphReasoners",
            )
            .added_later()
            .alike(classes.usual),
            Field::new(
                "use_ent_emb",
                Type::one_of(&["early-fusion", "late-fusion", "early-late-fusion"]).or_null(),
                "early-late-fusion",
                "where a GraphReasoner reads the texts of nodes: early-fusion in the state that a node starts with, late-fusion in the scoring head, early-late-fusion in both, null nowhere; other classes read none",
            )
            .added_later(),
            Field::new(
                "feat_dim",
                dim().or_null(),
                json!(null),
                "width of text embeddings; optional, and an error if the encoder has another",
            )
            .at_most(MAX_WIDTH, "no encoder is wider")
            .no_effect(),
            Field::group("entity_model", Schema::new(entity), "layers and head"),
        ]),
        "the model",
    )
}

/// The parameters of `entity_model` that concern its layers.
fn layer_fields() -> Vec<Field> {
    vec![
        Field::new(
            "_target_",
            Type::one_of(&[
                "gfmrag.ultra.models.EntityNBFNet",
                "gfmrag.ultra.models.QueryNBFNet",
                "gfmrag.models.ultra.models.QueryNBFNet",
                "EntityNBFNet",
                "QueryNBFNet",
            ]),
            "EntityNBFNet",
            "class of the entity model; accepted so that GFM-RAG's files work unchanged",
        )
        .no_effect(),
        Field::new(
            "input_dim",
            dim(),
            512,
            "width d of node, query and relation states",
        )
        .at_most(MAX_WIDTH, "weights grow with its square"),
        Field::new(
            "hidden_dims",
            Type::list(dim()),
            json!([512, 512, 512, 512, 512, 512]),
            "output width of each layer; only the last may differ from input_dim",
        )
        .at_most(MAX_WIDTH, "weights grow with its square"),
        Field::new(
            "message_func",
            Type::one_of(MessageFunc::NAMES),
            "distmult",
            "how a neighbour's state and a relation make a message",
        ),
        Field::new(
            "aggregate_func",
            Type::one_of(&["sum", "mean", "max", "min", "pna"]),
            "sum",
            "how messages and the boundary are aggregated (GFM-RAG trains min with rotate only)",
        ),
        Field::new(
            "short_cut",
            Type::Bool,
            true,
            "adds a layer's input to its output",
        ),
        Field::new(
            "layer_norm",
            Type::Bool,
            true,
            "normalises each layer's linear output",
        ),
        Field::new(
            "activation",
            Type::one_of(&[
                "relu",
                "gelu",
                "silu",
                "tanh",
                "sigmoid",
                "elu",
                "leaky_relu",
                "softplus",
            ]),
            "relu",
            "activation of the layers, by PyTorch's name",
        ),
    ]
}

/// The other parameters of `entity_model`.
fn head_fields() -> Vec<Field> {
    vec![
        Field::new(
            "concat_hidden",
            Type::Bool,
            false,
            "the head sees the outputs of all layers",
        ),
        Field::new("num_mlp_layer", Type::int(1), 2, "linear maps in the head")
            .at_most(16.0, "every map keeps its values for every candidate"),
        Field::new("dependent", Type::Bool, false, "has no effect in GFM-RAG").only_default(),
        Field::new(
            "remove_one_hop",
            Type::Bool,
            false,
            "in pre-training, removes all edges between head and tail, not only those of the relation",
        ),
        Field::new(
            "return_hidden",
            Type::Bool,
            false,
            "not used: it follows from use_ent_emb",
        )
        .no_effect(),
        Field::new(
            "num_beam",
            Type::int(1),
            10,
            "beam width of path interpretation",
        )
        .at_most(1e4, "every path is kept")
        .no_effect(),
        Field::new(
            "path_topk",
            Type::int(1),
            10,
            "paths kept by path interpretation",
        )
        .at_most(1e4, "every path is kept")
        .no_effect(),
    ]
}
