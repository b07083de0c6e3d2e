//! What the ranks of a training send each other.
//!
//! Every rank holds the same weights and the same optimizer state, and computes the same step from
//! the same sums. Invariant: a step counts on all ranks or on none, so all ranks stop at the same
//! place.

use gfm_pipe_api::ranks::{bytes, gather, numbers_of};
use gfm_pipe_api::{Collective, Context, OpError, OpResult};

use super::checkpoint::Checkpoint;
use gfm_pipe_model::backend::StepResult;
use gfm_pipe_model::model::Params;
use gfm_pipe_model::tensor::to_f64;
use gfm_pipe_model::tensor_error;

/// Adds up a step's loss and its parts over ranks, unless each rank computed the whole batch.
/// Returns whether to stop after this step.
///
/// # Errors
/// When a rank is gone.
pub(super) fn sum_losses(ctx: &Context, step: &mut StepResult) -> OpResult<bool> {
    if step.whole {
        sum(ctx, &mut 0.0, &mut [])
    } else {
        sum(ctx, &mut step.loss, &mut step.parts)
    }
}

/// Adds up losses over ranks. Each rank also sends whether it was asked to stop, because ranks may
/// be asked at different moments: all of them learn of it in the same step.
fn sum(ctx: &Context, loss: &mut f64, parts: &mut [f64]) -> OpResult<bool> {
    let stop = ctx.cancel.is_cancelled();
    if ctx.ranks.size() == 1 {
        return Ok(stop);
    }
    let mine = [*loss, f64::from(u8::from(stop))];
    let mine: Vec<f64> = mine.into_iter().chain(parts.iter().copied()).collect();
    let mut sums = vec![0.0; mine.len()];
    for theirs in ctx.ranks.all_gather(bytes(&mine))? {
        for (sum, x) in sums.iter_mut().zip(numbers_of::<f64>(&theirs, mine.len())?) {
            *sum += x;
        }
    }
    *loss = sums[0];
    parts.copy_from_slice(&sums[2..]);
    Ok(sums[1] > 0.0)
}

/// Sends the checkpoint that rank 0 found to all ranks. The others parse its bytes with `read`.
///
/// # Errors
/// When a rank is gone, or cannot read the checkpoint.
pub(super) fn share_checkpoint(
    ranks: &dyn Collective,
    found: Option<(Checkpoint, Vec<u8>)>,
    read: impl FnOnce(&[u8]) -> Result<Checkpoint, String>,
) -> OpResult<Option<Checkpoint>> {
    let (mut checkpoint, text) = found.map_or((None, Vec::new()), |(c, text)| (Some(c), text));
    if ranks.size() == 1 {
        return Ok(checkpoint);
    }
    let text = ranks.broadcast(0, text)?;
    if ranks.rank() > 0 && !text.is_empty() {
        let read = read(&text);
        checkpoint = Some(read.map_err(|why| {
            OpError::data(format!("rank 0's checkpoint cannot be used here: {why}"))
        })?);
    }
    Ok(checkpoint)
}

/// Checks that all ranks have the same weights. Nothing else would show that they compute
/// differently.
///
/// # Errors
/// When weights differ, or a rank is gone.
pub(super) fn check_same_weights(ranks: &dyn Collective, params: &Params) -> OpResult<()> {
    if ranks.size() == 1 {
        return Ok(());
    }
    let mut hasher = blake3::Hasher::new();
    for (_, t) in params.iter() {
        hasher.update(&bytes(&to_f64(t).map_err(tensor_error)?));
    }
    let digests = gather(ranks, &hasher.finalize().to_hex().to_string())?;
    match digests.iter().position(|d| *d != digests[0]) {
        None => Ok(()),
        Some(rank) => Err(OpError::resource(format!(
            "rank {rank} has other weights than rank 0 after the same steps"
        ))
        .hint("the ranks' machines compute differently: use the same kind for all, or report it")),
    }
}
