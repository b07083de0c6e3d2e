//! Checkpoints: everything that a stopped training needs to continue, in one safetensors file in
//! the stage's private folder.
//!
//! The file is written under another name, synced and renamed, so at any instant it is either
//! complete or absent. A damaged or foreign checkpoint is set aside and training starts over: that
//! costs time but never changes a result. The state of random generators is not stored, because
//! every step draws from its own stream, named by seed, epoch and place.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::PathBuf;

use candle_core::{Device, Tensor};
use gfm_pipe_api::{Context, OpError, OpResult, files};
use serde::{Deserialize, Serialize};

use super::History;
use super::epoch_plan::{EpochPlan, Place};
use gfm_pipe_model::model::Params;
use gfm_pipe_model::optimizer::{Moments, Optimizer};

/// Version of the file's layout.
const FORMAT: u32 = 2;

/// State of training between two steps.
pub(super) struct Checkpoint {
    pub params: Params,
    pub optimizer: Optimizer,
    /// Weights of the best epoch so far.
    pub best: Params,
    pub progress: Progress,
}

/// How far training has come, and what it has measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The next step.
    pub place: Place,
    pub best_epoch: u32,
    pub best_score: Option<f64>,
    /// Sums over the current epoch, of the loss and then of each of its parts.
    pub sums: Vec<f64>,
    /// Sum and number of the losses since the last `loss` in the history.
    pub recent: (f64, u64),
    pub history: Vec<History>,
}

#[derive(Serialize, Deserialize)]
struct Meta {
    format: u32,
    steps: u64,
    progress: Progress,
}

impl Checkpoint {
    pub fn start(params: Params, optimizer: Optimizer, place: Place, sums: usize) -> Self {
        Checkpoint {
            best: params.clone(),
            params,
            optimizer,
            progress: Progress {
                place,
                best_epoch: 0,
                best_score: None,
                sums: vec![0.0; sums],
                recent: (0.0, 0),
                history: Vec::new(),
            },
        }
    }

    /// Adds a value to the history of an epoch; 0 is the start.
    pub fn record(&mut self, epoch: u32, metric: impl Into<String>, value: f64) {
        self.progress.history.push(History {
            epoch,
            step: self.optimizer.steps,
            metric: metric.into(),
            value,
        });
    }

    /// Keeps the current weights, those after an epoch, as the best ones.
    pub fn keep_as_best(&mut self, epoch: u32, score: Option<f64>) {
        self.progress.best_score = score;
        self.progress.best_epoch = epoch;
        self.best = self.params.clone();
    }
}

fn path(ctx: &Context) -> PathBuf {
    ctx.workdir.join("checkpoint.safetensors")
}

pub(super) fn save(ctx: &Context, c: &Checkpoint) -> OpResult<()> {
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    for (prefix, params) in [("param", &c.params), ("best", &c.best)] {
        for (name, t) in params.iter() {
            tensors.push((format!("{prefix}.{name}"), t.clone()));
        }
    }
    for (name, m) in &c.optimizer.moments {
        tensors.push((format!("exp_avg.{name}"), m.exp_avg.clone()));
        tensors.push((format!("exp_avg_sq.{name}"), m.exp_avg_sq.clone()));
    }
    let meta = Meta {
        format: FORMAT,
        steps: c.optimizer.steps,
        progress: c.progress.clone(),
    };
    let json = serde_json::to_string(&meta)
        .map_err(|e| OpError::wrap("failed to write a checkpoint", e))?;
    let to = path(ctx);
    let tmp = to.with_extension("tmp");
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
        OpError::wrap("failed to write a checkpoint", e)
            .file(&tmp)
            .hint("check free space and permissions of the store")
    };
    let info = HashMap::from([("gfm-pipe".to_owned(), json)]);
    safetensors::serialize_to_file(tensors.iter().map(|(n, t)| (n, t)), Some(info), &tmp)
        .map_err(|e| failed(e.into()))?;
    File::open(&tmp)
        .and_then(|f| f.sync_all())
        .and_then(|()| fs::rename(&tmp, &to))
        .and_then(|()| File::open(&ctx.workdir)?.sync_all())
        .map_err(|e| failed(e.into()))
}

/// The checkpoint of an earlier run of the same stage with the same key, and the bytes of its file.
/// One that cannot be used is set aside.
pub(super) fn load(
    ctx: &Context,
    params: &Params,
    optimizer: &Optimizer,
    plan: &EpochPlan,
    sums: usize,
) -> OpResult<Option<(Checkpoint, Vec<u8>)>> {
    let file = path(ctx);
    if !file.exists() {
        return Ok(None);
    }
    let bytes = files::read(&file).map_err(|e| e.to_string());
    let found = bytes.and_then(|bytes| {
        let c = read(&bytes, params, optimizer)?;
        Ok((check_plan(c, plan, sums)?, bytes))
    });
    match found {
        Ok(found) => Ok(Some(found)),
        Err(why) => {
            let aside = file.with_extension("damaged");
            fs::rename(&file, &aside).map_err(|e| {
                OpError::wrap("failed to set a damaged checkpoint aside", e).file(&file)
            })?;
            ctx.warn(format!(
                "the checkpoint {} is not usable ({why}): training starts over",
                file.display()
            ));
            Ok(None)
        }
    }
}

/// Checks that this training reaches the checkpoint's place and sums as many losses.
fn check_plan(c: Checkpoint, plan: &EpochPlan, sums: usize) -> Result<Checkpoint, String> {
    let p = &c.progress;
    if !plan.reaches(p.place, c.optimizer.steps) {
        return Err(format!(
            "step {} is not step {} on data set {} of epoch {}",
            c.optimizer.steps,
            p.place.step,
            p.place.set + 1,
            p.place.epoch
        ));
    }
    if p.sums.len() != sums {
        return Err(format!("it counts {} losses, not {sums}", p.sums.len()));
    }
    Ok(c)
}

/// Parses the bytes of a checkpoint file. Weights and moments must have the shapes of `params`.
pub(super) fn read(
    bytes: &[u8],
    params: &Params,
    optimizer: &Optimizer,
) -> Result<Checkpoint, String> {
    let (_, header) = safetensors::SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let json = header
        .metadata()
        .as_ref()
        .and_then(|m| m.get("gfm-pipe"))
        .ok_or("it was not written by gfm-pipe")?;
    let version: serde_json::Value = serde_json::from_str(json).map_err(|e| e.to_string())?;
    if version["format"] != FORMAT {
        return Err(format!("it has format {}, not {FORMAT}", version["format"]));
    }
    let meta: Meta = serde_json::from_value(version).map_err(|e| e.to_string())?;
    let mut tensors =
        candle_core::safetensors::load_buffer(bytes, &Device::Cpu).map_err(|e| e.to_string())?;
    let dtype = params.dtype();
    let mut take = |name: String| {
        tensors
            .remove(&name)
            .filter(|t| t.dtype() == dtype)
            .ok_or_else(|| format!("it has no {dtype:?} tensor `{name}`"))
    };
    let mut fill = |prefix: &str| -> Result<Params, String> {
        let mut out = params.clone();
        for (name, _) in params.iter() {
            out.set(&name, take(format!("{prefix}.{name}"))?)
                .map_err(|e| e.to_string())?;
        }
        out.check_finite().map_err(|e| e.to_string())?;
        Ok(out)
    };
    let (current, best) = (fill("param")?, fill("best")?);
    let mut moments = BTreeMap::new();
    for (name, like) in params.iter() {
        let mut moment = |prefix: &str| {
            let t = take(format!("{prefix}.{name}"))?;
            if t.dims() != like.dims() {
                return Err(format!("`{prefix}.{name}` is {:?}", t.dims()));
            }
            Ok(t)
        };
        let m = Moments {
            exp_avg: moment("exp_avg")?,
            exp_avg_sq: moment("exp_avg_sq")?,
        };
        moments.insert(name, m);
    }
    Ok(Checkpoint {
        params: current,
        best,
        optimizer: Optimizer {
            settings: optimizer.settings,
            steps: meta.steps,
            moments,
        },
        progress: meta.progress,
    })
}
