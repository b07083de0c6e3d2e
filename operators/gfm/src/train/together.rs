//! What the ranks of a training tell each other.
//!
//! Every rank holds the same weights and the same optimizer, and makes the same step from the same sums. Invariant: a step counts on all ranks or
//! on none, so that all are at the same place whenever they stop.

use gfm_pipe_api::ranks::{Numbers, bytes, gather, numbers_of};
use gfm_pipe_api::{Collective, Context, OpError, OpResult};

use super::checkpoint::Checkpoint;
use super::task::Step;
use crate::gpu::Taken;
use crate::model::Params;
use crate::tensor::{by_dtype, tensor, to_f64, view};
use crate::tensor_error;

/// Adds up a step over ranks: its gradients, and its loss and parts where no rank has the whole. Gives whether to stop after it.
///
/// # Errors
/// When a rank is gone; when shapes do not fit.
pub(super) fn step(ctx: &Context, step: &mut Step) -> OpResult<bool> {
    let stop = match step.whole {
        true => values(ctx, &mut 0.0, &mut [])?,
        false => values(ctx, &mut step.loss, &mut step.parts)?,
    };
    if ctx.ranks.size() > 1 {
        gradients(&*ctx.ranks, step)?;
    }
    Ok(stop)
}

/// The same for a step whose gradients were added up on devices.
///
/// # Errors
/// See [`step`].
pub(super) fn taken(ctx: &Context, taken: &mut Taken) -> OpResult<bool> {
    values(ctx, &mut taken.loss, &mut taken.parts)
}

/// Adds up losses. Ranks may be asked to stop at different moments: whoever is says so here, where all hear it in the same step.
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

/// All gradients in one message: they are small beside the work that made them.
fn gradients(ranks: &dyn Collective, step: &mut Step) -> OpResult<()> {
    let Some(dtype) = step.grads.values().next().map(candle_core::Tensor::dtype) else {
        return Ok(());
    };
    let packed = || {
        by_dtype!(dtype, T => {
            let mut all = Vec::<T>::new();
            for grad in step.grads.values() {
                all.extend_from_slice(view::<T>(grad)?.slice()?);
            }
            Ok(Packed::from(all))
        })
    };
    let mut packed = packed().map_err(tensor_error)?;
    ranks.all_reduce(packed.numbers())?;
    let mut at = 0;
    for grad in step.grads.values_mut() {
        let count = grad.elem_count();
        let range = at..at + count;
        at += count;
        let shape = grad.shape().clone();
        *grad = match &packed {
            Packed::F32(x) => tensor(x[range].to_vec(), shape),
            Packed::F64(x) => tensor(x[range].to_vec(), shape),
        }
        .map_err(tensor_error)?;
    }
    Ok(())
}

/// Numbers of one type or the other.
enum Packed {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl From<Vec<f32>> for Packed {
    fn from(x: Vec<f32>) -> Self {
        Packed::F32(x)
    }
}

impl From<Vec<f64>> for Packed {
    fn from(x: Vec<f64>) -> Self {
        Packed::F64(x)
    }
}

impl Packed {
    fn numbers(&mut self) -> Numbers<'_> {
        match self {
            Packed::F32(x) => Numbers::F32(x),
            Packed::F64(x) => Numbers::F64(x),
        }
    }
}

/// The checkpoint that rank 0 found, on every rank: what it is made of, `text`, is read by the others with `read`.
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

/// Holds that all ranks have the same weights: where they compute differently, nothing else would tell.
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
