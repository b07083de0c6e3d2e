//! The `train` group: parameters of the loop that both training operators have, and next to them
//! those of one operator.

use std::path::PathBuf;
use std::time::Duration;

use candle_core::DType;
use gfm_pipe_api::{Field, InputFile, Problem, Type};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use gfm_pipe_model::backend::StepSettings;
use gfm_pipe_model::divided::unsupported;
use gfm_pipe_model::model::Compute;
use gfm_pipe_model::model::files::input_files;
use gfm_pipe_model::ops::AggregateFunc;

use crate::train::schedule::decay_field;
use crate::train::{Decay, LoopSettings, Schedule};

/// The mapping `train`: parameters of both operators next to those of one operator.
#[derive(Debug)]
pub struct Train<T> {
    /// Parameters that both operators have.
    pub common: Common,
    /// Parameters of one operator.
    pub own: T,
}

/// Parameters of `train` that both operators have; see [`train_fields`] for their meaning.
#[derive(Debug, Serialize, Deserialize)]
pub struct Common {
    /// Samples per step, on each rank.
    pub batch_size: usize,
    num_epoch: u32,
    log_interval: u64,
    batch_per_epoch: Option<usize>,
    clip_norm: Option<f64>,
    warmup_steps: u64,
    decay: Decay,
    dtype: Precision,
    /// Whether states of all nodes are computed, or only those that matter.
    pub path: Compute,
    /// Whether the backward pass computes layers again instead of keeping them.
    pub recompute: bool,
    divide: Divide,
    /// File or folder of weights to start from.
    pub checkpoint: Option<PathBuf>,
    checkpoint_steps: Option<u64>,
    checkpoint_minutes: f64,
    timeout: u64,
    /// Maximum number of data sets in memory.
    pub max_datasets_in_memory: usize,
    /// Number of threads that read data sets in the background.
    pub data_loading_workers: usize,
}

/// Element type of the computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Precision {
    F32,
    F64,
    Tf32,
    Bf16,
}

/// What ranks divide among themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Divide {
    /// The rows of each batch.
    Batch,
    /// The nodes of each graph.
    Graph,
}

impl Common {
    /// Whether ranks divide graphs.
    pub fn divides_graphs(&self) -> bool {
        self.divide == Divide::Graph
    }

    /// See [`gfm_pipe_api::Operator::per_rank`]. Ranks that divide graphs all compute the same
    /// batch.
    pub fn per_rank(&self) -> &'static [&'static str] {
        match self.divide {
            Divide::Batch => &["train.batch_size"],
            Divide::Graph => &[],
        }
    }

    /// Settings of the loop.
    pub fn settings(&self, seed: u64) -> LoopSettings {
        LoopSettings {
            seed,
            batch_size: self.batch_size,
            num_epoch: self.num_epoch,
            log_interval: self.log_interval,
            batch_per_epoch: self.batch_per_epoch,
            steps: self.steps(),
            schedule: Schedule {
                warmup_steps: self.warmup_steps,
                decay: self.decay,
            },
            checkpoint_steps: self.checkpoint_steps,
            checkpoint_seconds: self.checkpoint_minutes * 60.0,
            patience: Duration::from_secs(60 * self.timeout),
        }
    }

    /// Element type of weights and their gradients.
    pub fn dtype(&self) -> DType {
        match self.dtype {
            Precision::F64 => DType::F64,
            _ => DType::F32,
        }
    }

    /// How steps are computed.
    fn steps(&self) -> StepSettings {
        StepSettings {
            states: match self.dtype {
                Precision::Bf16 => DType::BF16,
                _ => self.dtype(),
            },
            tf32: self.dtype == Precision::Tf32,
            compute: self.path,
            recompute: self.recompute,
            clip_norm: self.clip_norm,
        }
    }

    /// Files that are read in addition to the input artifacts.
    pub fn files(&self) -> Vec<InputFile> {
        self.checkpoint
            .as_deref()
            .map(input_files)
            .unwrap_or_default()
    }

    /// Problems that the schema cannot express.
    pub fn problems(&self, aggregate: AggregateFunc) -> Vec<Problem> {
        let mut out = Vec::new();
        if self.clip_norm.is_some_and(|n| n <= 0.0) {
            let problem = Problem::at("train.clip_norm", "a norm of 0 would stop all training");
            out.push(problem.hint("null does not clip"));
        }
        if self.path == Compute::Sparse && !aggregate.adds() {
            let problem = Problem::at("train.path", "`sparse` is for the aggregates sum and mean");
            out.push(problem.hint("leave it at auto, which is dense for max, min and pna"));
        }
        if let Some(why) = unsupported(aggregate).filter(|_| self.divides_graphs()) {
            out.push(Problem::at("train.divide", why.problem).hint(why.hint));
        }
        out
    }
}

/// Reports a `train.best_by` that is not a metric of the validation.
pub fn best_by_problem(given: &str, allowed: &[String]) -> Option<Problem> {
    (!allowed.iter().any(|a| a == given)).then(|| {
        Problem::at(
            "train.best_by",
            format!("`{given}` is not a metric of this validation"),
        )
        .hint(format!(
            "one of {} (more in `task.metric`)",
            allowed.join(", ")
        ))
    })
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Train<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(Train {
            common: Common::deserialize(&value).map_err(D::Error::custom)?,
            own: T::deserialize(&value).map_err(D::Error::custom)?,
        })
    }
}

impl<T: Serialize> Serialize for Train<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        let whole = serde_json::to_value(&self.common).map_err(S::Error::custom)?;
        let own = serde_json::to_value(&self.own).map_err(S::Error::custom)?;
        let (Value::Object(mut whole), Value::Object(own)) = (whole, own) else {
            return Err(S::Error::custom("`train` is not a mapping"));
        };
        whole.extend(own);
        Value::Object(whole).serialize(serializer)
    }
}

/// Defaults that the two operators do not share.
pub struct TrainDefaults {
    /// Default of `num_epoch`.
    pub num_epoch: u32,
    /// Default of `save_best_only`.
    pub save_best_only: bool,
    /// Default of `save_pretrained`.
    pub save_pretrained: bool,
}

/// The parameters of `train` that both operators have.
pub fn train_fields(defaults: &TrainDefaults) -> Vec<Field> {
    let mut fields = epoch_fields(defaults);
    fields.extend(step_fields());
    fields.extend(run_fields());
    fields
}

/// Batches, epochs and what is reported of them.
fn epoch_fields(defaults: &TrainDefaults) -> Vec<Field> {
    vec![
        Field::new(
            "batch_size",
            Type::int(1),
            8,
            "samples per step, on each rank: k ranks with n each compute the same as one rank with k n. With `divide: graph` all ranks together compute n",
        )
        .at_most(65_536.0, "every sample of a batch has its own states"),
        Field::new("num_epoch", Type::int(0), defaults.num_epoch, "epochs")
            .at_most(1e6, "each is recorded in the history"),
        Field::new("log_interval", Type::int(1), 100, "steps between log lines")
            .at_most(1e9, "no training has more steps")
            .no_effect(),
        Field::new("save_best_only", Type::Bool, defaults.save_best_only, "the `model` port holds the best epoch either way")
            .no_effect(),
        Field::new(
            "save_pretrained",
            Type::Bool,
            defaults.save_pretrained,
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
    ]
}

/// How a step is computed.
fn step_fields() -> Vec<Field> {
    vec![
        Field::new(
            "clip_norm",
            Type::float(0.0).or_null(),
            json!(null),
            "maximum norm of all gradients together; larger gradients are scaled down",
        )
        .at_most(1e9, "null does not clip"),
        Field::new("warmup_steps", Type::int(0), 0, "steps in which the learning rate rises linearly to `optimizer.lr`")
            .at_most(1e9, "no training has more steps"),
        decay_field(),
        Field::new(
            "dtype",
            Type::one_of(&["f32", "f64", "tf32", "bf16"]),
            "f32",
            "element type of weights, states and gradients while training; models are stored in f32. On GPUs also tf32 (f32 whose products round their factors to 10 bits) \
             and bf16 (states in bfloat16, weights and sums in f32)",
        ),
        Field::new(
            "path",
            Type::one_of(&["auto", "dense", "sparse"]),
            "auto",
            "which states are computed: dense computes every node for every query; sparse computes only the states that differ between queries or affect the scores, the others \
             once or not at all; auto chooses what is less work. The numbers are the same except for rounding (sum and mean; max, min and pna are always dense)",
        ),
        Field::new("recompute", Type::Bool, false, "computes layers again in the backward pass instead of keeping them: less memory, more time")
            .no_effect(),
        Field::new(
            "divide",
            Type::one_of(&["batch", "graph"]),
            "batch",
            "what several ranks divide: batch divides the rows of each batch, and each rank has whole graphs; graph divides the nodes of each graph, and all ranks together compute the \
             same batch, for graphs whose states do not fit into one rank's memory (CPU only; aggregates sum and mean). It does not matter for one rank. The numbers are the \
             same except for rounding",
        )
        .no_effect(),
    ]
}

/// Memory, ranks and checkpoints.
fn run_fields() -> Vec<Field> {
    vec![
        Field::new("max_datasets_in_memory", Type::int(1), 10, "data sets held in memory at once")
            .at_most(1e4, "no pipeline has more")
            .no_effect(),
        Field::new(
            "data_loading_workers",
            Type::int(0),
            4,
            "threads that read the next data sets during training; 0 reads each one when it is needed",
        )
        .at_most(1024.0, "each is a thread with a data set in memory")
        .no_effect(),
        Field::new("timeout", Type::int(1), 60, "minutes that ranks wait for each other; a single process does not wait")
            .at_most(525_600.0, "that is one year")
            .no_effect(),
        Field::new(
            "checkpoint",
            Type::Path.or_null(),
            json!(null),
            "weights to start from: .pth, .safetensors, .parquet, or a folder with config.json and model.pth, whose config then replaces `model`; to start from the model of a stage, connect `in: {init: STAGE.model}`",
        ),
        Field::new(
            "checkpoint_steps",
            Type::int(1).or_null(),
            json!(null),
            "steps between checkpoints, in addition to those by time; one is also written after every epoch",
        )
        .at_most(1e9, "no training has more steps")
        .no_effect(),
        Field::new(
            "checkpoint_minutes",
            Type::float(0.0),
            1.0,
            "minutes between checkpoints; 0 writes one after every step",
        )
        .at_most(525_600.0, "that is one year")
        .no_effect(),
    ]
}
