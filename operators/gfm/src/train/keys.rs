//! The values of `train:` that the loop reads, whichever operator they stand in.

use std::path::PathBuf;
use std::time::Duration;

use candle_core::DType;
use gfm_pipe_api::{InputFile, Problem};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use gfm_pipe_model::backend::StepSettings;
use gfm_pipe_model::divided::unsupported;
use gfm_pipe_model::model::Compute;
use gfm_pipe_model::model::files::input_files;
use gfm_pipe_model::ops::AggregateFunc;

use super::{Decay, LoopSettings, Schedule};

/// `train`: keys of the loop and of one operator, side by side in one mapping.
#[derive(Debug)]
pub struct Train<T> {
    /// The loop's.
    pub common: Common,
    /// The operator's own.
    pub own: T,
}

/// Keys of `train` that both operators have.
#[derive(Debug, Serialize, Deserialize)]
pub struct Common {
    /// Samples a step.
    pub batch_size: usize,
    num_epoch: u32,
    log_interval: u64,
    batch_per_epoch: Option<usize>,
    clip_norm: Option<f64>,
    warmup_steps: u64,
    decay: Decay,
    dtype: Precision,
    /// Which states are computed.
    pub path: Compute,
    /// Whether layers are computed again in the backward pass.
    pub recompute: bool,
    divide: Divide,
    /// Weights to start from.
    pub checkpoint: Option<PathBuf>,
    checkpoint_steps: Option<u64>,
    checkpoint_minutes: f64,
    timeout: u64,
    /// Data sets in memory at once.
    pub max_datasets_in_memory: usize,
    /// Background loaders.
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

/// What ranks share.
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

    /// See [`gfm_pipe_api::Operator::per_rank`]. Ranks that divide graphs all compute the same batch.
    pub fn per_rank(&self) -> &'static [&'static str] {
        match self.divide {
            Divide::Batch => &["train.batch_size"],
            Divide::Graph => &[],
        }
    }

    /// The loop's settings.
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

    /// Files read besides the inputs.
    pub fn files(&self) -> Vec<InputFile> {
        self.checkpoint
            .as_deref()
            .map(input_files)
            .unwrap_or_default()
    }

    /// What the schema cannot express.
    pub fn problems(&self, aggregate: AggregateFunc) -> Vec<Problem> {
        let mut out = Vec::new();
        if self.clip_norm.is_some_and(|n| n <= 0.0) {
            let problem = Problem::at("train.clip_norm", "a norm of 0 would stop all training");
            out.push(problem.hint("null clips nothing"));
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

/// The problem with `train.best_by` when it names none of the metrics of the validation.
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
            return Err(S::Error::custom("`train` is no mapping"));
        };
        whole.extend(own);
        Value::Object(whole).serialize(serializer)
    }
}
