//! What training leaves: the ports `model`, `optimizer` and `history` of both operators.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Float64Array, StringArray, UInt32Array, UInt64Array};
use gfm_pipe_api::{Context, OpError, OpResult, OutPort, columns, kinds};

use super::{History, Outcome};
use crate::inputs::EncoderId;
use gfm_pipe_model::model::{Origin, write_model};
use gfm_pipe_model::optimizer::Optimizer;
use gfm_pipe_model::tensor::to_f32;
use gfm_pipe_model::tensor_error;

/// The output ports; `best` says which weights the model has.
pub(crate) fn output_ports(best: &'static str) -> Vec<OutPort> {
    let port = |name, kind, about| OutPort { name, kind, about };
    vec![
        port("model", &kinds::MODEL, best),
        port(
            "optimizer",
            &kinds::OPTIMIZER,
            "the optimizer after the last step",
        ),
        port("history", &kinds::HISTORY, "losses and validation metrics"),
    ]
}

/// Writes all of them.
pub(crate) fn write_outcome(
    ctx: &Context,
    operator: &str,
    encoder: &EncoderId,
    out: &Outcome,
) -> OpResult<()> {
    let origin = Origin {
        operator: operator.to_owned(),
        encoder: encoder.name.clone(),
        encoder_digest: encoder.digest.clone(),
        steps: out.steps,
        epoch: out.epoch,
    };
    write_model(ctx, "model", &out.params, &origin)?;
    write_optimizer(ctx, "optimizer", &out.optimizer)?;
    write_history(ctx, "history", &out.history)
}

fn write_history(ctx: &Context, port: &str, history: &[History]) -> OpResult<()> {
    let batch = columns::batch(
        &kinds::HISTORY.tables[0],
        vec![
            Arc::new(UInt32Array::from_iter_values(
                history.iter().map(|h| h.epoch),
            )),
            Arc::new(UInt64Array::from_iter_values(
                history.iter().map(|h| h.step),
            )),
            Arc::new(StringArray::from_iter_values(
                history.iter().map(|h| &h.metric),
            )),
            Arc::new(Float64Array::from_iter_values(
                history.iter().map(|h| h.value),
            )),
        ],
    )?;
    ctx.write(port, "history", &batch)
}

fn write_optimizer(ctx: &Context, port: &str, optimizer: &Optimizer) -> OpResult<()> {
    let mut names = Vec::new();
    let (mut avg, mut avg_sq) = (Vec::new(), Vec::new());
    for (name, m) in &optimizer.moments {
        names.push(name.clone());
        avg.push(to_f32(&m.exp_avg).map_err(tensor_error)?);
        avg_sq.push(to_f32(&m.exp_avg_sq).map_err(tensor_error)?);
    }
    let moments = columns::batch(
        &kinds::OPTIMIZER.tables[0],
        vec![
            Arc::new(StringArray::from(names)),
            columns::build_large_list_f32(&avg),
            columns::build_large_list_f32(&avg_sq),
        ],
    )?;
    ctx.write(port, "moments", &moments)?;
    let s = &optimizer.settings;
    let json = BTreeMap::from([
        ("steps", serde_json::json!(optimizer.steps)),
        ("lr", serde_json::json!(s.lr)),
        ("betas", serde_json::json!([s.betas.0, s.betas.1])),
        ("eps", serde_json::json!(s.eps)),
        ("weight_decay", serde_json::json!(s.weight_decay)),
    ]);
    let json = serde_json::to_string(&json)
        .map_err(|e| OpError::wrap("failed to write the optimizer's state", e))?;
    let state = columns::batch(
        &kinds::OPTIMIZER.tables[1],
        vec![Arc::new(StringArray::from(vec![json]))],
    )?;
    ctx.write(port, "state", &state)
}
