//! What the ranks of a training send each other.
//!
//! Every rank holds the same weights and the same optimizer state, and makes the same step from the same sums. Invariant: a
//! step counts on all ranks or on none, so that all are at the same place whenever they stop.

use gfm_pipe_api::ranks::{bytes, gather, numbers_of};
use gfm_pipe_api::{Collective, Context, OpError, OpResult};

use super::checkpoint::Checkpoint;
use gfm_pipe_model::backend::StepResult;
use gfm_pipe_model::model::Params;
use gfm_pipe_model::tensor::to_f64;
use gfm_pipe_model::tensor_error;

/// Adds up a step's loss and its parts over ranks, where no rank has the whole. Returns whether to stop after the step.
///
/// # Errors
/// When a rank is gone.
pub(super) fn step(ctx: &Context, step: &mut StepResult) -> OpResult<bool> {
    if step.whole {
        values(ctx, &mut 0.0, &mut [])
    } else {
        values(ctx, &mut step.loss, &mut step.parts)
    }
}

/// Adds up losses. Ranks may be asked to stop at different moments: a rank that was says so here, where all others learn it
/// in the same step.
fn values(ctx: &Context, loss: &mut f64, parts: &mut [f64]) -> OpResult<bool> {
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

/// The checkpoint that rank 0 found, on every rank: the others read its bytes with `read`.
///
/// # Errors
/// When a rank is gone, or cannot read it.
pub(super) fn checkpoint(
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
            OpError::new(format!("rank 0's checkpoint cannot be used here: {why}"))
        })?);
    }
    Ok(checkpoint)
}

/// Checks that all ranks have the same weights: nothing else would show that they compute differently.
///
/// # Errors
/// When they do not, or a rank is gone.
pub(super) fn same(ranks: &dyn Collective, params: &Params) -> OpResult<()> {
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
        Some(rank) => Err(OpError::new(format!(
            "rank {rank} has other weights than rank 0 after the same steps"
        ))
        .hint("the ranks' machines compute differently: use the same kind for all, or report it")),
    }
}
