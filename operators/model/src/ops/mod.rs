//! The functions that a layer is made of, with the reference's names, and the model's small
//! operations over tensors, each with a hand-written backward pass.
//!
//! Candle's own operations would store a message per edge and run element-wise work on one thread,
//! and its fused normalisation has no gradient. So the layers are kernels over slices
//! ([`gfm_pipe_kernels::layer`]); this module has the other operations of the model on the CPU.
//! Tensors are contiguous. In shapes, `B` is the batch, `N` the nodes and `d` the input width.

mod boundary;
mod degrees;
mod functions;
mod head;
mod linear;

use candle_core::{Result, bail};

pub use self::boundary::{Boundary, Seeds, boundary, boundary_backward};
pub(crate) use self::degrees::{Degrees, degree_scales, message_counts};
pub use self::functions::{ActivationFunc, AggregateFunc, LayerKind, MessageFunc, Path};
pub(crate) use self::head::First;
pub use self::head::{HeadGrads, HeadTape, head, head_backward};
pub use self::linear::{Linear, LinearGrads, linear, linear_backward, relu};

/// # Errors
/// When two sizes differ.
fn same(what: &str, a: usize, b: usize) -> Result<()> {
    if a != b {
        bail!("{what}: {a} and {b} do not fit");
    }
    Ok(())
}

pub(crate) use gfm_pipe_kernels::by_message_function as by_message;
