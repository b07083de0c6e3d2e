//! The `with:` of pretrain and finetune: the training guide's keys under their names.
//!
//! What the reference knows and this version does not do yet is refused by name, never ignored.

use gfm_pipe_api::{Field, Problem, Schema, Type};
use gfm_pipe_kernels::adamw::AdamW;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::schedule::decay_field;
use gfm_pipe_model::model::ModelConfig;
use gfm_pipe_model::ops::{ActivationFunc, AggregateFunc, MessageFunc};

/// `model`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Model {
    /// The model's class.
    #[serde(rename = "_target_")]
    pub target: String,
    /// Layers and head.
    pub entity_model: EntityModel,
}

/// `model.entity_model`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EntityModel {
    /// The entity model's class.
    #[serde(rename = "_target_")]
    pub target: String,
    /// Width of states.
    pub input_dim: usize,
    /// Width of each layer's output.
    pub hidden_dims: Vec<usize>,
    /// Message function.
    pub message_func: MessageFunc,
    /// Aggregate.
    pub aggregate_func: AggregateFunc,
    /// Shortcut.
    pub short_cut: bool,
    /// Layer norm.
    pub layer_norm: bool,
    /// Activation.
    pub activation: ActivationFunc,
    /// Joins all layers' outputs.
    pub concat_hidden: bool,
    /// Depth of the head.
    pub num_mlp_layer: usize,
    /// Has no effect in the reference.
    pub dependent: bool,
    /// Removes every edge between head and tail, whatever its relation.
    pub remove_one_hop: bool,
    /// For path interpretation.
    pub num_beam: usize,
    /// For path interpretation.
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
        }
    }

    /// Takes other dimensions.
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

    /// What the schema cannot express.
    pub fn problems(&self) -> Vec<Problem> {
        self.config()
            .problems()
            .into_iter()
            .map(|(key, why)| Problem::at(&format!("model.entity_model.{key}"), why))
            .collect()
    }
}

/// `optimizer`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OptimizerSettings {
    /// The optimizer's class.
    #[serde(rename = "_target_")]
    pub target: String,
    /// Learning rate.
    pub lr: f64,
    /// Decay rates of the moments.
    pub betas: Vec<f64>,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl OptimizerSettings {
    /// The kernel's form.
    pub fn adamw(&self) -> AdamW {
        AdamW {
            lr: self.lr,
            betas: (self.betas[0], self.betas[1]),
            eps: self.eps,
            weight_decay: self.weight_decay,
        }
    }

    /// What the schema cannot express.
    pub fn problems(&self) -> Vec<Problem> {
        (self.betas.len() != 2)
            .then(|| Problem::at("optimizer.betas", "expected two numbers"))
            .into_iter()
            .collect()
    }
}

/// Largest width of a state.
const MAX_WIDTH: f64 = 65_536.0;

fn dim() -> Type {
    Type::int(1)
}

/// The `model` group; `class` and `entity_class` are the class names accepted.
pub fn model_field(class: &'static [&'static str]) -> Field {
    let entity = Schema::new(vec![
        Field::new(
            "_target_",
            Type::one_of(&[
                "gfmrag.ultra.models.EntityNBFNet",
                "gfmrag.ultra.models.QueryNBFNet",
                "EntityNBFNet",
                "QueryNBFNet",
            ]),
            "EntityNBFNet",
            "class of the entity model; accepted so that reference files can be kept",
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
            "how messages and the boundary are joined (the reference trains min with rotate only)",
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
        Field::new(
            "concat_hidden",
            Type::Bool,
            false,
            "the head sees the outputs of all layers",
        ),
        Field::new("num_mlp_layer", Type::int(1), 2, "linear maps in the head")
            .at_most(16.0, "every map keeps its values for every candidate"),
        Field::new(
            "dependent",
            Type::Bool,
            false,
            "has no effect in the reference",
        )
        .only_default(),
        Field::new(
            "remove_one_hop",
            Type::Bool,
            false,
            "in pre-training, removes all edges between head and tail, not only those of the relation",
        ),
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
    ]);
    let default = class.last().copied().unwrap_or_default();
    Field::group(
        "model",
        Schema::new(vec![
            Field::new(
                "_target_",
                Type::OneOf {
                    words: class,
                    planned: &[],
                },
                default,
                "class of the model",
            )
            .no_effect(),
            Field::group("entity_model", entity, "layers and head"),
        ]),
        "the model",
    )
}

/// The `optimizer` group.
pub fn optimizer_field() -> Field {
    Field::group(
        "optimizer",
        Schema::new(vec![
            Field::new(
                "_target_",
                Type::one_of(&["torch.optim.AdamW", "AdamW"]),
                "AdamW",
                "class of the optimizer",
            )
            .no_effect(),
            Field::new("lr", Type::float(0.0), 5e-4, "learning rate")
                .at_most(1000.0, "a step of AdamW moves a weight by about as much"),
            Field::new(
                "betas",
                Type::list(Type::Float {
                    min: 0.0,
                    max: 0.999_999_9,
                }),
                json!([0.9, 0.999]),
                "decay rates of the two moments",
            ),
            Field::new(
                "eps",
                Type::float(0.0),
                1e-8,
                "added to the root of the second moment",
            )
            .at_most(1.0, "more stops all training"),
            Field::new(
                "weight_decay",
                Type::float(0.0),
                0.01,
                "decoupled weight decay, on every parameter",
            )
            .at_most(
                1000.0,
                "a step takes `lr` times as much of each weight away",
            ),
        ]),
        "the optimizer",
    )
}

/// Keys both operators have at the top: `seed`, and the reference's that are stages here.
pub fn top_fields() -> Vec<Field> {
    vec![
        Field::new(
            "seed",
            Type::int(0),
            1024,
            "seed of initialisation, order and sampling",
        )
        .at_most(i64::MAX as f64, "it has 63 bits"),
        Field::refused("hydra", "remove it: results go to the store (`--store`)"),
        Field::refused(
            "defaults",
            "remove it: the encoder is an `embed` stage, the ranker the key `doc_ranker`",
        ),
        Field::refused(
            "datasets",
            "data sets are stages: ingest-kg, ingest-qa, build-graph, connected under `in:`",
        ),
        Field::refused(
            "text_emb_model",
            "the encoder is an `embed` stage, connected under `in:`",
        ),
        Field::refused("checkpoint", "it belongs under `train`: `train.checkpoint`"),
    ]
}

/// Keys of `train` both operators have; `epochs` is the default of num_epoch.
pub fn train_fields(epochs: u32, save_best_only: bool, save_pretrained: bool) -> Vec<Field> {
    vec![
        Field::new(
            "batch_size",
            Type::int(1),
            8,
            "samples a step, on each rank: k ranks with n each compute what one computes with k n. With `divide: graph` all ranks together compute n",
        )
        .at_most(65_536.0, "every sample of a batch has states of its own"),
        Field::new("num_epoch", Type::int(0), epochs, "epochs")
            .at_most(1e6, "each is written down in the history"),
        Field::new("log_interval", Type::int(1), 100, "steps between log lines")
            .at_most(1e9, "no training has more steps")
            .no_effect(),
        Field::new("save_best_only", Type::Bool, save_best_only, "the `model` port holds the best epoch either way")
            .no_effect(),
        Field::new(
            "save_pretrained",
            Type::Bool,
            save_pretrained,
            "the `model` port is the saved model; an `export` stage writes config.json and model.pth",
        )
        .no_effect(),
        Field::new(
            "batch_per_epoch",
            Type::int(1).or_null(),
            json!(null),
            "at most this many steps on each data set in an epoch",
        )
        .at_most(1e9, "null takes all of them"),
        Field::new(
            "clip_norm",
            Type::float(0.0).or_null(),
            json!(null),
            "largest norm of all gradients together; longer ones are scaled down",
        )
        .at_most(1e9, "null clips nothing"),
        Field::new("warmup_steps", Type::int(0), 0, "steps in which the learning rate rises to `optimizer.lr` in a line")
            .at_most(1e9, "no training has more steps"),
        decay_field(),
        Field::new(
            "dtype",
            Type::one_of(&["f32", "f64", "tf32", "bf16"]),
            "f32",
            "element type of weights, states and gradients while training; models are stored in f32. On GPUs also tf32: f32 whose products round their factors to 10 bits, \
             and bf16: states in bfloat16, weights and sums in f32",
        ),
        Field::new(
            "path",
            Type::one_of(&["auto", "dense", "sparse"]),
            "auto",
            "which states are computed: dense every node's for every query; sparse those that differ between queries or matter for the scores, the others \
             once or not at all; auto what is less work for the sizes at hand. The numbers are the same but for rounding (sum and mean; max, min and pna are always dense)",
        ),
        Field::new("recompute", Type::Bool, false, "computes layers again in the backward pass instead of keeping them: less memory, more time")
            .no_effect(),
        Field::new(
            "divide",
            Type::one_of(&["batch", "graph"]),
            "batch",
            "what several ranks share: batch the rows of each batch, each rank with whole graphs; graph the nodes of each graph, all ranks together computing the \
             same batch, for graphs whose states do not fit one rank's memory (CPU only; aggregates sum and mean). One rank has nothing to share. The numbers are the \
             same but for rounding",
        )
        .no_effect(),
        Field::new("max_datasets_in_memory", Type::int(1), 10, "data sets held in memory at once")
            .at_most(1e4, "no pipeline has more")
            .no_effect(),
        Field::new(
            "data_loading_workers",
            Type::int(0),
            4,
            "threads that read the next data sets while one is trained on; 0 reads each when it is needed",
        )
        .at_most(1024.0, "each is a thread with a data set in memory")
        .no_effect(),
        Field::new("timeout", Type::int(1), 60, "minutes that ranks wait for each other; one process does not wait")
            .at_most(525_600.0, "it is a year")
            .no_effect(),
        Field::new(
            "checkpoint",
            Type::Path.or_null(),
            json!(null),
            "weights to start from: .pth, .safetensors, .parquet, or a folder with config.json and model.pth, whose config then replaces `model`; for a stage's model connect `in: {init: STAGE.model}`",
        ),
        Field::new(
            "checkpoint_steps",
            Type::int(1).or_null(),
            json!(null),
            "steps between checkpoints, besides those by time; one is written after every epoch",
        )
        .at_most(1e9, "no training has more steps")
        .no_effect(),
        Field::new(
            "checkpoint_minutes",
            Type::float(0.0),
            1.0,
            "minutes between checkpoints; 0 writes one after every step",
        )
        .at_most(525_600.0, "it is a year")
        .no_effect(),
    ]
}
